import { describe, expect, it } from "vitest";
import type { PackId, SnapshotId } from "../../../../src/base/ids.ts";
import { decodeSealHeader } from "../../../../src/codec/seal.ts";
import { encodeKeyring } from "../../../../src/formats/repository/keys/keyring.ts";
import { newEpoch } from "../../../../src/formats/repository/keyslots/keyslots.ts";
import { encodeCondemned } from "../../../../src/formats/repository/objects/condemned-object.ts";
import type { RewriteBoundary } from "../../../../src/formats/repository/prune/old-epochs.ts";
import { PRUNE_BOUNDARIES, pruneRepository, type PruneBoundary } from "../../../../src/formats/repository/prune/prune.ts";
import { deleteSnapshots } from "../../../../src/formats/repository/snapshots/delete-snapshots.ts";
import { annotateSnapshot } from "../../../../src/formats/repository/snapshots/notes.ts";
import { listSnapshots } from "../../../../src/formats/repository/snapshots/snapshot-list.ts";
import { verifyRepository } from "../../../../src/formats/repository/verify/verify.ts";
import { FaultyTarget } from "../../../support/faulty-target.ts";
import { expectKept, GRACE, HOUR, names, noise, pruneOptions, verifyOptions, World, type Files } from "./fixture.ts";

const rewriteOptions = (): ReturnType<typeof pruneOptions> => pruneOptions({ oldEpochs: true });

function filesOf(...parts: readonly [string, number, number][]): Files {
  return new Map(parts.map(([path, seed, length]) => [path, noise(seed, length)]));
}

interface Told {
  readonly world: World;
  readonly kept: Map<SnapshotId, Files>;
}

/** Two snapshots under the first epoch, the older deleted, and one under the second; tags that say which note came last. */
async function history(): Promise<Told> {
  const world = new World();
  const repository = await world.create();
  const kept = new Map<SnapshotId, Files>();
  const first = filesOf(["a/one", 1, 90_000], ["a/two", 2, 60_000], ["big", 4, 100_000]);
  const second = new Map([...first, ...filesOf(["a/two", 5, 70_000], ["b/four", 6, 50_000])]);
  const deleted = await world.backup(repository, first);
  await world.clock.advance(HOUR);
  const id = await world.backup(repository, second);
  kept.set(id, second);
  for (let i = 0; i < 5; i++)
    await annotateSnapshot(repository, { id }, { description: `at one time ${i}`, addTags: [`t${i % 2}`] });
  for (let i = 0; i < 3; i++) await annotateSnapshot(repository, { id }, { removeTags: [`t${i % 2}`] });
  await annotateSnapshot(repository, { id }, { hold: true });
  await deleteSnapshots(repository, [deleted]);
  await newEpoch(repository);
  await world.clock.advance(HOUR);
  const third = new Map([...second, ...filesOf(["c/five", 8, 40_000])]);
  kept.set(await world.backup(await world.open(), third), third);
  return { world, kept };
}

/** Snapshots as people see them. */
async function seen(world: World): Promise<unknown> {
  const snapshots = await listSnapshots(await world.open());
  return snapshots.map(({ object: _object, objectTimeMs: _time, tags, ...shown }) => ({ ...shown, tags: tags.toSorted() }));
}

/** Takes the first master key out of the keyring: whatever is still sealed under it cannot be read from here on. */
async function forgetFirstEpoch(world: World): Promise<void> {
  const { keyring, ...repository } = await world.open();
  const [, ...epochs] = keyring.epochs;
  await (await world.open()).putObject("keyring", encodeKeyring({ ...keyring, generation: keyring.generation + 1, epochs }));
  expect(repository.id).toBe((await world.open()).id);
  expect((await world.open()).keyring.epochs).toHaveLength(1);
}

async function expectRewritten({ world, kept }: Told): Promise<void> {
  expect(await pruneRepository(await world.open(), rewriteOptions())).toMatchObject({ packsRepacked: 0, objectsCopied: 0 });
  const shown = await seen(world);
  await world.clock.advance(GRACE + HOUR);
  await pruneRepository(await world.open(), pruneOptions());
  for (const folder of ["snapshots", "notes", "index"])
    for (const name of names(world, folder))
      expect([name, decodeSealHeader(world.memory.objects.get(name)?.bytes as Buffer).header.epoch]).toEqual([name, 2]);
  await forgetFirstEpoch(world);
  expect(await seen(world)).toEqual(shown);
  await expectKept(world, kept);
  expect((await verifyRepository(await world.open(), verifyOptions())).damage).toEqual([]);
}

describe("a rewrite of older epochs", () => {
  it("leaves nothing under them after the grace time and a prune, and changes nothing that people see", async () => {
    const told = await history();
    const { world, kept } = told;
    const shown = await seen(world);
    const before = new Set(["packs", "snapshots", "notes"].flatMap((folder) => names(world, folder)));
    const phases = new Set<string>();
    const report = await pruneRepository(await world.open(), {
      ...rewriteOptions(),
      onProgress: ({ phase }) => phases.add(phase),
    });
    expect(report.packsRepacked).toBeGreaterThan(2);
    expect(report.objectsCopied).toBeGreaterThan(6);
    expect([...phases]).toEqual(["mark", "copy objects", "repack"]);
    // Whoever began before still finds all it knows.
    for (const name of before) expect(world.memory.objects.has(name)).toBe(true);
    expect(await seen(world)).toEqual(shown);
    await expectKept(world, kept);
    await world.clock.advance(GRACE - HOUR);
    await pruneRepository(await world.open(), pruneOptions());
    for (const name of before) expect(world.memory.objects.has(name)).toBe(true);
    await expectRewritten(told);
  });

  it("goes on after a crash at each of its steps", async () => {
    const told = await history();
    const { world } = told;
    const shown = await seen(world);
    await pruneRepository(await world.open(), pruneOptions());
    await world.clock.advance(GRACE + HOUR);
    const boundaries: (PruneBoundary | RewriteBoundary)[] = [...PRUNE_BOUNDARIES];
    boundaries.splice(boundaries.indexOf("after repack"), 0, ...(["mid object copies", "after object copies"] as const));
    for (const boundary of boundaries) {
      // The first group holds what any prune does, the second the first pack of an older epoch.
      let hits = boundary === "after repack" || boundary === "after index" ? 2 : 1;
      const run = pruneRepository(await world.open(), rewriteOptions(), {
        groupBytes: 1,
        onBoundary: (name) => {
          if (name === boundary && --hits === 0) throw new Error("killed");
        },
      });
      await expect(run, boundary).rejects.toThrow("killed");
      expect(await seen(world)).toEqual(shown);
    }
    await expectRewritten(told);
  });

  it("does not bring back a snapshot that is deleted while it is copied", async () => {
    const { world, kept } = await history();
    const [id] = [...kept.keys()] as [SnapshotId];
    const other = await world.open();
    await annotateSnapshot(other, { id }, { hold: false });
    let deleted = false;
    await world.clock.advance(HOUR);
    // Listed before its copy was put: the deletion names the old object alone.
    const deleter = new FaultyTarget(world.memory);
    const listing = Promise.withResolvers<undefined>();
    deleter.queue({ verb: "put", name: /^notes/, kind: "delay", until: listing.promise });
    const deleting = deleteSnapshots(await world.open(deleter), [id]);
    await pruneRepository(await world.open(), rewriteOptions(), {
      onBoundary: async (name) => {
        if (name !== "mid object copies" || deleted) return;
        deleted = true;
        listing.resolve(undefined);
        await deleting;
      },
    });
    expect(deleted).toBe(true);
    kept.delete(id);
    await expectKept(world, kept);
  });

  it("refuses what it cannot do whole, and changes nothing then", async () => {
    const { world } = await history();
    const current = await world.open();
    const refused = async (reason: object, repository = world.open()): Promise<void> => {
      const before = new Map(world.memory.objects);
      await expect(pruneRepository(await repository, rewriteOptions())).rejects.toMatchObject(reason);
      expect(new Map(world.memory.objects)).toEqual(before);
    };
    await refused({ code: "unsupported" }, world.open(undefined, { appendOnly: true }));
    const fresh = new World();
    await expect(pruneRepository(await fresh.create(), rewriteOptions())).rejects.toMatchObject({
      code: "unsupported",
      hint: expect.stringContaining("key rotate") as string,
    });
    // A snapshot, a note, a pack that a snapshot needs.
    for (const name of [names(world, "notes")[0], names(world, "snapshots")[0]] as string[]) {
      world.memory.corrupt(name, 100);
      await refused({ code: "object_damaged" });
      world.memory.corrupt(name, 100);
    }
    const pack = [...current.index.packs()].find(({ kind }) => kind === 1)?.id as PackId;
    const time = new Date(world.clock.now()).toISOString();
    await current.putObject("condemned", encodeCondemned({ reason: "damaged", time, packs: [pack], owner: "0".repeat(32) }));
    await refused({ code: "object_damaged", message: expect.stringContaining("damaged packs") as string });
    // Opened before another process began an epoch: what it writes would lie under an older one at once.
    await newEpoch(await world.open());
    await refused({ code: "repository_changed" }, Promise.resolve(current));
  });
});
