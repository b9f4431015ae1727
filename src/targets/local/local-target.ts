import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { throwIfAborted } from "../../base/abort.ts";
import { HoldfastError } from "../../base/errors.ts";
import { assertObjectName, assertPrefix, isObjectName } from "../names.ts";
import type {
  CallOptions,
  GetOptions,
  ObjectStat,
  Target,
  TargetCapabilities,
  TargetCapacity,
  UnnamedObject,
} from "../target.ts";
import { faultHook, type FaultHook, type FaultSpec } from "./fault-points.ts";
import { attempt, breathe, closeFile, readFully, syncFolder, unlessMissing } from "./local-files.ts";
import { LocalWriter } from "./local-writer.ts";
import { requireMounted } from "./mount.ts";

/** A local target as plain values, for another thread. */
export interface LocalTargetSpec extends FaultSpec {
  readonly driver: "local";
  /** The folder that holds the objects. */
  readonly path: string;
  /** A path that must be a mount point before anything is read or written. */
  readonly requireMount?: string | undefined;
  /** Whether the first put makes a missing `path`. Without it a missing folder is `target_unreachable`. */
  readonly create?: boolean | undefined;
  /** Overrides what the file system's type suggests: `eventual` on NFS and SMB, whose clients cache folders. */
  readonly listing?: TargetCapabilities["listing"] | undefined;
}

export interface LocalTargetOptions extends Omit<LocalTargetSpec, "driver"> {
  /** For tests: called at every boundary of `FAULT_POINTS`. */
  readonly faultPoint?: FaultHook | undefined;
}

/** statfs types of file systems whose clients may show a folder as it was a minute ago: NFS, SMB1, SMB2. */
const CACHED_LISTINGS: ReadonlySet<number> = new Set([0x6969, 0xff534d42, 0xfe534d42]);

/** Entries looked at in one turn of the event loop. */
const LISTING_BATCH = 2048;

/**
 * Objects as files of a folder, made for a thread of its own: file calls are synchronous, in segments of 8 MiB, and
 * only between them are signals seen. A put writes `tmp/put-…`, syncs it, links it to its name without replacing
 * (renames under a claim where there are no hard links) and syncs the folder; files are 0600, folders 0700. An existing
 * object with the same bytes is synced and counts as stored; another one is `target_exists`. A failed fsync is never
 * tried again. Once seen, a folder that vanishes or changes its device is `target_unreachable`: nothing is made anew
 * under a lost mount.
 */
export class LocalTarget implements Target {
  readonly #root: string;
  readonly #options: LocalTargetOptions;
  readonly #hook: FaultHook;
  readonly #writer: LocalWriter;
  #rootDevice: number | undefined;
  #capabilities: TargetCapabilities | undefined;

  constructor(options: LocalTargetOptions) {
    this.#root = path.resolve(options.path);
    this.#options = options;
    this.#hook = options.faultPoint ?? faultHook(options) ?? (() => undefined);
    this.#writer = new LocalWriter(this.#root, this.#hook);
  }

  get capabilities(): TargetCapabilities {
    this.#capabilities ??= {
      listing: this.#options.listing ?? listingOf(this.#root),
      objectTimes: true,
      versions: false,
      immutability: false,
      // Calls are synchronous: a second one only hides the time its message takes.
      concurrency: 2,
    };
    return this.#capabilities;
  }

  async put(name: string, parts: readonly Uint8Array[], options: CallOptions = {}): Promise<void> {
    assertObjectName(name);
    throwIfAborted(options.signal);
    this.#enterForWriting();
    await this.#writer.put(name, parts, options.signal);
  }

  async begin(options: CallOptions = {}): Promise<UnnamedObject> {
    throwIfAborted(options.signal);
    this.#enterForWriting();
    const object = this.#writer.begin(options.signal);
    return {
      append: (parts) => object.append(parts),
      finish: async (name) => {
        assertObjectName(name);
        throwIfAborted(options.signal);
        this.#enter();
        await object.finish(name);
      },
      [Symbol.asyncDispose]: () => object[Symbol.asyncDispose](),
    };
  }

  async get(name: string, options: GetOptions = {}): Promise<Uint8Array> {
    assertObjectName(name);
    const { range, signal } = options;
    if (range)
      assert(Number.isSafeInteger(range.offset) && range.offset >= 0 && Number.isSafeInteger(range.length) && range.length >= 0);
    throwIfAborted(signal);
    this.#enter();
    const doing = `read ${this.#pathOf(name)}`;
    const fd = this.#openObject(name, doing);
    try {
      const size = attempt(doing, () => fs.fstatSync(fd)).size;
      const { offset, length } = range ?? { offset: 0, length: size };
      if (offset + length > size) throw tooShort(name, size, offset + length);
      const bytes = Buffer.allocUnsafeSlow(length);
      const read = await readFully(fd, bytes, { position: offset, doing, signal });
      if (read < length) throw tooShort(name, offset + read, offset + length);
      return bytes;
    } finally {
      closeFile(fd);
    }
  }

  async stat(name: string, options: CallOptions = {}): Promise<ObjectStat | undefined> {
    assertObjectName(name);
    throwIfAborted(options.signal);
    this.#enter();
    return this.#statFile(name);
  }

  async list(prefix: string, options: CallOptions = {}): Promise<ObjectStat[]> {
    assertPrefix(prefix);
    throwIfAborted(options.signal);
    this.#enter();
    const found: ObjectStat[] = [];
    const folders = [prefix];
    let looked = 0;
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      for (const entry of this.#entriesOf(folder)) {
        const name = folder + entry.name;
        if (!isObjectName(name)) continue;
        if (entry.isDirectory()) folders.push(`${name}/`);
        else {
          const stat = this.#statFile(name);
          if (stat) found.push(stat);
        }
        if (++looked % LISTING_BATCH === 0) await breathe(options.signal);
      }
    }
    return found;
  }

  async delete(name: string, options: CallOptions = {}): Promise<void> {
    assertObjectName(name);
    throwIfAborted(options.signal);
    this.#enter();
    const file = this.#pathOf(name);
    const removed = unlessMissing(`delete ${file}`, () => {
      this.#hook("before delete");
      fs.unlinkSync(file);
      return true;
    });
    if (!removed) return;
    this.#hook("after delete");
    syncFolder(path.dirname(file), () => this.#hook("before delete fsync"));
    this.#hook("after delete fsync");
  }

  async capacity(options: CallOptions = {}): Promise<TargetCapacity | undefined> {
    throwIfAborted(options.signal);
    if (!this.#enter()) return undefined;
    const { blocks, bavail, bsize } = attempt(`measure ${this.#root}`, () => fs.statfsSync(this.#root));
    return { totalBytes: blocks * bsize, freeBytes: bavail * bsize };
  }

  async cleanUp(olderThanMs: number, options: CallOptions = {}): Promise<number> {
    throwIfAborted(options.signal);
    if (!this.#enter()) return 0;
    return this.#writer.cleanUp(olderThanMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // No file stays open between calls.
  }

  #enterForWriting(): void {
    if (this.#enter()) return;
    this.#writer.createRoot();
    this.#enter();
  }

  /** Checks mount and root before every call. False when there is no root yet and a put may make it. */
  #enter(): boolean {
    if (this.#options.requireMount !== undefined) requireMounted(path.resolve(this.#options.requireMount));
    const stat = unlessMissing(`examine ${this.#root}`, () => fs.statSync(this.#root));
    if (!stat) {
      if (this.#options.create && this.#rootDevice === undefined) return false;
      throw new HoldfastError("target_unreachable", `The folder ${this.#root} does not exist`, {
        hint:
          this.#rootDevice === undefined
            ? "Create or mount it, or let Holdfast create it."
            : "It existed a moment ago: check the mount.",
        data: { path: this.#root },
      });
    }
    if (!stat.isDirectory()) {
      throw new HoldfastError("target_io", `${this.#root} is not a folder`, {
        hint: "Give the path of a folder.",
        data: { path: this.#root },
      });
    }
    this.#rootDevice ??= stat.dev;
    if (stat.dev !== this.#rootDevice) {
      throw new HoldfastError("target_unreachable", `Another file system than before is at ${this.#root}`, {
        hint: "Something was mounted or unmounted there. Check the mount, then run again.",
        data: { path: this.#root },
      });
    }
    return true;
  }

  #pathOf(name: string): string {
    return path.join(this.#root, name);
  }

  #openObject(name: string, doing: string): number {
    const fd = unlessMissing(doing, () => {
      this.#hook("before read");
      return fs.openSync(this.#pathOf(name), fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    });
    if (fd === undefined) throw missing(name);
    if (attempt(doing, () => fs.fstatSync(fd)).isFile()) return fd;
    closeFile(fd);
    throw missing(name);
  }

  #statFile(name: string): ObjectStat | undefined {
    const file = this.#pathOf(name);
    const stat = unlessMissing(`examine ${file}`, () => fs.statSync(file));
    if (!stat?.isFile()) return undefined;
    return { name, sizeBytes: stat.size, modifiedMs: stat.mtimeMs };
  }

  /** Entries of a folder, none when it does not exist; any other failure rejects the listing. */
  #entriesOf(folder: string): fs.Dirent[] {
    const full = this.#pathOf(folder);
    const entries = unlessMissing(`list ${full}`, () => {
      this.#hook("before readdir");
      return fs.readdirSync(full, { withFileTypes: true });
    });
    return entries ?? [];
  }
}

function listingOf(root: string): TargetCapabilities["listing"] {
  let folder = root;
  while (!fs.existsSync(folder) && path.dirname(folder) !== folder) folder = path.dirname(folder);
  try {
    return CACHED_LISTINGS.has(fs.statfsSync(folder).type) ? "eventual" : "strong";
  } catch {
    return "eventual";
  }
}

function missing(name: string): HoldfastError {
  return new HoldfastError("target_missing_object", `There is no object ${name}`, { data: { name } });
}

function tooShort(name: string, sizeBytes: number, neededBytes: number): HoldfastError {
  return new HoldfastError("object_damaged", `The object ${name} ends after ${sizeBytes} bytes, ${neededBytes} were expected`, {
    data: { name, sizeBytes, neededBytes },
  });
}
