import { strict as assert } from "node:assert";
import { crc32 } from "node:zlib";
import { ByteReader, ByteWriter } from "../../../codec/binary.ts";
import { NO_PROFILE } from "../../../chunker/profile.ts";
import { decodeEntry, isEntryName, MAX_ENTRY_IDS, TREE_BOUNDS, TREE_ID_BYTES } from "./tree-entry.ts";
import type { TreeEntry } from "./tree-entry.ts";

export * from "./tree-entry.ts";

/** Nodes of trees exactly as `docs/format.md` has them: leaves, inner nodes and chunk lists, and how a directory is split. */

const VERSION = 1;
const LEAF = 0;
const INNER = 1;
const LIST = 2;
/** Ids of one list chunk. */
export const LIST_IDS = 4096;
/** Bytes of the smallest entry, for bounding counts. */
const MIN_ENTRY_BYTES = 28;
/** From here on a name may end a node, so that nodes have some 128 to 256 KiB and end alike after a change before them. */
const SPLIT_FROM_BYTES = 128 * 1024;
/** Here every node ends. */
const SPLIT_AT_BYTES = 1024 * 1024;
const SPLIT_MODULUS = 64;

export interface TreeChild {
  /** Name of the first entry below. */
  readonly firstName: Uint8Array;
  /** 32 bytes. */
  readonly id: Uint8Array;
}

export type TreeNode =
  | { readonly type: "leaf"; readonly entries: TreeEntry[] }
  | { readonly type: "inner"; readonly children: TreeChild[] }
  | { readonly type: "list"; readonly ids: Uint8Array };

/**
 * Reads a node, checking everything the format promises: names valid, sorted and unique; flags, profiles, depths, extents
 * and bounds; nothing after the end. Throws `object_malformed`. Buffers are views of `bytes`.
 */
export function decodeNode(bytes: Uint8Array): TreeNode {
  const reader = new ByteReader(bytes, "The tree node");
  const version = reader.u8();
  if (version !== VERSION) throw reader.malformed(`version ${version} is unknown`);
  const type = reader.u8();
  const node = decodeNodeBody(reader, type);
  reader.done();
  return node;
}

function decodeNodeBody(reader: ByteReader, type: number): TreeNode {
  switch (type) {
    case LEAF:
      return { type: "leaf", entries: decodeEntries(reader) };
    case INNER:
      return { type: "inner", children: decodeChildren(reader) };
    case LIST: {
      const count = reader.count(TREE_ID_BYTES, LIST_IDS);
      if (count === 0) throw reader.malformed("a chunk list is empty");
      return { type: "list", ids: reader.raw(count * TREE_ID_BYTES) };
    }
    default:
      throw reader.malformed(`node type ${type} is unknown`);
  }
}

function decodeEntries(reader: ByteReader): TreeEntry[] {
  const entries: TreeEntry[] = [];
  let before: Buffer | undefined;
  for (let left = reader.count(MIN_ENTRY_BYTES, Infinity); left > 0; left--) {
    const name = decodeName(reader, before);
    before = name;
    entries.push(decodeEntry(reader, name));
  }
  return entries;
}

/** True for the bytes of a leaf, whatever follows. */
export function isLeaf(bytes: Uint8Array): boolean {
  return bytes[0] === VERSION && bytes[1] === LEAF;
}

/** An entry as a leaf holds it. */
export interface StoredEntry {
  readonly name: Uint8Array;
  readonly encoded: Uint8Array;
}

/** A file that was found by how its entry begins; `ids` are data chunks. */
export interface StoredFile extends StoredEntry {
  readonly ids: Uint8Array;
}

/**
 * Reads a leaf entry by entry, and steps over files that are known already without decoding them. Every method throws
 * `object_malformed` for what the format forbids. Buffers are views of `bytes`.
 */
export class LeafReader {
  readonly #bytes: Uint8Array;
  readonly #reader: ByteReader;
  #left: number;
  #before: Uint8Array | undefined;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#reader = new ByteReader(bytes, "The tree node");
    const version = this.#reader.u8();
    const type = this.#reader.u8();
    if (version !== VERSION || type !== LEAF) throw this.#reader.malformed("it is no leaf of this version");
    this.#left = this.#reader.count(MIN_ENTRY_BYTES, Infinity);
  }

  /** Entries not read yet. */
  get left(): number {
    return this.#left;
  }

  /** The next entry; undefined at the end. */
  next(): { readonly entry: TreeEntry; readonly encoded: Uint8Array } | undefined {
    const reader = this.#reader;
    if (this.#left === 0) {
      reader.done();
      return undefined;
    }
    const start = reader.position;
    const name = decodeName(reader, this.#before);
    this.#before = name;
    const entry = decodeEntry(reader, name);
    this.#left--;
    return { entry, encoded: this.#bytes.subarray(start, reader.position) };
  }

  /**
   * The next entry when it begins with `head` (of `encodeFileHead`, for `name`), has this profile, and its ids are those of
   * data chunks, as many as `size` bytes can have at most: then it is stepped over. Else undefined, and `next` gives it.
   */
  take(name: Uint8Array, head: Uint8Array, profile: number, size: number): StoredFile | undefined {
    if (this.#left === 0) return undefined;
    const reader = this.#reader;
    const bytes = this.#bytes;
    const start = reader.position;
    const end = start + head.length;
    // Profile, depth and count follow at least.
    if (end + 3 > bytes.length) return undefined;
    for (let i = 0; i < head.length; i++) if (bytes[start + i] !== head[i]) return undefined;
    if (bytes[end] !== profile || bytes[end + 1] !== 0) return undefined;
    reader.skip(head.length + 2);
    const count = reader.count(TREE_ID_BYTES, MAX_ENTRY_IDS);
    if ((count === 0) !== (profile === NO_PROFILE))
      throw reader.malformed("a file has a profile without chunks, or chunks without");
    if (count > size) throw reader.malformed(`a file of ${size} bytes of data has ${count} chunks`);
    const ids = reader.raw(count * TREE_ID_BYTES);
    this.#left--;
    this.#before = name;
    return { name, encoded: bytes.subarray(start, reader.position), ids };
  }
}

function decodeChildren(reader: ByteReader): TreeChild[] {
  const children: TreeChild[] = [];
  let before: Buffer | undefined;
  for (let left = reader.count(TREE_ID_BYTES + 2, Infinity); left > 0; left--) {
    const firstName = decodeName(reader, before);
    before = firstName;
    children.push({ firstName, id: reader.raw(TREE_ID_BYTES) });
  }
  if (children.length === 0) throw reader.malformed("an inner node is empty");
  return children;
}

function decodeName(reader: ByteReader, before: Uint8Array | undefined): Buffer {
  const name = reader.bytes(TREE_BOUNDS.nameBytes);
  if (!isEntryName(name)) throw reader.malformed("a name is not valid");
  if (before !== undefined && Buffer.compare(before, name) >= 0) throw reader.malformed("names are not sorted and unique");
  return name;
}

/** Stores a finished node and returns its 32-byte chunk id. The buffer is the callee's. */
export type EmitNode = (node: Buffer) => Uint8Array;

const NO_NAME = Buffer.alloc(0);
/** Bodies of finished splitters: most directories are small, and memory for each anew costs more than filling it. */
const spareBodies: ByteWriter[] = [];
const MAX_SPARE_BODIES = 8;

interface Level {
  readonly body: ByteWriter;
  firstName: Buffer;
  count: number;
  emitted: number;
}

/**
 * Builds the tree of one directory from entries that arrive in name order, holding at most one unfinished node a level.
 * Which nodes come out depends on the entries alone, so an unchanged stretch gives unchanged nodes.
 */
export class TreeSplitter {
  readonly #emit: EmitNode;
  readonly #levels: Level[] = [];
  readonly #row = new ByteWriter(128);
  #lastName = Buffer.alloc(64);
  #lastLength = -1;

  constructor(emit: EmitNode) {
    this.#emit = emit;
  }

  /** Adds an entry as `encodeEntry` wrote it; `encoded` is copied. Names that do not ascend are a programmer fault. */
  add(name: Uint8Array, encoded: Uint8Array): void {
    assert(this.#ascends(name), "entries come sorted by name and once");
    if (name.length > this.#lastName.length) this.#lastName = Buffer.alloc(name.length * 2);
    this.#lastName.set(name);
    this.#lastLength = name.length;
    this.#append(0, name, encoded);
  }

  /** Emits what is left and returns the id of the root. The splitter is then used up. */
  finish(): Uint8Array {
    const root = this.#finish();
    for (const { body } of this.#levels.splice(0)) if (spareBodies.length < MAX_SPARE_BODIES) spareBodies.push(body.reset());
    return root;
  }

  #finish(): Uint8Array {
    if (this.#levels.length === 0) return this.#emit(encodeNode(LEAF, 0, new Uint8Array()));
    for (let height = 0; ; height++) {
      const level = this.#levels[height] as Level;
      if (level.count > 0) {
        const id = this.#flush(height);
        if (level.emitted === 1) return id;
        this.#appendChild(height + 1, level.firstName, id);
      } else if (level.emitted === 1) {
        // The only node of this level ended by itself: its id is the one row above.
        return Buffer.from((this.#levels[height + 1] as Level).body.view().subarray(-TREE_ID_BYTES));
      }
    }
  }

  #ascends(name: Uint8Array): boolean {
    const last = this.#lastName;
    const shared = Math.min(this.#lastLength, name.length);
    for (let i = 0; i < shared; i++) if (last[i] !== name[i]) return last[i] < name[i];
    return this.#lastLength < name.length;
  }

  #append(height: number, name: Uint8Array, bytes: Uint8Array): void {
    const level = (this.#levels[height] ??= {
      body: spareBodies.pop() ?? new ByteWriter(16 * 1024),
      firstName: NO_NAME,
      count: 0,
      emitted: 0,
    });
    if (level.count === 0) level.firstName = Buffer.from(name);
    level.body.raw(bytes);
    level.count++;
    const size = level.body.length;
    if (size >= SPLIT_AT_BYTES || (size >= SPLIT_FROM_BYTES && crc32(name) % SPLIT_MODULUS === 0))
      this.#appendChild(height + 1, level.firstName, this.#flush(height));
  }

  #appendChild(height: number, firstName: Buffer, id: Uint8Array): void {
    assert(id.length === TREE_ID_BYTES, "a tree id has 32 bytes");
    this.#append(height, firstName, this.#row.reset().bytes(firstName).raw(id).view());
  }

  #flush(height: number): Uint8Array {
    const level = this.#levels[height] as Level;
    const id = this.#emit(encodeNode(height === 0 ? LEAF : INNER, level.count, level.body.view()));
    level.body.reset();
    level.count = 0;
    level.emitted++;
    return id;
  }
}

/** What an entry holds for data chunk ids (n × 32 bytes): themselves up to 256, else list chunks over them. */
export function buildChunkList(ids: Uint8Array, emit: EmitNode): { depth: number; ids: Uint8Array } {
  assert(ids.length % TREE_ID_BYTES === 0, "chunk ids have 32 bytes");
  let depth = 0;
  let level = ids;
  while (level.length > MAX_ENTRY_IDS * TREE_ID_BYTES) {
    const above: Uint8Array[] = [];
    for (let at = 0; at < level.length; at += LIST_IDS * TREE_ID_BYTES) {
      const part = level.subarray(at, at + LIST_IDS * TREE_ID_BYTES);
      above.push(emit(encodeNode(LIST, part.length / TREE_ID_BYTES, part)));
    }
    level = Buffer.concat(above);
    depth++;
  }
  return { depth, ids: level };
}

function encodeNode(type: number, count: number, body: Uint8Array): Buffer {
  return new ByteWriter(body.length + 12).u8(VERSION).u8(type).varint(count).raw(body).view();
}
