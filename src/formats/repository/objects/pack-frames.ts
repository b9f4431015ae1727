import { strict as assert } from "node:assert";
import type { ByteReader, ByteWriter } from "../../../codec/binary.ts";
import { isCodecNumber } from "../../../codec/compress.ts";
import { KEY_ID_BYTES, MAX_FRAME_RAW_BYTES, MAX_SEALED_KEY_BYTES, SEAL_OVERHEAD_BYTES } from "../../../codec/seal.ts";
import type { KeyRow } from "../keys/sealer.ts";

/** What a pack directory and an index object share: the key table and the list of frames. */

export const MAX_ROWS = 1024;
export const MAX_FRAMES = 65_536;
export const MAX_PACK_CHUNKS = 1_048_576;
/** A pack is smaller than this. */
export const PACK_SIZE_LIMIT = 2 ** 30;
export const MAX_CHUNK_BYTES = 8 * 1024 * 1024;

/** One frame of a pack. Frames and the chunks in them lie without gaps, so offsets are sums. */
export interface PackFrame {
  readonly codec: number;
  /** Row of the pack's key table. */
  readonly row: number;
  readonly storedLength: number;
  readonly rawLength: number;
  /** Ids one after the other, 32 bytes each; as read from an index the first 16. */
  readonly chunkIds: Uint8Array;
  /** Raw bytes of each chunk. */
  readonly chunkLengths: Uint32Array;
}

/** Bytes from one chunk id of a frame to the next: 32, or 16 as read from an index. */
export function idStride(frame: Pick<PackFrame, "chunkIds" | "chunkLengths">): number {
  const stride = frame.chunkIds.length / frame.chunkLengths.length;
  assert(stride === 32 || stride === 16, "a frame has an id for every chunk");
  return stride;
}

export function writeRows(writer: ByteWriter, rows: readonly KeyRow[]): void {
  assert(rows.length <= MAX_ROWS, "a pack has at most 1,024 key rows");
  writer.varint(rows.length);
  for (const row of rows) {
    assert(row.keyId.length === KEY_ID_BYTES && row.sealedKey.length <= MAX_SEALED_KEY_BYTES, "a key row is well formed");
    writer.u8(row.suite).u32(row.epoch).raw(row.keyId).bytes(row.sealedKey);
  }
}

export function readRows(reader: ByteReader): KeyRow[] {
  const count = reader.count(1 + 4 + KEY_ID_BYTES + 1, MAX_ROWS);
  const rows: KeyRow[] = [];
  for (let i = 0; i < count; i++) {
    const suite = reader.u8();
    const epoch = reader.u32();
    // Copied: rows are kept for as long as an index, the object's bytes are not.
    const keyId = Buffer.from(reader.raw(KEY_ID_BYTES));
    rows.push({ suite, epoch, keyId, sealedKey: Buffer.from(reader.bytes(MAX_SEALED_KEY_BYTES)) });
  }
  return rows;
}

export function writeFrames(writer: ByteWriter, frames: readonly PackFrame[], rowCount: number, idBytes: 16 | 32): void {
  assert(frames.length <= MAX_FRAMES, "a pack has at most 65,536 frames");
  writer.varint(frames.length);
  for (const frame of frames) {
    const { chunkIds, chunkLengths } = frame;
    assert(frame.row < rowCount, "a frame names a row of its pack");
    const stride = idStride(frame);
    assert(stride >= idBytes, "a directory has 32-byte chunk ids");
    writer.u8(frame.codec).varint(frame.row).varint(frame.storedLength).varint(frame.rawLength).varint(chunkLengths.length);
    let sum = 0;
    for (let i = 0; i < chunkLengths.length; i++) {
      writer.raw(chunkIds.subarray(i * stride, i * stride + idBytes)).varint(chunkLengths[i]);
      sum += chunkLengths[i];
    }
    assert(sum === frame.rawLength, "the chunks of a frame sum up to its raw length");
  }
}

/** Reads frames with every bound checked; `storedBytes` is the sum of their stored lengths. */
export function readFrames(reader: ByteReader, rowCount: number, idBytes: 16 | 32): { frames: PackFrame[]; storedBytes: number } {
  const count = reader.count(5 + idBytes, MAX_FRAMES);
  const frames: PackFrame[] = [];
  let storedBytes = 0;
  let chunks = 0;
  for (let i = 0; i < count; i++) {
    const frame = readFrame(reader, rowCount, idBytes, MAX_PACK_CHUNKS - chunks);
    chunks += frame.chunkLengths.length;
    storedBytes += frame.storedLength;
    if (storedBytes >= PACK_SIZE_LIMIT) throw reader.malformed("its frames exceed the size of a pack");
    frames.push(frame);
  }
  return { frames, storedBytes };
}

function readFrame(reader: ByteReader, rowCount: number, idBytes: 16 | 32, maxChunks: number): PackFrame {
  const codec = reader.u8();
  if (!isCodecNumber(codec)) throw reader.malformed(`codec ${codec} is unknown`);
  const row = reader.varint();
  if (row >= rowCount) throw reader.malformed(`a frame names key row ${row} of ${rowCount}`);
  const storedLength = reader.varint();
  const rawLength = reader.varint(MAX_FRAME_RAW_BYTES);
  const largest = rawLength + SEAL_OVERHEAD_BYTES;
  if (storedLength > largest || storedLength < SEAL_OVERHEAD_BYTES || (codec === 0 && storedLength !== largest))
    throw reader.malformed(`a frame of ${rawLength} raw bytes cannot have ${storedLength} stored bytes`);
  const chunks = reader.count(idBytes + 1, maxChunks);
  if (chunks === 0) throw reader.malformed("a frame has no chunk");
  const chunkIds = new Uint8Array(chunks * idBytes);
  const chunkLengths = new Uint32Array(chunks);
  let sum = 0;
  for (let i = 0; i < chunks; i++) {
    chunkIds.set(reader.raw(idBytes), i * idBytes);
    const length = reader.varint(MAX_CHUNK_BYTES);
    if (length === 0) throw reader.malformed("a chunk is empty");
    chunkLengths[i] = length;
    sum += length;
  }
  if (sum !== rawLength) throw reader.malformed(`the chunks of a frame have ${sum} bytes, not ${rawLength}`);
  return { codec, row, storedLength, rawLength, chunkIds, chunkLengths };
}
