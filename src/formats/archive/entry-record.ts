/**
 * The entry index of an archive: a tree of nodes, children before their directory, the node of `/` last. A node is a
 * count and that many records, sorted by raw name; a directory's record names its nodes with their SHA-256, so that any
 * entry can be looked up with few reads and each of them is checked.
 */
import { createHash } from "node:crypto";
import { ByteReader, type ByteWriter } from "../../codec/binary.ts";
import type { EntryMeta, EntryType, Extent, Xattr } from "../../sources/source.ts";
import type { NodeRef } from "./manifest.ts";

/** A file's data is hashed in pieces, so that every piece can be checked before a byte of it is used. */
export const PIECE_BYTES = 2 ** 22;

/** Where a file's data lies: the bytes of its extents, joined. */
export interface FileData {
  /** In the joined tar. */
  readonly position: number;
  /** Only of a file with holes. */
  readonly extents: readonly Extent[] | undefined;
  /** SHA-256 of each piece, joined. */
  readonly hashes: Uint8Array;
}

/** What a directory's record says of its entries. */
export interface DirectoryData {
  readonly nodes: readonly NodeRef[];
  /** 32 bytes that are equal for directories whose subtrees are. */
  readonly digest: Uint8Array;
}

export interface EntryRecord {
  readonly name: Uint8Array;
  readonly type: EntryType;
  readonly meta: EntryMeta;
  readonly size: number;
  readonly changedWhileRead: boolean;
  readonly unreadable: boolean;
  readonly file?: FileData;
  readonly directory?: DirectoryData;
  readonly linkTarget?: Uint8Array;
  readonly rdev?: bigint;
}

const TYPES: readonly EntryType[] = ["file", "directory", "symlink", "chardev", "blockdev", "fifo", "socket"];
const FLAG = { changedWhileRead: 1, unreadable: 2, sparse: 4 };
const HASH_BYTES = 32;
const MAX_NAME_BYTES = 4096;
const MAX_LINK_BYTES = 65_536;
const MAX_XATTRS = 65_536;
const MAX_XATTR_BYTES = 2 ** 24;
const MAX_EXTENTS = 2 ** 28;
const MAX_NODES = 2 ** 24;

export function dataLength(size: number, extents: readonly Extent[] | undefined): number {
  return extents === undefined ? size : extents.reduce((sum, { length }) => sum + length, 0);
}

export function pieceCount(dataBytes: number): number {
  return Math.ceil(dataBytes / PIECE_BYTES);
}

export function writeRecord(to: ByteWriter, record: EntryRecord): void {
  const { meta, file, directory } = record;
  const flags =
    (record.changedWhileRead ? FLAG.changedWhileRead : 0) |
    (record.unreadable ? FLAG.unreadable : 0) |
    (file?.extents === undefined ? 0 : FLAG.sparse);
  to.u8(TYPES.indexOf(record.type)).u8(flags).bytes(record.name);
  to.u16(meta.mode).varint(meta.uid).varint(meta.gid).text(meta.user).text(meta.group);
  to.i64(meta.mtimeNs).i64(meta.ctimeNs).varint(meta.inode).varint(meta.links).varint(meta.device);
  to.varint(meta.xattrs.length);
  for (const { name, value } of meta.xattrs) to.bytes(name).bytes(value);
  if (file !== undefined) {
    to.varint(record.size).varint(file.position);
    if (file.extents !== undefined) {
      to.varint(file.extents.length);
      let end = 0;
      for (const { offset, length } of file.extents) {
        to.varint(offset - end).varint(length);
        end = offset + length;
      }
    }
    to.raw(file.hashes);
  } else if (directory !== undefined) {
    to.varint(directory.nodes.length);
    for (const { offset, length, sha256 } of directory.nodes) to.varint(offset).varint(length).raw(sha256);
    to.raw(directory.digest);
  } else if (record.linkTarget !== undefined) to.bytes(record.linkTarget);
  else if (record.rdev !== undefined) to.varint(record.rdev);
}

/** Bounds that a record's positions must keep. */
export interface StreamSizes {
  readonly tarBytes: number;
  readonly entriesBytes: number;
}

/**
 * The records of a node. Throws `object_malformed` for anything that no writer writes: names with a slash or out of order,
 * positions outside of the archive, extents that overlap. Only the root has an empty name, in a node of its own.
 */
export function readNode(bytes: Uint8Array, sizes: StreamSizes, isRoot: boolean, subject: string): EntryRecord[] {
  const from = new ByteReader(bytes, subject);
  const count = from.count(20, Number.MAX_SAFE_INTEGER);
  if (isRoot && count !== 1) throw from.malformed("there is not exactly one root");
  const records: EntryRecord[] = [];
  let previous: Uint8Array | undefined;
  for (let i = 0; i < count; i++) {
    const record = readRecord(from, sizes, isRoot);
    if (previous !== undefined && Buffer.compare(previous, record.name) >= 0) throw from.malformed("the names are not in order");
    previous = record.name;
    records.push(record);
  }
  from.done();
  return records;
}

/** A text that is equal for two entries exactly when their content is: bytes and holes of a file, everything below a directory. */
export function contentKey(record: EntryRecord): string {
  const { file, directory } = record;
  if (file !== undefined) {
    if (file.extents === undefined && file.hashes.length <= HASH_BYTES) return `${record.size}:${hex(file.hashes)}`;
    const hash = createHash("sha256").update(file.hashes);
    for (const { offset, length } of file.extents ?? []) hash.update(`,${offset}+${length}`);
    return `${record.size}:${file.extents === undefined ? "" : "sparse:"}${hash.digest("hex")}`;
  }
  if (directory !== undefined) return hex(directory.digest);
  if (record.linkTarget !== undefined) return `symlink:${hex(record.linkTarget)}`;
  return record.rdev === undefined ? record.type : `${record.type}:${record.rdev}`;
}

/** What a directory's digest takes from each entry: name, metadata that can be restored, and content. */
export function digestText(record: EntryRecord): string {
  const { meta } = record;
  const xattrs = meta.xattrs.map(({ name, value }) => `${hex(name)}=${hex(value)}`).join(";");
  const owner = JSON.stringify([meta.uid, meta.gid, meta.user, meta.group]);
  return `${hex(record.name)} ${record.type} ${record.unreadable} ${meta.mode} ${owner} ${meta.mtimeNs} ${xattrs} ${contentKey(record)}\n`;
}

function readRecord(from: ByteReader, sizes: StreamSizes, isRoot: boolean): EntryRecord {
  const type = TYPES[from.u8()];
  if (type === undefined) throw from.malformed("an entry has an unknown type");
  const flags = from.u8();
  if (flags > 7 || (type !== "file" && (flags & ~FLAG.unreadable) !== 0)) throw from.malformed("an entry has unknown flags");
  const name = own(from.bytes(MAX_NAME_BYTES));
  if (isRoot ? name.length > 0 || type !== "directory" : !isName(name))
    throw from.malformed("an entry has a name that no entry can have");
  const meta = readMeta(from);
  const base = {
    name,
    type,
    meta,
    size: 0,
    changedWhileRead: (flags & FLAG.changedWhileRead) !== 0,
    unreadable: (flags & FLAG.unreadable) !== 0,
  };
  switch (type) {
    case "file":
      return { ...base, ...readFile(from, sizes, (flags & FLAG.sparse) !== 0) };
    case "directory":
      return { ...base, directory: readDirectory(from, sizes) };
    case "symlink":
      return { ...base, linkTarget: own(from.bytes(MAX_LINK_BYTES)) };
    case "chardev":
    case "blockdev":
      return { ...base, rdev: from.varintBig() };
    default:
      return base;
  }
}

function readMeta(from: ByteReader): EntryMeta {
  const mode = from.u16();
  if (mode > 0o7777) throw from.malformed("an entry has mode bits that do not exist");
  const meta = {
    mode,
    uid: from.varint(0xffff_ffff),
    gid: from.varint(0xffff_ffff),
    user: from.text(65_536),
    group: from.text(65_536),
    mtimeNs: from.i64(),
    ctimeNs: from.i64(),
    inode: from.varintBig(),
    links: from.varint(0xffff_ffff),
    device: from.varintBig(),
  };
  const xattrs: Xattr[] = [];
  for (let count = from.count(2, MAX_XATTRS); count > 0; count--)
    xattrs.push({ name: own(from.bytes(MAX_NAME_BYTES)), value: own(from.bytes(MAX_XATTR_BYTES)) });
  return { ...meta, xattrs };
}

function readFile(from: ByteReader, sizes: StreamSizes, sparse: boolean): { size: number; file: FileData } {
  const size = from.varint();
  const position = from.varint();
  let extents: Extent[] | undefined;
  if (sparse) {
    extents = [];
    let end = 0;
    for (let count = from.count(2, MAX_EXTENTS); count > 0; count--) {
      const offset = end + from.varint();
      const length = from.varint();
      end = offset + length;
      if (length === 0 || end > size) throw from.malformed("an extent is empty or outside of its file");
      extents.push({ offset, length });
    }
  }
  const dataBytes = dataLength(size, extents);
  if (position + dataBytes > sizes.tarBytes) throw from.malformed("a file's data lies outside of the archive");
  return { size, file: { position, extents, hashes: own(from.raw(pieceCount(dataBytes) * HASH_BYTES)) } };
}

function readDirectory(from: ByteReader, sizes: StreamSizes): DirectoryData {
  const nodes: NodeRef[] = [];
  for (let count = from.count(2 + HASH_BYTES, MAX_NODES); count > 0; count--) {
    const node = { offset: from.varint(), length: from.varint(), sha256: own(from.raw(HASH_BYTES)) };
    if (node.length === 0 || node.offset + node.length > sizes.entriesBytes)
      throw from.malformed("a directory's entries lie outside of the index");
    nodes.push(node);
  }
  return { nodes, digest: own(from.raw(HASH_BYTES)) };
}

/** One path component of a real file system. */
export function isName(name: Uint8Array): boolean {
  if (name.length === 0 || name.includes(0) || name.includes(0x2f)) return false;
  return !(name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e)));
}

/** A copy that shares no memory, so that a clone of it carries nothing else along. */
function own(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(bytes);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}
