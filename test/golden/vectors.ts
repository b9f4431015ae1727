// Long because every kind of object stands here once, with the bytes that its vectors are made from.
/**
 * The golden vectors, made by the encoders. `vectors/*.json` holds what they gave when the format was fixed; a difference
 * between the two is a change of the format's bytes, whatever else it is meant to be.
 */
import { crc32 } from "node:zlib";
import { asObjectId, asPackId, asRunId, asSnapshotId } from "../../src/base/ids.ts";
import { Secret } from "../../src/base/secret.ts";
import { nextCut } from "../../src/chunker/cut.ts";
import { PROFILES, type ProfileName } from "../../src/chunker/profile.ts";
import { encodeSealHeader, KIND } from "../../src/codec/seal.ts";
import { KeySet } from "../../src/formats/repository/keys/key-set.ts";
import { encodeKeyring, type Keyring } from "../../src/formats/repository/keys/keyring.ts";
import { Sealer } from "../../src/formats/repository/keys/sealer.ts";
import { createSlot, KEYFILE_KDF, type KdfParameters } from "../../src/formats/repository/keys/slot.ts";
import { encodeCondemned, type CondemnedObject } from "../../src/formats/repository/objects/condemned-object.ts";
import { encodeIndexObject, toPackRecord, type IndexObject } from "../../src/formats/repository/objects/index-object.ts";
import { encodeLease, type LeaseObject } from "../../src/formats/repository/objects/lease-object.ts";
import { encodeNote, type NoteObject } from "../../src/formats/repository/objects/note-object.ts";
import { encodeDirectory, finishPack, type PackDirectory } from "../../src/formats/repository/objects/pack-directory.ts";
import { encodeSnapshot, type SnapshotObject } from "../../src/formats/repository/objects/snapshot-object.ts";
import { buildChunkList, encodedEntry, TreeSplitter, type TreeEntry } from "../../src/formats/repository/objects/tree-node.ts";
import { counterStream, FIXED_KEYS, fixedKey, FixedRandom, KEY_FILE, PASSWORD, repeated, sha256 } from "./fixed.ts";

/** Numbers, texts, hex, and lists or tables of these. Hex of more than 64 bytes is a list of lines. */
export type Vector = string | number | readonly Vector[] | { readonly [name: string]: Vector };
export type Vectors = Readonly<Record<string, Vector>>;

export function hex(bytes: Uint8Array): Vector {
  const text = Buffer.from(bytes).toString("hex");
  return text.length <= 128 ? text : (text.match(/.{1,128}/g) ?? []);
}

/** What `hex` wrote, as bytes again. */
export function unhex(vector: Vector | undefined): Buffer {
  return Buffer.from(Array.isArray(vector) ? vector.join("") : (vector as string), "hex");
}

export const KEYS = new KeySet(FIXED_KEYS);

/** Seals with the counter stream of `seed` for its randomness, under epoch 2. */
export function sealerOf(seed: string): Sealer {
  return new Sealer(KEYS, new FixedRandom(seed));
}

// ------------------------------------------------------------------------------------------------------------- chunks

/** Inputs by their formula. `text` is repeated; `zeros` are bytes 0. */
export const CUT_INPUTS: readonly { readonly profile: ProfileName; readonly input: string; readonly bytes: Buffer }[] = (
  ["files", "stream", "pages64", "pages16"] as const
).flatMap((profile) => {
  const { min, max } = PROFILES[profile];
  const large = profile === "files" ? 6_000_000 : 700_000;
  return [
    ...[0, 1, min, min + 1].map((length) => ({
      profile,
      input: `counterStream("golden cuts", ${length})`,
      bytes: counterStream("golden cuts", length),
    })),
    { profile, input: `counterStream("golden cuts", ${large})`, bytes: counterStream("golden cuts", large) },
    { profile, input: `zeros(${max + 1})`, bytes: Buffer.alloc(max + 1) },
    {
      profile,
      input: `repeated("All work and no play makes Jack a dull boy.\\n", ${large})`,
      bytes: repeated("All work and no play makes Jack a dull boy.\n", large),
    },
  ];
});

export function cutsOf(profile: ProfileName, bytes: Uint8Array): number[] {
  const lengths: number[] = [];
  for (let at = 0; at < bytes.length; at += lengths.at(-1) as number)
    lengths.push(nextCut(KEYS.lineage.gear, PROFILES[profile], bytes, at, bytes.length));
  return lengths;
}

export const CHUNK_INPUTS: Readonly<Record<string, Buffer>> = {
  'counterStream("golden chunk", 1)': counterStream("golden chunk", 1),
  "zeros(262144)": Buffer.alloc(262_144),
  'counterStream("golden chunk", 100000)': counterStream("golden chunk", 100_000),
};

function chunks(): Vectors {
  return {
    cuts: CUT_INPUTS.map(({ profile, input, bytes }) => ({ profile, input, lengths: cutsOf(profile, bytes) })),
    ids: Object.fromEntries(
      Object.entries(CHUNK_INPUTS).map(([input, bytes]) => [
        input,
        { data: hex(KEYS.chunkId(1, bytes)), tree: hex(KEYS.chunkId(2, bytes)) },
      ]),
    ),
  };
}

// --------------------------------------------------------------------------------------------------------------- keys

const PURPOSES = ["data", "tree", "index", "snapshot", "notes", "salt"] as const;

function keys(): Vectors {
  const { gear, id } = KEYS.lineage;
  const table = Buffer.alloc(1024);
  for (const [i, value] of gear.entries()) table.writeUInt32LE(value, i * 4);
  const epochs = FIXED_KEYS.epochs.map(({ epoch, master }) => {
    const one = new KeySet({ ...FIXED_KEYS, epochs: [{ epoch, master }] }).current;
    const derived = Object.fromEntries(PURPOSES.map((purpose) => [purpose, hex(one.key(purpose))]));
    return { epoch, master: hex(master), keyId: hex(one.keyId), ...derived };
  });
  const { rootKeys } = KEYS;
  return {
    repositoryId: hex(FIXED_KEYS.repositoryId),
    root: {
      root: hex(FIXED_KEYS.root),
      keyId: hex(rootKeys.keyId),
      keyring: hex(rootKeys.key("keyring")),
      salt: hex(rootKeys.key("salt")),
    },
    epochs,
    lineage: {
      secret: hex(FIXED_KEYS.lineageSecret),
      id: hex(id),
      gear: { sha256: sha256(table), first: [...gear.subarray(0, 4)], last: gear[255] },
    },
  };
}

// ------------------------------------------------------------------------------------------------------------- frames

export const FRAME_TEXT: Buffer = repeated("golden frame: the quick brown fox jumps over the lazy dog. ", 472);
/** What a compressor once made of FRAME_TEXT: later ones may make something else, and must still read this. */
export const COMPRESSED: Readonly<Record<string, { readonly codec: number; readonly bytes: Buffer }>> = {
  none: { codec: 0, bytes: FRAME_TEXT },
  zstd: {
    codec: 1,
    bytes: Buffer.from(
      "28b52ffd60d8000d02006403676f6c64656e206672616d653a2074686520717569636b2062726f776e20666f78206a756d7073206f7665726c617a7920646f672e2002009a5e294421a832",
      "hex",
    ),
  },
  // With a checksum, which this version's writer leaves out.
  zstdWithChecksum: {
    codec: 1,
    bytes: Buffer.from(
      "28b52ffd64d8000d02006403676f6c64656e206672616d653a2074686520717569636b2062726f776e20666f78206a756d7073206f7665726c617a7920646f672e2002009a5e294421a832e39e80da",
      "hex",
    ),
  },
  gzip: {
    codec: 2,
    bytes: Buffer.from(
      "1f8b08000000000000034bcfcf4949cd53482b4acc4db55228c94855282ccd4cce56482aca2fcf5348cbaf50c82acd2d2856c82f4b2d024be72456552aa4e4a7eb29a48f6a1dbc5a010eb5333ad8010000",
      "hex",
    ),
  },
};

function frames(): Vectors {
  const entries = Object.entries(COMPRESSED).flatMap(([name, { codec, bytes }]) =>
    ([1, 2] as const).map((kind) => [
      `${kind === 1 ? "data" : "tree"} ${name}`,
      {
        kind,
        codec,
        epoch: 2,
        rawLength: FRAME_TEXT.length,
        random: `32 bytes of counterStream("frame ${name}/call 0", 32)`,
        plain: hex(bytes),
        header: hex(
          encodeSealHeader({ magic: "frame", kind, codec, rawLength: FRAME_TEXT.length, ...sealerOf("").currentRow() }),
        ),
        sealed: hex(sealerOf(`frame ${name}`).sealFrame(kind, codec, FRAME_TEXT.length, bytes)),
      },
    ]),
  );
  return Object.fromEntries(entries) as Vectors;
}

// -------------------------------------------------------------------------------------------------------------- packs

/** Two frames: one with two chunks, one compressed. */
export function fixedPack(): { readonly directory: PackDirectory; readonly bytes: Buffer; readonly frames: readonly Buffer[] } {
  const sealer = sealerOf("pack");
  const [first, second] = [counterStream("golden chunk", 1000), counterStream("golden chunk 2", 500)];
  const raw = Buffer.concat([first, second]);
  const zstd = COMPRESSED["zstd"]?.bytes as Buffer;
  const frames = [sealer.sealFrame(1, 0, raw.length, raw), sealer.sealFrame(1, 1, FRAME_TEXT.length, zstd)];
  const directory: PackDirectory = {
    kind: 1,
    rows: [sealer.currentRow()],
    frames: [
      {
        codec: 0,
        row: 0,
        storedLength: frames[0].length,
        rawLength: raw.length,
        chunkIds: Buffer.concat([KEYS.chunkId(1, first), KEYS.chunkId(1, second)]),
        chunkLengths: Uint32Array.of(first.length, second.length),
      },
      {
        codec: 1,
        row: 0,
        storedLength: frames[1].length,
        rawLength: FRAME_TEXT.length,
        chunkIds: KEYS.chunkId(1, FRAME_TEXT),
        chunkLengths: Uint32Array.of(FRAME_TEXT.length),
      },
    ],
  };
  const framesBytes = frames[0].length + frames[1].length;
  return { directory, frames, bytes: Buffer.concat([...frames, ...finishPack(sealer, directory, framesBytes)]) };
}

/** A directory of two epochs, of a later suite, and of trees: only its encoding counts. */
export const WIDE_DIRECTORY: PackDirectory = {
  kind: 2,
  rows: [
    { suite: 0, epoch: 1, keyId: fixedKey("row 0", 16), sealedKey: Buffer.alloc(0) },
    { suite: 7, epoch: 0xffff_ffff, keyId: fixedKey("row 1", 16), sealedKey: fixedKey("sealed key", 200) },
  ],
  frames: [
    {
      codec: 2,
      row: 1,
      storedLength: 5_000_000,
      rawLength: 16_777_216,
      chunkIds: fixedKey("wide ids", 64),
      chunkLengths: Uint32Array.of(8_388_608, 8_388_608),
    },
  ],
};

function packs(): Vectors {
  const { directory, bytes } = fixedPack();
  return {
    directory: hex(encodeDirectory(directory)),
    pack: hex(bytes),
    id: sha256(bytes),
    trailer: hex(bytes.subarray(-16)),
    wideDirectory: hex(encodeDirectory(WIDE_DIRECTORY)),
  };
}

export function fixedIndex(): IndexObject {
  const { directory, bytes } = fixedPack();
  return {
    supersedes: [asObjectId(fixedKey("old index 1").toString("hex")), asObjectId(fixedKey("old index 2").toString("hex"))],
    packs: [
      toPackRecord(asPackId(sha256(bytes)), bytes.length, directory),
      toPackRecord(asPackId(fixedKey("wide pack").toString("hex")), 5_001_216, WIDE_DIRECTORY),
    ],
  };
}

// -------------------------------------------------------------------------------------------------------------- trees

const META = {
  mode: 0o644,
  uid: 1000,
  gid: 100,
  user: "anna",
  group: "users",
  mtimeNs: 1_767_225_600_123_456_789n,
  ctimeNs: 1_767_225_601_000_000_001n,
  inode: 123_456n,
  links: 1,
  device: 2049n,
  xattrs: [],
} as const;

export function fixedEntry(name: string | Uint8Array, change: Partial<TreeEntry> = {}): TreeEntry {
  return {
    name: Buffer.from(name as string),
    type: "file",
    flags: 0,
    meta: META,
    size: 0,
    profile: 0,
    depth: 0,
    ids: Buffer.alloc(0),
    extents: [],
    linkTarget: undefined,
    rdev: undefined,
    tree: undefined,
    ...change,
  };
}

/** One entry of every type, and of every field that not all have; sorted by name as they stand. */
export const ENTRIES: Readonly<Record<string, TreeEntry>> = {
  "an empty file": fixedEntry("a"),
  "a file of two chunks": fixedEntry("b", { size: 300_000, profile: 1, ids: fixedKey("ids b", 64) }),
  "a file with chunk lists": fixedEntry("c", { size: 2 ** 53 - 1, profile: 2, depth: 2, ids: fixedKey("ids c", 96) }),
  "a sparse file, changed while read": fixedEntry("d", {
    flags: 1 | 2 | 8,
    size: 1_099_511_627_776,
    profile: 1,
    ids: fixedKey("ids d", 32),
    extents: [
      { offset: 0, length: 4096 },
      { offset: 549_755_813_888, length: 65_536 },
    ],
  }),
  "a file that is one hole": fixedEntry("e", { flags: 8, size: 1_048_576 }),
  "a file with attributes": fixedEntry("f", {
    size: 1,
    profile: 4,
    ids: fixedKey("ids f", 32),
    meta: {
      ...META,
      xattrs: [
        { name: Buffer.from("system.posix_acl_access"), value: fixedKey("acl", 28) },
        { name: Buffer.from("user.caf\xe9\n", "latin1"), value: Buffer.alloc(0) },
        { name: Buffer.from("user.long"), value: Buffer.alloc(200, "v") },
      ],
    },
  }),
  "a name of 255 bytes that are no UTF-8": fixedEntry(Buffer.concat([Buffer.from("g\n"), Buffer.alloc(253, 0xe9)])),
  "extreme numbers": fixedEntry("h", {
    flags: 1,
    meta: {
      ...META,
      mode: 0o7777,
      uid: 0xffff_ffff,
      gid: 0xffff_ffff,
      user: "",
      group: "größe",
      mtimeNs: -(1n << 63n),
      ctimeNs: (1n << 63n) - 1n,
      inode: (1n << 64n) - 1n,
      links: 2 ** 53 - 1,
      device: (1n << 64n) - 1n,
    },
  }),
  "a directory": fixedEntry("i", { type: "directory", tree: fixedKey("tree i"), meta: { ...META, mode: 0o755, device: 0n } }),
  "an unreadable directory": fixedEntry("j", {
    type: "directory",
    flags: 16,
    tree: fixedKey("tree j"),
    meta: { ...META, mode: 0o700, mtimeNs: -1n, device: 0n },
  }),
  "a symlink": fixedEntry("k", { type: "symlink", linkTarget: Buffer.from("../caf\xe9\n", "latin1") }),
  "a character device": fixedEntry("l", { type: "chardev", rdev: (1n << 64n) - 1n }),
  "a block device": fixedEntry("m", { type: "blockdev", rdev: 0x7c8n }),
  "a FIFO": fixedEntry("n", { type: "fifo" }),
  "a socket": fixedEntry("o", { type: "socket", meta: { ...META, mtimeNs: 0n } }),
};

/** Nodes as they are emitted, children first. */
function split(entries: Iterable<TreeEntry>): Buffer[] {
  const nodes: Buffer[] = [];
  const splitter = new TreeSplitter((node) => {
    nodes.push(Buffer.from(node));
    return KEYS.chunkId(2, node);
  });
  for (const entry of entries) splitter.add(entry.name, encodedEntry(entry));
  splitter.finish();
  return nodes;
}

function* numbered(count: number): Generator<TreeEntry> {
  for (let i = 0; i < count; i++) yield fixedEntry(`file ${String(i).padStart(6, "0")}`, { meta: { ...META, inode: BigInt(i) } });
}

/** Names of 4,000 bytes whose CRC-32 ends every node as soon as it may end. */
function* long(count: number): Generator<TreeEntry> {
  const name = Buffer.alloc(4000, "n");
  for (let i = 0, found = 0; found < count; i++) {
    name.write(String(i).padStart(8, "0"));
    if (crc32(name) % 64 !== 0) continue;
    found++;
    yield fixedEntry(Buffer.from(name));
  }
}

/** Names of 4,000 bytes none of whose CRC-32 ends a node before it is full. */
function* reluctant(count: number): Generator<TreeEntry> {
  const name = Buffer.alloc(4000, "n");
  for (let i = 0, found = 0; found < count; i++) {
    name.write(String(i).padStart(8, "0"));
    if (crc32(name) % 64 === 0) continue;
    found++;
    yield fixedEntry(Buffer.from(name));
  }
}

/** Directories that are split, by how they are made. */
export const DIRECTORIES: Readonly<Record<string, () => Iterable<TreeEntry>>> = {
  "8,000 short names: an inner node over leaves": () => numbered(8000),
  "1,300 names of 4,000 bytes, each with CRC-32 mod 64 = 0: two levels of inner nodes": () => long(1300),
  "300 names of 4,000 bytes, none with CRC-32 mod 64 = 0: leaves of 1 MiB": () => reluctant(300),
};

function nodeSummary(nodes: readonly Buffer[]): Vector {
  return nodes.map((node) => ({ type: node[1] as number, bytes: node.length, id: hex(KEYS.chunkId(2, node)) }));
}

/** Numbers of chunks of a file on both sides of every change of depth. */
export const LIST_COUNTS: readonly number[] = [1, 256, 257, 4096, 4097, 1_048_576, 1_048_577];

export function chunkListOf(count: number): { depth: number; ids: Uint8Array; nodes: Buffer[] } {
  const nodes: Buffer[] = [];
  const ids = Buffer.alloc(count * 32, fixedKey("list ids", 4096));
  const list = buildChunkList(ids, (node) => {
    nodes.push(Buffer.from(node));
    return KEYS.chunkId(2, node);
  });
  return { ...list, nodes };
}

function trees(): Vectors {
  const { nodes } = chunkListOf(257);
  return {
    entries: Object.fromEntries(Object.entries(ENTRIES).map(([name, entry]) => [name, hex(encodedEntry(entry))])),
    emptyDirectory: hex(split([])[0] as Buffer),
    leaf: {
      sha256: sha256(split(Object.values(ENTRIES))[0] as Buffer),
      id: hex(KEYS.chunkId(2, split(Object.values(ENTRIES))[0] as Buffer)),
    },
    innerNode: hex(split(numbered(8000)).at(-1) as Buffer),
    listNode: { begins: hex((nodes[0] as Buffer).subarray(0, 4 + 64)), sha256: sha256(nodes[0] as Buffer) },
    directories: Object.fromEntries(Object.entries(DIRECTORIES).map(([name, make]) => [name, nodeSummary(split(make()))])),
    chunkLists: LIST_COUNTS.map((count) => {
      const { depth, ids, nodes: lists } = chunkListOf(count);
      return { chunks: count, depth, ids: ids.length / 32, idsSha256: sha256(ids), lists: lists.length };
    }),
  };
}

// ------------------------------------------------------------------------------------------------------------ objects

export const KEYRING: Keyring = {
  generation: 3,
  features: { compatible: ["golden-feature"], readOnly: [], incompatible: [] },
  epochs: FIXED_KEYS.epochs.map(({ epoch, master }) => ({ epoch, master, created: `2026-01-0${epoch}T00:00:00.000Z` })),
  lineageSecret: FIXED_KEYS.lineageSecret,
  unknownMembers: { later: { kept: true } },
};

const uid = (name: string): ReturnType<typeof asSnapshotId> => asSnapshotId(fixedKey(name, 16).toString("hex"));

export const SNAPSHOT: SnapshotObject = {
  uid: uid("snapshot"),
  run: asRunId(fixedKey("run", 16).toString("hex")),
  host: "box",
  job: "home",
  source: "files",
  sourceType: "files",
  time: "2026-01-02T03:04:05.006Z",
  end: "2026-01-02T03:05:00.000Z",
  mode: "incremental",
  baseline: uid("baseline"),
  previous: uid("previous"),
  root: fixedKey("root tree").toString("hex"),
  status: "partial",
  counts: { files: 3, directories: 2, others: 1 },
  bytes: { source: 1_234_567, new: 1000, stored: 4096 },
  unreadable: [{ path: "/home/a\\xe9", reason: "EACCES", message: "permission denied" }],
  unreadableCount: 1,
  changedWhileRead: 1,
  tool: "0.1.0",
  configDigest: fixedKey("config").toString("hex"),
  gitCommit: fixedKey("commit", 20).toString("hex"),
  description: "größer „als“ ASCII",
  tags: ["a", "b"],
  facts: { paths: ["/home"], nested: { count: 1 } },
};

/** The members that may be absent are. */
export const PLAIN_SNAPSHOT: SnapshotObject = {
  ...SNAPSHOT,
  mode: "full",
  baseline: undefined,
  previous: undefined,
  configDigest: undefined,
  gitCommit: undefined,
  status: "success",
  unreadable: [],
  unreadableCount: 0,
};

export const LEASE: LeaseObject = {
  owner: fixedKey("owner", 16).toString("hex"),
  purpose: "maintain",
  sequence: 4,
  start: "2026-01-02T03:00:00.000Z",
  time: "2026-01-02T05:00:00.000Z",
  ttlMs: 7_200_000,
  host: "box",
  pid: 4711,
  processStart: "123456",
  bootId: "0d9a1f5e-0000-4000-8000-000000000000",
  pidNamespace: "pid:[4026531836]",
  released: true,
};

export const CONDEMNED: CondemnedObject = {
  reason: "damaged",
  time: "2026-01-02T03:04:05.006Z",
  packs: [asPackId(fixedKey("pack 1").toString("hex")), asPackId(fixedKey("pack 2").toString("hex"))],
  owner: LEASE.owner,
};

const BASE = { time: "2026-01-02T03:04:05.006Z", host: "box" } as const;

export const NOTES: Readonly<Record<string, NoteObject>> = {
  tags: { ...BASE, type: "tags", snapshot: uid("snapshot"), add: ["x", "ü"], remove: ["a"] },
  "hold until a time": { ...BASE, type: "hold", snapshot: uid("snapshot"), until: "2027-01-01T00:00:00.000Z" },
  "hold for ever": { ...BASE, type: "hold", snapshot: uid("snapshot"), until: true },
  "hold released": { ...BASE, type: "hold", snapshot: uid("snapshot"), until: false },
  description: { ...BASE, type: "description", snapshot: uid("snapshot"), text: "before the upgrade" },
  verification: {
    ...BASE,
    type: "verification",
    snapshots: [uid("snapshot")],
    level: "data",
    result: "ok",
    details: { jobs: ["home"], bytesRead: 17 },
  },
  deletion: {
    ...BASE,
    type: "deletion",
    snapshots: [
      {
        uid: uid("previous"),
        object: asObjectId(fixedKey("snapshot object").toString("hex")),
        time: "2025-12-31T23:59:59.999Z",
        job: "home",
        source: "files",
        host: "box",
      },
    ],
  },
  policy: { ...BASE, type: "policy", policy: { kind: "retention", job: "home", rules: { keepDaily: 7 } } },
};

/** Every sealed object: its name, its kind, and its content as the encoders make it. */
export function contents(): readonly { readonly name: string; readonly kind: number; readonly content: Buffer }[] {
  return [
    { name: "keyring", kind: KIND.keyring, content: encodeKeyring(KEYRING) },
    { name: "index", kind: KIND.index, content: encodeIndexObject(fixedIndex()) },
    { name: "index of nothing", kind: KIND.index, content: encodeIndexObject({ supersedes: [], packs: [] }) },
    { name: "snapshot", kind: KIND.snapshot, content: encodeSnapshot(SNAPSHOT) },
    { name: "snapshot without what may be absent", kind: KIND.snapshot, content: encodeSnapshot(PLAIN_SNAPSHOT) },
    { name: "lease", kind: KIND.lease, content: encodeLease(LEASE) },
    { name: "condemned", kind: KIND.condemned, content: encodeCondemned(CONDEMNED) },
    ...Object.entries(NOTES).map(([name, note]) => ({ name: `note: ${name}`, kind: KIND.note, content: encodeNote(note) })),
  ];
}

/** The whole bytes of these are kept, of the others the hash: they differ in their content alone. */
const WHOLE: ReadonlySet<string> = new Set(["keyring", "snapshot", "note: tags"]);

function objects(): Vectors {
  return Object.fromEntries(
    contents().map(({ name, kind, content }) => {
      const sealed = sealerOf(`object ${name}`).sealObject(kind, content);
      return [
        name,
        {
          kind,
          random: `32 bytes of counterStream("object ${name}/call 0", 32)`,
          content: kind === KIND.index ? hex(content) : content.toString("utf8"),
          name: sha256(sealed),
          ...(WHOLE.has(name) ? { object: hex(sealed) } : { begins: hex(sealed.subarray(0, 64)) }),
        },
      ];
    }),
  );
}

// -------------------------------------------------------------------------------------------------------------- slots

export const SLOTS: Readonly<Record<string, KdfParameters>> = {
  argon2id: { function: "argon2id", memoryKiB: 64, passes: 2, parallelism: 3 },
  scrypt: { function: "scrypt", logN: 4, r: 8, p: 2 },
  pbkdf2: { function: "pbkdf2", hash: "sha512", iterations: 1000 },
  keyfile: KEYFILE_KDF,
};

async function slots(): Promise<Vectors> {
  const made: Record<string, Vector> = {};
  for (const [name, kdf] of Object.entries(SLOTS)) {
    const secret = new Secret(kdf.function === "keyfile" ? KEY_FILE : PASSWORD);
    const bytes = await createSlot(FIXED_KEYS.root, secret, kdf, {
      id: fixedKey(`slot ${name}`, 16).toString("hex"),
      salt: fixedKey(`slot salt ${name}`),
      nonce: fixedKey(`slot nonce ${name}`, 12),
      label: `größe of ${name}`,
      created: "2026-01-02T03:04:05.006Z",
      repositoryId: FIXED_KEYS.repositoryId,
    });
    made[name] = { text: bytes.toString("utf8").trimEnd(), sha256: sha256(bytes) };
  }
  return { password: PASSWORD, keyFile: KEY_FILE, ...made };
}

/** Every file of `vectors/` by its name without `.json`. */
export async function allVectors(): Promise<Readonly<Record<string, Vectors>>> {
  return {
    chunks: chunks(),
    keys: keys(),
    frames: frames(),
    packs: packs(),
    trees: trees(),
    objects: objects(),
    slots: await slots(),
  };
}
