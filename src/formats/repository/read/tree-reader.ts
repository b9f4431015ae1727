import { components } from "../../../base/path-text.ts";
import { HoldfastError } from "../../../base/errors.ts";
import type { Extent } from "../../../sources/source.ts";
import { decodeNode, isSparse, TREE_ID_BYTES, type TreeChild, type TreeEntry, type TreeNode } from "../objects/tree-node.ts";
import type { ChunkReader } from "./chunk-reader.ts";

/** Deeper trees of nodes than this cannot come from a directory of fewer than 2^53 entries. */
const MAX_NODE_DEPTH = 16;

/** What is needed to find a file's data: its part of a tree entry. */
export interface FileContent {
  readonly size: number;
  /** 0: `ids` are data chunks; else chunk lists this many levels above them. */
  readonly depth: number;
  /** n × 32 bytes. */
  readonly ids: Uint8Array;
  /** Data of a sparse file; undefined without holes. */
  readonly extents: readonly Extent[] | undefined;
}

/**
 * Reads trees and chunk lists through a ChunkReader, which checks every id. A node that is not what its place asks for is
 * `object_malformed`. Holds one node a level at most.
 */
export class TreeReader {
  readonly #chunks: ChunkReader;

  constructor(chunks: ChunkReader) {
    this.#chunks = chunks;
  }

  /** The entries of a directory in name order, a leaf at a time; the next leaf is fetched while one is used. */
  async *entriesOf(treeId: Uint8Array): AsyncGenerator<readonly TreeEntry[], void, undefined> {
    let last: Uint8Array | undefined;
    for await (const entries of this.#leaves(await this.#node(treeId), MAX_NODE_DEPTH)) {
      // Each leaf is in order by itself; a name that came before must not come again in the next.
      const first = entries[0]?.name;
      if (last !== undefined && first !== undefined && Buffer.compare(last, first) >= 0) throw misplaced("leaves overlap");
      last = entries.at(-1)?.name ?? last;
      yield entries;
    }
  }

  /** The entry at `path` (components divided by `/`, others are ignored), reading only the nodes on its way. The root has none. */
  async lookup(root: Uint8Array, path: Uint8Array): Promise<TreeEntry | undefined> {
    let tree: Uint8Array | undefined = root;
    let found: TreeEntry | undefined;
    for (const name of components(path)) {
      if (tree === undefined) return undefined;
      found = await this.#find(tree, name);
      if (found === undefined) return undefined;
      tree = found.tree;
    }
    return found;
  }

  /** The ids of a file's data chunks in order, joined, in batches of at most 4,096. */
  async *dataIds(content: FileContent): AsyncGenerator<Uint8Array, void, undefined> {
    yield* this.#idsBelow(content.ids, content.depth);
  }

  async *#idsBelow(ids: Uint8Array, depth: number): AsyncGenerator<Uint8Array, void, undefined> {
    if (depth === 0) {
      yield ids;
      return;
    }
    for (let at = 0; at < ids.length; at += TREE_ID_BYTES) {
      const node = await this.#node(ids.subarray(at, at + TREE_ID_BYTES));
      if (node.type !== "list") throw misplaced(`a chunk list is a ${node.type}`);
      yield* this.#idsBelow(node.ids, depth - 1);
    }
  }

  async *#leaves(node: TreeNode, depth: number): AsyncGenerator<readonly TreeEntry[], void, undefined> {
    if (node.type === "leaf") {
      yield node.entries;
      return;
    }
    const children = innerChildren(node, depth);
    let next: Promise<TreeNode> | undefined = this.#node((children[0] as TreeChild).id);
    for (let i = 0; next !== undefined; i++) {
      const child: TreeNode = await next;
      checkFirstName(child, children[i] as TreeChild);
      const following = children[i + 1];
      next = following === undefined ? undefined : this.#node(following.id);
      // Whoever stops early never awaits it.
      next?.catch(() => undefined);
      yield* this.#leaves(child, depth - 1);
    }
  }

  async #find(tree: Uint8Array, name: Uint8Array): Promise<TreeEntry | undefined> {
    let node = await this.#node(tree);
    for (let depth = MAX_NODE_DEPTH; node.type !== "leaf"; depth--) {
      const children = innerChildren(node, depth);
      const at = countUpTo(children, name, (child) => child.firstName) - 1;
      if (at < 0) return undefined;
      node = await this.#node((children[at] as TreeChild).id);
      checkFirstName(node, children[at] as TreeChild);
    }
    const entry = node.entries[countUpTo(node.entries, name, (each) => each.name) - 1];
    return entry !== undefined && Buffer.compare(entry.name, name) === 0 ? entry : undefined;
  }

  async #node(id: Uint8Array): Promise<TreeNode> {
    return decodeNode(await this.#chunks.chunk(2, id));
  }
}

/** A file's content from a tree entry. The ids stay views of the node. */
export function contentOf(entry: TreeEntry): FileContent {
  return { size: entry.size, depth: entry.depth, ids: entry.ids, extents: isSparse(entry) ? entry.extents : undefined };
}

/** Bytes that a file's chunks hold: without holes. */
export function storedLength(content: FileContent): number {
  return content.extents === undefined ? content.size : content.extents.reduce((sum, extent) => sum + extent.length, 0);
}

function innerChildren(node: TreeNode, depth: number): readonly TreeChild[] {
  if (node.type !== "inner") throw misplaced(`a directory holds a ${node.type}`);
  if (depth === 0) throw misplaced("its inner nodes are nested too deep");
  return node.children;
}

function checkFirstName(node: TreeNode, child: TreeChild): void {
  const first = node.type === "leaf" ? node.entries[0]?.name : node.type === "inner" ? node.children[0]?.firstName : undefined;
  if (first === undefined || Buffer.compare(first, child.firstName) !== 0)
    throw misplaced("a node does not begin with the name its parent says");
}

/** How many items have a key up to and including `name`; the items ascend. */
function countUpTo<Item>(items: readonly Item[], name: Uint8Array, keyOf: (item: Item) => Uint8Array): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (Buffer.compare(keyOf(items[middle] as Item), name) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function misplaced(what: string): HoldfastError {
  return new HoldfastError("object_malformed", `A tree is malformed: ${what}`, {
    hint: "Run `holdfast verify` to learn which snapshots are concerned.",
  });
}
