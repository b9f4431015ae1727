/**
 * The format once more, written from the words of `docs/format.md` with Node's own crypto and nothing of `src/`: what both
 * agree on is what the page says. The order is the page's.
 */
import * as crypto from "node:crypto";

export function hkdf(key: Uint8Array, salt: Uint8Array, info: string, length: number): Buffer {
  return Buffer.from(crypto.hkdfSync("sha256", key, salt, Buffer.from(info, "ascii"), length));
}

function hmac(hash: "sha256" | "sha512", key: Uint8Array, ...data: readonly Uint8Array[]): Buffer {
  const mac = crypto.createHmac(hash, key);
  for (const part of data) mac.update(part);
  return mac.digest();
}

// Keys

export function purposeKey(master: Uint8Array, repo: Uint8Array, purpose: string, epoch: number): Buffer {
  return hkdf(master, repo, `holdfast/v1/${purpose}/${epoch}`, 32);
}

export function keyId(master: Uint8Array, repo: Uint8Array, epoch: number): Buffer {
  return hkdf(master, repo, `holdfast/v1/key-id/${epoch}`, 16);
}

export function lineage(secret: Uint8Array): { dataId: Buffer; treeId: Buffer; id: Buffer; gear: number[] } {
  const derive = (name: string, length: number): Buffer => hkdf(secret, Buffer.alloc(0), `holdfast/v1/lineage/${name}`, length);
  const table = derive("gear", 1024);
  return {
    dataId: derive("data-id", 32),
    treeId: derive("tree-id", 32),
    id: derive("id", 16),
    gear: Array.from({ length: 256 }, (_, i) => table.readUInt32LE(i * 4)),
  };
}

export function chunkId(idKey: Uint8Array, bytes: Uint8Array): Buffer {
  return hmac("sha256", idKey, bytes);
}

// Sealing

/** The 40 bytes of a header in suite 0. */
export function header(fields: {
  readonly magic: "HFO1" | "HFF1";
  readonly kind: number;
  readonly codec: number;
  readonly epoch: number;
  readonly rawLength: number;
  readonly keyId: Uint8Array;
}): Buffer {
  const bytes = Buffer.alloc(40);
  bytes.write(fields.magic, 0, "ascii");
  bytes[4] = fields.kind;
  bytes[5] = fields.codec;
  bytes.writeUInt32LE(fields.epoch, 8);
  bytes.writeBigUInt64LE(BigInt(fields.rawLength), 12);
  bytes.set(fields.keyId, 20);
  return bytes;
}

export interface Sealing {
  readonly repo: Uint8Array;
  readonly header: Uint8Array;
  /** K(purpose). */
  readonly key: Uint8Array;
}

export function sealed(plain: Uint8Array, random: Uint8Array, saltKey: Uint8Array, { repo, header, key }: Sealing): Buffer {
  const contentHash = crypto.createHash("sha256").update(plain).digest();
  const salt = hmac("sha256", saltKey, random, Buffer.of(header[4], header[5]), contentHash);
  const made = hmac("sha512", key, salt);
  const cipher = crypto.createCipheriv("aes-256-gcm", made.subarray(0, 32), made.subarray(32, 44));
  cipher.setAAD(Buffer.concat([Buffer.from("holdfast/v1"), repo, header]));
  return Buffer.concat([salt, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

export function unsealed(bytes: Uint8Array, { repo, header, key }: Sealing): Buffer {
  const made = hmac("sha512", key, bytes.subarray(0, 32));
  const decipher = crypto.createDecipheriv("aes-256-gcm", made.subarray(0, 32), made.subarray(32, 44), { authTagLength: 16 });
  decipher.setAAD(Buffer.concat([Buffer.from("holdfast/v1"), repo, header]));
  decipher.setAuthTag(bytes.subarray(-16));
  return Buffer.concat([decipher.update(bytes.subarray(32, -16)), decipher.final()]);
}

/** Length, payload and zeros, so that header, salt and tag beside them make a multiple of 4,096 together with `beside`. */
export function objectPlain(payload: Uint8Array, beside = 0): Buffer {
  const used = 40 + 32 + 4 + payload.length + 16 + beside;
  const plain = Buffer.alloc(4 + payload.length + ((4096 - (used % 4096)) % 4096));
  plain.writeUInt32LE(payload.length, 0);
  plain.set(payload, 4);
  return plain;
}

// Chunks

const PROFILES: Readonly<Record<string, readonly [min: number, target: number, max: number]>> = {
  files: [262_144, 1_048_576, 4_194_304],
  stream: [32_768, 65_536, 262_144],
  pages64: [65_536, 65_536, 65_536],
  pages16: [16_384, 16_384, 16_384],
};

/** The lengths of the chunks of a file. */
export function cuts(gear: readonly number[], profile: string, file: Uint8Array): number[] {
  const lengths: number[] = [];
  for (let start = 0; start < file.length;) {
    const length = cut(gear, PROFILES[profile] as [number, number, number], file.subarray(start));
    lengths.push(length);
    start += length;
  }
  return lengths;
}

function cut(gear: readonly number[], [min, target, max]: readonly [number, number, number], bytes: Uint8Array): number {
  const n = bytes.length;
  if (n <= min) return n;
  const b = Math.log2(target);
  const [mid, end] = [Math.min(n, target), Math.min(n, max)];
  let h = 0;
  for (let i = min; i < end; i++) {
    h = (h * 2 + gear[bytes[i]]) % 2 ** 32;
    const bits = i < mid ? b + 2 : b - 2;
    if (h < 2 ** (32 - bits)) return i + 1;
  }
  return end;
}

// Key slots

function lengthPrefixed(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value as string);
  if (bytes.length > 127) throw new Error("longer than one byte of a varint tells");
  return Buffer.concat([Buffer.of(bytes.length), bytes]);
}

/** The root key that a slot wraps. `out` are the 64 bytes of its key derivation, `kdfText` says them in words. */
export function openSlot(slot: Readonly<Record<string, string>>, repo: Uint8Array, out: Uint8Array, kdfText: string): Buffer {
  const decoded = (name: string): Buffer => Buffer.from(slot[name] as string, "base64");
  if (!decoded("commitment").equals(out.subarray(32))) throw new Error("the commitment is another");
  const aad = Buffer.concat([
    Buffer.from("holdfast/v1/slot"),
    repo,
    Buffer.from(slot["id"] as string, "hex"),
    lengthPrefixed(kdfText),
    lengthPrefixed(decoded("salt")),
    lengthPrefixed(slot["label"] as string),
    lengthPrefixed(slot["created"] as string),
  ]);
  const wrapped = decoded("wrapped");
  const decipher = crypto.createDecipheriv("aes-256-gcm", out.subarray(0, 32), decoded("nonce"), { authTagLength: 16 });
  decipher.setAAD(aad);
  decipher.setAuthTag(wrapped.subarray(32));
  return Buffer.concat([decipher.update(wrapped.subarray(0, 32)), decipher.final()]);
}
