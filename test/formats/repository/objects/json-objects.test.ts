import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { asObjectId, asPackId, asRunId, asSnapshotId } from "../../../../src/base/ids.ts";
import { decodeCondemned, encodeCondemned } from "../../../../src/formats/repository/objects/condemned-object.ts";
import type { CondemnedObject } from "../../../../src/formats/repository/objects/condemned-object.ts";
import { decodeJson, isoTime, timeOf } from "../../../../src/formats/repository/objects/json-object.ts";
import { decodeLease, encodeLease } from "../../../../src/formats/repository/objects/lease-object.ts";
import type { LeaseObject } from "../../../../src/formats/repository/objects/lease-object.ts";
import { decodeNote, encodeNote } from "../../../../src/formats/repository/objects/note-object.ts";
import type { NoteObject } from "../../../../src/formats/repository/objects/note-object.ts";
import { decodeSnapshot, encodeSnapshot } from "../../../../src/formats/repository/objects/snapshot-object.ts";
import type { SnapshotObject } from "../../../../src/formats/repository/objects/snapshot-object.ts";
import { code } from "../keys/fixtures.ts";

const TIME = "2026-01-02T03:04:05.006Z";
const UID = asSnapshotId("0a".repeat(16));

const SNAPSHOT: SnapshotObject = {
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
};

const LEASE: LeaseObject = {
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
};

const CONDEMNED: CondemnedObject = { reason: "damaged", time: TIME, packs: [asPackId("aa".repeat(32))], owner: "0f".repeat(16) };

const NOTES: NoteObject[] = [
  { type: "tags", time: TIME, host: "h", snapshot: UID, add: ["x"], remove: [] },
  { type: "hold", time: TIME, host: "h", snapshot: UID, until: TIME },
  { type: "hold", time: TIME, host: "h", snapshot: UID, until: true },
  { type: "hold", time: TIME, host: "h", snapshot: UID, until: false },
  { type: "description", time: TIME, host: "h", snapshot: UID, text: "before the upgrade" },
  { type: "verification", time: TIME, host: "h", snapshots: [UID], level: "data", result: "passed", details: { readBytes: 5 } },
  {
    type: "deletion",
    time: TIME,
    host: "h",
    snapshots: [{ uid: UID, object: asObjectId("bb".repeat(32)), time: TIME, job: "j", source: "s", host: "h" }],
  },
  { type: "policy", time: TIME, host: "h", policy: { keepLast: 3 } },
];

/** Every path to a member of a JSON value, lists by their first item. */
function paths(value: unknown, prefix: readonly string[] = []): string[][] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => [[...prefix, name], ...paths(inner, [...prefix, name])]);
}

function changed(value: object, path: readonly string[], to: unknown): Buffer {
  const copy = structuredClone(value) as Record<string, unknown>;
  let inner: Record<string, unknown> = copy;
  for (const name of path.slice(0, -1)) inner = inner[name] as Record<string, unknown>;
  const last = path.at(-1) as string;
  if (to === undefined) delete inner[last];
  else inner[last] = to;
  return Buffer.from(JSON.stringify(copy));
}

/** A value of another type than the one given. */
function wrong(value: unknown): unknown {
  return typeof value === "number" ? "1" : 7.5;
}

interface Case {
  readonly name: string;
  readonly value: object;
  readonly encode: () => Buffer;
  readonly decode: (bytes: Uint8Array) => unknown;
  /** Members that may be absent, or are free in form. */
  readonly optional: readonly string[];
  readonly free: readonly string[];
}

const CASES: Case[] = [
  {
    name: "snapshot",
    value: SNAPSHOT,
    encode: () => encodeSnapshot(SNAPSHOT),
    decode: decodeSnapshot,
    optional: ["baseline", "previous", "configDigest", "gitCommit"],
    free: ["facts"],
  },
  { name: "lease", value: LEASE, encode: () => encodeLease(LEASE), decode: decodeLease, optional: ["released"], free: [] },
  {
    name: "condemned",
    value: CONDEMNED,
    encode: () => encodeCondemned(CONDEMNED),
    decode: decodeCondemned,
    optional: [],
    free: [],
  },
  ...NOTES.map((note): Case => ({
    name: `${note.type} note`,
    value: note,
    encode: () => encodeNote(note),
    decode: decodeNote,
    optional: [],
    free: ["details", "policy"],
  })),
];

describe.each(CASES)("$name", ({ value, encode, decode, optional, free }) => {
  const json = JSON.parse(encode().toString()) as object;

  test("reads back, with unknown members ignored or kept as details", () => {
    expect(decode(encode())).toEqual(value);
    if (!("details" in value)) expect(decode(Buffer.from(JSON.stringify({ ...json, later: { a: 1 } })))).toEqual(value);
  });

  test("is refused when any member is missing or of another type", () => {
    for (const path of paths(json)) {
      const [top] = path as [string];
      if ((free.includes(top) && path.length > 1) || !(top in value)) continue;
      let held: unknown = json;
      for (const name of path) held = (held as Record<string, unknown>)[name];
      const inList = /^\d+$/.test(path.at(-1) as string);
      expect(
        code(() => decode(changed(json, path, wrong(held)))),
        path.join("."),
      ).toBe("object_malformed");
      if (inList) continue;
      for (const gone of [undefined, null])
        expect(
          code(() => decode(changed(json, path, gone))),
          path.join("."),
        ).toBe(optional.includes(top) ? "no error" : "object_malformed");
    }
  });

  test("is refused when cut", () => {
    const bytes = encode();
    for (let length = 0; length < bytes.length; length++)
      expect(code(() => decode(bytes.subarray(0, length)))).toBe("object_malformed");
  });
});

test("fixed vectors", () => {
  expect(encodeLease(LEASE).toString()).toBe(
    `{"owner":"${"0f".repeat(16)}","purpose":"write","sequence":3,"start":"${TIME}","time":"${TIME}","ttlMs":7200000,"host":"laptop",` +
      `"pid":4711,"processStart":"123456","bootId":"b6b1","pidNamespace":"4026531836","released":false}`,
  );
  expect(encodeCondemned(CONDEMNED).toString()).toBe(
    `{"reason":"damaged","time":"${TIME}","packs":["${"aa".repeat(32)}"],"owner":"${"0f".repeat(16)}"}`,
  );
  expect(encodeNote(NOTES[5] as NoteObject).toString()).toBe(
    `{"readBytes":5,"type":"verification","time":"${TIME}","host":"h","snapshots":["${UID}"],"level":"data","result":"passed"}`,
  );
});

test("a snapshot without a baseline says nothing of one", () => {
  const first: SnapshotObject = {
    ...SNAPSHOT,
    baseline: undefined,
    previous: undefined,
    configDigest: undefined,
    gitCommit: undefined,
  };
  expect(encodeSnapshot(first).toString()).not.toMatch(/baseline|previous|configDigest|gitCommit/);
  expect(decodeSnapshot(encodeSnapshot(first))).toEqual(first);
});

test("ids, choices and times are checked for their form", () => {
  const snapshot = (path: string, to: unknown): string => code(() => decodeSnapshot(changed(SNAPSHOT, [path], to)));
  expect(snapshot("uid", "0A".repeat(16))).toBe("object_malformed");
  expect(snapshot("uid", "0a".repeat(15))).toBe("object_malformed");
  expect(snapshot("root", "0a".repeat(16))).toBe("object_malformed");
  expect(snapshot("mode", "total")).toBe("object_malformed");
  expect(snapshot("status", "failed")).toBe("object_malformed");
  expect(snapshot("unreadableCount", -1)).toBe("object_malformed");
  expect(
    snapshot(
      "unreadable",
      Array.from({ length: 1001 }, () => SNAPSHOT.unreadable[0]),
    ),
  ).toBe("object_malformed");
  for (const time of ["2026-01-02", "2026-01-02T03:04:05Z", "2026-02-30T03:04:05.006Z", "2026-13-02T03:04:05.006Z", `${TIME}\n`])
    expect(snapshot("time", time)).toBe("object_malformed");
  expect(code(() => decodeNote(changed(NOTES[1] as object, ["until"], "tomorrow")))).toBe("object_malformed");
  expect(() => decodeSnapshot(changed(SNAPSHOT, ["counts", "files"], "1"))).toThrow(
    "in `counts`, is malformed: `files` is not an integer",
  );
});

test("a type of note that is not known is passed over", () => {
  expect(decodeNote(changed(NOTES[0] as object, ["type"], "escrow"))).toBeUndefined();
});

test("details of a verification never hide its members", () => {
  const note: NoteObject = { ...(NOTES[5] as NoteObject & { type: "verification" }), details: { result: "failed", more: 1 } };
  expect(decodeNote(encodeNote(note))).toEqual({ ...note, details: { more: 1 } });
});

test("what is not one JSON object in UTF-8 is refused", () => {
  for (const text of ["", "null", "[]", '"x"', "1", "{} {}", "\ufeff{}"])
    expect(code(() => decodeJson(Buffer.from(text), "It"))).toBe("object_malformed");
  expect(code(() => decodeJson(Buffer.of(0x7b, 0x22, 0xc3, 0x22, 0x3a, 0x31, 0x7d), "It"))).toBe("object_malformed");
});

test("inherited members are no members", () => {
  const members = decodeJson(Buffer.from('{"__proto__":{"a":"x"}}'), "It");
  expect(members.has("a")).toBe(false);
  expect(members.has("toString")).toBe(false);
  expect(code(() => members.text("constructor"))).toBe("object_malformed");
});

test("times go both ways", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 253_402_300_799_999 }), (timeMs) => {
      expect(timeOf(isoTime(timeMs))).toBe(timeMs);
    }),
  );
});
