import { createHash, type Hash } from "node:crypto";
import { ByteWriter } from "../../codec/binary.ts";
import { END_OF_TAR, tarHeader, type TarType } from "../../codec/tar-header.ts";
import { HoldfastError } from "../../base/errors.ts";
import { pathText } from "../../base/path-text.ts";
import { splitDevice } from "../../posix/stat.ts";
import type { Entry, EntryMeta, Extent } from "../../sources/source.ts";
import { digestText, isName, writeRecord, type EntryRecord } from "./entry-record.ts";
import { FileWriter } from "./file-writer.ts";
import type { NodeRef } from "./manifest.ts";
import type { PartStream } from "./part-stream.ts";

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
    if (path.length > 0)
      this.tar.write(tarHeader({ path: Buffer.concat([path, SLASH]), type: "directory", meta: entry.meta, size: 0 }));
    this.#stack.push({
      entry,
      path,
      records: new ByteWriter(256),
      count: 0,
      nodes: [],
      digest: createHash("sha256"),
      last: undefined,
    });
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
    if (type !== "socket") {
      const device = rdev === undefined ? undefined : splitDevice(rdev);
      this.tar.write(tarHeader({ path, type: type as TarType, meta, size: 0, linkPath: linkTarget, device }));
    }
    this.#add(record);
    this.#remember(path, record);
  }

  /** Writes a file whose content the archive already has under another name; false when it has not. */
  linkedFile(entry: Entry): boolean {
    const known = this.#linked.get(linkKey(entry.meta));
    const path = this.#pathOf(entry);
    if (known?.record.file === undefined || known.record.size !== entry.size || known.record.meta.ctimeNs !== entry.meta.ctimeNs)
      return false;
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
    if (known === undefined || known.record.type !== record.type || known.record.meta.ctimeNs !== record.meta.ctimeNs)
      return false;
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

const SLASH = Buffer.from("/");
function linkKey({ device, inode }: EntryMeta): string {
  return `${device}:${inode}`;
}

function misordered(what: string): HoldfastError {
  return new HoldfastError("internal", `The source's entries are not in tree order: ${what}`);
}
