import { asHoldfastError, HoldfastError, type ErrorWire } from "../../base/errors.ts";
import type { SnapshotId } from "../../base/ids.ts";
import type { ContentBatch, ContentFeed, SnapshotEntry } from "../format.ts";
import { fileData, nextPiece, placesOf, type ArchiveReader, type Piece, type ReadableFile } from "./archive-reader.ts";
import type { FeedPayload } from "./content-payload.ts";

const BATCH_BYTES = 8 * 2 ** 20;
const BATCH_FILES = 1024;
/** What lies between two small files, headers and padding, is cheaper to read than to skip. */
const GAP_BYTES = 64 * 2 ** 10;

/** Pieces of one file in one batch. */
interface FilePart {
  readonly file: number;
  readonly data: ReadableFile;
  readonly first: boolean;
  readonly last: boolean;
  readonly pieces: readonly Piece[];
}

/**
 * The main thread's half of the archive's ContentFeed: files in their given order, which is best the order of the tree.
 * Pieces that are near each other in the tar are fetched at once; the next batch is fetched while one is used.
 */
export function createContentFeed(reader: ArchiveReader, signal: AbortSignal): ContentFeed {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  return {
    decoderModule: new URL(`./content-decoder.${extension}`, import.meta.url).href,
    decoderSetup: undefined,
    batches: (files) => batches(reader, files, signal),
  };
}

async function* batches(
  reader: ArchiveReader,
  files: readonly SnapshotEntry[],
  signal: AbortSignal,
): AsyncGenerator<ContentBatch, void, undefined> {
  const broken = new Set<number>();
  const parts = divide(files, broken);
  const begin = (): Promise<ContentBatch> | undefined => {
    const next = parts.next();
    if (next.done === true) return undefined;
    const batch = assemble(reader, next.value, broken, signal);
    batch.catch(() => undefined);
    return batch;
  };
  let current = begin();
  try {
    while (current !== undefined) {
      const batch = await current;
      signal.throwIfAborted();
      current = begin();
      yield batch;
    }
  } finally {
    await current?.catch(() => undefined);
  }
}

/** Files in groups of one batch; a large file is divided. */
function* divide(files: readonly SnapshotEntry[], broken: ReadonlySet<number>): Generator<FilePart[], void, undefined> {
  let batch: FilePart[] = [];
  let bytes = 0;
  for (const [file, entry] of files.entries()) {
    const data = fileData(entry);
    let pieces: Piece[] = [];
    let first = true;
    for (let piece = nextPiece(data, 0); piece !== undefined; piece = nextPiece(data, piece.number + 1)) {
      if (bytes > 0 && bytes + piece.length > BATCH_BYTES) {
        if (pieces.length > 0) {
          batch.push({ file, data, first, last: false, pieces });
          first = false;
          pieces = [];
        }
        yield batch;
        batch = [];
        bytes = 0;
        if (broken.has(file)) break;
      }
      pieces.push(piece);
      bytes += piece.length;
    }
    if (broken.has(file)) continue;
    batch.push({ file, data, first, last: true, pieces });
    if (batch.length >= BATCH_FILES) {
      yield batch;
      batch = [];
      bytes = 0;
    }
  }
  if (batch.length > 0) yield batch;
}

async function assemble(
  reader: ArchiveReader,
  parts: readonly FilePart[],
  broken: Set<number>,
  signal: AbortSignal,
): Promise<ContentBatch> {
  const fetched = await fetchPieces(reader, parts, signal);
  const failed: { file: number; error: ErrorWire }[] = [];
  const delivered: FilePart[] = [];
  for (const part of parts) {
    if (broken.has(part.file)) continue;
    const error = part.pieces.map((piece) => fetched.get(piece)).find((answer) => answer instanceof HoldfastError);
    if (error === undefined) delivered.push(part);
    else {
      broken.add(part.file);
      failed.push({ file: part.file, error: error.toWire() });
    }
  }
  const payload = buildPayload(delivered, fetched);
  return {
    payload,
    transfer: Object.values(payload).map((column: Uint8Array<ArrayBuffer>) => column.buffer),
    files: delivered.map(({ file, first, last }) => ({ file, first, last })),
    rawBytes: payload.stored.length,
    failed,
  };
}

type Fetched = Map<Piece, Uint8Array | HoldfastError>;

interface Run {
  readonly archive: SnapshotId;
  readonly start: number;
  end: number;
  readonly pieces: Piece[];
}

async function fetchPieces(reader: ArchiveReader, parts: readonly FilePart[], signal: AbortSignal): Promise<Fetched> {
  const fetched: Fetched = new Map();
  const read = async (archive: SnapshotId, start: number, end: number): Promise<Uint8Array> =>
    await (await reader.open(archive)).tar.read(start, end - start, signal);
  const fetchRun = async ({ archive, start, end, pieces }: Run): Promise<void> => {
    try {
      const bytes = await read(archive, start, end);
      for (const piece of pieces)
        fetched.set(piece, bytes.subarray(piece.position - start, piece.position - start + piece.length));
    } catch (error) {
      signal.throwIfAborted();
      if (pieces.length === 1) {
        fetched.set(pieces[0] as Piece, asHoldfastError(error));
        return;
      }
      // One by one: what is wrong with one of them must not take its neighbours along.
      for (const piece of pieces)
        await fetchRun({ archive, start: piece.position, end: piece.position + piece.length, pieces: [piece] });
    }
  };
  await Promise.all(runsOf(parts).map(fetchRun));
  return fetched;
}

function runsOf(parts: readonly FilePart[]): Run[] {
  const wanted = parts.flatMap(({ data, pieces }) => pieces.map((piece) => ({ archive: data.archive, piece })));
  const runs: Run[] = [];
  for (const { archive, piece } of wanted.toSorted((a, b) => a.piece.position - b.piece.position)) {
    const last = runs.findLast((run) => run.archive === archive);
    const end = piece.position + piece.length;
    // A hard link's piece is the same bytes again.
    if (last !== undefined && piece.position <= last.end + GAP_BYTES) {
      last.end = Math.max(last.end, end);
      last.pieces.push(piece);
    } else runs.push({ archive, start: piece.position, end, pieces: [piece] });
  }
  return runs;
}

function buildPayload(parts: readonly FilePart[], fetched: Fetched): FeedPayload {
  const pieces = parts.flatMap((part) => part.pieces.map((piece) => ({ piece, places: placesOf(part.data, piece) })));
  const places = pieces.flatMap((one) => one.places);
  const payload: FeedPayload = {
    stored: new Uint8Array(pieces.reduce((sum, { piece }) => sum + piece.length, 0)),
    files: Uint32Array.from(parts, ({ file }) => file),
    filePieces: Uint32Array.from(parts, (part) => part.pieces.length),
    pieceNumbers: Uint32Array.from(pieces, ({ piece }) => piece.number),
    pieceStarts: new Uint32Array(pieces.length),
    pieceLengths: Uint32Array.from(pieces, ({ piece }) => piece.length),
    pieceHashes: new Uint8Array(pieces.length * 32),
    piecePlaces: Uint32Array.from(pieces, (one) => one.places.length),
    placeOffsets: Float64Array.from(places, ({ offset }) => offset),
    placeLengths: Uint32Array.from(places, ({ length }) => length),
  };
  let end = 0;
  for (const [i, { piece }] of pieces.entries()) {
    payload.pieceStarts[i] = end;
    payload.stored.set(fetched.get(piece) as Uint8Array, end);
    payload.pieceHashes.set(piece.sha256, i * 32);
    end += piece.length;
  }
  return payload;
}
