import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn, setTimeout } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { expect, test, vi } from "vitest";
import { HoldfastError } from "../../../../src/base/errors.ts";
import type { SnapshotInfo } from "../../../../src/formats/format.ts";
import type { RepositoryStore } from "../../../../src/formats/repository/repository-format.ts";
import { readSnapshots } from "../../../../src/formats/repository/snapshots/snapshot-list.ts";
import { LocalTarget } from "../../../../src/targets/local/local-target.ts";
import type { TargetSpec } from "../../../../src/targets/registry.ts";
import { MemoryTarget } from "../../../support/memory-target.ts";
import { FaultyTarget } from "../../../support/faulty-target.ts";
import { temporaryTree, type TreeLiteral } from "../../../support/tree-literal.ts";
import { LimitTarget } from "../../../../src/targets/wrap/limit.ts";
import { createSystemClock } from "../../../../src/state/system-clock.ts";
import { backUp, backUpTo, contentsOf, createStore, noise, openStore, snapshotOf, SpyTarget } from "./fixture.ts";

const mixed = (): TreeLiteral => ({
  a: { one: "one", two: noise(300_000, 2), empty: "", deep: { deeper: { file: "x".repeat(70_000) } } },
  big: noise(3_000_000, 3),
  z: "last",
});

async function expectMixed(target: MemoryTarget, snapshot: SnapshotInfo, root: string): Promise<void> {
  const contents = await contentsOf(target, snapshot, root);
  expect(Object.keys(contents).sort()).toEqual(["a/deep/deeper/file", "a/empty", "a/one", "a/two", "big", "z"]);
  expect(contents["a/two"] === noise(300_000, 2).toString("latin1")).toBe(true);
  expect(contents["big"] === noise(3_000_000, 3).toString("latin1")).toBe(true);
  expect([contents["a/one"], contents["a/empty"], contents["z"], contents["a/deep/deeper/file"]?.length]).toEqual([
    "one",
    "",
    "last",
    70_000,
  ]);
}

const leases = (target: MemoryTarget): string[] => [...target.objects.keys()].filter((name) => name.startsWith("leases/"));

test("what was written is read back by someone else", async () => {
  using source = temporaryTree(mixed());
  const target = new MemoryTarget();
  await using store = await createStore(target);
  const snapshot = await backUp(store, [source.path]);
  expect(snapshot).toMatchObject({ status: "success", files: 6, unreadableCount: 0, changedWhileRead: 0, mode: "full" });
  expect(snapshot.sourceBytes).toBe(3 + 300_000 + 70_000 + 3_000_000 + 4);
  await expectMixed(target, snapshot, source.path);
  expect(leases(target)).toEqual([]);
});

test("threads that have nothing to do are not started where a baseline is there", async () => {
  using source = temporaryTree(mixed());
  // Old enough not to be racy: nothing is read again.
  await setTimeout(2200);
  await using store = await createStore(new MemoryTarget());
  const first = await backUp(store, [source.path]);
  const started: string[] = [];
  const note = (worker: Worker): void => void started.push(worker.threadName ?? "");
  process.on("worker", note);
  using _ = { [Symbol.dispose]: () => process.off("worker", note) };
  const second = await backUp(store, [source.path], { baseline: first });
  await turn();
  // The folder of temporary files belongs to the snapshot too, and whoever makes another one in it changes it.
  expect(started).toEqual(second.newBytes > 0 ? ["tree-thread", "pack-thread"] : ["tree-thread"]);
});

test.each([
  ["packs smaller than a frame", { latencyMs: 0 }, 64 * 1024, undefined],
  ["packs smaller than a frame, a far target", { latencyMs: 40 }, 64 * 1024, undefined],
  ["a far target that takes one call at a time", { latencyMs: 40, concurrency: 1 }, 64 * 1024, 1],
] as const)("no back pressure stops for ever: %s", async (_, options, packBytes, connections) => {
  using source = temporaryTree(mixed());
  const memory = new MemoryTarget(options);
  const target = connections === undefined ? memory : new LimitTarget(memory, { connections, clock: createSystemClock() });
  await using store = await createStore(target, { packBytes });
  const snapshot = await backUp(store, [source.path]);
  if (connections !== undefined) expect(memory.maxInFlight).toBe(1);
  await expectMixed(memory, snapshot, source.path);
});

test("two targets get the same snapshot from one reading, and share a lineage", async () => {
  using source = temporaryTree(mixed());
  const [first, second] = [new MemoryTarget(), new MemoryTarget()];
  await using one = await createStore(first, { name: "one" });
  await using two = await createStore(second, { name: "two", kin: [one] });
  expect(Buffer.from(two.repository.keys.lineage.id).equals(Buffer.from(one.repository.keys.lineage.id))).toBe(true);
  expect(two.repository.id).not.toBe(one.repository.id);
  let bytes = 0;
  const results = await backUpTo([one, two], [source.path], { onProgress: ({ bytesDone }) => (bytes = bytesDone) });
  const [a, b] = results.map(snapshotOf);
  expect(a?.id).toBe(b?.id);
  expect(a?.root).toBe(b?.root);
  expect(bytes).toBe(a?.sourceBytes);
  for (const target of [first, second]) await expectMixed(target, a as SnapshotInfo, source.path);
});

test("targets in different states each get what they miss", async () => {
  using source = temporaryTree(mixed());
  const [first, second] = [new MemoryTarget(), new MemoryTarget()];
  await using one = await createStore(first, { name: "one" });
  await using two = await createStore(second, { name: "two", kin: [one] });
  const baseline = await backUp(one, [source.path]);
  writeFileSync(join(source.path, "new"), noise(200_000, 9));
  const [a, b] = (await backUpTo([one, two], [source.path], { baseline })).map(snapshotOf);
  expect(a?.newBytes).toBeLessThan(250_000);
  expect(b?.newBytes).toBeGreaterThan(3_000_000);
  for (const target of [first, second]) {
    const contents = await contentsOf(target, a as SnapshotInfo, source.path);
    expect(Object.keys(contents).sort()).toEqual(["a/deep/deeper/file", "a/empty", "a/one", "a/two", "big", "new", "z"]);
  }
});

const full = (): HoldfastError => new HoldfastError("target_full", "no space is left");

test.each([
  ["its first pack", { verb: "put", name: /^packs/, nth: 1 }],
  ["a later pack", { verb: "put", name: /^packs/, nth: 3 }],
  ["its lease", { verb: "put", name: /^leases/ }],
  ["its list of packs", { verb: "list", name: /^packs/ }],
  ["its index", { verb: "put", name: /^index/ }],
  ["the confirmation of its lease", { verb: "put", name: /^leases/, nth: 2 }],
  ["its snapshot", { verb: "put", name: /^snapshots/ }],
  ["loading its index", { verb: "list", name: /^index/ }],
] as const)("one target that fails at %s is named, and the other commits", async (_, fault) => {
  using source = temporaryTree(mixed());
  const [good, bad] = [new MemoryTarget(), new MemoryTarget()];
  await using one = await createStore(good, { name: "good", packBytes: 100_000 });
  const faulty = new FaultyTarget(bad);
  await using two = await createStore(faulty, { name: "bad", packBytes: 100_000, kin: [one] });
  faulty.queue({ ...fault, kind: "error", error: full() });
  const results = await backUpTo([two, one], [source.path]);
  faulty.assertAllFired();
  expect(results[0]).toMatchObject({ store: "bad", error: { code: "target_full" } });
  await expectMixed(good, snapshotOf(results[1]), source.path);
  await using again = await openStore(bad, { name: "bad" });
  expect(await again.snapshots()).toEqual([]);
  expect([...leases(good)]).toEqual([]);
  // And nothing needs a manual repair: the next run of the same process commits on both.
  const next = await backUpTo([two, one], [source.path]);
  await expectMixed(bad, snapshotOf(next[0]), source.path);
  await expectMixed(good, snapshotOf(next[1]), source.path);
});

test("when every target fails, each says why", async () => {
  using source = temporaryTree(mixed());
  const stores: RepositoryStore[] = [];
  for (const [name, code] of [
    ["one", "target_full"],
    ["two", "target_denied"],
  ] as const) {
    const faulty = new FaultyTarget(new MemoryTarget());
    stores.push(await createStore(faulty, { name, packBytes: 50_000, kin: stores }));
    faulty.queue({ verb: "put", name: /^packs/, nth: 3, kind: "error", error: new HoldfastError(code, `broken ${name}`) });
  }
  const results = await backUpTo(stores, [source.path]);
  expect(results).toMatchObject([
    { store: "one", error: { code: "target_full", message: "broken one" } },
    { store: "two", error: { code: "target_denied", message: "broken two" } },
  ]);
});

test("a run cancelled at any request ends at once, commits nothing it does not say, and leaves nothing in the way of the next", async () => {
  using source = temporaryTree({ a: "a", b: noise(400_000, 4), c: { d: "d" } });
  const memory = new MemoryTarget();
  const spy = new SpyTarget(memory);
  await using store = await createStore(spy, { packBytes: 50_000 });
  // Each round is cancelled one request later, until one comes through.
  let committed: SnapshotInfo | undefined;
  let rounds = 0;
  while (committed === undefined) {
    const abort = new AbortController();
    let requests = 0;
    rounds++;
    spy.before = () => {
      if (++requests === rounds) abort.abort(new HoldfastError("cancelled", `at request ${requests}`));
    };
    const before = (await readSnapshots(store.repository)).snapshots.length;
    requests = 0;
    try {
      const [result] = await backUpTo([store], [source.path], { signal: abort.signal, description: `round ${rounds}` });
      if (abort.signal.aborted) {
        // Cancelled after the commit: it says success, and there it is.
        expect((await readSnapshots(store.repository)).snapshots).toHaveLength(before + 1);
      }
      committed = snapshotOf(result);
    } catch (error) {
      expect(error).toMatchObject({ code: "cancelled" });
    }
    spy.before = undefined;
    if (rounds > 100) throw new Error("it never came through");
  }
  expect(rounds).toBeGreaterThan(8);
  expect(Object.keys(await contentsOf(memory, committed, source.path)).sort()).toEqual(["a", "b", "c/d"]);
  expect(leases(memory)).toEqual([]);
});

test("a signal that has fired already, or fires while the source is read, rejects", async () => {
  using source = temporaryTree(mixed());
  const target = new MemoryTarget();
  await using store = await createStore(target);
  await expect(
    backUpTo([store], [source.path], { signal: AbortSignal.abort(new HoldfastError("cancelled", "before")) }),
  ).rejects.toMatchObject({ message: "before" });
  const abort = new AbortController();
  const reading = backUpTo([store], [source.path], {
    signal: abort.signal,
    onProgress: () => abort.abort(new HoldfastError("cancelled", "while reading")),
  });
  await expect(reading).rejects.toMatchObject({ message: "while reading" });
  const finishing = new AbortController();
  const finish = backUpTo([store], [source.path], {
    signal: finishing.signal,
    finishSource: async () => {
      finishing.abort(new HoldfastError("cancelled", "while finishing"));
      return {};
    },
  });
  await expect(finish).rejects.toMatchObject({ message: "while finishing" });
  expect(await store.snapshots()).toEqual([]);
});

test("a cancelled run does not wait for a target that hangs", async () => {
  using source = temporaryTree({ a: noise(200_000) });
  const memory = new MemoryTarget();
  const faulty = new FaultyTarget(memory);
  await using store = await createStore(faulty, { packBytes: 50_000 });
  faulty.queue({ verb: "put", name: /^packs/, kind: "hang" });
  const abort = new AbortController();
  const spied = backUpTo([store], [source.path], {
    signal: abort.signal,
    finishSource: async () => {
      // The content is read; what is left is the flush, which waits for the pack that hangs.
      setImmediate(() => abort.abort(new HoldfastError("cancelled", "enough")));
      return {};
    },
  });
  await expect(spied).rejects.toMatchObject({ message: "enough" });
});

test.each([
  [
    "cannot be handed to a thread",
    (): unknown => {
      throw new HoldfastError("target_io", "no thread");
    },
  ],
  ["cannot be opened by one", (): unknown => ({ spec: { driver: "port", port: undefined }, transfer: [] })],
])("a target that %s fails alone, and its lease is released", async (_, forThread) => {
  using source = temporaryTree(mixed());
  const [good, bad] = [new MemoryTarget(), new MemoryTarget()];
  await using one = await createStore(good, { name: "good" });
  await using two = await createStore(bad, { name: "bad", kin: [one] });
  Object.assign(two.repository.options.access, { forThread });
  const results = await backUpTo([one, two], [source.path]);
  expect("error" in (results[1] as object)).toBe(true);
  await expectMixed(good, snapshotOf(results[0]), source.path);
  expect(leases(bad)).toEqual([]);
});

test("a source that is not good after all commits nothing, and the next run of the process is whole", async () => {
  using source = temporaryTree(mixed());
  const target = new MemoryTarget();
  await using store = await createStore(target, { packBytes: 50_000 });
  const failing = backUpTo([store], [source.path], {
    finishSource: async () => {
      // The source turns out bad after packs have been put: those that are full are on their way by now.
      await vi.waitFor(() => expect([...target.objects.keys()].some((name) => name.startsWith("packs/"))).toBe(true), 20_000);
      throw new HoldfastError("command_failed", "exit 1");
    },
  });
  await expect(failing).rejects.toMatchObject({ code: "command_failed" });
  expect([...target.objects.keys()].some((name) => /^(snapshots|leases)/.test(name))).toBe(false);
  // The packs of the failed run are known in memory, but no index object names them yet.
  await expectMixed(target, await backUp(store, [source.path]), source.path);
});

test("a dry run writes nothing at all, and leaves nothing claimed", async () => {
  using source = temporaryTree(mixed());
  const target = new MemoryTarget();
  await using store = await createStore(target);
  const before = [...target.objects.keys()];
  const { put, delete: deleted } = target.requests;
  const dry = await backUp(store, [source.path], { dryRun: true });
  expect(dry).toMatchObject({ files: 6, storedBytes: 0 });
  expect(dry.newBytes).toBeGreaterThan(3_000_000);
  expect([...target.objects.keys()]).toEqual(before);
  expect([target.requests.put, target.requests.delete]).toEqual([put, deleted]);
  await expectMixed(target, await backUp(store, [source.path]), source.path);
});

test("runs beside each other in one process do not wait for each other's chunks", async () => {
  using source = temporaryTree(mixed());
  const target = new MemoryTarget();
  await using store = await createStore(target, { packBytes: 50_000 });
  // The second run begins when the first has read everything, and the first fails then.
  let second: Promise<SnapshotInfo> | undefined;
  const first = backUp(store, [source.path], {
    finishSource: async () => {
      second = backUp(store, [source.path]);
      await second;
      throw new HoldfastError("command_failed", "exit 1");
    },
  });
  await expect(first).rejects.toMatchObject({ code: "command_failed" });
  await expectMixed(target, await (second as Promise<SnapshotInfo>), source.path);
  const both = await Promise.all([backUp(store, [source.path]), backUp(store, [source.path])]);
  for (const snapshot of both) await expectMixed(target, snapshot, source.path);
});

test("a backup reads no faster than it may", async () => {
  using source = temporaryTree(Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`f${i}`, noise(1000, i)])));
  const system = createSystemClock();
  let sleptMs = 0;
  // Short waits pass at once; those of leases are long.
  const clock = {
    now: () => system.now(),
    monotonic: () => system.monotonic() + sleptMs,
    sleep: async (delayMs: number, signal?: AbortSignal) => {
      if (delayMs > 10_000) return await system.sleep(delayMs, signal);
      sleptMs += delayMs;
    },
  };
  await using store = await createStore(new MemoryTarget(), { clock });
  const limits = { cpuThreads: undefined, readBytesPerSecond: 100_000, nice: 0 };
  const before = system.monotonic();
  const snapshot = await backUp(store, [source.path], { limits });
  const tookMs = system.monotonic() - before;
  expect(snapshot.sourceBytes).toBe(2_000_000);
  // Batches of 512 files: each of the first three is paid for before the next is read.
  expect(sleptMs).toBeGreaterThan(15_360 - tookMs - 1);
  expect(sleptMs).toBeLessThanOrEqual(20_480);
});

test("what is paid while a pause ends is waited for as well", async () => {
  // A small batch, which is paid off while it is looked at, right before a part that is not.
  using source = temporaryTree({ a: "x".repeat(900), b: noise(5_000_000, 1), c: "y".repeat(900), d: noise(5_000_000, 2) });
  const limits = { cpuThreads: 2, readBytesPerSecond: 100_000_000, nice: 0 };
  for (let round = 0; round < 6; round++) {
    await using store = await createStore(new MemoryTarget());
    expect((await backUp(store, [source.path], { limits })).sourceBytes).toBe(10_001_800);
  }
});

test.each(["ENOSPC", "EIO"])("a run that meets %s leaves nothing half written on a local target", async (errno) => {
  using source = temporaryTree(Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`f${i}`, noise(500_000, i)])));
  using place = temporaryTree({ repository: {} });
  const path = join(place.path, "repository");
  const target = new LocalTarget({ path });
  for (let hit = 1; ; hit++) {
    const faulty: TargetSpec = { driver: "local", path, failAt: `before temporary write:${hit}=${errno}` };
    const access = { target, forThread: () => ({ spec: faulty, transfer: [] }), [Symbol.asyncDispose]: async () => undefined };
    await using store = hit === 1 ? await createStore(target, { access }) : await openStore(target, { access });
    const [result] = await backUpTo([store], [source.path]);
    expect(readdirSync(join(path, "tmp"))).toEqual([]);
    if (result !== undefined && "snapshot" in result) {
      expect(hit).toBeGreaterThan(5);
      break;
    }
    expect(result).toMatchObject({ error: { code: errno === "ENOSPC" ? "target_full" : "target_io" } });
  }
});

test.runIf(process.platform === "linux")("its threads are as many and stand back as far as they are told", async () => {
  using source = temporaryTree(Object.fromEntries(Array.from({ length: 600 }, (_, i) => [`f${i}`, noise(1000, i)])));
  const threads = (): string[] =>
    readdirSync("/proc/self/task").flatMap((task) => {
      const stat = readFileSync(`/proc/self/task/${task}/stat`, "utf8");
      const [name, rest] = [stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")")), stat.slice(stat.lastIndexOf(")") + 2)];
      // Field 19 of proc(5); what follows the name begins with field 3.
      return /^(?:cpu|tree|pack)-thread$/.test(name) ? [`${name} ${rest.split(" ")[16]}`] : [];
    });
  await using store = await createStore(new MemoryTarget());
  let seen: string[] = [];
  await backUp(store, [source.path], {
    limits: { cpuThreads: 3, readBytesPerSecond: undefined, nice: 7 },
    finishSource: async () => {
      seen = threads().toSorted();
      return {};
    },
  });
  expect(seen).toEqual(["cpu-thread 7", "cpu-thread 7", "cpu-thread 7", "pack-thread 7", "tree-thread 7"]);
});

test("a target that was emptied or swapped under a running process is refused, and nothing is written to it", async () => {
  using source = temporaryTree(mixed());
  const target = new MemoryTarget();
  await using store = await createStore(target);
  await backUp(store, [source.path]);
  const kept = new Map(target.objects);
  target.objects.clear();
  expect((await backUpTo([store], [source.path]))[0]).toMatchObject({ error: { code: "repository_changed" } });
  expect([...target.objects.keys()]).toEqual([]);
  await using other = await createStore(target, { name: "other" });
  expect((await backUpTo([store], [source.path]))[0]).toMatchObject({ error: { code: "repository_changed" } });
  expect(other.repository.id).not.toBe(store.repository.id);
  target.objects.clear();
  for (const [name, object] of kept) target.objects.set(name, object);
  await expectMixed(target, await backUp(store, [source.path]), source.path);
});

test("backups leave no descriptors open, whether they end well or are cancelled", async () => {
  using source = temporaryTree(mixed());
  const target = new MemoryTarget();
  await using store = await createStore(target, { packBytes: 50_000 });
  const descriptors = (): number => readdirSync("/proc/self/fd").length;
  await backUp(store, [source.path]);
  const before = descriptors();
  for (let round = 0; round < 6; round++) {
    await backUp(store, [source.path], { mode: "full" });
    const abort = new AbortController();
    await expect(backUp(store, [source.path], { signal: abort.signal, onProgress: () => abort.abort() })).rejects.toThrow();
  }
  expect(descriptors()).toBeLessThanOrEqual(before);
});
