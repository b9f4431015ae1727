import fc from "fast-check";
import type { KeyRow } from "../../../../src/formats/repository/keys/sealer.ts";
import { asPackId } from "../../../../src/base/ids.ts";
import type { PackRecord } from "../../../../src/formats/repository/objects/index-object.ts";
import type { PackDirectory, PackFrame } from "../../../../src/formats/repository/objects/pack-directory.ts";
import { ENTRY_FLAG, TREE_BOUNDS } from "../../../../src/formats/repository/objects/tree-node.ts";
import type { TreeEntry } from "../../../../src/formats/repository/objects/tree-node.ts";
import type { EntryMeta, EntryType, Extent, Xattr } from "../../../../src/sources/source.ts";

const U64 = (1n << 64n) - 1n;

function bytes(minLength: number, maxLength = minLength): fc.Arbitrary<Buffer> {
  return fc.uint8Array({ minLength, maxLength }).map((value) => Buffer.from(value));
}

export const row: fc.Arbitrary<KeyRow> = fc.record({
  suite: fc.integer({ min: 0, max: 255 }),
  epoch: fc.integer({ min: 0, max: 0xffff_ffff }),
  keyId: bytes(16),
  sealedKey: bytes(0, 40),
});

export function frame(rowCount: number, idBytes: 16 | 32): fc.Arbitrary<PackFrame> {
  return fc
    .record({
      codec: fc.integer({ min: 0, max: 2 }),
      row: fc.nat(rowCount - 1),
      lengths: fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 6 }),
      saved: fc.nat(100),
      seed: bytes(1),
    })
    .map(({ codec, row: rowNumber, lengths, saved, seed }) => {
      const rawLength = lengths.reduce((sum, length) => sum + length, 0);
      return {
        codec,
        row: rowNumber,
        rawLength,
        storedLength: rawLength + 48 - (codec === 0 ? 0 : Math.min(saved, rawLength)),
        chunkIds: new Uint8Array(lengths.length * idBytes).map((_, i) => (i * 7 + (seed[0] as number)) & 0xff),
        chunkLengths: Uint32Array.from(lengths),
      };
    });
}

export const directory: fc.Arbitrary<PackDirectory> = fc.array(row, { minLength: 1, maxLength: 3 }).chain((rows) =>
  fc.record({
    kind: fc.constantFrom(1 as const, 2 as const),
    rows: fc.constant(rows),
    frames: fc.array(frame(rows.length, 32), { maxLength: 5 }),
  }),
);

export const packRecord: fc.Arbitrary<PackRecord> = fc.array(row, { minLength: 1, maxLength: 3 }).chain((rows) =>
  fc
    .record({
      id: bytes(32).map((id) => asPackId(id.toString("hex"))),
      kind: fc.constantFrom(1 as const, 2 as const),
      rows: fc.constant(rows),
      frames: fc.array(frame(rows.length, 16), { maxLength: 5 }),
    })
    .map((record) => ({ ...record, sizeBytes: record.frames.reduce((sum, each) => sum + each.storedLength, 4096) })),
);

export const META: EntryMeta = {
  mode: 0o644,
  uid: 1000,
  gid: 1000,
  user: "anna",
  group: "users",
  mtimeNs: 1_767_225_600_123_456_789n,
  ctimeNs: 1_767_225_600_987_654_321n,
  inode: 123_456n,
  links: 1,
  device: 2049n,
  xattrs: [],
};

/** An entry of every member's simplest value, for tests that change one. */
export function entry(name: string, change: Partial<TreeEntry> = {}): TreeEntry {
  return {
    name: Buffer.from(name),
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

const name: fc.Arbitrary<Buffer> = bytes(1, 40)
  .map((value) => value.map((byte) => (byte === 0 || byte === 0x2f ? 0x41 : byte)) as Buffer)
  .map((value) => Buffer.from(value))
  .filter((value) => !value.equals(Buffer.from(".")) && !value.equals(Buffer.from("..")));

const xattrs: fc.Arbitrary<Xattr[]> = fc
  .uniqueArray(fc.record({ name: name.map((each) => each.subarray(0, TREE_BOUNDS.xattrNameBytes)), value: bytes(0, 60) }), {
    maxLength: 3,
    selector: (each) => each.name.toString("latin1"),
  })
  .map((list) => list.toSorted((a, b) => Buffer.compare(a.name, b.name)));

const meta: fc.Arbitrary<EntryMeta> = fc.record({
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 0xffff_ffff }),
  gid: fc.integer({ min: 0, max: 0xffff_ffff }),
  user: fc.string({ unit: "grapheme", maxLength: 20 }),
  group: fc.string({ maxLength: 20 }),
  mtimeNs: fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }),
  ctimeNs: fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }),
  inode: fc.bigInt({ min: 0n, max: U64 }),
  links: fc.nat(),
  device: fc.bigInt({ min: 0n, max: U64 }),
  xattrs,
});

const extents: fc.Arbitrary<Extent[]> = fc
  .array(fc.record({ gap: fc.integer({ min: 1, max: 2 ** 40 }), length: fc.integer({ min: 1, max: 2 ** 40 }) }), { maxLength: 4 })
  .map((steps) => {
    let end = 0;
    return steps.map(({ gap, length }) => {
      const offset = end + gap;
      end = offset + length;
      return { offset, length };
    });
  });

const file: fc.Arbitrary<Partial<TreeEntry>> = fc
  .record({
    size: fc.oneof(fc.nat(), fc.integer({ min: 2 ** 41, max: 2 ** 53 - 1 })),
    profile: fc.integer({ min: 1, max: 4 }),
    depth: fc.integer({ min: 0, max: 4 }),
    count: fc.integer({ min: 1, max: 8 }),
    sparse: fc.boolean(),
    extents,
    racy: fc.boolean(),
  })
  .map(({ size, profile, depth, count, sparse, extents: parts, racy }) => {
    const end = parts.at(-1);
    const whole = sparse ? Math.max(size, end === undefined ? 0 : end.offset + end.length) : size;
    const data = sparse ? parts.reduce((sum, part) => sum + part.length, 0) : size;
    const ids = Buffer.alloc(32 * Math.min(count, data), 0xab);
    const flags = (sparse ? ENTRY_FLAG.sparse : 0) | (racy ? ENTRY_FLAG.racy | ENTRY_FLAG.changedWhileRead : 0);
    return { size: whole, flags, ids, extents: sparse ? parts : [], ...(ids.length > 0 && { profile, depth }) };
  });

const typePart: fc.Arbitrary<Partial<TreeEntry> & { readonly type: EntryType }> = fc.oneof(
  file.map((part) => ({ type: "file" as const, ...part })),
  bytes(32).map((tree) => ({ type: "directory" as const, tree, flags: (tree[0] as number) & ENTRY_FLAG.unreadable })),
  name.map((linkTarget) => ({ type: "symlink" as const, linkTarget })),
  fc.record({ type: fc.constantFrom("chardev" as const, "blockdev" as const), rdev: fc.bigInt({ min: 0n, max: U64 }) }),
  fc.constantFrom({ type: "fifo" as const }, { type: "socket" as const }),
);

/** Entries as a decoder gives them: flags complete, a directory without a device. */
export const treeEntry: fc.Arbitrary<TreeEntry> = fc.tuple(name, meta, typePart).map(([entryName, entryMeta, part]) => ({
  ...entry("x"),
  ...part,
  name: entryName,
  meta: part.type === "directory" ? { ...entryMeta, device: 0n } : entryMeta,
  flags: (part.flags ?? 0) | (entryMeta.xattrs.length > 0 ? ENTRY_FLAG.xattrs : 0),
}));

/** The entries of one directory, sorted. */
export const entries: fc.Arbitrary<TreeEntry[]> = fc
  .uniqueArray(treeEntry, { maxLength: 6, selector: (each) => each.name.toString() + Buffer.from(each.name).toString("hex") })
  .map((list) => list.toSorted((a, b) => Buffer.compare(a.name, b.name)));
