import { isUtf8 } from "node:buffer";
import { formatSize } from "../../base/size.ts";
import { escapeControl } from "../../config/problem.ts";

/** Each line of a run's log costs a write to disk, and a hook may print without end: its beginning and its end are kept. */
const HEAD_BYTES = 16 * 1024;
const HEAD_LINES = 100;
const TAIL_BYTES = 8 * 1024;
const TAIL_LINES = 50;
/** A longer line is several. */
const LINE_BYTES = 1000;

const NEWLINE = 0x0a;
const RETURN = 0x0d;

/**
 * Turns what a program prints into lines for a log: the first ones as they come, then, at the end, how much is left out and the last ones.
 * Holds at most some 100 KiB, whatever is printed. Empty lines are left out; control characters and bytes that are not UTF-8 are escaped.
 */
export class BoundedLines {
  readonly #emit: (text: string) => void;
  #line: Buffer = Buffer.alloc(0);
  #headBytes = 0;
  #headLines = 0;
  readonly #tail: Buffer[] = [];
  #tailBytes = 0;
  #droppedBytes = 0;

  constructor(emit: (text: string) => void) {
    this.#emit = emit;
  }

  add(chunk: Uint8Array): void {
    let rest = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    while (rest.length > 0 && this.#headBytes < HEAD_BYTES && this.#headLines < HEAD_LINES) {
      const newline = rest.subarray(0, LINE_BYTES - this.#line.length).indexOf(NEWLINE);
      if (newline >= 0) {
        this.#say(Buffer.concat([this.#line, rest.subarray(0, newline)]));
        this.#line = Buffer.alloc(0);
        rest = rest.subarray(newline + 1);
        continue;
      }
      const taken = Math.min(rest.length, LINE_BYTES - this.#line.length);
      this.#line = Buffer.concat([this.#line, rest.subarray(0, taken)]);
      rest = rest.subarray(taken);
      if (this.#line.length < LINE_BYTES) continue;
      const at = wholeLength(this.#line);
      this.#say(this.#line.subarray(0, at));
      this.#line = this.#line.subarray(at);
    }
    if (rest.length > 0) this.#keep(rest);
  }

  /** Nothing more comes. */
  end(): void {
    const tail = Buffer.concat([this.#line, ...this.#tail]);
    const kept = tail.subarray(-TAIL_BYTES);
    const lines = wrapped(kept);
    // The first line lacks its beginning when something before it was dropped.
    const isCut = this.#droppedBytes > 0 || kept.length < tail.length;
    const shown = (isCut && lines.length > 1 ? lines.slice(1) : lines).slice(-TAIL_LINES);
    const shownBytes = shown.reduce((sum, { length }) => sum + length + 1, 0);
    const leftOut = this.#droppedBytes + tail.length - shownBytes;
    if (isCut || shown.length < lines.length) this.#emit(`… ${formatSize(Math.max(0, leftOut))} left out …`);
    for (const line of shown) this.#say(line);
    this.#line = Buffer.alloc(0);
    this.#tail.length = 0;
    this.#tailBytes = 0;
    this.#droppedBytes = 0;
  }

  #say(line: Buffer): void {
    this.#headLines++;
    this.#headBytes += line.length + 1;
    const text = lineText(line);
    if (text !== "") this.#emit(text);
  }

  #keep(chunk: Buffer): void {
    this.#tail.push(chunk);
    this.#tailBytes += chunk.length;
    while (this.#tailBytes - (this.#tail[0] as Buffer).length >= TAIL_BYTES) {
      const { length } = this.#tail.shift() as Buffer;
      this.#tailBytes -= length;
      this.#droppedBytes += length;
    }
  }
}

function wrapped(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  for (let start = 0; start < bytes.length;) {
    const newline = bytes.subarray(start, start + LINE_BYTES).indexOf(NEWLINE);
    const end = newline >= 0 ? start + newline : Math.min(bytes.length, start + LINE_BYTES);
    const at = newline >= 0 || end === bytes.length ? end : start + wholeLength(bytes.subarray(start, end));
    lines.push(bytes.subarray(start, at));
    start = newline >= 0 ? at + 1 : at;
  }
  return lines;
}

/** The length of `bytes` without a last character that is not whole. */
function wholeLength(bytes: Buffer): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back] as number;
    if ((byte & 0xc0) === 0x80) continue;
    const needs = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return needs > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

/** A line for people: bytes that are not UTF-8 and control characters as `\xNN`. */
export function lineText(line: Uint8Array): string {
  const bytes = Buffer.from(line.buffer, line.byteOffset, line.byteLength);
  const trimmed = bytes.at(-1) === RETURN ? bytes.subarray(0, -1) : bytes;
  if (isUtf8(trimmed)) return escapeControl(trimmed.toString("utf8"));
  return Array.from(trimmed, (byte) =>
    byte < 0x80 ? escapeControl(String.fromCharCode(byte)) : `\\x${byte.toString(16).padStart(2, "0")}`,
  ).join("");
}
