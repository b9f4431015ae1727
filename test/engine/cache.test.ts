import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openState, type State } from "../../src/state/state.ts";
import { MemoryTarget } from "../support/memory-target.ts";
import { sessionOf, type Setup } from "./backup/fixture.ts";

let folder: string;
let state: State;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-session-cache-"));
  state = openState(join(folder, "state"));
});
afterEach(() => {
  state[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

const keyrings = (cacheDir: string): string[] =>
  readdirSync(cacheDir).flatMap((place) =>
    readdirSync(join(cacheDir, place, "keyring")).map((name) => join(cacheDir, place, "keyring", name)),
  );

test("each target has a folder of its own in daemon.cacheDir, and nothing in it is needed or believed", async () => {
  const cacheDir = join(folder, "cache");
  const [disk, cloud] = [new MemoryTarget(), new MemoryTarget()];
  const setup: Setup = { targets: { disk, cloud }, cacheDir };
  {
    await using session = sessionOf(state, setup);
    await session.create("disk", { recreate: false });
    await session.create("cloud", { recreate: false });
  }
  expect(readdirSync(cacheDir)).toEqual([expect.stringMatching(/^[0-9a-f]{32}$/), expect.stringMatching(/^[0-9a-f]{32}$/)]);
  const open = async (): Promise<{ identity: unknown; gets: number }> => {
    await using session = sessionOf(state, setup);
    disk.requests.get = 0;
    return { identity: (await session.store("disk")).identity, gets: disk.requests.get };
  };
  const warm = await open();
  expect(warm.gets).toBe(2);
  for (const file of keyrings(cacheDir)) {
    const bytes = readFileSync(file);
    bytes[40] = (bytes[40] as number) ^ 1;
    writeFileSync(file, bytes);
  }
  expect(await open()).toEqual({ identity: warm.identity, gets: 3 });
  expect(await open()).toEqual(warm);
  rmSync(cacheDir, { recursive: true });
  expect(await open()).toEqual({ identity: warm.identity, gets: 3 });
  expect(existsSync(cacheDir)).toBe(true);
});

test("a cache folder deleted while the session is open changes nothing", async () => {
  const cacheDir = join(folder, "cache");
  await using session = sessionOf(state, { targets: { disk: new MemoryTarget() }, cacheDir });
  const store = await session.create("disk", { recreate: false });
  rmSync(cacheDir, { recursive: true });
  expect(await store.snapshots({})).toEqual([]);
  const made = await store.keySlots?.newEpoch();
  expect(made).toBe(2);
  expect(keyrings(cacheDir)).toHaveLength(1);
});
