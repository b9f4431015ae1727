/** One batch of content as columns: files have pieces, pieces have places in their file. All typed arrays are transferred. */
export interface FeedPayload {
  /** Stored bytes of all pieces, joined. */
  readonly stored: Uint8Array<ArrayBuffer>;
  /** Positions of the files in the list that `batches` was given. */
  readonly files: Uint32Array<ArrayBuffer>;
  /** Pieces of each file in this batch. */
  readonly filePieces: Uint32Array<ArrayBuffer>;
  readonly pieceNumbers: Uint32Array<ArrayBuffer>;
  /** Where each piece begins in `stored`, and its length. */
  readonly pieceStarts: Uint32Array<ArrayBuffer>;
  readonly pieceLengths: Uint32Array<ArrayBuffer>;
  /** 32 bytes a piece. */
  readonly pieceHashes: Uint8Array<ArrayBuffer>;
  /** Places of each piece: one, or more where holes divide it. */
  readonly piecePlaces: Uint32Array<ArrayBuffer>;
  readonly placeOffsets: Float64Array<ArrayBuffer>;
  readonly placeLengths: Uint32Array<ArrayBuffer>;
}
