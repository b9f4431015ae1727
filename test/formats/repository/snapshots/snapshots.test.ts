import { describe, expect, it } from "vitest";
import { HoldfastError } from "../../../../src/base/errors.ts";
import type { ObjectId, SnapshotId } from "../../../../src/base/ids.ts";
import { deleteSnapshots } from "../../../../src/formats/repository/snapshots/delete-snapshots.ts";
import {
  annotateSnapshot,
  lastPolicy,
  lastVerifications,
  putPolicyNote,
  putVerificationNote,
  readNotes,
} from "../../../../src/formats/repository/snapshots/notes.ts";
import { listSnapshots, missingPredecessors, readSnapshots } from "../../../../src/formats/repository/snapshots/snapshot-list.ts";
import { FaultyTarget } from "../../../support/faulty-target.ts";
import { names, noise, World, type Files } from "../prune/fixture.ts";

const FILES: Files = new Map([["a", noise(1, 2000)]]);

async function three(world: World): Promise<[SnapshotId, SnapshotId, SnapshotId]> {
  const repository = await world.create();
  const ids: SnapshotId[] = [];
  for (let i = 0; i < 3; i++) {
    ids.push(await world.backup(repository, FILES, { previous: ids.at(-1) }));
    await world.clock.advance(60_000);
  }
  return ids as [SnapshotId, SnapshotId, SnapshotId];
}

describe("snapshots", () => {
  it("are listed oldest first, with the target's own time", async () => {
    const world = new World();
    const ids = await three(world);
    const snapshots = await listSnapshots(await world.open());
    expect(snapshots.map(({ id }) => id)).toEqual(ids);
    expect(snapshots[0]).toMatchObject({
      host: "host-a",
      job: "home",
      objectTimeMs: Date.parse("2026-03-01T00:00:00Z"),
      hold: false,
      tags: [],
    });
  });

  it("carry what notes say, in the order of the notes' time", async () => {
    const world = new World();
    const [first, second] = await three(world);
    const repository = await world.open();
    const tick = (): Promise<void> => world.clock.advance(1000);
    await annotateSnapshot(repository, { id: first }, { addTags: ["a", "b"], description: "one" });
    await tick();
    await annotateSnapshot(repository, { id: first }, { removeTags: ["a"], addTags: ["c", "b"], hold: true });
    await tick();
    await annotateSnapshot(repository, { id: first }, { hold: 1_800_000_000_000, description: "two" });
    await annotateSnapshot(repository, { id: second }, {});
    const snapshots = await listSnapshots(repository);
    expect(snapshots[0]).toMatchObject({ tags: ["b", "c"], description: "two", hold: 1_800_000_000_000 });
    expect(snapshots[1]).toMatchObject({ tags: [], description: "backup 2", hold: false });
    await tick();
    await annotateSnapshot(repository, { id: first }, { hold: false });
    expect((await listSnapshots(repository))[0]?.hold).toBe(false);
  });

  it("are deleted by a note first; a crash in between leaves them deleted, and the next deletion cleans up", async () => {
    const world = new World();
    const [first, second, third] = await three(world);
    const faulty = new FaultyTarget(world.memory);
    faulty.queue({ verb: "delete", name: /^snapshots\//, nth: 2, kind: "error", error: new HoldfastError("target_io", "gone") });
    await expect(deleteSnapshots(await world.open(faulty), [first, second])).rejects.toThrow("gone");
    faulty.assertAllFired();
    expect(names(world, "snapshots").length).toBe(2);
    expect((await listSnapshots(await world.open())).map(({ id }) => id)).toEqual([third]);
    await deleteSnapshots(await world.open(), [first, second]);
    expect(names(world, "snapshots").length).toBe(1);
    expect(names(world, "notes").length).toBe(1);
  });

  it("are deleted with every copy there is, and come back with one that is put later", async () => {
    const world = new World();
    const [first, second] = await three(world);
    const repository = await world.open();
    const original = (await readSnapshots(repository)).objects.get(first)?.[0] as ObjectId;
    const content = await repository.readObject("snapshots", original);
    await repository.putObject("snapshots", content);
    expect((await readSnapshots(repository)).objects.get(first)).toHaveLength(2);
    await deleteSnapshots(repository, [first]);
    expect(names(world, "snapshots").length).toBe(2);
    const copy = await repository.putObject("snapshots", content);
    expect((await listSnapshots(repository)).map(({ id, object }) => (id === first ? object : id))).toContain(copy);
    // The next deletion clears up what earlier ones named, which this copy is not.
    await deleteSnapshots(repository, [second]);
    expect(names(world, "snapshots")).toContain(`snapshots/${copy}`);
  });

  it("that are held, or unknown, refuse the whole deletion", async () => {
    const world = new World();
    const [first, second] = await three(world);
    const repository = await world.open();
    for (const hold of [true, world.clock.now() + 3_600_000]) {
      await world.clock.advance(1000);
      await annotateSnapshot(repository, { id: first }, { hold });
      await expect(deleteSnapshots(repository, [second, first])).rejects.toMatchObject({ code: "plan_held" });
    }
    await expect(deleteSnapshots(repository, [second, "00".repeat(16) as SnapshotId])).rejects.toMatchObject({
      code: "snapshot_missing",
    });
    expect((await listSnapshots(repository)).length).toBe(3);
    await world.clock.advance(3_600_000);
    await deleteSnapshots(repository, [second, first]);
    expect((await listSnapshots(repository)).length).toBe(1);
  });

  it("may be held by a note that is damaged: nothing is deleted then", async () => {
    const world = new World();
    const [first] = await three(world);
    const repository = await world.open();
    await annotateSnapshot(repository, { id: first }, { hold: true });
    world.memory.corrupt(names(world, "notes")[0] as string, 100);
    await expect(deleteSnapshots(repository, [first])).rejects.toMatchObject({ code: "object_damaged" });
    expect(names(world, "snapshots").length).toBe(3);
  });

  it("stay as objects on an append-only target, and are gone from the list", async () => {
    const world = new World();
    const [first] = await three(world);
    await deleteSnapshots(await world.open(undefined, { appendOnly: true }), [first]);
    expect(names(world, "snapshots").length).toBe(3);
    expect((await listSnapshots(await world.open())).length).toBe(2);
  });

  it("that are damaged are reported by name, the others listed", async () => {
    const world = new World();
    await three(world);
    const name = names(world, "snapshots")[1] as string;
    world.memory.corrupt(name, 200);
    const damaged: string[] = [];
    const snapshots = await listSnapshots(await world.open(), { onDamaged: (id) => damaged.push(id) });
    expect(damaged).toEqual([name]);
    expect(snapshots.length).toBe(2);
    await expect(listSnapshots(await world.open())).rejects.toMatchObject({ code: "object_damaged" });
  });

  it("show where the list was rolled back, and not where one was deleted", async () => {
    const world = new World();
    const [first, second, third] = await three(world);
    const repository = await world.open();
    await deleteSnapshots(repository, [first]);
    const { snapshots, deleted, objects } = await readSnapshots(repository);
    expect(missingPredecessors(snapshots, deleted)).toEqual([]);
    world.memory.objects.delete(`snapshots/${objects.get(second)?.[0]}`);
    const after = await readSnapshots(repository);
    expect(missingPredecessors(after.snapshots, after.deleted).map(({ snapshot, missing }) => [snapshot.id, missing])).toEqual([
      [third, second],
    ]);
  });
});

describe("notes", () => {
  it("keep the last policy and the last verification of each snapshot", async () => {
    const world = new World();
    const [first, second] = await three(world);
    const repository = await world.open();
    expect(lastPolicy(await readNotes(repository))).toBeUndefined();
    await putPolicyNote(repository, { keepLast: 3 });
    await putVerificationNote(repository, { snapshots: [first, second], level: "structure", result: "ok", details: { n: 1 } });
    await world.clock.advance(1000);
    await putPolicyNote(repository, { keepLast: 5 });
    await putVerificationNote(repository, { snapshots: [second], level: "data", result: "damaged", details: {} });
    const notes = await readNotes(repository);
    expect(lastPolicy(notes)).toEqual({ keepLast: 5 });
    const last = lastVerifications(notes);
    expect([last.get(first)?.level, last.get(second)?.result]).toEqual(["structure", "damaged"]);
    expect(last.get(first)?.details).toEqual({ n: 1 });
  });
});
