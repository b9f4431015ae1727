import { createHash } from "node:crypto";
import { decompress } from "../../../codec/compress.ts";
import type { Sealer } from "../keys/sealer.ts";
import { locateDirectory, openDirectory, type PackDirectory } from "../objects/pack-directory.ts";
import type { PackRecord } from "../objects/index-object.ts";
import { idStride, type PackFrame } from "../objects/pack-frames.ts";
import type { PackReply, PackRequest } from "./messages.ts";
import { release } from "./release.ts";

/**
 * Proves every byte of a pack: its SHA-256, its directory, that directory and index agree, and each frame down to the ids
 * of its chunks. Never throws: what is wrong is the answer.
 */
export function checkPack(sealer: Sealer, request: PackRequest): PackReply {
  const { bytes, record } = request;
  const problems: string[] = [];
  if (createHash("sha256").update(bytes).digest("hex") !== request.id) problems.push("its SHA-256 is not its name");
  let directory: PackDirectory | undefined;
  try {
    const { offset, size } = locateDirectory(bytes, bytes.length);
    directory = openDirectory(sealer, bytes.subarray(offset, offset + size), bytes.length);
    const difference = record === undefined ? undefined : differenceOf(record, directory);
    if (difference !== undefined) problems.push(`its directory and the index differ in ${difference}`);
  } catch (error) {
    problems.push(`its directory cannot be read: ${messageOf(error)}`);
  }
  const listed = record ?? directory;
  const badFrames: number[] = [];
  let offset = 0;
  for (const [number, frame] of (listed?.frames ?? []).entries()) {
    const why =
      listed === undefined ? undefined : frameProblem(sealer, listed, frame, bytes.subarray(offset, offset + frame.storedLength));
    if (why !== undefined) {
      if (badFrames.length === 0) problems.push(`frame ${number} cannot be read: ${why}`);
      badFrames.push(number);
    }
    offset += frame.storedLength;
  }
  if (badFrames.length > 1) problems.push(`${badFrames.length} of ${listed?.frames.length ?? 0} frames cannot be read`);
  return { type: "pack", problems, badFrames };
}

function frameProblem(
  sealer: Sealer,
  listed: Pick<PackRecord, "kind" | "rows">,
  frame: PackFrame,
  stored: Uint8Array,
): string | undefined {
  try {
    const { kind, rows } = listed;
    const row = rows[frame.row];
    if (row === undefined) return "its key row is missing";
    const plain = sealer.unsealFrame({ kind, codec: frame.codec, rawLength: frame.rawLength, row }, stored);
    const raw = decompress(frame.codec, plain, frame.rawLength);
    const stride = idStride(frame);
    let at = 0;
    for (let i = 0; i < frame.chunkLengths.length; i++) {
      const length = frame.chunkLengths[i] as number;
      sealer.keys.checkChunk(kind, raw.subarray(at, at + length), frame.chunkIds.subarray(i * stride, i * stride + stride));
      at += length;
    }
    release(raw);
    release(plain);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** In what an index record and the pack's own directory differ, or undefined. */
export function differenceOf(record: PackRecord, directory: PackDirectory): string | undefined {
  if (record.kind !== directory.kind) return "kind";
  if (record.frames.length !== directory.frames.length) return "the number of frames";
  for (const [number, a] of record.frames.entries()) {
    const b = directory.frames[number] as PackFrame;
    const rowA = record.rows[a.row];
    const rowB = directory.rows[b.row];
    if (a.codec !== b.codec || a.storedLength !== b.storedLength || a.rawLength !== b.rawLength) return `frame ${number}`;
    if (rowA === undefined || rowB === undefined || Buffer.compare(rowA.keyId, rowB.keyId) !== 0 || rowA.epoch !== rowB.epoch)
      return `the key of frame ${number}`;
    if (a.chunkLengths.length !== b.chunkLengths.length) return `the chunks of frame ${number}`;
    const strideA = idStride(a);
    const strideB = idStride(b);
    for (let i = 0; i < a.chunkLengths.length; i++) {
      const idA = a.chunkIds.subarray(i * strideA, i * strideA + 16);
      const idB = b.chunkIds.subarray(i * strideB, i * strideB + 16);
      if (a.chunkLengths[i] !== b.chunkLengths[i] || Buffer.compare(idA, idB) !== 0) return `chunk ${i} of frame ${number}`;
    }
  }
  return undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
