import { utimesSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { HoldfastError } from "../../../../src/base/errors.ts";
import { asPackId, type PackId } from "../../../../src/base/ids.ts";
import type { SnapshotInfo } from "../../../../src/formats/format.ts";
import type { PackRecord } from "../../../../src/formats/repository/objects/index-object.ts";
import { encodeCondemned } from "../../../../src/formats/repository/objects/condemned-object.ts";
import { decodeIndexObject } from "../../../../src/formats/repository/objects/index-object.ts";
import type { Repository } from "../../../../src/formats/repository/repository.ts";
import { mergeIndexObjects, PendingIndex } from "../../../../src/formats/repository/write/commit.ts";
import { FakeClock } from "../../../support/fake-clock.ts";
import { MemoryTarget } from "../../../support/memory-target.ts";
import { temporaryTree } from "../../../support/tree-literal.ts";
import { backUp, backUpTo, contentsOf, createStore, noise, openStore, snapshotOf, SpyTarget } from "./fixture.ts";

const HOUR = 3_600_000;

const packsOf = (target: MemoryTarget): PackId[] =>
  [...target.objects.keys()].filter((name) => name.startsWith("packs/")).map((name) => asPackId(name.slice(9)));
const namesIn = (target: MemoryTarget, folder: string): string[] =>
  [...target.objects.keys()].filter((name) => name.startsWith(`${folder}/`));

async function condemn(
  repository: Repository,
  packs: readonly PackId[],
  reason: "prune" | "unindexed" | "damaged" = "prune",
): Promise<void> {
  await repository.putObject(
    "condemned",
    encodeCondemned({ reason, time: new Date().toISOString(), packs, owner: "ab".repeat(16) }),
  );
}

test("the order of a backup: lease, packs, index, lease read back with condemned listed after its put, snapshot, release", async () => {
  using source = temporaryTree({ a: noise(200_000), b: "b" });
  const target = new SpyTarget(new MemoryTarget());
  await using store = await createStore(target);
  target.log.length = 0;
  await backUp(store, [source.path]);
  const puts = target.steps.filter((line) => line.startsWith("put ") || line.startsWith("delete "));
  expect(puts).toEqual(["put leases/", "put packs/", "put index/", "put leases/", "put snapshots/", "delete leases/"]);
  const at = (line: string, from = 0): number => target.log.findIndex((one, i) => i >= from && one.startsWith(line));
  const confirmed = at("put leases/", at("put index/"));
  const lease = target.log[confirmed]?.slice(4);
  for (const line of [`get ${lease}`, "list condemned/"]) {
    expect(at(line, confirmed)).toBeGreaterThan(confirmed);
    expect(at(line, confirmed)).toBeLessThan(at("put snapshots/"));
  }
});

test("unchanged files are not read, and keep their chunks", async () => {
  // Old enough that no time stamp is racy.
  const path = fileURLToPath(new URL("../../../../node_modules/yaml", import.meta.url));
  const target = new MemoryTarget();
  await using store = await createStore(target);
  const first = await backUp(store, [path]);
  expect(first.facts).toEqual({ unchangedFiles: 0 });
  const second = await backUp(store, [path], { baseline: first });
  expect(second.facts).toEqual({ unchangedFiles: first.files });
  expect(second).toMatchObject({ files: first.files, sourceBytes: first.sourceBytes });
  // Only folders above it may have changed meanwhile.
  expect(second.newBytes).toBeLessThan(100_000);
  expect(await contentsOf(target, second, path)).toEqual(await contentsOf(target, first, path));
});

test("what was just written is racy: it is read again, and stores nothing", async () => {
  using source = temporaryTree({ a: noise(300_000, 1) });
  // An hour ahead: just written at any time that this test takes.
  const ahead = Date.now() / 1000 + 3600;
  utimesSync(join(source.path, "a"), ahead, ahead);
  const target = new MemoryTarget();
  await using store = await createStore(target);
  const first = await backUp(store, [source.path]);
  const second = await backUp(store, [source.path], { baseline: first });
  expect(second.facts).toEqual({ unchangedFiles: 0 });
  expect(second.newBytes).toBeLessThan(20_000);
});

test.each(["condemned", "damaged", "missing", "shortened"] as const)(
  "files whose chunks lie in a %s pack are read again",
  async (what) => {
    using source = temporaryTree({ a: noise(200_000, 1) });
    const target = new MemoryTarget();
    let baseline: SnapshotInfo;
    {
      await using store = await createStore(target);
      baseline = await backUp(store, [source.path]);
      const packs = packsOf(target);
      expect(packs).toHaveLength(2);
      if (what === "condemned") await condemn(store.repository, packs);
      if (what === "damaged") await condemn(store.repository, packs, "damaged");
      for (const pack of packs) {
        const name = `packs/${pack.slice(0, 2)}/${pack}`;
        const object = target.objects.get(name);
        if (what === "missing") target.objects.delete(name);
        if (what === "shortened" && object !== undefined) object.bytes = object.bytes.slice(0, 3000);
      }
      // In the same process, whose index still believes in them …
      const again = await backUp(store, [source.path], { baseline });
      expect(again.newBytes).toBeGreaterThan(200_000);
      expect(again.facts).toEqual({ unchangedFiles: 0 });
      expect(await contentsOf(target, again, source.path)).toEqual({ a: noise(200_000, 1).toString("latin1") });
      for (const name of namesIn(target, "packs").filter((one) => !packs.some((pack) => one.includes(pack))))
        target.objects.delete(name);
      for (const name of [...namesIn(target, "snapshots"), ...namesIn(target, "index")].slice(2)) target.objects.delete(name);
    }
    // … and in another.
    await using other = await openStore(target);
    const again = await backUp(other, [source.path], { baseline });
    expect(again.newBytes).toBeGreaterThan(200_000);
    expect(await contentsOf(target, again, source.path)).toEqual({ a: noise(200_000, 1).toString("latin1") });
  },
);

test("where a listing lags behind, a pack that it does not show is not taken for lost", async () => {
  using source = temporaryTree({ a: noise(200_000, 1) });
  const target = new MemoryTarget({ listing: "eventual" });
  await using store = await createStore(target);
  await backUp(store, [source.path]);
  expect(await target.list("packs/")).toEqual([]);
  // Folders above the source may change meanwhile, which makes a small new tree.
  expect((await backUp(store, [source.path])).newBytes).toBeLessThan(100_000);
  for (const pack of namesIn(target, "packs")) target.objects.delete(pack);
  expect((await backUp(store, [source.path])).newBytes).toBeGreaterThan(200_000);
});

test("what an interrupted backup had put is taken over, but not what is condemned or damaged", async () => {
  using source = temporaryTree({ a: noise(150_000, 1), b: noise(150_000, 2), c: noise(150_000, 3), d: noise(150_000, 4) });
  const target = new MemoryTarget();
  {
    const spy = new SpyTarget(target);
    spy.before = ({ verb, name }) => {
      if (verb === "put" && name.startsWith("index/")) throw new HoldfastError("target_unreachable", "cut off");
    };
    await using store = await createStore(spy, { packBytes: 100_000 });
    await expect(backUp(store, [source.path], { grouping: "file" })).rejects.toThrow("cut off");
  }
  expect(namesIn(target, "index")).toEqual([]);
  const left = packsOf(target);
  expect(left.length).toBeGreaterThanOrEqual(4);
  const data = left.filter((pack) => (target.objects.get(`packs/${pack.slice(0, 2)}/${pack}`)?.bytes.length ?? 0) > 100_000);
  const [damaged, condemned] = data as [PackId, PackId];
  const object = target.objects.get(`packs/${damaged.slice(0, 2)}/${damaged}`);
  // In the directory, near the end.
  if (object !== undefined) target.corrupt(`packs/${damaged.slice(0, 2)}/${damaged}`, object.bytes.length - 500);
  await using store = await openStore(target, { packBytes: 100_000 });
  await condemn(store.repository, [condemned], "unindexed");
  const snapshot = await backUp(store, [source.path], { grouping: "file" });
  expect(snapshot.newBytes).toBeGreaterThanOrEqual(300_000);
  expect(snapshot.newBytes).toBeLessThan(310_000);
  const named = new Set(store.repository.activeIndexObjects().flatMap(({ packs }) => packs));
  expect(left.filter((pack) => !named.has(pack)).sort()).toEqual([damaged, condemned].sort());
  expect(Object.keys(await contentsOf(target, snapshot, source.path))).toEqual(["a", "b", "c", "d"]);
});

test("chunks condemned between the reading and the commit are copied out", async () => {
  using source = temporaryTree({ a: noise(300_000, 1), sub: { b: "text".repeat(1000) } });
  const memory = new MemoryTarget();
  const target = new SpyTarget(memory);
  await using store = await createStore(target, { packBytes: 100_000 });
  const baseline = await backUp(store, [source.path]);
  const old = packsOf(memory);
  const snapshot = await backUp(store, [source.path], {
    baseline,
    finishSource: async () => {
      await condemn(store.repository, old);
      return {};
    },
  });
  // As a sweep would in the end.
  for (const pack of old) memory.objects.delete(`packs/${pack.slice(0, 2)}/${pack}`);
  const contents = await contentsOf(memory, snapshot, source.path);
  expect(contents).toEqual({ a: noise(300_000, 1).toString("latin1"), "sub/b": "text".repeat(1000) });
});

test("when a condemned pack cannot be copied out any more, nothing is committed", async () => {
  using source = temporaryTree({ a: noise(300_000, 1) });
  const target = new MemoryTarget();
  await using store = await createStore(target);
  const baseline = await backUp(store, [source.path]);
  const old = packsOf(target);
  const [result] = await backUpTo([store], [source.path], {
    baseline,
    finishSource: async () => {
      await condemn(store.repository, old);
      for (const pack of old) target.objects.delete(`packs/${pack.slice(0, 2)}/${pack}`);
      return {};
    },
  });
  expect(result).toMatchObject({
    error: { code: expect.stringMatching(/^(chunk_missing|object_damaged|target_missing_object)$/) },
  });
  expect(await store.snapshots()).toHaveLength(1);
});

test("a process that stood still longer than its lease checks that the packs it relies on are there", async () => {
  using source = temporaryTree({ a: noise(300_000, 1) });
  const memory = new MemoryTarget();
  const clock = new FakeClock(Date.now());
  await using store = await createStore(memory, { clock });
  const baseline = await backUp(store, [source.path]);
  const old = packsOf(memory);
  // The packs vanish while it stands still, tombstones and all.
  const [lost] = await backUpTo([store], [source.path], {
    baseline,
    finishSource: async () => {
      await clock.suspend(3 * HOUR);
      for (const pack of old) memory.objects.delete(`packs/${pack.slice(0, 2)}/${pack}`);
      return {};
    },
  });
  expect(lost).toMatchObject({ error: { code: "chunk_missing" } });
  expect(namesIn(memory, "snapshots")).toHaveLength(1);
  // With everything in place a pause alone stops nothing.
  const again = await backUp(store, [source.path]);
  const paused = await backUp(store, [source.path], {
    baseline: again,
    finishSource: async () => (await clock.suspend(3 * HOUR), {}),
  });
  expect(await contentsOf(memory, paused, source.path)).toEqual({ a: noise(300_000, 1).toString("latin1") });
});

test.each([
  [false, { snapshots: 1, notes: 0, deletes: true }],
  [true, { snapshots: 2, notes: 1, deletes: false }],
])("a snapshot whose packs vanished during its put is withdrawn (append-only: %s)", async (appendOnly, expected) => {
  using source = temporaryTree({ a: noise(300_000, 1) });
  const memory = new MemoryTarget();
  const target = new SpyTarget(memory);
  const clock = new FakeClock(Date.now());
  await using store = await createStore(target, { clock, appendOnly });
  const baseline = await backUp(store, [source.path]);
  const old = packsOf(memory);
  target.before = async ({ verb, name }) => {
    if (verb !== "put" || !name.startsWith("snapshots/")) return;
    await clock.suspend(3 * HOUR);
    for (const pack of old) memory.objects.delete(`packs/${pack.slice(0, 2)}/${pack}`);
  };
  target.log.length = 0;
  const [result] = await backUpTo([store], [source.path], { baseline });
  expect(result).toMatchObject({ error: { code: "snapshot_withdrawn" } });
  expect([namesIn(memory, "snapshots").length, namesIn(memory, "notes").length]).toEqual([expected.snapshots, expected.notes]);
  expect(target.log.some((line) => line.startsWith("delete snapshots/"))).toBe(expected.deletes);
  expect((await store.snapshots()).map(({ id }) => id)).toEqual([baseline.id]);
});

test("an append-only target is never deleted from", async () => {
  using source = temporaryTree({ a: "a" });
  const memory = new MemoryTarget();
  await using store = await createStore(memory, { appendOnly: true });
  await backUp(store, [source.path]);
  await backUp(store, [source.path]);
  expect(memory.requests.delete).toBe(0);
});

test("a snapshot stays committed when what is done after it fails", async () => {
  using source = temporaryTree({ a: "a" });
  const memory = new MemoryTarget();
  const target = new SpyTarget(memory);
  await using store = await createStore(target);
  for (let i = 0; i < 66; i++) await store.repository.putIndexObject([fakePack(i, 3)], []);
  for (let i = 0; i < 66; i++) store.repository.index.addPack(fakePack(i, 3));
  let committed = false;
  target.before = async ({ verb, name }) => {
    if (committed && verb === "put" && name.startsWith("index/")) throw new HoldfastError("target_full", "full");
    committed ||= verb === "put" && name.startsWith("snapshots/");
  };
  // The made-up packs are not there, so they count as damaged and would not be merged: their state is set back first.
  const snapshot = snapshotOf(
    (
      await backUpTo([store], [source.path], {
        finishSource: async () => {
          for (let i = 0; i < 66; i++) store.repository.index.setPackState(fakePack(i, 3).id, "ok");
          return {};
        },
      })
    )[0],
  );
  expect(target.log.filter((line) => line.startsWith("put index/")).length).toBeGreaterThan(67);
  expect(Object.keys(await contentsOf(memory, snapshot, source.path))).toEqual(["a"]);
});

function fakePack(number: number, chunks: number): PackRecord {
  const chunkIds = new Uint8Array(chunks * 16);
  const view = new DataView(chunkIds.buffer);
  for (let i = 0; i < chunks; i++) {
    view.setUint32(i * 16, number * 100_003 + i);
    view.setUint32(i * 16 + 4, number);
  }
  return {
    id: asPackId(number.toString(16).padStart(64, "0")),
    kind: 1,
    sizeBytes: 4096 * 100,
    rows: [{ suite: 0, epoch: 1, keyId: new Uint8Array(16), sealedKey: new Uint8Array(0) }],
    frames: [
      { codec: 0, row: 0, storedLength: chunks + 48, rawLength: chunks, chunkIds, chunkLengths: new Uint32Array(chunks).fill(1) },
    ],
  };
}

async function indexObjects(repository: Repository): Promise<{ packs: number; chunks: number; supersedes: number }[]> {
  const all = [];
  for (const { id } of await repository.listObjects("index")) {
    const { packs, supersedes } = decodeIndexObject(await repository.readObject("index", id));
    const chunks = packs.reduce(
      (sum, pack) => sum + pack.frames.reduce((inner, frame) => inner + frame.chunkLengths.length, 0),
      0,
    );
    all.push({ packs: packs.length, chunks, supersedes: supersedes.length });
  }
  return all;
}

test("no index object holds more than 65,536 chunks, unless one pack alone does", async () => {
  const target = new MemoryTarget();
  await using store = await createStore(target);
  const pending = new PendingIndex(store.repository);
  for (const [number, chunks] of [40_000, 25_536, 1, 65_536, 70_000, 30_000, 30_000].entries())
    pending.add(fakePack(number, chunks));
  expect(pending.due()).toBe(true);
  await pending.write();
  expect(pending.due()).toBe(false);
  const chunks = (await indexObjects(store.repository)).map((object) => object.chunks);
  expect(chunks.sort((a, b) => a - b)).toEqual([1, 60_000, 65_536, 65_536, 70_000]);
});

test("many small index objects are merged, large ones and those with condemned packs are left alone", async () => {
  const target = new MemoryTarget();
  await using store = await createStore(target);
  const { repository } = store;
  const put = async (number: number, chunks: number): Promise<void> => {
    const pack = fakePack(number, chunks);
    repository.index.addPack(pack);
    await repository.putIndexObject([pack], []);
  };
  for (let i = 0; i < 64; i++) await put(i, 2000);
  await put(1000, 50_000);
  await put(1001, 60_000);
  await mergeIndexObjects(repository);
  expect((await indexObjects(repository)).length).toBe(66);
  // One that names a condemned pack does not count, either.
  await put(2000, 10);
  await condemn(repository, [fakePack(2000, 10).id]);
  await repository.refreshCondemned();
  await mergeIndexObjects(repository);
  expect((await indexObjects(repository)).length).toBe(67);
  await put(64, 2000);
  await mergeIndexObjects(repository);
  const merged = (await indexObjects(repository)).filter(({ packs, supersedes }) => packs > 1 || supersedes > 0);
  expect(merged.map(({ packs }) => packs)).toEqual([32, 32]);
  expect(merged.map(({ supersedes }) => supersedes).sort((a, b) => a - b)).toEqual([0, 65]);
  // Again: nothing is left to merge.
  const before = target.requests.put;
  await mergeIndexObjects(repository);
  expect(target.requests.put).toBe(before);
  // Whoever opens it now finds every pack, and counts few objects.
  await using other = await openStore(target);
  await other.loadIndex();
  expect(other.repository.index.packCount).toBe(68);
  expect(other.repository.activeIndexObjects()).toHaveLength(6);
});

test("what merges write in a repository's life grows little faster than its index", async () => {
  const target = new MemoryTarget();
  await using store = await createStore(target);
  const { repository } = store;
  const COMMITS = 1500;
  let [written, most] = [0, 0];
  for (let i = 0; i < COMMITS; i++) {
    repository.index.addPack(fakePack(i, 4));
    await repository.putIndexObject([fakePack(i, 4)], []);
    const before = new Set(repository.activeIndexObjects().map(({ id }) => id));
    await mergeIndexObjects(repository);
    const active = repository.activeIndexObjects();
    for (const { id, chunks } of active) if (!before.has(id)) written += chunks;
    most = Math.max(most, active.length);
  }
  expect(most).toBeLessThanOrEqual(64);
  // Each chunk is written again a few times; if all were merged each time, it would be 12 times at this size, and more with every commit.
  expect(written / (COMMITS * 4)).toBeLessThan(5);
  await using other = await openStore(target);
  await other.loadIndex();
  expect(other.repository.index.packCount).toBe(COMMITS);
});
