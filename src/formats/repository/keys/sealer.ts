import { strict as assert } from "node:assert";
import { freeIfLarge } from "../../../base/buffers.ts";
import { HoldfastError } from "../../../base/errors.ts";
import type { Randomness } from "../../../base/random.ts";
import { CODEC_NUMBER, compress, decompress, isCodecNumber } from "../../../codec/compress.ts";
import type { CodecName } from "../../../codec/compress.ts";
import {
  decodeSealHeader,
  encodeSealHeader,
  KIND,
  MAX_FRAME_RAW_BYTES,
  MAX_OBJECT_RAW_BYTES,
  seal,
  SEAL_HEADER_BYTES,
  SEAL_OVERHEAD_BYTES,
  unseal,
} from "../../../codec/seal.ts";
import type { SealHeader } from "../../../codec/seal.ts";
import type { EpochKeys, KeyPurpose, KeySet } from "./key-set.ts";

/** Objects are padded to this, so that their sizes tell little. */
export const PAD_BYTES = 4096;

const OBJECT_CODEC_LEVEL = 3;

/** One row of a pack's key table: which key its frames are sealed under. */
export interface KeyRow {
  readonly suite: number;
  readonly epoch: number;
  readonly keyId: Uint8Array;
  readonly sealedKey: Uint8Array;
}

/** What a pack directory or an index says of a frame, as far as opening it goes. */
export interface SealedFrame {
  readonly kind: 1 | 2;
  readonly codec: number;
  readonly rawLength: number;
  readonly row: KeyRow;
}

export interface SealObjectOptions {
  /** Default `none`. */
  readonly codec?: CodecName;
  /** Bytes that lie beside the object in the same file (a directory's frames and trailer): the sum is padded. */
  readonly extraBytes?: number;
}

const PURPOSES: Readonly<Record<number, { readonly purpose: KeyPurpose; readonly name: string }>> = {
  [KIND.data]: { purpose: "data", name: "data frame" },
  [KIND.tree]: { purpose: "tree", name: "tree frame" },
  [KIND.directory]: { purpose: "index", name: "pack directory" },
  [KIND.index]: { purpose: "index", name: "index object" },
  [KIND.snapshot]: { purpose: "snapshot", name: "snapshot object" },
  [KIND.keyring]: { purpose: "keyring", name: "keyring" },
  [KIND.lease]: { purpose: "index", name: "lease" },
  [KIND.condemned]: { purpose: "index", name: "condemned object" },
  [KIND.note]: { purpose: "notes", name: "note" },
};

/**
 * Seals and opens frames and objects under a KeySet. New bytes always use the newest epoch (keyrings: the root key).
 * Opening throws `object_foreign` for a key this repository does not hold, `object_malformed` for bytes that break the
 * format, `object_damaged` for bytes that do not authenticate or decode. No plaintext leaves before authentication.
 */
export class Sealer {
  readonly keys: KeySet;
  readonly #random: Randomness;

  constructor(keys: KeySet, random: Randomness) {
    this.keys = keys;
    this.#random = random;
  }

  /** The key row of what `sealFrame` makes now. */
  currentRow(): KeyRow {
    const { epoch, keyId } = this.keys.current;
    return { suite: 0, epoch, keyId, sealedKey: new Uint8Array() };
  }

  /** Seals the codec's output of a frame: `plain.length + 48` bytes. */
  sealFrame(kind: 1 | 2, codecNumber: number, rawLength: number, plain: Uint8Array): Buffer {
    assert(rawLength <= MAX_FRAME_RAW_BYTES, "a frame has at most 16 MiB of raw bytes");
    assert(
      codecNumber === 0 ? plain.length === rawLength : plain.length <= rawLength,
      "a compressed frame is no larger than its raw bytes",
    );
    return this.#seal(this.keys.current, "frame", kind, codecNumber, rawLength, plain);
  }

  /** The raw bytes of a frame, decompressed; the caller's own. The caller checks chunk ids. */
  openFrame(frame: SealedFrame, stored: Uint8Array): Buffer {
    const plain = this.unsealFrame(frame, stored);
    const raw = decompress(frame.codec, plain, frame.rawLength);
    if (raw.buffer !== plain.buffer) freeIfLarge(plain);
    return raw;
  }

  /** The codec's output of a frame, authenticated but not decompressed. */
  unsealFrame(frame: SealedFrame, stored: Uint8Array): Buffer {
    const { kind, codec, rawLength, row } = frame;
    return this.#unseal({ magic: "frame", kind, codec, rawLength, ...pick(row) }, stored);
  }

  /** A whole object of kinds 3 to 9: header, sealed payload, padding inside. */
  sealObject(kind: number, content: Uint8Array, options: SealObjectOptions = {}): Buffer {
    assert(kind >= KIND.directory && kind <= KIND.note, `kind ${kind} is no object`);
    assert(content.length <= MAX_OBJECT_RAW_BYTES, "an object has at most 256 MiB of content");
    const codec = options.codec ?? "none";
    const payload = compress(codec, OBJECT_CODEC_LEVEL, content);
    const unpadded = SEAL_HEADER_BYTES + SEAL_OVERHEAD_BYTES + 4 + payload.length;
    const plain = Buffer.alloc(4 + payload.length + padding(unpadded + (options.extraBytes ?? 0)));
    plain.writeUInt32LE(payload.length, 0);
    plain.set(payload, 4);
    const keys = kind === KIND.keyring ? this.keys.rootKeys : this.keys.current;
    const header = this.#header(keys, "object", kind, CODEC_NUMBER[codec], content.length);
    return Buffer.concat([encodeSealHeader(header), this.#sealUnder(keys, header, plain)]);
  }

  /**
   * `sealObject`, and opened again: a fault of CPU or memory must not reach the target. Throws `write_verification_failed`
   * unless opening gives `content`.
   */
  sealProven(kind: number, content: Uint8Array, options: SealObjectOptions = {}): Buffer {
    const bytes = this.sealObject(kind, content, options);
    let cause: unknown;
    try {
      if (Buffer.compare(this.openObject(kind, bytes, options), content) === 0) return bytes;
    } catch (error) {
      cause = error;
    }
    throw new HoldfastError("write_verification_failed", `A ${kindName(kind)} did not survive encryption`, {
      hint: "This points to a fault of memory or CPU. It was not written. Test the machine's memory before you trust its backups.",
      cause,
    });
  }

  /** The content of a whole object that must be of `kind`. `extraBytes` as it was when sealing. */
  openObject(kind: number, bytes: Uint8Array, options: Pick<SealObjectOptions, "extraBytes"> = {}): Buffer {
    const name = kindName(kind);
    const subject = `The ${name}`;
    const { header, size } = decodeSealHeader(bytes, subject);
    if (header.magic !== "object" || header.kind !== kind) throw malformed(name, `it is of kind ${header.kind}`);
    if ((bytes.length + (options.extraBytes ?? 0)) % PAD_BYTES !== 0)
      throw malformed(name, `its size is no multiple of ${PAD_BYTES}`);
    const plain = this.#unseal(header, bytes.subarray(size));
    if (plain.length < 4) throw malformed(name, "it has no payload");
    const end = 4 + plain.readUInt32LE(0);
    if (end > plain.length) throw malformed(name, "its payload exceeds it");
    const rest = plain.subarray(end);
    if (rest.length >= PAD_BYTES || !rest.equals(Buffer.alloc(rest.length)))
      throw malformed(name, "its padding is not the least of zeros");
    return decompress(header.codec, plain.subarray(4, end), header.rawLength);
  }

  #seal(keys: EpochKeys, magic: SealHeader["magic"], kind: number, codec: number, rawLength: number, plain: Uint8Array): Buffer {
    return this.#sealUnder(keys, this.#header(keys, magic, kind, codec, rawLength), plain);
  }

  #header(keys: EpochKeys, magic: SealHeader["magic"], kind: number, codec: number, rawLength: number): SealHeader {
    return { magic, kind, codec, suite: 0, epoch: keys.epoch, rawLength, keyId: keys.keyId, sealedKey: new Uint8Array() };
  }

  #sealUnder(keys: EpochKeys, header: SealHeader, plain: Uint8Array): Buffer {
    return seal({
      purposeKey: keys.key(purposeOf(header.kind)),
      saltKey: keys.key("salt"),
      repositoryId: this.keys.repositoryId,
      header,
      plain,
      random: this.#random.bytes(32),
    });
  }

  #unseal(header: SealHeader, sealed: Uint8Array): Buffer {
    const name = kindName(header.kind);
    if (!isCodecNumber(header.codec)) throw malformed(name, `codec ${header.codec} is unknown`);
    if (header.suite !== 0) throw malformed(name, `suite ${header.suite} is unknown`);
    if (header.sealedKey.length !== 0) throw malformed(name, "suite 0 has no sealed key");
    const keys = this.#keysOf(header, name);
    if (keys.epoch !== header.epoch) throw malformed(name, `epoch ${header.epoch} is not the one of its key`);
    return unseal({ purposeKey: keys.key(purposeOf(header.kind)), repositoryId: this.keys.repositoryId, header, sealed });
  }

  #keysOf(header: SealHeader, name: string): EpochKeys {
    const { rootKeys } = this.keys;
    const keys =
      header.kind !== KIND.keyring
        ? this.keys.epochByKeyId(header.keyId)
        : rootKeys.keyId.equals(header.keyId)
          ? rootKeys
          : undefined;
    if (keys !== undefined) return keys;
    throw new HoldfastError("object_foreign", `The ${name} is sealed under a key that this repository does not hold`, {
      hint: "It belongs to another repository, or the keyring in use is older than it. Run `holdfast doctor`.",
      data: { keyId: Buffer.from(header.keyId).toString("hex"), epoch: header.epoch },
    });
  }
}

/** How many bytes bring `size` to a multiple of 4,096. */
function padding(size: number): number {
  return (PAD_BYTES - (size % PAD_BYTES)) % PAD_BYTES;
}

/** A row may carry more members than a header has; only these four are bound. */
function pick(row: KeyRow): KeyRow {
  return { suite: row.suite, epoch: row.epoch, keyId: row.keyId, sealedKey: row.sealedKey };
}

/** A kind in words, for messages. */
export function kindName(kind: number): string {
  return PURPOSES[kind]?.name ?? `object of kind ${kind}`;
}

function purposeOf(kind: number): KeyPurpose {
  const entry = PURPOSES[kind];
  assert(entry !== undefined, `kind ${kind} is unknown`);
  return entry.purpose;
}

function malformed(name: string, what: string): HoldfastError {
  return new HoldfastError("object_malformed", `The ${name} is malformed: ${what}`);
}
