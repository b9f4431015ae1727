import { createHash, type Hash } from "node:crypto";
import { ByteWriter } from "../../codec/binary.ts";
import { HoldfastError } from "../../base/errors.ts";
import { pathText } from "../../base/path-text.ts";
import type { Entry, EntryMeta, Extent } from "../../sources/source.ts";
import { dataLength, digestText, isName, PIECE_BYTES, writeRecord, type EntryRecord, type FileData } from "./entry-record.ts";
import type { NodeRef } from "./manifest.ts";
import type { PartStream } from "./part-stream.ts";
import { BLOCK_BYTES, END_OF_TAR, padding, patchSize, sparseMap, tarHeader, type TarType } from "./tar-header.ts";

/** A node of the index is closed here, so that one directory of a million entries is read in pieces. */
const NODE_BYTES = 2 ** 20;

export interface ArchiveCounts {
  files: number;
  directories: number;
  others: number;
  sourceBytes: number;
  changedWhileRead: number;
  vanished: number;
}

/** A directory that was entered and not yet left. */
interface Frame {
  readonly entry: Entry;
  /** Without slashes at its ends. */
  readonly path: Buffer;
  readonly records: ByteWriter;
  count: number;
  readonly nodes: NodeRef[];
  readonly digest: Hash;
  last: Uint8Array | undefined;
}

/** The first name of a file that has several. */
interface LinkedFile {
  readonly path: Buffer;
  readonly record: EntryRecord;
  namesLeft: number;
}

/** What is known of a file when its reading ends. */
export interface FileEnd {
  readonly changedWhileRead: boolean;
}

/** Turns walk steps into a tar and its index. Synchronous; content is written through the `FileWriter` of each file. */
export class ArchiveBuilder {
  readonly counts: ArchiveCounts = { files: 0, directories: 0, others: 0, sourceBytes: 0, changedWhileRead: 0, vanished: 0 };
  readonly tar: PartStream;
  readonly #index: PartStream;
  readonly #stack: Frame[] = [];
  readonly #linked = new Map<string, LinkedFile>();
  #root: NodeRef | undefined;
  #open: FileWriter | undefined;

  constructor(tar: PartStream, index: PartStream) {
    this.tar = tar;
    this.#index = index;
  }

  /** Bytes of all files so far, for progress. */
  get bytesDone(): number {
    return this.counts.sourceBytes + (this.#open?.written ?? 0);
  }

  enter(entry: Entry): void {
    this.counts.directories++;
    const path = this.#stack.length === 0 ? Buffer.alloc(0) : this.#pathOf(entry);
    if (path.length > 0) this.tar.write(tarHeader({ path: Buffer.concat([path, SLASH]), type: "directory", meta: entry.meta, size: 0 }));
    this.#stack.push({ entry, path, records: new ByteWriter(256), count: 0, nodes: [], digest: createHash("sha256"), last: undefined });
  }

  leave(): void {
    const frame = this.#stack.pop();
    if (frame === undefined) throw misordered("a directory is left that was not entered");
    this.#closeNode(frame);
    const { name, type, meta, unreadable = false } = frame.entry;
    const directory = { nodes: frame.nodes, digest: frame.digest.digest() };
    const record: EntryRecord = { name, type, meta, size: 0, changedWhileRead: false, unreadable, directory };
    if (this.#stack.length > 0) {
      this.#add(record);
      return;
    }
    const root = new ByteWriter(256).varint(1);
    writeRecord(root, { ...record, name: new Uint8Array() });
    this.#root = this.#putNode(root.view());
  }

  /** An entry that is neither file nor directory. */
  special(entry: Entry): void {
    const path = this.#pathOf(entry);
    const { name, type, meta, linkTarget, rdev } = entry;
    const record: EntryRecord = {
      name,
      type,
      meta,
      size: 0,
      changedWhileRead: false,
      unreadable: false,
      ...(linkTarget !== undefined && { linkTarget }),
      ...(rdev !== undefined && { rdev }),
    };
    this.counts.others++;
    if (this.#anotherName(path, record)) return;
    // No tar can hold a socket; the index does.
    if (type !== "socket") this.tar.write(tarHeader({ path, type: type as TarType, meta, size: 0, linkPath: linkTarget, rdev }));
    this.#add(record);
    this.#remember(path, record);
  }

  /** Writes a file whose content the archive already has under another name; false when it has not. */
  linkedFile(entry: Entry): boolean {
    const known = this.#linked.get(linkKey(entry.meta));
    const path = this.#pathOf(entry);
    if (known?.record.file === undefined || known.record.size !== entry.size || known.record.meta.ctimeNs !== entry.meta.ctimeNs) return false;
    if (!this.#anotherName(path, { ...known.record, name: entry.name })) return false;
    this.counts.files++;
    this.counts.sourceBytes += entry.size;
    return true;
  }

  /** Begins a file. `size` may turn out to be wrong, unless there are `extents`. */
  file(entry: Entry, meta: EntryMeta, size: number, extents: readonly Extent[] | undefined): FileWriter {
    return (this.#open = new FileWriter(this.tar, this.#pathOf(entry), meta, size, extents));
  }

  /** Makes a written file part of the archive. */
  addFile(entry: Entry, writer: FileWriter, end: FileEnd): void {
    const { meta, path } = writer;
    this.#open = undefined;
    const { size, data } = writer.finish();
    const record: EntryRecord = { name: entry.name, type: "file", meta, size, ...end, unreadable: false, file: data };
    this.counts.files++;
    this.counts.sourceBytes += size;
    if (end.changedWhileRead) this.counts.changedWhileRead++;
    this.#add(record);
    this.#remember(path, record);
  }

  /** Ends both streams and says where the root is. */
  end(): NodeRef {
    if (this.#root === undefined || this.#stack.length > 0) throw misordered("the root was not left");
    this.tar.write(END_OF_TAR);
    this.tar.end();
    this.#index.end();
    return this.#root;
  }

  #pathOf(entry: Entry): Buffer {
    const frame = this.#stack.at(-1);
    if (frame === undefined) throw misordered("an entry lies outside of the root");
    if (!isName(entry.name)) throw misordered(`an entry has the name ${pathText(entry.name)}`);
    return frame.path.length === 0 ? Buffer.from(entry.name) : Buffer.concat([frame.path, SLASH, entry.name]);
  }

  #add(record: EntryRecord): void {
    const frame = this.#stack.at(-1);
    if (frame === undefined) throw misordered("an entry lies outside of the root");
    if (frame.last !== undefined && Buffer.compare(frame.last, record.name) >= 0)
      throw misordered(`${pathText(record.name)} comes after ${pathText(frame.last)}`);
    frame.last = record.name;
    writeRecord(frame.records, record);
    frame.count++;
    frame.digest.update(digestText(record));
    if (frame.records.length >= NODE_BYTES) this.#closeNode(frame);
  }

  #closeNode(frame: Frame): void {
    if (frame.count === 0) return;
    frame.nodes.push(this.#putNode(Buffer.concat([new ByteWriter(64).varint(frame.count).view(), frame.records.view()])));
    frame.records.reset();
    frame.count = 0;
  }

  #putNode(bytes: Uint8Array): NodeRef {
    const offset = this.#index.position;
    this.#index.write(bytes);
    return { offset, length: bytes.length, sha256: createHash("sha256").update(bytes).digest() };
  }

  /** Adds a record as a hard link when the same file was written before. */
  #anotherName(path: Buffer, record: EntryRecord): boolean {
    const key = linkKey(record.meta);
    const known = this.#linked.get(key);
    if (known === undefined || known.record.type !== record.type || known.record.meta.ctimeNs !== record.meta.ctimeNs) return false;
    this.tar.write(tarHeader({ path, type: "link", meta: record.meta, size: 0, linkPath: known.path }));
    this.#add(record);
    if (--known.namesLeft === 0) this.#linked.delete(key);
    return true;
  }

  #remember(path: Buffer, record: EntryRecord): void {
    const { links } = record.meta;
    if (links > 1 && record.type !== "socket") this.#linked.set(linkKey(record.meta), { path, record, namesLeft: links - 1 });
  }
}

/** One file on its way into a tar: header, data, padding. */
export class FileWriter {
  readonly path: Buffer;
  readonly meta: EntryMeta;
  readonly #tar: PartStream;
  readonly #extents: readonly Extent[] | undefined;
  readonly #size: number;
  readonly #start: number;
  readonly #header: Buffer;
  /** Bytes between header and data: the map of a sparse file. */
  readonly #mapBytes: number;
  readonly #position: number;
  readonly #hashes: Buffer[] = [];
  #piece = createHash("sha256");
  #pieceBytes = 0;
  #written = 0;

  constructor(tar: PartStream, path: Buffer, meta: EntryMeta, size: number, extents: readonly Extent[] | undefined) {
    this.#tar = tar;
    this.path = path;
    this.meta = meta;
    this.#extents = extents;
    this.#size = size;
    this.#start = tar.position;
    const map = extents === undefined ? undefined : sparseMap(extents, size);
    this.#mapBytes = map?.length ?? 0;
    const header = tarHeader({
      path: map === undefined ? path : Buffer.concat([SPARSE_FOLDER, path]).subarray(0, 99),
      type: "file",
      meta,
      size: this.#mapBytes + dataLength(size, extents),
      sparse: map === undefined ? undefined : { size, path },
    });
    tar.write(header.subarray(0, -BLOCK_BYTES));
    // The place is written over until the file ends; only then is its true size known.
    this.#header = tar.writeHeld(header.subarray(-BLOCK_BYTES));
    if (map !== undefined) tar.write(map);
    this.#position = tar.position;
  }

  /** Data bytes so far. */
  get written(): number {
    return this.#written;
  }

  /** Memory to put the next data into. */
  room(): Buffer {
    return this.#tar.room();
  }

  /** Takes over `length` bytes that were put into `room()`. */
  advance(length: number): void {
    const bytes = this.#tar.room().subarray(0, length);
    for (let at = 0; at < length; ) {
      const take = Math.min(length - at, PIECE_BYTES - this.#pieceBytes);
      this.#piece.update(bytes.subarray(at, at + take));
      this.#pieceBytes += take;
      at += take;
      if (this.#pieceBytes === PIECE_BYTES) this.#closePiece();
    }
    this.#written += length;
    this.#tar.advance(length);
  }

  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const room = this.room();
      const length = Math.min(room.length, bytes.length - at);
      room.set(bytes.subarray(at, at + length));
      this.advance(length);
      at += length;
    }
  }

  /** Takes the file out of the archive again; false when part of it has been handed out. */
  undo(): boolean {
    const undone = this.#tar.rewind(this.#start);
    this.#tar.release();
    return undone;
  }

  /** Leaves what was written in the tar, as a shorter file that the index does not know. */
  abandon(): void {
    if (!this.undo()) this.finish();
  }

  /** Completes the file as long as it is. A sparse one that ended early is filled up with zeros, for its map is written. */
  finish(): { readonly size: number; readonly data: FileData } {
    if (this.#extents !== undefined) this.#fillUp(dataLength(this.#size, this.#extents) - this.#written);
    if (this.#pieceBytes > 0) this.#closePiece();
    patchSize(this.#header, this.#mapBytes + this.#written);
    this.#tar.release();
    this.#tar.write(padding(this.#written));
    const size = this.#extents === undefined ? this.#written : this.#size;
    return { size, data: { position: this.#position, extents: this.#extents, hashes: Buffer.concat(this.#hashes) } };
  }

  #fillUp(missing: number): void {
    while (missing > 0) {
      const length = Math.min(missing, this.room().length);
      this.room().fill(0, 0, length);
      this.advance(length);
      missing -= length;
    }
  }

  #closePiece(): void {
    this.#hashes.push(this.#piece.digest());
    this.#piece = createHash("sha256");
    this.#pieceBytes = 0;
  }
}

const SLASH = Buffer.from("/");
/** Where a program that does not know sparse files puts the map with the data, as GNU tar does. */
const SPARSE_FOLDER = Buffer.from("GNUSparseFile.0/");

function linkKey({ device, inode }: EntryMeta): string {
  return `${device}:${inode}`;
}

function misordered(what: string): HoldfastError {
  return new HoldfastError("internal", `The source's entries are not in tree order: ${what}`);
}
