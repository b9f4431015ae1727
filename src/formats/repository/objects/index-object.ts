import { strict as assert } from "node:assert";
import { asObjectId, asPackId } from "../../../base/ids.ts";
import type { ObjectId, PackId } from "../../../base/ids.ts";
import { ByteReader, ByteWriter } from "../../../codec/binary.ts";
import type { KeyRow } from "../keys/sealer.ts";
import { TRAILER_SIZE } from "./pack-directory.ts";
import type { PackDirectory } from "./pack-directory.ts";
import { PACK_SIZE_LIMIT, readFrames, readRows, writeFrames, writeRows } from "./pack-frames.ts";
import type { PackFrame } from "./pack-frames.ts";

const VERSION = 1;
const ID_BYTES = 16;
const OBJECT_ID_BYTES = 32;

/** One pack as an index knows it. The chunk ids of its frames have 32 bytes, or 16 as read from an index: only those count. */
export interface PackRecord {
  readonly id: PackId;
  readonly kind: 1 | 2;
  readonly sizeBytes: number;
  readonly rows: readonly KeyRow[];
  readonly frames: readonly PackFrame[];
}

export interface IndexObject {
  /** Index objects that this one replaces. */
  readonly supersedes: readonly ObjectId[];
  readonly packs: readonly PackRecord[];
}

/** The record of a pack, from its directory. */
export function toPackRecord(id: PackId, sizeBytes: number, directory: PackDirectory): PackRecord {
  return { id, sizeBytes, kind: directory.kind, rows: directory.rows, frames: directory.frames };
}

export function encodeIndexObject(index: IndexObject): Buffer {
  const writer = new ByteWriter(64 * 1024);
  writer.u8(VERSION).varint(index.supersedes.length);
  for (const id of index.supersedes) writer.raw(idBytes(id));
  writer.varint(index.packs.length);
  for (const pack of index.packs) {
    writer.raw(idBytes(pack.id)).u8(pack.kind).varint(pack.sizeBytes);
    writeRows(writer, pack.rows);
    writeFrames(writer, pack.frames, pack.rows.length, ID_BYTES);
  }
  return writer.finish();
}

/** Reads an index object's content. Throws `object_malformed` for anything outside the bounds of the format. */
export function decodeIndexObject(content: Uint8Array): IndexObject {
  const reader = new ByteReader(content, "The index object");
  const version = reader.u8();
  if (version !== VERSION) throw reader.malformed(`version ${version} is unknown`);
  const supersedes: ObjectId[] = [];
  for (let left = reader.count(OBJECT_ID_BYTES, Infinity); left > 0; left--)
    supersedes.push(asObjectId(reader.raw(OBJECT_ID_BYTES).toString("hex")));
  const packs: PackRecord[] = [];
  for (let left = reader.count(OBJECT_ID_BYTES + 4, Infinity); left > 0; left--) packs.push(readPack(reader));
  reader.done();
  return { supersedes, packs };
}

function readPack(reader: ByteReader): PackRecord {
  const id = asPackId(reader.raw(OBJECT_ID_BYTES).toString("hex"));
  const kind = reader.u8();
  if (kind !== 1 && kind !== 2) throw reader.malformed(`pack kind ${kind} is unknown`);
  const sizeBytes = reader.varint(PACK_SIZE_LIMIT - 1);
  const rows = readRows(reader);
  const { frames, storedBytes } = readFrames(reader, rows.length, ID_BYTES);
  if (storedBytes + TRAILER_SIZE >= sizeBytes) throw reader.malformed(`the frames of pack ${id} exceed its size`);
  return { id, kind, sizeBytes, rows, frames };
}

function idBytes(hex: string): Buffer {
  const bytes = Buffer.from(hex, "hex");
  assert(bytes.length === OBJECT_ID_BYTES, `${hex} is an object id`);
  return bytes;
}
