/** Every reader of what lies on a repository's target: sealed bytes as they come, and what is inside them. */
import fc from "fast-check";
import { asObjectId, asPackId, asRunId, asSnapshotId } from "../../../src/base/ids.ts";
import { Secret } from "../../../src/base/secret.ts";
import { ByteReader, ByteWriter } from "../../../src/codec/binary.ts";
import { compress, decompress } from "../../../src/codec/compress.ts";
import { decodeSealHeader, encodeSealHeader, KIND, seal } from "../../../src/codec/seal.ts";
import { deriveSlotKey } from "../../../src/formats/repository/keys/kdf.ts";
import { KeySet } from "../../../src/formats/repository/keys/key-set.ts";
import { decodeKeyring, encodeKeyring, newKeyring, withNewEpoch } from "../../../src/formats/repository/keys/keyring.ts";
import { Sealer } from "../../../src/formats/repository/keys/sealer.ts";
import { createSlot, parseSlot } from "../../../src/formats/repository/keys/slot.ts";
import { decodeCondemned, encodeCondemned } from "../../../src/formats/repository/objects/condemned-object.ts";
import { decodeIndexObject, encodeIndexObject } from "../../../src/formats/repository/objects/index-object.ts";
import { decodeLease, encodeLease } from "../../../src/formats/repository/objects/lease-object.ts";
import { decodeNote, encodeNote, type NoteObject } from "../../../src/formats/repository/objects/note-object.ts";
import {
  decodeDirectory,
  encodeDirectory,
  finishPack,
  readDirectory,
  type PackDirectory,
} from "../../../src/formats/repository/objects/pack-directory.ts";
import { decodeSnapshot, encodeSnapshot } from "../../../src/formats/repository/objects/snapshot-object.ts";
import {
  buildChunkList,
  decodeNode,
  encodedEntry,
  encodeFileHead,
  LeafReader,
} from "../../../src/formats/repository/objects/tree-node.ts";
import { readRepositoryId } from "../../../src/formats/repository/repository.ts";
import type { Target } from "../../../src/targets/target.ts";
import { buildTree } from "../../formats/repository/objects/build-tree.ts";
import { directory, entries, META, packRecord } from "../../formats/repository/objects/fixtures.ts";
import { fixedRandom, MATERIAL } from "../../formats/repository/keys/fixtures.ts";
import type { FuzzedParser } from "./fuzz.ts";

const TIME = "2026-01-02T03:04:05.006Z";
const UID = asSnapshotId("0a".repeat(16));
const KEYS = new KeySet(MATERIAL);
const SEALER = new Sealer(KEYS, fixedRandom("fuzz"));

/** Valid values; the same in every run, because a case is repeated by its number. */
export function samples<T>(arbitrary: fc.Arbitrary<T>, count = 30): T[] {
  return fc.sample(arbitrary, { numRuns: count, seed: 20_260_101 });
}

/** A target that answers every read with these bytes. */
export function targetOf(bytes: Uint8Array, name?: string): Target {
  return {
    capabilities: { listing: "strong", objectTimes: false, versions: false, immutability: false, concurrency: 1 },
    get: async () => bytes,
    stat: async () => undefined,
    list: async () => (name === undefined ? [] : [{ name, sizeBytes: bytes.length, modifiedMs: undefined }]),
  } as unknown as Target;
}

const SNAPSHOT = {
  uid: UID,
  run: asRunId("0b".repeat(16)),
  host: "laptop",
  job: "home",
  source: "documents",
  sourceType: "files",
  time: TIME,
  end: TIME,
  mode: "incremental",
  baseline: asSnapshotId("0c".repeat(16)),
  previous: asSnapshotId("0d".repeat(16)),
  root: "0e".repeat(32),
  status: "partial",
  counts: { files: 1, directories: 2, others: 3 },
  bytes: { source: 4, new: 5, stored: 6 },
  unreadable: [{ path: "/a/\\xff", reason: "EACCES", message: "permission denied" }],
  unreadableCount: 1,
  changedWhileRead: 0,
  tool: "0.1.0",
  configDigest: "abc",
  gitCommit: "def",
  description: "ünï",
  tags: ["a", "b"],
  facts: { tables: { rows: 1 } },
} as const;

const LEASE = {
  owner: "0f".repeat(16),
  purpose: "write",
  sequence: 3,
  start: TIME,
  time: TIME,
  ttlMs: 7_200_000,
  host: "laptop",
  pid: 4711,
  processStart: "123456",
  bootId: "b6b1",
  pidNamespace: "4026531836",
  released: false,
} as const;

const NOTES: readonly NoteObject[] = [
  { type: "tags", time: TIME, host: "h", snapshot: UID, add: ["x"], remove: ["y"] },
  { type: "hold", time: TIME, host: "h", snapshot: UID, until: TIME },
  { type: "hold", time: TIME, host: "h", snapshot: UID, until: true },
  { type: "description", time: TIME, host: "h", snapshot: UID, text: "before the upgrade" },
  { type: "verification", time: TIME, host: "h", snapshots: [UID], level: "data", result: "ok", details: { readBytes: 5 } },
  {
    type: "deletion",
    time: TIME,
    host: "h",
    snapshots: [{ uid: UID, object: asObjectId("bb".repeat(32)), time: TIME, job: "j", source: "s", host: "h" }],
  },
  { type: "policy", time: TIME, host: "h", policy: { keepLast: 3 } },
];

const first = newKeyring({ master: Buffer.alloc(32, 1), lineageSecret: Buffer.alloc(32, 2), created: TIME });
const KEYRINGS = [first, withNewEpoch(first, { master: Buffer.alloc(32, 3), created: TIME })];

async function slots(): Promise<Buffer[]> {
  const slot = { id: "0a".repeat(16), salt: Buffer.alloc(32, 5), nonce: Buffer.alloc(12, 6), label: "lap", created: TIME };
  const cheap = [
    { function: "keyfile" },
    { function: "pbkdf2", hash: "sha512", iterations: 1 },
    { function: "scrypt", logN: 1, r: 1, p: 1 },
    { function: "argon2id", memoryKiB: 8, passes: 1, parallelism: 1 },
  ] as const;
  const secret = new Secret("ab".repeat(32));
  return await Promise.all(
    cheap.map((kdf) => createSlot(Buffer.alloc(32, 4), secret, kdf, { ...slot, repositoryId: MATERIAL.repositoryId })),
  );
}

/** Nodes of all three types. */
function nodes(): { readonly all: Buffer[]; readonly leaves: Buffer[] } {
  const all: Buffer[] = [];
  const emit = (node: Buffer): Uint8Array => {
    all.push(Buffer.from(node));
    return Buffer.alloc(32, all.length);
  };
  for (const list of samples(entries))
    buildTree(
      list.map((entry) => ({ name: entry.name, encoded: encodedEntry(entry) })),
      emit,
    );
  const leaves = [...all];
  const inner = new ByteWriter().u8(1).u8(1).varint(3);
  for (const name of ["a", "bb", "ccc"]) inner.bytes(Buffer.from(name)).raw(Buffer.alloc(32, 7));
  all.push(inner.finish());
  buildChunkList(Buffer.alloc(32 * 300, 8), emit);
  return { all, leaves };
}

/** A pack without the content of its frames, which a directory does not need. */
function packOf(sample: PackDirectory): Buffer {
  const frames = sample.frames.slice(0, 2).map((frame) => ({ ...frame, row: 0 }));
  const small = frames.reduce((sum, { storedLength }) => sum + storedLength, 0) < 300_000 ? frames : [];
  const listed = { kind: sample.kind, rows: [SEALER.currentRow()], frames: small };
  const bytes = small.reduce((sum, { storedLength }) => sum + storedLength, 0);
  return Buffer.concat([Buffer.alloc(bytes), ...finishPack(SEALER, listed, bytes)]);
}

/** Seals any plain bytes as if they were an object's, so that what is inside meets its reader with a valid tag. */
function sealed(plain: Buffer, codec: number, rawLength: number): Buffer {
  const { keyId, epoch } = KEYS.current;
  const sealedKey = new Uint8Array();
  const header = { magic: "object", kind: KIND.snapshot, codec, suite: 0, epoch, rawLength, keyId, sealedKey } as const;
  const { repositoryId } = KEYS;
  const keys = { purposeKey: KEYS.current.key("snapshot"), saltKey: KEYS.current.key("salt") };
  return Buffer.concat([encodeSealHeader(header), seal({ ...keys, repositoryId, header, plain, random: Buffer.alloc(32, 9) })]);
}

function framed(payload: Uint8Array, total: number): Buffer {
  const plain = Buffer.alloc(total);
  plain.writeUInt32LE(payload.length, 0);
  plain.set(payload.subarray(0, total - 4), 4);
  return plain;
}

const MAX_FRAME = 16 * 2 ** 20;
const TEXT = Buffer.from("the quick brown fox jumps over the lazy dog. ".repeat(40));

export async function repositoryParsers(): Promise<FuzzedParser[]> {
  const slotBytes = await slots();
  const { all, leaves } = nodes();
  const directories = samples(directory);
  const content = [encodeSnapshot(SNAPSHOT), encodeLease(LEASE)];
  const compressed = (["zstd", "gzip"] as const).flatMap((codec) =>
    [TEXT, TEXT.subarray(0, 50), Buffer.alloc(100_000)].map((raw) => compress(codec, 3, raw)),
  );
  const head = new ByteWriter();
  encodeFileHead(head, Buffer.from("a"), META, 1000);
  return [
    {
      name: "repository file",
      corpus: [Buffer.from(`${JSON.stringify({ format: "holdfast-repository", version: 1, id: "ab".repeat(16) })}\n`)],
      parse: async (bytes) => await readRepositoryId(targetOf(bytes), "disk"),
    },
    {
      name: "key slot",
      corpus: slotBytes,
      // Nearly every mutation changes the length, which is refused before anything else is looked at.
      parse: (bytes) => parseSlot(Buffer.concat([bytes, Buffer.alloc(4096, " ")]).subarray(0, 4096)),
    },
    { name: "key slot as it is", corpus: slotBytes, parse: parseSlot },
    {
      name: "key file",
      share: 0.3,
      corpus: [Buffer.from("ab".repeat(32)), Buffer.from(`  ${"AB".repeat(32)}\r\n`)],
      parse: (bytes) => deriveSlotKey(new Secret(bytes), { function: "keyfile" }, Buffer.alloc(32)),
    },
    { name: "keyring", corpus: KEYRINGS.map(encodeKeyring), parse: decodeKeyring },
    {
      name: "seal header",
      corpus: content.map((each) => SEALER.sealObject(KIND.snapshot, each).subarray(0, 60)),
      parse: (bytes) => decodeSealHeader(bytes),
    },
    {
      name: "sealed object",
      corpus: content.flatMap((each) => [
        SEALER.sealObject(KIND.snapshot, each),
        SEALER.sealObject(KIND.snapshot, each, { codec: "zstd" }),
      ]),
      parse: (bytes) => SEALER.openObject(KIND.snapshot, bytes),
    },
    {
      name: "inside of a sealed object",
      share: 0.3,
      corpus: [framed(TEXT, 4008), ...compressed.map((each) => framed(each, 4008))],
      parse: (bytes, numbers) => {
        const plain = numbers.below(4) === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(4008)]).subarray(0, 4008);
        const rawLength = numbers.pick([TEXT.length, 50, 100_000, 0, 2 ** 20]);
        return SEALER.openObject(KIND.snapshot, sealed(plain, numbers.below(4), rawLength));
      },
      allowanceBytes: 2 ** 21,
    },
    {
      name: "frame content",
      share: 0.3,
      corpus: [TEXT, ...compressed],
      parse: (bytes, numbers) => {
        const rawLength = numbers.pick([TEXT.length, 50, 100_000, 0, 1, 2 ** 20]);
        const raw = decompress(numbers.below(4), bytes, rawLength);
        if (raw.length !== rawLength) throw new Error(`${raw.length} bytes instead of ${rawLength}`);
      },
      // What an authenticated header asks for; more is refused by the header's reader.
      allowanceBytes: MAX_FRAME,
    },
    {
      name: "pack with its directory",
      share: 0.3,
      corpus: directories.slice(0, 8).map(packOf),
      parse: async (bytes) =>
        await readDirectory(SEALER, bytes.length, async (offset, length) => bytes.subarray(offset, offset + length)),
    },
    { name: "pack directory", corpus: directories.map(encodeDirectory), parse: decodeDirectory },
    {
      name: "index object",
      corpus: samples(fc.array(packRecord, { maxLength: 3 })).map((packs) =>
        encodeIndexObject({ packs, supersedes: [asObjectId("cd".repeat(32))] }),
      ),
      parse: decodeIndexObject,
    },
    { name: "snapshot", corpus: [encodeSnapshot(SNAPSHOT)], parse: decodeSnapshot },
    { name: "lease", corpus: [encodeLease(LEASE)], parse: decodeLease },
    {
      name: "condemned",
      corpus: [
        encodeCondemned({ reason: "damaged", time: TIME, packs: [asPackId("aa".repeat(32))], owner: "0f".repeat(16) }),
        encodeCondemned({ reason: "prune", time: TIME, packs: [], owner: "0f".repeat(16) }),
      ],
      parse: decodeCondemned,
    },
    { name: "note", corpus: NOTES.map(encodeNote), parse: decodeNote },
    { name: "tree node", corpus: all, parse: decodeNode },
    {
      name: "leaf, entry by entry",
      corpus: leaves,
      parse: (bytes, numbers) => {
        const leaf = new LeafReader(bytes);
        for (let count = 0; ; count++) {
          if (numbers.below(3) === 0) leaf.take(Buffer.from("a"), head.view(), numbers.below(5), 1000);
          if (leaf.next() === undefined) return count;
        }
      },
    },
    {
      name: "binary fields",
      corpus: [
        new ByteWriter()
          .varint(300)
          .bytes(TEXT)
          .text("name")
          .varint(2n ** 63n)
          .i64(-1n)
          .u64(7)
          .u32(8)
          .finish(),
      ],
      parse: (bytes, numbers) => {
        const reader = new ByteReader(bytes);
        while (reader.remaining > 0) {
          const fields = [
            () => reader.varint(),
            () => reader.bytes(1000),
            () => reader.text(1000),
            () => reader.varintBig(),
            () => reader.i64(),
            () => reader.u64(),
            () => reader.u32(),
            () => reader.count(3, Infinity),
          ];
          const value = numbers.pick(fields)();
          if (typeof value === "number" && !(Number.isSafeInteger(value) && value >= 0)) throw new Error(`the number ${value}`);
        }
      },
    },
  ];
}
