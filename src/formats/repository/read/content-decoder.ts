import { freeBytes, freeIfLarge } from "../../../base/buffers.ts";
import { asHoldfastError, HoldfastError } from "../../../base/errors.ts";
import { systemRandom } from "../../../codec/system-random.ts";
import type { ContentDecoder, ContentPiece } from "../../format.ts";
import { KeySet } from "../keys/key-set.ts";
import { Sealer } from "../keys/sealer.ts";
import { TREE_ID_BYTES } from "../objects/tree-node.ts";
import type { DecoderSetup, FeedPayload } from "./content-payload.ts";

/** Decoded frames kept from batch to batch: those that straddle a boundary. */
const CACHE_BYTES = 8 * 2 ** 20;

/** The thread's half of this format's ContentFeed; see `format.ts`. */
export function createDecoder(setup: unknown): ContentDecoder {
  return new FrameDecoder(new KeySet((setup as DecoderSetup).keys));
}

class FrameDecoder implements ContentDecoder {
  readonly #keys: KeySet;
  readonly #sealer: Sealer;
  /** By frame number, in the order of their last use. A frame that cannot be opened is remembered as its error. */
  readonly #frames = new Map<number, Buffer | HoldfastError>();
  #cached = 0;

  constructor(keys: KeySet) {
    this.#keys = keys;
    // Opening uses no randomness.
    this.#sealer = new Sealer(keys, systemRandom);
  }

  *decode(payload: unknown): Generator<ContentPiece | { readonly file: number; readonly error: HoldfastError }, void, undefined> {
    const batch = payload as FeedPayload;
    let chunk = 0;
    let piece = 0;
    for (let i = 0; i < batch.files.length; i++) {
      const file = batch.files[i] as number;
      let error: HoldfastError | undefined;
      for (const end = chunk + (batch.fileChunks[i] as number); chunk < end; chunk++) {
        const pieces = batch.chunkPieces[chunk] as number;
        const bytes = error === undefined ? this.#chunk(batch, chunk) : error;
        if (bytes instanceof HoldfastError) {
          if (error === undefined) yield { file, error: (error = bytes) };
          piece += pieces;
          continue;
        }
        let at = 0;
        for (const last = piece + pieces; piece < last; piece++) {
          const length = batch.pieceLengths[piece] as number;
          yield { file, offset: batch.pieceOffsets[piece] as number, bytes: bytes.subarray(at, at + length) };
          at += length;
        }
      }
    }
    for (const stored of batch.stored) freeBytes(stored);
    this.#shrink();
  }

  #chunk(batch: FeedPayload, chunk: number): Buffer | HoldfastError {
    const raw = this.#frame(batch, batch.chunkFrames[chunk] as number);
    if (raw instanceof HoldfastError) return raw;
    const offset = batch.chunkOffsets[chunk] as number;
    const bytes = raw.subarray(offset, offset + (batch.chunkLengths[chunk] as number));
    try {
      this.#keys.checkChunk(1, bytes, batch.chunkIds.subarray(chunk * TREE_ID_BYTES, (chunk + 1) * TREE_ID_BYTES));
      return bytes;
    } catch (error) {
      return asHoldfastError(error);
    }
  }

  #frame(batch: FeedPayload, position: number): Buffer | HoldfastError {
    const frame = batch.frames[position] as FeedPayload["frames"][number];
    const cached = this.#frames.get(frame.number);
    if (cached !== undefined) {
      this.#frames.delete(frame.number);
      this.#frames.set(frame.number, cached);
      return cached;
    }
    let raw: Buffer | HoldfastError;
    try {
      const { codec, rawLength, row } = frame;
      const stored = batch.stored[frame.buffer] as Uint8Array;
      raw = this.#sealer.openFrame({ kind: 1, codec, rawLength, row }, stored.subarray(frame.start, frame.start + frame.length));
      this.#cached += raw.length;
    } catch (error) {
      raw = asHoldfastError(error);
    }
    this.#frames.set(frame.number, raw);
    return raw;
  }

  /** Between batches only: within one, every frame stays. */
  #shrink(): void {
    for (const [number, raw] of this.#frames) {
      if (this.#cached <= CACHE_BYTES) return;
      this.#frames.delete(number);
      if (!Buffer.isBuffer(raw)) continue;
      this.#cached -= raw.length;
      freeIfLarge(raw);
    }
  }
}
