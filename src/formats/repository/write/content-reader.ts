import { closeSync, readSync } from "node:fs";
import { errnoOf } from "../../../base/errors.ts";
import { nextCut } from "../../../chunker/cut.ts";
import { profileByNumber, type ProfileParameters } from "../../../chunker/profile.ts";
import {
  dataExtents,
  isAsSeen,
  openUnseen,
  readXattrs,
  requireRegular,
  sameStat,
  statOf,
  type FileStat,
} from "../../../sources/files/read-file.ts";
import type { Extent } from "../../../sources/source.ts";
import type { KeySet } from "../keys/key-set.ts";
import { TREE_BOUNDS } from "../objects/tree-entry.ts";
import {
  FILE_CHANGED,
  FILE_OK,
  FILE_PART,
  FILE_RACY,
  FILE_UNREADABLE,
  FILE_VANISHED,
  type FileBatch,
  type FileExtra,
  type FileResults,
  type Segment,
} from "./messages.ts";

/** Bytes of a large file that are read and cut in one go before the next part may start in another thread. */
export const SEGMENT_BYTES = 8 * 2 ** 20;
/** A batch, a part, or what is left of a stream and its next piece. */
const ARENA_BYTES = SEGMENT_BYTES + 2 ** 20;
/** Age below which a change may hide in the time stamp's granularity. */
const RACY_MS = 2000;
const NS_PER_MS = 1_000_000n;

/** A batch that was read and cut: its bytes wait here until the main thread says which chunks are new. */
export interface CutBatch {
  readonly batch: number;
  readonly arena: Buffer;
  readonly results: FileResults;
  /** Position of each chunk in the arena, and its length. */
  readonly offsets: Uint32Array;
  readonly lengths: Uint32Array<ArrayBuffer>;
  /** Owner of each item. */
  readonly uids: Uint32Array;
  /** The rest of a large file, to be cut by whoever is free. */
  readonly next: Segment | undefined;
}

interface OpenStream {
  readonly file: number;
  arena: Buffer;
  length: number;
  part: number;
}

/** Opens, reads, cuts and hashes; the part of a CPU thread that touches files. Synchronous on purpose. */
export class ContentReader {
  readonly #keys: KeySet;
  readonly #profile: ProfileParameters;
  readonly #arenas: Buffer[] = [];
  readonly #now: () => number;
  #stream: OpenStream | undefined;
  #offsets: number[] = [];
  #lengths: number[] = [];
  #ids: Buffer[] = [];

  constructor(keys: KeySet, profile: number, now: () => number) {
    this.#keys = keys;
    this.#profile = profileByNumber(profile);
    this.#now = now;
  }

  /** Gives an arena back once nothing of it is needed. */
  release(batch: CutBatch): void {
    this.#arenas.push(batch.arena);
  }

  /** Reads every file of a batch, or one part of a large file. Problems of single files are results, not errors. */
  read(batch: FileBatch): CutBatch {
    const count = batch.files.length;
    const status = new Uint8Array(count);
    const chunkCounts = new Uint32Array(count);
    const bytes = new Float64Array(count);
    const extras: FileExtra[] = [];
    const arena = this.#arena();
    this.#begin();
    let next: Segment | undefined;
    let used = 0;
    // Room that the files still to come need: one that grew must not take it from them.
    let reserved = 0;
    for (const size of batch.sizes) reserved += size;
    for (let item = 0; item < count; item++) {
      const before = this.#offsets.length;
      const path = batch.paths.subarray(item === 0 ? 0 : batch.pathEnds[item - 1], batch.pathEnds[item]);
      reserved -= batch.sizes[item] as number;
      const limit = Math.max(used, arena.length - reserved);
      const outcome = this.#readFile(Buffer.from(path.buffer, path.byteOffset, path.byteLength), batch, item, arena, used, limit);
      if (outcome.extra !== undefined) extras.push(outcome.extra);
      if (outcome.next !== undefined) next = outcome.next;
      status[item] = outcome.status;
      bytes[item] = outcome.bytes;
      used += outcome.bytes;
      chunkCounts[item] = this.#offsets.length - before;
    }
    const results = {
      batch: batch.batch,
      files: batch.files,
      status,
      chunkCounts,
      ids: this.#joinedIds(),
      bytes,
      extras,
      segment: batch.segment?.number ?? (next === undefined ? undefined : 0),
    };
    return this.#cutBatch(batch.batch, arena, results, batch.uids, next);
  }

  /** Takes the next bytes of a once-stream (undefined: it has ended); results come as parts of one file. */
  readStream(batch: number, file: number, uid: number, bytes: Uint8Array | undefined): CutBatch {
    this.#begin();
    let stream = this.#stream;
    if (stream === undefined || stream.file !== file) stream = this.#stream = { file, arena: this.#arena(), length: 0, part: 0 };
    let arena = stream.arena;
    const last = bytes === undefined;
    if (bytes !== undefined) {
      stream.arena.set(bytes, stream.length);
      stream.length += bytes.length;
    }
    let consumed = 0;
    if (last || stream.length >= SEGMENT_BYTES) {
      consumed = this.#cut(stream.arena, 0, stream.length, last);
      const rest = this.#arena();
      stream.arena.copy(rest, 0, consumed, stream.length);
      stream.arena = rest;
      stream.length -= consumed;
    } else {
      // Nothing is cut yet; the bytes stay with the stream and the batch has nothing to hold.
      arena = Buffer.alloc(0);
    }
    const part = stream.part++;
    if (last) {
      this.#arenas.push(stream.arena);
      this.#stream = undefined;
    }
    const results: FileResults = {
      batch,
      files: Uint32Array.of(file),
      status: Uint8Array.of(last ? FILE_OK : FILE_PART),
      chunkCounts: Uint32Array.of(this.#offsets.length),
      ids: this.#joinedIds(),
      bytes: Float64Array.of(consumed),
      extras: [],
      segment: part,
    };
    return this.#cutBatch(batch, arena, results, Uint32Array.of(uid), undefined);
  }

  #readFile(
    path: Buffer,
    batch: FileBatch,
    item: number,
    arena: Buffer,
    start: number,
    limit: number,
  ): { status: number; bytes: number; extra?: FileExtra; next?: Segment } {
    let fd: number;
    try {
      fd = openUnseen(path);
    } catch (error) {
      return failure(item, error);
    }
    try {
      if (batch.segment !== undefined || (batch.sizes[item] as number) > SEGMENT_BYTES)
        return this.#readLarge(fd, path, batch, item, arena);
      return this.#readSmall(fd, path, batch, item, arena, start, limit);
    } catch (error) {
      return failure(item, error);
    } finally {
      closeSync(fd);
    }
  }

  /** A file that fits into one part: read, then compared with what the walk saw; read once more when it changed. */
  #readSmall(
    fd: number,
    path: Buffer,
    batch: FileBatch,
    item: number,
    arena: Buffer,
    start: number,
    limit: number,
  ): { status: number; bytes: number; extra?: FileExtra } {
    const sparse = ((batch.flags[item] as number) & 1) !== 0;
    let size = batch.sizes[item] as number;
    let stat: FileStat | undefined;
    let changed = false;
    let length = 0;
    let extents: Extent[] | undefined;
    const seen = {
      size,
      mtimeNs: batch.mtimes[item] as bigint,
      ctimeNs: batch.ctimes[item] as bigint,
      inode: batch.inodes[item] as bigint,
    };
    for (let attempt = 0; attempt < 2; attempt++) {
      const room = Math.min(size, limit - start);
      // The first time nobody has looked yet at what was opened.
      if (sparse && attempt === 0) requireRegular(statOf(fd), path);
      extents = sparse ? boundedExtents(dataExtents(fd, size)) : undefined;
      length = extents === undefined ? readPlain(fd, path, arena, start, room) : readExtents(fd, extents, arena, start);
      const whole = length === (extents === undefined ? size : total(extents));
      if (stat === undefined && whole && isAsSeen(fd, seen)) break;
      const after = statOf(fd);
      requireRegular(after, path);
      if (stat !== undefined && whole && sameStat(stat, after)) {
        changed = false;
        break;
      }
      changed = true;
      stat = after;
      if (after.size > limit - start) {
        // It outgrew the batch while it was read: what fits is kept, the mark says that it is not one moment's state.
        break;
      }
      size = after.size;
    }
    if (stat !== undefined) stat = { ...stat, size: extents === undefined ? length : stat.size };
    this.#cut(arena, start, start + length, true);
    const xattrs = readXattrs(fd);
    const holes = extents !== undefined && total(extents) < size;
    const extra =
      stat !== undefined || xattrs.length > 0 || holes
        ? { item, ...(stat && { stat }), ...(xattrs.length > 0 && { xattrs }), ...(holes && { extents: extents as Extent[] }) }
        : undefined;
    const racy = this.#racy(stat?.mtimeNs ?? seen.mtimeNs, stat?.ctimeNs ?? seen.ctimeNs);
    return {
      status: FILE_OK | (changed ? FILE_CHANGED : 0) | (racy ? FILE_RACY : 0),
      bytes: length,
      ...(extra && { extra }),
    };
  }

  /** One part of a large file. What follows its last cut is left for the next part. */
  #readLarge(
    fd: number,
    path: Buffer,
    batch: FileBatch,
    item: number,
    arena: Buffer,
  ): { status: number; bytes: number; extra?: FileExtra; next?: Segment } {
    const now = statOf(fd);
    requireRegular(now, path);
    const segment =
      batch.segment ??
      firstSegment(
        now,
        ((batch.flags[item] as number) & 1) !== 0 ? boundedExtents(dataExtents(fd, now.size)) : [{ offset: 0, length: now.size }],
      );
    const contentBytes = total(segment.extents);
    const want = Math.min(contentBytes - segment.position, SEGMENT_BYTES);
    const length = readJoined(fd, segment.extents, segment.position, arena, want);
    const after = statOf(fd);
    const intact = sameStat(segment.stat, after) && length === want;
    const reachesEnd = segment.position + length >= contentBytes || length < want;
    const consumed = this.#cut(arena, 0, length, reachesEnd);
    const first = segment.number === 0;
    const xattrs = first ? readXattrs(fd) : [];
    const holes = first && contentBytes < segment.stat.size;
    const movedSinceWalk =
      first && (now.mtimeNs !== batch.mtimes[item] || now.ctimeNs !== batch.ctimes[item] || now.size !== batch.sizes[item]);
    const extra: FileExtra = {
      item,
      ...((first || !intact) && (movedSinceWalk || !intact) && { stat: after }),
      ...(xattrs.length > 0 && { xattrs }),
      ...(holes && { extents: segment.extents }),
    };
    const status =
      (reachesEnd ? FILE_OK : FILE_PART) |
      (intact ? 0 : FILE_CHANGED) |
      (this.#racy(after.mtimeNs, after.ctimeNs) ? FILE_RACY : 0);
    return {
      status,
      bytes: consumed,
      ...(Object.keys(extra).length > 1 && { extra }),
      ...(!reachesEnd && { next: { ...segment, number: segment.number + 1, position: segment.position + consumed } }),
    };
  }

  /**
   * Cuts `arena[start, end)`. Unless the content ends there (`final`), a cut that only the end of what was read made is
   * left to whoever reads on. Returns the bytes that became chunks.
   */
  #cut(arena: Buffer, start: number, end: number, final: boolean): number {
    let position = start;
    while (position < end) {
      const length = nextCut(this.#keys.lineage.gear, this.#profile, arena, position, end);
      if (!final && position + length === end && length < this.#profile.max) break;
      this.#offsets.push(position);
      this.#lengths.push(length);
      this.#ids.push(this.#keys.chunkId(1, arena.subarray(position, position + length)));
      position += length;
    }
    return position - start;
  }

  #racy(mtimeNs: bigint, ctimeNs: bigint): boolean {
    const limitNs = BigInt(this.#now() - RACY_MS + 1) * NS_PER_MS;
    return mtimeNs >= limitNs || ctimeNs >= limitNs;
  }

  #arena(): Buffer {
    return this.#arenas.pop() ?? Buffer.allocUnsafeSlow(ARENA_BYTES);
  }

  #begin(): void {
    this.#offsets = [];
    this.#lengths = [];
    this.#ids = [];
  }

  #joinedIds(): Uint8Array<ArrayBuffer> {
    const joined = new Uint8Array(this.#ids.length * 32);
    let at = 0;
    for (const id of this.#ids) {
      joined.set(id, at);
      at += 32;
    }
    return joined;
  }

  #cutBatch(batch: number, arena: Buffer, results: FileResults, uids: Uint32Array, next: Segment | undefined): CutBatch {
    return {
      batch,
      arena,
      results,
      offsets: Uint32Array.from(this.#offsets),
      lengths: Uint32Array.from(this.#lengths),
      uids,
      next,
    };
  }
}

function firstSegment(stat: FileStat, extents: readonly Extent[]): Segment {
  return { number: 0, position: 0, extents, sparse: extents.length !== 1, stat };
}

function total(extents: readonly Extent[]): number {
  let sum = 0;
  for (const extent of extents) sum += extent.length;
  return sum;
}

function failure(item: number, error: unknown): { status: number; bytes: number; extra?: FileExtra } {
  const code = errnoOf(error) ?? "EIO";
  if (code === "ENOENT") return { status: FILE_VANISHED, bytes: 0 };
  const message = error instanceof Error ? error.message : String(error);
  return { status: FILE_UNREADABLE, bytes: 0, extra: { item, problem: { reason: code, message } } };
}

/** A tree keeps a bounded number of extents; beyond it the smallest holes are stored as the zeros they read as. */
function boundedExtents(extents: readonly Extent[]): Extent[] {
  const excess = extents.length - TREE_BOUNDS.extents;
  if (excess <= 0) return [...extents];
  const holes = extents
    .slice(1)
    .map((extent, i) => extent.offset - (extents[i] as Extent).offset - (extents[i] as Extent).length);
  const limit = Float64Array.from(holes).sort()[excess - 1] as number;
  let closed = 0;
  const kept: Extent[] = [];
  for (const [i, extent] of extents.entries()) {
    const last = kept.at(-1);
    if (last !== undefined && closed < excess && (holes[i - 1] as number) <= limit) {
      kept[kept.length - 1] = { offset: last.offset, length: extent.offset + extent.length - last.offset };
      closed++;
    } else kept.push(extent);
  }
  return kept;
}

/** What is no regular file any more refuses to be read at a position, or to be read at all: then say why. */
function readPlain(fd: number, path: Buffer, arena: Buffer, start: number, length: number): number {
  try {
    return readFully(fd, arena, start, length, 0);
  } catch (error) {
    requireRegular(statOf(fd), path);
    throw error;
  }
}

/** Reads up to `length` bytes at `position`; fewer only at the end of the file. */
function readFully(fd: number, arena: Buffer, start: number, length: number, position: number): number {
  let done = 0;
  while (done < length) {
    const n = readSync(fd, arena, start + done, length - done, position + done);
    if (n === 0) break;
    done += n;
  }
  return done;
}

function readExtents(fd: number, extents: readonly Extent[], arena: Buffer, start: number): number {
  let done = 0;
  for (const extent of extents) {
    const n = readFully(fd, arena, start + done, extent.length, extent.offset);
    done += n;
    if (n < extent.length) break;
  }
  return done;
}

/** Reads `want` bytes from `position` of the joined extents. */
function readJoined(fd: number, extents: readonly Extent[], position: number, arena: Buffer, want: number): number {
  let skip = position;
  let done = 0;
  for (const extent of extents) {
    if (done === want) break;
    if (skip >= extent.length) {
      skip -= extent.length;
      continue;
    }
    const length = Math.min(extent.length - skip, want - done);
    const n = readFully(fd, arena, done, length, extent.offset + skip);
    done += n;
    if (n < length) break;
    skip = 0;
  }
  return done;
}
