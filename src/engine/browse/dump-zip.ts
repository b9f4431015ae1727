import { once } from "node:events";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setImmediate as nextTurn } from "node:timers/promises";
import { promisify } from "node:util";
import { crc32, createDeflateRaw, deflateRaw } from "node:zlib";
import { pathText } from "../../base/path-text.ts";
import {
  ZIP_MAX_TEXT_BYTES,
  zipCentralRecord,
  zipDescriptor,
  zipEnd,
  zipLocalHeader,
  type ZipContent,
  type ZipMember,
} from "../../codec/zip-header.ts";
import type { SnapshotEntry, Store } from "../../formats/format.ts";
import { walkSnapshot } from "./entries.ts";

/** A smaller file is held whole, and its sizes stand before it; a larger one is streamed. */
const WHOLE_BYTES = 256 * 1024;
/** From here on a descriptor has sizes of 8 bytes; deflate makes what cannot be compressed a little larger. */
const LARGE_BYTES = 0xffff_ffff - 2 ** 24;
const LEVEL = 6;
const CHUNK_BYTES = 64 * 1024;
/** Records of the directory that are joined in one turn of the event loop. */
const RECORDS_A_TURN = 2048;
/** Of what was left out, so much is named in the comment. */
const MAX_COMMENT_BYTES = 60_000;

const deflate = promisify(deflateRaw);

export interface ZipDumpOptions {
  readonly signal: AbortSignal;
  readonly onSkipped?: ((entry: SnapshotEntry, why: string) => void) | undefined;
}

/**
 * `top` as a zip archive, with names relative to it. Symlinks, modes, times to the second and owner numbers are kept; hard
 * links become copies; attributes are not kept; sockets, pipes and devices are left out, told, and named in the archive's comment.
 * Holds one file of at most 256 KiB, and about 150 bytes for each member: the directory comes last.
 */
export async function* zipOf(
  store: Store,
  top: SnapshotEntry,
  options: ZipDumpOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* new ZipDump(store, top, options).bytes();
}

class ZipDump {
  readonly #store: Store;
  readonly #top: SnapshotEntry;
  readonly #options: ZipDumpOptions;
  readonly #directory: Buffer[] = [];
  readonly #skipped: string[] = [];
  #skippedBytes = 0;
  #skippedCount = 0;
  #offset = 0;

  constructor(store: Store, top: SnapshotEntry, options: ZipDumpOptions) {
    this.#store = store;
    this.#top = top;
    this.#options = options;
  }

  async *bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const bytes of this.#members()) {
      this.#offset += bytes.length;
      yield bytes;
    }
    const begin = this.#offset;
    for (let i = 0; i < this.#directory.length; i += RECORDS_A_TURN) {
      const records = Buffer.concat(this.#directory.slice(i, i + RECORDS_A_TURN));
      this.#offset += records.length;
      yield records;
      await nextTurn();
      this.#options.signal.throwIfAborted();
    }
    yield zipEnd(this.#directory.length, this.#offset - begin, begin, Buffer.from(this.#comment()));
  }

  async *#members(): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#top.entry.type !== "directory") {
      yield* this.#member(this.#top, this.#top.entry.name);
      return;
    }
    const skip = this.#top.path.length === 1 ? 1 : this.#top.path.length + 1;
    for await (const steps of walkSnapshot(this.#store, this.#top, this.#options.signal))
      for (const step of steps) if ("entry" in step) yield* this.#member(step.entry, step.entry.path.subarray(skip));
  }

  async *#member(found: SnapshotEntry, relative: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
    const { entry } = found;
    const { type, meta } = entry;
    if (type !== "file" && type !== "directory" && type !== "symlink") {
      this.#skip(found, relative, `zip has no ${NAMES[type]}`);
      return;
    }
    const path = type === "directory" ? Buffer.concat([relative, Buffer.from("/")]) : relative;
    if (path.length > ZIP_MAX_TEXT_BYTES) {
      this.#skip(found, relative, "its path is too long for zip");
      return;
    }
    const { mode, uid, gid, mtimeNs } = meta;
    const member: ZipMember = { path, type, mode, uid, gid, mtimeNs, deflated: false, streamed: false, large: false };
    if (type === "file" && entry.size > WHOLE_BYTES) yield* this.#streamed(found, member);
    else if (type === "file") yield* this.#whole(member, await this.#content(found));
    else yield* this.#whole(member, Buffer.from(entry.linkTarget ?? []));
  }

  async *#whole(base: ZipMember, content: Buffer): AsyncGenerator<Uint8Array, void, undefined> {
    const packed = content.length === 0 || base.type === "symlink" ? content : await deflate(content, { level: LEVEL });
    const deflated = packed.length < content.length;
    const stored = deflated ? packed : content;
    const member = { ...base, deflated };
    const facts = { crc32: crc32(content), size: content.length, storedSize: stored.length };
    this.#directory.push(zipCentralRecord(member, facts, this.#offset));
    yield zipLocalHeader(member, facts);
    if (stored.length > 0) yield stored;
  }

  async *#streamed(found: SnapshotEntry, base: ZipMember): AsyncGenerator<Uint8Array, void, undefined> {
    const member = { ...base, deflated: true, streamed: true, large: found.entry.size >= LARGE_BYTES };
    const offset = this.#offset;
    yield zipLocalHeader(member, undefined);
    const facts = { crc32: 0, size: 0, storedSize: 0 };
    const given = new AbortController();
    const signal = AbortSignal.any([this.#options.signal, given.signal]);
    const read = async function* (store: Store): AsyncGenerator<Uint8Array, void, undefined> {
      for await (const bytes of store.read(found, { signal })) {
        facts.crc32 = crc32(bytes, facts.crc32);
        facts.size += bytes.length;
        // What is read is valid until the next piece; a thread deflates it meanwhile.
        yield Buffer.from(bytes);
      }
    };
    const deflater = createDeflateRaw({ level: LEVEL, chunkSize: CHUNK_BYTES });
    const done = pipeline(Readable.from(read(this.#store), { objectMode: false }), deflater, { signal });
    done.catch(() => undefined);
    try {
      for await (const bytes of deflater as AsyncIterable<Buffer>) {
        facts.storedSize += bytes.length;
        yield bytes;
      }
      await done;
    } catch (error) {
      // Whichever side says it first: why reading failed is what counts.
      await done;
      throw error;
    } finally {
      given.abort();
      if (!deflater.closed) {
        deflater.destroy();
        await once(deflater, "close").catch(() => undefined);
      }
    }
    this.#directory.push(zipCentralRecord(member, facts satisfies ZipContent, offset));
    yield zipDescriptor(member, facts);
  }

  async #content(found: SnapshotEntry): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for await (const bytes of this.#store.read(found, { signal: this.#options.signal })) pieces.push(Buffer.from(bytes));
    return Buffer.concat(pieces);
  }

  #skip(found: SnapshotEntry, relative: Uint8Array, why: string): void {
    this.#options.onSkipped?.(found, why);
    this.#skippedCount++;
    const line = `${pathText(relative)}: ${why}`;
    if (this.#skippedBytes + line.length * 3 > MAX_COMMENT_BYTES) return;
    this.#skippedBytes += Buffer.byteLength(line) + 1;
    this.#skipped.push(line);
  }

  /** What is not in it, for whoever finds the archive later. */
  #comment(): string {
    if (this.#skippedCount === 0) return "";
    const rest = this.#skippedCount - this.#skipped.length;
    return [`Left out: ${this.#skippedCount}`, ...this.#skipped, ...(rest > 0 ? [`and ${rest} more`] : [])].join("\n");
  }
}

const NAMES = { socket: "sockets", fifo: "pipes", chardev: "devices", blockdev: "devices" } as const;
