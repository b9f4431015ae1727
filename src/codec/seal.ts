import * as crypto from "node:crypto";
import { strict as assert } from "node:assert";
import { freeIfLarge } from "../base/buffers.ts";
import { HoldfastError } from "../base/errors.ts";
import { ByteReader, ByteWriter } from "./binary.ts";

/** The kind byte of everything that is sealed. */
export const KIND = {
  data: 1,
  tree: 2,
  directory: 3,
  index: 4,
  snapshot: 5,
  keyring: 6,
  lease: 7,
  condemned: 8,
  note: 9,
} as const;

/** Bytes of a header before its sealed key bytes. */
export const SEAL_HEADER_BYTES = 40;
const SALT_BYTES = 32;
const TAG_BYTES = 16;
/** What sealing adds to plain bytes: salt and tag. */
export const SEAL_OVERHEAD_BYTES = SALT_BYTES + TAG_BYTES;
export const KEY_ID_BYTES = 16;
/** Raw bytes of a frame are bounded, so that a reader knows its memory. */
export const MAX_FRAME_RAW_BYTES = 16 * 1024 * 1024;
export const MAX_OBJECT_RAW_BYTES = 256 * 1024 * 1024;
export const MAX_SEALED_KEY_BYTES = 4096;

const MAGIC = { object: "HFO1", frame: "HFF1" } as const;
const AAD_PREFIX = Buffer.from("holdfast/v1", "ascii");

/** What is known of sealed bytes before they are opened; all of it is authenticated. */
export interface SealHeader {
  readonly magic: "object" | "frame";
  readonly kind: number;
  readonly codec: number;
  readonly suite: number;
  readonly epoch: number;
  /** Bytes after decompression, without padding. */
  readonly rawLength: number;
  /** 16 bytes naming the master key. */
  readonly keyId: Uint8Array;
  /** Empty in suite 0. */
  readonly sealedKey: Uint8Array;
}

export interface SealInput {
  /** Key of the kind's purpose, 32 bytes. */
  readonly purposeKey: Uint8Array;
  /** Key of the purpose `salt`, 32 bytes. */
  readonly saltKey: Uint8Array;
  /** 16 bytes. */
  readonly repositoryId: Uint8Array;
  readonly header: SealHeader;
  readonly plain: Uint8Array;
  /** 32 fresh bytes. */
  readonly random: Uint8Array;
}

export interface UnsealInput {
  readonly purposeKey: Uint8Array;
  readonly repositoryId: Uint8Array;
  readonly header: SealHeader;
  /** salt ‖ ciphertext ‖ tag. */
  readonly sealed: Uint8Array;
}

/** The 40 bytes of a header, followed by its sealed key bytes. */
export function encodeSealHeader(header: SealHeader): Buffer {
  assert(header.keyId.length === KEY_ID_BYTES, "a key id has 16 bytes");
  return new ByteWriter(SEAL_HEADER_BYTES + header.sealedKey.length)
    .raw(Buffer.from(MAGIC[header.magic], "ascii"))
    .u8(header.kind)
    .u8(header.codec)
    .u8(header.suite)
    .u8(0)
    .u32(header.epoch)
    .u64(header.rawLength)
    .raw(header.keyId)
    .u32(header.sealedKey.length)
    .raw(header.sealedKey)
    .finish();
}

/**
 * Reads a header and its sealed key bytes from the start of `bytes`; `size` is how many bytes they took. Throws
 * `object_malformed` for a wrong magic, a reserved byte that is not zero, or lengths beyond the bounds.
 */
export function decodeSealHeader(bytes: Uint8Array, subject = "The object"): { header: SealHeader; size: number } {
  const reader = new ByteReader(bytes, subject);
  const word = reader.raw(4).toString("latin1");
  if (word !== MAGIC.object && word !== MAGIC.frame) throw reader.malformed("it does not begin as one");
  const magic = word === MAGIC.object ? "object" : "frame";
  const kind = reader.u8();
  const codec = reader.u8();
  const suite = reader.u8();
  if (reader.u8() !== 0) throw reader.malformed("a reserved byte is not zero");
  const epoch = reader.u32();
  const wide = reader.u64();
  if (wide > BigInt(magic === "frame" ? MAX_FRAME_RAW_BYTES : MAX_OBJECT_RAW_BYTES))
    throw reader.malformed(`a raw length of ${wide} bytes exceeds the bound`);
  const keyId = reader.raw(KEY_ID_BYTES);
  const sealedKeyLength = reader.u32();
  if (sealedKeyLength > MAX_SEALED_KEY_BYTES)
    throw reader.malformed(`a sealed key of ${sealedKeyLength} bytes exceeds the bound`);
  const sealedKey = reader.raw(sealedKeyLength);
  return { header: { magic, kind, codec, suite, epoch, rawLength: Number(wide), keyId, sealedKey }, size: reader.position };
}

/**
 * Encrypts `plain` under a key made for it alone: salt ‖ ciphertext ‖ tag, 48 bytes more than `plain`. The salt covers
 * the content, so that repeated randomness (a cloned machine) never pairs one key with two plaintexts.
 */
export function seal(input: SealInput): Buffer {
  const { header, plain } = input;
  assert(input.random.length === 32, "sealing takes 32 random bytes");
  const salt = crypto
    .createHmac("sha256", input.saltKey)
    .update(input.random)
    .update(Buffer.of(header.kind, header.codec))
    .update(crypto.hash("sha256", plain, "buffer"))
    .digest();
  const { key, nonce } = deriveKey(input.purposeKey, salt);
  const cipher = crypto.createCipheriv("aes-256-gcm", key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(associatedData(input.repositoryId, header));
  const sealed = Buffer.allocUnsafeSlow(plain.length + SEAL_OVERHEAD_BYTES);
  sealed.set(salt, 0);
  const text = cipher.update(plain);
  sealed.set(text, SALT_BYTES);
  freeIfLarge(text);
  cipher.final();
  sealed.set(cipher.getAuthTag(), SALT_BYTES + plain.length);
  return sealed;
}

/** Decrypts what `seal` made. Throws `object_damaged` when key, header, repository or bytes do not fit; gives nothing before that is known. */
export function unseal(input: UnsealInput): Buffer {
  const { sealed } = input;
  if (sealed.length < SEAL_OVERHEAD_BYTES)
    throw new HoldfastError("object_damaged", `${sealed.length} sealed bytes are too few to hold a salt and a tag`);
  const { key, nonce } = deriveKey(input.purposeKey, sealed.subarray(0, SALT_BYTES));
  const decipher = crypto.createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(associatedData(input.repositoryId, input.header));
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  const plain = decipher.update(sealed.subarray(SALT_BYTES, sealed.length - TAG_BYTES));
  try {
    decipher.final();
  } catch (cause) {
    throw new HoldfastError("object_damaged", "Sealed bytes do not authenticate", {
      hint: "The object was altered or damaged. Run `holdfast verify` to learn what depends on it.",
      cause,
    });
  }
  return plain;
}

function deriveKey(purposeKey: Uint8Array, salt: Uint8Array): { key: Buffer; nonce: Buffer } {
  const material = crypto.createHmac("sha512", purposeKey).update(salt).digest();
  return { key: material.subarray(0, 32), nonce: material.subarray(32, 44) };
}

function associatedData(repositoryId: Uint8Array, header: SealHeader): Buffer {
  assert(repositoryId.length === 16, "a repository id has 16 bytes");
  return Buffer.concat([AAD_PREFIX, repositoryId, encodeSealHeader(header)]);
}
