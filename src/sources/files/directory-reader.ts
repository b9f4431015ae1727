/**
 * How the walker looks at directories. With the C library: relative to descriptors, so that nobody can redirect a
 * walk by swapping a parent for a symlink, and paths may be longer than the kernel's 4,096 bytes. Without: by path.
 */
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  statSync,
  type BigIntStats,
} from "node:fs";
import { AT_FDCWD, O_PATH, openAt, pathBelow, readlinkAt } from "../../posix/at.ts";
import { posixSupport } from "../../posix/libc.ts";
import { heldTime, statAt, statFd, type PosixStat } from "../../posix/stat.ts";
import { readXattrs } from "../../posix/xattr.ts";
import type { Xattr } from "../source.ts";

/** A directory being read: its descriptor (-1 when read by path) and its full path without a trailing slash. */
export interface Directory {
  readonly fd: number;
  readonly path: Buffer;
}

/** Every function throws system errors like Node's. `name` is below `parent`; `path` is the whole of both. */
export interface DirectoryReader {
  readonly usesDescriptors: boolean;
  /** Opens `/`. */
  openRoot(): number;
  /** Metadata of the entry itself. */
  stat(parent: Directory, name: Uint8Array, path: Buffer): PosixStat;
  statOf(directory: Directory): PosixStat;
  /** Opens a directory; no read permission is needed. A symlink is refused with ENOTDIR unless `follow`. */
  open(parent: Directory, name: Uint8Array, path: Buffer, follow: boolean): number;
  /** Opens a regular file; a symlink is refused with ELOOP. */
  openFile(parent: Directory, name: Uint8Array, path: Buffer): number;
  /** Names, latin1, sorted bytewise. */
  list(directory: Directory): string[];
  readlink(parent: Directory, name: Uint8Array, path: Buffer): Uint8Array;
  xattrs(parent: Directory, name: Uint8Array, path: Buffer): readonly Xattr[];
  xattrsOf(directory: Directory): readonly Xattr[];
  close(fd: number): void;
}

const SLASH = Buffer.from("/");
const DOT = Buffer.from(".");
const OPEN_DIRECTORY = O_PATH | constants.O_DIRECTORY;
const OPEN_FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

const byDescriptor: DirectoryReader = {
  usesDescriptors: true,
  openRoot: () => openAt(AT_FDCWD, SLASH, OPEN_DIRECTORY),
  stat: (parent, name) => statAt(parent.fd, name),
  statOf: (directory) => statFd(directory.fd),
  open: (parent, name, _path, follow) => openAt(parent.fd, name, follow ? OPEN_DIRECTORY : OPEN_DIRECTORY | constants.O_NOFOLLOW),
  openFile: (parent, name) => openAt(parent.fd, name, OPEN_FILE),
  list: (directory) => readNames(pathBelow(directory.fd)),
  readlink: (parent, name) => readlinkAt(parent.fd, name),
  xattrs: (parent, name) => readXattrs(pathBelow(parent.fd, name)),
  // flistxattr fails on a descriptor opened with O_PATH; its own "." reaches the same directory.
  xattrsOf: (directory) => readXattrs(pathBelow(directory.fd, DOT)),
  close: (fd) => closeSync(fd),
};

const byPath: DirectoryReader = {
  usesDescriptors: false,
  openRoot: () => -1,
  stat: (_parent, _name, path) => fromNodeStat(lstatSync(path, { bigint: true })),
  statOf: (directory) => fromNodeStat(statSync(orRoot(directory.path), { bigint: true })),
  open: () => -1,
  openFile: (_parent, _name, path) => openSync(path, OPEN_FILE),
  list: (directory) => readNames(orRoot(directory.path)),
  readlink: (_parent, _name, path) => readlinkSync(path, { encoding: "buffer" }),
  xattrs: () => [],
  xattrsOf: () => [],
  close: () => undefined,
};

function orRoot(path: Buffer): Buffer {
  return path.length === 0 ? SLASH : path;
}

/** The better reader for this machine: descriptors need the C library and a mounted /proc. */
export function directoryReader(options: { readonly forcePaths?: boolean } = {}): DirectoryReader {
  if (options.forcePaths === true || !posixSupport().available || !existsSync("/proc/self/fd")) return byPath;
  return byDescriptor;
}

/** Names one character a byte cost a third of one Buffer each, and sorting them by code unit is sorting bytes. */
function readNames(path: Buffer): string[] {
  return readdirSync(path, { encoding: "latin1" }).sort();
}

/** Node's stat in this project's shape. */
export function fromNodeStat(stat: BigIntStats): PosixStat {
  return {
    mode: Number(stat.mode),
    links: Number(stat.nlink),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    inode: stat.ino,
    size: Number(stat.size),
    blocks: Number(stat.blocks),
    mtimeNs: heldTime(stat.mtimeNs),
    ctimeNs: heldTime(stat.ctimeNs),
    device: stat.dev,
    rdev: stat.rdev,
  };
}
