/** A stat as an entry of the stream. */
import { strict as assert } from "node:assert";
import { constants } from "node:fs";
import { groupName, userName } from "../../posix/owners.ts";
import type { PosixStat } from "../../posix/stat.ts";
import type { Entry, EntryMeta, EntryType, Xattr } from "../source.ts";

const TYPES: ReadonlyMap<number, EntryType> = new Map([
  [constants.S_IFREG, "file"],
  [constants.S_IFDIR, "directory"],
  [constants.S_IFLNK, "symlink"],
  [constants.S_IFCHR, "chardev"],
  [constants.S_IFBLK, "blockdev"],
  [constants.S_IFIFO, "fifo"],
  [constants.S_IFSOCK, "socket"],
]);

/** What only some types have. */
interface EntryExtras {
  /** Full path of a regular file, for whoever reads it. */
  readonly open?: Uint8Array;
  readonly linkTarget?: Uint8Array | undefined;
  readonly unreadable?: boolean;
}

const NOTHING: EntryExtras = {};

/** An entry of any type; `open` is required for a regular file, `linkTarget` for a symlink. */
export function entryOf(name: Uint8Array, stat: PosixStat, xattrs: readonly Xattr[], extras: EntryExtras = NOTHING): Entry {
  const type = TYPES.get(stat.mode & constants.S_IFMT);
  assert(type !== undefined, "the kernel knows seven types of files");
  const meta = metaOf(stat, xattrs);
  switch (type) {
    case "file":
      assert(extras.open !== undefined);
      return { name, type, meta, size: stat.size, content: { open: extras.open, sparse: stat.blocks * 512 < stat.size } };
    case "symlink":
      assert(extras.linkTarget !== undefined);
      return { name, type, meta, size: 0, linkTarget: extras.linkTarget };
    case "chardev":
    case "blockdev":
      return { name, type, meta, size: 0, rdev: stat.rdev };
    case "directory":
      return extras.unreadable === true ? { name, type, meta, size: 0, unreadable: true } : { name, type, meta, size: 0 };
    default:
      return { name, type, meta, size: 0 };
  }
}

/** What a snapshot keeps of an entry, from what the kernel says of it. */
export function metaOf(stat: PosixStat, xattrs: readonly Xattr[]): EntryMeta {
  return {
    mode: stat.mode & 0o7777,
    uid: stat.uid,
    gid: stat.gid,
    user: userName(stat.uid),
    group: groupName(stat.gid),
    mtimeNs: stat.mtimeNs,
    ctimeNs: stat.ctimeNs,
    inode: stat.inode,
    links: stat.links,
    device: stat.device,
    xattrs,
  };
}
