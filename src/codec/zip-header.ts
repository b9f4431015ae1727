/**
 * Records of a zip archive (PKWARE APPNOTE 6.3.9) as a stream can have them: what is not known before a member's content follows
 * it in a data descriptor. Names are raw bytes, marked as UTF-8 where they are; beyond 4 GiB or 65,535 members it is zip64.
 * Carries mode, type, mtime (whole seconds) and owner numbers, as Info-ZIP does.
 */
import { isAscii, isUtf8 } from "node:buffer";

const MAX_16 = 0xffff;
const MAX_32 = 0xffff_ffff;
/** Made on Unix, so that modes count; 4.5 is the version of zip64. */
const MADE_BY = (3 << 8) | 45;
const NEEDED = 20;
const NEEDED_ZIP64 = 45;
const FLAG_DESCRIPTOR = 1 << 3;
const FLAG_UTF8 = 1 << 11;
const S_IFMT: Readonly<Record<ZipType, number>> = { file: 0o100000, directory: 0o040000, symlink: 0o120000 };
const DOS_DIRECTORY = 0x10;
const MIN_SECONDS = -(2 ** 31);
const MAX_SECONDS = 2 ** 31 - 1;
const EPOCH_1980 = 315_532_800;
/** 31 December 2107. */
const LAST_DOS = 4_354_819_198;

/** The longest name and the longest comment. */
export const ZIP_MAX_TEXT_BYTES: number = MAX_16;

export type ZipType = "file" | "directory" | "symlink";

export interface ZipMember {
  /** Raw bytes without a leading slash; a folder's end in one. At most `ZIP_MAX_TEXT_BYTES`. */
  readonly path: Uint8Array;
  readonly type: ZipType;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  readonly deflated: boolean;
  /** Checksum and sizes follow the content. */
  readonly streamed: boolean;
  /** Of a streamed member: its descriptor has sizes of 8 bytes. */
  readonly large: boolean;
}

/** What is known of a member's content when it has been written. */
export interface ZipContent {
  readonly crc32: number;
  readonly size: number;
  readonly storedSize: number;
}

/** Precedes a member's content; of a streamed one `content` is not known yet. */
export function zipLocalHeader(member: ZipMember, content: ZipContent | undefined): Buffer {
  const { large } = member;
  const extra = Buffer.concat([
    large ? zip64Field([content?.size ?? 0, content?.storedSize ?? 0]) : Buffer.alloc(0),
    timeField(member.mtimeNs),
    ownerField(member),
  ]);
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0x04034b50, 0);
  common(header, 4, member);
  header.writeUInt32LE(content?.crc32 ?? 0, 14);
  header.writeUInt32LE(large ? MAX_32 : (content?.storedSize ?? 0), 18);
  header.writeUInt32LE(large ? MAX_32 : (content?.size ?? 0), 22);
  header.writeUInt16LE(member.path.length, 26);
  header.writeUInt16LE(extra.length, 28);
  return Buffer.concat([header, member.path, extra]);
}

/** Follows the content of a streamed member. */
export function zipDescriptor({ large }: ZipMember, { crc32, size, storedSize }: ZipContent): Buffer {
  const record = Buffer.alloc(large ? 24 : 16);
  record.writeUInt32LE(0x08074b50, 0);
  record.writeUInt32LE(crc32, 4);
  if (large) {
    record.writeBigUInt64LE(BigInt(storedSize), 8);
    record.writeBigUInt64LE(BigInt(size), 16);
  } else {
    record.writeUInt32LE(storedSize, 8);
    record.writeUInt32LE(size, 12);
  }
  return record;
}

/** A member's record in the directory at the end; `offset` is where its local header begins. */
export function zipCentralRecord(member: ZipMember, content: ZipContent, offset: number): Buffer {
  const beyond = [content.size, content.storedSize, offset].filter((value) => value >= MAX_32);
  const extra = Buffer.concat([
    beyond.length > 0 ? zip64Field(beyond) : Buffer.alloc(0),
    timeField(member.mtimeNs),
    ownerField(member),
  ]);
  const record = Buffer.alloc(46);
  record.writeUInt32LE(0x02014b50, 0);
  record.writeUInt16LE(MADE_BY, 4);
  common(record, 6, member);
  if (beyond.length > 0) record.writeUInt16LE(NEEDED_ZIP64, 6);
  record.writeUInt32LE(content.crc32, 16);
  record.writeUInt32LE(Math.min(content.storedSize, MAX_32), 20);
  record.writeUInt32LE(Math.min(content.size, MAX_32), 24);
  record.writeUInt16LE(member.path.length, 28);
  record.writeUInt16LE(extra.length, 30);
  const mode = (S_IFMT[member.type] | (member.mode & 0o7777)) << 16;
  record.writeUInt32LE((mode | (member.type === "directory" ? DOS_DIRECTORY : 0)) >>> 0, 38);
  record.writeUInt32LE(Math.min(offset, MAX_32), 42);
  return Buffer.concat([record, member.path, extra]);
}

/** Ends an archive whose directory of `bytes` bytes and `count` records begins at `offset`. */
export function zipEnd(count: number, bytes: number, offset: number, comment: Uint8Array): Buffer {
  const isZip64 = count >= MAX_16 || bytes >= MAX_32 || offset >= MAX_32;
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Math.min(count, MAX_16), 8);
  end.writeUInt16LE(Math.min(count, MAX_16), 10);
  end.writeUInt32LE(Math.min(bytes, MAX_32), 12);
  end.writeUInt32LE(Math.min(offset, MAX_32), 16);
  end.writeUInt16LE(comment.length, 20);
  if (!isZip64) return Buffer.concat([end, comment]);
  const record = Buffer.alloc(56);
  record.writeUInt32LE(0x06064b50, 0);
  record.writeBigUInt64LE(44n, 4);
  record.writeUInt16LE(MADE_BY, 12);
  record.writeUInt16LE(NEEDED_ZIP64, 14);
  record.writeBigUInt64LE(BigInt(count), 24);
  record.writeBigUInt64LE(BigInt(count), 32);
  record.writeBigUInt64LE(BigInt(bytes), 40);
  record.writeBigUInt64LE(BigInt(offset), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(offset + bytes), 8);
  locator.writeUInt32LE(1, 16);
  return Buffer.concat([record, locator, end, comment]);
}

/** The members that both headers have, from the version that is needed to the date. */
function common(record: Buffer, at: number, { path, deflated, streamed, large, mtimeNs }: ZipMember): void {
  const isMarked = !isAscii(path) && isUtf8(path);
  const { date, time } = dosTime(mtimeNs);
  record.writeUInt16LE(large ? NEEDED_ZIP64 : NEEDED, at);
  record.writeUInt16LE((streamed ? FLAG_DESCRIPTOR : 0) | (isMarked ? FLAG_UTF8 : 0), at + 2);
  record.writeUInt16LE(deflated ? 8 : 0, at + 4);
  record.writeUInt16LE(time, at + 6);
  record.writeUInt16LE(date, at + 8);
}

function zip64Field(values: readonly number[]): Buffer {
  const field = Buffer.alloc(4 + 8 * values.length);
  field.writeUInt16LE(1, 0);
  field.writeUInt16LE(8 * values.length, 2);
  values.forEach((value, i) => field.writeBigUInt64LE(BigInt(value), 4 + 8 * i));
  return field;
}

/** The extended timestamp `UT`; nothing for a time that it cannot say. */
function timeField(mtimeNs: bigint): Buffer {
  const seconds = floorSeconds(mtimeNs);
  if (seconds < MIN_SECONDS || seconds > MAX_SECONDS) return Buffer.alloc(0);
  const field = Buffer.alloc(9);
  field.writeUInt16LE(0x5455, 0);
  field.writeUInt16LE(5, 2);
  field.writeUInt8(1, 4);
  field.writeInt32LE(seconds, 5);
  return field;
}

/** Info-ZIP's `ux`: the numbers of owner and group. */
function ownerField({ uid, gid }: ZipMember): Buffer {
  const field = Buffer.alloc(15);
  field.writeUInt16LE(0x7875, 0);
  field.writeUInt16LE(11, 2);
  field.writeUInt8(1, 4);
  field.writeUInt8(4, 5);
  field.writeUInt32LE(uid, 6);
  field.writeUInt8(4, 10);
  field.writeUInt32LE(gid, 11);
  return field;
}

/** In UTC, for readers that know nothing better; a time that it cannot say becomes the nearest one. */
function dosTime(mtimeNs: bigint): { readonly date: number; readonly time: number } {
  const at = new Date(Math.min(Math.max(floorSeconds(mtimeNs), EPOCH_1980), LAST_DOS) * 1000);
  return {
    date: ((at.getUTCFullYear() - 1980) << 9) | ((at.getUTCMonth() + 1) << 5) | at.getUTCDate(),
    time: (at.getUTCHours() << 11) | (at.getUTCMinutes() << 5) | (at.getUTCSeconds() >> 1),
  };
}

function floorSeconds(ns: bigint): number {
  const seconds = ns / 1_000_000_000n;
  return Number(ns < 0n && seconds * 1_000_000_000n !== ns ? seconds - 1n : seconds);
}
