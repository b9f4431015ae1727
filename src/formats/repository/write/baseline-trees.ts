import { decompress } from "../../../codec/compress.ts";
import type { KeySet } from "../keys/key-set.ts";
import type { Sealer } from "../keys/sealer.ts";
import type { TreeEntry } from "../objects/tree-entry.ts";
import { decodeNode } from "../objects/tree-node.ts";
import type { FetchedFrame } from "./messages.ts";

/** Decoded tree frames kept; walks follow the order in which trees were written, so few are needed. */
const CACHE_BYTES = 48 * 2 ** 20;

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

  root(): Promise<readonly TreeEntry[]> {
    return this.entries(this.#root);
  }

  /** All entries of a directory in order; empty when it cannot be read. */
  async entries(tree: Uint8Array): Promise<readonly TreeEntry[]> {
    const node = await this.#node(tree);
    if (node === undefined) return [];
    if (node.type === "leaf") return node.entries;
    if (node.type !== "inner") return [];
    const all: TreeEntry[] = [];
    for (const child of node.children) for (const entry of await this.entries(child.id)) all.push(entry);
    return all;
  }

  /** Data chunk ids of a file with an indirect list, joined; the ids of the lists are added to `lists`. Undefined: cannot be read. */
  async chunkIds(entry: TreeEntry, lists: Buffer[]): Promise<Buffer | undefined> {
    let ids = Buffer.from(entry.ids);
    for (let depth = entry.depth; depth > 0; depth--) {
      const next: Uint8Array[] = [];
      for (let at = 0; at < ids.length; at += 32) {
        const id = ids.subarray(at, at + 32);
        lists.push(Buffer.from(id));
        const node = await this.#node(id);
        if (node?.type !== "list") return undefined;
        next.push(node.ids);
      }
      ids = Buffer.concat(next);
    }
    return ids;
  }

  async #node(id: Uint8Array): Promise<ReturnType<typeof decodeNode> | undefined> {
    const bytes = await this.#chunk(id);
    if (bytes === undefined) return undefined;
    try {
      return decodeNode(bytes);
    } catch {
      return undefined;
    }
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

function shortKey(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, 16).toString("latin1");
}
