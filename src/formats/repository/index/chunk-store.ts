/**
 * Records of chunks and of frames in segments of typed arrays: growing appends a segment and copies nothing. A chunk
 * record has 28 bytes: 16 of id, frame, offset, length.
 */
const SEGMENT_BITS = 16;
const SEGMENT = 1 << SEGMENT_BITS;
const MASK = SEGMENT - 1;
const CHUNK_WORDS = 7;
const FRAME_WORDS = 7;

/** Little-endian word of an id, as an unsigned number. */
export function wordAt(bytes: Uint8Array, at: number): number {
  return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
}

/** Rows of a fixed number of 32-bit words. */
class WordRows {
  readonly #words: number;
  readonly #segments: Uint32Array[] = [];
  #count = 0;

  constructor(words: number) {
    this.#words = words;
  }

  get count(): number {
    return this.#count;
  }

  get sizeBytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.byteLength, 0);
  }

  /** Number of a new row. */
  append(): number {
    if ((this.#count & MASK) === 0) this.#segments.push(new Uint32Array(SEGMENT * this.#words));
    return this.#count++;
  }

  segment(row: number): Uint32Array {
    return this.#segments[row >>> SEGMENT_BITS] as Uint32Array;
  }

  /** Index of a row's first word in its segment. */
  at(row: number): number {
    return (row & MASK) * this.#words;
  }
}

export class ChunkRows {
  readonly #rows = new WordRows(CHUNK_WORDS);

  get count(): number {
    return this.#rows.count;
  }

  get sizeBytes(): number {
    return this.#rows.sizeBytes;
  }

  append(id: Uint8Array, idOffset: number, frame: number, offset: number, length: number): number {
    const row = this.#rows.append();
    const words = this.#rows.segment(row);
    const at = this.#rows.at(row);
    for (let i = 0; i < 4; i++) words[at + i] = wordAt(id, idOffset + i * 4);
    words[at + 4] = frame;
    words[at + 5] = offset;
    words[at + 6] = length;
    return row;
  }

  firstWord(row: number): number {
    return this.#rows.segment(row)[this.#rows.at(row)];
  }

  equals(row: number, a: number, b: number, c: number, d: number): boolean {
    const words = this.#rows.segment(row);
    const at = this.#rows.at(row);
    return words[at] === a && words[at + 1] === b && words[at + 2] === c && words[at + 3] === d;
  }

  frame(row: number): number {
    return this.#rows.segment(row)[this.#rows.at(row) + 4];
  }

  offset(row: number): number {
    return this.#rows.segment(row)[this.#rows.at(row) + 5];
  }

  length(row: number): number {
    return this.#rows.segment(row)[this.#rows.at(row) + 6];
  }

  /** Writes the 16 bytes of a row's id. */
  copyId(row: number, target: Uint8Array, at: number): void {
    const words = this.#rows.segment(row);
    const from = this.#rows.at(row);
    for (let i = 0; i < 4; i++) {
      const word = words[from + i];
      target[at + i * 4] = word;
      target[at + i * 4 + 1] = word >>> 8;
      target[at + i * 4 + 2] = word >>> 16;
      target[at + i * 4 + 3] = word >>> 24;
    }
  }
}

export interface FrameRow {
  readonly pack: number;
  readonly offset: number;
  readonly storedLength: number;
  readonly rawLength: number;
  readonly codec: number;
  readonly row: number;
  readonly firstChunk: number;
  readonly chunkCount: number;
}

export class FrameRows {
  readonly #rows = new WordRows(FRAME_WORDS);

  get count(): number {
    return this.#rows.count;
  }

  get sizeBytes(): number {
    return this.#rows.sizeBytes;
  }

  append(frame: FrameRow): number {
    const row = this.#rows.append();
    this.#rows
      .segment(row)
      .set(
        [
          frame.pack,
          frame.offset,
          frame.storedLength,
          frame.rawLength,
          frame.codec | (frame.row << 8),
          frame.firstChunk,
          frame.chunkCount,
        ],
        this.#rows.at(row),
      );
    return row;
  }

  pack(row: number): number {
    return this.#rows.segment(row)[this.#rows.at(row)];
  }

  get(row: number): FrameRow {
    const words = this.#rows.segment(row);
    const at = this.#rows.at(row);
    return {
      pack: words[at],
      offset: words[at + 1],
      storedLength: words[at + 2],
      rawLength: words[at + 3],
      codec: words[at + 4] & 0xff,
      row: words[at + 4] >>> 8,
      firstChunk: words[at + 5],
      chunkCount: words[at + 6],
    };
  }
}
