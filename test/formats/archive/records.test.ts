import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HoldfastError } from "../../../src/base/errors.ts";
import { asRunId, asSnapshotId } from "../../../src/base/ids.ts";
import { ByteWriter } from "../../../src/codec/binary.ts";
import { PIECE_BYTES, readNode, writeRecord, type EntryRecord } from "../../../src/formats/archive/entry-record.ts";
import { decodeManifest, encodeManifest, type Manifest } from "../../../src/formats/archive/manifest.ts";
import { decodeSealed, encodeSealed } from "../../../src/formats/archive/sealed-json.ts";

const sizes = { tarBytes: 2 ** 40, entriesBytes: 2 ** 40 };
const meta = {
  mode: 0o640,
  uid: 1,
  gid: 2,
  user: "u",
  group: "g",
  mtimeNs: -1n,
  ctimeNs: 7n,
  inode: 9n,
  links: 1,
  device: 3n,
  xattrs: [],
};
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "latin1"));

function node(records: readonly EntryRecord[]): Buffer {
  const to = new ByteWriter().varint(records.length);
  for (const record of records) writeRecord(to, record);
  return to.finish();
}

function plain(name: string, more: Partial<EntryRecord> = {}): EntryRecord {
  return { name: bytes(name), type: "fifo", meta, size: 0, changedWhileRead: false, unreadable: false, ...more };
}

const read = (of: Uint8Array, isRoot = false): EntryRecord[] => readNode(of, sizes, isRoot, "The node");
const hash = new Uint8Array(32).fill(7);

describe("entry records", () => {
  it("come back as they were written", () => {
    const records: EntryRecord[] = [
      plain("a", { type: "file", size: 3, changedWhileRead: true, file: { position: 512, extents: undefined, hashes: hash } }),
      plain("b", {
        type: "file",
        size: PIECE_BYTES * 3,
        meta: {
          ...meta,
          mtimeNs: 2n ** 62n,
          inode: 2n ** 64n - 1n,
          xattrs: [{ name: bytes("user.\xff"), value: bytes("\0\n") }],
        },
        file: {
          position: 0,
          extents: [
            { offset: 5, length: 10 },
            { offset: PIECE_BYTES, length: PIECE_BYTES },
          ],
          hashes: new Uint8Array(64),
        },
      }),
      plain("c\xff\n", {
        type: "directory",
        unreadable: true,
        directory: { nodes: [{ offset: 1, length: 2, sha256: hash }], digest: hash },
      }),
      plain("d", { type: "symlink", linkTarget: bytes("../\xe9") }),
      plain("e", { type: "chardev", rdev: 2n ** 40n }),
      plain("f", { type: "socket" }),
    ];
    expect(read(node(records))).toEqual(records);
  });

  it.each([
    ["a name with a slash", node([plain("a/b")])],
    ["two dots", node([plain("..")])],
    ["one dot", node([plain(".")])],
    ["a name with NUL", node([plain("a\0")])],
    ["no name", node([plain("")])],
    ["names out of order", node([plain("b"), plain("a")])],
    ["one name twice", node([plain("a"), plain("a")])],
    [
      "data outside of the archive",
      node([
        plain("a", {
          type: "file",
          size: 2 ** 41,
          file: { position: 0, extents: [{ offset: 0, length: 2 ** 40 + 1 }], hashes: hash },
        }),
      ]),
    ],
    [
      "an extent outside of its file",
      node([plain("a", { type: "file", size: 5, file: { position: 0, extents: [{ offset: 2, length: 4 }], hashes: hash } })]),
    ],
    [
      "an empty extent",
      node([plain("a", { type: "file", size: 5, file: { position: 0, extents: [{ offset: 2, length: 0 }], hashes: hash } })]),
    ],
    [
      "entries outside of the index",
      node([
        plain("a", { type: "directory", directory: { nodes: [{ offset: 2 ** 40, length: 1, sha256: hash }], digest: hash } }),
      ]),
    ],
    ["mode bits that do not exist", node([plain("a", { meta: { ...meta, mode: 0o10000 } })])],
    ["bytes after its end", Buffer.concat([node([plain("a")]), Buffer.from([0])])],
  ])("are refused: %s", (_, damaged) => {
    expect(() => read(damaged)).toThrow(expect.objectContaining({ code: "object_malformed" }));
  });

  it("make a root of exactly one nameless directory", () => {
    const directory = { nodes: [], digest: hash };
    expect(read(node([plain("", { type: "directory", directory })]), true)).toHaveLength(1);
    for (const bad of [[], [plain("", { type: "fifo" })], [plain("a", { type: "directory", directory })]])
      expect(() => read(node(bad), true)).toThrow(expect.objectContaining({ code: "object_malformed" }));
  });

  it("of any bytes are entries or malformed, never anything else", () => {
    const whole = node([
      plain("a", { type: "file", size: 3, file: { position: 512, extents: undefined, hashes: hash } }),
      plain("b", { type: "symlink", linkTarget: bytes("x") }),
    ]);
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (at, value, length) => {
        const damaged = Buffer.from(whole.subarray(0, Math.max(length, 1)));
        damaged[at % damaged.length] = value;
        try {
          for (const { name } of read(damaged)) expect(name.includes(0x2f)).toBe(false);
        } catch (error) {
          if (!(error instanceof HoldfastError) || error.code !== "object_malformed") throw error;
        }
      }),
      { numRuns: 2000 },
    );
  });
});

const uid = asSnapshotId("ab".repeat(16));
const manifest: Manifest = {
  store: "cd".repeat(16),
  info: {
    id: uid,
    run: asRunId("01".repeat(16)),
    host: "h",
    job: "j",
    source: "s",
    sourceType: "files",
    timeMs: 5,
    endMs: 6,
    mode: "full",
    baseline: undefined,
    previous: asSnapshotId("ef".repeat(16)),
    status: "partial",
    sourceBytes: 1,
    newBytes: 2,
    storedBytes: 3,
    files: 4,
    directories: 5,
    others: 6,
    unreadable: [{ path: "/x", reason: "EIO", message: "é" }],
    unreadableCount: 1,
    changedWhileRead: 0,
    toolVersion: "1",
    configDigest: undefined,
    gitCommit: "g",
    description: "",
    tags: ["t"],
    hold: false,
    facts: { rows: [1] },
    objectTimeMs: 9,
    root: "",
  },
  tar: [{ bytes: 1024, sha256: "12".repeat(32) }],
  entries: [{ bytes: 99, sha256: "34".repeat(32) }],
  root: { offset: 90, length: 9, sha256: Buffer.alloc(32, 1) },
};

describe("manifests", () => {
  it("come back as they were written, and are JSON for everyone", () => {
    const stored = encodeManifest(manifest);
    expect(decodeManifest(stored, uid, 9)).toEqual(manifest);
    expect(JSON.parse(stored.toString())).toMatchObject({ uid, job: "j", time: "1970-01-01T00:00:00.005Z", tar: manifest.tar });
  });

  it.each<[string, Manifest]>([
    ["a part without bytes", { ...manifest, tar: [{ bytes: 0, sha256: "12".repeat(32) }] }],
    ["a hash that is none", { ...manifest, tar: [{ bytes: 1, sha256: "12" }] }],
    ["a root outside of the index", { ...manifest, root: { ...manifest.root, length: 10 } }],
    ["a negative count", { ...manifest, info: { ...manifest.info, files: -1 } }],
    ["another archive's id", { ...manifest, info: { ...manifest.info, id: asSnapshotId("00".repeat(16)) } }],
  ])("are refused: %s", (_, bad) => {
    expect(() => decodeManifest(encodeManifest(bad), uid, undefined)).toThrow(
      expect.objectContaining({ code: "object_malformed" }),
    );
  });
});

describe("sealed JSON", () => {
  it("tells any changed byte", () => {
    const stored = encodeSealed({ a: "text", n: 1, list: [] });
    expect(decodeSealed(stored, "It").text("a")).toBe("text");
    for (let at = 0; at < stored.length; at++) {
      const damaged = Buffer.from(stored);
      damaged[at] = (damaged[at] as number) ^ 1;
      expect(() => decodeSealed(damaged, "It"), `byte ${at}`).toThrow(HoldfastError);
      expect(() => decodeSealed(stored.subarray(0, at), "It"), `cut at ${at}`).toThrow(HoldfastError);
    }
  });
});
