import { closeSync, constants, readSync } from "node:fs";
import { HoldfastError } from "../../base/errors.ts";
import { openAt } from "../../posix/at.ts";
import { dataRanges } from "../../posix/extents.ts";
import { statFd } from "../../posix/stat.ts";
import type { Extent } from "../../sources/source.ts";
import { rawBytes, type Directories } from "./directories.ts";

const OPEN_FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const BLOCK_BYTES = 2 ** 20;

/** Compares one restored file with content as it comes from the store. */
export class ComparingFile {
  readonly #fd: number;
  readonly #size: number;
  readonly #extents: readonly Extent[] | undefined;
  readonly #block = Buffer.allocUnsafe(BLOCK_BYTES);

  /** Throws system errors, and `verify_failed` for what is no file of this size. */
  constructor(directories: Directories, folder: string, name: string, size: number, extents: readonly Extent[] | undefined) {
    this.#size = size;
    this.#extents = extents;
    this.#fd = openAt(directories.open(folder), rawBytes(name), OPEN_FILE);
    const stat = statFd(this.#fd);
    if ((stat.mode & constants.S_IFMT) === constants.S_IFREG && stat.size === size) return;
    closeSync(this.#fd);
    throw differs(`it has ${stat.size} bytes instead of ${size}`);
  }

  compare(offset: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
      const part = bytes.subarray(at, at + BLOCK_BYTES);
      const length = this.#read(offset + at, part.length);
      if (length !== part.length || this.#block.compare(part, 0, part.length, 0, length) !== 0)
        throw differs(`its bytes differ between ${offset + at} and ${offset + at + part.length}`);
    }
  }

  /** Checks that holes read as zeros. */
  finish(): void {
    if (this.#extents === undefined) return;
    let hole = 0;
    const holes: Extent[] = [];
    for (const { offset, length } of [...this.#extents, { offset: this.#size, length: 0 }]) {
      if (offset > hole) holes.push({ offset: hole, length: offset - hole });
      hole = offset + length;
    }
    // Only where the file has data something else than zeros can be.
    for (const { offset, length } of overlaps(dataRanges(this.#fd, this.#size), holes)) this.#checkZeros(offset, length);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #checkZeros(offset: number, length: number): void {
    for (let at = 0; at < length; at += BLOCK_BYTES) {
      const wanted = Math.min(BLOCK_BYTES, length - at);
      const got = this.#read(offset + at, wanted);
      if (got !== wanted || !this.#block.subarray(0, got).equals(Buffer.alloc(got))) throw differs("a hole has data");
    }
  }

  #read(offset: number, length: number): number {
    let got = 0;
    while (got < length) {
      const read = readSync(this.#fd, this.#block, got, length - got, offset + got);
      if (read === 0) break;
      got += read;
    }
    return got;
  }
}

/** What two ascending lists of ranges have in common. */
function* overlaps(a: readonly Extent[], b: readonly Extent[]): Generator<Extent, void, undefined> {
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    const [x, y] = [a[i] as Extent, b[j] as Extent];
    const start = Math.max(x.offset, y.offset);
    const end = Math.min(x.offset + x.length, y.offset + y.length);
    if (end > start) yield { offset: start, length: end - start };
    if (x.offset + x.length < y.offset + y.length) i++;
    else j++;
  }
}

export function differs(what: string): HoldfastError {
  return new HoldfastError("verify_failed", what);
}
