import * as crypto from "node:crypto";
import { promisify } from "node:util";
import { HoldfastError } from "../../../base/errors.ts";
import type { Secret } from "../../../base/secret.ts";
import type { JsonMembers } from "../objects/json-object.ts";

/** How a secret becomes the key of a slot. */
export type KdfParameters =
  | { readonly function: "argon2id"; readonly memoryKiB: number; readonly passes: number; readonly parallelism: number }
  | { readonly function: "scrypt"; readonly logN: number; readonly r: number; readonly p: number }
  | { readonly function: "pbkdf2"; readonly hash: "sha512"; readonly iterations: number }
  | { readonly function: "keyfile" };

export type SecretKind = "password" | "keyfile";

export const DEFAULT_PASSWORD_KDF: KdfParameters = { function: "argon2id", memoryKiB: 65_536, passes: 3, parallelism: 4 };
export const KEYFILE_KDF: KdfParameters = { function: "keyfile" };

const OUTPUT_BYTES = 64;
const GIB = 2 ** 30;
const MAX_ITERATIONS = 10_000_000;

const argon2 = promisify(crypto.argon2);
const scrypt = promisify(crypto.scrypt) as (
  password: Uint8Array,
  salt: Uint8Array,
  length: number,
  options: crypto.ScryptOptions,
) => Promise<Buffer>;
const pbkdf2 = promisify(crypto.pbkdf2);
const hkdf = promisify(crypto.hkdf);

/**
 * The 64 bytes a secret gives under `kdf` and `salt`: key-encryption key, then commitment. A password is its bytes without
 * one final newline; a key file is hex text of 32 bytes. Bounds are checked before anything is allocated. Throws `key_wrong`
 * for a secret that cannot be one, `object_malformed` for parameters out of bounds.
 */
export async function deriveSlotKey(secret: Secret, kdf: KdfParameters, salt: Uint8Array): Promise<Buffer> {
  checkKdf(kdf);
  switch (kdf.function) {
    case "argon2id":
      return argon2("argon2id", {
        message: passwordBytes(secret),
        nonce: salt,
        parallelism: kdf.parallelism,
        tagLength: OUTPUT_BYTES,
        memory: kdf.memoryKiB,
        passes: kdf.passes,
      });
    case "scrypt": {
      const N = 2 ** kdf.logN;
      // OpenSSL counts a little more than 128·N·r; the exact bound was checked above.
      const maxmem = 128 * kdf.r * (N + kdf.p + 2) + 2 ** 20;
      return scrypt(passwordBytes(secret), salt, OUTPUT_BYTES, { N, r: kdf.r, p: kdf.p, maxmem });
    }
    case "pbkdf2":
      return pbkdf2(passwordBytes(secret), salt, kdf.iterations, OUTPUT_BYTES, kdf.hash);
    case "keyfile":
      return Buffer.from(await hkdf("sha256", keyFileBytes(secret), salt, "holdfast/v1/slot", OUTPUT_BYTES));
  }
}

/** The text that a slot's associated data binds. */
export function kdfText(kdf: KdfParameters): string {
  switch (kdf.function) {
    case "argon2id":
      return `argon2id,${kdf.memoryKiB},${kdf.passes},${kdf.parallelism}`;
    case "scrypt":
      return `scrypt,${kdf.logN},${kdf.r},${kdf.p}`;
    case "pbkdf2":
      return `pbkdf2,${kdf.hash},${kdf.iterations}`;
    case "keyfile":
      return "keyfile";
  }
}

/** True when a secret of this kind can open a slot with this KDF. */
export function kdfTakes(kdf: KdfParameters, kind: SecretKind): boolean {
  return (kdf.function === "keyfile") === (kind === "keyfile");
}

/** Reads KDF parameters of unknown origin. Throws `object_malformed` for unknown functions and values out of bounds. */
export function decodeKdf(members: JsonMembers): KdfParameters {
  const kdf = readKdf(members);
  checkKdf(kdf);
  return kdf;
}

function readKdf(members: JsonMembers): KdfParameters {
  const name = members.oneOf("function", ["argon2id", "scrypt", "pbkdf2", "keyfile"]);
  switch (name) {
    case "argon2id":
      return {
        function: name,
        memoryKiB: members.integer("memoryKiB", 1),
        passes: members.integer("passes", 1),
        parallelism: members.integer("parallelism", 1),
      };
    case "scrypt":
      return { function: name, logN: members.integer("logN", 1), r: members.integer("r", 1), p: members.integer("p", 1) };
    case "pbkdf2":
      return { function: name, hash: members.oneOf("hash", ["sha512"]), iterations: members.integer("iterations", 1) };
    case "keyfile":
      return { function: name };
  }
}

function checkKdf(kdf: KdfParameters): void {
  if (!isWithinBounds(kdf))
    throw new HoldfastError("object_malformed", `Key derivation parameters are out of bounds: ${kdfText(kdf)}`, {
      hint: "Nobody makes such a key slot in good faith: it would exhaust this machine. Delete it or restore the target.",
    });
}

function isWithinBounds(kdf: KdfParameters): boolean {
  switch (kdf.function) {
    case "argon2id":
      return (
        inRange(kdf.parallelism, 1, 16) && inRange(kdf.passes, 1, 16) && inRange(kdf.memoryKiB, 8 * kdf.parallelism, GIB / 1024)
      );
    case "scrypt":
      return inRange(kdf.logN, 1, 30) && inRange(kdf.r, 1, GIB) && inRange(kdf.p, 1, 16) && 128 * 2 ** kdf.logN * kdf.r <= GIB;
    case "pbkdf2":
      return inRange(kdf.iterations, 1, MAX_ITERATIONS);
    case "keyfile":
      return true;
  }
}

function inRange(value: number, min: number, max: number): boolean {
  return Number.isInteger(value) && value >= min && value <= max;
}

function passwordBytes(secret: Secret): Buffer {
  const bytes = secret.reveal();
  let end = bytes.length;
  if (bytes[end - 1] === 0x0a) end -= bytes[end - 2] === 0x0d ? 2 : 1;
  if (end === 0)
    throw new HoldfastError("key_wrong", "The password is empty", { hint: "Check the secret that the configuration names." });
  return bytes.subarray(0, end);
}

function keyFileBytes(secret: Secret): Buffer {
  const text = secret.reveal().toString("latin1").trim();
  if (!/^[0-9a-fA-F]{64}$/.test(text))
    throw new HoldfastError("key_wrong", "The key file does not hold 64 hex digits", {
      hint: "A key file is made by `holdfast key add --key-file FILE`; check that the configuration names the right file.",
    });
  return Buffer.from(text, "hex");
}
