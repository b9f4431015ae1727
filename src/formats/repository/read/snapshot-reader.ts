import { isHexId } from "../../../base/ids.ts";
import { HoldfastError } from "../../../base/errors.ts";
import { components, LONGEST_PATH_BYTES, pathText } from "../../../base/path-text.ts";
import type { ContentFeed, SnapshotEntry, SnapshotInfo } from "../../format.ts";
import type { Repository } from "../repository.ts";
import { ChunkReader } from "./chunk-reader.ts";
import { createContentFeed } from "./content-feed.ts";
import { readFile } from "./file-reader.ts";
import { fileContentOf, rootEntry, snapshotEntry, treeOf } from "./snapshot-entry.ts";
import { TreeReader } from "./tree-reader.ts";

/**
 * Reads snapshots of one repository whose index is loaded: the reading part of a `Store`. Trees and data have a cache of
 * their own, so that reading a large file does not push trees out.
 */
export class SnapshotReader {
  readonly #repository: Repository;
  /** Without a signal, for calls that bring none; trees stay cached between calls. */
  readonly #trees: TreeReader;

  constructor(repository: Repository) {
    this.#repository = repository;
    this.#trees = new TreeReader(new ChunkReader(repository));
  }

  /** One entry by its path, or undefined; the root for a path without components. */
  async lookup(
    snapshot: Pick<SnapshotInfo, "root" | "id">,
    path: Uint8Array,
    signal?: AbortSignal,
  ): Promise<SnapshotEntry | undefined> {
    signal?.throwIfAborted();
    const root = rootOf(snapshot);
    const names = components(path);
    const last = names.at(-1);
    if (last === undefined) return rootEntry(snapshot.root);
    const found = await this.#trees.lookup(root, path);
    signal?.throwIfAborted();
    return found === undefined ? undefined : snapshotEntry(parentPath(names), found);
  }

  /**
   * The entries of a directory, sorted by raw name, a tree node at a time. Rejects with `object_malformed` below
   * `LONGEST_PATH_BYTES`, where no backup goes.
   */
  async *list(directory: SnapshotEntry, signal?: AbortSignal): AsyncGenerator<readonly SnapshotEntry[], void, undefined> {
    if (directory.path.length > LONGEST_PATH_BYTES) throw tooDeep(directory.path);
    for await (const entries of this.#trees.entriesOf(treeOf(directory))) {
      signal?.throwIfAborted();
      yield entries.map((entry) => snapshotEntry(directory.path, entry));
    }
  }

  /** A file's bytes in order, holes as zeros. Tries every copy of every chunk. */
  async *read(file: SnapshotEntry, options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const chunks = new ChunkReader(this.#repository, { signal: options.signal, cacheBytes: READ_CACHE_BYTES });
    yield* readFile(this.#repository, chunks, this.#trees, fileContentOf(file));
  }

  /** Content for threads. */
  content(signal: AbortSignal): ContentFeed {
    return createContentFeed(this.#repository, this.#trees, signal);
  }
}

/** A single file meets each of its frames in a short stretch. */
const READ_CACHE_BYTES = 16 * 2 ** 20;

function tooDeep(path: Uint8Array): HoldfastError {
  return new HoldfastError(
    "object_malformed",
    `A directory has a path of more than ${LONGEST_PATH_BYTES} bytes: ${pathText(path.subarray(0, 60))}…`,
    { hint: "No backup makes such a tree, so somebody with a key did. What lies above it can be restored." },
  );
}

function rootOf(snapshot: Pick<SnapshotInfo, "root" | "id">): Uint8Array {
  if (isHexId(snapshot.root, 32)) return Buffer.from(snapshot.root, "hex");
  throw new HoldfastError("object_malformed", `Snapshot ${snapshot.id} has no root tree`);
}

function parentPath(names: readonly Uint8Array[]): Uint8Array {
  const parents = names.slice(0, -1);
  const slash = Uint8Array.of(0x2f);
  return parents.length === 0 ? slash : Uint8Array.from(Buffer.concat(parents.flatMap((name) => [slash, name])));
}
