/** Inputs that never change: everything golden is made of these, so that a reader of any language can make them again. */
import { createHash } from "node:crypto";
import type { Randomness } from "../../src/base/random.ts";
import type { KeyMaterial } from "../../src/formats/repository/keys/key-set.ts";

/** The first `length` bytes of SHA-256("`seed`/0") ‖ SHA-256("`seed`/1") ‖ …; the text in ASCII, the number in decimal. */
export function counterStream(seed: string, length: number): Buffer {
  const bytes = Buffer.alloc(Math.ceil(length / 32) * 32);
  for (let i = 0; i * 32 < length; i++)
    createHash("sha256")
      .update(`${seed}/${i}`)
      .digest()
      .copy(bytes, i * 32);
  return bytes.subarray(0, length);
}

/** `length` bytes of `text` (UTF-8) again and again. */
export function repeated(text: string, length: number): Buffer {
  return Buffer.alloc(length, text);
}

/** Hands out the counter stream of a seed, piece after piece. */
export class FixedRandom implements Randomness {
  readonly #seed: string;
  #calls = 0;

  constructor(seed: string) {
    this.#seed = seed;
  }

  bytes(length: number): Uint8Array {
    return counterStream(`${this.#seed}/call ${this.#calls++}`, length);
  }
}

/** 32 bytes, or as many as wanted, of a key with a name. */
export function fixedKey(name: string, length = 32): Buffer {
  return counterStream(`golden key/${name}`, length);
}

/** The keys of all vectors: two epochs, epoch 2 the newest. */
export const FIXED_KEYS: KeyMaterial = {
  repositoryId: fixedKey("repository id", 16),
  root: fixedKey("root"),
  epochs: [
    { epoch: 1, master: fixedKey("master 1") },
    { epoch: 2, master: fixedKey("master 2") },
  ],
  lineageSecret: fixedKey("lineage"),
};

export const PASSWORD = "correct horse battery staple";
/** 64 hex digits, as a key file holds them. */
export const KEY_FILE: string = fixedKey("key file").toString("hex");

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
