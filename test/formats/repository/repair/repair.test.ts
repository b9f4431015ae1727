import { describe, expect, it } from "vitest";
import type { PackId, SnapshotId } from "../../../../src/base/ids.ts";
import { pruneRepository } from "../../../../src/formats/repository/prune/prune.ts";
import { repairRepository, type RepairOptions } from "../../../../src/formats/repository/repair/repair.ts";
import { loadView } from "../../../../src/formats/repository/verify/repository-view.ts";
import { verifyRepository } from "../../../../src/formats/repository/verify/verify.ts";
import type { PackRecord } from "../../../../src/formats/repository/objects/index-object.ts";
import { HeldLease } from "../../../../src/formats/repository/leases/leases.ts";
import { expectKept, names, noise, pruneOptions, verifyOptions, World, type Files } from "../prune/fixture.ts";

function repairOptions(options: Partial<RepairOptions> = {}): RepairOptions {
  return { index: false, packs: [], onProgress: () => undefined, signal: new AbortController().signal, ...options };
}

async function two(world: World): Promise<Map<SnapshotId, Files>> {
  const repository = await world.create();
  const files: Files = new Map([
    ["a", noise(1, 100_000)],
    ["d/b", noise(2, 50_000)],
  ]);
  const more = new Map([...files, ["d/c", noise(3, 30_000)]]);
  const kept = new Map<SnapshotId, Files>([[await world.backup(repository, files), files]]);
  await world.clock.advance(1000);
  return kept.set(await world.backup(repository, more), more);
}

async function records(world: World): Promise<PackRecord[]> {
  const repository = await world.open();
  const view = await loadView(repository, { withAbsent: true });
  return [...view.packs.keys()].flatMap((id) => view.index.record(id) ?? []);
}

describe("repair", () => {
  it("rebuilds a deleted index from the packs alone, equal to what it was", async () => {
    const world = new World();
    const kept = await two(world);
    const before = await records(world);
    for (const name of names(world, "index")) world.memory.objects.delete(name);
    const report = await repairRepository(await world.open(), repairOptions());
    expect(report.rebuilt).toMatchObject({ packs: before.length, unreadable: [] });
    expect(await records(world)).toEqual(before);
    await expectKept(world, kept);
  });

  it("replaces a damaged index object, and a prune removes it", async () => {
    const world = new World();
    const kept = await two(world);
    world.memory.corrupt(names(world, "index")[0] as string, 300);
    const opened = await openDamaged(world);
    const report = await repairRepository(opened, repairOptions());
    expect(report.reasons.join()).toContain("index object");
    const pruned = await pruneRepository(await openDamaged(world), pruneOptions({ immediate: true }));
    expect(pruned.indexObjectsReplaced).toBeGreaterThan(0);
    await expectKept(world, kept);
    expect((await verifyRepository(await world.open(), verifyOptions())).damage).toEqual([]);
  });

  it("leaves a good repository as it is", async () => {
    const world = new World();
    await two(world);
    const before = [...world.memory.objects.keys()];
    expect(await repairRepository(await world.open(), repairOptions({ packs: "all" }))).toMatchObject({
      rebuilt: undefined,
      marked: [],
    });
    expect([...world.memory.objects.keys()]).toEqual(before);
  });

  it("marks a damaged pack, so that the next backup stores its chunks again", async () => {
    const world = new World({ packBytes: 16 * 1024 });
    const kept = await two(world);
    const repository = await world.open();
    const first = repository.index.find(1, repository.keys.chunkId(1, noise(1, 100_000).subarray(0, 8192)));
    const pack = repository.index.packOfFrame(first?.frame ?? -1);
    world.memory.corrupt(`packs/${pack.slice(0, 2)}/${pack}`, 70);
    const { damage } = await verifyRepository(repository, verifyOptions());
    expect(damage.map(({ id }) => id)).toEqual([pack]);
    const report = await repairRepository(await world.open(), repairOptions({ packs: [pack as PackId] }));
    expect(report.marked.map(({ id }) => id)).toEqual([pack]);
    expect(await repairRepository(await world.open(), repairOptions({ packs: "all" }))).toMatchObject({ marked: [] });
    const [, files] = [...kept].at(-1) as [SnapshotId, Files];
    kept.set(await world.backup(await world.open(), files), files);
    await expectKept(world, kept);
    expect((await verifyRepository(await world.open(), verifyOptions())).damage).toEqual([]);
    // Nobody needs the damaged pack any more: a prune may take it.
    await pruneRepository(await world.open(), pruneOptions({ immediate: true }));
    expect(names(world, "packs")).not.toContain(`packs/${pack.slice(0, 2)}/${pack}`);
    await expectKept(world, kept);
  });

  it("drops a lost pack from the index, so that the next backup stores its chunks again", async () => {
    const world = new World({ packBytes: 16 * 1024 });
    const kept = await two(world);
    world.memory.objects.delete(names(world, "packs")[0] as string);
    const report = await repairRepository(await world.open(), repairOptions());
    expect(report.reasons.join()).toContain("missing");
    const [, files] = [...kept].at(-1) as [SnapshotId, Files];
    kept.set(await world.backup(await world.open(), files), files);
    await expectKept(world, kept);
  });

  it("keeps what the old index said of a pack whose directory is damaged", async () => {
    const world = new World({ packBytes: 1024 * 1024 });
    const kept = await two(world);
    const name = names(world, "packs")[0] as string;
    world.memory.corrupt(name, (world.memory.objects.get(name)?.bytes.length ?? 0) - 100);
    const report = await repairRepository(await world.open(), repairOptions({ index: true }));
    expect(report.rebuilt?.unreadable).toMatchObject([{ kept: true }]);
    expect(report.marked.length).toBe(1);
    await expectKept(world, kept);
  });

  it("waits for nobody: another maintainer refuses it", async () => {
    const world = new World();
    await two(world);
    await using _lease = await HeldLease.acquire(await world.open(), "maintain");
    await expect(repairRepository(await world.open(), repairOptions())).rejects.toMatchObject({ code: "repository_locked" });
  });
});

async function openDamaged(world: World): ReturnType<World["create"]> {
  const { Repository } = await import("../../../../src/formats/repository/repository.ts");
  const { UNLOCK } = await import("../prune/fixture.ts");
  return await Repository.open(world.options(), [UNLOCK]);
}
