import { HoldfastError } from "../../base/errors.ts";
import { pathText } from "../../base/path-text.ts";
import { END_OF_TAR, tarHeader, tarPadding } from "../../codec/tar-header.ts";
import type { SnapshotEntry, SnapshotInfo, Store } from "../../formats/format.ts";
import { splitDevice } from "../../posix/stat.ts";
import { linkKey } from "../restore/hard-links.ts";
import { zipOf } from "./dump-zip.ts";
import { entryAt, walkSnapshot } from "./entries.ts";

export interface DumpOptions {
  /** `auto`: a file as it is, a folder as tar. */
  readonly as: "auto" | "tar" | "zip";
  readonly signal: AbortSignal;
  /** Something that the archive cannot hold (a socket; in zip also pipes and devices) is left out. */
  readonly onSkipped?: (entry: SnapshotEntry, why: string) => void;
}

/**
 * A file's bytes, or a folder as a pax tar or zip file with names relative to it; memory is bounded, nothing is written anywhere.
 * Rejects with `path_missing`, `unsupported` for what has no content, and what reading says; a consumer that has seen
 * part of the bytes must then throw them away.
 */
export async function* dumpEntry(
  store: Store,
  snapshot: SnapshotInfo,
  path: Uint8Array,
  options: DumpOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const entry = await entryAt(store, snapshot, path, options.signal);
  const { type } = entry.entry;
  if (type === "file" && options.as === "auto") {
    yield* store.read(entry, { signal: options.signal });
    return;
  }
  if (type !== "directory" && options.as === "auto")
    throw new HoldfastError("unsupported", `${pathText(entry.path)} is a ${type}: there is nothing to write`, {
      hint: "Restore it, or write it into an archive with --as tar.",
    });
  if (options.as === "zip") {
    yield* zipOf(store, entry, options);
    return;
  }
  const tar = new TarDump(store, entry, options);
  yield* tar.bytes();
}

class TarDump {
  readonly #store: Store;
  readonly #top: SnapshotEntry;
  readonly #options: DumpOptions;
  /** Path of the first name of each file that has several, until all have come. */
  readonly #links = new Map<string, { readonly path: Uint8Array; left: number }>();

  constructor(store: Store, top: SnapshotEntry, options: DumpOptions) {
    this.#store = store;
    this.#top = top;
    this.#options = options;
  }

  async *bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#top.entry.type !== "directory") yield* this.#entry(this.#top, this.#top.entry.name);
    else {
      yield* this.#entry(this.#top, Buffer.from("."));
      const skip = this.#top.path.length === 1 ? 1 : this.#top.path.length + 1;
      for await (const steps of walkSnapshot(this.#store, this.#top, this.#options.signal))
        for (const step of steps) if ("entry" in step) yield* this.#entry(step.entry, step.entry.path.subarray(skip));
    }
    yield END_OF_TAR;
  }

  async *#entry(snapshotEntry: SnapshotEntry, path: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
    const { entry } = snapshotEntry;
    const { type, meta } = entry;
    if (type === "socket") {
      this.#options.onSkipped?.(snapshotEntry, "tar has no sockets");
      return;
    }
    const first = this.#firstName(snapshotEntry, path);
    if (first !== undefined) {
      yield tarHeader({ path, type: "link", meta, size: 0, linkPath: first });
      return;
    }
    if (type !== "file") {
      yield tarHeader({
        path: type === "directory" ? Buffer.concat([path, Buffer.from("/")]) : path,
        type,
        meta,
        size: 0,
        linkPath: entry.linkTarget,
        device: entry.rdev === undefined ? undefined : splitDevice(entry.rdev),
      });
      return;
    }
    yield tarHeader({ path, type, meta, size: entry.size });
    yield* this.#store.read(snapshotEntry, { signal: this.#options.signal });
    yield tarPadding(entry.size);
  }

  #firstName(entry: SnapshotEntry, path: Uint8Array): Uint8Array | undefined {
    const key = linkKey(entry);
    if (key === undefined) return undefined;
    const known = this.#links.get(key);
    if (known === undefined) {
      this.#links.set(key, { path, left: entry.entry.meta.links - 1 });
      return undefined;
    }
    if (--known.left === 0) this.#links.delete(key);
    return known.path;
  }
}
