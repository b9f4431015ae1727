import { expect, test } from "vitest";
import { MemoryTarget } from "../../../support/memory-target.ts";
import { temporaryTree } from "../../../support/tree-literal.ts";
import { backUp, createStore, openStore } from "./fixture.ts";

const FILES = 2000;

/** Requests of each verb that `act` makes, and how many were under way at a time. */
async function requestsOf<T>(
  target: MemoryTarget,
  act: () => Promise<T>,
): Promise<{ result: T; requests: Record<string, number>; most: number }> {
  const before = { ...target.requests };
  target.maxInFlight = 0;
  const result = await act();
  const after: [string, number][] = Object.entries(target.requests);
  const requests = Object.fromEntries(
    after.map(([verb, count]) => [verb, count - before[verb as keyof typeof before]] as const).filter(([, count]) => count > 0),
  );
  return { result, requests, most: target.maxInFlight };
}

/** The figures are exact: whoever adds a request to a run adds a round trip for every far target, and says so here. */
test("a far target is asked a few times, however many files there are, and where it can be at once", async () => {
  const tree: Record<string, Record<string, string>> = {};
  for (let i = 0; i < FILES; i++) (tree[`folder ${i % 40}`] ??= {})[`file ${i}`] = `content of file ${i} `.repeat(50 + (i % 100));
  using source = temporaryTree(tree);
  const target = new MemoryTarget({ latencyMs: 40 });

  const created = await requestsOf(target, () => createStore(target));
  expect(created.requests).toEqual({ put: 3, get: 2 });
  expect(created.most).toBe(2);

  // holdfast.json, index and condemned at once; the lease beside the list of packs; both packs at once; one index object; the
  // lease again, read back beside the list of what is condemned; the snapshot; two lease objects away.
  const first = await requestsOf(target, () => backUp(created.result, [source.path]));
  expect(first.result.files).toBe(FILES);
  expect(first.requests).toEqual({ put: 6, get: 3, stat: 2, list: 4, delete: 2 });
  expect(first.most).toBe(3);
  await created.result[Symbol.asyncDispose]();

  const opened = await requestsOf(target, () => openStore(target));
  expect(opened.requests).toEqual({ get: 3, list: 2 });
  expect(opened.most).toBe(3);
  await using store = opened.result;

  const listed = await requestsOf(target, () => store.snapshots());
  expect(listed.requests).toEqual({ list: 2, get: 1 });
  expect(listed.most).toBe(2);

  // One index object and one frame of trees more to read, no pack and no index to put, except what folders above have changed.
  const unchanged = await requestsOf(target, () => backUp(store, [source.path], { baseline: first.result }));
  const { put = 0, get = 0, ...rest } = unchanged.requests;
  expect(rest).toEqual({ stat: 2, list: 4, delete: 2 });
  expect(get).toBe(5);
  expect([3, 5]).toContain(put);
  expect(unchanged.most).toBe(3);

  await using reader = await openStore(target);
  const read = await requestsOf(target, async () => {
    const entry = await reader.lookup(first.result, Buffer.from(`${source.path}/folder 7/file 1007`));
    if (entry === undefined) throw new Error("not found");
    return (await Array.fromAsync(reader.read(entry))).reduce((sum, part) => sum + part.length, 0);
  });
  expect(read.result).toBe("content of file 1007 ".length * 57);
  // Index and condemned at once, the index objects, one frame of trees, one of data.
  expect(read.requests).toEqual({ list: 2, get: put === 5 ? 4 : 3 });
  expect(read.most).toBe(2);
});
