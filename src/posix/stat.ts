/** `statx` relative to a directory descriptor, parsed from its kernel layout (the same on every architecture). */
import { cString, libc, throwErrno } from "./libc.ts";
import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW } from "./at.ts";

/** What the kernel says of a file. Times are nanoseconds since 1970 and may be negative. */
export interface PosixStat {
  /** Type and permission bits, `st_mode`. */
  readonly mode: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  readonly inode: bigint;
  readonly size: number;
  /** Allocated units of 512 bytes. */
  readonly blocks: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  /** Numbered as `st_dev` of Node's stat. */
  readonly device: bigint;
  readonly rdev: bigint;
}

const STATX_BASIC_STATS = 0x7ff;
const AT_NO_AUTOMOUNT = 0x800;
const EMPTY = new Uint8Array(0);

const memory = new ArrayBuffer(256);
const bytes = new Uint8Array(memory);
const u16 = new Uint16Array(memory);
const u32 = new Uint32Array(memory);
const u64 = new BigUint64Array(memory);
const i64 = new BigInt64Array(memory);

/** Metadata of `path` below `dirFd`; a symlink's own, never its target's. Throws like Node's `lstat`. */
export function statAt(dirFd: number, path: Uint8Array): PosixStat {
  if (libc().statx(dirFd, cString(path), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, bytes) !== 0)
    throwErrno("statx", path);
  return parse();
}

/** Metadata of an open file. */
export function statFd(fd: number): PosixStat {
  if (libc().statx(fd, cString(EMPTY), AT_EMPTY_PATH, STATX_BASIC_STATS, bytes) !== 0) throwErrno("statx");
  return parse();
}

/** What a change of content leaves behind, and which file it is. */
export type ContentStamp = Pick<PosixStat, "size" | "mtimeNs" | "ctimeNs" | "inode">;

/** True when an open file's stamp is the given one: `statFd` for whoever asks often and needs nothing else. */
export function hasStamp(fd: number, stamp: ContentStamp): boolean {
  if (libc().statx(fd, cString(EMPTY), AT_EMPTY_PATH, STATX_BASIC_STATS, bytes) !== 0) throwErrno("statx");
  return (
    (u32[10] as number) + (u32[11] as number) * 2 ** 32 === stamp.size &&
    u64[4] === stamp.inode &&
    timeAt(112) === stamp.mtimeNs &&
    timeAt(96) === stamp.ctimeNs
  );
}

function parse(): PosixStat {
  return {
    mode: u16[14] as number,
    links: u32[4] as number,
    uid: u32[5] as number,
    gid: u32[6] as number,
    inode: u64[4] as bigint,
    size: (u32[10] as number) + (u32[11] as number) * 2 ** 32,
    blocks: (u32[12] as number) + (u32[13] as number) * 2 ** 32,
    ctimeNs: timeAt(96),
    mtimeNs: timeAt(112),
    rdev: deviceOf(u32[32] as number, u32[33] as number),
    device: deviceOf(u32[34] as number, u32[35] as number),
  };
}

/** The last nanosecond that 64 bits with a sign hold, in 2262, and the first, in 1677: file systems go further. */
export const LAST_TIME_NS: bigint = 2n ** 63n - 1n;
export const FIRST_TIME_NS: bigint = -(2n ** 63n);

/** The nearest time that 64 bits hold, as every stat here has it; whoever keeps times says which of them are not exact. */
export function heldTime(ns: bigint): bigint {
  return ns > LAST_TIME_NS ? LAST_TIME_NS : ns < FIRST_TIME_NS ? FIRST_TIME_NS : ns;
}

const NS_PER_S = 1e9;
const timeHalves = new Uint32Array(2);
const time = new BigInt64Array(timeHalves.buffer);

/** Seconds and nanoseconds as one number: in two halves of plain numbers, because every step between bigints allocates one. */
function timeAt(offset: number): bigint {
  const seconds = u32[offset / 4] as number;
  const nanoseconds = u32[offset / 4 + 2] as number;
  // Before 1970 and after 2106.
  if (u32[offset / 4 + 1] !== 0) return heldTime((i64[offset / 8] as bigint) * 1_000_000_000n + BigInt(nanoseconds));
  const upper = (seconds >>> 16) * NS_PER_S;
  const lower = (upper % 2 ** 16) * 2 ** 16 + (seconds & 0xffff) * NS_PER_S + nanoseconds;
  timeHalves[0] = lower % 2 ** 32;
  timeHalves[1] = Math.floor(upper / 2 ** 16) + Math.floor(lower / 2 ** 32);
  return time[0] as bigint;
}

/** Entry after entry has the device of the one before. */
const lastDevice = { major: 0, minor: 0, number: 0n };

function deviceOf(major: number, minor: number): bigint {
  if (major === 0 && minor === 0) return 0n;
  if (lastDevice.major !== major || lastDevice.minor !== minor)
    Object.assign(lastDevice, { major, minor, number: makeDevice(major, minor) });
  return lastDevice.number;
}

/** `makedev`: a device number as `st_rdev` shows it and `mknod` takes it. */
export function makeDevice(major: number, minor: number): bigint {
  // 12 low bits of the major number: the common case, without bigint arithmetic.
  if (major < 0x1000 && minor < 0x100) return BigInt(major * 256 + minor);
  const [maj, min] = [BigInt(major), BigInt(minor)];
  return ((maj & 0xfffff000n) << 32n) | ((maj & 0xfffn) << 8n) | ((min & 0xffffff00n) << 12n) | (min & 0xffn);
}

/** Major and minor number of a device number. */
export function splitDevice(device: bigint): { readonly major: number; readonly minor: number } {
  return {
    major: Number(((device >> 32n) & 0xfffff000n) | ((device >> 8n) & 0xfffn)),
    minor: Number(((device >> 12n) & 0xffffff00n) | (device & 0xffn)),
  };
}
