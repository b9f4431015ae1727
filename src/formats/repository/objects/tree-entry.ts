import { strict as assert } from "node:assert";
import type { ByteReader } from "../../../codec/binary.ts";
import { ByteWriter } from "../../../codec/binary.ts";
import { isProfileNumber, NO_PROFILE } from "../../../chunker/profile.ts";
import type { EntryMeta, EntryType, Extent, Xattr } from "../../../sources/source.ts";

/** Entries of trees exactly as `docs/format.md` has them. */

/** Bits of an entry's flags. */
export const ENTRY_FLAG = { racy: 1, changedWhileRead: 2, xattrs: 4, sparse: 8, unreadable: 16 } as const;

const ALL_FLAGS = 31;
export const TREE_ID_BYTES = 32;
/** Ids an entry itself holds; more go to list chunks. */
export const MAX_ENTRY_IDS = 256;
/** Four levels of lists name more chunks than a file of 2^53 bytes can have. */
const MAX_DEPTH = 4;

export const TREE_BOUNDS = {
  nameBytes: 4096,
  ownerBytes: 1024,
  linkTargetBytes: 65_536,
  xattrNameBytes: 1024,
  xattrValueBytes: 1024 * 1024,
  /** Encoded xattrs of one entry. */
  xattrsBytes: 4 * 1024 * 1024,
  extents: 65_536,
} as const;

/** What a tree keeps of one entry. */
export interface TreeEntry {
  readonly name: Uint8Array;
  readonly type: EntryType;
  /** Bits of ENTRY_FLAG. The encoder adds `xattrs` and `sparse` where there are xattrs and extents. */
  readonly flags: number;
  readonly meta: EntryMeta;
  /** Logical bytes of a file; 0 for everything else. */
  readonly size: number;
  /** Number of the chunk profile; 0 without content. */
  readonly profile: number;
  /** 0: `ids` are data chunks; else list chunks this many levels above them. */
  readonly depth: number;
  /** n × 32 bytes; empty for what has no content. */
  readonly ids: Uint8Array;
  /** Data of a sparse file; empty for a file without holes, and for one that is a single hole: only then must flag `sparse` be set. */
  readonly extents: readonly Extent[];
  /** Of a symlink. */
  readonly linkTarget: Uint8Array | undefined;
  /** Of a device. */
  readonly rdev: bigint | undefined;
  /** 32 bytes, of a directory. */
  readonly tree: Uint8Array | undefined;
}

const TYPE_NUMBER: Readonly<Record<EntryType, number>> = {
  file: 1,
  directory: 2,
  symlink: 3,
  chardev: 4,
  blockdev: 5,
  fifo: 6,
  socket: 7,
};
const TYPES: readonly (EntryType | undefined)[] = [
  undefined,
  "file",
  "directory",
  "symlink",
  "chardev",
  "blockdev",
  "fifo",
  "socket",
];

const EMPTY = new Uint8Array();

/** True for a file whose content is its extents, with holes between. */
export function isSparse(entry: Pick<TreeEntry, "flags" | "extents">): boolean {
  return entry.extents.length > 0 || (entry.flags & ENTRY_FLAG.sparse) !== 0;
}

/** Bytes a file's chunks hold: its size, or the sum of its extents. */
export function dataLength(entry: Pick<TreeEntry, "size" | "flags" | "extents">): number {
  return isSparse(entry) ? entry.extents.reduce((sum, extent) => sum + extent.length, 0) : entry.size;
}

/** Appends an entry. What the bounds forbid is a programmer fault: walkers keep to them. */
export function encodeEntry(writer: ByteWriter, entry: TreeEntry): void {
  const { meta, type } = entry;
  const hasXattrs = meta.xattrs.length > 0;
  const kept = entry.flags & ~ENTRY_FLAG.xattrs;
  const flags = kept | (hasXattrs ? ENTRY_FLAG.xattrs : 0) | (entry.extents.length > 0 ? ENTRY_FLAG.sparse : 0);
  encodeHead(writer, entry.name, type, flags, meta);
  encodeTypePart(writer, entry);
  if (hasXattrs) encodeXattrs(writer, meta.xattrs);
}

/** Appends what every file without flags begins with, up to its profile: all that a look at the file tells. */
export function encodeFileHead(writer: ByteWriter, name: Uint8Array, meta: EntryMeta, size: number): void {
  encodeHead(writer, name, "file", 0, meta);
  writer.varint(size);
}

function encodeHead(writer: ByteWriter, name: Uint8Array, type: EntryType, flags: number, meta: EntryMeta): void {
  writer
    .bytes(name)
    .u8(TYPE_NUMBER[type])
    .varint(flags)
    .varint(meta.mode)
    .varint(meta.uid)
    .varint(meta.gid)
    .text(meta.user)
    .text(meta.group)
    .i64(meta.mtimeNs)
    .i64(meta.ctimeNs)
    .varint(meta.inode)
    .varint(meta.links)
    .varint(type === "directory" ? 0 : meta.device);
}

/** One entry as bytes of its own. */
export function encodedEntry(entry: TreeEntry): Buffer {
  const writer = new ByteWriter(512);
  encodeEntry(writer, entry);
  return writer.finish();
}

function encodeTypePart(writer: ByteWriter, entry: TreeEntry): void {
  switch (entry.type) {
    case "file": {
      const count = entry.ids.length / TREE_ID_BYTES;
      assert(Number.isInteger(count) && count <= MAX_ENTRY_IDS, "an entry has at most 256 whole ids");
      // A file that lost its ids on the way must not become a hole.
      assert((dataLength(entry) === 0) === (count === 0), "a file has chunks exactly when it has data");
      writer
        .varint(entry.size)
        .u8(count === 0 ? NO_PROFILE : entry.profile)
        .u8(count === 0 ? 0 : entry.depth)
        .varint(count)
        .raw(entry.ids);
      if (isSparse(entry)) encodeExtents(writer, entry.extents);
      break;
    }
    case "directory":
      assert(entry.tree?.length === TREE_ID_BYTES, "a directory has the id of its tree");
      writer.raw(entry.tree);
      break;
    case "symlink":
      assert(entry.linkTarget !== undefined, "a symlink has a target");
      writer.bytes(entry.linkTarget);
      break;
    case "chardev":
    case "blockdev":
      assert(entry.rdev !== undefined, "a device has a number");
      writer.varint(entry.rdev);
      break;
    case "fifo":
    case "socket":
      break;
  }
}

function encodeExtents(writer: ByteWriter, extents: readonly Extent[]): void {
  assert(extents.length <= TREE_BOUNDS.extents, "a file has at most 65,536 extents");
  writer.varint(extents.length);
  for (const { offset, length } of extents) writer.varint(offset).varint(length);
}

function encodeXattrs(writer: ByteWriter, xattrs: readonly Xattr[]): void {
  const start = writer.length;
  writer.varint(xattrs.length);
  for (const { name, value } of xattrs) writer.bytes(name).bytes(value);
  assert(writer.length - start <= TREE_BOUNDS.xattrsBytes, "the xattrs of an entry have at most 4 MiB");
}

/** True for what may be one component of a path: not empty, `.` or `..`, without `/` and NUL, at most 4,096 bytes. */
export function isEntryName(name: Uint8Array): boolean {
  if (name.length === 0 || name.length > TREE_BOUNDS.nameBytes) return false;
  if (name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e))) return false;
  return !name.includes(0x2f) && !name.includes(0);
}

/** Reads what follows an entry's name. Throws `object_malformed`. */
export function decodeEntry(reader: ByteReader, name: Uint8Array): TreeEntry {
  const typeNumber = reader.u8();
  const type = TYPES[typeNumber];
  if (type === undefined) throw reader.malformed(`entry type ${typeNumber} is unknown`);
  const flags = reader.varint();
  if (flags > ALL_FLAGS) throw reader.malformed(`flags ${flags} are unknown`);
  if ((flags & (ENTRY_FLAG.sparse | ENTRY_FLAG.changedWhileRead)) !== 0 && type !== "file")
    throw reader.malformed(`a ${type} has flags of a file`);
  if ((flags & ENTRY_FLAG.unreadable) !== 0 && type !== "directory") throw reader.malformed(`a ${type} has flags of a directory`);
  const meta = {
    mode: reader.varint(0o7777),
    uid: reader.varint(0xffff_ffff),
    gid: reader.varint(0xffff_ffff),
    user: reader.text(TREE_BOUNDS.ownerBytes),
    group: reader.text(TREE_BOUNDS.ownerBytes),
    mtimeNs: reader.i64(),
    ctimeNs: reader.i64(),
    inode: reader.varintBig(),
    links: reader.varint(),
    device: reader.varintBig(),
  };
  if (type === "directory" && meta.device !== 0n) throw reader.malformed("a directory has a device");
  const part = decodeTypePart(reader, type, flags);
  const xattrs = (flags & ENTRY_FLAG.xattrs) === 0 ? [] : decodeXattrs(reader);
  return { name, type, flags, meta: { ...meta, xattrs }, ...part };
}

type TypePart = Pick<TreeEntry, "size" | "profile" | "depth" | "ids" | "extents" | "linkTarget" | "rdev" | "tree">;

const NO_PART: TypePart = {
  size: 0,
  profile: NO_PROFILE,
  depth: 0,
  ids: EMPTY,
  extents: [],
  linkTarget: undefined,
  rdev: undefined,
  tree: undefined,
};

function decodeTypePart(reader: ByteReader, type: EntryType, flags: number): TypePart {
  switch (type) {
    case "file":
      return decodeFile(reader, flags);
    case "directory":
      return { ...NO_PART, tree: reader.raw(TREE_ID_BYTES) };
    case "symlink": {
      const linkTarget = reader.bytes(TREE_BOUNDS.linkTargetBytes);
      if (linkTarget.length === 0 || linkTarget.includes(0)) throw reader.malformed("a link target is not valid");
      return { ...NO_PART, linkTarget };
    }
    case "chardev":
    case "blockdev":
      return { ...NO_PART, rdev: reader.varintBig() };
    case "fifo":
    case "socket":
      return NO_PART;
  }
}

function decodeFile(reader: ByteReader, flags: number): TypePart {
  const size = reader.varint();
  const profile = reader.u8();
  const depth = reader.u8();
  const count = reader.count(TREE_ID_BYTES, MAX_ENTRY_IDS);
  const ids = reader.raw(count * TREE_ID_BYTES);
  const extents = (flags & ENTRY_FLAG.sparse) === 0 ? [] : decodeExtents(reader, size);
  if (!isProfileNumber(profile)) throw reader.malformed(`chunk profile ${profile} is unknown`);
  if (depth > MAX_DEPTH) throw reader.malformed(`${depth} levels of chunk lists exceed the bound of ${MAX_DEPTH}`);
  if ((count === 0) !== (profile === NO_PROFILE) || (count === 0 && depth !== 0))
    throw reader.malformed("a file has a profile without chunks, or chunks without");
  const data = dataLength({ size, flags, extents });
  if ((data === 0) !== (count === 0) || count > data)
    throw reader.malformed(`a file of ${data} bytes of data has ${count} chunks`);
  return { ...NO_PART, size, profile, depth, ids, extents };
}

function decodeExtents(reader: ByteReader, size: number): Extent[] {
  const extents: Extent[] = [];
  let end = -1;
  for (let left = reader.count(2, TREE_BOUNDS.extents); left > 0; left--) {
    const offset = reader.varint();
    const length = reader.varint();
    if (offset <= end || length === 0 || offset + length > size)
      throw reader.malformed("extents overlap, touch, are empty or exceed the file");
    end = offset + length;
    extents.push({ offset, length });
  }
  return extents;
}

function decodeXattrs(reader: ByteReader): Xattr[] {
  const xattrs: Xattr[] = [];
  const start = reader.position;
  let before: Buffer | undefined;
  for (let left = reader.count(2, Infinity); left > 0; left--) {
    const name = reader.bytes(TREE_BOUNDS.xattrNameBytes);
    if (name.length === 0 || name.includes(0)) throw reader.malformed("the name of an xattr is not valid");
    if (before !== undefined && Buffer.compare(before, name) >= 0) throw reader.malformed("xattrs are not sorted and unique");
    before = name;
    xattrs.push({ name, value: reader.bytes(TREE_BOUNDS.xattrValueBytes) });
  }
  if (xattrs.length === 0) throw reader.malformed("a list of xattrs is empty");
  if (reader.position - start > TREE_BOUNDS.xattrsBytes) throw reader.malformed("xattrs exceed 4 MiB");
  return xattrs;
}
