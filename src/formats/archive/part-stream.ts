import { createHash } from "node:crypto";
import { HoldfastError } from "../../base/errors.ts";
import type { PartRecord } from "./manifest.ts";
import { MAX_PARTS } from "./object-names.ts";

interface OpenPart {
  readonly number: number;
  readonly start: number;
  readonly buffer: Buffer<ArrayBuffer>;
  used: number;
}

/**
 * A stream that is stored as consecutive parts. Parts are handed out as they fill; only a part that is held may be
 * handed out late, so that a header in it can still be completed when the length of what follows is known.
 */
export class PartStream {
  /** Of the parts that were handed out; complete after `end`. */
  readonly records: PartRecord[] = [];
  readonly #partBytes: number;
  readonly #onPart: (number: number, bytes: Buffer<ArrayBuffer>) => void;
  #current: OpenPart;
  #held: OpenPart | undefined;

  constructor(partBytes: number, onPart: (number: number, bytes: Buffer<ArrayBuffer>) => void) {
    this.#partBytes = partBytes;
    this.#onPart = onPart;
    this.#current = { number: 0, start: 0, buffer: Buffer.allocUnsafeSlow(partBytes), used: 0 };
  }

  /** Bytes so far. */
  get position(): number {
    return this.#current.start + this.#current.used;
  }

  /** Free memory at the end of the stream, never empty: fill it from its start, then `advance`. */
  room(): Buffer<ArrayBuffer> {
    return this.#current.buffer.subarray(this.#current.used);
  }

  advance(length: number): void {
    const part = this.#current;
    part.used += length;
    if (part.used < this.#partBytes) return;
    if (part.number + 1 === MAX_PARTS)
      throw new HoldfastError("unsupported", `An archive cannot have more than ${MAX_PARTS} parts`, {
        hint: "Divide the source among several jobs.",
      });
    this.#current = {
      number: part.number + 1,
      start: part.start + part.used,
      buffer: Buffer.allocUnsafeSlow(this.#partBytes),
      used: 0,
    };
    if (part !== this.#held) this.#handOut(part);
  }

  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const room = this.room();
      const length = Math.min(room.length, bytes.length - at);
      room.set(bytes.subarray(at, at + length));
      this.advance(length);
      at += length;
    }
  }

  /** Writes `bytes`, which must not be divided by a part's end, and keeps them changeable until `release`. */
  writeHeld(bytes: Uint8Array): Buffer {
    this.#held = this.#current;
    const place = this.room().subarray(0, bytes.length);
    this.write(bytes);
    return place;
  }

  release(): void {
    const part = this.#held;
    this.#held = undefined;
    if (part !== undefined && part !== this.#current) this.#handOut(part);
  }

  /** Forgets what was written since `position`; false when part of that has left this part. */
  rewind(position: number): boolean {
    if (position < this.#current.start) return false;
    this.#current.used = position - this.#current.start;
    return true;
  }

  /** Hands out the last part. */
  end(): void {
    if (this.#current.used > 0) this.#handOut(this.#current);
  }

  #handOut(part: OpenPart): void {
    const bytes = part.buffer.subarray(0, part.used);
    this.records[part.number] = { bytes: part.used, sha256: createHash("sha256").update(bytes).digest("hex") };
    this.#onPart(part.number, bytes);
  }
}
