/** Damaged versions of valid encodings: what a disk, a cut transfer or an intruder makes of them. */
import type { SeededNumbers } from "../changing-tree.ts";

const BYTES = [0x00, 0x01, 0x20, 0x7f, 0x80, 0xff];
/** Lengths and counts beyond every bound, and numbers that are not in their shortest form. */
const VARINTS = [
  "ffffffffffffff0f",
  "ffffffff0f",
  "8080808010",
  "ffffffffffffffffff01",
  "ffffffffffffffffffff01",
  "80808080808080808000",
  "8100",
  "ffff7f",
  "00",
].map((hex) => Buffer.from(hex, "hex"));
const TOKENS = [
  "null",
  "true",
  "-1",
  "1e308",
  "1e999",
  "9007199254740993",
  "0.5",
  "[]",
  "{}",
  '""',
  '"\\u0000"',
  '"__proto__"',
  '{"__proto__":{"x":1}}',
  "[[[[[[[[",
  '{"a":{"a":{"a":',
  ",",
  ":",
  '"',
  "}",
  "]",
  "\\ud800",
  "\ufeff",
  "\u0000",
  "${A}",
  "${A:-${B}}",
  "&a",
  "*a",
  "<<",
  "!!binary",
  "- ",
  "\n",
  "  ",
  "\t",
  "*/0",
  "-0",
  "L",
  "99999999999999999999",
  "d",
  "%",
  "\\x00",
  "..",
];

/** A small number more often than a large one. */
function few(numbers: SeededNumbers, limit: number): number {
  return 1 + numbers.below(1 + numbers.below(limit));
}

function place(numbers: SeededNumbers, bytes: Uint8Array): number {
  return numbers.below(bytes.length + 1);
}

function splice(bytes: Buffer, at: number, remove: number, insert: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(Math.min(bytes.length, at + remove))]);
}

function random(numbers: SeededNumbers, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) bytes[i] = numbers.below(256);
  return bytes;
}

type Mutator = (numbers: SeededNumbers, bytes: Buffer, other: Buffer) => Buffer;

const flip: Mutator = (numbers, bytes) => {
  if (bytes.length === 0) return bytes;
  const copy = Buffer.from(bytes);
  for (let left = few(numbers, 4); left > 0; left--) {
    const at = numbers.below(copy.length);
    copy[at] = (copy[at] as number) ^ (1 << numbers.below(8));
  }
  return copy;
};

const MUTATORS: readonly Mutator[] = [
  flip,
  flip,
  (numbers, bytes) => splice(bytes, place(numbers, bytes), 1, Buffer.of(numbers.pick(BYTES))),
  (numbers, bytes) => bytes.subarray(0, numbers.pick([0, 1, 27, Math.max(0, bytes.length - 1), numbers.below(bytes.length + 1)])),
  // A number replaced by one that is too large or too long, or put in front of what was there.
  (numbers, bytes) => splice(bytes, place(numbers, bytes), numbers.below(3), numbers.pick(VARINTS)),
  (numbers, bytes) =>
    splice(bytes, place(numbers, bytes), 4, Buffer.from(numbers.pick(["ffffffff", "00000080", "ffffff7f"]), "hex")),
  (numbers, bytes) => splice(bytes, place(numbers, bytes), numbers.below(8), random(numbers, few(numbers, 16))),
  // A part left out, doubled, or exchanged with the one after it.
  (numbers, bytes) => splice(bytes, place(numbers, bytes), few(numbers, 40), Buffer.alloc(0)),
  (numbers, bytes) => {
    const at = place(numbers, bytes);
    return splice(bytes, at, 0, bytes.subarray(at, at + few(numbers, 80)));
  },
  (numbers, bytes) => {
    const at = place(numbers, bytes);
    const [first, second] = [few(numbers, 40), few(numbers, 40)];
    const [a, b] = [bytes.subarray(at, at + first), bytes.subarray(at + first, at + first + second)];
    return splice(bytes, at, first + second, Buffer.concat([b, a]));
  },
  // The beginning of one and the end of another.
  (numbers, bytes, other) => Buffer.concat([bytes.subarray(0, place(numbers, bytes)), other.subarray(place(numbers, other))]),
  (numbers, bytes) => splice(bytes, place(numbers, bytes), numbers.below(6), Buffer.from(numbers.pick(TOKENS))),
  // A word or number of a text, whole.
  (numbers, bytes) => {
    const from = place(numbers, bytes);
    const word = /[\w.+-]+/.exec(bytes.toString("latin1", from, from + 200));
    if (word === null) return bytes;
    return splice(bytes, from + word.index, word[0].length, Buffer.from(numbers.pick(TOKENS)));
  },
];

/** One case: mostly a valid encoding with a few mutations, sometimes bytes out of nothing. Depends on `numbers` alone. */
export function mutate(numbers: SeededNumbers, corpus: readonly Buffer[]): Buffer {
  if (numbers.below(20) === 0) return random(numbers, numbers.below(200));
  let bytes = numbers.pick(corpus);
  for (let left = few(numbers, 3); left > 0; left--) bytes = numbers.pick(MUTATORS)(numbers, bytes, numbers.pick(corpus));
  return bytes;
}
