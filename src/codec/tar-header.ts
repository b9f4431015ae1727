/**
 * Headers of POSIX pax archives (IEEE Std 1003.1), with the extensions that GNU tar, bsdtar and Python read: attributes
 * as `SCHILY.xattr.*`, sparse files in GNU's format 1.0, sizes over 8 GiB in base 256. Names are raw bytes throughout; text
 * beyond ASCII stands in an extended record too, because readers disagree on the character set of plain fields.
 */
import { isAscii, isUtf8 } from "node:buffer";

export const TAR_BLOCK_BYTES = 512;
/** Two blocks of zeros end an archive. */
export const END_OF_TAR: Buffer = Buffer.alloc(2 * TAR_BLOCK_BYTES);

/** What a tar can hold; a socket is not among it. */
export type TarType = "file" | "link" | "symlink" | "chardev" | "blockdev" | "directory" | "fifo";

const TYPE_FLAG: Readonly<Record<TarType, string>> = {
  file: "0",
  link: "1",
  symlink: "2",
  chardev: "3",
  blockdev: "4",
  directory: "5",
  fifo: "6",
};

/** What a header keeps of an entry; a source's `EntryMeta` is one. */
export interface TarMeta {
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly user: string;
  readonly group: string;
  readonly mtimeNs: bigint;
  readonly xattrs: readonly { readonly name: Uint8Array; readonly value: Uint8Array }[];
}

export interface TarMember {
  /** Raw bytes without a leading slash; a directory's end in one. */
  readonly path: Uint8Array;
  readonly type: TarType;
  readonly meta: TarMeta;
  /** Bytes that follow; 0 for everything but a file. */
  readonly size: number;
  /** Target of a symlink, or the member that a link is another name of. */
  readonly linkPath?: Uint8Array | undefined;
  /** Of a character or block device. */
  readonly device?: { readonly major: number; readonly minor: number } | undefined;
  /** True path of a sparse file and its size with the holes; its data begins with `sparseMap`. */
  readonly sparse?: { readonly path: Uint8Array; readonly size: number } | undefined;
}

const FIELD = {
  name: 0,
  mode: 100,
  uid: 108,
  gid: 116,
  size: 124,
  mtime: 136,
  checksum: 148,
  type: 156,
  link: 157,
  magic: 257,
  user: 265,
  group: 297,
  major: 329,
  minor: 337,
};
const NAME_BYTES = 100;
const OWNER_BYTES = 32;
const NS = 1_000_000_000n;
const MAX_OCTAL_7 = 0o7777777;
const MAX_OCTAL_11 = 0o77777777777;

/** The header of a member, extended records first. Its last block is the one that `patchSize` can change later. */
export function tarHeader(member: TarMember): Buffer {
  const { meta } = member;
  const records = paxRecords(member);
  const block = Buffer.alloc(TAR_BLOCK_BYTES);
  block.set(member.path.subarray(0, NAME_BYTES), FIELD.name);
  octal(block, FIELD.mode, 8, meta.mode & 0o7777);
  // A reader that does not know the record must not take a high number for root's.
  octal(block, FIELD.uid, 8, Math.min(meta.uid, MAX_OCTAL_7));
  octal(block, FIELD.gid, 8, Math.min(meta.gid, MAX_OCTAL_7));
  const seconds = floorSeconds(meta.mtimeNs);
  octal(block, FIELD.mtime, 12, seconds < 0 || seconds > MAX_OCTAL_11 ? 0 : seconds);
  block.write(TYPE_FLAG[member.type], FIELD.type, "latin1");
  if (member.linkPath !== undefined) block.set(member.linkPath.subarray(0, NAME_BYTES), FIELD.link);
  block.write("ustar\x0000", FIELD.magic, "latin1");
  block.write(fittingOwner(meta.user) ? meta.user : "", FIELD.user, "latin1");
  block.write(fittingOwner(meta.group) ? meta.group : "", FIELD.group, "latin1");
  number(block, FIELD.major, 8, member.device?.major ?? 0);
  number(block, FIELD.minor, 8, member.device?.minor ?? 0);
  patchSize(block, member.size);
  if (records.length === 0) return block;
  const pax = Buffer.concat(records);
  return Buffer.concat([paxHeader(pax.length), pax, tarPadding(pax.length), block]);
}

/** Writes another size into the last block of a header. */
export function patchSize(block: Buffer, size: number): void {
  number(block, FIELD.size, 12, size);
  block.fill(0x20, FIELD.checksum, FIELD.checksum + 8);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, FIELD.checksum, "latin1");
}

/** Zeros that fill the last block of `length` bytes. */
export function tarPadding(length: number): Buffer {
  return END_OF_TAR.subarray(0, -length & (TAR_BLOCK_BYTES - 1));
}

/** What precedes the data of a sparse member: the places of its data, padded to whole blocks. */
export function sparseMap(extents: readonly { readonly offset: number; readonly length: number }[], size: number): Buffer {
  const last = extents.at(-1);
  // GNU tar takes the end of the last extent for the end of the file.
  const runs = last !== undefined && last.offset + last.length === size ? extents : [...extents, { offset: size, length: 0 }];
  const text = Buffer.from(`${runs.length}\n${runs.map(({ offset, length }) => `${offset}\n${length}\n`).join("")}`);
  return Buffer.concat([text, tarPadding(text.length)]);
}

function paxHeader(length: number): Buffer {
  const block = Buffer.alloc(TAR_BLOCK_BYTES);
  block.write("PaxHeader", FIELD.name, "latin1");
  octal(block, FIELD.mode, 8, 0o644);
  for (const at of [FIELD.uid, FIELD.gid, FIELD.major, FIELD.minor]) octal(block, at, 8, 0);
  octal(block, FIELD.mtime, 12, 0);
  block.write("x", FIELD.type, "latin1");
  block.write("ustar\x0000", FIELD.magic, "latin1");
  patchSize(block, length);
  return block;
}

function paxRecords({ path, linkPath, meta, sparse }: TarMember): Buffer[] {
  const records: Buffer[] = [];
  const add = (keyword: Uint8Array | string, value: Uint8Array | string): void => void records.push(paxRecord(keyword, value));
  if (sparse !== undefined) {
    add("GNU.sparse.major", "1");
    add("GNU.sparse.minor", "0");
    add("GNU.sparse.name", sparse.path);
    add("GNU.sparse.realsize", String(sparse.size));
  } else if (!fitsName(path)) add("path", path);
  if (linkPath !== undefined && !fitsName(linkPath)) add("linkpath", linkPath);
  if (meta.mtimeNs % NS !== 0n || meta.mtimeNs < 0n || meta.mtimeNs / NS > BigInt(MAX_OCTAL_11))
    add("mtime", decimalTime(meta.mtimeNs));
  if (meta.uid > MAX_OCTAL_7) add("uid", String(meta.uid));
  if (meta.gid > MAX_OCTAL_7) add("gid", String(meta.gid));
  if (!fittingOwner(meta.user)) add("uname", meta.user);
  if (!fittingOwner(meta.group)) add("gname", meta.group);
  for (const { name, value } of meta.xattrs) add(xattrKeyword(name), value);
  return records;
}

/** `length keyword=value\n`, where length counts its own digits. */
function paxRecord(keyword: Uint8Array | string, value: Uint8Array | string): Buffer {
  const body = Buffer.concat([Buffer.from(" "), Buffer.from(keyword), Buffer.from("="), Buffer.from(value), Buffer.from("\n")]);
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return Buffer.concat([Buffer.from(String(length)), body]);
}

/** GNU tar's spelling: the two characters that a keyword cannot hold are escaped. */
function xattrKeyword(name: Uint8Array): Buffer {
  const escaped = Buffer.from(name).toString("latin1").replaceAll("%", "%25").replaceAll("=", "%3D");
  return Buffer.from(`SCHILY.xattr.${escaped}`, "latin1");
}

function decimalTime(timeNs: bigint): string {
  const positive = timeNs < 0n ? -timeNs : timeNs;
  const fraction = String(positive % NS).padStart(9, "0");
  return `${timeNs < 0n ? "-" : ""}${positive / NS}${positive % NS === 0n ? "" : `.${fraction}`}`;
}

function floorSeconds(timeNs: bigint): number {
  return Number(timeNs / NS) - (timeNs < 0n && timeNs % NS !== 0n ? 1 : 0);
}

/** Whether the plain field does: a record is UTF-8 by definition, so raw bytes go there only when they are too long. */
function fitsName(path: Uint8Array): boolean {
  return path.length <= NAME_BYTES && (isAscii(path) || !isUtf8(path));
}

function fittingOwner(name: string): boolean {
  return name.length < OWNER_BYTES && /^[\x20-\x7e]*$/.test(name);
}

function octal(block: Buffer, at: number, width: number, value: number): void {
  block.write(`${value.toString(8).padStart(width - 1, "0")}\0`, at, "latin1");
}

/** Octal where it fits, or else GNU's base 256. */
function number(block: Buffer, at: number, width: number, value: number): void {
  if (value < 8 ** (width - 1)) {
    octal(block, at, width, value);
    return;
  }
  let rest = value;
  for (let i = width - 1; i > 0; i--) {
    block[at + i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  block[at] = 0x80;
}
