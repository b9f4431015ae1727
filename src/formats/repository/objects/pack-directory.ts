import { strict as assert } from "node:assert";
import { HoldfastError } from "../../../base/errors.ts";
import { ByteReader, ByteWriter } from "../../../codec/binary.ts";
import { KIND } from "../../../codec/seal.ts";
import type { KeyRow, Sealer } from "../keys/sealer.ts";
import { PACK_SIZE_LIMIT, readFrames, readRows, writeFrames, writeRows } from "./pack-frames.ts";
import type { PackFrame } from "./pack-frames.ts";

export type { PackFrame } from "./pack-frames.ts";

/** What a pack says of itself: 1 data, 2 trees; its key table; its frames from offset 0 on. Ids have 32 bytes. */
export interface PackDirectory {
  readonly kind: 1 | 2;
  readonly rows: readonly KeyRow[];
  readonly frames: readonly PackFrame[];
}

/** Bytes at the very end of a pack that say where its directory begins. */
export const TRAILER_SIZE = 16;

const VERSION = 1;
const ID_BYTES = 32;
const TRAILER_MAGIC = Buffer.from("HFPACK01", "ascii");
/** A first read of the tail gets the directory of nearly every pack in one go: 32 MiB in chunks of 64 KiB have 17 KiB of it. */
const TAIL_BYTES = 64 * 1024;

export function encodeDirectory(directory: PackDirectory): Buffer {
  const writer = new ByteWriter();
  writer.u8(VERSION).u8(directory.kind);
  writeRows(writer, directory.rows);
  writeFrames(writer, directory.frames, directory.rows.length, ID_BYTES);
  return writer.finish();
}

/** Reads a directory's content. Throws `object_malformed` for anything outside the bounds of the format. */
export function decodeDirectory(content: Uint8Array): PackDirectory {
  return decode(content).directory;
}

function decode(content: Uint8Array): { directory: PackDirectory; storedBytes: number } {
  const reader = new ByteReader(content, "The pack directory");
  const version = reader.u8();
  if (version !== VERSION) throw reader.malformed(`version ${version} is unknown`);
  const kind = reader.u8();
  if (kind !== 1 && kind !== 2) throw reader.malformed(`pack kind ${kind} is unknown`);
  const rows = readRows(reader);
  const { frames, storedBytes } = readFrames(reader, rows.length, ID_BYTES);
  reader.done();
  return { directory: { kind, rows, frames }, storedBytes };
}

export function encodeTrailer(directorySize: number, kind: 1 | 2): Buffer {
  const trailer = Buffer.alloc(TRAILER_SIZE);
  trailer.writeUInt32LE(directorySize, 0);
  trailer[4] = kind;
  TRAILER_MAGIC.copy(trailer, 8);
  return trailer;
}

/** Reads the last 16 bytes of a pack; `bytes` may be more of its tail. */
export function decodeTrailer(bytes: Uint8Array): { readonly directorySize: number; readonly kind: 1 | 2 } {
  const reader = new ByteReader(bytes.subarray(Math.max(0, bytes.length - TRAILER_SIZE)), "The trailer of the pack");
  const directorySize = reader.u32();
  const kind = reader.u8();
  const zeros = reader.raw(3);
  if (!reader.raw(8).equals(TRAILER_MAGIC)) throw reader.malformed("it does not end as a pack");
  if (kind !== 1 && kind !== 2) throw reader.malformed(`pack kind ${kind} is unknown`);
  if (zeros.some((byte) => byte !== 0)) throw reader.malformed("a reserved byte is not zero");
  return { directorySize, kind };
}

/**
 * The end of a pack whose frames take `framesTotalBytes`: the sealed directory, padded so that the whole pack is a
 * multiple of 4,096 bytes, and the trailer. Throws `write_verification_failed` when the directory does not open again.
 */
export function finishPack(sealer: Sealer, directory: PackDirectory, framesTotalBytes: number): Uint8Array[] {
  const listed = directory.frames.reduce((sum, frame) => sum + frame.storedLength, 0);
  assert(listed === framesTotalBytes, `the directory lists ${listed} bytes of frames, not ${framesTotalBytes}`);
  const object = sealer.sealProven(KIND.directory, encodeDirectory(directory), { extraBytes: framesTotalBytes + TRAILER_SIZE });
  assert(framesTotalBytes + object.length + TRAILER_SIZE < PACK_SIZE_LIMIT, "a pack is smaller than 1 GiB");
  return [object, encodeTrailer(object.length, directory.kind)];
}

/** Where the directory of a pack of `packSize` bytes lies, by its tail. */
export function locateDirectory(tail: Uint8Array, packSize: number): { offset: number; size: number; kind: 1 | 2 } {
  if (packSize >= PACK_SIZE_LIMIT)
    throw new HoldfastError("object_malformed", `A pack of ${packSize} bytes exceeds the bound of 1 GiB`);
  const { directorySize, kind } = decodeTrailer(tail);
  const offset = packSize - TRAILER_SIZE - directorySize;
  if (offset < 0)
    throw new HoldfastError(
      "object_malformed",
      `The trailer of the pack names a directory of ${directorySize} bytes in ${packSize}`,
    );
  return { offset, size: directorySize, kind };
}

/** Opens the directory object of a pack; frames, directory and trailer must make exactly `packSize` bytes. */
export function openDirectory(sealer: Sealer, object: Uint8Array, packSize: number): PackDirectory {
  const content = sealer.openObject(KIND.directory, object, { extraBytes: packSize - object.length });
  const { directory, storedBytes } = decode(content);
  if (storedBytes + object.length + TRAILER_SIZE !== packSize)
    throw new HoldfastError(
      "object_malformed",
      `The pack directory lists ${storedBytes} bytes of frames, but the pack has ${packSize - object.length - TRAILER_SIZE}`,
    );
  return directory;
}

/**
 * Reads a pack's directory through `readRange`, in one read for usual packs and two for others. Rejects like
 * `Sealer.openObject`, with `object_malformed` for sizes that do not add up, and as `readRange` does.
 */
export async function readDirectory(
  sealer: Sealer,
  packSize: number,
  readRange: (offset: number, length: number) => Promise<Uint8Array>,
): Promise<PackDirectory> {
  if (packSize < TRAILER_SIZE) throw new HoldfastError("object_malformed", `A pack of ${packSize} bytes has no trailer`);
  const tailSize = Math.min(packSize, TAIL_BYTES);
  const tail = await readRange(packSize - tailSize, tailSize);
  const { offset, size, kind } = locateDirectory(tail, packSize);
  const inTail = offset - (packSize - tailSize);
  const object = inTail >= 0 ? tail.subarray(inTail, inTail + size) : await readRange(offset, size);
  const directory = openDirectory(sealer, object, packSize);
  if (directory.kind !== kind)
    throw new HoldfastError("object_malformed", "The trailer and the directory of the pack differ in kind");
  return directory;
}
