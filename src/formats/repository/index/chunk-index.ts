import { strict as assert } from "node:assert";
import type { PackId } from "../../../base/ids.ts";
import type { KeyRow } from "../keys/sealer.ts";
import type { PackRecord } from "../objects/index-object.ts";
import { idStride } from "../objects/pack-frames.ts";
import { ChunkRows, FrameRows, wordAt } from "./chunk-store.ts";
import { firstSlot, IdTable } from "./id-table.ts";
import { PendingChunks } from "./pending-chunks.ts";

/** `ok`: may be used and built on. `condemned`: may be read, nothing new may refer to it. `damaged`: read as the last resort. */
export type PackState = "ok" | "condemned" | "damaged";

/** Where a chunk lies. */
export interface ChunkLocation {
  /** Number of the chunk in this index, from 0, for bitmaps; one for every location. */
  readonly chunk: number;
  /** Number of the frame, for `frame()`. */
  readonly frame: number;
  /** Within the frame's raw bytes. */
  readonly offset: number;
  readonly length: number;
}

export interface PackInfo {
  readonly id: PackId;
  readonly kind: 1 | 2;
  readonly sizeBytes: number;
  readonly state: PackState;
  /** Numbers of its frames are `firstFrame` to `firstFrame + frameCount - 1`. */
  readonly firstFrame: number;
  readonly frameCount: number;
}

/** A frame and what is needed to read it. The chunk lists are made when they are asked for. */
export interface FrameInfo {
  readonly number: number;
  readonly packId: PackId;
  readonly kind: 1 | 2;
  /** Within the pack. */
  readonly offset: number;
  readonly storedLength: number;
  readonly rawLength: number;
  readonly codec: number;
  readonly row: KeyRow;
  /** Number of its first chunk; the others follow. */
  readonly firstChunk: number;
  readonly chunkCount: number;
  /** chunkCount × 16 bytes, copied. */
  readonly chunkIds: Uint8Array;
  readonly chunkLengths: Uint32Array;
}

interface Pack {
  readonly id: PackId;
  readonly kind: 1 | 2;
  readonly sizeBytes: number;
  state: PackState;
  readonly rows: readonly KeyRow[];
  readonly firstFrame: number;
  readonly frameCount: number;
}

/**
 * Which chunk lies where, for one repository, in typed arrays: about 40 bytes a chunk. An id is its first 16 bytes, given as
 * bytes and an offset, so that lookups allocate nothing but their answer. Every location of a chunk is kept. Packs are only
 * ever added; what a prune removed is absent from the next index that is loaded.
 */
export class ChunkIndex {
  readonly #chunks = new ChunkRows();
  readonly #frames = new FrameRows();
  readonly #packs: Pack[] = [];
  readonly #packNumbers = new Map<PackId, number>();
  readonly #tables: readonly [IdTable, IdTable];
  readonly #pending: readonly [PendingChunks, PendingChunks] = [new PendingChunks(), new PendingChunks()];
  /** Key tables are the same in nearly all packs. */
  readonly #rowTables = new Map<string, readonly KeyRow[]>();

  constructor() {
    const firstWord = (row: number): number => this.#chunks.firstWord(row);
    this.#tables = [new IdTable(firstWord), new IdTable(firstWord)];
  }

  /** Locations known, duplicates counted. */
  get chunkCount(): number {
    return this.#chunks.count;
  }

  get frameCount(): number {
    return this.#frames.count;
  }

  get packCount(): number {
    return this.#packs.length;
  }

  /** Chunks claimed and not yet in a known pack. */
  get pendingCount(): number {
    return this.#pending[0].count + this.#pending[1].count;
  }

  /** Raw bytes of those. */
  get pendingBytes(): number {
    return this.#pending[0].bytes + this.#pending[1].bytes;
  }

  /** Memory of the typed arrays. */
  get bytes(): number {
    return [this.#chunks, this.#frames, ...this.#tables, ...this.#pending].reduce((sum, part) => sum + part.sizeBytes, 0);
  }

  /** Adds a pack, in state `ok`, and resolves claims of its chunks. Adding it again changes nothing. */
  addPack(record: PackRecord): void {
    if (this.#packNumbers.has(record.id)) return;
    const { id, kind, sizeBytes } = record;
    const number = this.#packs.length;
    const rows = this.#shareRows(record.rows);
    this.#packNumbers.set(id, number);
    this.#packs.push({
      id,
      kind,
      sizeBytes,
      state: "ok",
      rows,
      firstFrame: this.#frames.count,
      frameCount: record.frames.length,
    });
    let offset = 0;
    for (const frame of record.frames) {
      this.#addFrame(number, kind, offset, frame);
      offset += frame.storedLength;
    }
  }

  hasPack(id: PackId): boolean {
    return this.#packNumbers.has(id);
  }

  pack(id: PackId): PackInfo | undefined {
    const number = this.#packNumbers.get(id);
    return number === undefined ? undefined : packInfo(this.#packs[number] as Pack);
  }

  *packs(): Generator<PackInfo, void, undefined> {
    for (const pack of this.#packs) yield packInfo(pack);
  }

  packState(id: PackId): PackState | undefined {
    return this.pack(id)?.state;
  }

  /** The pack a frame lies in. */
  packOfFrame(frame: number): PackId {
    assert(frame >= 0 && frame < this.#frames.count, `frame ${frame} is known`);
    return this.#packOf(frame).id;
  }

  /** Does nothing for a pack that is not known. A condemned pack that is also damaged is `damaged`. */
  setPackState(id: PackId, state: PackState): void {
    const number = this.#packNumbers.get(id);
    if (number !== undefined) (this.#packs[number] as Pack).state = state;
  }

  /** The first location in a pack that is `ok`: what new data may build on. */
  find(kind: 1 | 2, id: Uint8Array, offset = 0): ChunkLocation | undefined {
    const chunk = this.#search(kind, id, offset, true);
    return chunk < 0 ? undefined : this.#location(chunk);
  }

  /** The best location for reading: in an `ok` pack, else in a condemned, else in a damaged one. */
  findUsable(kind: 1 | 2, id: Uint8Array, offset = 0): ChunkLocation | undefined {
    return this.find(kind, id, offset) ?? this.locations(kind, id, offset)[0];
  }

  /** Every location, those in `ok` packs first, then condemned, then damaged. */
  locations(kind: 1 | 2, id: Uint8Array, offset = 0): ChunkLocation[] {
    const found: ChunkLocation[] = [];
    this.#each(kind, id, offset, (chunk) => {
      found.push(this.#location(chunk));
      return false;
    });
    const rank = (location: ChunkLocation): number => RANK[this.#packOf(location.frame).state];
    return found.length < 2 && found.every((each) => rank(each) === 0) ? found : found.toSorted((a, b) => rank(a) - rank(b));
  }

  /** Whether a pack that is `ok` holds it. */
  has(kind: 1 | 2, id: Uint8Array, offset = 0): boolean {
    return this.#search(kind, id, offset, true) >= 0;
  }

  /**
   * Marks a chunk as being written. True when the caller must store it: no `ok` pack holds it and nobody else claimed it.
   * The claim ends when `addPack` brings the chunk, or with `unclaim`.
   */
  claim(kind: 1 | 2, id: Uint8Array, offset: number, length: number): boolean {
    assert(length > 0, "a chunk has at least one byte");
    return !this.has(kind, id, offset) && this.#pendingOf(kind).add(id, offset, length);
  }

  /** Gives a claim up; true when there was one. */
  unclaim(kind: 1 | 2, id: Uint8Array, offset = 0): boolean {
    return this.#pendingOf(kind).delete(id, offset);
  }

  isPending(kind: 1 | 2, id: Uint8Array, offset = 0): boolean {
    return this.#pendingOf(kind).has(id, offset);
  }

  /** A frame by its number. An unknown number is a programmer fault. */
  frame(number: number): FrameInfo {
    assert(number >= 0 && number < this.#frames.count, `frame ${number} is known`);
    const frame = this.#frames.get(number);
    const pack = this.#packs[frame.pack] as Pack;
    const chunks = this.#chunks;
    const { firstChunk, chunkCount } = frame;
    return {
      number,
      packId: pack.id,
      kind: pack.kind,
      offset: frame.offset,
      storedLength: frame.storedLength,
      rawLength: frame.rawLength,
      codec: frame.codec,
      row: pack.rows[frame.row] as KeyRow,
      firstChunk,
      chunkCount,
      get chunkIds(): Uint8Array {
        const ids = new Uint8Array(chunkCount * 16);
        for (let i = 0; i < chunkCount; i++) chunks.copyId(firstChunk + i, ids, i * 16);
        return ids;
      },
      get chunkLengths(): Uint32Array {
        return Uint32Array.from({ length: chunkCount }, (_, i) => chunks.length(firstChunk + i));
      },
    };
  }

  /** The frames of a pack in order; none for an unknown pack. */
  *framesOf(id: PackId): Generator<FrameInfo, void, undefined> {
    const number = this.#packNumbers.get(id);
    if (number === undefined) return;
    const { firstFrame, frameCount } = this.#packs[number] as Pack;
    for (let i = 0; i < frameCount; i++) yield this.frame(firstFrame + i);
  }

  /** The chunks of a frame in order. */
  *chunksOf(frame: number): Generator<ChunkLocation, void, undefined> {
    const { firstChunk, chunkCount } = this.#frames.get(frame);
    for (let i = 0; i < chunkCount; i++) yield this.#location(firstChunk + i);
  }

  /** Location of a chunk by its number. */
  chunk(number: number): ChunkLocation {
    assert(number >= 0 && number < this.#chunks.count, `chunk ${number} is known`);
    return this.#location(number);
  }

  /** Writes the 16 bytes of a chunk's id to `target` at `offset`. */
  copyChunkId(chunk: number, target: Uint8Array, offset: number): void {
    this.#chunks.copyId(chunk, target, offset);
  }

  /** A pack as an index object holds it; undefined for an unknown pack. */
  record(id: PackId): PackRecord | undefined {
    const number = this.#packNumbers.get(id);
    if (number === undefined) return undefined;
    const { kind, sizeBytes, rows } = this.#packs[number] as Pack;
    const frames = Array.from(this.framesOf(id), ({ codec, row, storedLength, rawLength, chunkIds, chunkLengths }) => {
      return { codec, row: rows.indexOf(row), storedLength, rawLength, chunkIds, chunkLengths };
    });
    return { id, kind, sizeBytes, rows, frames };
  }

  #addFrame(pack: number, kind: 1 | 2, offset: number, frame: PackRecord["frames"][number]): void {
    const { storedLength, rawLength, codec, row, chunkIds, chunkLengths } = frame;
    const chunkCount = chunkLengths.length;
    const stride = idStride(frame);
    const firstChunk = this.#chunks.count;
    const number = this.#frames.append({ pack, offset, storedLength, rawLength, codec, row, firstChunk, chunkCount });
    const table = this.#tables[kind - 1] as IdTable;
    const pending = this.#pendingOf(kind);
    let inFrame = 0;
    for (let i = 0; i < chunkCount; i++) {
      const chunk = this.#chunks.append(chunkIds, i * stride, number, inFrame, chunkLengths[i]);
      table.insert(wordAt(chunkIds, i * stride), chunk);
      if (pending.count > 0) pending.delete(chunkIds, i * stride);
      inFrame += chunkLengths[i];
    }
  }

  /** Number of the first chunk of this id (in an `ok` pack), or -1. */
  #search(kind: 1 | 2, id: Uint8Array, offset: number, onlyOk: boolean): number {
    return this.#each(kind, id, offset, onlyOk ? this.#isOk : ANY);
  }

  readonly #isOk = (chunk: number): boolean => this.#packOf(this.#chunks.frame(chunk)).state === "ok";

  /** Calls `accept` for every chunk of this id until it says true; returns that one, or -1. */
  #each(kind: 1 | 2, id: Uint8Array, offset: number, accept: (chunk: number) => boolean): number {
    const a = wordAt(id, offset);
    const b = wordAt(id, offset + 4);
    const c = wordAt(id, offset + 8);
    const d = wordAt(id, offset + 12);
    const part = (this.#tables[kind - 1] as IdTable).part(a);
    const mask = part.length - 1;
    for (let slot = firstSlot(a, mask); part[slot] !== 0; slot = (slot + 1) & mask) {
      const chunk = part[slot] - 1;
      if (this.#chunks.equals(chunk, a, b, c, d) && accept(chunk)) return chunk;
    }
    return -1;
  }

  #location(chunk: number): ChunkLocation {
    const chunks = this.#chunks;
    return { chunk, frame: chunks.frame(chunk), offset: chunks.offset(chunk), length: chunks.length(chunk) };
  }

  #packOf(frame: number): Pack {
    return this.#packs[this.#frames.pack(frame)] as Pack;
  }

  #pendingOf(kind: 1 | 2): PendingChunks {
    return this.#pending[kind - 1] as PendingChunks;
  }

  #shareRows(rows: readonly KeyRow[]): readonly KeyRow[] {
    const text = (row: KeyRow): string => `${row.suite},${row.epoch},${hex(row.keyId)},${hex(row.sealedKey)}`;
    const key = rows.map(text).join(";");
    const shared = this.#rowTables.get(key);
    if (shared !== undefined) return shared;
    this.#rowTables.set(key, rows);
    return rows;
  }
}

const RANK: Readonly<Record<PackState, number>> = { ok: 0, condemned: 1, damaged: 2 };

const ANY = (): boolean => true;

function packInfo(pack: Pack): PackInfo {
  const { id, kind, sizeBytes, state, firstFrame, frameCount } = pack;
  return { id, kind, sizeBytes, state, firstFrame, frameCount };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
