import { setImmediate as nextTurn } from "node:timers/promises";
import { HoldfastError, type ErrorWire } from "../../../base/errors.ts";
import type { Extent } from "../../../sources/source.ts";
import type { SnapshotEntry } from "../../format.ts";
import type { ChunkIndex } from "../index/chunk-index.ts";
import { TREE_ID_BYTES } from "../objects/tree-node.ts";
import { wrongLength } from "./file-reader.ts";
import { fileContentOf } from "./snapshot-entry.ts";
import { storedLength, type FileContent, type TreeReader } from "./tree-reader.ts";

/** A window is what is ordered together: stored bytes of distinct frames, and what the plan itself may take. */
const WINDOW_STORED_BYTES = 20 * 2 ** 20;
const WINDOW_FILES = 16_384;
const WINDOW_CHUNKS = 32_768;
/** Files planned in one turn of the event loop: some ten milliseconds. */
const TURN_FILES = 2048;

/** A chunk of a file and where it lies. */
export interface PlannedChunk {
  /** Buffer that holds the id at `idAt`. */
  readonly ids: Uint8Array;
  readonly idAt: number;
  readonly frame: number;
  readonly offset: number;
  readonly length: number;
  /** Places in the file: pairs of offset and length. */
  readonly pieces: readonly number[];
}

/** The stretch of a file that one window delivers. */
export interface FilePart {
  readonly file: number;
  readonly first: boolean;
  last: boolean;
  readonly chunks: PlannedChunk[];
}

export interface Window {
  readonly parts: FilePart[];
  /** Distinct frames in the order of their first use. */
  readonly frames: Set<number>;
  readonly failed: { readonly file: number; readonly error: ErrorWire }[];
}

/** Finds frames for the chunks of files, in file order, and divides the work into windows. Reads trees, never data. */
export async function* planWindows(
  files: readonly SnapshotEntry[],
  index: ChunkIndex,
  trees: TreeReader,
): AsyncGenerator<Window, void, undefined> {
  let window = emptyWindow();
  let stored = 0;
  let chunks = 0;
  for (const [file, entry] of files.entries()) {
    if (file % TURN_FILES === TURN_FILES - 1) await nextTurn();
    let part: FilePart = { file, first: true, last: false, chunks: [] };
    window.parts.push(part);
    try {
      const content = fileContentOf(entry);
      const places = new Places(content);
      for await (const ids of idsOf(content, trees)) {
        for (let at = 0; at < ids.length; at += TREE_ID_BYTES) {
          if (stored >= WINDOW_STORED_BYTES || chunks >= WINDOW_CHUNKS || window.parts.length > WINDOW_FILES) {
            // A file whose first chunk would open the next window begins there.
            const fresh = part.chunks.length === 0 && part.first;
            if (fresh) window.parts.pop();
            yield window;
            window = emptyWindow();
            stored = chunks = 0;
            part = { file, first: fresh, last: false, chunks: [] };
            window.parts.push(part);
          }
          const location = index.findUsable(1, ids, at);
          if (location === undefined) throw missing(ids, at);
          if (!window.frames.has(location.frame)) {
            window.frames.add(location.frame);
            stored += index.frame(location.frame).storedLength;
          }
          const { frame, offset, length } = location;
          part.chunks.push({ ids, idAt: at, frame, offset, length, pieces: places.take(length) });
          chunks++;
        }
      }
      places.finish();
      part.last = true;
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.transient || error.code === "cancelled") throw error;
      window.parts.pop();
      window.failed.push({ file, error: error.toWire() });
    }
  }
  yield window;
}

/** Direct ids without the turns of an iterator: nearly all files have them. */
function idsOf(content: FileContent, trees: TreeReader): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  return content.depth === 0 ? [content.ids] : trees.dataIds(content);
}

function emptyWindow(): Window {
  return { parts: [], frames: new Set(), failed: [] };
}

function missing(ids: Uint8Array, at: number): HoldfastError {
  const hex = Buffer.from(ids.subarray(at, at + TREE_ID_BYTES)).toString("hex");
  return new HoldfastError("chunk_missing", `Data chunk ${hex.slice(0, 16)}… is in no pack`, {
    hint: "Run `holdfast verify` to see what depends on it, and `holdfast repair`.",
    data: { chunk: hex, kind: "data" },
  });
}

/** Gives consecutive data its places in a file, around the holes. */
class Places {
  readonly #extents: readonly Extent[] | undefined;
  #left: number;
  #position = 0;
  #extent = 0;

  constructor(content: FileContent) {
    this.#extents = content.extents;
    this.#left = storedLength(content);
    this.#position = content.extents?.[0]?.offset ?? 0;
  }

  take(length: number): number[] {
    this.#left -= length;
    if (this.#left < 0) throw wrongLength("longer");
    if (this.#extents === undefined) {
      this.#position += length;
      return [this.#position - length, length];
    }
    const pieces: number[] = [];
    for (let left = length; left > 0;) {
      const extent = this.#extents[this.#extent] as Extent;
      const room = Math.min(left, extent.offset + extent.length - this.#position);
      pieces.push(this.#position, room);
      left -= room;
      this.#position += room;
      if (this.#position === extent.offset + extent.length) this.#position = this.#extents[++this.#extent]?.offset ?? 0;
    }
    return pieces;
  }

  finish(): void {
    if (this.#left > 0) throw wrongLength("shorter");
  }
}
