import { linkSync, openSync, ftruncateSync, writeSync, closeSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { MemoryTarget } from "../../../support/memory-target.ts";
import { temporaryTree } from "../../../support/tree-literal.ts";
import { backUp, createStore, noise, onceStream, readBack, requestOf, snapshotOf } from "./fixture.ts";
import { repositoryFormat } from "../../../../src/formats/repository/repository-format.ts";
import { decodeNode } from "../../../../src/formats/repository/objects/tree-node.ts";
import { BaselineTrees } from "../../../../src/formats/repository/write/baseline-trees.ts";
import { ChunkReader } from "../../../../src/formats/repository/read/chunk-reader.ts";
import { Sealer } from "../../../../src/formats/repository/keys/sealer.ts";
import { systemRandom } from "../../../../src/codec/system-random.ts";
import type { FetchedFrame } from "../../../../src/formats/repository/write/messages.ts";

test("a file of more than 256 chunks comes back through its list, and the list is found again by the baseline", async () => {
  const target = new MemoryTarget();
  await using store = await createStore(target, { packBytes: 4 * 2 ** 20 });
  const content = noise(24_000_000, 3);
  const { stream } = onceStream({
    dump: async function* () {
      for (let at = 0; at < content.length; at += 1_000_000) yield content.subarray(at, at + 1_000_000);
    },
  });
  const snapshot = snapshotOf((await repositoryFormat.write([store], requestOf({ stream, profile: "stream" })))[0]);
  expect((await readBack(target, snapshot, "/")).get("dump")?.content?.equals(content)).toBe(true);

  const { repository } = store;
  const reader = new ChunkReader(repository);
  const root = decodeNode(await reader.chunk(2, Buffer.from(snapshot.root, "hex")));
  const entry = root.type === "leaf" ? root.entries[0] : undefined;
  if (entry === undefined) throw new Error("no entry");
  expect(entry.depth).toBe(1);
  let fetched = 0;
  const fetch = async (id: Uint8Array): Promise<FetchedFrame | undefined> => {
    fetched++;
    const found = repository.index.find(2, id);
    if (found === undefined) return undefined;
    const frame = repository.index.frame(found.frame);
    const stored = await target.get(`packs/${frame.packId.slice(0, 2)}/${frame.packId}`, {
      range: { offset: frame.offset, length: frame.storedLength },
    });
    return { ...frame, ...frame.row, stored, chunkIds: frame.chunkIds, chunkLengths: frame.chunkLengths, repository: 0 };
  };
  const trees = new BaselineTrees(
    Buffer.from(snapshot.root, "hex"),
    repository.keys,
    [new Sealer(repository.keys, systemRandom)],
    fetch,
  );
  expect((await trees.root()).find(entry.name)).toMatchObject({ depth: 1, size: entry.size });
  const lists: Buffer[] = [];
  const ids = await trees.chunkIds(entry, lists);
  expect(lists).toHaveLength(1);
  expect((ids?.length ?? 0) / 32).toBeGreaterThan(256);
  for (let at = 0; at < (ids?.length ?? 0); at += 32) expect(repository.index.has(1, ids as Buffer, at)).toBe(true);
  // Tree and list lie in one frame.
  expect(fetched).toBe(1);

  // What cannot be read, or is no list, counts as absent.
  const blind = new BaselineTrees(
    Buffer.from(snapshot.root, "hex"),
    repository.keys,
    [new Sealer(repository.keys, systemRandom)],
    async () => undefined,
  );
  expect((await blind.root()).find(entry.name)).toBeUndefined();
  expect(await blind.chunkIds(entry, [])).toBeUndefined();
  const damaged = new BaselineTrees(
    Buffer.from(snapshot.root, "hex"),
    repository.keys,
    [new Sealer(repository.keys, systemRandom)],
    async (id) => {
      const frame = await fetch(id);
      if (frame !== undefined) (frame.stored as Uint8Array)[50] ^= 1;
      return frame;
    },
  );
  expect((await damaged.root()).find(entry.name)).toBeUndefined();
  expect(await trees.chunkIds({ ...entry, ids: Buffer.from(snapshot.root, "hex") }, [])).toBeUndefined();
});

test("large, sparse and linked files come back as they were, and a second backup stores nothing", async () => {
  using source = temporaryTree({ linked: noise(400_000, 8) });
  linkSync(join(source.path, "linked"), join(source.path, "also"));
  linkSync(join(source.path, "linked"), join(source.path, "zzz"));
  const make = (name: string, size: number, data: readonly (readonly [number, Buffer])[]): void => {
    const fd = openSync(join(source.path, name), "w");
    for (const [offset, bytes] of data) writeSync(fd, bytes, 0, bytes.length, offset);
    ftruncateSync(fd, size);
    closeSync(fd);
  };
  make("large", 40_000_001, [[0, noise(40_000_001, 1)]]);
  make("sparse", 30_000_000, [
    [4096, noise(100_000, 2)],
    [20_000_000, noise(9_000_000, 3)],
  ]);
  make("hole", 10_000_000, []);
  const target = new MemoryTarget();
  await using store = await createStore(target, { packBytes: 8 * 2 ** 20 });
  let bytesDone = 0;
  const snapshot = await backUp(store, [source.path], { onProgress: (progress) => (bytesDone = progress.bytesDone) });
  // The three names are read once, holes not at all (a file system may give whole blocks).
  expect(bytesDone).toBeGreaterThanOrEqual(400_000 + 40_000_001 + 9_100_000);
  expect(bytesDone).toBeLessThan(400_000 + 40_000_001 + 9_100_000 + 100_000);
  const read = await readBack(target, snapshot, source.path);
  expect(read.get("large")?.content?.equals(noise(40_000_001, 1))).toBe(true);
  const sparse = Buffer.alloc(30_000_000);
  noise(100_000, 2).copy(sparse, 4096);
  noise(9_000_000, 3).copy(sparse, 20_000_000);
  expect(read.get("sparse")?.content?.equals(sparse)).toBe(true);
  expect(read.get("hole")?.content?.equals(Buffer.alloc(10_000_000))).toBe(true);
  expect(read.get("hole")?.entry.extents).toEqual([]);
  for (const name of ["linked", "also", "zzz"]) expect(read.get(name)?.content?.equals(noise(400_000, 8))).toBe(true);
  expect((await backUp(store, [source.path], { baseline: snapshot })).newBytes).toBeLessThan(20_000);
});

test("tiny files by the ten thousands stay within the bounds of packs and frames", async () => {
  const target = new MemoryTarget();
  await using store = await createStore(target);
  const names = Array.from({ length: 70_000 }, (_, i) => i.toString(36));
  using source = temporaryTree({ list: Object.fromEntries(names.map((name) => [name, `${name}!`])) });
  const snapshot = await backUp(store, [join(source.path, "list")]);
  expect(snapshot.files).toBe(70_000);
  const chunks = [...store.repository.index.packs()].map((pack) =>
    [...store.repository.index.framesOf(pack.id)].reduce((sum, frame) => sum + frame.chunkCount, 0),
  );
  expect(Math.max(...chunks)).toBeLessThanOrEqual(65_536);
  expect(chunks.reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(70_000);
  const frames = [...store.repository.index.packs()].flatMap((pack) => [...store.repository.index.framesOf(pack.id)]);
  expect(Math.max(...frames.map((frame) => frame.chunkCount))).toBeLessThanOrEqual(8192);
});
