import { expect, test } from "vitest";
import { buildTree } from "../objects/build-tree.ts";
import { systemRandom } from "../../../../src/codec/system-random.ts";
import { KeySet } from "../../../../src/formats/repository/keys/key-set.ts";
import { keyMaterial, newKeyring } from "../../../../src/formats/repository/keys/keyring.ts";
import { ENTRY_FLAG, type TreeEntry } from "../../../../src/formats/repository/objects/tree-entry.ts";
import { decodeNode, encodedEntry } from "../../../../src/formats/repository/objects/tree-node.ts";
import { BaselineFolder, type BaselineTrees } from "../../../../src/formats/repository/write/baseline-trees.ts";
import { FrameBuilder } from "../../../../src/formats/repository/write/frame-builder.ts";
import {
  FILE_CHANGED,
  FILE_OK,
  FILE_PART,
  FILE_UNREADABLE,
  FILE_VANISHED,
  type FileBatch,
  type FileExtra,
  type TreeCounts,
} from "../../../../src/formats/repository/write/messages.ts";
import { TreeBuilder } from "../../../../src/formats/repository/write/tree-builder.ts";
import type { Entry, EntryMeta } from "../../../../src/sources/source.ts";

const keyring = newKeyring({
  master: systemRandom.bytes(32),
  lineageSecret: systemRandom.bytes(32),
  created: "2026-01-01T00:00:00.000Z",
});
const material = keyMaterial(systemRandom.bytes(16), systemRandom.bytes(32), keyring);
const keys = new KeySet(material);
const M = 2 ** 20;

const meta = (more: Partial<EntryMeta> = {}): EntryMeta => ({
  mode: 0o644,
  uid: 0,
  gid: 0,
  user: "root",
  group: "root",
  mtimeNs: 1_000n,
  ctimeNs: 1_000n,
  inode: 1n,
  links: 1,
  device: 1n,
  xattrs: [],
  ...more,
});
const file = (name: string, size: number, more: Partial<EntryMeta> = {}, sparse = false): Entry => ({
  name: Buffer.from(name),
  type: "file",
  size,
  meta: meta(more),
  content: { open: Buffer.from(`/src/${name}`), sparse },
});
const root: Entry = { name: Buffer.alloc(0), type: "directory", size: 0, meta: meta() };
const idOf = (text: string): Buffer => keys.chunkId(1, Buffer.from(text));

/** A folder of a baseline, as it was stored. */
function folderOf(entries: readonly TreeEntry[]): BaselineFolder {
  const nodes: { id: Uint8Array; bytes: Buffer }[] = [];
  buildTree(
    entries.map((entry) => ({ name: entry.name, encoded: encodedEntry(entry) })),
    (bytes) => {
      const id = keys.chunkId(2, bytes);
      nodes.push({ id, bytes: Buffer.from(bytes) });
      return id;
    },
  );
  return new BaselineFolder(nodes);
}

interface Outcome {
  readonly status?: number;
  readonly ids?: readonly Buffer[];
  readonly bytes?: number;
  readonly segment?: number;
  readonly extra?: Omit<FileExtra, "item">;
}

/** A builder whose surroundings are this test: batches and checks are kept, and answered when the test says so. */
class Harness {
  readonly batches: FileBatch[] = [];
  readonly checks: {
    readonly check: number;
    readonly counts: Uint32Array;
    readonly ids: Uint8Array;
    readonly listIds: Uint8Array;
  }[] = [];
  /** Data chunks of a large file of the baseline, joined; undefined when its lists cannot be read. */
  large: Buffer | undefined;
  readonly problems: string[] = [];
  readonly chunks = new Map<string, Buffer>();
  counts: TreeCounts | undefined;
  #root: Uint8Array | undefined;
  readonly #claims: { batch: number; count: number }[] = [];
  readonly builder: TreeBuilder;

  constructor(baseline?: readonly TreeEntry[], folder = baseline === undefined ? undefined : folderOf(baseline)) {
    const frames = new FrameBuilder(
      2,
      { repositories: [material], codec: "none", level: 0, frameBytes: M, grouping: "frame" },
      systemRandom,
    );
    const add = frames.add.bind(frames);
    frames.add = (bytes, id, mask, owner) => {
      this.chunks.set(Buffer.from(id).toString("hex"), Buffer.from(bytes));
      add(bytes, id, mask, owner);
    };
    const chunkIds = async (entry: TreeEntry, lists: Buffer[]): Promise<Buffer | undefined> => {
      expect(entry.depth).toBe(1);
      lists.push(idOf("list"));
      return this.large;
    };
    const trees = baseline === undefined ? undefined : ({ root: async () => folder, chunkIds } as unknown as BaselineTrees);
    this.builder = new TreeBuilder(
      keys,
      1,
      frames,
      {
        files: (batch) => this.batches.push(batch),
        stream: () => undefined,
        claims: (batch, ids) => this.#claims.push({ batch, count: ids.length / 32 }),
        check: (check, ids, counts, listIds) => this.checks.push({ check, counts, ids, listIds }),
        frames: () => undefined,
        problem: (path, reason) => this.problems.push(`${Buffer.from(path).toString()} ${reason}`),
        ended: (id, counts) => {
          this.#root = id;
          this.counts = counts;
        },
      },
      trees,
      (path) => path,
    );
  }

  async walk(entries: readonly Entry[]): Promise<void> {
    await this.builder.take({ step: "enter", entry: root });
    for (const entry of entries) await this.builder.take({ step: "leaf", entry });
    await this.builder.take({ step: "leave" });
    this.builder.end();
  }

  /** Numbers of the files that were asked for so far, with their paths. */
  get asked(): { readonly number: number; readonly path: string; readonly second: boolean }[] {
    return this.batches.flatMap((batch) =>
      Array.from(batch.files, (number, i) => ({
        number,
        path: Buffer.from(batch.paths.subarray(i === 0 ? 0 : batch.pathEnds[i - 1], batch.pathEnds[i])).toString(),
        second: ((batch.flags[i] as number) & 2) !== 0,
      })),
    );
  }

  answer(number: number, outcome: Outcome): void {
    const ids = outcome.ids ?? [];
    this.builder.results({
      batch: 0,
      files: Uint32Array.of(number),
      status: Uint8Array.of(outcome.status ?? FILE_OK),
      chunkCounts: Uint32Array.of(ids.length),
      ids: Uint8Array.from(Buffer.concat(ids)),
      bytes: Float64Array.of(outcome.bytes ?? 0),
      extras: outcome.extra === undefined ? [] : [{ item: 0, ...outcome.extra }],
      ...(outcome.segment !== undefined && { segment: outcome.segment }),
    });
  }

  /** The entries of the root, once all is answered. */
  finish(): TreeEntry[] {
    for (let claim = this.#claims.shift(); claim !== undefined; claim = this.#claims.shift())
      this.builder.claimed(claim.batch, new Uint8Array(claim.count).fill(1));
    if (this.#root === undefined) throw new Error("the tree is not complete");
    return this.#below(this.#root);
  }

  #below(id: Uint8Array): TreeEntry[] {
    const node = decodeNode(this.chunks.get(Buffer.from(id).toString("hex")) as Buffer);
    if (node.type === "list") throw new Error("a list is no tree");
    return node.type === "leaf" ? node.entries : node.children.flatMap((child) => this.#below(child.id));
  }
}

const linked = (name: string, more: Partial<EntryMeta> = {}): Entry => file(name, 5, { links: 3, inode: 7n, ...more });
const namesOf = (entries: readonly TreeEntry[]): string[] => entries.map(({ name }) => Buffer.from(name).toString());

test("a file with several names is read once, whether its other names come before or after the answer", async () => {
  const harness = new Harness();
  await harness.walk([linked("a"), linked("b"), linked("c")]);
  expect(harness.asked.map(({ path }) => path)).toEqual(["/src/a"]);
  harness.answer(0, { ids: [idOf("x")], bytes: 5 });
  const entries = harness.finish();
  expect(namesOf(entries)).toEqual(["a", "b", "c"]);
  for (const { ids } of entries) expect(Buffer.from(ids).equals(idOf("x"))).toBe(true);
  expect(harness.counts).toMatchObject({ files: 3, sourceBytes: 15 });

  const late = new Harness();
  await late.builder.take({ step: "enter", entry: root });
  await late.builder.take({ step: "leaf", entry: linked("a") });
  late.builder.flushRequests();
  late.answer(0, { ids: [idOf("x")], bytes: 5 });
  await late.builder.take({ step: "leaf", entry: linked("b") });
  // It was written through another name since: what is there now is read.
  await late.builder.take({ step: "leaf", entry: linked("c", { ctimeNs: 2_000n }) });
  await late.builder.take({ step: "leave" });
  late.builder.end();
  expect(late.asked.map(({ path }) => path)).toEqual(["/src/a", "/src/c"]);
  late.answer(1, { ids: [idOf("y")], bytes: 5 });
  expect(late.finish().map(({ ids }) => Buffer.from(ids).equals(idOf("x")))).toEqual([true, true, false]);
});

test.each([
  ["vanished", FILE_VANISHED, ["b", "c"]],
  ["could not be read", FILE_UNREADABLE, ["b", "c"]],
  ["changed twice", FILE_OK | FILE_CHANGED, ["a", "b", "c"]],
])("when the first name %s, the next one is read for the others", async (_, status, left) => {
  const harness = new Harness();
  await harness.walk([linked("a"), linked("b"), linked("c")]);
  harness.answer(0, { status, ids: status >= FILE_CHANGED ? [idOf("half")] : [], bytes: status >= FILE_CHANGED ? 5 : 0 });
  expect(harness.asked.map(({ path }) => path)).toEqual(["/src/a", "/src/b"]);
  harness.answer(1, { ids: [idOf("whole")], bytes: 5 });
  expect(namesOf(harness.finish())).toEqual(left);
  expect(harness.problems).toEqual(status === FILE_UNREADABLE ? ["/a EIO"] : []);
});

test("a large file that changes under its parts is read once more from its start, then marked", async () => {
  const harness = new Harness();
  await harness.walk([file("large", 20 * M), file("small", 1)]);
  const [large] = harness.asked.filter(({ path }) => path === "/src/large");
  const small = harness.asked.find(({ path }) => path === "/src/small");
  harness.answer(small?.number as number, { ids: [idOf("s")], bytes: 1 });
  const number = large?.number as number;
  // The second part comes first.
  harness.answer(number, { segment: 1, status: FILE_OK | FILE_CHANGED, ids: [idOf("2")], bytes: 10 * M });
  harness.answer(number, { segment: 0, status: FILE_PART, ids: [idOf("1")], bytes: 10 * M });
  const second = harness.asked.at(-1);
  expect(second).toMatchObject({ path: "/src/large", second: true });
  harness.answer(second?.number as number, { segment: 0, status: FILE_PART, ids: [idOf("1b")], bytes: 10 * M });
  harness.answer(second?.number as number, {
    segment: 1,
    status: FILE_OK | FILE_CHANGED,
    ids: [idOf("2b")],
    bytes: 9 * M,
    extra: {},
  });
  expect(harness.asked).toHaveLength(3);
  const entry = harness.finish()[0] as TreeEntry;
  expect(Buffer.from(entry.ids).equals(Buffer.concat([idOf("1b"), idOf("2b")]))).toBe(true);
  expect(entry.flags & ENTRY_FLAG.changedWhileRead).toBe(ENTRY_FLAG.changedWhileRead);
  expect(entry.size).toBe(19 * M);
  expect(harness.counts?.changedWhileRead).toBe(1);
  expect(harness.builder.outstanding).toBe(0);
});

test("a file of one part that changes is read once more, too", async () => {
  const harness = new Harness();
  await harness.walk([file("large", 9 * M)]);
  harness.answer(0, { status: FILE_OK | FILE_CHANGED, ids: [idOf("1")], bytes: 9 * M });
  expect(harness.asked.map(({ second }) => second)).toEqual([false, true]);
  harness.answer(1, { ids: [idOf("2")], bytes: 9 * M });
  expect(harness.finish()).toMatchObject([{ size: 9 * M, flags: 0 }]);
});

test("a later part that fails ends the file, whatever comes of its earlier parts", async () => {
  const harness = new Harness();
  await harness.walk([file("large", 30 * M)]);
  harness.answer(0, { segment: 1, status: FILE_UNREADABLE, extra: { problem: { reason: "EIO", message: "bad sector" } } });
  harness.answer(0, { segment: 0, status: FILE_PART, ids: [idOf("1")], bytes: 8 * M });
  expect(harness.finish()).toEqual([]);
  expect(harness.problems).toEqual(["/large EIO"]);
  expect(harness.builder.outstanding).toBe(0);
});

test("of a sparse file that lost its end while it was read, the extents end with the bytes", async () => {
  const harness = new Harness();
  await harness.walk([file("sparse", 100_000, {}, true), file("whole", 100_000, {}, true)]);
  const extents = [
    { offset: 0, length: 4096 },
    { offset: 50_000, length: 4096 },
    { offset: 90_000, length: 4096 },
  ];
  harness.builder.results({
    batch: 0,
    files: Uint32Array.of(0, 1),
    status: Uint8Array.of(FILE_OK | FILE_CHANGED, FILE_OK),
    chunkCounts: Uint32Array.of(1, 0),
    ids: Uint8Array.from(idOf("data")),
    bytes: Float64Array.of(5000, 0),
    extras: [
      {
        item: 0,
        extents,
        stat: {
          size: 60_000,
          mode: 0o100644,
          uid: 0,
          gid: 0,
          mtimeNs: 2n,
          ctimeNs: 2n,
          inode: 1n,
          links: 1,
          device: 1n,
        } as FileExtra["stat"] & object,
      },
      { item: 1, extents: [] },
    ],
  });
  const [sparse, whole] = harness.finish();
  expect(sparse).toMatchObject({
    size: 60_000,
    extents: [
      { offset: 0, length: 4096 },
      { offset: 50_000, length: 904 },
    ],
  });
  expect(whole).toMatchObject({ size: 100_000, extents: [], flags: ENTRY_FLAG.sparse });
  expect(whole?.ids).toHaveLength(0);
});

const stored = (name: string, size: number, more: Partial<TreeEntry> = {}, metaMore: Partial<EntryMeta> = {}): TreeEntry => ({
  name: Buffer.from(name),
  type: "file",
  flags: 0,
  meta: meta(metaMore),
  size,
  profile: size === 0 ? 0 : 1,
  depth: 0,
  ids: size === 0 ? new Uint8Array(0) : Uint8Array.from(idOf(name)),
  extents: [],
  linkTarget: undefined,
  rdev: undefined,
  tree: undefined,
  ...more,
});

test("only what is equal in size, both times and inode is not read; an empty file can be equal, too", async () => {
  const xattr = { name: Buffer.from("user.a"), value: Buffer.from("b") };
  const baseline = [
    stored("a-same", 5, {}, { xattrs: [xattr] }),
    stored("b-empty", 0),
    stored("c-chmod", 5),
    stored("d-mtime", 5),
    stored("e-size", 5),
    stored("f-inode", 5),
    stored("g-racy", 5, { flags: ENTRY_FLAG.racy }),
    stored("h-changed", 5, { flags: ENTRY_FLAG.changedWhileRead }),
    stored("i-profile", 5, { profile: 2 }),
    stored("j-missing", 5),
    stored("l-gone", 5),
  ];
  const harness = new Harness(baseline);
  await harness.walk([
    file("a-same", 5),
    file("b-empty", 0),
    file("c-chmod", 5, { mode: 0o600, ctimeNs: 2_000n }),
    file("d-mtime", 5, { mtimeNs: 2_000n }),
    file("e-size", 6),
    file("f-inode", 5, { inode: 2n }),
    file("g-racy", 5),
    file("h-changed", 5),
    file("i-profile", 5),
    file("j-missing", 5),
    file("k-new", 5),
  ]);
  const [check] = harness.checks;
  expect([...(check?.counts ?? [])]).toEqual([1, 0, 1]);
  // The index does not have the last one's chunk any more.
  harness.builder.checked(check?.check as number, Uint8Array.of(0, 0, 1));
  expect(harness.asked.map(({ path }) => path.slice(5)).sort()).toEqual([
    "c-chmod",
    "d-mtime",
    "e-size",
    "f-inode",
    "g-racy",
    "h-changed",
    "i-profile",
    "j-missing",
    "k-new",
  ]);
  for (const { number } of harness.asked) harness.answer(number, { ids: [idOf("new")], bytes: 5 });
  const entries = harness.finish();
  expect(entries).toHaveLength(11);
  expect(entries[0]?.meta.xattrs).toMatchObject([{ name: Buffer.from("user.a"), value: Buffer.from("b") }]);
  expect(Buffer.from(entries[0]?.ids as Uint8Array).equals(idOf("a-same"))).toBe(true);
  expect(harness.counts).toMatchObject({ files: 11, unchangedFiles: 2 });
});

test("of an unchanged file with lists every chunk and every list is asked about; one that cannot be read is read again", async () => {
  const baseline = [stored("a-large", 300, { depth: 1, ids: Uint8Array.from(idOf("list")) }), stored("b-small", 5)];
  const harness = new Harness(baseline);
  harness.large = Buffer.concat(Array.from({ length: 300 }, (_, i) => idOf(`chunk ${i}`)));
  await harness.walk([file("a-large", 300), file("b-small", 5)]);
  const [check] = harness.checks;
  expect([...(check?.counts ?? [])]).toEqual([300, 1]);
  expect(Buffer.from(check?.ids as Uint8Array).equals(Buffer.concat([harness.large, idOf("b-small")]))).toBe(true);
  expect(Buffer.from(check?.listIds as Uint8Array).equals(idOf("list"))).toBe(true);
  harness.builder.checked(check?.check as number, Uint8Array.of(0, 0));
  expect(harness.asked).toEqual([]);
  expect(harness.finish()[0]).toMatchObject({ depth: 1, size: 300 });

  const blind = new Harness(baseline);
  await blind.walk([file("a-large", 300)]);
  expect(blind.asked.map(({ path }) => path)).toEqual(["/src/a-large"]);
});

test("a folder in which nothing changed gives the nodes it had, without their ids being computed again", async () => {
  const names = Array.from({ length: 6000 }, (_, i) => `file-${String(i).padStart(5, "0")}`);
  const before = names.map((name) => stored(name, 5));
  const harness = new Harness(before);
  let computed = 0;
  const chunkId = keys.chunkId.bind(keys);
  keys.chunkId = (kind, bytes) => {
    computed++;
    return chunkId(kind, bytes);
  };
  try {
    await harness.walk(names.map((name) => file(name, 5)));
    expect(computed).toBe(0);
    for (const { check, counts } of harness.checks) harness.builder.checked(check, new Uint8Array(counts.length));
    expect(computed).toBe(0);
  } finally {
    keys.chunkId = chunkId;
  }
  expect(harness.asked).toEqual([]);
  expect(harness.finish().map(({ name }) => Buffer.from(name).toString())).toEqual(names);
  expect(harness.counts).toMatchObject({ files: 6000, unchangedFiles: 6000 });
  // Several leaves and one node above them.
  expect(harness.chunks.size).toBeGreaterThan(3);
});

test("files that came, went and changed between leaves are told from those that stayed", async () => {
  const name = (i: number): string => `file-${String(i).padStart(5, "0")}`;
  const numbers = Array.from({ length: 6000 }, (_, i) => i);
  const before = numbers.filter((i) => i % 1000 !== 3).map((i) => stored(name(i), 5));
  const harness = new Harness(before);
  const now = numbers.filter((i) => i % 700 !== 5).map((i) => file(name(i), i % 900 === 7 ? 6 : 5));
  await harness.walk(now);
  for (const { check, counts } of harness.checks) harness.builder.checked(check, new Uint8Array(counts.length));
  const read = numbers.filter((i) => i % 700 !== 5 && (i % 1000 === 3 || i % 900 === 7)).map((i) => `/src/${name(i)}`);
  expect(harness.asked.map(({ path }) => path)).toEqual(read);
  for (const { number } of harness.asked) harness.answer(number, { ids: [idOf("new")], bytes: 5 });
  expect(harness.finish().map((entry) => Buffer.from(entry.name).toString())).toEqual(
    now.map((entry) => Buffer.from(entry.name).toString()),
  );
  expect(harness.counts).toMatchObject({ files: now.length, unchangedFiles: now.length - read.length });
});

test("a folder of the baseline that is malformed midway ends there, and the rest is read", async () => {
  const good = ["a", "b", "c", "d"].map((one) => stored(one, 5));
  const bytes = Buffer.concat([
    Buffer.of(1, 0, 4),
    ...good.map((entry, i) => (i === 2 ? Buffer.alloc(60, 0xff) : encodedEntry(entry))),
  ]);
  const folder = new BaselineFolder([{ id: idOf("x"), bytes }]);
  const harness = new Harness(good, folder);
  await harness.walk(["a", "b", "c", "d"].map((one) => file(one, 5)));
  expect(harness.checks.map(({ counts }) => counts.length)).toEqual([2]);
  expect(harness.asked.map(({ path }) => path)).toEqual(["/src/c", "/src/d"]);
});

test("a large folder is encoded while it is walked, not kept until its end", async () => {
  const harness = new Harness();
  const link = (i: number): Entry => ({
    name: Buffer.from(`link-${String(i).padStart(6, "0")}`),
    type: "symlink",
    size: 0,
    meta: meta(),
    linkTarget: Buffer.from("elsewhere"),
  });
  const chunkId = keys.chunkId.bind(keys);
  const emitted: number[] = [];
  keys.chunkId = (kind, bytes) => {
    emitted.push(bytes.length);
    return chunkId(kind, bytes);
  };
  try {
    await harness.builder.take({ step: "enter", entry: root });
    // What is not known yet holds back what follows it, and nothing else.
    await harness.builder.take({ step: "leaf", entry: file("a-file", 5) });
    for (let i = 0; i < 8000; i++) await harness.builder.take({ step: "leaf", entry: link(i) });
    expect(emitted).toEqual([]);
    harness.builder.flushRequests();
    harness.answer(harness.asked[0]?.number as number, { ids: [idOf("content")], bytes: 5 });
    expect(emitted.length).toBeGreaterThan(1);
    const before = emitted.length;
    for (let i = 8000; i < 16_000; i++) await harness.builder.take({ step: "leaf", entry: link(i) });
    expect(emitted.length).toBeGreaterThan(before + 1);
    await harness.builder.take({ step: "leave" });
    harness.builder.end();
  } finally {
    keys.chunkId = chunkId;
  }
  expect(harness.finish()).toHaveLength(16_001);
});
