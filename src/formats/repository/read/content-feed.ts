import { HoldfastError } from "../../../base/errors.ts";
import type { ContentBatch, ContentFeed, SnapshotEntry } from "../../format.ts";
import type { Repository } from "../repository.ts";
import { TREE_ID_BYTES } from "../objects/tree-node.ts";
import type { DecoderSetup, FeedPayload, PayloadFrame } from "./content-payload.ts";
import { planWindows, type FilePart, type PlannedChunk, type Window } from "./content-plan.ts";
import { FrameFetcher, type FetchedFrame } from "./frame-fetcher.ts";
import type { TreeReader } from "./tree-reader.ts";

/** From here on a batch ends where the next chunk needs another frame, so that few frames are in two batches. */
const BATCH_RAW_BYTES = 4 * 2 ** 20;
const BATCH_FILES = 512;
/** Here every batch ends. */
const BATCH_MAX_RAW_BYTES = 8 * 2 ** 20;
const BATCH_MAX_FILES = 4096;
/** Stored bytes fetched and not yet handed over. */
const AHEAD_BYTES = 24 * 2 ** 20;

/**
 * The main thread's half of the repository's ContentFeed. Inside a window files come ordered by the frame they begin in,
 * so that each frame is fetched once a window and decoded by one thread; the parts of one file are always in order. A
 * file without data is in a batch too, first and last at once. Only the best copy of a chunk is tried here: a file that
 * fails is worth another attempt through `Store.read`, which tries them all.
 */
export function createContentFeed(repository: Repository, trees: TreeReader, signal: AbortSignal): ContentFeed {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  return {
    decoderModule: new URL(`./content-decoder.${extension}`, import.meta.url).href,
    decoderSetup: { keys: repository.keys.material } satisfies DecoderSetup,
    batches: (files) => batches(repository, trees, files, signal),
  };
}

/** What becomes one batch, before anything of it is fetched. */
interface PlannedBatch {
  /** Number of its window. */
  readonly window: number;
  readonly parts: readonly FilePart[];
  readonly frames: readonly number[];
  readonly failed: ContentBatch["failed"];
}

async function* batches(
  repository: Repository,
  trees: TreeReader,
  files: readonly SnapshotEntry[],
  outer: AbortSignal,
): AsyncGenerator<ContentBatch, void, undefined> {
  const stop = new AbortController();
  const windows = planWindows(files, repository.index, trees);
  const feed = new Feed(repository, AbortSignal.any([outer, stop.signal]));
  try {
    for (let window = 0, ended = false; ;) {
      // A window ahead, so that it is known which frames of this one are needed again.
      while (!ended && feed.lastWindow) {
        outer.throwIfAborted();
        const next = await windows.next();
        if (next.done === true) ended = true;
        else feed.add(next.value, window++);
      }
      outer.throwIfAborted();
      const batch = await feed.next();
      if (batch === undefined) return;
      yield batch;
    }
  } finally {
    stop.abort();
    await windows.return();
  }
}

/** Batches in order, and the frames that are fetched ahead for them. */
class Feed {
  readonly #repository: Repository;
  readonly #fetcher: FrameFetcher;
  readonly #queue: PlannedBatch[] = [];
  /** Batches of the queue for which fetching has begun. */
  #begun = 0;
  readonly #fetched = new Map<number, Promise<FetchedFrame>>();
  /** How many batches of the queue need a frame. */
  readonly #uses = new Map<number, number>();
  #aheadBytes = 0;

  constructor(repository: Repository, signal: AbortSignal) {
    this.#repository = repository;
    this.#fetcher = new FrameFetcher(repository, signal);
  }

  /** True when the next batch is of the last window that was added. */
  get lastWindow(): boolean {
    return this.#queue[0]?.window === this.#queue.at(-1)?.window;
  }

  add(window: Window, number: number): void {
    if (window.failed.length > 0) this.#queue.push({ window: number, parts: [], frames: [], failed: window.failed });
    for (const parts of divide(window)) {
      const frames = [...new Set(parts.flatMap((part) => part.chunks.map((chunk) => chunk.frame)))];
      for (const frame of frames) this.#uses.set(frame, (this.#uses.get(frame) ?? 0) + 1);
      this.#queue.push({ window: number, parts, frames, failed: [] });
    }
  }

  async next(): Promise<ContentBatch | undefined> {
    this.#fetchAhead();
    const planned = this.#queue.shift();
    if (planned === undefined) return undefined;
    this.#begun--;
    return await this.#assemble(planned);
  }

  #fetchAhead(): void {
    for (; this.#begun < this.#queue.length && (this.#begun === 0 || this.#aheadBytes < AHEAD_BYTES); this.#begun++) {
      const { frames } = this.#queue[this.#begun] as PlannedBatch;
      const wanted = frames.filter((frame) => !this.#fetched.has(frame));
      for (const [frame, bytes] of this.#fetcher.fetch(wanted)) this.#fetched.set(frame, bytes);
      for (const frame of wanted) this.#aheadBytes += this.#repository.index.frame(frame).storedLength;
    }
  }

  async #assemble(planned: PlannedBatch): Promise<ContentBatch> {
    const bytes = new Map<number, FetchedFrame>();
    for (const frame of planned.frames) bytes.set(frame, await (this.#fetched.get(frame) as Promise<FetchedFrame>));
    for (const [frame, fetched] of bytes) this.#used(frame, fetched);
    const failed = [...planned.failed];
    const delivered = planned.parts.filter((part) => {
      const error = part.chunks.map(({ frame }) => bytes.get(frame)).find((fetched) => fetched instanceof HoldfastError);
      if (error !== undefined) failed.push({ file: part.file, error: error.toWire() });
      return error === undefined;
    });
    const payload = buildPayload(this.#repository, delivered, bytes);
    return {
      payload,
      transfer: [
        ...payload.stored.map((stored) => stored.buffer),
        payload.files.buffer,
        payload.fileChunks.buffer,
        payload.chunkIds.buffer,
        payload.chunkFrames.buffer,
        payload.chunkOffsets.buffer,
        payload.chunkLengths.buffer,
        payload.chunkPieces.buffer,
        payload.pieceOffsets.buffer,
        payload.pieceLengths.buffer,
      ],
      files: delivered.map(({ file, first, last }) => ({ file, first, last })),
      rawBytes: payload.chunkLengths.reduce((sum, length) => sum + length, 0),
      failed,
    };
  }

  /** One batch less needs a frame. Its bytes leave with that batch; whoever needs them later gets a copy. */
  #used(frame: number, fetched: FetchedFrame): void {
    const left = (this.#uses.get(frame) as number) - 1;
    if (left > 0) {
      this.#uses.set(frame, left);
      this.#fetched.set(frame, Promise.resolve(fetched instanceof HoldfastError ? fetched : new Uint8Array(fetched)));
      return;
    }
    this.#uses.delete(frame);
    this.#fetched.delete(frame);
    this.#aheadBytes -= this.#repository.index.frame(frame).storedLength;
  }
}

/** The parts of a window ordered by their first frame, in groups of one batch; a long part is divided. */
function* divide(window: Window): Generator<FilePart[], void, undefined> {
  const rank = new Map([...window.frames].map((frame, position) => [frame, position]));
  let last = 0;
  const ranked = window.parts.map((part) => {
    const frame = part.chunks[0]?.frame;
    // What has no data stays beside its neighbour.
    if (frame !== undefined) last = rank.get(frame) as number;
    return { part, rank: last };
  });
  let batch: FilePart[] = [];
  let frames = new Set<number>();
  let rawBytes = 0;
  for (const { part } of ranked.toSorted((a, b) => a.rank - b.rank)) {
    let chunks: PlannedChunk[] = [];
    let { first } = part;
    for (const chunk of part.chunks) {
      const enough = (rawBytes >= BATCH_RAW_BYTES || batch.length >= BATCH_FILES) && !frames.has(chunk.frame);
      if (enough || rawBytes + chunk.length > BATCH_MAX_RAW_BYTES) {
        if (chunks.length > 0) {
          batch.push({ file: part.file, first, last: false, chunks });
          chunks = [];
          first = false;
        }
        if (batch.length > 0) yield batch;
        batch = [];
        frames = new Set();
        rawBytes = 0;
      }
      chunks.push(chunk);
      frames.add(chunk.frame);
      rawBytes += chunk.length;
    }
    batch.push({ file: part.file, first, last: part.last, chunks });
    if (batch.length >= BATCH_MAX_FILES) {
      yield batch;
      batch = [];
      frames = new Set();
      rawBytes = 0;
    }
  }
  if (batch.length > 0) yield batch;
}

function buildPayload(repository: Repository, parts: readonly FilePart[], bytes: ReadonlyMap<number, FetchedFrame>): FeedPayload {
  const chunks = parts.flatMap((part) => part.chunks);
  const pieces = chunks.reduce((sum, chunk) => sum + chunk.pieces.length / 2, 0);
  const used = [...new Set(chunks.map((chunk) => chunk.frame))];
  const position = new Map(used.map((frame, at) => [frame, at]));
  const buffers = new Map<ArrayBufferLike, number>();
  const stored: Uint8Array<ArrayBuffer>[] = [];
  const frames = used.map((number): PayloadFrame => {
    const sealed = bytes.get(number) as Uint8Array;
    let buffer = buffers.get(sealed.buffer);
    if (buffer === undefined) {
      buffers.set(sealed.buffer, (buffer = stored.length));
      stored.push(new Uint8Array(sealed.buffer as ArrayBuffer));
    }
    const { codec, rawLength, row } = repository.index.frame(number);
    return { number, codec, rawLength, row, buffer, start: sealed.byteOffset, length: sealed.length };
  });
  const payload: FeedPayload = {
    frames,
    stored,
    files: Uint32Array.from(parts, (part) => part.file),
    fileChunks: Uint32Array.from(parts, (part) => part.chunks.length),
    chunkIds: new Uint8Array(chunks.length * TREE_ID_BYTES),
    chunkFrames: new Uint32Array(chunks.length),
    chunkOffsets: new Uint32Array(chunks.length),
    chunkLengths: new Uint32Array(chunks.length),
    chunkPieces: new Uint32Array(chunks.length),
    pieceOffsets: new Float64Array(pieces),
    pieceLengths: new Uint32Array(pieces),
  };
  let piece = 0;
  for (const [i, chunk] of chunks.entries()) {
    payload.chunkIds.set(chunk.ids.subarray(chunk.idAt, chunk.idAt + TREE_ID_BYTES), i * TREE_ID_BYTES);
    payload.chunkFrames[i] = position.get(chunk.frame) as number;
    payload.chunkOffsets[i] = chunk.offset;
    payload.chunkLengths[i] = chunk.length;
    payload.chunkPieces[i] = chunk.pieces.length / 2;
    for (let at = 0; at < chunk.pieces.length; at += 2, piece++) {
      payload.pieceOffsets[piece] = chunk.pieces[at] as number;
      payload.pieceLengths[piece] = chunk.pieces[at + 1] as number;
    }
  }
  return payload;
}
