import { expect, test } from "vitest";
import { HoldfastError } from "../../../../src/base/errors.ts";
import { repositoryFormat, type RepositoryStore } from "../../../../src/formats/repository/repository-format.ts";
import type { SnapshotInfo, WriteRequest } from "../../../../src/formats/format.ts";
import type { WalkEvent } from "../../../../src/sources/source.ts";
import { MemoryTarget } from "../../../support/memory-target.ts";
import { backUp, createStore, noise, onceStream, openStore, readBack, requestOf, snapshotOf } from "./fixture.ts";

async function* piecesOf(content: Buffer, pieceBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += pieceBytes) {
    await Promise.resolve();
    yield content.subarray(at, at + pieceBytes);
  }
}

async function write(
  store: RepositoryStore,
  stream: WriteRequest["stream"],
  overrides: Partial<WriteRequest> = {},
): Promise<SnapshotInfo> {
  return snapshotOf(
    (await repositoryFormat.write([store], requestOf({ stream, profile: "stream", sourceType: "command", ...overrides })))[0],
  );
}

test.each([
  ["nothing", 0, 1],
  ["one byte", 1, 1],
  ["many small pieces", 300_000, 7001],
  ["pieces larger than what is handed over at once", 9_000_000, 3_000_001],
  ["100 MB", 100_000_000, 65_536],
])("a stream of %s comes back, with the size it had", async (_, sizeBytes, pieceBytes) => {
  const target = new MemoryTarget();
  await using store = await createStore(target);
  const content = noise(sizeBytes);
  const { stream, counts } = onceStream({ dump: () => piecesOf(content, pieceBytes) });
  let told = -1;
  const snapshot = await write(store, stream, { onProgress: ({ bytesDone }) => (told = bytesDone) });
  expect(snapshot).toMatchObject({ files: 1, sourceBytes: sizeBytes, status: "success" });
  // The last word before the source is finished: a bound on the size is checked with it.
  expect(told).toBe(sizeBytes);
  const read = await readBack(target, snapshot, "/");
  expect(read.get("dump")?.entry.entry.size).toBe(sizeBytes);
  expect(read.get("dump")?.content?.equals(content)).toBe(true);
  expect(counts.opened).toBe(1);
  if (sizeBytes > 1_000_000) {
    const again = onceStream({ dump: () => piecesOf(content, pieceBytes + 13) });
    expect((await write(store, again.stream)).newBytes).toBeLessThan(10_000);
  }
});

test("many streams are read one at a time, in order, and none loses a byte to another", async () => {
  const target = new MemoryTarget();
  await using store = await createStore(target, { packBytes: 200_000 });
  const contents = new Map(
    Array.from({ length: 60 }, (_, i) => [`file ${String(i).padStart(2, "0")}`, noise((i * 7919) % 90_000, i + 1)]),
  );
  const { stream, counts } = onceStream(
    Object.fromEntries([...contents].map(([name, content]) => [name, () => piecesOf(content, 10_000)])),
  );
  const snapshot = await write(store, stream, { profile: "files" });
  expect(counts).toEqual({ opened: 60, most: 1 });
  const read = await readBack(target, snapshot, "/");
  for (const [name, content] of contents) expect(read.get(name)?.content?.equals(content), name).toBe(true);
});

test("a snapshot read back as a stream gives the same trees and stores nothing new", async () => {
  const { snapshotStream } = await import("../../../../src/engine/backup/snapshot-stream.ts");
  const { temporaryTree, symlink } = await import("../../../support/tree-literal.ts");
  using source = temporaryTree({ a: noise(300_000, 1), b: { c: "c", d: "", e: symlink("../a") }, f: noise(5_000_000, 2) });
  const target = new MemoryTarget();
  await using store = await createStore(target);
  const snapshot = await backUp(store, [source.path]);
  const copy = await write(store, snapshotStream(store, snapshot, new AbortController().signal), { profile: "files" });
  expect(copy.newBytes).toBeLessThan(20_000);
  const [before, after] = [await readBack(target, snapshot, source.path), await readBack(target, copy, source.path)];
  expect([...after.keys()]).toEqual([...before.keys()]);
  for (const [path, { content }] of before)
    expect(after.get(path)?.content?.equals(content as Buffer)).toBe(content === undefined ? undefined : true);
});

test("a stream that fails midway commits nothing, and its reader is closed", async () => {
  const target = new MemoryTarget();
  await using store = await createStore(target, { packBytes: 100_000 });
  let closed = false;
  const { stream } = onceStream({
    dump: async function* () {
      try {
        yield* piecesOf(noise(2_000_000), 100_000);
        throw new HoldfastError("command_failed", "pipe broke");
      } finally {
        closed = true;
      }
    },
  });
  await expect(write(store, stream)).rejects.toMatchObject({ code: "command_failed" });
  expect(closed).toBe(true);
  expect(await store.snapshots()).toEqual([]);
});

test("a stream that stands still ends with the run, and so does one that waits for room", async () => {
  for (const latencyMs of [0, 40]) {
    const target = new MemoryTarget({ latencyMs });
    await using store = await createStore(target, { packBytes: 64 * 1024 });
    const abort = new AbortController();
    let pieces = 0;
    const { stream } = onceStream({
      dump: async function* () {
        for (;;) {
          if (++pieces === 50) abort.abort(new HoldfastError("cancelled", "enough"));
          if (pieces > 50 && latencyMs === 0) await new Promise(() => undefined);
          yield noise(200_000, pieces);
        }
      },
    });
    await expect(write(store, stream, { signal: abort.signal })).rejects.toMatchObject({ message: "enough" });
    expect([...target.objects.keys()].filter((name) => name.startsWith("leases/"))).toEqual([]);
  }
});

test.each<readonly [string, readonly WalkEvent["step"][]]>([
  ["no entry at all", []],
  ["a folder that is never left", ["enter"]],
])("a source that ends with %s is refused instead of waited for", async (_, steps) => {
  const target = new MemoryTarget();
  await using store = await createStore(target);
  const whole = onceStream({}).stream;
  if (whole.kind !== "events") throw new Error("events");
  const known = await Array.fromAsync(whole.events);
  async function* events(): AsyncGenerator<readonly WalkEvent[]> {
    for (const step of steps) yield known.flat().filter((event) => event.step === step);
  }
  await expect(write(store, { kind: "events", events: events(), openOnce: whole.openOnce })).rejects.toMatchObject({
    code: "source_unreadable",
  });
});

test("events that reject, or leave more than they entered, end the run with their error", async () => {
  const target = new MemoryTarget();
  await using store = await createStore(target);
  const { openOnce } = onceStream({}).stream as Extract<WriteRequest["stream"], { kind: "events" }>;
  async function* rejecting(): AsyncGenerator<readonly WalkEvent[]> {
    yield [];
    throw new HoldfastError("source_unavailable", "gone");
  }
  async function* leaving(): AsyncGenerator<readonly WalkEvent[]> {
    yield [{ step: "leave" }];
  }
  await expect(write(store, { kind: "events", events: rejecting(), openOnce })).rejects.toMatchObject({
    code: "source_unavailable",
  });
  await expect(write(store, { kind: "events", events: leaving(), openOnce })).rejects.toMatchObject({
    message: expect.stringContaining("left more directories"),
  });
});

test("a source for repositories of two lineages must be readable twice", async () => {
  const [first, second] = [new MemoryTarget(), new MemoryTarget()];
  await using one = await createStore(first, { name: "one" });
  await using two = await createStore(second, { name: "two" });
  const { stream } = onceStream({ dump: () => piecesOf(noise(10), 10) });
  await expect(repositoryFormat.write([one, two], requestOf({ stream }))).rejects.toMatchObject({ code: "unsupported" });
  await using again = await openStore(first);
  expect(await again.snapshots()).toEqual([]);
});
