import { setImmediate as turn } from "node:timers/promises";
import { throwIfAborted } from "../../../base/abort.ts";
import type { SnapshotInfo } from "../../format.ts";
import { decodeNode, TREE_ID_BYTES, type TreeEntry } from "../objects/tree-node.ts";
import type { ChunkReader } from "../read/chunk-reader.ts";
import type { RepositoryView } from "../verify/repository-view.ts";
import { Bitmap } from "../verify/bitmap.ts";

/** Chunks in the order in which snapshots meet them, newest first, with what must not share a frame told apart. */
export interface WalkOrder {
  /** Numbers of the chunks asked for, each once. */
  readonly chunks: readonly number[];
  /** Number of the owner of a frame's chunks. */
  ownerOf(frame: number): number;
}

/** Owners of frames that nobody could be told for, or that hold chunks of several: each on its own. */
const LONE_OWNER = 2 ** 31;

/**
 * Walks the snapshots (given oldest first), newest first, until every chunk of `wanted` was met, and puts them in that
 * order; trees come after what is below them, as a backup writes them, and shared ones are walked once. Two old frames share an owner only when all chunks met in both belong to
 * the same source and the same user, so that regrouping never compresses one user's data beside another's.
 */
export async function orderByWalk(options: {
  readonly view: RepositoryView;
  readonly wanted: readonly number[];
  readonly snapshots: readonly SnapshotInfo[];
  readonly reader: ChunkReader;
  readonly signal: AbortSignal;
}): Promise<WalkOrder> {
  const walk = new OrderWalk(options);
  for (const snapshot of options.snapshots.toReversed())
    await walk.snapshot(`${snapshot.host}\0${snapshot.job}\0${snapshot.source}`, snapshot);
  return walk.finish();
}

class OrderWalk {
  readonly #options: Parameters<typeof orderByWalk>[0];
  readonly #left: Bitmap;
  readonly #seenTrees: Bitmap;
  readonly #ordered: number[] = [];
  readonly #owners = new Map<string, number>();
  readonly #frameOwners = new Map<number, number>();
  #leftCount: number;

  constructor(options: Parameters<typeof orderByWalk>[0]) {
    this.#options = options;
    this.#left = new Bitmap(options.view.index.chunkCount);
    this.#seenTrees = new Bitmap(options.view.index.chunkCount);
    for (const chunk of options.wanted) this.#left.add(chunk);
    this.#leftCount = options.wanted.length;
  }

  async snapshot(source: string, snapshot: SnapshotInfo): Promise<void> {
    await this.#tree(source, Buffer.from(snapshot.root, "hex"));
  }

  finish(): WalkOrder {
    const rest = this.#options.wanted.filter((chunk) => this.#left.has(chunk));
    const owners = this.#frameOwners;
    return {
      chunks: [...this.#ordered, ...rest],
      ownerOf: (frame) => owners.get(frame) ?? LONE_OWNER + frame,
    };
  }

  async #tree(source: string, id: Uint8Array): Promise<void> {
    if (this.#leftCount === 0) return;
    const found = this.#options.view.index.find(2, id);
    if (found === undefined || this.#seenTrees.has(found.chunk)) return;
    this.#seenTrees.add(found.chunk);
    throwIfAborted(this.#options.signal);
    const node = decodeNode(await this.#options.reader.chunk(2, id));
    await turn();
    if (node.type === "inner") for (const child of node.children) await this.#tree(source, child.id);
    if (node.type === "leaf") for (const entry of node.entries) await this.#entry(source, entry);
    this.#meet(2, id, 0, `${source}\0trees`);
  }

  async #entry(source: string, entry: TreeEntry): Promise<void> {
    if (entry.tree !== undefined) await this.#tree(source, entry.tree);
    else await this.#ids(source, entry, entry.ids, entry.depth);
  }

  async #ids(source: string, entry: TreeEntry, ids: Uint8Array, depth: number): Promise<void> {
    for (let at = 0; at < ids.length; at += TREE_ID_BYTES) {
      if (depth === 0) {
        this.#meet(1, ids, at, `${source}\0${entry.meta.uid}`);
        continue;
      }
      const list = ids.subarray(at, at + TREE_ID_BYTES);
      const node = decodeNode(await this.#options.reader.chunk(2, list));
      if (node.type === "list") await this.#ids(source, entry, node.ids, depth - 1);
      this.#meet(2, list, 0, `${source}\0trees`);
    }
  }

  #meet(kind: 1 | 2, ids: Uint8Array, at: number, owner: string): void {
    const found = this.#options.view.index.find(kind, ids, at);
    if (found === undefined) return;
    const number = this.#owners.get(owner) ?? this.#owners.size + 1;
    this.#owners.set(owner, number);
    const known = this.#frameOwners.get(found.frame);
    if (known === undefined) this.#frameOwners.set(found.frame, number);
    else if (known !== number) this.#frameOwners.set(found.frame, LONE_OWNER + found.frame);
    if (!this.#left.has(found.chunk)) return;
    this.#left.delete(found.chunk);
    this.#leftCount--;
    this.#ordered.push(found.chunk);
  }
}
