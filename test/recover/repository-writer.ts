/**
 * A small writer of repositories, made from docs/format.md alone and sharing no code with src/, so that it and
 * recover.mjs prove the page rather than each other's habits. It cuts where the test says, not by content.
 */
import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import zlib from "node:zlib";

export const CODEC = { none: 0, zstd: 1, gzip: 2 } as const;
export type Codec = (typeof CODEC)[keyof typeof CODEC];

const KEY_PURPOSE: Record<number, string> = {
  1: "data",
  2: "tree",
  3: "index",
  4: "index",
  5: "snapshot",
  6: "keyring",
  7: "index",
  8: "index",
  9: "notes",
};

export const u8 = (value: number): Buffer => Buffer.from([value]);
export const u32 = (value: number): Buffer => {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
};
export const i64 = (value: bigint): Buffer => {
  const out = Buffer.alloc(8);
  out.writeBigInt64LE(value);
  return out;
};
export function varint(value: number | bigint): Buffer {
  const out: number[] = [];
  let rest = BigInt(value);
  while (rest >= 128n) {
    out.push(Number(rest & 127n) + 128);
    rest >>= 7n;
  }
  return Buffer.from([...out, Number(rest)]);
}
export const bytes = (value: string | Buffer): Buffer => {
  const raw = Buffer.from(value as string);
  return Buffer.concat([varint(raw.length), raw]);
};
const sha256 = (data: Buffer): Buffer => crypto.createHash("sha256").update(data).digest();
const hmac256 = (key: Buffer, data: Buffer): Buffer => crypto.createHmac("sha256", key).update(data).digest();
const hkdf = (ikm: Buffer, salt: Buffer | string, info: string, length: number): Buffer =>
  Buffer.from(crypto.hkdfSync("sha256", ikm, salt, info, length));

function compress(codec: Codec, content: Buffer): Buffer {
  if (codec === CODEC.zstd) return zlib.zstdCompressSync(content);
  return codec === CODEC.gzip ? zlib.gzipSync(content) : content;
}

export type Kdf =
  | { readonly function: "argon2id"; readonly memoryKiB: number; readonly passes: number; readonly parallelism: number }
  | { readonly function: "scrypt"; readonly logN: number; readonly r: number; readonly p: number }
  | { readonly function: "pbkdf2"; readonly hash: "sha512"; readonly iterations: number }
  | { readonly function: "keyfile" };

interface Frame {
  readonly codec: Codec;
  readonly stored: Buffer;
  readonly rawLength: number;
  readonly chunks: readonly { readonly id: Buffer; readonly length: number }[];
}

/** One tree entry; what is left out gets a plain value. */
export interface EntryFields {
  readonly name: string | Buffer;
  readonly type: number;
  readonly part?: Buffer;
  readonly flags?: number;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly user?: string;
  readonly mtime?: bigint;
  readonly inode?: bigint;
  readonly links?: number;
  readonly device?: bigint;
  readonly xattrs?: readonly (readonly [string, Buffer])[];
}

export function encodeEntry(entry: EntryFields): Buffer {
  const xattrs = entry.xattrs ?? [];
  const mtime = entry.mtime ?? 1_600_000_000_123_456_789n;
  return Buffer.concat([
    bytes(entry.name as string),
    u8(entry.type),
    varint((entry.flags ?? 0) | (xattrs.length > 0 ? 4 : 0)),
    varint(entry.mode ?? 0o644),
    varint(entry.uid ?? process.getuid!()),
    varint(entry.gid ?? process.getgid!()),
    bytes(entry.user ?? "someone"),
    bytes("somegroup"),
    i64(mtime),
    i64(mtime),
    varint(entry.inode ?? 1n),
    varint(entry.links ?? 1),
    varint(entry.device ?? 0n),
    entry.part ?? Buffer.alloc(0),
    ...(xattrs.length > 0 ? [varint(xattrs.length), ...xattrs.flatMap(([name, value]) => [bytes(name), bytes(value)])] : []),
  ]);
}

export const filePart = (
  size: number,
  ids: readonly Buffer[],
  depth = 0,
  extents?: readonly (readonly [number, number])[],
): Buffer =>
  Buffer.concat([
    varint(size),
    u8(ids.length > 0 ? 1 : 0),
    u8(depth),
    varint(ids.length),
    ...ids,
    ...(extents ? [varint(extents.length), ...extents.flatMap(([offset, length]) => [varint(offset), varint(length)])] : []),
  ]);

export class RepositoryWriter {
  readonly folder: string;
  readonly repo = crypto.randomBytes(16);
  readonly rootKey = crypto.randomBytes(32);
  readonly master = crypto.randomBytes(32);
  readonly lineageSecret = crypto.randomBytes(32);
  readonly epoch = 3;
  /** Appended to whatever is compressed next: a reader must refuse it. */
  trailing = Buffer.alloc(0);
  /** Into how many compressed frames or members the data of a frame is cut: a reader must refuse two. */
  members = 1;
  /** What objects are padded with: a reader must refuse anything but zero. */
  paddingByte = 0;
  /** Content of every index pack row written so far. */
  private readonly indexed: Buffer[] = [];
  private readonly packs: Record<number, Frame[]> = { 1: [], 2: [] };

  constructor(folder: string) {
    this.folder = folder;
    fs.mkdirSync(folder, { recursive: true });
    const id = this.repo.toString("hex");
    this.write("holdfast.json", Buffer.from(`{"format":"holdfast-repository","version":1,"id":"${id}"}\n`));
    this.writeKeyring(1);
  }

  write(name: string, content: Buffer): string {
    const file = path.join(this.folder, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, content);
    return name;
  }

  private keyFor(kind: number): { master: Buffer; epoch: number } {
    return kind === 6 ? { master: this.rootKey, epoch: 0 } : { master: this.master, epoch: this.epoch };
  }

  private keyId(kind: number): Buffer {
    const { master, epoch } = this.keyFor(kind);
    return hkdf(master, this.repo, `holdfast/v1/key-id/${epoch}`, 16);
  }

  private header(magic: string, kind: number, codec: number, rawLength: number): Buffer {
    return Buffer.concat([
      Buffer.from(magic),
      Buffer.from([kind, codec, 0, 0]),
      u32(this.keyFor(kind).epoch),
      i64(BigInt(rawLength)),
      this.keyId(kind),
      u32(0),
    ]);
  }

  private seal(header: Buffer, plain: Buffer): Buffer {
    const kind = header[4];
    const { master, epoch } = this.keyFor(kind);
    const k = (purpose: string): Buffer => hkdf(master, this.repo, `holdfast/v1/${purpose}/${epoch}`, 32);
    const salt = hmac256(k("salt"), Buffer.concat([crypto.randomBytes(32), u8(kind), u8(header[5]), sha256(plain)]));
    const keyAndNonce = crypto.createHmac("sha512", k(KEY_PURPOSE[kind])).update(salt).digest();
    const cipher = crypto.createCipheriv("aes-256-gcm", keyAndNonce.subarray(0, 32), keyAndNonce.subarray(32, 44));
    cipher.setAAD(Buffer.concat([Buffer.from("holdfast/v1"), this.repo, header]));
    return Buffer.concat([salt, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  }

  /** An object whose size, with `besides` bytes around it, is a multiple of 4,096. */
  object(kind: number, content: Buffer, codec: Codec = CODEC.none, besides = 0): Buffer {
    const payload = Buffer.concat([compress(codec, content), this.trailing]);
    const unpadded = 40 + 48 + 4 + payload.length + besides;
    const padding = Buffer.alloc((4096 - (unpadded % 4096)) % 4096, this.paddingByte);
    const header = this.header("HFO1", kind, codec, content.length);
    return Buffer.concat([header, this.seal(header, Buffer.concat([u32(payload.length), payload, padding]))]);
  }

  writeObject(folder: string, kind: number, content: Buffer | object, codec: Codec = CODEC.none): string {
    const object = this.object(kind, Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content)), codec);
    const name = sha256(object).toString("hex");
    this.write(`${folder}/${name}`, object);
    return name;
  }

  writeKeyring(generation: number, change: object = {}): string {
    return this.writeObject(
      "keyring",
      6,
      {
        generation,
        features: { compatible: ["future"], readOnly: ["future"], incompatible: [] },
        epochs: [{ epoch: this.epoch, master: this.master.toString("base64"), created: "2026-01-01T00:00:00.000Z" }],
        lineage: { secret: this.lineageSecret.toString("base64") },
        ...change,
      },
      CODEC.gzip,
    );
  }

  writeSlot(kdf: Kdf, secret: Buffer): string {
    const id = crypto.randomBytes(16);
    const salt = crypto.randomBytes(24);
    const [out, text] = deriveSlot(kdf, secret, salt);
    const nonce = crypto.randomBytes(12);
    const cipher = crypto.createCipheriv("aes-256-gcm", out.subarray(0, 32), nonce);
    cipher.setAAD(
      Buffer.concat([
        Buffer.from("holdfast/v1/slot"),
        this.repo,
        id,
        bytes(text),
        bytes(salt),
        bytes("test"),
        bytes("2026-01-01T00:00:00.000Z"),
      ]),
    );
    const wrapped = Buffer.concat([cipher.update(this.rootKey), cipher.final(), cipher.getAuthTag()]);
    const json = JSON.stringify({
      version: 1,
      id: id.toString("hex"),
      label: "test",
      created: "2026-01-01T00:00:00.000Z",
      kdf,
      salt: salt.toString("base64"),
      commitment: out.subarray(32).toString("base64"),
      nonce: nonce.toString("base64"),
      wrapped: wrapped.toString("base64"),
    });
    return this.write(`keys/${id.toString("hex")}`, Buffer.from(json.padEnd(4096, " ")));
  }

  chunkId(kind: 1 | 2, data: Buffer): Buffer {
    const info = kind === 1 ? "holdfast/v1/lineage/data-id" : "holdfast/v1/lineage/tree-id";
    return hmac256(hkdf(this.lineageSecret, "", info, 32), data);
  }

  /** Adds one frame holding these chunks to the pack that is being filled; returns the ids, which `ids` forges. */
  frame(kind: 1 | 2, chunks: readonly Buffer[], wanted: Codec = CODEC.none, ids?: readonly Buffer[]): Buffer[] {
    const raw = Buffer.concat(chunks);
    const cut = Math.ceil(raw.length / this.members);
    const parts = Array.from({ length: this.members }, (_, part) => raw.subarray(part * cut, (part + 1) * cut));
    const compressed = Buffer.concat([...parts.map((each) => compress(wanted, each)), this.trailing]);
    const shrinks = compressed.length <= raw.length || this.trailing.length > 0;
    const [codec, plain] = shrinks ? [wanted, compressed] : [CODEC.none, raw];
    const header = this.header("HFF1", kind, codec, raw.length);
    const rows = chunks.map((chunk, number) => ({ id: ids?.[number] ?? this.chunkId(kind, chunk), length: chunk.length }));
    this.packs[kind].push({
      codec,
      stored: this.seal(header, plain),
      rawLength: raw.length,
      chunks: rows,
    });
    return rows.map((row) => row.id);
  }

  /** Writes a leaf of these entries (sorted here) and returns its id. */
  leaf(entries: readonly EntryFields[], codec: Codec = CODEC.none): Buffer {
    const sorted = entries.toSorted((a, b) => Buffer.compare(Buffer.from(a.name as string), Buffer.from(b.name as string)));
    return this.frame(2, [Buffer.concat([u8(1), u8(0), varint(sorted.length), ...sorted.map(encodeEntry)])], codec)[0];
  }

  /** Ends the pack being filled and returns its name. */
  endPack(kind: 1 | 2): string {
    const frames = this.packs[kind].splice(0);
    const rows = Buffer.concat([varint(1), u8(0), u32(this.epoch), this.keyId(kind), bytes("")]);
    const frameList = (idLength: number): Buffer =>
      Buffer.concat([
        varint(frames.length),
        ...frames.map((frame) =>
          Buffer.concat([
            u8(frame.codec),
            varint(0),
            varint(frame.stored.length),
            varint(frame.rawLength),
            varint(frame.chunks.length),
            ...frame.chunks.flatMap(({ id, length }) => [id.subarray(0, idLength), varint(length)]),
          ]),
        ),
      ]);
    const body = Buffer.concat(frames.map((frame) => frame.stored));
    const directory = this.object(3, Buffer.concat([u8(1), u8(kind), rows, frameList(32)]), CODEC.gzip, body.length + 16);
    const trailer = Buffer.concat([u32(directory.length), Buffer.from([kind, 0, 0, 0]), Buffer.from("HFPACK01")]);
    const pack = Buffer.concat([body, directory, trailer]);
    const id = sha256(pack);
    this.indexed.push(Buffer.concat([id, u8(kind), varint(pack.length), rows, frameList(16)]));
    return this.write(`packs/${id.toString("hex").slice(0, 2)}/${id.toString("hex")}`, pack);
  }

  /** Writes an index object of all packs ended so far, except those named. */
  writeIndex(replaces: readonly string[] = [], packs: readonly Buffer[] = this.indexed): string {
    const names = replaces.map((name) => Buffer.from(name, "hex"));
    return this.writeObject("index", 4, Buffer.concat([u8(1), varint(names.length), ...names, varint(packs.length), ...packs]));
  }

  writeSnapshot(root: Buffer, uid: string, time: string): string {
    const counts = { files: 1, directories: 1, others: 0 };
    return this.writeObject(
      "snapshots",
      5,
      {
        uid,
        host: "box",
        job: "home",
        source: "files",
        time,
        root: root.toString("hex"),
        status: "success",
        mode: "full",
        counts,
        bytes: { source: 1, new: 1, stored: 1 },
      },
      CODEC.zstd,
    );
  }
}

function deriveSlot(kdf: Kdf, secret: Buffer, salt: Buffer): [Buffer, string] {
  switch (kdf.function) {
    case "keyfile":
      return [hkdf(secret, salt, "holdfast/v1/slot", 64), "keyfile"];
    case "argon2id": {
      const { memoryKiB, passes, parallelism } = kdf;
      const options = { message: secret, nonce: salt, parallelism, tagLength: 64, memory: memoryKiB, passes };
      return [crypto.argon2Sync("argon2id", options), `argon2id,${memoryKiB},${passes},${parallelism}`];
    }
    case "scrypt":
      return [
        crypto.scryptSync(secret, salt, 64, { N: 2 ** kdf.logN, r: kdf.r, p: kdf.p }),
        `scrypt,${kdf.logN},${kdf.r},${kdf.p}`,
      ];
    case "pbkdf2":
      return [crypto.pbkdf2Sync(secret, salt, kdf.iterations, 64, "sha512"), `pbkdf2,sha512,${kdf.iterations}`];
  }
}
