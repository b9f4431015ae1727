import { decompress } from "../../../codec/compress.ts";
import type { KeySet } from "../keys/key-set.ts";
import type { Sealer } from "../keys/sealer.ts";
import { decodeNode, isLeaf, LeafReader, type StoredFile, type TreeEntry } from "../objects/tree-node.ts";
import type { FetchedFrame } from "./messages.ts";

/** Decoded tree frames kept; walks follow the order in which trees were written, so few are needed. */
const CACHE_BYTES = 48 * 2 ** 20;
/** Nodes ahead that a new one is compared with: enough to find the way again after a change. */
const NODES_COMPARED = 8;

interface StoredNode {
  readonly id: Uint8Array;
  readonly bytes: Buffer;
}

/**
 * A directory of a baseline, read once from front to back beside a walk that gives names in the same order. What is
 * malformed ends it: what would follow counts as absent.
 */
export class BaselineFolder {
  /** All nodes of its tree, children before parents: the order in which a splitter gives them. */
  readonly #nodes: readonly StoredNode[];
  #nextNode = 0;
  #leaf: LeafReader | undefined;
  #nextLeaf = 0;
  /** Read, and not asked for yet. */
  #peeked: ReturnType<LeafReader["next"]>;

  constructor(nodes: readonly StoredNode[]) {
    this.#nodes = nodes;
  }

  /** The file that comes next when its entry begins with `head`; see `LeafReader.take`. */
  take(name: Uint8Array, head: Uint8Array, profile: number, size: number): StoredFile | undefined {
    if (this.#peeked !== undefined) return undefined;
    try {
      return this.#entryLeaf()?.take(name, head, profile, size);
    } catch {
      this.#end();
      return undefined;
    }
  }

  /** The entry of that name, by names that ascend from call to call. */
  find(name: Uint8Array): TreeEntry | undefined {
    for (;;) {
      try {
        this.#peeked ??= this.#entryLeaf()?.next();
      } catch {
        this.#end();
      }
      if (this.#peeked === undefined) return undefined;
      const { entry } = this.#peeked;
      const order = Buffer.compare(entry.name, name);
      if (order > 0) return undefined;
      this.#peeked = undefined;
      if (order === 0) return entry;
    }
  }

  /** The id of a node with exactly these bytes. */
  idOf(bytes: Uint8Array): Uint8Array | undefined {
    const limit = Math.min(this.#nodes.length, this.#nextNode + NODES_COMPARED);
    for (let i = this.#nextNode; i < limit; i++) {
      const node = this.#nodes[i] as StoredNode;
      if (node.bytes.length !== bytes.length || Buffer.compare(node.bytes, bytes) !== 0) continue;
      this.#nextNode = i + 1;
      return node.id;
    }
    return undefined;
  }

  /** The leaf that holds the next entry. */
  #entryLeaf(): LeafReader | undefined {
    while (this.#leaf === undefined || this.#leaf.left === 0) {
      const node = this.#nodes[this.#nextLeaf];
      if (node === undefined) return undefined;
      this.#nextLeaf++;
      if (isLeaf(node.bytes)) this.#leaf = new LeafReader(node.bytes);
    }
    return this.#leaf;
  }

  #end(): void {
    this.#leaf = undefined;
    this.#nextLeaf = this.#nodes.length;
  }
}

/**
 * Reads the trees of a baseline in the tree thread. A tree that cannot be read counts as absent: its files are then
 * read again, which is safe and only slower.
 */
export class BaselineTrees {
  readonly #root: Uint8Array;
  readonly #fetch: (id: Uint8Array) => Promise<FetchedFrame | undefined>;
  readonly #sealers: readonly Sealer[];
  readonly #keys: KeySet;
  readonly #chunks = new Map<string, Buffer>();
  #cached = 0;
  readonly #frames: { ids: string[]; bytes: number }[] = [];

  constructor(
    root: Uint8Array,
    keys: KeySet,
    sealers: readonly Sealer[],
    fetch: (id: Uint8Array) => Promise<FetchedFrame | undefined>,
  ) {
    this.#root = root;
    this.#keys = keys;
    this.#sealers = sealers;
    this.#fetch = fetch;
  }

  root(): Promise<BaselineFolder> {
    return this.folder(this.#root);
  }

  /** A directory by the id of its tree; what of it cannot be read is missing. */
  async folder(tree: Uint8Array): Promise<BaselineFolder> {
    const nodes: StoredNode[] = [];
    await this.#collect(tree, nodes);
    return new BaselineFolder(nodes);
  }

  async #collect(id: Uint8Array, nodes: StoredNode[]): Promise<void> {
    const bytes = await this.#chunk(id);
    if (bytes === undefined) return;
    if (!isLeaf(bytes)) {
      const node = decoded(bytes);
      if (node?.type !== "inner") return;
      for (const child of node.children) await this.#collect(child.id, nodes);
    }
    nodes.push({ id, bytes });
  }

  /** Data chunk ids of a file with an indirect list, joined; the ids of the lists are added to `lists`. Undefined: cannot be read. */
  async chunkIds(entry: TreeEntry, lists: Buffer[]): Promise<Buffer | undefined> {
    let ids = Buffer.from(entry.ids);
    for (let depth = entry.depth; depth > 0; depth--) {
      const next: Uint8Array[] = [];
      for (let at = 0; at < ids.length; at += 32) {
        const id = ids.subarray(at, at + 32);
        lists.push(Buffer.from(id));
        const bytes = await this.#chunk(id);
        const node = bytes === undefined ? undefined : decoded(bytes);
        if (node?.type !== "list") return undefined;
        next.push(node.ids);
      }
      ids = Buffer.concat(next);
    }
    return ids;
  }

  async #chunk(id: Uint8Array): Promise<Buffer | undefined> {
    const key = shortKey(id);
    const cached = this.#chunks.get(key);
    const bytes = cached ?? (await this.#load(id, key));
    if (bytes === undefined) return undefined;
    return Buffer.compare(this.#keys.chunkId(2, bytes), id) === 0 ? bytes : undefined;
  }

  async #load(id: Uint8Array, key: string): Promise<Buffer | undefined> {
    const frame = await this.#fetch(id);
    const sealer = frame === undefined ? undefined : this.#sealers[frame.repository];
    if (frame === undefined || sealer === undefined) return undefined;
    let raw: Buffer;
    try {
      const row = { suite: frame.suite, epoch: frame.epoch, keyId: frame.keyId, sealedKey: frame.sealedKey };
      const opened = sealer.unsealFrame({ kind: frame.kind, codec: frame.codec, rawLength: frame.rawLength, row }, frame.stored);
      raw = decompress(frame.codec, opened, frame.rawLength);
    } catch {
      return undefined;
    }
    const ids: string[] = [];
    let offset = 0;
    for (let i = 0; i < frame.chunkLengths.length; i++) {
      const length = frame.chunkLengths[i] as number;
      const chunkKey = shortKey(frame.chunkIds.subarray(i * 16, i * 16 + 16));
      this.#chunks.set(chunkKey, raw.subarray(offset, offset + length));
      ids.push(chunkKey);
      offset += length;
    }
    this.#frames.push({ ids, bytes: raw.length });
    this.#cached += raw.length;
    const found = this.#chunks.get(key);
    while (this.#cached > CACHE_BYTES && this.#frames.length > 1) {
      const oldest = this.#frames.shift();
      if (oldest === undefined) break;
      this.#cached -= oldest.bytes;
      for (const old of oldest.ids) this.#chunks.delete(old);
    }
    return found;
  }
}

function decoded(bytes: Uint8Array): ReturnType<typeof decodeNode> | undefined {
  try {
    return decodeNode(bytes);
  } catch {
    return undefined;
  }
}

function shortKey(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, 16).toString("latin1");
}
