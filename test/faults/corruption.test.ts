import { createHash, randomInt } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Store, VerifyReport } from "../../src/formats/format.ts";
import { decodeIndexObject, type PackRecord } from "../../src/formats/repository/objects/index-object.ts";
import type { RepositoryStore } from "../../src/formats/repository/repository-format.ts";
import { loadView } from "../../src/formats/repository/verify/repository-view.ts";
import { Corruption } from "../support/corruption.ts";
import { CorruptionWorld, type Victim } from "../support/corruption-world.ts";
import { temporaryTree } from "../support/tree-literal.ts";

// The small form of `node scripts/corrupt.mjs`. A failure names the object, the damage and the seed.

const seed = process.env["HOLDFAST_SEED"] ?? String(randomInt(1_000_000));
const folder = temporaryTree();
let world: CorruptionWorld;
let foreign: CorruptionWorld;

function corruption(of: CorruptionWorld, recoverEvery = 0, restoreEvery = 4): Corruption {
  return new Corruption({ world: of, seed, restoreEvery, recoverEvery, log: () => undefined });
}

/** The first object of a class. */
function one(className: string, nth = 0, of = world): Victim {
  const victim = of.classes().get(className)?.[nth];
  if (victim === undefined) throw new Error(`There is no ${className}`);
  return victim;
}

async function verify(store: Store): Promise<VerifyReport> {
  return await store.verify({
    snapshots: [],
    readData: 1,
    onProgress: () => undefined,
    signal: new AbortController().signal,
  });
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

beforeAll(async () => {
  world = await CorruptionWorld.create(join(folder.path, "own"), "repository", seed);
  foreign = await CorruptionWorld.create(join(folder.path, "foreign"), "repository", `${seed} foreign`);
});
afterAll(() => folder[Symbol.dispose]());

describe(`one damaged object, seed ${seed}`, () => {
  it("of a repository, flipped or cut: verify names it, and nothing wrong is restored in silence", async () => {
    const damage = corruption(world, 14);
    await damage.checkIntact(["restore", "read"]);
    await damage.flipsAndTruncations(28);
    await damage.checkIntact();
    expect(damage.counts.size).toBe(14);
    for (const [className, { cases, found, named }] of damage.counts) {
      expect({ className, cases, found }).toEqual({ className, cases: 2, found: 2 });
      // Nothing but its own secret vouches for what a key slot holds.
      if (className !== "key slot") expect({ className, named }).toEqual({ className, named: 2 });
    }
  });

  it("of an archive store, likewise", async () => {
    const archives = await CorruptionWorld.create(join(folder.path, "archives"), "archive", seed);
    const damage = corruption(archives);
    await damage.checkIntact();
    await damage.flipsAndTruncations(10);
    expect([...damage.counts.keys()].toSorted()).toEqual(["entries", "manifest", "note", "store file", "tar"]);
    for (const [className, { named }] of damage.counts) expect({ className, named }).toEqual({ className, named: 2 });
  });

  it("that is missing: a pack is named with its files, and all others restore", async () => {
    const damage = corruption(world, 0, 1);
    for (const className of ["data pack: frames", "tree pack: frames"]) {
      const { name } = one(className, 1);
      await damage.run({ className: className.slice(0, 9), name, how: "deleted", bytes: undefined });
    }
    expect([...damage.counts.values()].map(({ named }) => named)).toEqual([1, 1]);
  });

  it("under the name of another: of its class, of another class, of another repository", async () => {
    const damage = corruption(world, 0, 8);
    const sealed = ["index", "snapshot", "lease", "condemned", "note", "keyring"];
    for (const [i, className] of sealed.entries()) {
      const { name } = one(className);
      const other = one(sealed[(i + 1) % sealed.length] as string).name;
      // It has its right name and lies in the wrong place.
      const bytes = world.read(other);
      const place = `${name.slice(0, name.indexOf("/"))}/${sha256(bytes)}`;
      await damage.run({ className, name: place, how: `a copy of ${other}`, bytes });
      if (className === "keyring") continue;
      // One of another repository, made with the same secret.
      const theirs = one(className, 0, foreign).name;
      await damage.run({ className, name: theirs, how: "of another repository", bytes: foreign.read(theirs) });
    }
    for (const className of ["data pack: frames", "tree pack: frames"]) {
      const pack = className.slice(0, 9);
      const { name } = one(className);
      const other = one(pack === "data pack" ? "tree pack: frames" : "data pack: frames").name;
      await damage.run({ className: pack, name, how: `replaced by ${other}`, bytes: world.read(other) });
      const theirs = one(className, 0, foreign).name;
      await damage.run({ className: pack, name: theirs, how: "of another repository", bytes: foreign.read(theirs) });
    }
    for (const [className, { cases, named }] of damage.counts) expect({ className, named }).toEqual({ className, named: cases });
  });

  it("that is a keyring of another repository: ignored, as one that an interrupted creation left behind", async () => {
    const { name } = one("keyring", 0, foreign);
    world.overwrite(name, foreign.read(name));
    await corruption(world).checkIntact();
    world.overwrite(name, undefined);
  });

  it("that is a condemned object: restores go on, and a backup refuses to build on what it may have named", async () => {
    const { name } = one("condemned");
    const good = world.read(name);
    world.overwrite(name, good.subarray(0, 4095));
    {
      await using store = await world.open();
      await expect(world.backUp(store)).rejects.toMatchObject({ code: "object_damaged", message: expect.stringContaining(name) });
    }
    world.overwrite(name, good);
    await corruption(world).checkIntact();
  });
});

describe("what a target forgot", () => {
  it("a snapshot between others: verify tells of the hole, and the others restore", async () => {
    const { info } = world.snapshots[1] as CorruptionWorld["snapshots"][number];
    await using store = await world.open();
    const { object } = await snapshotObject(store, info.id);
    const bytes = world.read(object);
    world.overwrite(object, undefined);
    const report = await verify(store);
    expect(report.checks.find((check) => check.name === "snapshots")?.note).toContain("predecessor");
    expect((await store.snapshots()).map(({ id }) => id)).toEqual(
      world.snapshots.filter((known) => known.info.id !== info.id).map((known) => known.info.id),
    );
    world.overwrite(object, bytes);
    expect((await verify(store)).checks.find((check) => check.name === "snapshots")?.note).toBeUndefined();
  });

  it("one index object, or all: verify names what cannot be found, and a repair makes the same index again", async () => {
    const names = world.objects().filter((name) => name.startsWith("index/"));
    const objects = new Map(names.map((name) => [name, world.read(name)]));
    const before = await indexOf(world);
    expect(before.length).toBeGreaterThan(3);
    for (const gone of [names.slice(0, 1), names]) {
      for (const name of gone) world.overwrite(name, undefined);
      const report = await verify(await world.open());
      expect(report.ok).toBe(false);
      expect(report.damage.some(({ paths }) => paths.length > 0)).toBe(true);
      {
        await using store = await world.open();
        const { indexRebuilt } = await store.repair({
          index: false,
          readData: false,
          onProgress: () => undefined,
          signal: new AbortController().signal,
        });
        expect(indexRebuilt).toBe(true);
      }
      expect(await indexOf(world)).toEqual(before);
      await corruption(world).checkIntact();
      for (const name of world.objects().filter((other) => other.startsWith("index/"))) world.overwrite(name, undefined);
      for (const [name, bytes] of objects) world.overwrite(name, bytes);
    }
  });
});

/** The object of a snapshot, found by taking each away. */
async function snapshotObject(store: Store, id: string): Promise<{ object: string }> {
  for (const object of world.objects().filter((name) => name.startsWith("snapshots/"))) {
    const bytes = world.read(object);
    world.overwrite(object, undefined);
    const left = await store.snapshots();
    world.overwrite(object, bytes);
    if (!left.some((snapshot) => snapshot.id === id)) return { object };
  }
  throw new Error("no object");
}

/** What the index objects that count say of packs, sorted. */
async function indexOf(of: CorruptionWorld): Promise<PackRecord[]> {
  await using store = await of.open();
  const { repository } = store as RepositoryStore;
  const view = await loadView(repository, { withAbsent: true });
  const packs: PackRecord[] = [];
  for (const { id } of view.activeIndex) packs.push(...decodeIndexObject(await repository.readObject("index", id)).packs);
  return packs.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}
