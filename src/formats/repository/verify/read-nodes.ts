import type { Sealer } from "../keys/sealer.ts";
import { dataLength, decodeNode, TREE_ID_BYTES, type TreeEntry, type TreeNode } from "../objects/tree-node.ts";
import type { IndirectFile, NodesReply, NodesRequest } from "./messages.ts";
import { release } from "./release.ts";

/** Numbers that grow as they come. */
class Column {
  #numbers: number[] = [];

  push(value: number): void {
    this.#numbers.push(value);
  }

  u32(): Uint32Array {
    return Uint32Array.from(this.#numbers);
  }

  u8(): Uint8Array {
    return Uint8Array.from(this.#numbers);
  }

  f64(): Float64Array {
    return Float64Array.from(this.#numbers);
  }
}

/**
 * Opens a frame and reads the wanted nodes, following children that lie in the same frame: trees are written children
 * first, so a frame read once gives nearly everything that will ever be asked of it. Throws when the frame does not open.
 */
export function readNodes(sealer: Sealer, request: NodesRequest): NodesReply {
  const { chunkIds, chunkLengths, seen, codec, rawLength, row } = request;
  const raw = sealer.openFrame({ kind: 2, codec, rawLength, row }, request.stored);
  const offsets = new Uint32Array(chunkLengths.length + 1);
  const places = new Map<string, number>();
  for (let i = 0; i < chunkLengths.length; i++) {
    offsets[i + 1] = (offsets[i] as number) + (chunkLengths[i] as number);
    places.set(shortKey(chunkIds, i * 16), i);
  }
  const roles = new Map<number, number>();
  const queue: number[] = [];
  for (let i = 0; i < request.wanted.length; i++) {
    const position = request.wanted[i] as number;
    if (roles.has(position)) continue;
    roles.set(position, request.roles[i] as number);
    queue.push(position);
  }
  const done = new Column();
  const failed: { position: number; role: number; message: string }[] = [];
  const treeIds: Uint8Array[] = [];
  const treeRoles = new Column();
  const directIds: Uint8Array[] = [];
  const listedIds: Uint8Array[] = [];
  const fileLengths = new Column();
  const fileCounts = new Column();
  const fileNodes = new Column();
  const listNodes = new Column();
  const listCounts = new Column();
  const indirect: IndirectFile[] = [];
  const outerLists: { position: number; ids: Uint8Array }[] = [];
  let entries = 0;

  const follow = (id: Uint8Array, role: number): void => {
    const position = places.get(shortKey(id, 0));
    if (position !== undefined && seen[position] === 0 && !roles.has(position)) {
      roles.set(position, role);
      queue.push(position);
      return;
    }
    // Read before, or in this very call: the caller knows it by its place.
    if (position !== undefined) return;
    treeIds.push(id);
    treeRoles.push(role);
  };
  const takeEntry = (entry: TreeEntry, node: number): void => {
    entries++;
    if (entry.tree !== undefined) follow(entry.tree, 0);
    if (entry.ids.length === 0) return;
    if (entry.depth === 0) {
      directIds.push(entry.ids);
      fileLengths.push(dataLength(entry));
      fileCounts.push(entry.ids.length / TREE_ID_BYTES);
      fileNodes.push(node);
      return;
    }
    indirect.push({ node, dataBytes: dataLength(entry), depth: entry.depth, ids: Uint8Array.from(entry.ids) });
    for (let at = 0; at < entry.ids.length; at += TREE_ID_BYTES) follow(entry.ids.subarray(at, at + TREE_ID_BYTES), entry.depth);
  };

  for (let position = queue.shift(); position !== undefined; position = queue.shift()) {
    const role = roles.get(position) as number;
    let node: TreeNode;
    try {
      const bytes = raw.subarray(offsets[position], offsets[position + 1]);
      sealer.keys.checkChunk(2, bytes, chunkIds.subarray(position * 16, position * 16 + 16));
      node = decodeNode(bytes);
      if ((node.type === "list") !== role > 0) throw new Error(`it is ${role > 0 ? "no chunk list" : "a chunk list"}`);
    } catch (error) {
      failed.push({ position, role, message: error instanceof Error ? error.message : String(error) });
      continue;
    }
    done.push(position);
    if (node.type === "leaf") for (const entry of node.entries) takeEntry(entry, position);
    else if (node.type === "inner") for (const child of node.children) follow(child.id, 0);
    else if (role === 1) {
      listedIds.push(node.ids);
      listNodes.push(position);
      listCounts.push(node.ids.length / TREE_ID_BYTES);
    } else {
      outerLists.push({ position, ids: Uint8Array.from(node.ids) });
      for (let at = 0; at < node.ids.length; at += TREE_ID_BYTES) follow(node.ids.subarray(at, at + TREE_ID_BYTES), role - 1);
    }
  }
  const reply: NodesReply = {
    type: "nodes",
    done: done.u32(),
    failed,
    treeIds: joined(treeIds),
    treeRoles: treeRoles.u8(),
    dataIds: joined([...directIds, ...listedIds]),
    fileLengths: fileLengths.f64(),
    fileCounts: fileCounts.u32(),
    fileNodes: fileNodes.u32(),
    listNodes: listNodes.u32(),
    listCounts: listCounts.u32(),
    indirect,
    outerLists,
    entries,
  };
  release(raw);
  return reply;
}

/** In memory of its own, so that it can be transferred. */
function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function shortKey(bytes: Uint8Array, at: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, 16).toString("latin1");
}
