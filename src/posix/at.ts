/**
 * Files named relative to an open directory, so that nobody can swap a parent in between. Every function throws
 * system errors like Node's and `unsupported` where the C library cannot be called. None follows a final symlink.
 */
import { constants } from "node:os";
import { cString, lastErrno, libc, throwErrno } from "./libc.ts";

/** As `dirFd`: paths are absolute or relative to the working directory. */
export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_EMPTY_PATH = 0x1000;
/** Flags that `fs.constants` lacks; the same numbers on x64 and arm64. */
export const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;
const AT_REMOVEDIR = 0x200;
const RENAME_NOREPLACE = 1;
const UTIME_OMIT = 0x3ffffffen;

/**
 * Opens `path` below `dirFd` with `flags` of `fs.constants`; adds nothing but O_CLOEXEC. Give O_NOFOLLOW, or a final
 * symlink is followed. The caller closes the descriptor with `fs.closeSync`.
 */
export function openAt(dirFd: number, path: Uint8Array, flags: number, mode = 0): number {
  for (;;) {
    const fd = libc().openat(dirFd, cString(path), flags | O_CLOEXEC, mode);
    if (fd >= 0) return fd;
    if (lastErrno() !== constants.errno.EINTR) throwErrno("openat", path);
  }
}

export function mkdirAt(dirFd: number, path: Uint8Array, mode: number): void {
  if (libc().mkdirat(dirFd, cString(path), mode) !== 0) throwErrno("mkdirat", path);
}

export function symlinkAt(target: Uint8Array, dirFd: number, path: Uint8Array): void {
  if (libc().symlinkat(cString(target, 1), dirFd, cString(path)) !== 0) throwErrno("symlinkat", path);
}

/** A second name for a file; for a symlink, for the symlink itself. */
export function linkAt(oldDirFd: number, oldPath: Uint8Array, newDirFd: number, newPath: Uint8Array): void {
  if (libc().linkat(oldDirFd, cString(oldPath, 1), newDirFd, cString(newPath), 0) !== 0) throwErrno("linkat", newPath);
}

/** Makes a device, FIFO or socket: `mode` is its S_IF… type with permission bits, `device` a number of `makeDevice`. */
export function mknodAt(dirFd: number, path: Uint8Array, mode: number, device: bigint): void {
  if (libc().mknodat(dirFd, cString(path), mode, device) !== 0) throwErrno("mknodat", path);
}

/** Removes a name; `directory` removes an empty folder. */
export function unlinkAt(dirFd: number, path: Uint8Array, options: { readonly directory?: boolean } = {}): void {
  if (libc().unlinkat(dirFd, cString(path), options.directory === true ? AT_REMOVEDIR : 0) !== 0) throwErrno("unlinkat", path);
}

/** Renames, replacing what is there unless `noReplace`; then EEXIST, or EINVAL on a file system that cannot promise it. */
export function renameAt(
  oldDirFd: number,
  oldPath: Uint8Array,
  newDirFd: number,
  newPath: Uint8Array,
  options: { readonly noReplace?: boolean } = {},
): void {
  const [from, to] = [cString(oldPath, 1), cString(newPath)];
  const result =
    options.noReplace === true
      ? libc().renameat2(oldDirFd, from, newDirFd, to, RENAME_NOREPLACE)
      : libc().renameat(oldDirFd, from, newDirFd, to);
  if (result !== 0) throwErrno("renameat", newPath);
}

/** Longest symlink target Linux keeps is one page less a byte; some file systems take more. */
const linkBuffer = Buffer.alloc(65_536);

/** Raw bytes of a symlink's target. */
export function readlinkAt(dirFd: number, path: Uint8Array): Buffer {
  const length = libc().readlinkat(dirFd, cString(path), linkBuffer, linkBuffer.length);
  if (length < 0) throwErrno("readlinkat", path);
  return Buffer.from(linkBuffer.subarray(0, length));
}

/** Changes the owner of the entry itself, symlinks included. Clears setuid and setgid, so set the mode afterwards. */
export function chownAt(dirFd: number, path: Uint8Array, uid: number, gid: number): void {
  if (libc().fchownat(dirFd, cString(path), uid, gid, AT_SYMLINK_NOFOLLOW) !== 0) throwErrno("fchownat", path);
}

/** Changes permission bits of anything but a symlink, for which it throws ENOTSUP. */
export function chmodAt(dirFd: number, path: Uint8Array, mode: number): void {
  if (libc().fchmodat(dirFd, cString(path), mode, AT_SYMLINK_NOFOLLOW) !== 0) throwErrno("fchmodat", path);
}

const times = new BigInt64Array(4);
const timesBytes = new Uint8Array(times.buffer);

/** Sets times of the entry itself, nanoseconds since 1970, negative before; undefined leaves one as it is. */
export function setTimesAt(dirFd: number, path: Uint8Array, atimeNs: bigint | undefined, mtimeNs: bigint | undefined): void {
  fillTimes(atimeNs, mtimeNs);
  if (libc().utimensat(dirFd, cString(path), timesBytes, AT_SYMLINK_NOFOLLOW) !== 0) throwErrno("utimensat", path);
}

/** Like `setTimesAt`, for an open file. */
export function setTimesFd(fd: number, atimeNs: bigint | undefined, mtimeNs: bigint | undefined): void {
  fillTimes(atimeNs, mtimeNs);
  if (libc().futimens(fd, timesBytes) !== 0) throwErrno("futimens");
}

function fillTimes(atimeNs: bigint | undefined, mtimeNs: bigint | undefined): void {
  fillTime(0, atimeNs);
  fillTime(2, mtimeNs);
}

function fillTime(index: number, timeNs: bigint | undefined): void {
  if (timeNs === undefined) {
    times[index] = 0n;
    times[index + 1] = UTIME_OMIT;
    return;
  }
  // The kernel wants nanoseconds in 0…999,999,999 even before 1970, so the seconds round down.
  let nanoseconds = timeNs % 1_000_000_000n;
  if (nanoseconds < 0n) nanoseconds += 1_000_000_000n;
  times[index] = (timeNs - nanoseconds) / 1_000_000_000n;
  times[index + 1] = nanoseconds;
}

/**
 * A path to `name` below an open directory for calls without an `at` form (lsetxattr, readdir): the kernel resolves
 * the descriptor itself, whatever the directory is called now. Without `name`, the directory. Needs /proc.
 */
export function pathBelow(dirFd: number, name?: Uint8Array): Buffer {
  const prefix = `/proc/self/fd/${dirFd}`;
  if (name === undefined) return Buffer.from(prefix, "latin1");
  const path = Buffer.allocUnsafe(prefix.length + 1 + name.length);
  path.write(prefix, 0, "latin1");
  path[prefix.length] = 0x2f;
  path.set(name, prefix.length + 1);
  return path;
}
