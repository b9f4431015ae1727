/**
 * The C library through koffi: the calls Node lacks (xattrs, openat and its family, SEEK_HOLE, nanosecond times).
 * Loaded on first use. Paths are raw bytes, copied into one NUL-terminated scratch buffer a thread, so a call
 * allocates nothing; every call here is synchronous and never crosses an await.
 */
import { createRequire } from "node:module";
import { arch, constants, platform } from "node:os";
import type * as KoffiModule from "koffi";
import { HoldfastError } from "../base/errors.ts";

type Koffi = typeof KoffiModule;
type Bytes = Uint8Array;

/** The functions as C declares them; failures return -1 and leave errno. */
export interface RawLibc {
  llistxattr(path: Bytes, list: Bytes, size: number): number;
  flistxattr(fd: number, list: Bytes, size: number): number;
  lgetxattr(path: Bytes, name: Bytes, value: Bytes, size: number): number;
  fgetxattr(fd: number, name: Bytes, value: Bytes, size: number): number;
  lsetxattr(path: Bytes, name: Bytes, value: Bytes, size: number, flags: number): number;
  fsetxattr(fd: number, name: Bytes, value: Bytes, size: number, flags: number): number;
  lremovexattr(path: Bytes, name: Bytes): number;
  fremovexattr(fd: number, name: Bytes): number;
  statx(dirFd: number, path: Bytes, flags: number, mask: number, result: Bytes): number;
  openat(dirFd: number, path: Bytes, flags: number, mode: number): number;
  mkdirat(dirFd: number, path: Bytes, mode: number): number;
  symlinkat(target: Bytes, dirFd: number, path: Bytes): number;
  linkat(oldDirFd: number, oldPath: Bytes, newDirFd: number, newPath: Bytes, flags: number): number;
  mknodat(dirFd: number, path: Bytes, mode: number, device: bigint): number;
  unlinkat(dirFd: number, path: Bytes, flags: number): number;
  renameat(oldDirFd: number, oldPath: Bytes, newDirFd: number, newPath: Bytes): number;
  renameat2(oldDirFd: number, oldPath: Bytes, newDirFd: number, newPath: Bytes, flags: number): number;
  readlinkat(dirFd: number, path: Bytes, result: Bytes, size: number): number;
  fchownat(dirFd: number, path: Bytes, uid: number, gid: number, flags: number): number;
  fchmodat(dirFd: number, path: Bytes, mode: number, flags: number): number;
  utimensat(dirFd: number, path: Bytes, times: Bytes, flags: number): number;
  futimens(fd: number, times: Bytes): number;
  socket(domain: number, type: number, protocol: number): number;
  sendto(fd: number, message: Bytes, size: number, flags: number, address: Bytes, addressSize: number): number;
  lseek(fd: number, offset: number, whence: number): number;
  getpwuid_r(uid: number, entry: Bytes, text: Bytes, size: number, result: Bytes): number;
  getgrgid_r(gid: number, entry: Bytes, text: Bytes, size: number, result: Bytes): number;
  getpwnam_r(name: Bytes, entry: Bytes, text: Bytes, size: number, result: Bytes): number;
  getgrnam_r(name: Bytes, entry: Bytes, text: Bytes, size: number, result: Bytes): number;
}

/** Argument types in koffi's words. `openat` is variadic in C; on Linux x64 and arm64 the registers are the same. */
const SIGNATURES: { readonly [Name in keyof RawLibc]: readonly [result: string, ...args: string[]] } = {
  llistxattr: ["int64_t", "void *", "void *", "size_t"],
  flistxattr: ["int64_t", "int", "void *", "size_t"],
  lgetxattr: ["int64_t", "void *", "void *", "void *", "size_t"],
  fgetxattr: ["int64_t", "int", "void *", "void *", "size_t"],
  lsetxattr: ["int", "void *", "void *", "void *", "size_t", "int"],
  fsetxattr: ["int", "int", "void *", "void *", "size_t", "int"],
  lremovexattr: ["int", "void *", "void *"],
  fremovexattr: ["int", "int", "void *"],
  statx: ["int", "int", "void *", "int", "uint", "void *"],
  openat: ["int", "int", "void *", "int", "uint"],
  mkdirat: ["int", "int", "void *", "uint"],
  symlinkat: ["int", "void *", "int", "void *"],
  linkat: ["int", "int", "void *", "int", "void *", "int"],
  mknodat: ["int", "int", "void *", "uint", "uint64_t"],
  unlinkat: ["int", "int", "void *", "int"],
  renameat: ["int", "int", "void *", "int", "void *"],
  renameat2: ["int", "int", "void *", "int", "void *", "uint"],
  readlinkat: ["int64_t", "int", "void *", "void *", "size_t"],
  fchownat: ["int", "int", "void *", "uint", "uint", "int"],
  fchmodat: ["int", "int", "void *", "uint", "int"],
  utimensat: ["int", "int", "void *", "void *", "int"],
  futimens: ["int", "int", "void *"],
  socket: ["int", "int", "int", "int"],
  sendto: ["int64_t", "int", "void *", "size_t", "int", "void *", "uint"],
  lseek: ["int64_t", "int", "int64_t", "int"],
  getpwuid_r: ["int", "uint", "void *", "void *", "size_t", "void *"],
  getgrgid_r: ["int", "uint", "void *", "void *", "size_t", "void *"],
  getpwnam_r: ["int", "void *", "void *", "void *", "size_t", "void *"],
  getgrnam_r: ["int", "void *", "void *", "void *", "size_t", "void *"],
};

export interface PosixSupport {
  readonly available: boolean;
  /** Why not, for people. */
  readonly reason?: string;
}

interface Loaded {
  readonly koffi: Koffi;
  readonly raw: RawLibc;
}

let loaded: Loaded | PosixSupport | undefined;

function load(): Loaded | PosixSupport {
  // The struct layouts of statx, passwd and group below are those of little-endian 64-bit Linux.
  if (platform() !== "linux") return { available: false, reason: `not available on ${platform()}` };
  if (arch() !== "x64" && arch() !== "arm64") return { available: false, reason: `not available on Linux ${arch()}` };
  try {
    const koffi = createRequire(import.meta.url)("koffi") as Koffi;
    const library = koffi.load(null);
    const raw: Record<string, unknown> = {};
    for (const [name, [result, ...args]] of Object.entries(SIGNATURES)) {
      try {
        raw[name] = library.func(name, result, args);
      } catch {
        // A C library that lacks one function still serves the rest (glibc before 2.33 has no mknodat).
        raw[name] = () => {
          koffi.errno(constants.errno.ENOSYS);
          return -1;
        };
      }
    }
    giveLargeBuffersBack(library);
    return { koffi, raw: raw as unknown as RawLibc };
  } catch (error) {
    return { available: false, reason: error instanceof Error ? error.message : String(error) };
  }
}

const M_MMAP_THRESHOLD = -3;
/** Above the frames that come and go by the thousand, below what is kept for a whole run or needed once. */
const LARGE_BYTES = 4 * 2 ** 20;

/**
 * Lets glibc give buffers of 4 MiB and more back to the system when they are freed. By itself it raises that bound to 32 MiB
 * and keeps them in the heap of each thread: some 20 MB more for a backup with two threads, and no faster.
 */
function giveLargeBuffersBack(library: ReturnType<Koffi["load"]>): void {
  try {
    (library.func("mallopt", "int", ["int", "int"]) as (parameter: number, value: number) => number)(
      M_MMAP_THRESHOLD,
      LARGE_BYTES,
    );
  } catch {
    // Another C library, which has its own ways.
  }
}

/**
 * Whether the C library can be called here. Where it cannot, reading degrades (no xattrs, no holes, paths instead of
 * directory descriptors) and everything that changes a file through this module throws `unsupported`. Never throws.
 */
export function posixSupport(): PosixSupport {
  loaded ??= load();
  return "raw" in loaded ? { available: true } : loaded;
}

/** The raw functions. Throws `unsupported` where `posixSupport().available` is false. */
export function libc(): RawLibc {
  return loadedOrThrow().raw;
}

/** errno of the last failed raw call of this thread. */
export function lastErrno(): number {
  return loadedOrThrow().koffi.errno();
}

/** Address of a buffer's first byte, for pointers that C returns into it. The buffer must stay referenced. */
export function addressOf(buffer: Uint8Array): bigint {
  return loadedOrThrow().koffi.address(buffer);
}

function loadedOrThrow(): Loaded {
  loaded ??= load();
  if ("raw" in loaded) return loaded;
  throw new HoldfastError("unsupported", `POSIX metadata calls cannot be used: ${loaded.reason}`, {
    hint: "Run on Linux x64 or arm64 and install the dependencies with optional packages, so that koffi's binary is there.",
  });
}

let names: Map<number, string> | undefined;

/** `ENOENT` for 2; where two names share a number, the one Node uses. */
export function errnoName(errno: number): string {
  if (names === undefined) {
    names = new Map();
    const koffiNames = loaded !== undefined && "raw" in loaded ? Object.entries(loaded.koffi.os.errno) : [];
    for (const [name, value] of [...Object.entries(constants.errno), ...koffiNames])
      if (!names.has(value)) names.set(value, name);
  }
  return names.get(errno) ?? `E${errno}`;
}

/** A system error shaped like Node's: `code` is the errno name, `syscall` and `path` say what was tried. */
export function systemError(errno: number, syscall: string, path?: Uint8Array): NodeJS.ErrnoException {
  const code = errnoName(errno);
  const shown = path === undefined ? "" : ` '${Buffer.from(path).toString("utf8")}'`;
  const error: NodeJS.ErrnoException = new Error(`${code}: ${syscall}${shown}`);
  error.code = code;
  error.errno = -errno;
  error.syscall = syscall;
  if (path !== undefined) error.path = Buffer.from(path).toString("utf8");
  return error;
}

/** Throws the error of the raw call that just returned -1. */
export function throwErrno(syscall: string, path?: Uint8Array): never {
  throw systemError(lastErrno(), syscall, path);
}

/** Twice the kernel's limit of 4,096 bytes: what is longer is refused before it is copied. */
const SCRATCH_BYTES = 8192;
const scratches = [Buffer.alloc(SCRATCH_BYTES), Buffer.alloc(SCRATCH_BYTES)] as const;

/**
 * `path` with a NUL behind it, in one of two scratch buffers: valid until the next call with the same slot.
 * Throws ENAMETOOLONG for what no kernel takes and EINVAL for a path with a NUL inside, which C would cut short.
 */
export function cString(path: Uint8Array, slot: 0 | 1 = 0): Uint8Array {
  const scratch = scratches[slot];
  if (path.length >= SCRATCH_BYTES) throw systemError(constants.errno.ENAMETOOLONG, "path", path.subarray(0, 64));
  if (path.includes(0)) throw systemError(constants.errno.EINVAL, "path", path);
  scratch.set(path);
  scratch[path.length] = 0;
  return scratch;
}
