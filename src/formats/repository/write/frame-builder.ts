import { strict as assert } from "node:assert";
import { freeIfLarge } from "../../../base/buffers.ts";
import { HoldfastError } from "../../../base/errors.ts";
import type { Randomness } from "../../../base/random.ts";
import { CODEC_NUMBER, compressIfWorthwhile, decompress, type CodecName } from "../../../codec/compress.ts";
import { KeySet } from "../keys/key-set.ts";
import { Sealer } from "../keys/sealer.ts";
import type { SealedFrame, SealingSetup } from "./messages.ts";

/** Chunks waiting to become one frame. */
interface Group {
  readonly mask: number;
  /** The chunks joined; undefined while they lie side by side in the caller's memory. */
  raw: Buffer | undefined;
  /** The caller's memory from the first of them on. */
  borrowed: Uint8Array | undefined;
  length: number;
  ids: Buffer[];
  lengths: number[];
}

/** Largest number of open groups; beyond it the fullest is closed. Two targets in different states and a few owners fit. */
const MAX_GROUPS = 6;

/** What follows a frame that shrank below this is compressed without being sampled first. */
const COMPRESSED_WELL = 0.9;

/** Chunks in a frame, however small they are: a pack is whole frames, and has a bound of its own. */
const FRAME_CHUNKS = 8192;

/**
 * Gathers new chunks in walk order into frames, compresses each frame once, seals it for every repository that needs it,
 * and proves each sealed frame by opening it again before it is handed out. Never mixes owners in a frame.
 */
export class FrameBuilder {
  readonly #kind: 1 | 2;
  readonly #codec: CodecName;
  readonly #level: number;
  readonly #frameBytes: number;
  readonly #perFile: boolean;
  readonly #sealers: readonly Sealer[];
  readonly #groups = new Map<string, Group>();
  readonly #spare: Buffer[] = [];
  #ready: SealedFrame[] = [];
  /** The last frame did not compress well, so the next is sampled before it is compressed. */
  #sampled = true;

  constructor(kind: 1 | 2, setup: SealingSetup, random: Randomness) {
    this.#kind = kind;
    this.#codec = setup.codec;
    this.#level = setup.level;
    this.#frameBytes = setup.frameBytes;
    this.#perFile = setup.grouping === "file";
    this.#sealers = setup.repositories.map((keys) => new Sealer(new KeySet(keys), random));
  }

  /**
   * Takes one chunk that the repositories in `mask` need. `id` is copied; `bytes` must stay as they are until the next `take`:
   * chunks that lie side by side become a frame without being copied. `owner` separates what must not share a frame.
   */
  add(bytes: Uint8Array, id: Uint8Array, mask: number, owner: number): void {
    if (bytes.length >= this.#frameBytes) {
      this.#seal(mask, bytes, Buffer.from(id), Uint32Array.of(bytes.length));
      return;
    }
    const key = `${mask}:${owner}`;
    let group = this.#groups.get(key);
    if (group !== undefined && group.length + bytes.length > this.#frameBytes * 2) {
      this.#close(key, group);
      group = undefined;
    }
    if (group === undefined) {
      if (this.#groups.size >= MAX_GROUPS) this.#closeFullest();
      group = { mask, raw: undefined, borrowed: bytes, length: 0, ids: [], lengths: [] };
      this.#groups.set(key, group);
    } else if (group.borrowed === undefined || !follows(group.borrowed, group.length, bytes)) {
      this.#own(group).set(bytes, group.length);
    }
    group.length += bytes.length;
    group.ids.push(Buffer.from(id));
    group.lengths.push(bytes.length);
    if (group.length >= this.#frameBytes || group.ids.length >= FRAME_CHUNKS) this.#close(key, group);
  }

  /** Tells that a file ended; closes open frames when files must not share one. */
  endFile(): void {
    if (this.#perFile) this.flush();
  }

  /** Closes every open frame. */
  flush(): void {
    for (const [key, group] of this.#groups) this.#close(key, group);
  }

  /** The frames finished since the last call. From here on the caller may reuse the memory of what was added. */
  take(): SealedFrame[] {
    for (const group of this.#groups.values()) this.#own(group);
    const ready = this.#ready;
    this.#ready = [];
    return ready;
  }

  #closeFullest(): void {
    let fullest: [string, Group] | undefined;
    for (const pair of this.#groups) if (fullest === undefined || pair[1].length > fullest[1].length) fullest = pair;
    if (fullest !== undefined) this.#close(fullest[0], fullest[1]);
  }

  /** The group's own memory, with all that it has so far. */
  #own(group: Group): Buffer {
    if (group.raw !== undefined) return group.raw;
    const raw = this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.#frameBytes * 2);
    raw.set(joined(group));
    group.raw = raw;
    group.borrowed = undefined;
    return raw;
  }

  #close(key: string, group: Group): void {
    this.#groups.delete(key);
    this.#seal(group.mask, joined(group), Buffer.concat(group.ids), Uint32Array.from(group.lengths));
    if (group.raw !== undefined) this.#spare.push(group.raw);
  }

  #seal(mask: number, raw: Uint8Array, ids: Buffer, lengths: Uint32Array<ArrayBuffer>): void {
    const packed = compressIfWorthwhile(this.#codec, this.#level, raw, this.#sampled);
    this.#sampled = packed.bytes.length > raw.length * COMPRESSED_WELL;
    const codec = CODEC_NUMBER[packed.codec];
    let proven = false;
    const sealed = this.#sealers.map((sealer, index) => {
      if ((mask & (1 << index)) === 0) return undefined;
      const bytes = sealer.sealFrame(this.#kind, codec, raw.length, packed.bytes);
      // A fault of CPU or memory must not reach the target: open what was sealed, and decode what was compressed.
      const opened = sealer.unsealFrame({ kind: this.#kind, codec, rawLength: raw.length, row: sealer.currentRow() }, bytes);
      if (Buffer.compare(opened, packed.bytes) !== 0) throw verificationFailure("encryption");
      if (!proven && codec !== CODEC_NUMBER.none) {
        const decoded = decompress(codec, opened, raw.length);
        if (Buffer.compare(decoded, raw) !== 0) throw verificationFailure("compression");
        freeIfLarge(decoded);
      }
      proven = true;
      freeIfLarge(opened);
      return ownBuffer(bytes);
    });
    if (codec !== CODEC_NUMBER.none) freeIfLarge(packed.bytes);
    this.#ready.push({
      kind: this.#kind,
      codec,
      rawLength: raw.length,
      chunkIds: ownBuffer(ids),
      chunkLengths: lengths,
      sealed,
    });
  }
}

/** True when `bytes` begins where the `length` bytes of `before` end. */
function follows(before: Uint8Array, length: number, bytes: Uint8Array): boolean {
  return bytes.buffer === before.buffer && bytes.byteOffset === before.byteOffset + length;
}

/** What a group holds, as one view. */
function joined({ raw, borrowed, length }: Group): Uint8Array {
  if (raw !== undefined) return raw.subarray(0, length);
  assert(borrowed !== undefined, "a group has memory of its own or borrows some");
  return new Uint8Array(borrowed.buffer, borrowed.byteOffset, length);
}

function verificationFailure(step: string): HoldfastError {
  return new HoldfastError(
    "write_verification_failed",
    `A frame did not survive ${step}: what was written differs from what was read back`,
    {
      hint: "This points to a fault of memory or CPU. Nothing was stored from it. Test the machine's memory before you trust its backups.",
    },
  );
}

/** A view that owns its whole ArrayBuffer, so that it can be transferred. */
export function ownBuffer(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  if (bytes.buffer instanceof ArrayBuffer && bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength)
    return bytes as Uint8Array<ArrayBuffer>;
  return new Uint8Array(bytes);
}

/** The ArrayBuffers of frames, for a transfer list. */
export function transferOf(frames: readonly SealedFrame[]): ArrayBuffer[] {
  const list: ArrayBuffer[] = [];
  for (const frame of frames) {
    list.push(frame.chunkIds.buffer, frame.chunkLengths.buffer);
    for (const bytes of frame.sealed) if (bytes !== undefined) list.push(bytes.buffer);
  }
  return list;
}
