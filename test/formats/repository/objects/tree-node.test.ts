// Long because the bytes of every kind of node and entry, and every way to bend them, stand here beside their vectors.

import * as crypto from "node:crypto";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { buildTree } from "./build-tree.ts";
import { ByteWriter } from "../../../../src/codec/binary.ts";
import {
  buildChunkList,
  dataLength,
  decodeNode,
  encodedEntry,
  encodeFileHead,
  ENTRY_FLAG,
  LeafReader,
  TREE_BOUNDS,
} from "../../../../src/formats/repository/objects/tree-node.ts";
import type { StoredFile, TreeEntry } from "../../../../src/formats/repository/objects/tree-node.ts";
import { code, expand } from "../keys/fixtures.ts";
import { entries, entry, META, treeEntry } from "./fixtures.ts";

/** Nodes by the hash that stands for their id. */
class Store {
  readonly nodes = new Map<string, Buffer>();
  readonly emit = (node: Buffer): Uint8Array => {
    const id = crypto.createHash("sha256").update(node).digest();
    this.nodes.set(id.toString("hex"), Buffer.from(node));
    return id;
  };

  node(id: Uint8Array): Buffer {
    const node = this.nodes.get(Buffer.from(id).toString("hex"));
    if (node === undefined) throw new Error("no such node");
    return node;
  }

  /** Every entry below a root, in order. */
  walk(id: Uint8Array): TreeEntry[] {
    const node = decodeNode(this.node(id));
    if (node.type === "leaf") return node.entries;
    if (node.type === "list") throw new Error("a list is no tree");
    return node.children.flatMap((child) => {
      const below = this.walk(child.id);
      expect(Buffer.compare(child.firstName, below[0]?.name as Uint8Array)).toBe(0);
      return below;
    });
  }
}

function leaf(...list: readonly Uint8Array[]): Buffer {
  return Buffer.concat([new ByteWriter().u8(1).u8(0).varint(list.length).finish(), ...list]);
}

function only(bytes: Uint8Array): TreeEntry {
  const node = decodeNode(bytes);
  if (node.type !== "leaf" || node.entries[0] === undefined) throw new Error("not one entry");
  return node.entries[0];
}

/** Buffers and Uint8Arrays of equal bytes compare as equal. */
function plain(value: TreeEntry): unknown {
  const hex = (bytes: Uint8Array | undefined): string | undefined => bytes && Buffer.from(bytes).toString("hex");
  const xattrs = value.meta.xattrs.map((each) => [hex(each.name), hex(each.value)]);
  const { name, ids, linkTarget, tree } = value;
  return {
    ...value,
    name: hex(name),
    ids: hex(ids),
    linkTarget: hex(linkTarget),
    tree: hex(tree),
    meta: { ...value.meta, xattrs },
  };
}

test("entries read back, and are refused when cut or extended", () => {
  fc.assert(
    fc.property(entries, (list) => {
      const bytes = leaf(...list.map(encodedEntry));
      const node = decodeNode(bytes);
      expect(node.type === "leaf" && node.entries.map(plain)).toEqual(list.map(plain));
      for (let length = 0; length < bytes.length; length++)
        expect(code(() => decodeNode(bytes.subarray(0, length)))).toBe("object_malformed");
      expect(code(() => decodeNode(Buffer.concat([bytes, Buffer.of(0)])))).toBe("object_malformed");
    }),
    { numRuns: 60 },
  );
});

test("a node with a flipped bit is refused or is another node, never something that does not encode", () => {
  fc.assert(
    fc.property(treeEntry, fc.nat(), (each, place) => {
      const bytes = leaf(encodedEntry(each));
      const bit = place % (bytes.length * 8);
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
      let read: TreeEntry;
      try {
        read = only(bytes);
      } catch (error) {
        expect(
          code(() => only(bytes)),
          String(error),
        ).toBe("object_malformed");
        return;
      }
      // Owner names are text, where several wrong encodings give one replacement character; all else is exact.
      fc.pre(!(read.meta.user + read.meta.group).includes("\ufffd"));
      expect(leaf(encodedEntry(read)).equals(bytes)).toBe(true);
    }),
    { numRuns: 500 },
  );
});

describe("a leaf reader", () => {
  const plainFile = (name: string, more: Partial<TreeEntry> = {}): TreeEntry =>
    entry(name, { size: 70_000, profile: 1, ids: Buffer.alloc(64, name), ...more });
  const headOf = ({ name, meta, size }: TreeEntry): Buffer => {
    const writer = new ByteWriter();
    encodeFileHead(writer, name, meta, size);
    return writer.finish();
  };
  const take = (reader: LeafReader, wanted: TreeEntry, profile = wanted.profile): StoredFile | undefined =>
    reader.take(wanted.name, headOf(wanted), profile, wanted.size);

  test("gives every entry as it is stored", () => {
    fc.assert(
      fc.property(entries, (list) => {
        const reader = new LeafReader(leaf(...list.map(encodedEntry)));
        for (const each of list) {
          const read = reader.next();
          expect(read && plain(read.entry)).toEqual(plain(each));
          expect(Buffer.from(read?.encoded ?? []).equals(encodedEntry(each))).toBe(true);
        }
        expect(reader.next()).toBeUndefined();
      }),
      { numRuns: 60 },
    );
  });

  test("steps over files that begin as expected, and over nothing else", () => {
    const [a, b, c] = [plainFile("a"), plainFile("b", { size: 0, profile: 0, ids: Buffer.alloc(0) }), plainFile("c")];
    const reader = new LeafReader(leaf(encodedEntry(a), encodedEntry(b), encodedEntry(c)));
    const meta = (more: object): Partial<TreeEntry> => ({ meta: { ...META, ...more } });
    for (const other of [
      b,
      plainFile("a", { size: 70_001 }),
      plainFile("a", meta({ mtimeNs: META.mtimeNs + 1n })),
      plainFile("a", meta({ ctimeNs: META.ctimeNs + 1n })),
      plainFile("a", meta({ inode: META.inode + 1n })),
      plainFile("a", meta({ mode: 0o600 })),
      plainFile("a", meta({ uid: 1, user: "other" })),
    ])
      expect(take(reader, other)).toBeUndefined();
    expect(take(reader, a, 2)).toBeUndefined();
    const taken = take(reader, a);
    expect(Buffer.from(taken?.encoded ?? []).equals(encodedEntry(a))).toBe(true);
    expect(Buffer.from(taken?.ids ?? []).equals(Buffer.from(a.ids))).toBe(true);
    expect(take(reader, b)?.ids).toHaveLength(0);
    expect(reader.left).toBe(1);
    expect(reader.next()?.entry.size).toBe(c.size);
    expect(take(reader, c)).toBeUndefined();
  });

  test("leaves files with flags or lists of chunks to be decoded", () => {
    for (const odd of [
      plainFile("a", { flags: ENTRY_FLAG.racy }),
      plainFile("a", { flags: ENTRY_FLAG.changedWhileRead }),
      plainFile("a", { depth: 1 }),
      plainFile("a", { extents: [{ offset: 10, length: 60_000 }] }),
      plainFile("a", { meta: { ...META, xattrs: [{ name: Buffer.from("user.a"), value: Buffer.from("v") }] } }),
    ]) {
      const reader = new LeafReader(leaf(encodedEntry(odd)));
      expect(take(reader, odd)).toBeUndefined();
      expect(plain(reader.next()?.entry as TreeEntry)).toMatchObject({ size: 70_000 });
    }
  });

  test("refuses what is cut, unsorted or no leaf", () => {
    const [a, b] = [plainFile("a"), plainFile("b")];
    const bytes = leaf(encodedEntry(b), encodedEntry(a));
    const unsorted = new LeafReader(bytes);
    expect(take(unsorted, b)).toBeDefined();
    expect(code(() => unsorted.next())).toBe("object_malformed");
    for (let length = 0; length < encodedEntry(a).length + 3; length++) {
      const reading = (): unknown => {
        const reader = new LeafReader(leaf(encodedEntry(a)).subarray(0, length));
        return take(reader, a) ?? reader.next();
      };
      expect(code(reading)).toBe("object_malformed");
    }
    const impossible = plainFile("a", { size: 1 });
    expect(code(() => take(new LeafReader(leaf(encodedEntry(impossible))), impossible))).toBe("object_malformed");
    expect(code(() => new LeafReader(Buffer.of(1, 1, 0)))).toBe("object_malformed");
    expect(code(() => new LeafReader(Buffer.of(2, 0, 0)))).toBe("object_malformed");
  });
});

/** Made by a second encoder, written in Python from the format's text. */
const VECTORS: readonly (readonly [TreeEntry, string])[] = [
  [
    entry("dev", { type: "chardev", rdev: 259n }),
    "036465760400a403e807e80704616e6e6105757365727315cd55f551728618b168d82852728618c0c4070181108302",
  ],
  [
    entry("dir", { type: "directory", flags: ENTRY_FLAG.unreadable, tree: Buffer.alloc(32, 0xdd) }),
    "036469720210a403e807e80704616e6e6105757365727315cd55f551728618b168d82852728618c0c4070100dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
  ],
  [
    entry("file", {
      flags: ENTRY_FLAG.racy,
      size: 300_000,
      profile: 1,
      ids: Buffer.alloc(64, 0x11).fill(0x22, 32),
      meta: { ...META, xattrs: [{ name: Buffer.from("user.a"), value: Buffer.from("v") }] },
    }),
    "0466696c650105a403e807e80704616e6e6105757365727315cd55f551728618b168d82852728618c0c407018110e0a712010002111111111111111111111111111111111111111111111111111111111111111122222222222222222222222222222222222222222222222222222222222222220106757365722e610176",
  ],
  [
    entry("hole", { size: 2 ** 40, flags: ENTRY_FLAG.sparse }),
    "04686f6c650108a403e807e80704616e6e6105757365727315cd55f551728618b168d82852728618c0c40701811080808080802000000000",
  ],
  [
    entry("link", { type: "symlink", linkTarget: Buffer.from("../x") }),
    "046c696e6b0300a403e807e80704616e6e6105757365727315cd55f551728618b168d82852728618c0c407018110042e2e2f78",
  ],
  [
    entry("pipe", { type: "fifo" }),
    "04706970650600a403e807e80704616e6e6105757365727315cd55f551728618b168d82852728618c0c407018110",
  ],
  [
    entry("sparse", {
      size: 1000,
      profile: 2,
      depth: 1,
      ids: Buffer.alloc(32, 0x33),
      extents: [
        { offset: 10, length: 20 },
        { offset: 100, length: 900 },
      ],
    }),
    "067370617273650108a403e807e80704616e6e6105757365727315cd55f551728618b168d82852728618c0c407018110e8070201013333333333333333333333333333333333333333333333333333333333333333020a14648407",
  ],
];

test.each(VECTORS.map(([each, hex]) => [Buffer.from(each.name).toString(), each, hex] as const))(
  "fixed vector: %s",
  (_, each, hex) => {
    expect(encodedEntry(each).toString("hex")).toBe(hex);
  },
);

test("fixed vector of a leaf", () => {
  const store = new Store();
  const root = buildTree(
    VECTORS.map(([each]) => ({ name: each.name, encoded: encodedEntry(each) })),
    store.emit,
  );
  expect(Buffer.from(root).toString("hex")).toBe("cd1792c5448d91775fcbd7baa56442a086d18d6e3a4e13f70adb59b6742dc1c7");
});

describe("what a decoder refuses", () => {
  const file = (change: Partial<TreeEntry> = {}): TreeEntry =>
    entry("name", { size: 10, profile: 1, ids: Buffer.alloc(32), ...change });
  const refused = (bytes: Uint8Array): void => expect(code(() => decodeNode(bytes))).toBe("object_malformed");
  /** The encoded entry with one byte changed, found as the first difference to a second encoding. */
  const place = (a: TreeEntry, b: TreeEntry): number => {
    const [one, two] = [encodedEntry(a), encodedEntry(b)];
    return one.findIndex((byte, i) => byte !== two[i]);
  };
  const patched = (base: TreeEntry, at: number, value: number): Buffer => {
    const bytes = encodedEntry(base);
    bytes[at] = value;
    return leaf(bytes);
  };

  test("names that are not valid", () => {
    for (const name of ["", ".", "..", "a/b", "/", "a\0"]) refused(leaf(encodedEntry(entry(name))));
    refused(leaf(encodedEntry(entry("x".repeat(4097)))));
    for (const name of ["...", ".a", " ", "\\", "x".repeat(4096)])
      expect(only(leaf(encodedEntry(entry(name)))).name.length).toBe(name.length);
  });

  test("names that are not sorted bytewise, or occur twice", () => {
    const encoded = (name: string): Buffer => encodedEntry(entry(name));
    refused(leaf(encoded("b"), encoded("a")));
    refused(leaf(encoded("a"), encoded("a")));
    refused(leaf(encoded("ab"), encoded("a")));
    expect(code(() => decodeNode(leaf(encoded("B"), encoded("a"), encoded("ab"), encoded("é"))))).toBe("no error");
    const child = (name: string): Buffer => new ByteWriter().bytes(Buffer.from(name)).raw(Buffer.alloc(32)).finish();
    const inner = (...names: string[]): Buffer => Buffer.concat([Buffer.of(1, 1, names.length), ...names.map(child)]);
    expect(code(() => decodeNode(inner("a", "b")))).toBe("no error");
    refused(inner("b", "a"));
    refused(inner("a", "a"));
    refused(inner(".."));
    refused(inner());
  });

  test("unknown versions and types", () => {
    refused(Buffer.of(2, 0, 0));
    refused(Buffer.of(1, 3, 0));
    refused(Buffer.of(1, 2, 0));
    for (const type of [0, 8, 255]) refused(patched(entry("name"), 5, type));
  });

  test("flags that are unknown or of another type", () => {
    refused(leaf(encodedEntry(file({ flags: 32 }))));
    refused(leaf(encodedEntry(file({ flags: ENTRY_FLAG.unreadable }))));
    refused(leaf(encodedEntry(entry("d", { type: "directory", tree: Buffer.alloc(32), flags: ENTRY_FLAG.sparse }))));
    refused(leaf(encodedEntry(entry("f", { type: "fifo", flags: ENTRY_FLAG.changedWhileRead }))));
    refused(patched(file(), 6, ENTRY_FLAG.xattrs));
  });

  test("modes and owners beyond their bounds", () => {
    refused(leaf(encodedEntry(file({ meta: { ...META, mode: 0o10000 } }))));
    refused(leaf(encodedEntry(file({ meta: { ...META, uid: 2 ** 32 } }))));
    refused(leaf(encodedEntry(file({ meta: { ...META, gid: 2 ** 32 } }))));
    refused(leaf(encodedEntry(file({ meta: { ...META, user: "x".repeat(TREE_BOUNDS.ownerBytes + 1) } }))));
  });

  test("a directory's device is never kept, and refused when it is there", () => {
    const folder = entry("name", { type: "directory", tree: Buffer.alloc(32) });
    expect(only(leaf(encodedEntry(folder))).meta.device).toBe(0n);
    const at = encodedEntry(folder).length - 33;
    expect(encodedEntry(folder)[at]).toBe(0);
    refused(patched(folder, at, 1));
  });

  test("profiles, depths and chunks that do not fit each other", () => {
    const profile = place(file({ profile: 1 }), file({ profile: 2 }));
    refused(patched(file(), profile, 0));
    refused(patched(file(), profile, 5));
    refused(patched(file(), profile + 1, 5));
    refused(patched(file(), profile - 1, 0));
    refused(leaf(encodedEntry(file({ size: 1, ids: Buffer.alloc(64) }))));
    const empty = entry("name");
    const end = encodedEntry(empty).length;
    refused(patched(empty, end - 4, 10));
    refused(patched(empty, end - 3, 1));
    refused(patched(empty, end - 2, 1));
    expect(only(leaf(encodedEntry(file({ depth: 4 })))).depth).toBe(4);
  });

  test("extents that are unsorted, touch, are empty or exceed the file", () => {
    const sparse = (extents: TreeEntry["extents"], size = 100): Buffer => leaf(encodedEntry(file({ size, extents })));
    expect(
      only(
        sparse([
          { offset: 0, length: 10 },
          { offset: 11, length: 89 },
        ]),
      ).extents.length,
    ).toBe(2);
    refused(
      sparse([
        { offset: 0, length: 10 },
        { offset: 10, length: 5 },
      ]),
    );
    refused(
      sparse([
        { offset: 20, length: 10 },
        { offset: 5, length: 5 },
      ]),
    );
    refused(
      sparse([
        { offset: 0, length: 10 },
        { offset: 20, length: 0 },
      ]),
    );
    refused(sparse([{ offset: 91, length: 10 }]));
    refused(sparse([{ offset: Number.MAX_SAFE_INTEGER, length: Number.MAX_SAFE_INTEGER }]));
  });

  test("xattrs that are unsorted, double, nameless or too large", () => {
    const xattr = (name: string, value = ""): { name: Buffer; value: Buffer } => ({
      name: Buffer.from(name),
      value: Buffer.from(value),
    });
    const holding = (...xattrs: ReturnType<typeof xattr>[]): Buffer => leaf(encodedEntry(file({ meta: { ...META, xattrs } })));
    expect(only(holding(xattr("user.a"), xattr("user.b", "v"))).meta.xattrs.length).toBe(2);
    refused(holding(xattr("user.b"), xattr("user.a")));
    refused(holding(xattr("user.a"), xattr("user.a")));
    refused(holding(xattr("")));
    refused(holding(xattr("x".repeat(TREE_BOUNDS.xattrNameBytes + 1))));
    refused(holding(xattr("x", "x".repeat(TREE_BOUNDS.xattrValueBytes + 1))));
  });

  test("link targets that no file system has", () => {
    const link = (target: string): Buffer => leaf(encodedEntry(entry("l", { type: "symlink", linkTarget: Buffer.from(target) })));
    expect(only(link("../a/b")).linkTarget?.length).toBe(6);
    refused(link(""));
    refused(link("a\0b"));
    refused(link("x".repeat(TREE_BOUNDS.linkTargetBytes + 1)));
  });
});

test("a file that is one hole needs the sparse flag, so that lost ids never become zeros", () => {
  const hole = entry("hole", { size: 2 ** 40, flags: ENTRY_FLAG.sparse });
  expect(plain(only(leaf(encodedEntry(hole))))).toEqual(plain(hole));
  expect(dataLength(hole)).toBe(0);
  expect(() => encodedEntry(entry("lost", { size: 2 ** 40 }))).toThrow("chunks exactly when");
  expect(() => encodedEntry(entry("empty", { ids: Buffer.alloc(32) }))).toThrow("chunks exactly when");
  expect(() => encodedEntry(entry("many", { size: 10 ** 6, ids: Buffer.alloc(257 * 32) }))).toThrow("256");
});

describe("splitting a directory", () => {
  /** Entries of about `bytes` bytes each. */
  const many = (count: number, bytes = 0): TreeEntry[] =>
    Array.from({ length: count }, (_, i) =>
      entry(`file-${String(i).padStart(8, "0")}`, bytes === 0 ? {} : { type: "symlink", linkTarget: Buffer.alloc(bytes, "x") }),
    );
  const encoded = (list: readonly TreeEntry[]): { name: Uint8Array; encoded: Buffer }[] =>
    list.map((each) => ({ name: each.name, encoded: encodedEntry(each) }));
  const build = (list: readonly TreeEntry[]): { store: Store; root: Uint8Array } => {
    const store = new Store();
    return { store, root: buildTree(encoded(list), store.emit) };
  };

  test("an empty directory is a leaf without entries", () => {
    const { store, root } = build([]);
    expect(store.node(root).toString("hex")).toBe("010000");
  });

  test("small directories are one leaf", () => {
    const { store, root } = build(many(500));
    expect(store.nodes.size).toBe(1);
    expect(store.walk(root).length).toBe(500);
  });

  test("leaves end by the rule, read literally", () => {
    const list = many(20_000);
    const { store, root } = build(list);
    const groups: number[] = [];
    let size = 0;
    let count = 0;
    for (const each of encoded(list)) {
      size += each.encoded.length;
      count++;
      if (size >= 2 ** 20 || (size >= 2 ** 17 && crc32(each.name) % 64 === 0)) {
        groups.push(count);
        size = 0;
        count = 0;
      }
    }
    if (count > 0) groups.push(count);
    const node = decodeNode(store.node(root));
    expect(node.type).toBe("inner");
    if (node.type !== "inner") return;
    expect(groups.length).toBeGreaterThan(5);
    expect(node.children.map((child) => store.walk(child.id).length)).toEqual(groups);
    expect(store.walk(root).map(plain)).toEqual(list.map(plain));
  });

  test("entries that are large end a leaf at 1 MiB", () => {
    const { store, root } = build(many(100, 60_000).filter((each) => crc32(each.name) % 64 !== 0));
    const sizes = [...store.nodes.values()].map((node) => node.length).filter((size) => size > 5000);
    expect(Math.max(...sizes)).toBeLessThan(2 ** 20 + 61_000);
    expect(sizes.filter((size) => size >= 2 ** 20).length).toBeGreaterThan(3);
    expect(store.walk(root).length).toBeGreaterThan(90);
  });

  test("a level whose last node ends by itself gets no empty one", () => {
    const list = many(20_000);
    let size = 0;
    const end = list.findIndex((each) => (size += encodedEntry(each).length) >= 2 ** 17 && crc32(each.name) % 64 === 0);
    const one = build(list.slice(0, end + 1));
    expect(one.store.nodes.size).toBe(1);
    expect(one.store.walk(one.root).length).toBe(end + 1);
    const two = build(list.slice(0, end + 2));
    expect(two.store.nodes.size).toBe(3);
    expect(two.store.walk(two.root).length).toBe(end + 2);
  });

  test("several levels", () => {
    // Each entry ends its leaf, and long names make rows large: inner nodes split after some 33 rows at the earliest.
    const inner = new Store();
    const encodedBytes = Buffer.alloc(2 ** 20);
    let leaves = 0;
    const emit = (node: Buffer): Uint8Array => {
      if (node[1] === 1) return inner.emit(node);
      leaves++;
      return Buffer.alloc(32, leaves);
    };
    const list = Array.from({ length: 200 }, (_, i) => ({
      name: Buffer.from(`${String(i).padStart(6, "0")}${"n".repeat(4000)}`),
      encoded: encodedBytes,
    }));
    const root = decodeNode(inner.node(buildTree(list, emit)));
    if (root.type !== "inner") throw new Error("the root is a leaf");
    const rows = root.children.flatMap((child) => {
      const node = decodeNode(inner.node(child.id));
      if (node.type !== "inner") throw new Error("no second level");
      expect(node.children[0]?.firstName).toEqual(child.firstName);
      return node.children;
    });
    expect(root.children.length).toBeGreaterThan(1);
    expect(rows.map((each) => Buffer.from(each.firstName))).toEqual(list.map((each) => each.name));
    expect(rows.map((each) => each.id[0])).toEqual(list.map((_, i) => i + 1));
  });

  test("one entry more changes few nodes", () => {
    const list = many(30_000);
    const before = build(list);
    const after = build([...list.slice(0, 15_000), entry("file-00014999a"), ...list.slice(15_000)]);
    const fresh = [...after.store.nodes.keys()].filter((id) => !before.store.nodes.has(id));
    expect(fresh.length).toBeLessThanOrEqual(4);
    expect(before.store.nodes.size).toBeGreaterThan(10);
  });

  test("entries out of order are a programmer fault", () => {
    expect(() => build([entry("b"), entry("a")])).toThrow("sorted");
    expect(() => build([entry("a"), entry("a")])).toThrow("sorted");
  });

  test("fixed vector of a split directory", () => {
    expect(Buffer.from(build(many(20_000)).root).toString("hex")).toBe(
      "3d30633f9e280e7d89b7ed81c4cc301ed1112a7fd6d3a88b4d11d563322e7ac0",
    );
  });
});

describe("chunk lists", () => {
  const ids = (count: number): Buffer => expand("ids", count * 32);
  const resolve = (store: Store, list: { depth: number; ids: Uint8Array }): Buffer => {
    let level = Buffer.from(list.ids);
    for (let depth = list.depth; depth > 0; depth--) {
      const parts: Uint8Array[] = [];
      for (let at = 0; at < level.length; at += 32) {
        const node = decodeNode(store.node(level.subarray(at, at + 32)));
        expect(node.type).toBe("list");
        if (node.type === "list") parts.push(node.ids);
      }
      for (const part of parts.slice(0, -1)) expect(part.length).toBe(4096 * 32);
      level = Buffer.concat(parts);
    }
    return level;
  };

  test.each([
    [0, 0, 0],
    [1, 0, 1],
    [256, 0, 256],
    [257, 1, 1],
    [4096, 1, 1],
    [4097, 1, 2],
    [70_000, 1, 18],
  ])("%i chunks: depth %i, %i ids", (count, depth, top) => {
    const store = new Store();
    const list = buildChunkList(ids(count), store.emit);
    expect([list.depth, list.ids.length / 32]).toEqual([depth, top]);
    expect(resolve(store, list).equals(ids(count))).toBe(true);
  });

  test("more than 1,048,576 chunks take two levels", () => {
    const store = new Store();
    const all = Buffer.alloc((256 * 4096 + 1) * 32, 1);
    const list = buildChunkList(all, store.emit);
    expect([list.depth, list.ids.length / 32]).toEqual([2, 1]);
  });

  test("a list has at most 4,096 ids", () => {
    const list = (count: number): Buffer =>
      new ByteWriter()
        .u8(1)
        .u8(2)
        .varint(count)
        .raw(Buffer.alloc(count * 32))
        .finish();
    expect(code(() => decodeNode(list(4096)))).toBe("no error");
    expect(code(() => decodeNode(list(4097)))).toBe("object_malformed");
  });
});
