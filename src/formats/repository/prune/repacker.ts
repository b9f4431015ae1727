import { createHash } from "node:crypto";
import { HoldfastError } from "../../../base/errors.ts";
import { asPackId } from "../../../base/ids.ts";
import type { Randomness } from "../../../base/random.ts";
import type { CodecName } from "../../../codec/compress.ts";
import type { Target } from "../../../targets/target.ts";
import type { KeyRow, Sealer } from "../keys/sealer.ts";
import { toPackRecord, type PackRecord } from "../objects/index-object.ts";
import { finishPack, readDirectory, type PackDirectory, type PackFrame } from "../objects/pack-directory.ts";
import { release } from "../verify/release.ts";
import { packName } from "../verify/repository-view.ts";
import { FrameBuilder } from "../write/frame-builder.ts";
import type { ChunkMove, PackSource } from "./repack-messages.ts";

/** Raw bytes of a frame, as a backup makes them. */
const FRAME_BYTES = 2 * 2 ** 20;
/** Raw bytes of decoded frames kept: walk order meets the same frames again soon. */
const CACHE_BYTES = 64 * 2 ** 20;
const CACHED_DIRECTORIES = 64;
/** Verbatim frames that lie side by side are read in one go up to this. */
const READ_BYTES = 8 * 2 ** 20;

export interface RepackerOptions {
  readonly target: Target;
  readonly sealer: Sealer;
  readonly random: Randomness;
  readonly packBytes: number;
  readonly codec: CodecName;
  readonly level: number;
  /** Frames under older epochs are sealed under the newest when they are taken over. */
  readonly reseal: boolean;
}

interface OpenPack {
  readonly parts: Uint8Array[];
  readonly frames: PackFrame[];
  readonly rows: KeyRow[];
  bytes: number;
}

interface SourceFrame {
  readonly frame: PackFrame;
  readonly row: KeyRow;
  readonly offset: number;
}

/**
 * Stores live frames and chunks of old packs in new ones. A frame is authenticated before it is taken over, a chunk is
 * proven by its id, and a new frame is opened again before it is put. Rejects with `object_damaged` when one of them fails:
 * nothing may be condemned then. Runs in a thread of its own.
 */
export class Repacker {
  readonly #options: RepackerOptions;
  readonly #open = new Map<1 | 2, OpenPack>();
  readonly #builders = new Map<1 | 2, FrameBuilder>();
  readonly #directories = new Map<string, { directory: PackDirectory; offsets: number[] }>();
  readonly #raw = new Map<string, Buffer>();
  #rawBytes = 0;
  #packed: PackRecord[] = [];

  constructor(options: RepackerOptions) {
    this.#options = options;
  }

  /** Packs put since the last call. */
  take(): PackRecord[] {
    const packed = this.#packed;
    this.#packed = [];
    return packed;
  }

  /** Takes frames over as they are. Sealed bytes and key row stay too, unless older epochs are to go: those are sealed anew. */
  async copy(source: PackSource, frames: readonly number[]): Promise<void> {
    const { directory } = await this.#directory(source);
    for (let at = 0; at < frames.length;) {
      const run = [await this.#frame(source, frames[at] as number)];
      let bytes = (run[0] as SourceFrame).frame.storedLength;
      while (at + run.length < frames.length && frames[at + run.length] === (frames[at] as number) + run.length) {
        const next = await this.#frame(source, frames[at + run.length] as number);
        // What is read together goes into one pack, whose put ends the life of these buffers.
        if (bytes + next.frame.storedLength > Math.min(READ_BYTES, this.#room(directory.kind))) break;
        bytes += next.frame.storedLength;
        run.push(next);
      }
      const start = (run[0] as SourceFrame).offset;
      const stored = await this.#options.target.get(packName(asPackId(source.id)), { range: { offset: start, length: bytes } });
      for (const { frame, row, offset } of run) {
        const sealed = stored.subarray(offset - start, offset - start + frame.storedLength);
        const plain = this.#authenticate(source, directory.kind, frame, row, sealed);
        if (!this.#options.reseal || row.epoch >= this.#options.sealer.keys.current.epoch)
          await this.#append(directory.kind, frame, row, sealed);
        else
          await this.#append(
            directory.kind,
            frame,
            this.#options.sealer.currentRow(),
            this.#sealAnew(directory.kind, frame, plain),
          );
      }
      at += run.length;
    }
  }

  /** Puts chunks into new frames, in this order. */
  async regroup(kind: 1 | 2, chunks: readonly ChunkMove[]): Promise<void> {
    const builder = this.#builder(kind);
    for (const move of chunks) {
      const { frame } = await this.#frame(move.pack, move.frame);
      const raw = await this.#decoded(move.pack, kind, move.frame);
      let start = 0;
      for (let i = 0; i < move.position; i++) start += frame.chunkLengths[i] as number;
      const bytes = raw.subarray(start, start + (frame.chunkLengths[move.position] as number));
      const id = frame.chunkIds.subarray(move.position * 32, move.position * 32 + 32);
      this.#options.sealer.keys.checkChunk(kind, bytes, id);
      builder.add(bytes, id, 1, move.owner);
      await this.#appendBuilt(kind, builder);
    }
  }

  /** Closes open frames and puts open packs. */
  async flush(): Promise<void> {
    for (const [kind, builder] of this.#builders) {
      builder.flush();
      await this.#appendBuilt(kind, builder);
    }
    for (const kind of this.#open.keys()) await this.#finish(kind);
  }

  #builder(kind: 1 | 2): FrameBuilder {
    const known = this.#builders.get(kind);
    if (known !== undefined) return known;
    const { sealer, codec, level, random } = this.#options;
    const setup = { repositories: [sealer.keys.material], codec, level, frameBytes: FRAME_BYTES, grouping: "frame" as const };
    const builder = new FrameBuilder(kind, setup, random);
    this.#builders.set(kind, builder);
    return builder;
  }

  async #appendBuilt(kind: 1 | 2, builder: FrameBuilder): Promise<void> {
    for (const { codec, rawLength, chunkIds, chunkLengths, sealed } of builder.take()) {
      const [bytes] = sealed;
      if (bytes === undefined) continue;
      await this.#append(
        kind,
        { codec, row: 0, storedLength: bytes.length, rawLength, chunkIds, chunkLengths },
        this.#options.sealer.currentRow(),
        bytes,
      );
    }
  }

  #room(kind: 1 | 2): number {
    return this.#options.packBytes - (this.#open.get(kind)?.bytes ?? 0);
  }

  async #append(kind: 1 | 2, frame: PackFrame, row: KeyRow, sealed: Uint8Array): Promise<void> {
    let pack = this.#open.get(kind);
    if (pack === undefined) {
      pack = { parts: [], frames: [], rows: [], bytes: 0 };
      this.#open.set(kind, pack);
    }
    let rowNumber = pack.rows.findIndex((known) => sameRow(known, row));
    if (rowNumber < 0) rowNumber = pack.rows.push(row) - 1;
    pack.parts.push(sealed);
    pack.frames.push({ ...frame, row: rowNumber });
    pack.bytes += sealed.length;
    if (pack.bytes >= this.#options.packBytes) await this.#finish(kind);
  }

  async #finish(kind: 1 | 2): Promise<void> {
    const pack = this.#open.get(kind);
    this.#open.delete(kind);
    if (pack === undefined || pack.frames.length === 0) return;
    const { sealer, target } = this.#options;
    const directory: PackDirectory = { kind, rows: pack.rows, frames: pack.frames };
    const parts = [...pack.parts, ...finishPack(sealer, directory, pack.bytes)];
    const hash = createHash("sha256");
    for (const part of parts) hash.update(part);
    const id = asPackId(hash.digest("hex"));
    const sizeBytes = parts.reduce((sum, part) => sum + part.length, 0);
    await target.put(packName(id), parts);
    for (const part of parts) release(part);
    this.#packed.push(toPackRecord(id, sizeBytes, directory));
  }

  async #directory(source: PackSource): Promise<{ directory: PackDirectory; offsets: number[] }> {
    const known = this.#directories.get(source.id);
    if (known !== undefined) return known;
    const { sealer, target } = this.#options;
    const directory = await readDirectory(sealer, source.sizeBytes, (offset, length) =>
      target.get(packName(asPackId(source.id)), { range: { offset, length } }),
    );
    const offsets: number[] = [];
    let offset = 0;
    for (const frame of directory.frames) {
      offsets.push(offset);
      offset += frame.storedLength;
    }
    const read = { directory, offsets };
    this.#directories.set(source.id, read);
    for (const oldest of this.#directories.keys()) {
      if (this.#directories.size <= CACHED_DIRECTORIES) break;
      this.#directories.delete(oldest);
    }
    return read;
  }

  async #frame(source: PackSource, number: number): Promise<SourceFrame> {
    const { directory, offsets } = await this.#directory(source);
    const frame = directory.frames[number];
    const row = frame === undefined ? undefined : directory.rows[frame.row];
    if (frame === undefined || row === undefined) throw damaged(source, `it has no frame ${number}, which the index names`);
    return { frame, row, offset: offsets[number] as number };
  }

  async #decoded(source: PackSource, kind: 1 | 2, number: number): Promise<Buffer> {
    const key = `${source.id}/${number}`;
    const cached = this.#raw.get(key);
    if (cached !== undefined) {
      this.#raw.delete(key);
      this.#raw.set(key, cached);
      return cached;
    }
    const { frame, row, offset } = await this.#frame(source, number);
    const stored = await this.#options.target.get(packName(asPackId(source.id)), {
      range: { offset, length: frame.storedLength },
    });
    const raw = this.#options.sealer.openFrame({ kind, codec: frame.codec, rawLength: frame.rawLength, row }, stored);
    this.#raw.set(key, raw);
    this.#rawBytes += raw.length;
    for (const [oldest, bytes] of this.#raw) {
      if (this.#rawBytes <= CACHE_BYTES || oldest === key) break;
      this.#raw.delete(oldest);
      this.#rawBytes -= bytes.length;
      release(bytes);
    }
    return raw;
  }

  #sealAnew(kind: 1 | 2, { codec, rawLength }: PackFrame, plain: Buffer): Buffer {
    const { sealer } = this.#options;
    const sealed = sealer.sealFrame(kind, codec, rawLength, plain);
    if (sealer.unsealFrame({ kind, codec, rawLength, row: sealer.currentRow() }, sealed).equals(plain)) return sealed;
    throw new HoldfastError("write_verification_failed", "A frame did not survive encryption", {
      hint: "This points to a fault of memory or CPU; nothing was condemned.",
    });
  }

  #authenticate(source: PackSource, kind: 1 | 2, frame: PackFrame, row: KeyRow, sealed: Uint8Array): Buffer {
    try {
      return this.#options.sealer.unsealFrame({ kind, codec: frame.codec, rawLength: frame.rawLength, row }, sealed);
    } catch (error) {
      throw damaged(source, error instanceof Error ? error.message : String(error), error);
    }
  }
}

function damaged(source: PackSource, why: string, cause?: unknown): HoldfastError {
  return new HoldfastError("object_damaged", `Pack ${source.id} is damaged: ${why}`, {
    hint: "Nothing was condemned. Run `holdfast repair`, which marks the pack; then prune again.",
    cause,
    data: { pack: source.id },
  });
}

function sameRow(a: KeyRow, b: KeyRow): boolean {
  return (
    a.suite === b.suite &&
    a.epoch === b.epoch &&
    Buffer.compare(a.keyId, b.keyId) === 0 &&
    Buffer.compare(a.sealedKey, b.sealedKey) === 0
  );
}
