import type { KeyMaterial } from "../keys/key-set.ts";
import type { KeyRow } from "../keys/sealer.ts";

/** `decoderSetup` of this format's feed. Secret: it never leaves the process. */
export interface DecoderSetup {
  readonly keys: KeyMaterial;
}

/** A stored frame inside a payload. */
export interface PayloadFrame {
  /** Number in the feed's index: equal numbers are the same frame. */
  readonly number: number;
  readonly codec: number;
  readonly rawLength: number;
  readonly row: KeyRow;
  /** Which of `stored` holds its sealed bytes, and where. */
  readonly buffer: number;
  readonly start: number;
  readonly length: number;
}

/** One batch as columns: files have chunks, chunks have pieces, each in order. */
export interface FeedPayload {
  readonly frames: readonly PayloadFrame[];
  /** As they were fetched: one buffer a request. */
  readonly stored: readonly Uint8Array<ArrayBuffer>[];
  /** Positions of the files in the list that `batches` was given. */
  readonly files: Uint32Array<ArrayBuffer>;
  /** Chunks of each file in this batch. */
  readonly fileChunks: Uint32Array<ArrayBuffer>;
  /** 32 bytes a chunk. */
  readonly chunkIds: Uint8Array<ArrayBuffer>;
  /** Position in `frames`. */
  readonly chunkFrames: Uint32Array<ArrayBuffer>;
  /** Within the raw frame. */
  readonly chunkOffsets: Uint32Array<ArrayBuffer>;
  readonly chunkLengths: Uint32Array<ArrayBuffer>;
  /** Pieces of each chunk: one, or more where a hole divides it. */
  readonly chunkPieces: Uint32Array<ArrayBuffer>;
  /** Place of each piece in its file. */
  readonly pieceOffsets: Float64Array<ArrayBuffer>;
  readonly pieceLengths: Uint32Array<ArrayBuffer>;
}
