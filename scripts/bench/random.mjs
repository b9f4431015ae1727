// Seeded randomness and text for the corpora: the same seed gives the same bytes on every machine.
import { createCipheriv, createHash } from "node:crypto";

/** A small fast generator (sfc32), seeded by any text. */
export function createRandom(seed) {
  const digest = createHash("sha256").update(seed).digest();
  let [a, b, c, counter] = [0, 4, 8, 12].map((at) => digest.readUInt32LE(at));
  const next = () => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return sum >>> 0;
  };
  /** 0 ≤ x < 1. */
  const unit = () => next() / 2 ** 32;
  const below = (limit) => Math.floor(unit() * limit);
  return { next, unit, below, pick: (list) => list[below(list.length)] };
}

/** Bytes that do not compress; `next(n)` goes on where the last call stopped. */
export function createNoise(seed) {
  const cipher = createCipheriv("aes-128-ctr", createHash("sha256").update(seed).digest().subarray(0, 16), Buffer.alloc(16));
  return (bytes) => cipher.update(Buffer.alloc(bytes));
}

const VOCABULARY = 4096;
const words = (() => {
  const random = createRandom("vocabulary");
  const list = [];
  for (let i = 0; i < VOCABULARY; i++) {
    let word = "";
    for (let left = 2 + random.below(9); left > 0; left--)
      word += "etaoinshrdlucmfwypvbgkqjxz"[Math.floor(26 * random.unit() ** 2)];
    list.push(`${word}${i % 16 === 0 ? "\n" : " "}`);
  }
  const starts = [0];
  for (const word of list) starts.push(starts.at(-1) + word.length);
  return { bytes: Buffer.from(list.join("")), starts };
})();

/** Words with the unequal frequencies of a language: compresses to about a third, and holds no long repetition. */
export function createText(seed) {
  const random = createRandom(seed);
  const { bytes, starts } = words;
  return (length) => {
    const text = Buffer.allocUnsafe(length);
    for (let at = 0; at < length;) {
      const word = Math.floor(VOCABULARY * random.unit() ** 3);
      at += bytes.copy(text, at, starts[word], starts[word + 1]);
    }
    return text;
  };
}
