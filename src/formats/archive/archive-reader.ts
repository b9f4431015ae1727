import { components } from "../../base/path-text.ts";
import { createHash } from "node:crypto";
import { HoldfastError } from "../../base/errors.ts";
import { isHexId, type SnapshotId } from "../../base/ids.ts";
import { pathText } from "../../base/path-text.ts";
import type { Entry, Extent } from "../../sources/source.ts";
import type { Target } from "../../targets/target.ts";
import type { SnapshotEntry } from "../format.ts";
import { contentKey, dataLength, PIECE_BYTES, readNode, type EntryRecord, type FileData } from "./entry-record.ts";
import { decodeManifest, totalBytes, type Manifest, type NodeRef } from "./manifest.ts";
import { manifestName } from "./object-names.ts";
import { BlockReader, PartReader } from "./part-reader.ts";

/** The `ref` of this format's entries. */
export type ArchiveRef =
  | { readonly archive: SnapshotId; readonly nodes: readonly NodeRef[] }
  | { readonly archive: SnapshotId; readonly position: number; readonly hashes: Uint8Array }
  | undefined;

/** One archive being read. */
export interface OpenArchive {
  readonly uid: SnapshotId;
  readonly manifest: Manifest;
  readonly tar: PartReader;
  readonly entries: BlockReader;
}

/** Archives whose manifest is kept in memory. */
const MAX_OPEN = 16;
/** Entries a batch of `list`. */
const LIST_BATCH = 1024;
const ROOT_PATH = Uint8Array.of(0x2f);

/** Reads archives of one target: entries, and content that is checked before any of it is given out. */
export class ArchiveReader {
  readonly #target: Target;
  readonly #open = new Map<SnapshotId, Promise<OpenArchive>>();

  constructor(target: Target) {
    this.#target = target;
  }

  /** The manifest and streams of an archive. Rejects with `snapshot_missing`, `object_malformed` or `object_damaged`. */
  async open(uid: SnapshotId): Promise<OpenArchive> {
    let archive = this.#open.get(uid);
    this.#open.delete(uid);
    if (archive === undefined) {
      archive = openArchive(this.#target, uid);
      archive.catch(() => this.#open.delete(uid));
    }
    this.#open.set(uid, archive);
    const oldest = this.#open.keys().next().value;
    if (this.#open.size > MAX_OPEN && oldest !== undefined) this.#open.delete(oldest);
    return await archive;
  }

  /** Forgets what is kept of an archive. */
  close(uid: SnapshotId): void {
    this.#open.delete(uid);
  }

  async root(uid: SnapshotId): Promise<SnapshotEntry> {
    const archive = await this.open(uid);
    const [record] = await nodeOf(archive, archive.manifest.root, true);
    return { ...entryOf(uid, new Uint8Array(), record as EntryRecord), path: ROOT_PATH };
  }

  async lookup(uid: SnapshotId, path: Uint8Array, signal?: AbortSignal): Promise<SnapshotEntry | undefined> {
    let found = await this.root(uid);
    for (const name of components(path)) {
      const inside = await this.#find(found, name, signal);
      if (inside === undefined) return undefined;
      found = inside;
    }
    return found;
  }

  async *list(directory: SnapshotEntry, signal?: AbortSignal): AsyncGenerator<readonly SnapshotEntry[], void, undefined> {
    const ref = directory.ref as ArchiveRef;
    if (ref === undefined || !("nodes" in ref))
      throw new HoldfastError("unsupported", `${pathText(directory.path)} is no directory of an archive`);
    const archive = await this.open(ref.archive);
    let last: Uint8Array | undefined;
    for (const node of ref.nodes) {
      signal?.throwIfAborted();
      const records = await nodeOf(archive, node, false);
      const first = records[0];
      if (first !== undefined && last !== undefined && Buffer.compare(last, first.name) >= 0)
        throw new HoldfastError(
          "object_malformed",
          `The entry index of archive ${ref.archive} is malformed: ${pathText(directory.path)} is not in order`,
        );
      last = records.at(-1)?.name;
      for (let at = 0; at < records.length; at += LIST_BATCH)
        yield records.slice(at, at + LIST_BATCH).map((record) => entryOf(ref.archive, directory.path, record));
    }
  }

  async *read(file: SnapshotEntry, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const data = fileData(file);
    const archive = await this.open(data.archive);
    const { size } = file.entry;
    let position = 0;
    const fetch = async (piece: Piece): Promise<Uint8Array> =>
      checkPiece(await archive.tar.read(piece.position, piece.length, signal), piece, file.path);
    let next = nextPiece(data, 0);
    let ahead = next === undefined ? undefined : fetch(next);
    try {
      while (next !== undefined && ahead !== undefined) {
        const piece = next;
        const bytes = await ahead;
        next = nextPiece(data, piece.number + 1);
        ahead = next === undefined ? undefined : fetch(next);
        ahead?.catch(() => undefined);
        for (const { offset, at, length } of placesOf(data, piece)) {
          yield* zeros(offset - position);
          yield bytes.subarray(at, at + length);
          position = offset + length;
        }
      }
    } finally {
      await ahead?.catch(() => undefined);
    }
    signal?.throwIfAborted();
    yield* zeros(size - position);
  }

  async #find(directory: SnapshotEntry, name: Uint8Array, signal: AbortSignal | undefined): Promise<SnapshotEntry | undefined> {
    if (directory.entry.type !== "directory") return undefined;
    for await (const batch of this.list(directory, signal)) {
      const found = batch.find(({ entry }) => Buffer.compare(entry.name, name) === 0);
      if (found !== undefined) return found;
    }
    return undefined;
  }
}

async function openArchive(target: Target, uid: SnapshotId): Promise<OpenArchive> {
  const name = manifestName(uid);
  let bytes: Uint8Array;
  try {
    bytes = await target.get(name);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "target_missing_object")
      throw new HoldfastError("snapshot_missing", `There is no archive ${uid} on this target`, {
        hint: "`holdfast snapshots` lists what is there.",
      });
    throw error;
  }
  const manifest = decodeManifest(bytes, uid, undefined);
  return {
    uid,
    manifest,
    tar: new PartReader(target, uid, "tar", manifest.tar),
    entries: new BlockReader(new PartReader(target, uid, "entries", manifest.entries), totalBytes(manifest.entries)),
  };
}

async function nodeOf({ uid, manifest, entries }: OpenArchive, node: NodeRef, isRoot: boolean): Promise<EntryRecord[]> {
  const bytes = await entries.read(node.offset, node.length);
  if (Buffer.compare(createHash("sha256").update(bytes).digest(), node.sha256) !== 0)
    throw new HoldfastError(
      "object_damaged",
      `The entry index of archive ${uid} is damaged: bytes ${node.offset} to ${node.offset + node.length} have another SHA-256`,
      {
        hint: "`holdfast verify` lists what is damaged. The tar itself may be whole: its parts can be joined and read without the index.",
      },
    );
  const sizes = { tarBytes: totalBytes(manifest.tar), entriesBytes: totalBytes(manifest.entries) };
  return readNode(bytes, sizes, isRoot, `The entry index of archive ${uid}`);
}

function entryOf(archive: SnapshotId, parent: Uint8Array, record: EntryRecord): SnapshotEntry {
  const { name, type, meta, size, file, directory, linkTarget, rdev } = record;
  const entry: Entry = {
    name,
    type,
    meta,
    size,
    ...(linkTarget !== undefined && { linkTarget }),
    ...(rdev !== undefined && { rdev }),
    ...(record.unreadable && { unreadable: true }),
  };
  const start = parent.length === 1 ? 0 : parent.length;
  const path = new Uint8Array(start + 1 + name.length);
  path.set(parent.subarray(0, start));
  path[start] = 0x2f;
  path.set(name, start + 1);
  const ref: ArchiveRef =
    file !== undefined
      ? { archive, position: file.position, hashes: file.hashes }
      : directory === undefined
        ? undefined
        : { archive, nodes: directory.nodes };
  return {
    path,
    entry,
    extents: file?.extents,
    changedWhileRead: record.changedWhileRead,
    ref,
    contentKey: contentKey(record),
  };
}

/** What reading a file needs. */
export type ReadableFile = FileData & { readonly archive: SnapshotId; readonly dataBytes: number };

/** Throws `unsupported` for what is no file of this format. */
export function fileData({ path, entry, extents, ref }: SnapshotEntry): ReadableFile {
  const place = ref as ArchiveRef;
  if (entry.type !== "file" || place === undefined || !("hashes" in place) || !isHexId(place.archive, 16))
    throw new HoldfastError("unsupported", `${pathText(path)} is no file of an archive`);
  return { ...place, extents, dataBytes: dataLength(entry.size, extents) };
}

/** A piece of a file: where it lies in the tar, and its hash. */
export interface Piece {
  readonly number: number;
  readonly position: number;
  readonly length: number;
  readonly sha256: Uint8Array;
}

export function nextPiece(data: ReadableFile, number: number): Piece | undefined {
  const start = number * PIECE_BYTES;
  if (start >= data.dataBytes) return undefined;
  return {
    number,
    position: data.position + start,
    length: Math.min(PIECE_BYTES, data.dataBytes - start),
    sha256: data.hashes.subarray(number * 32, number * 32 + 32),
  };
}

/** Where the bytes of a piece belong in the file: one place, or more when holes divide it. */
export function placesOf(
  { extents, dataBytes }: ReadableFile,
  { number, length }: Piece,
): { offset: number; at: number; length: number }[] {
  const places: { offset: number; at: number; length: number }[] = [];
  const start = number * PIECE_BYTES;
  const end = start + length;
  let joined = 0;
  for (const extent of extents ?? [{ offset: 0, length: dataBytes } satisfies Extent]) {
    const [from, to] = [Math.max(start, joined), Math.min(end, joined + extent.length)];
    if (from < to) places.push({ offset: extent.offset + from - joined, at: from - start, length: to - from });
    joined += extent.length;
    if (joined >= end) break;
  }
  return places;
}

function checkPiece(bytes: Uint8Array, piece: Piece, path: Uint8Array): Uint8Array {
  if (Buffer.compare(createHash("sha256").update(bytes).digest(), piece.sha256) === 0) return bytes;
  throw damagedPiece(pathText(path), piece.number);
}

export function damagedPiece(file: string, number: number): HoldfastError {
  return new HoldfastError(
    "object_damaged",
    `${file} is damaged in the archive: its bytes from ${number * PIECE_BYTES} have another SHA-256`,
    {
      hint: "Restore it from another target or an older archive; `holdfast verify` lists what else is concerned.",
    },
  );
}

function* zeros(length: number): Generator<Uint8Array, void, undefined> {
  for (let left = length; left > 0; left -= ZEROS.length) yield ZEROS.slice(0, Math.min(left, ZEROS.length));
}

const ZEROS = new Uint8Array(2 ** 18);
