import { HoldfastError, type ErrorWire } from "../../../base/errors.ts";
import type { ContentBatch, ContentFeed, SnapshotEntry } from "../../format.ts";
import type { Repository } from "../repository.ts";
import { TREE_ID_BYTES } from "../objects/tree-node.ts";
import type { DecoderSetup, FeedPayload, PayloadFrame } from "./content-payload.ts";
import { planWindows, type FilePart, type PlannedChunk, type Window } from "./content-plan.ts";
import { FrameFetcher, type FetchedFrame } from "./frame-fetcher.ts";
import type { TreeReader } from "./tree-reader.ts";

/** From here on a batch ends where the next chunk needs another frame, so that few frames are in two batches. */
const BATCH_RAW_BYTES = 2 * 2 ** 20;
const BATCH_FILES = 512;
/** Here every batch ends. */
const BATCH_MAX_RAW_BYTES = 8 * 2 ** 20;
const BATCH_MAX_FILES = 4096;

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

type Fetched = Map<number, Promise<FetchedFrame>>;

async function* batches(
  repository: Repository,
  trees: TreeReader,
  files: readonly SnapshotEntry[],
  outer: AbortSignal,
): AsyncGenerator<ContentBatch, void, undefined> {
  const stop = new AbortController();
  const fetcher = new FrameFetcher(repository, AbortSignal.any([outer, stop.signal]));
  const windows = planWindows(files, repository.index, trees);
  let before: Fetched = new Map();
  /** Plans the next window and begins to fetch it, taking over what the one before it has. */
  const begin = async (): Promise<{ window: Window; fetched: Fetched } | undefined> => {
    outer.throwIfAborted();
    const next = await windows.next();
    if (next.done === true) return undefined;
    const wanted = [...next.value.frames].filter((frame) => !before.has(frame));
    const fetched = fetcher.fetch(wanted);
    for (const frame of next.value.frames) {
      const known = before.get(frame);
      if (known !== undefined) fetched.set(frame, known);
    }
    before = fetched;
    return { window: next.value, fetched };
  };
  try {
    let current = await begin();
    while (current !== undefined) {
      const next = begin();
      next.catch(() => undefined);
      if (current.window.failed.length > 0) yield { ...(await assemble(repository, [], current.fetched)), failed: current.window.failed };
      for (const parts of divide(current.window)) {
        outer.throwIfAborted();
        yield await assemble(repository, parts, current.fetched);
      }
      current = await next;
    }
  } finally {
    stop.abort();
    await windows.return();
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

async function assemble(repository: Repository, parts: readonly FilePart[], fetched: Fetched): Promise<ContentBatch> {
  const bytes = new Map<number, Uint8Array>();
  const failed: { file: number; error: ErrorWire }[] = [];
  const delivered: FilePart[] = [];
  for (const part of parts) {
    let error: HoldfastError | undefined;
    for (const { frame } of part.chunks) {
      if (bytes.has(frame)) continue;
      const answer = await (fetched.get(frame) as Promise<FetchedFrame>);
      if (answer instanceof HoldfastError) {
        error = answer;
        break;
      }
      bytes.set(frame, answer);
    }
    if (error === undefined) delivered.push(part);
    else failed.push({ file: part.file, error: error.toWire() });
  }
  const payload = buildPayload(repository, delivered, bytes);
  return {
    payload,
    transfer: [
      payload.stored.buffer,
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

function buildPayload(repository: Repository, parts: readonly FilePart[], bytes: ReadonlyMap<number, Uint8Array>): FeedPayload {
  const chunks = parts.flatMap((part) => part.chunks);
  const pieces = chunks.reduce((sum, chunk) => sum + chunk.pieces.length / 2, 0);
  const used = [...new Set(chunks.map((chunk) => chunk.frame))];
  const position = new Map(used.map((frame, at) => [frame, at]));
  const stored = new Uint8Array(used.reduce((sum, frame) => sum + (bytes.get(frame) as Uint8Array).length, 0));
  let end = 0;
  const frames = used.map((number): PayloadFrame => {
    const sealed = bytes.get(number) as Uint8Array;
    stored.set(sealed, end);
    end += sealed.length;
    const { codec, rawLength, row } = repository.index.frame(number);
    return { number, codec, rawLength, row, start: end - sealed.length, length: sealed.length };
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
