import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HoldfastError } from "../../../../src/base/errors.ts";
import { asPackId } from "../../../../src/base/ids.ts";
import { newEpoch } from "../../../../src/formats/repository/keyslots/keyslots.ts";
import { HeldLease } from "../../../../src/formats/repository/leases/leases.ts";
import { encodeCondemned } from "../../../../src/formats/repository/objects/condemned-object.ts";
import { pruneRepository } from "../../../../src/formats/repository/prune/prune.ts";
import { repairRepository } from "../../../../src/formats/repository/repair/repair.ts";
import type { Repository } from "../../../../src/formats/repository/repository.ts";
import { deleteSnapshots } from "../../../../src/formats/repository/snapshots/delete-snapshots.ts";
import { putVerificationNote } from "../../../../src/formats/repository/snapshots/notes.ts";
import { listSnapshots } from "../../../../src/formats/repository/snapshots/snapshot-list.ts";
import { scrubTarget } from "../../../../src/formats/repository/verify/scrub.ts";
import { verifyRepository } from "../../../../src/formats/repository/verify/verify.ts";
import { CacheTarget } from "../../../../src/targets/wrap/cache.ts";
import { FaultyTarget } from "../../../support/faulty-target.ts";
import { names, noise, pruneOptions, verifyOptions, World } from "../prune/fixture.ts";

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-cached-"));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

/** A repository with an object of every class, opened through a cache that holds a copy of each. */
async function cached(world: World): Promise<{ repository: Repository; target: CacheTarget }> {
  await world.create();
  const target = new CacheTarget(world.memory, { folder });
  const repository = await world.open(target);
  const id = await world.backup(repository, new Map([["a", noise(1, 40_000)]]));
  await putVerificationNote(repository, { snapshots: [id], level: "data", result: "ok", details: {} });
  const packs = [asPackId("ab".repeat(32))];
  await repository.putObject(
    "condemned",
    encodeCondemned({ reason: "prune", time: "2026-03-01T00:00:00.000Z", packs, owner: "cd".repeat(16) }),
  );
  await listSnapshots(await world.open(target));
  return { repository, target };
}

const codeOf = async (promise: Promise<unknown>): Promise<string> =>
  await promise.then(
    () => "none",
    (error: unknown) => (error instanceof HoldfastError ? error.code : String(error)),
  );

describe("a repository behind a cache", () => {
  it("is opened and listed without asking the target again for small objects", async () => {
    const world = new World();
    const { target } = await cached(world);
    const before = world.memory.requests.get;
    expect(await listSnapshots(await world.open(target))).toHaveLength(1);
    // holdfast.json and one key slot.
    expect(world.memory.requests.get - before).toBe(2);
    fs.rmSync(folder, { recursive: true });
    expect(await listSnapshots(await world.open(target))).toHaveLength(1);
    expect(world.memory.requests.get - before).toBeGreaterThan(4);
  });

  it("is verified and scrubbed on the target, not in the cache", async () => {
    const world = new World();
    const { repository, target } = await cached(world);
    expect((await verifyRepository(repository, verifyOptions())).ok).toBe(true);
    for (const each of ["keyring", "index", "snapshots", "notes", "condemned"]) {
      const name = names(world, each)[0] as string;
      const object = world.memory.objects.get(name) as { bytes: Uint8Array };
      const good = object.bytes;
      world.memory.corrupt(name, good.length >> 1);
      // The copy serves for everything else.
      expect(await listSnapshots(await world.open(target))).toHaveLength(1);
      const report = await verifyRepository(repository, verifyOptions({ readData: 0 }));
      expect(
        report.damage.some(({ id }) => name.endsWith(id)),
        each,
      ).toBe(true);
      expect((await scrubTarget(target)).damaged).toMatchObject([{ name }]);
      object.bytes = good;
    }
    expect((await verifyRepository(repository, verifyOptions())).ok).toBe(true);
  });

  it("is repaired by what the target holds", async () => {
    const world = new World();
    const { target } = await cached(world);
    const name = names(world, "index")[0] as string;
    world.memory.corrupt(name, 100);
    const report = await repairRepository(await world.open(target), {
      index: false,
      packs: [],
      onProgress: () => undefined,
      signal: new AbortController().signal,
    });
    expect(report.reasons[0]).toContain(name.slice("index/".length));
    expect(report.rebuilt).toMatchObject({ replaced: 1 });
  });

  it("reads back what a decision rests on from the target", async () => {
    const world = new World();
    const first = await world.create();
    const id = await world.backup(first, new Map([["a", noise(1, 40_000)]]));
    await deleteSnapshots(first, [id]);
    const faulty = new FaultyTarget(world.memory);
    const repository = await world.open(new CacheTarget(faulty, { folder }));
    // Each put is answered as done, and only a part of it arrives.
    faulty.queue({ verb: "put", name: /^condemned/, kind: "lie", keepBytes: 50 });
    expect(await codeOf(pruneRepository(repository, pruneOptions()))).toBe("object_damaged");
    for (const name of names(world, "condemned")) world.memory.objects.delete(name);
    faulty.queue({ verb: "put", name: /^keyring/, kind: "lie", keepBytes: 50 });
    expect(await codeOf(newEpoch(repository))).toBe("object_damaged");
    faulty.queue({ verb: "put", name: /^leases/, kind: "lie", keepBytes: 50 });
    expect(await codeOf(HeldLease.acquire(repository, "write"))).toBe("object_damaged");
    faulty.assertAllFired();
  });
});
