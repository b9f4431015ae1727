import * as crypto from "node:crypto";
import { HoldfastError } from "../../../../src/base/errors.ts";
import type { Randomness } from "../../../../src/base/random.ts";
import type { KeyMaterial } from "../../../../src/formats/repository/keys/key-set.ts";

/** Bytes that are the same every time, and look like noise. */
export function expand(seed: string, length: number): Buffer {
  const key = crypto.createHash("sha256").update(seed).digest();
  return crypto.createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

/** Randomness for vectors: each call gives the next bytes of a fixed stream. */
export function fixedRandom(seed = "random"): Randomness {
  let calls = 0;
  return { bytes: (length) => expand(`${seed}/${calls++}`, length) };
}

export const MATERIAL: KeyMaterial = {
  repositoryId: Buffer.from("000102030405060708090a0b0c0d0e0f", "hex"),
  root: Buffer.alloc(32, 0x11),
  epochs: [
    { epoch: 1, master: Buffer.alloc(32, 0x22) },
    { epoch: 2, master: Buffer.alloc(32, 0x33) },
  ],
  lineageSecret: Buffer.alloc(32, 0x44),
};

/** The code of what `run` throws, for one-line expectations. */
export function code(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof HoldfastError ? error.code : String(error);
  }
  return "no error";
}

/** The same for what rejects. */
export async function asyncCode(run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
  } catch (error) {
    return error instanceof HoldfastError ? error.code : String(error);
  }
  return "no error";
}

export function sha256(bytes: Uint8Array): string {
  return crypto.createHash("sha256").update(bytes).digest("hex");
}
