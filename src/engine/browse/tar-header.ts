/**
 * Headers of a tar file in the POSIX pax format, byte for byte: names, targets and attribute values need not be text, times
 * have nanoseconds, and attributes are written as `SCHILY.xattr.*`, which GNU tar, bsdtar and star read.
 */
import type { EntryMeta, Xattr } from "../../sources/source.ts";
import { splitDevice } from "../../posix/stat.ts";

export const TAR_BLOCK = 512;
/** Two empty blocks end a tar file. */
export const TAR_END: Uint8Array = new Uint8Array(2 * TAR_BLOCK);

export type TarType = "file" | "link" | "symlink" | "chardev" | "blockdev" | "directory" | "fifo";

export interface TarEntry {
  /** Relative raw path; a folder's ends in a slash. */
  readonly path: Uint8Array;
  readonly type: TarType;
  readonly meta: EntryMeta;
  /** Bytes that follow. */
  readonly size: number;
  /** Target of a symlink, or path of the entry a hard link is another name of. */
  readonly linkPath?: Uint8Array | undefined;
  readonly rdev?: bigint | undefined;
}

const FLAGS: Readonly<Record<TarType, string>> = {
  file: "0",
  link: "1",
  symlink: "2",
  chardev: "3",
  blockdev: "4",
  directory: "5",
  fifo: "6",
};
const NAME_BYTES = 100;
const OCTAL_7 = 0o7777777;
const OCTAL_11 = 0o77777777777;
const SECOND = 1_000_000_000n;

/** The header blocks of an entry: a pax header where plain fields do not do, then the plain header. */
export function tarHeader(entry: TarEntry): Buffer {
  const { path, meta, linkPath, size } = entry;
  const records: Buffer[] = [];
  const add = (key: string | Uint8Array, value: string | Uint8Array): number => records.push(paxRecord(key, value));
  if (path.length > NAME_BYTES || !isAscii(path)) add("path", path);
  if (linkPath !== undefined && (linkPath.length > NAME_BYTES || !isAscii(linkPath))) add("linkpath", linkPath);
  if (size > OCTAL_11) add("size", String(size));
  if (meta.uid > OCTAL_7) add("uid", String(meta.uid));
  if (meta.gid > OCTAL_7) add("gid", String(meta.gid));
  if (!fitsName(meta.user)) add("uname", meta.user);
  if (!fitsName(meta.group)) add("gname", meta.group);
  const plainTime = meta.mtimeNs >= 0n && meta.mtimeNs % SECOND === 0n && meta.mtimeNs / SECOND <= BigInt(OCTAL_11);
  if (!plainTime) add("mtime", paxTime(meta.mtimeNs));
  for (const { name, value } of sortedXattrs(meta.xattrs)) add(Buffer.concat([Buffer.from("SCHILY.xattr."), name]), value);
  const plain = header(entry, FLAGS[entry.type]);
  if (records.length === 0) return plain;
  // Readers that do not know pax see a small file of this name.
  const body = hasRawText(entry) ? Buffer.concat([paxRecord("hdrcharset", "BINARY"), ...records]) : Buffer.concat(records);
  const shown: TarEntry = {
    path: Buffer.from("PaxHeaders/entry"),
    type: "file",
    meta: { ...meta, mode: 0o644, mtimeNs: 0n },
    size: body.length,
  };
  return Buffer.concat([header(shown, "x"), body, tarPadding(body.length), plain]);
}

/** What fills the last block of content of `size` bytes. */
export function tarPadding(size: number): Uint8Array {
  return new Uint8Array((TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK);
}

function header({ path, meta, size, linkPath, rdev }: TarEntry, flag: string): Buffer {
  const block = Buffer.alloc(TAR_BLOCK);
  block.set(path.subarray(0, NAME_BYTES), 0);
  octal(block, 100, 8, meta.mode & 0o7777);
  octal(block, 108, 8, Math.min(meta.uid, OCTAL_7));
  octal(block, 116, 8, Math.min(meta.gid, OCTAL_7));
  octal(block, 124, 12, size > OCTAL_11 ? 0 : size);
  const seconds = meta.mtimeNs < 0n ? 0 : Number(meta.mtimeNs / SECOND);
  octal(block, 136, 12, Math.min(seconds, OCTAL_11));
  block.write(flag, 156, "latin1");
  if (linkPath !== undefined) block.set(linkPath.subarray(0, NAME_BYTES), 157);
  block.write("ustar\u000000", 257, "latin1");
  if (fitsName(meta.user)) block.write(meta.user, 265, "latin1");
  if (fitsName(meta.group)) block.write(meta.group, 297, "latin1");
  if (rdev !== undefined) {
    const { major, minor } = splitDevice(rdev);
    octal(block, 329, 8, Math.min(major, OCTAL_7));
    octal(block, 337, 8, Math.min(minor, OCTAL_7));
  }
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

function octal(block: Buffer, at: number, length: number, value: number): void {
  block.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
}

/** `length key=value\n`, where the length counts itself. */
function paxRecord(key: string | Uint8Array, value: string | Uint8Array): Buffer {
  const rest = Buffer.concat([
    Buffer.from(" "),
    Buffer.from(key as string),
    Buffer.from("="),
    Buffer.from(value as string),
    Buffer.from("\n"),
  ]);
  let length = rest.length + 1;
  while (String(length).length + rest.length > length) length++;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function paxTime(timeNs: bigint): string {
  const sign = timeNs < 0n ? "-" : "";
  const positive = timeNs < 0n ? -timeNs : timeNs;
  const fraction = (positive % SECOND).toString().padStart(9, "0").replace(/0+$/, "");
  return `${sign}${positive / SECOND}${fraction === "" ? "" : `.${fraction}`}`;
}

/** A key with an equals sign cannot be told from its value. */
function sortedXattrs(xattrs: readonly Xattr[]): readonly Xattr[] {
  return xattrs.filter(({ name }) => !name.includes(0x3d));
}

function hasRawText({ path, linkPath, meta }: TarEntry): boolean {
  return ![path, linkPath, ...meta.xattrs.map(({ name }) => name)].every((bytes) => bytes === undefined || isUtf8Text(bytes));
}

function isUtf8Text(bytes: Uint8Array): boolean {
  return Buffer.compare(Buffer.from(Buffer.from(bytes).toString("utf8")), bytes) === 0;
}

function fitsName(name: string): boolean {
  return name.length <= 31 && isAscii(Buffer.from(name));
}

function isAscii(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte < 0x80);
}
