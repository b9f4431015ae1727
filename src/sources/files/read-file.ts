/** Reading one file, synchronously: what a CPU worker does with the `{ open: path }` of an entry. */
import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { HoldfastError, errnoOf } from "../../base/errors.ts";
import { dataRanges } from "../../posix/extents.ts";
import { posixSupport } from "../../posix/libc.ts";
import { pathText } from "../../base/path-text.ts";
import { hasStamp, statFd, type ContentStamp, type PosixStat } from "../../posix/stat.ts";
import { readXattrs as readXattrsOf } from "../../posix/xattr.ts";
import type { Extent, Xattr } from "../source.ts";
import { fromNodeStat } from "./directory-reader.ts";

/** Metadata of an open file; times in nanoseconds. */
export type FileStat = PosixStat;

/** Which file a walk saw under a path. */
export interface FileIdentity {
  readonly inode: bigint;
  readonly device: bigint;
}

export interface OpenFile {
  readonly fd: number;
  /** As of the opening. Compare with `sameStat` after reading to see whether the file changed meanwhile. */
  readonly stat: FileStat;
}

/** O_NONBLOCK: what became a FIFO since the walk must not hang the worker. It means nothing to a regular file. */
const OPEN_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const NOATIME = constants.O_NOATIME ?? 0;

/**
 * Opens a regular file by its absolute raw path, of any length, without following a final symlink and, where the
 * system permits, without touching its access time. Throws system errors like Node's (`ENOENT`: it vanished), and
 * `source_changed` when something else than the expected file is there now. The caller closes `fd`.
 */
export function openFileForRead(path: Uint8Array, expected?: FileIdentity): OpenFile {
  const fd = openUnseen(path);
  try {
    const stat = statOf(fd);
    requireRegular(stat, path);
    if (expected !== undefined && (stat.inode !== expected.inode || stat.device !== expected.device))
      throw changed(path, "was replaced by another file");
    return { fd, stat };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Throws `source_changed` unless this is the metadata of a regular file. */
export function requireRegular(stat: FileStat, path: Uint8Array): void {
  if ((stat.mode & constants.S_IFMT) !== constants.S_IFREG) throw changed(path, "is no regular file any more");
}

/**
 * True when the open file is the one that was seen, with the size and times it had then. A file that has been read at
 * positions, which a FIFO or a socket refuses, needs no look at it before.
 */
export function isAsSeen(fd: number, seen: ContentStamp): boolean {
  if (posixSupport().available) return hasStamp(fd, seen);
  const now = statOf(fd);
  return now.size === seen.size && now.mtimeNs === seen.mtimeNs && now.ctimeNs === seen.ctimeNs && now.inode === seen.inode;
}

function changed(path: Uint8Array, what: string): HoldfastError {
  return new HoldfastError("source_changed", `${pathText(path)} ${what}`, { hint: "The next backup reads what is there now." });
}

/** The kernel refuses paths of 4,096 bytes and more. */
const PATH_LIMIT_BYTES = 4095;

/** `openFileForRead` without looking at what was opened: for whoever compares it with what was seen once it is read. */
export function openUnseen(path: Uint8Array): number {
  if (path.length <= PATH_LIMIT_BYTES) return openQuietly(Buffer.from(path.buffer, path.byteOffset, path.byteLength));
  // Reach the parent in steps: open a folder as far down as one path goes, and go on from its descriptor.
  let rest = Buffer.from(path);
  let directory = -1;
  try {
    while (rest.length > PATH_LIMIT_BYTES) {
      const cut = rest.lastIndexOf(0x2f, STEP_BYTES);
      const next = openSync(below(directory, rest.subarray(0, cut)), constants.O_RDONLY | constants.O_DIRECTORY);
      if (directory >= 0) closeSync(directory);
      directory = next;
      rest = rest.subarray(cut + 1);
    }
    return openQuietly(below(directory, rest));
  } finally {
    if (directory >= 0) closeSync(directory);
  }
}

/** Leaves room for `/proc/self/fd/N/` in front. */
const STEP_BYTES = PATH_LIMIT_BYTES - 32;

function below(directory: number, path: Buffer): Buffer {
  return directory < 0 ? path : Buffer.concat([Buffer.from(`/proc/self/fd/${directory}/`), path]);
}

function openQuietly(path: Buffer): number {
  try {
    return openSync(path, OPEN_FLAGS | NOATIME);
  } catch (error) {
    // Only the owner and root may leave the access time alone.
    if (NOATIME !== 0 && errnoOf(error) === "EPERM") return openSync(path, OPEN_FLAGS);
    throw error;
  }
}

/** Metadata of an open descriptor. */
export function statOf(fd: number): FileStat {
  return posixSupport().available ? statFd(fd) : fromNodeStat(fstatSync(fd, { bigint: true }));
}

/** True when nothing that a change of content leaves behind differs: size, both times, and which file it is. */
export function sameStat(a: FileStat, b: FileStat): boolean {
  return a.size === b.size && a.mtimeNs === b.mtimeNs && a.ctimeNs === b.ctimeNs && a.inode === b.inode && a.device === b.device;
}

/** Extended attributes of an open file, sorted by name; empty where the platform cannot tell. */
export function readXattrs(fd: number): readonly Xattr[] {
  return readXattrsOf(fd);
}

/** Runs of data in a file of `size` bytes; without hole support one run over everything. Read with positions afterwards. */
export function dataExtents(fd: number, size: number): Extent[] {
  return dataRanges(fd, size);
}
