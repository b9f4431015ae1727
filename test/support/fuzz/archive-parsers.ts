/** Every reader of what lies on an archive target. Their hashes tell damage, not intent: so they are made to fit again. */
import { asRunId, asSnapshotId } from "../../../src/base/ids.ts";
import { ByteWriter } from "../../../src/codec/binary.ts";
import { readNotes } from "../../../src/formats/archive/archive-notes.ts";
import { contentKey, digestText, readNode, writeRecord, type EntryRecord } from "../../../src/formats/archive/entry-record.ts";
import { decodeManifest, encodeManifest } from "../../../src/formats/archive/manifest.ts";
import { encodeSealed } from "../../../src/formats/archive/sealed-json.ts";
import { readStoreId } from "../../../src/formats/archive/store-config.ts";
import { createHash } from "node:crypto";
import type { FuzzedParser } from "./fuzz.ts";
import { targetOf } from "./repository-parsers.ts";

const UID = asSnapshotId("0a".repeat(16));
const SIZES = { tarBytes: 2 ** 40, entriesBytes: 2 ** 40 };
const SEAL_BYTES = `,"sha256":"${"0".repeat(64)}"}\n`.length;

/** The bytes with a hash at their end that fits. */
function resealed(bytes: Buffer): Buffer {
  const head = bytes.subarray(0, Math.max(0, bytes.length - SEAL_BYTES));
  return Buffer.concat([head, Buffer.from(`,"sha256":"${createHash("sha256").update(head).digest("hex")}"}\n`)]);
}

function manifest(): Buffer {
  const part = { bytes: 1000, sha256: "cd".repeat(32) };
  return encodeManifest({
    store: "ee".repeat(16),
    tar: [part, part],
    entries: [part],
    root: { offset: 10, length: 20, sha256: Buffer.alloc(32, 1) },
    info: {
      id: UID,
      run: asRunId("0b".repeat(16)),
      host: "laptop",
      job: "home",
      source: "documents",
      sourceType: "files",
      timeMs: 1_767_225_600_000,
      endMs: 1_767_225_600_001,
      mode: "full",
      baseline: undefined,
      previous: asSnapshotId("0d".repeat(16)),
      status: "success",
      sourceBytes: 1,
      newBytes: 2,
      storedBytes: 3,
      files: 4,
      directories: 5,
      others: 6,
      unreadable: [{ path: "/a", reason: "EACCES", message: "permission denied" }],
      unreadableCount: 1,
      changedWhileRead: 0,
      toolVersion: "0.1.0",
      configDigest: "abc",
      gitCommit: undefined,
      description: "ünï",
      tags: ["a"],
      hold: false,
      facts: { rows: 1 },
      objectTimeMs: undefined,
      root: "",
    },
  });
}

function nodes(): Buffer[] {
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
    xattrs: [{ name: Buffer.from("user.a"), value: Buffer.from("b") }],
  };
  const hash = new Uint8Array(32).fill(7);
  const base = { meta, size: 0, changedWhileRead: false, unreadable: false };
  const extents = [
    { offset: 5, length: 10 },
    { offset: 2 ** 22, length: 2 ** 22 },
  ];
  const records: EntryRecord[] = [
    { ...base, name: Buffer.from("a"), type: "file", size: 3, file: { position: 512, extents: undefined, hashes: hash } },
    { ...base, name: Buffer.from("b"), type: "file", size: 2 ** 24, file: { position: 0, extents, hashes: new Uint8Array(64) } },
    {
      ...base,
      name: Buffer.from("c"),
      type: "directory",
      directory: { nodes: [{ offset: 1, length: 2, sha256: hash }], digest: hash },
    },
    { ...base, name: Buffer.from("d"), type: "symlink", linkTarget: Buffer.from("../\xe9") },
    { ...base, name: Buffer.from("e"), type: "chardev", rdev: 2n ** 40n },
    { ...base, name: Buffer.from("f"), type: "fifo" },
  ];
  return [records, records.slice(0, 1), records.slice(2, 4), []].map((list) => {
    const to = new ByteWriter().varint(list.length);
    for (const record of list) writeRecord(to, record);
    return to.finish();
  });
}

export function archiveParsers(): FuzzedParser[] {
  const notes = [
    { type: "verification", timeMs: 1, host: "h", jobs: ["a"], ok: true },
    { type: "policy", timeMs: 2, host: "h", job: "a", policy: { keepLast: 3 } },
    { type: "prune", timeMs: 3, host: "h" },
  ].map(encodeSealed);
  const store = encodeSealed({
    format: "holdfast-archive",
    version: 1,
    id: "ab".repeat(16),
    created: "2026-01-02T03:04:05.006Z",
  });
  return [
    { name: "archive manifest", corpus: [manifest()], parse: (bytes) => decodeManifest(bytes, UID, undefined) },
    {
      name: "archive manifest, hash made to fit",
      corpus: [manifest()],
      parse: (bytes) => decodeManifest(resealed(bytes), UID, undefined),
    },
    {
      name: "archive entries",
      corpus: nodes(),
      parse: (bytes, numbers) => {
        for (const record of readNode(bytes, SIZES, numbers.below(8) === 0, "The node")) {
          contentKey(record);
          digestText(record);
        }
      },
    },
    {
      name: "archive store file, hash made to fit",
      corpus: [store],
      parse: async (bytes) => await readStoreId(targetOf(resealed(bytes)), "disk"),
    },
    {
      name: "archive note, hash made to fit",
      corpus: notes,
      parse: async (bytes) => {
        let damage: unknown;
        await readNotes(targetOf(resealed(bytes), `notes/${"ab".repeat(16)}.json`), (_name, error) => (damage = error));
        if (damage !== undefined) throw damage;
      },
    },
  ];
}
