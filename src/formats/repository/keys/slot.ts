import * as crypto from "node:crypto";
import { strict as assert } from "node:assert";
import { HoldfastError } from "../../../base/errors.ts";
import type { Secret } from "../../../base/secret.ts";
import { ByteWriter } from "../../../codec/binary.ts";
import { decodeJson, encodeJson } from "../objects/json-object.ts";
import { decodeKdf, deriveSlotKey, kdfTakes, kdfText } from "./kdf.ts";
import type { KdfParameters, SecretKind } from "./kdf.ts";

export { DEFAULT_PASSWORD_KDF, KEYFILE_KDF } from "./kdf.ts";
export type { KdfParameters, SecretKind } from "./kdf.ts";

export const SLOT_BYTES = 4096;
export const MAX_SLOTS = 64;
export const SLOT_SALT_BYTES = 32;
export const SLOT_NONCE_BYTES = 12;
const MIN_SALT_BYTES = 16;
const MAX_SALT_BYTES = 64;
const MAX_LABEL_LENGTH = 256;
const KEY_BYTES = 32;
const TAG_BYTES = 16;

/** How a new slot derives its key, and how long its salt is; the length is seen in the salt, not kept beside it. */
export type SlotDerivation = KdfParameters & { readonly saltBytes?: number };

/** The part of a derivation that a slot keeps. */
export function kdfParameters(derivation: SlotDerivation): KdfParameters {
  const { saltBytes: _, ...kdf } = derivation;
  return kdf;
}

/** Bytes of the salt of a new slot. */
export function saltBytes(derivation: SlotDerivation): number {
  return derivation.saltBytes ?? SLOT_SALT_BYTES;
}

/** A key slot as it lies on the target: nothing in it is secret. */
export interface Slot {
  /** 32 hex digits, and the last part of its name; the caller compares the two. */
  readonly id: string;
  readonly label: string;
  readonly created: string;
  readonly kdf: KdfParameters;
  readonly salt: Buffer;
  readonly commitment: Buffer;
  readonly nonce: Buffer;
  /** Encrypted root key and tag. */
  readonly wrapped: Buffer;
}

export interface CreateSlotOptions {
  /** 32 hex digits, random. */
  readonly id: string;
  /** 32 random bytes (16 to 64 are allowed). */
  readonly salt: Uint8Array;
  /** 12 random bytes. */
  readonly nonce: Uint8Array;
  /** For people; at most 256 characters. */
  readonly label: string;
  /** ISO 8601 in UTC with milliseconds. */
  readonly created: string;
  /** 16 bytes. */
  readonly repositoryId: Uint8Array;
}

/**
 * Wraps a root key under a secret: the 4,096 bytes to put at `keys/<id>`. Takes as long and as much memory as `kdf` asks for,
 * off the main thread. Rejects with `key_wrong` for an empty password or a key file that is none, `object_malformed` for
 * parameters out of bounds.
 */
export async function createSlot(
  rootKey: Uint8Array,
  secret: Secret,
  kdf: KdfParameters,
  options: CreateSlotOptions,
): Promise<Buffer> {
  assert(rootKey.length === KEY_BYTES, "a root key has 32 bytes");
  assert(options.salt.length >= MIN_SALT_BYTES && options.salt.length <= MAX_SALT_BYTES, "a salt has 16 to 64 bytes");
  assert(options.nonce.length === SLOT_NONCE_BYTES, "a nonce has 12 bytes");
  assert(options.label.length <= MAX_LABEL_LENGTH, "a label has at most 256 characters");
  const out = await deriveSlotKey(secret, kdf, options.salt);
  const cipher = crypto.createCipheriv("aes-256-gcm", out.subarray(0, KEY_BYTES), options.nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(associatedData(options.repositoryId, { ...options, kdf }));
  const encrypted = cipher.update(rootKey);
  cipher.final();
  const json = encodeJson({
    version: 1,
    id: options.id,
    label: options.label,
    created: options.created,
    kdf,
    salt: base64(options.salt),
    commitment: base64(out.subarray(KEY_BYTES)),
    nonce: base64(options.nonce),
    wrapped: base64(Buffer.concat([encrypted, cipher.getAuthTag()])),
  });
  assert(json.length <= SLOT_BYTES, "a slot fits 4,096 bytes");
  return Buffer.concat([json, Buffer.alloc(SLOT_BYTES - json.length, " ")]);
}

/** Reads a slot. Throws `object_malformed` for anything that is none, parameters out of bounds included. */
export function parseSlot(bytes: Uint8Array): Slot {
  const subject = "The key slot";
  if (bytes.length !== SLOT_BYTES)
    throw new HoldfastError("object_malformed", `${subject} is malformed: it has ${bytes.length} bytes instead of ${SLOT_BYTES}`);
  // The parser allows other white space after the value; a slot has spaces alone.
  const end = bytes.findLastIndex((byte) => byte !== 0x20) + 1;
  const members = decodeJson(bytes.subarray(0, end), subject);
  if (bytes[0] !== 0x7b || bytes[end - 1] !== 0x7d) throw members.malformed("something other than spaces surrounds its JSON");
  members.integer("version", 1, 1);
  return {
    id: members.hex("id", 16),
    label: members.text("label"),
    created: members.time("created"),
    kdf: decodeKdf(members.object("kdf")),
    salt: members.base64("salt", MIN_SALT_BYTES, MAX_SALT_BYTES),
    commitment: members.base64("commitment", KEY_BYTES, KEY_BYTES),
    nonce: members.base64("nonce", SLOT_NONCE_BYTES, SLOT_NONCE_BYTES),
    wrapped: members.base64("wrapped", KEY_BYTES + TAG_BYTES, KEY_BYTES + TAG_BYTES),
  };
}

/**
 * The root key, or undefined when this secret does not fit the slot. Rejects with `object_malformed` for bytes that are no
 * slot, `object_damaged` when the secret fits but the wrapped key does not authenticate (damage, or a slot of another
 * repository), and `key_wrong` for an empty password or a key file that is none.
 */
export async function openSlot(
  bytes: Uint8Array,
  secret: Secret,
  kindOfSecret: SecretKind,
  repositoryId: Uint8Array,
): Promise<Buffer | undefined> {
  const slot = parseSlot(bytes);
  if (!kdfTakes(slot.kdf, kindOfSecret)) return undefined;
  const out = await deriveSlotKey(secret, slot.kdf, slot.salt);
  // GCM does not commit to its key: without this check, one wrapped key could be made to open under two passwords.
  if (!crypto.timingSafeEqual(out.subarray(KEY_BYTES), slot.commitment)) return undefined;
  const decipher = crypto.createDecipheriv("aes-256-gcm", out.subarray(0, KEY_BYTES), slot.nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(associatedData(repositoryId, slot));
  decipher.setAuthTag(slot.wrapped.subarray(KEY_BYTES));
  const root = decipher.update(slot.wrapped.subarray(0, KEY_BYTES));
  try {
    decipher.final();
  } catch (cause) {
    throw new HoldfastError("object_damaged", `Key slot ${slot.id} fits the secret, but its wrapped key does not authenticate`, {
      hint: "The slot is damaged or belongs to another repository. Use another slot, or the copy in the recovery kit.",
      cause,
    });
  }
  return root;
}

function associatedData(
  repositoryId: Uint8Array,
  slot: Pick<Slot, "id" | "label" | "created" | "kdf"> & { readonly salt: Uint8Array },
): Buffer {
  const { id, label, created, kdf, salt } = slot;
  const idBytes = Buffer.from(id, "hex");
  assert(repositoryId.length === 16 && idBytes.length === 16, "ids of repository and slot have 16 bytes");
  return new ByteWriter(256)
    .raw(Buffer.from("holdfast/v1/slot", "ascii"))
    .raw(repositoryId)
    .raw(idBytes)
    .bytes(Buffer.from(kdfText(kdf), "ascii"))
    .bytes(salt)
    .bytes(Buffer.from(label))
    .bytes(Buffer.from(created))
    .finish();
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
