import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { throwIfAborted } from "../../base/abort.ts";
import { HoldfastError, errnoOf } from "../../base/errors.ts";
import { TEMPORARY_FOLDER, isContentAddressed } from "../names.ts";
import { DurableFolders } from "./durable-folders.ts";
import type { FaultHook } from "./fault-points.ts";
import { attempt, closeFile, holdsFile, holdsParts, syncFile, syncFolder, unlessMissing, writeParts } from "./local-files.ts";
import type { UnnamedObject } from "../target.ts";

/** Looks whether an open file holds the bytes that are to be stored. */
type SameBytes = (fd: number, doing: string) => Promise<boolean>;

/** Left-overs of a put: its temporary file, a claim on a name, a probe of the file system's clock. */
const LEFT_OVER = /^(?:put|claim|probe)-[0-9a-f]{32,64}$/;

/**
 * The writing half of a local target: temporary file, fsync, link without replacing, fsync of the folder. When a put
 * resolves its object is durable; when it rejects there is no object, or one that somebody stored whole before.
 */
export class LocalWriter {
  readonly #root: string;
  readonly #hook: FaultHook;
  readonly #folders: DurableFolders;
  /** Temporary files of puts in flight; `cleanUp` leaves them alone. */
  readonly #inFlight = new Set<string>();
  #hardLinks = true;

  constructor(root: string, hook: FaultHook) {
    this.#root = root;
    this.#hook = hook;
    this.#folders = new DurableFolders(root, hook);
  }

  /** Makes the root and its missing ancestors, durably. */
  createRoot(): void {
    this.#folders.ensureRoot();
  }

  async put(name: string, parts: readonly Uint8Array[], signal: AbortSignal | undefined): Promise<void> {
    const sameBytes: SameBytes = (fd, doing) => holdsParts(fd, parts, { doing, signal });
    if (await this.#holdsSame(name, sameBytes)) return;
    const temporary = this.#temporaryPath("put");
    this.#inFlight.add(temporary);
    try {
      await this.#writeTemporary(temporary, name, parts, signal);
      await this.#publish(temporary, name, sameBytes);
    } finally {
      this.#removeTemporary(temporary);
      this.#inFlight.delete(temporary);
    }
  }

  /** The temporary file of `put`, for whoever learns the name last. */
  begin(signal: AbortSignal | undefined): UnnamedObject {
    const temporary = this.#temporaryPath("put");
    this.#inFlight.add(temporary);
    const release = (): void => {
      this.#removeTemporary(temporary);
      this.#inFlight.delete(temporary);
    };
    const doing = `write ${temporary}`;
    let fd: number | undefined;
    try {
      fd = this.#openTemporary(temporary, doing);
    } catch (error) {
      release();
      throw error;
    }
    const close = (): void => {
      if (fd !== undefined) closeFile(fd);
      fd = undefined;
    };
    let writing: Promise<void> = Promise.resolve();
    return {
      append: (parts) => {
        assert(fd !== undefined, "nothing is appended to an object that was finished or given up");
        writing = writeParts(fd, parts, { doing, hook: this.#hook, signal });
        return writing;
      },
      finish: async (name) => {
        assert(fd !== undefined, "an object is finished once");
        syncFile(fd, `make ${this.#pathOf(name)} durable`, () => this.#hook("before fsync"));
        this.#hook("after fsync");
        close();
        throwIfAborted(signal);
        await this.#publish(temporary, name, (other, why) => holdsFile(other, temporary, { doing: why, signal }));
        release();
      },
      [Symbol.asyncDispose]: async () => {
        // A descriptor that is closed under a write may be another file's by its next segment.
        await writing.catch(() => undefined);
        close();
        if (this.#inFlight.has(temporary)) release();
      },
    };
  }

  /** Removes left-overs at least this old by the file system's clock, never those of this writer's own puts. */
  cleanUp(olderThanMs: number): number {
    const folder = path.join(this.#root, TEMPORARY_FOLDER);
    const names = unlessMissing(`list ${folder}`, () => fs.readdirSync(folder)) ?? [];
    const candidates = names.filter((name) => LEFT_OVER.test(name)).map((name) => path.join(folder, name));
    if (candidates.length === 0) return 0;
    const nowMs = this.#fileSystemTime();
    let removed = 0;
    for (const file of candidates) {
      if (this.#inFlight.has(file)) continue;
      const stat = unlessMissing(`examine ${file}`, () => fs.lstatSync(file));
      if (!stat || nowMs - stat.mtimeMs < olderThanMs) continue;
      const gone = unlessMissing(`delete ${file}`, () => {
        fs.unlinkSync(file);
        return true;
      });
      if (gone) removed++;
    }
    return removed;
  }

  #pathOf(name: string): string {
    return path.join(this.#root, name);
  }

  #temporaryPath(kind: "put" | "probe"): string {
    return path.join(this.#root, TEMPORARY_FOLDER, `${kind}-${randomBytes(16).toString("hex")}`);
  }

  async #writeTemporary(
    temporary: string,
    name: string,
    parts: readonly Uint8Array[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const doing = `write ${this.#pathOf(name)}`;
    const fd = this.#openTemporary(temporary, doing);
    try {
      await writeParts(fd, parts, { doing, hook: this.#hook, signal });
      syncFile(fd, `make ${this.#pathOf(name)} durable`, () => this.#hook("before fsync"));
      this.#hook("after fsync");
    } finally {
      closeFile(fd);
    }
    throwIfAborted(signal);
  }

  #openTemporary(temporary: string, doing: string): number {
    const open = (): number => {
      this.#hook("before temporary open");
      const fd = fs.openSync(temporary, "wx", 0o600);
      this.#hook("after temporary open");
      return fd;
    };
    const fd = unlessMissing(doing, open);
    if (fd !== undefined) return fd;
    this.#folders.ensureVolatile(path.dirname(temporary));
    return attempt(doing, open);
  }

  /** Gives the durable temporary file its name, or finds that the name holds the same bytes already. */
  async #publish(temporary: string, name: string, sameBytes: SameBytes): Promise<void> {
    const file = this.#pathOf(name);
    // An object may be deleted between our EEXIST and our look at it; three rounds of that are someone else's fault.
    for (let round = 0; round < 3; round++) {
      if (this.#takeName(temporary, file, name)) {
        this.#hook("after link");
        this.#syncEntry(file);
        return;
      }
      if (await this.#holdsSame(name, sameBytes)) return;
    }
    throw new HoldfastError("target_io", `Cannot store ${file}: the name is taken and freed again by another program`, {
      transient: true,
    });
  }

  /** True when the name is now ours, false when it was taken. */
  #takeName(temporary: string, file: string, name: string): boolean {
    this.#folders.ensure(path.dirname(file));
    try {
      return this.#tryName(temporary, file, name);
    } catch (error) {
      if (errnoOf(error) !== "ENOENT") return attempt(`store ${file}`, () => rethrow(error));
      this.#folders.forget();
      this.#folders.ensure(path.dirname(file));
      return attempt(`store ${file}`, () => this.#tryName(temporary, file, name));
    }
  }

  #tryName(temporary: string, file: string, name: string): boolean {
    try {
      if (!this.#hardLinks) return this.#renameUnlessTaken(temporary, file, name);
      this.#hook("before link");
      fs.linkSync(temporary, file);
      return true;
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === "EEXIST") return false;
      if (!this.#hardLinks || !["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"].includes(errno ?? "")) throw error;
      // exFAT, FAT, some SMB and FUSE file systems. Where EPERM meant permission, the rename fails with it too.
      this.#hardLinks = false;
      return this.#tryName(temporary, file, name);
    }
  }

  /**
   * rename(2) replaces, and Node has no RENAME_NOREPLACE. Between our look and the rename only a writer of the same
   * name could come: for a content-addressed name it brings the same bytes, so nothing is lost; for any other name
   * both must hold an exclusive claim first. A claim left by a crash is only broken by `cleanUp`, never by a guess.
   */
  #renameUnlessTaken(temporary: string, file: string, name: string): boolean {
    const claim = isContentAddressed(name) ? undefined : this.#claim(name);
    try {
      if (fs.lstatSync(file, { throwIfNoEntry: false })) return false;
      this.#hook("before link");
      fs.renameSync(temporary, file);
      return true;
    } finally {
      if (claim !== undefined) fs.unlinkSync(claim);
    }
  }

  #claim(name: string): string {
    const digest = createHash("sha256").update(name).digest("hex");
    const claim = path.join(this.#root, TEMPORARY_FOLDER, `claim-${digest}`);
    try {
      this.#hook("before claim");
      fs.closeSync(fs.openSync(claim, "wx", 0o600));
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
      throw new HoldfastError("target_io", `Another writer is storing ${this.#pathOf(name)}`, {
        hint: `If none is running, a crash left ${claim} behind: delete it.`,
        transient: true,
        cause: error,
      });
    }
    this.#hook("after claim");
    return claim;
  }

  /** Makes a new name durable, or takes it back: what cannot be made durable must not be found by the next run. */
  #syncEntry(file: string): void {
    try {
      syncFolder(path.dirname(file), () => this.#hook("before folder fsync"));
    } catch (error) {
      try {
        fs.unlinkSync(file);
      } catch {
        // The fsync's failure is the one to report.
      }
      throw error;
    }
    this.#hook("after folder fsync");
  }

  /**
   * True when the name holds the same bytes: then they are synced here, because whoever stored them may not have come
   * to it. False when there is nothing. Other bytes reject.
   */
  async #holdsSame(name: string, sameBytes: SameBytes): Promise<boolean> {
    const file = this.#pathOf(name);
    const doing = `compare ${file}`;
    const fd = unlessMissing(doing, () => fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK));
    if (fd === undefined) return false;
    try {
      if (!attempt(doing, () => fs.fstatSync(fd)).isFile() || !(await sameBytes(fd, doing))) {
        throw new HoldfastError("target_exists", `${file} exists with other content`, {
          hint: isContentAddressed(name)
            ? "Its name is the hash of its bytes, so the stored copy is damaged: run a verify."
            : undefined,
          data: { name },
        });
      }
      syncFile(fd, `make ${file} durable`);
    } finally {
      closeFile(fd);
    }
    this.#folders.ensure(path.dirname(file));
    syncFolder(path.dirname(file));
    return true;
  }

  #removeTemporary(temporary: string): void {
    try {
      this.#hook("before temporary unlink");
      fs.unlinkSync(temporary);
      this.#hook("after temporary unlink");
    } catch {
      // Renamed, never made, or a left-over that cleanUp takes: the object's fate is decided already.
    }
  }

  /** The file system's own clock, which stamped the left-overs; on a file server it is not ours. */
  #fileSystemTime(): number {
    const probe = this.#temporaryPath("probe");
    return attempt(`write ${probe}`, () => {
      const fd = fs.openSync(probe, "wx", 0o600);
      try {
        return fs.fstatSync(fd).mtimeMs;
      } finally {
        fs.closeSync(fd);
        fs.unlinkSync(probe);
      }
    });
  }
}

function rethrow(error: unknown): never {
  throw error;
}
