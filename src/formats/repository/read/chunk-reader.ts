import { HoldfastError } from "../../../base/errors.ts";
import type { ChunkLocation } from "../index/chunk-index.ts";
import type { Repository } from "../repository.ts";

/** Raw bytes of decoded frames kept: browsing and small restores meet the same frames again and again. */
const DEFAULT_CACHE_BYTES = 64 * 2 ** 20;

/** A decoded frame. */
interface DecodedFrame {
  readonly raw: Buffer;
}

/**
 * Reads chunks of one repository: finds a frame, gets its byte range, opens it, cuts the chunk out and checks its id.
 * Tries every copy of a chunk, then loads the index anew once, before it says `chunk_missing` or `object_damaged`.
 * Frames are decoded once and kept while the cache has room. Calls may overlap.
 */
export class ChunkReader {
  readonly #repository: Repository;
  readonly #signal: AbortSignal | undefined;
  readonly #cacheBytes: number;
  readonly #cache = new Map<number, DecodedFrame>();
  readonly #loading = new Map<number, Promise<DecodedFrame>>();
  #cached = 0;
  #reloaded = false;
  /** Frames fetched and decoded so far. */
  framesDecoded = 0;

  constructor(repository: Repository, options: { readonly signal?: AbortSignal | undefined; readonly cacheBytes?: number } = {}) {
    this.#repository = repository;
    this.#signal = options.signal;
    this.#cacheBytes = options.cacheBytes ?? DEFAULT_CACHE_BYTES;
  }

  /** The bytes of a chunk by its id, or by the first 16 bytes of it as an index names it; a view that must not be changed. */
  async chunk(kind: 1 | 2, id: Uint8Array): Promise<Buffer> {
    const first = await this.#tryAll(kind, id);
    if (Buffer.isBuffer(first)) return first;
    if (!this.#reloaded) {
      // Another host may have moved the chunk since the index was loaded.
      this.#reloaded = true;
      await this.#repository.loadIndex(() => undefined, this.#signal);
      const second = await this.#tryAll(kind, id);
      if (Buffer.isBuffer(second)) return second;
    }
    const hex = Buffer.from(id).toString("hex");
    const data = { chunk: hex, kind: kind === 1 ? "data" : "tree", target: this.#repository.name };
    if (first === undefined)
      throw new HoldfastError(
        "chunk_missing",
        `${kind === 1 ? "Data" : "Tree"} chunk ${hex.slice(0, 16)}… is in no pack of target ${this.#repository.name}`,
        {
          hint: "Run `holdfast verify` to see what depends on it, and `holdfast repair`.",
          data,
        },
      );
    throw new HoldfastError(
      "object_damaged",
      `${kind === 1 ? "Data" : "Tree"} chunk ${hex.slice(0, 16)}… on target ${this.#repository.name} cannot be read: ${first.error.message}`,
      {
        hint: "Run `holdfast verify --read-data` to see what else is damaged, and `holdfast repair`; the next backup stores again what its source still has.",
        cause: first.error,
        data: { ...data, pack: first.pack },
      },
    );
  }

  /** The bytes; or why the last copy failed; or undefined when there is none. */
  async #tryAll(kind: 1 | 2, id: Uint8Array): Promise<Buffer | { error: Error; pack: string } | undefined> {
    let failure: { error: Error; pack: string } | undefined;
    for (const location of this.#repository.index.locations(kind, id)) {
      try {
        const frame = await this.#frame(location);
        const bytes = frame.raw.subarray(location.offset, location.offset + location.length);
        if (Buffer.compare(this.#repository.keys.chunkId(kind, bytes).subarray(0, id.length), id) !== 0)
          throw new HoldfastError("object_damaged", "its content does not match its id");
        return bytes;
      } catch (error) {
        if (this.#signal?.aborted === true) throw error;
        if (error instanceof HoldfastError && error.transient) throw error;
        failure = {
          error: error instanceof Error ? error : new Error(String(error)),
          pack: this.#repository.index.frame(location.frame).packId,
        };
      }
    }
    return failure;
  }

  async #frame(location: ChunkLocation): Promise<DecodedFrame> {
    const cached = this.#cache.get(location.frame);
    if (cached !== undefined) {
      // Map order is age; meeting a frame makes it young again.
      this.#cache.delete(location.frame);
      this.#cache.set(location.frame, cached);
      return cached;
    }
    const loading = this.#loading.get(location.frame);
    if (loading !== undefined) return await loading;
    const load = this.#load(location.frame);
    this.#loading.set(location.frame, load);
    try {
      return await load;
    } finally {
      this.#loading.delete(location.frame);
    }
  }

  async #load(frameNumber: number): Promise<DecodedFrame> {
    const frame = this.#repository.index.frame(frameNumber);
    const stored = await this.#repository.target.get(`packs/${frame.packId.slice(0, 2)}/${frame.packId}`, {
      range: { offset: frame.offset, length: frame.storedLength },
      signal: this.#signal,
    });
    const raw = this.#repository.sealer.openFrame(frame, stored);
    this.framesDecoded++;
    const decoded = { raw };
    this.#cache.set(frameNumber, decoded);
    this.#cached += raw.length;
    for (const [oldest, old] of this.#cache) {
      if (this.#cached <= this.#cacheBytes || oldest === frameNumber) break;
      this.#cache.delete(oldest);
      this.#cached -= old.raw.length;
    }
    return decoded;
  }
}
