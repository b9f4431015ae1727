import { createHash } from "node:crypto";
import type { HoldfastError } from "../../base/errors.ts";
import type { ContentDecoder, ContentPiece } from "../format.ts";
import { damagedPiece } from "./archive-reader.ts";
import type { FeedPayload } from "./content-payload.ts";

/** The thread's half of this format's ContentFeed; see `format.ts`. Its setup says nothing. */
export function createDecoder(_setup: unknown): ContentDecoder {
  return { decode };
}

function* decode(
  payload: unknown,
): Generator<ContentPiece | { readonly file: number; readonly error: HoldfastError }, void, undefined> {
  const batch = payload as FeedPayload;
  let piece = 0;
  let place = 0;
  for (let i = 0; i < batch.files.length; i++) {
    const file = batch.files[i] as number;
    let isDamaged = false;
    for (const end = piece + (batch.filePieces[i] as number); piece < end; piece++) {
      const places = place + (batch.piecePlaces[piece] as number);
      const start = batch.pieceStarts[piece] as number;
      const bytes = batch.stored.subarray(start, start + (batch.pieceLengths[piece] as number));
      if (
        !isDamaged &&
        Buffer.compare(createHash("sha256").update(bytes).digest(), batch.pieceHashes.subarray(piece * 32, piece * 32 + 32)) !== 0
      ) {
        isDamaged = true;
        yield { file, error: damagedPiece("A file", batch.pieceNumbers[piece] as number) };
      }
      for (let at = 0; place < places; place++) {
        const length = batch.placeLengths[place] as number;
        if (!isDamaged) yield { file, offset: batch.placeOffsets[place] as number, bytes: bytes.subarray(at, at + length) };
        at += length;
      }
    }
  }
}
