import fs from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { throwIfAborted } from "../../base/abort.ts";
import { HoldfastError, errnoOf } from "../../base/errors.ts";
import type { FaultHook } from "./fault-points.ts";
import { fsyncError, localError } from "./local-errors.ts";

/** Bytes moved by one system call. Between two, the event loop turns, so that an abort or another call gets through. */
const SEGMENT_BYTES = 8 * 2 ** 20;
/** Bytes compared in one go. */
const COMPARED_BYTES = 2 ** 20;
/** What one writev takes on Linux (IOV_MAX). */
const SEGMENT_PARTS = 1024;

/** Performs one file call; its failure becomes the HoldfastError of its errno. `doing` completes "Cannot …". */
export function attempt<T>(doing: string, perform: () => T): T {
  try {
    return perform();
  } catch (error) {
    throw localError(error, doing);
  }
}

/** Undefined in place of the failure of a call on a path that does not exist. */
export function unlessMissing<T>(doing: string, perform: () => T): T | undefined {
  try {
    return perform();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ENOENT" || errno === "ENOTDIR") return undefined;
    throw localError(error, doing);
  }
}

/** Writes all parts from the file's present position, however short the single writes are. */
export async function writeParts(
  fd: number,
  parts: readonly Uint8Array[],
  options: { readonly doing: string; readonly hook: FaultHook; readonly signal: AbortSignal | undefined },
): Promise<void> {
  const segment = new PartsCursor(parts);
  for (let batch = segment.next(); batch.length > 0; batch = segment.next()) {
    const written = attempt(options.doing, () => {
      options.hook("before temporary write");
      return fs.writevSync(fd, batch);
    });
    if (written === 0) throw new HoldfastError("target_io", `Cannot ${options.doing}: the file system took no bytes`);
    options.hook("after temporary write");
    segment.advance(written);
    if (!segment.atEnd) await breathe(options.signal);
  }
}

/** Fills `into` from `position`; returns how many bytes there were, less than asked only at the end of the file. */
export async function readFully(
  fd: number,
  into: Uint8Array,
  options: { readonly position: number; readonly doing: string; readonly signal: AbortSignal | undefined },
): Promise<number> {
  let done = 0;
  while (done < into.length) {
    if (done > 0) await breathe(options.signal);
    const length = Math.min(SEGMENT_BYTES, into.length - done);
    const read = attempt(options.doing, () => fs.readSync(fd, into, done, length, options.position + done));
    if (read === 0) break;
    done += read;
  }
  return done;
}

/** True when the open file holds exactly the bytes of `parts`. */
export async function holdsParts(
  fd: number,
  parts: readonly Uint8Array[],
  options: { readonly doing: string; readonly signal: AbortSignal | undefined },
): Promise<boolean> {
  const total = parts.reduce((sum, part) => sum + part.length, 0);
  if (attempt(options.doing, () => fs.fstatSync(fd)).size !== total) return false;
  let position = 0;
  for (const part of parts) {
    for (let offset = 0; offset < part.length; offset += COMPARED_BYTES) {
      const expected = part.subarray(offset, offset + COMPARED_BYTES);
      if (!(await holdsPart(fd, expected, { ...options, position }))) return false;
      position += expected.length;
      await breathe(options.signal);
    }
  }
  return true;
}

/** True when the open file has these bytes at `position`. */
async function holdsPart(
  fd: number,
  expected: Uint8Array,
  options: { readonly position: number; readonly doing: string; readonly signal: AbortSignal | undefined },
): Promise<boolean> {
  const found = Buffer.allocUnsafe(expected.length);
  return (await readFully(fd, found, options)) === expected.length && found.compare(expected) === 0;
}

/** True when the open file holds exactly the bytes of the file at `path`. */
export async function holdsFile(
  fd: number,
  path: string,
  options: { readonly doing: string; readonly signal: AbortSignal | undefined },
): Promise<boolean> {
  const other = attempt(options.doing, () => fs.openSync(path, fs.constants.O_RDONLY));
  try {
    const { size } = attempt(options.doing, () => fs.fstatSync(other));
    const buffer = Buffer.allocUnsafeSlow(Math.min(size, COMPARED_BYTES));
    if (attempt(options.doing, () => fs.fstatSync(fd)).size !== size) return false;
    for (let position = 0; position < size; position += buffer.length) {
      const expected = buffer.subarray(0, Math.min(buffer.length, size - position));
      if ((await readFully(other, expected, { ...options, position })) < expected.length) return false;
      if (!(await holdsPart(fd, expected, { ...options, position }))) return false;
      await breathe(options.signal);
    }
    return true;
  } finally {
    closeFile(other);
  }
}

/** fsync of an open file. Its failure, or that of `before`, is final for this object; see `fsyncError`. */
export function syncFile(fd: number, doing: string, before?: () => void): void {
  try {
    before?.();
    fs.fsyncSync(fd);
  } catch (error) {
    throw fsyncError(error, doing);
  }
}

/**
 * fsync of a folder, after `before`. File systems that cannot (EINVAL, ENOTSUP: some network and FUSE ones) promise no
 * more than this.
 */
export function syncFolder(folder: string, before?: () => void): void {
  try {
    before?.();
    const fd = fs.openSync(folder, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
    try {
      fs.fsyncSync(fd);
    } finally {
      closeFile(fd);
    }
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "EINVAL" || errno === "ENOTSUP" || errno === "EOPNOTSUPP") return;
    throw fsyncError(error, `make the folder ${folder} durable`);
  }
}

/** Closes a file that was read or synced. What close may still report concerns nobody any more. */
export function closeFile(fd: number): void {
  try {
    fs.closeSync(fd);
  } catch {
    // Late write errors of network file systems were already reported by fsync.
  }
}

/** Lets the event loop turn once, then throws the signal's reason when it has fired. */
export async function breathe(signal: AbortSignal | undefined): Promise<void> {
  await nextTurn();
  throwIfAborted(signal);
}

/** Position in a list of parts; cuts it into batches that one writev takes. */
class PartsCursor {
  readonly #parts: readonly Uint8Array[];
  #index = 0;
  #offset = 0;

  constructor(parts: readonly Uint8Array[]) {
    this.#parts = parts.filter((part) => part.length > 0);
  }

  get atEnd(): boolean {
    return this.#index === this.#parts.length;
  }

  next(): Uint8Array[] {
    const batch: Uint8Array[] = [];
    let bytes = 0;
    let offset = this.#offset;
    for (let index = this.#index; index < this.#parts.length; index++) {
      if (batch.length === SEGMENT_PARTS || bytes === SEGMENT_BYTES) break;
      const view = (this.#parts[index] as Uint8Array).subarray(offset, offset + SEGMENT_BYTES - bytes);
      batch.push(view);
      bytes += view.length;
      offset = 0;
    }
    return batch;
  }

  advance(bytes: number): void {
    this.#offset += bytes;
    while (this.#index < this.#parts.length && this.#offset >= (this.#parts[this.#index] as Uint8Array).length) {
      this.#offset -= (this.#parts[this.#index] as Uint8Array).length;
      this.#index++;
    }
  }
}
