import { HoldfastError } from "../../base/errors.ts";
import type { SnapshotId } from "../../base/ids.ts";
import type { Target } from "../../targets/target.ts";
import type { PartRecord } from "./manifest.ts";
import { partName, type StreamKind } from "./object-names.ts";

/** Bytes of the entry index that are fetched at a time: neighbours in it are neighbours in the tree. */
const BLOCK_BYTES = 2 ** 18;
/** Blocks kept: 8 MiB. */
const MAX_BLOCKS = 32;

/** A range of one stored part. */
export interface PartRange {
  readonly part: number;
  readonly offset: number;
  readonly length: number;
}

/** Reads any range of a stream that is stored in parts. Does not check what it reads: its callers know the hashes. */
export class PartReader {
  readonly #target: Target;
  readonly #uid: SnapshotId;
  readonly #kind: StreamKind;
  /** Where each part begins, and where the last ends. */
  readonly #starts: Float64Array;

  constructor(target: Target, uid: SnapshotId, kind: StreamKind, parts: readonly PartRecord[]) {
    this.#target = target;
    this.#uid = uid;
    this.#kind = kind;
    this.#starts = new Float64Array(parts.length + 1);
    parts.forEach(({ bytes }, i) => (this.#starts[i + 1] = (this.#starts[i] as number) + bytes));
  }

  /** The parts that hold `length` bytes from `offset`, which must lie inside the stream. */
  ranges(offset: number, length: number): PartRange[] {
    const ranges: PartRange[] = [];
    for (let part = this.#partAt(offset), at = offset, left = length; left > 0; part++) {
      const start = this.#starts[part] as number;
      const take = Math.min(left, (this.#starts[part + 1] as number) - at);
      ranges.push({ part, offset: at - start, length: take });
      at += take;
      left -= take;
    }
    return ranges;
  }

  /** Rejects with `object_damaged` when a part is missing or too short. */
  async read(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for (const range of this.ranges(offset, length)) pieces.push(await this.#get(range, signal));
    return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces);
  }

  async #get({ part, offset, length }: PartRange, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const name = partName(this.#uid, this.#kind, part);
    try {
      return await this.#target.get(name, { range: { offset, length }, signal });
    } catch (error) {
      if (error instanceof HoldfastError && error.code === "target_missing_object")
        throw new HoldfastError("object_damaged", `${name} is missing`, {
          hint: "`holdfast verify` lists what is damaged; restore from another target's copy.",
          cause: error,
        });
      throw error;
    }
  }

  #partAt(offset: number): number {
    let [low, high] = [0, this.#starts.length - 2];
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.#starts[middle] as number) <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** Keeps the last blocks of a stream, so that small neighbouring reads cost one fetch. */
export class BlockReader {
  readonly #parts: PartReader;
  readonly #totalBytes: number;
  readonly #blocks = new Map<number, Promise<Uint8Array>>();

  constructor(parts: PartReader, totalBytes: number) {
    this.#parts = parts;
    this.#totalBytes = totalBytes;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    if (length > BLOCK_BYTES * 2) return await this.#parts.read(offset, length);
    const first = Math.floor(offset / BLOCK_BYTES);
    const last = Math.floor((offset + length - 1) / BLOCK_BYTES);
    const blocks: Uint8Array[] = [];
    for (let block = first; block <= last; block++) blocks.push(await this.#block(block));
    const start = offset - first * BLOCK_BYTES;
    const joined = blocks.length === 1 ? (blocks[0] as Uint8Array) : Buffer.concat(blocks);
    return joined.subarray(start, start + length);
  }

  /** Fetched without anyone's signal: others may wait for the same block. */
  #block(number: number): Promise<Uint8Array> {
    let block = this.#blocks.get(number);
    this.#blocks.delete(number);
    if (block === undefined) {
      const offset = number * BLOCK_BYTES;
      block = this.#parts.read(offset, Math.min(BLOCK_BYTES, this.#totalBytes - offset));
      block.catch(() => this.#blocks.delete(number));
    }
    this.#blocks.set(number, block);
    const oldest = this.#blocks.keys().next().value;
    if (this.#blocks.size > MAX_BLOCKS && oldest !== undefined) this.#blocks.delete(oldest);
    return block;
  }
}
