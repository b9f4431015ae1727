import { HoldfastError } from "../base/errors.ts";

const MAX_U64 = (1n << 64n) - 1n;

/**
 * A growing buffer of little-endian fields as `docs/format.md` names them. One writer may be used for many
 * records: `finish` copies out, `view` lends, `reset` starts again in the same memory.
 * Values out of range are a programmer fault and throw RangeError.
 */
export class ByteWriter {
  #bytes: Buffer;
  #data: DataView;
  #length = 0;

  constructor(capacityBytes = 4096) {
    this.#bytes = Buffer.allocUnsafeSlow(Math.max(64, capacityBytes));
    this.#data = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): this {
    checkRange(value, 0xff);
    this.#room(1);
    this.#bytes[this.#length++] = value;
    return this;
  }

  u16(value: number): this {
    checkRange(value, 0xffff);
    this.#room(2);
    this.#data.setUint16(this.#length, value, true);
    this.#length += 2;
    return this;
  }

  u32(value: number): this {
    checkRange(value, 0xffff_ffff);
    this.#room(4);
    this.#data.setUint32(this.#length, value, true);
    this.#length += 4;
    return this;
  }

  u64(value: number | bigint): this {
    const wide = BigInt(value);
    if (wide < 0n || wide > MAX_U64) throw new RangeError(`${wide} is not a u64`);
    this.#room(8);
    this.#data.setBigUint64(this.#length, wide, true);
    this.#length += 8;
    return this;
  }

  i64(value: bigint): this {
    if (BigInt.asIntN(64, value) !== value) throw new RangeError(`${value} is not an i64`);
    this.#room(8);
    this.#data.setBigInt64(this.#length, value, true);
    this.#length += 8;
    return this;
  }

  varint(value: number | bigint): this {
    if (typeof value === "bigint") {
      if (value < 0n || value > MAX_U64) throw new RangeError(`${value} is not a u64`);
      if (value > 9_007_199_254_740_991n) return this.#wideVarint(value);
      value = Number(value);
    }
    checkRange(value, Number.MAX_SAFE_INTEGER);
    this.#room(8);
    const bytes = this.#bytes;
    let at = this.#length;
    // Bit operations see 32 bits, so large values are first brought below 2^31 by division.
    while (value > 0x7fff_ffff) {
      bytes[at++] = (value % 128) | 0x80;
      value = Math.floor(value / 128);
    }
    while (value > 0x7f) {
      bytes[at++] = (value & 0x7f) | 0x80;
      value >>>= 7;
    }
    bytes[at++] = value;
    this.#length = at;
    return this;
  }

  /** Length-prefixed bytes. */
  bytes(value: Uint8Array): this {
    return this.varint(value.length).raw(value);
  }

  /** Length-prefixed UTF-8. */
  text(value: string): this {
    const length = value.length;
    if (length < 0x80) {
      // Owner names are short ASCII nearly always: cheaper byte by byte than through an encoder.
      this.#room(length + 1);
      const bytes = this.#bytes;
      const start = this.#length;
      let i = 0;
      for (; i < length; i++) {
        const code = value.charCodeAt(i);
        if (code > 0x7f) break;
        bytes[start + 1 + i] = code;
      }
      if (i === length) {
        bytes[start] = length;
        this.#length = start + 1 + length;
        return this;
      }
    }
    return this.bytes(Buffer.from(value, "utf8"));
  }

  /** Bytes as they are, without a length. */
  raw(value: Uint8Array): this {
    this.#room(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
    return this;
  }

  /** A copy of what was written. */
  finish(): Buffer {
    return Buffer.from(this.view());
  }

  /** What was written, in the writer's own memory: valid until the next write or `reset`. */
  view(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Forgets what was written and keeps the memory. */
  reset(): this {
    this.#length = 0;
    return this;
  }

  #wideVarint(value: bigint): this {
    this.#room(10);
    while (value > 0x7fn) {
      this.#bytes[this.#length++] = Number(value & 0x7fn) | 0x80;
      value >>= 7n;
    }
    this.#bytes[this.#length++] = Number(value);
    return this;
  }

  #room(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
    this.#data = new DataView(grown.buffer);
  }
}

function checkRange(value: number, max: number): void {
  if (!Number.isInteger(value) || value < 0 || value > max) throw new RangeError(`${value} is not an integer from 0 to ${max}`);
}

/**
 * Reads what ByteWriter wrote, from bytes nobody vouches for. Every call checks that enough bytes remain;
 * anything wrong throws `object_malformed` naming `subject` and the offset. Returned buffers are views.
 */
export class ByteReader {
  readonly #bytes: Buffer;
  readonly #data: DataView;
  readonly #subject: string;
  readonly #texts: { readonly start: number; readonly length: number; readonly text: string }[] = [];
  #nextText = 0;
  #at = 0;

  constructor(bytes: Uint8Array, subject = "The record") {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#subject = subject;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  /** Offset of the next byte. */
  get position(): number {
    return this.#at;
  }

  u8(): number {
    return this.#bytes[this.#take(1)] as number;
  }

  u16(): number {
    return this.#data.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#data.getUint32(this.#take(4), true);
  }

  u64(): bigint {
    return this.#data.getBigUint64(this.#take(8), true);
  }

  i64(): bigint {
    return this.#data.getBigInt64(this.#take(8), true);
  }

  /** A varint up to `max`, by default 2^53 - 1. */
  varint(max = Number.MAX_SAFE_INTEGER): number {
    const first = this.u8();
    let value = first;
    if (first > 0x7f) {
      value = first & 0x7f;
      let scale = 128;
      for (let count = 2; ; count++) {
        const byte = this.u8();
        value += (byte & 0x7f) * scale;
        if (byte < 0x80) {
          if (byte === 0) throw this.malformed("a number is not in its shortest form");
          break;
        }
        scale *= 128;
        if (count === 10) throw this.malformed("a number has more than 10 bytes");
      }
    }
    if (value > max) throw this.malformed(`a number exceeds ${max}`);
    return value;
  }

  /** A varint up to 2^64 - 1. */
  varintBig(): bigint {
    // Nearly all values fit 49 bits, where plain numbers do: arithmetic on bigints costs an allocation a step.
    const start = this.#at;
    let small = 0;
    let scale = 1;
    for (let at = start; at < start + 7 && at < this.#bytes.length; at++) {
      const byte = this.#bytes[at];
      small += (byte & 0x7f) * scale;
      scale *= 128;
      if (byte > 0x7f) continue;
      if (byte === 0 && at > start) break;
      this.#at = at + 1;
      return BigInt(small);
    }
    let value = 0n;
    for (let count = 0; count < 10; count++) {
      const byte = this.u8();
      value |= BigInt(byte & 0x7f) << BigInt(7 * count);
      if (byte < 0x80) {
        if (byte === 0 && count > 0) throw this.malformed("a number is not in its shortest form");
        if (value > MAX_U64) throw this.malformed("a number exceeds 2^64 - 1");
        return value;
      }
    }
    throw this.malformed("a number has more than 10 bytes");
  }

  /** How many items of at least `itemBytes` bytes follow: bounded by `max` and by what remains, so that it is safe to allocate. */
  count(itemBytes: number, max: number): number {
    const count = this.varint();
    if (count > max) throw this.malformed(`${count} items exceed the bound of ${max}`);
    if (count * itemBytes > this.remaining) throw this.malformed(`${count} items cannot fit in the ${this.remaining} bytes left`);
    return count;
  }

  /** Length-prefixed bytes of at most `maxLength`. */
  bytes(maxLength: number): Buffer {
    const length = this.varint();
    if (length > maxLength) throw this.malformed(`a field of ${length} bytes exceeds the bound of ${maxLength}`);
    return this.raw(length);
  }

  /** Length-prefixed UTF-8 of at most `maxLength` bytes. */
  text(maxLength: number): string {
    const length = this.varint();
    if (length === 0) return "";
    if (length > maxLength) throw this.malformed(`a field of ${length} bytes exceeds the bound of ${maxLength}`);
    const start = this.#take(length);
    // Owner names repeat from entry to entry; finding one again is cheaper than decoding it.
    for (const known of this.#texts)
      if (known.length === length && this.#sameBytes(known.start, start, length)) return known.text;
    const text = this.#bytes.toString("utf8", start, start + length);
    this.#texts[this.#nextText++ & 3] = { start, length, text };
    return text;
  }

  /** The next `length` bytes. */
  raw(length: number): Buffer {
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** Steps over `length` bytes. */
  skip(length: number): void {
    this.#take(length);
  }

  /** Asserts that nothing is left. */
  done(): void {
    if (this.remaining !== 0) throw this.malformed(`${this.remaining} bytes follow its end`);
  }

  /** The error for something wrong at the present place; the caller throws it. */
  malformed(what: string): HoldfastError {
    return new HoldfastError("object_malformed", `${this.#subject} is malformed: ${what} (at byte ${this.#at})`);
  }

  #sameBytes(a: number, b: number, length: number): boolean {
    const bytes = this.#bytes;
    for (let i = 0; i < length; i++) if (bytes[a + i] !== bytes[b + i]) return false;
    return true;
  }

  #take(count: number): number {
    const start = this.#at;
    if (count > this.#bytes.length - start) throw this.malformed(`it ends ${count - (this.#bytes.length - start)} bytes early`);
    this.#at = start + count;
    return start;
  }
}
