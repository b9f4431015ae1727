import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { throwIfAborted } from "../../base/abort.ts";
import { errnoOf } from "../../base/errors.ts";
import type { TargetAccess } from "../access.ts";
import type { CallOptions, GetOptions, ObjectStat, Target } from "../target.ts";
import { WrappedTarget, type TargetCall } from "./wrapped-target.ts";

/** Folders of small objects that every command reads whole. Packs are large and leases short-lived. */
const CACHED_FOLDERS = ["index", "snapshots", "notes", "keyring", "condemned"];
const CACHED_NAME = new RegExp(`^(?:${CACHED_FOLDERS.join("|")})/[0-9a-f]{64}$`);
const ID_LENGTH = 64;

/**
 * Keeps whole small objects that are named by their SHA-256 as files of a folder, which may be deleted, damaged or
 * unwritable at any time: a copy is believed only when its SHA-256 is its name, and whatever goes wrong here is a miss,
 * never an error. Ranges, other objects, `stat`, `list` and a get with `fresh` go to the target. A list forgets copies of
 * what a strongly listing target does not have any more.
 */
export class CacheTarget extends WrappedTarget {
  readonly #folder: string;
  #isUsable = true;

  /** `folder` is this target's alone; it is made, with mode 0700, when there is something to keep. */
  constructor(inner: Target, options: { readonly folder: string }) {
    super(inner);
    this.#folder = options.folder;
  }

  protected around<T>(_call: TargetCall, perform: () => Promise<T>): Promise<T> {
    return perform();
  }

  override async put(name: string, parts: readonly Uint8Array[], options?: CallOptions): Promise<void> {
    await super.put(name, parts, options);
    // Parts that were transferred away are empty now; they have another SHA-256 and are not kept.
    if (CACHED_NAME.test(name)) await this.#keep(name, Buffer.concat(parts));
  }

  override async get(name: string, options: GetOptions = {}): Promise<Uint8Array> {
    const { range, fresh, signal } = options;
    if (range !== undefined || fresh === true || !CACHED_NAME.test(name)) return await super.get(name, options);
    throwIfAborted(signal);
    const copy = await this.#read(name);
    throwIfAborted(signal);
    if (copy !== undefined) return copy;
    const bytes = await super.get(name, options);
    await this.#keep(name, bytes);
    return bytes;
  }

  override async list(prefix: string, options?: CallOptions): Promise<ObjectStat[]> {
    const stats = await super.list(prefix, options);
    if (this.capabilities.listing === "strong") await this.#forgetOthers(prefix, stats);
    return stats;
  }

  override async delete(name: string, options?: CallOptions): Promise<void> {
    try {
      await super.delete(name, options);
    } finally {
      // Also when it failed: it may have arrived all the same.
      if (CACHED_NAME.test(name)) await this.#forget(name);
    }
  }

  async #read(name: string): Promise<Uint8Array | undefined> {
    if (!this.#isUsable) return undefined;
    let bytes: Uint8Array;
    try {
      bytes = await readFile(this.#fileOf(name));
    } catch {
      return undefined;
    }
    // The caller's own, to give away: not a part of a larger buffer.
    if (isNamedByHash(name, bytes)) return bytes.length === bytes.buffer.byteLength ? bytes : Uint8Array.from(bytes);
    await this.#forget(name);
    return undefined;
  }

  async #keep(name: string, bytes: Uint8Array): Promise<void> {
    if (!this.#isUsable || !isNamedByHash(name, bytes)) return;
    const file = this.#fileOf(name);
    // Whoever else writes this name writes the same bytes, and what comes of two at once is checked when it is read.
    const unfinished = `${file}.part`;
    try {
      await makeFolder(path.dirname(file));
      await writeFile(unfinished, bytes, { mode: 0o600 });
      await rename(unfinished, file);
    } catch {
      await rm(unfinished, { force: true }).catch(() => undefined);
    }
  }

  async #forgetOthers(prefix: string, stats: readonly ObjectStat[]): Promise<void> {
    if (!this.#isUsable) return;
    const folders = CACHED_FOLDERS.filter((folder) => prefix === "" || prefix === `${folder}/`);
    if (folders.length === 0) return;
    const listed = new Set(stats.map(({ name }) => name));
    for (const folder of folders) {
      const kept = await readdir(path.join(this.#folder, folder)).catch(() => []);
      for (const entry of kept) {
        const name = `${folder}/${entry.slice(0, ID_LENGTH)}`;
        if (!listed.has(name)) await this.#remove(path.join(this.#folder, folder, entry));
      }
    }
  }

  #forget(name: string): Promise<void> {
    return this.#remove(this.#fileOf(name));
  }

  async #remove(file: string): Promise<void> {
    try {
      await rm(file, { force: true });
    } catch {
      // A copy that stays could outlive its object: from now on only the target is asked.
      this.#isUsable = false;
    }
  }

  #fileOf(name: string): string {
    return path.join(this.#folder, name);
  }
}

/** Access whose target keeps copies in `folder`. Other threads, which move packs, go past it. */
export function accessThroughCache(access: TargetAccess, folder: string): TargetAccess {
  return {
    target: new CacheTarget(access.target, { folder }),
    forThread: () => access.forThread(),
    [Symbol.asyncDispose]: () => access[Symbol.asyncDispose](),
  };
}

/** Node's own recursive mkdir never returns where an existing folder answers ENOENT, as those of /proc do. */
async function makeFolder(folder: string): Promise<void> {
  const make = (): Promise<void> =>
    mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
      if (errnoOf(error) !== "EEXIST") throw error;
    });
  try {
    await make();
  } catch (error) {
    const parent = path.dirname(folder);
    if (errnoOf(error) !== "ENOENT" || parent === folder) throw error;
    await makeFolder(parent);
    await make();
  }
}

function isNamedByHash(name: string, bytes: Uint8Array): boolean {
  return createHash("sha256").update(bytes).digest("hex") === name.slice(-ID_LENGTH);
}
