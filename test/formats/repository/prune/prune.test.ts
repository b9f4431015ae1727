// Long because every boundary, clock and lying target of a prune is tried on one fixture.

import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HoldfastError } from "../../../../src/base/errors.ts";
import type { SnapshotId } from "../../../../src/base/ids.ts";
import { systemRandom } from "../../../../src/codec/system-random.ts";
import { HeldLease } from "../../../../src/formats/repository/leases/leases.ts";
import { newEpoch } from "../../../../src/formats/repository/keyslots/keyslots.ts";
import { objectIdOf } from "../../../../src/formats/repository/repository.ts";
import { pruneRepository, PRUNE_BOUNDARIES } from "../../../../src/formats/repository/prune/prune.ts";
import { deleteSnapshots } from "../../../../src/formats/repository/snapshots/delete-snapshots.ts";
import { verifyRepository } from "../../../../src/formats/repository/verify/verify.ts";
import { FaultyTarget } from "../../../support/faulty-target.ts";
import {
  bytesIn,
  expectKept,
  GRACE,
  HOUR,
  DAY,
  names,
  noise,
  pruneOptions,
  verifyOptions,
  World,
  type Files,
} from "./fixture.ts";

function filesOf(...parts: readonly [string, number, number][]): Files {
  return new Map(parts.map(([path, seed, length]) => [path, noise(seed, length)]));
}

/** Three snapshots that share a part; the middle and the first are deleted. */
async function history(world: World): Promise<Map<SnapshotId, Files>> {
  const repository = await world.create();
  const kept = new Map<SnapshotId, Files>();
  const first = filesOf(["a/one", 1, 90_000], ["a/two", 2, 60_000], ["b/three", 3, 120_000], ["big", 4, 200_000]);
  const second = new Map([...first, ...filesOf(["a/two", 5, 70_000], ["b/four", 6, 50_000])]);
  const third = new Map([...second, ...filesOf(["b/three", 7, 10_000], ["c/five", 8, 40_000])]);
  third.delete("big");
  const deleted = [await world.backup(repository, first), await world.backup(repository, second)];
  await world.clock.advance(HOUR);
  kept.set(await world.backup(repository, third), third);
  await deleteSnapshots(repository, deleted);
  return kept;
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return error instanceof HoldfastError ? error.code : String(error);
  }
  return "none";
}

/** SHA-256 of the stored bytes of every data frame in a good pack, with its epoch. */
async function dataFrames(world: World): Promise<Map<string, number>> {
  const repository = await world.open();
  const frames = new Map<string, number>();
  for (const { id, kind, state } of repository.index.packs()) {
    if (kind !== 1 || state !== "ok") continue;
    const bytes = world.memory.objects.get(`packs/${id.slice(0, 2)}/${id}`)?.bytes;
    for (const { offset, storedLength, row } of repository.index.framesOf(id))
      frames.set(objectIdOf(bytes?.subarray(offset, offset + storedLength) ?? new Uint8Array()), row.epoch);
  }
  return frames;
}

describe("prune", () => {
  it("condemns first, deletes after the grace time, and keeps what lives", async () => {
    const world = new World();
    const kept = await history(world);
    const before = bytesIn(world, "packs");
    const first = await pruneRepository(await world.open(), pruneOptions());
    expect(first.packsCondemned).toBeGreaterThan(0);
    expect(first.packsDeleted).toBe(0);
    await expectKept(world, kept);
    await world.clock.advance(GRACE - HOUR);
    expect((await pruneRepository(await world.open(), pruneOptions())).packsDeleted).toBe(0);
    await world.clock.advance(2 * HOUR);
    const swept = await pruneRepository(await world.open(), pruneOptions());
    expect(swept.packsDeleted).toBe(first.packsCondemned);
    expect(bytesIn(world, "packs")).toBeLessThan(before * 0.6);
    await expectKept(world, kept);
    const verified = await verifyRepository(await world.open(), verifyOptions());
    expect(verified.damage).toEqual([]);
    expect(names(world, "leases")).toEqual([]);
  });

  it("has nothing more to do the second time", async () => {
    const world = new World();
    await history(world);
    await pruneRepository(await world.open(), pruneOptions({ immediate: true }));
    const objects = [...world.memory.objects.keys()]
      .filter((name) => name.startsWith("packs/") || name.startsWith("index/"))
      .toSorted();
    const again = await pruneRepository(await world.open(), pruneOptions({ immediate: true }));
    expect(again).toMatchObject({ packsRepacked: 0, packsCondemned: 0, packsDeleted: 0, bytesWritten: 0 });
    expect(
      [...world.memory.objects.keys()].filter((name) => name.startsWith("packs/") || name.startsWith("index/")).toSorted(),
    ).toEqual(objects);
  });

  it("says in a dry run what the run does, and changes nothing", async () => {
    const world = new World();
    const kept = await history(world);
    for (const immediate of [false, true]) {
      const names = [...world.memory.objects.keys()];
      const dry = await pruneRepository(await world.open(), pruneOptions({ dryRun: true, immediate }));
      expect([...world.memory.objects.keys()]).toEqual(names);
      const run = await pruneRepository(await world.open(), pruneOptions({ immediate }));
      const { bytesWritten: _estimate, indexObjectsReplaced: _count, notes: _notes, ...decided } = dry;
      expect(run).toMatchObject(immediate ? { packsDeleted: run.packsDeleted } : decided);
      if (immediate) expect(run.packsDeleted).toBe(dry.packsDeleted);
    }
    await expectKept(world, kept);
  });

  it("copies live frames verbatim, under the key of their epoch", async () => {
    const world = new World({ packBytes: 256 * 1024 });
    const repository = await world.create();
    const parts = Array.from({ length: 16 }, (_, i): [string, number, number] => [`f${i}`, i, 3 * 32 * 1024]);
    const many = filesOf(...parts);
    const first = await world.backup(repository, many);
    await newEpoch(repository);
    const half = new Map([...many].filter((_, i) => i % 4 < 2));
    const kept = new Map([[await world.backup(await world.open(), half), half]]);
    await deleteSnapshots(repository, [first]);
    const before = await dataFrames(world);
    const { packsRepacked } = await pruneRepository(await world.open(), pruneOptions({ immediate: true }), { grouping: "file" });
    expect(packsRepacked).toBeGreaterThan(3);
    const after = await dataFrames(world);
    expect(after.size).toBeLessThan(before.size * 0.6);
    // Every frame that is left is one that was there, to the byte, and under the first epoch's key.
    for (const [digest, epoch] of after) expect([before.get(digest), epoch]).toEqual([1, 1]);
    await expectKept(world, kept);
    expect((await verifyRepository(await world.open(), verifyOptions())).damage).toEqual([]);
  });

  it("keeps at most 5 % over a fresh repository of the kept snapshots", async () => {
    const world = new World({ packBytes: 512 * 1024 });
    const repository = await world.create();
    let files = filesOf(
      ...Array.from({ length: 60 }, (_, i): [string, number, number] => [`d${i % 5}/f${i}`, i, 30_000 + i * 1500]),
    );
    const ids: SnapshotId[] = [];
    const contents: Files[] = [];
    for (let day = 0; day < 6; day++) {
      ids.push(await world.backup(repository, files));
      contents.push(files);
      await world.clock.advance(DAY);
      files = new Map(
        [...files].map(([path, bytes], i) => [path, i % 7 === day ? noise(1000 + day * 100 + i, bytes.length) : bytes]),
      );
    }
    const keep = [3, 5];
    await deleteSnapshots(
      repository,
      ids.filter((_, i) => !keep.includes(i)),
    );
    await pruneRepository(await world.open(), pruneOptions({ immediate: true }));
    const fresh = new World({ packBytes: 512 * 1024 });
    const other = await fresh.create();
    for (const i of keep) await fresh.backup(other, contents[i] as Files);
    await expectKept(world, new Map(keep.map((i) => [ids[i] as SnapshotId, contents[i] as Files])));
    expect(bytesIn(world, "packs")).toBeLessThanOrEqual(bytesIn(fresh, "packs") * 1.05);
  });

  it("rewrites nothing while the unused part is within bounds", async () => {
    const world = new World();
    const repository = await world.create();
    const files = filesOf(["large", 1, 1_000_000], ["small", 2, 8192]);
    const first = await world.backup(repository, files);
    const without = new Map(files);
    without.delete("small");
    await world.backup(repository, without);
    await deleteSnapshots(repository, [first]);
    const report = await pruneRepository(repository, pruneOptions({ maxUnused: 0.2 }));
    expect(report.packsRepacked).toBe(0);
  });

  it("merges small packs", async () => {
    const world = new World();
    const repository = await world.create();
    const kept = new Map<SnapshotId, Files>();
    let files: Files = new Map();
    for (let i = 0; i < 6; i++) {
      files = new Map([...files, ...filesOf([`f${i}`, i, 5000])]);
      kept.set(await world.backup(repository, files), files);
    }
    expect(names(world, "packs").length).toBe(12);
    await pruneRepository(repository, pruneOptions({ immediate: true }));
    expect(names(world, "packs").length).toBe(2);
    await expectKept(world, kept);
  });

  it("never lets users share a frame it makes", async () => {
    const world = new World();
    const repository = await world.create();
    const uidOf = (path: string): number => (path.startsWith("alice") ? 1 : 2);
    const owners = new Map<string, number>();
    let files: Files = new Map();
    for (let i = 0; i < 8; i++) {
      const path = `${i % 2 === 0 ? "alice" : "bob"}/f${i}`;
      files = new Map([...files, [path, noise(i, 3000)]]);
      await world.clock.advance(HOUR);
      await world.backup(repository, files, { uidOf });
      owners.set(repository.keys.chunkId(1, noise(i, 3000)).subarray(0, 16).toString("hex"), uidOf(path));
    }
    await pruneRepository(repository, pruneOptions({ immediate: true }));
    const pruned = await world.open();
    let grouped = 0;
    for (const pack of pruned.index.packs()) {
      if (pack.kind !== 1) continue;
      for (const frame of pruned.index.framesOf(pack.id)) {
        const met = new Set<number | undefined>();
        for (let i = 0; i < frame.chunkCount; i++)
          met.add(owners.get(Buffer.from(frame.chunkIds.subarray(i * 16, i * 16 + 16)).toString("hex")));
        expect(met.size).toBe(1);
        if (frame.chunkCount === 4) grouped++;
      }
    }
    expect(grouped).toBe(2);
  });

  it("does nothing on an append-only target, and says so", async () => {
    const world = new World();
    const kept = await history(world);
    const before = [...world.memory.objects.keys()];
    const report = await pruneRepository(await world.open(undefined, { appendOnly: true }), pruneOptions());
    expect(report.notes.join()).toContain("append-only");
    expect(report.packsCondemned + report.packsDeleted).toBe(0);
    expect([...world.memory.objects.keys()]).toEqual(before);
    await expectKept(world, kept);
  });
});

describe("prune and others", () => {
  const crashes = [
    ...PRUNE_BOUNDARIES.map((boundary) => ({ boundary, immediate: false })),
    ...(["after condemn", "after tombstones", "after sweep index", "mid pack deletion"] as const).map((boundary) => ({
      boundary,
      immediate: true,
    })),
  ];
  it.each(crashes)("goes on after a crash $boundary (immediate: $immediate)", async ({ boundary, immediate }) => {
    const world = new World();
    const kept = await history(world);
    if (!immediate) {
      await pruneRepository(await world.open(), pruneOptions());
      await world.clock.advance(GRACE + HOUR);
      // Something new to condemn beside what is swept.
      const repository = await world.open();
      const gone = await world.backup(repository, filesOf(["x", 99, 150_000], ["y", 98, 20_000]));
      const rest = filesOf(["y", 98, 20_000]);
      kept.set(await world.backup(repository, rest), rest);
      await deleteSnapshots(repository, [gone]);
    }
    const crash = pruneRepository(await world.open(), pruneOptions({ immediate }), {
      onBoundary: (name) => {
        if (name === boundary) throw new Error("killed");
      },
    });
    await expect(crash).rejects.toThrow("killed");
    await expectKept(world, kept);
    await pruneRepository(await world.open(), pruneOptions({ immediate }));
    await world.clock.advance(GRACE + HOUR);
    await pruneRepository(await world.open(), pruneOptions({ immediate }));
    await expectKept(world, kept);
    const { damage } = await verifyRepository(await world.open(), verifyOptions());
    expect(damage).toEqual([]);
    await world.clock.advance(GRACE + HOUR);
    await pruneRepository(await world.open(), pruneOptions({ immediate }));
    expect(await pruneRepository(await world.open(), pruneOptions({ dryRun: true, immediate }))).toMatchObject({
      packsCondemned: 0,
      packsDeleted: 0,
    });
    const live = [...new Map([...kept.values()].flatMap((files) => [...files])).values()].reduce(
      (sum, bytes) => sum + bytes.length,
      0,
    );
    expect(bytesIn(world, "packs")).toBeLessThan(live * 1.15);
  });

  it("loses nothing to a writer that commits what a prune condemned meanwhile", async () => {
    const world = new World();
    const repository = await world.create();
    const files = filesOf(["a", 1, 100_000], ["b", 2, 50_000]);
    const first = await world.backup(repository, files);
    const writer = await world.open();
    await deleteSnapshots(repository, [first]);
    const again = await world.backup(writer, files, {
      beforeCommit: async () => {
        const report = await pruneRepository(await world.open(), pruneOptions());
        expect(report.packsCondemned).toBeGreaterThan(0);
        expect(await codeOf(pruneRepository(await world.open(), pruneOptions({ immediate: true })))).toBe("repository_locked");
      },
    });
    await world.clock.advance(GRACE + 2 * HOUR);
    expect((await pruneRepository(await world.open(), pruneOptions())).packsDeleted).toBeGreaterThan(0);
    await expectKept(world, new Map([[again, files]]));
  });

  it("copies live chunks out of a condemned pack before it goes", async () => {
    const world = new World();
    const repository = await world.create();
    const files = filesOf(["a", 1, 100_000]);
    const first = await world.backup(repository, files);
    await deleteSnapshots(repository, [first]);
    await pruneRepository(await world.open(), pruneOptions());
    // A writer that knew nothing of the condemnation and never looked: the sweep alone must save its snapshot.
    const condemned = names(world, "condemned").map((name) => [name, world.memory.objects.get(name)] as const);
    for (const [name] of condemned) world.memory.objects.delete(name);
    const again = await world.backup(await world.open(), files);
    for (const [name, object] of condemned) if (object !== undefined) world.memory.objects.set(name, object);
    await world.clock.advance(GRACE + HOUR);
    const saved = await pruneRepository(await world.open(), pruneOptions());
    expect(saved).toMatchObject({ packsDeleted: 0 });
    expect(saved.bytesWritten).toBeGreaterThan(0);
    expect((await pruneRepository(await world.open(), pruneOptions())).packsDeleted).toBeGreaterThan(0);
    await expectKept(world, new Map([[again, files]]));
  });

  it("keeps condemned packs while a lease from before the condemnation is live", async () => {
    const world = new World();
    await history(world);
    const repository = await world.open();
    await using lease = await HeldLease.acquire(repository, "write");
    await pruneRepository(await world.open(), pruneOptions());
    await world.clock.advance(GRACE + HOUR);
    await lease.confirm();
    const report = await pruneRepository(await world.open(), pruneOptions());
    expect(report.packsDeleted).toBe(0);
    expect(report.notes.join()).toContain("lease from before");
  });

  it("lets one of two that begin at once proceed", async () => {
    for (let round = 0; round < 4; round++) {
      const world = new World();
      const kept = await history(world);
      const both = [pruneRepository(await world.open(), pruneOptions()), pruneRepository(await world.open(), pruneOptions())];
      let settled = 0;
      for (const each of both)
        each
          .then(
            () => settled++,
            () => settled++,
          )
          .catch(() => undefined);
      // Time passes only for who waits: otherwise hours would go by while threads start.
      while (settled < 2) await world.clock.advance(world.clock.sleeping > 0 ? 250 : 0);
      const results = await Promise.allSettled(both);
      const failed = results.filter((result) => result.status === "rejected");
      expect(failed.length).toBeLessThanOrEqual(1);
      for (const { reason } of failed) expect((reason as HoldfastError).code).toBe("repository_locked");
      await expectKept(world, kept);
    }
  });

  it("stops deleting when its lease has lapsed", async () => {
    const world = new World();
    const kept = await history(world);
    await pruneRepository(await world.open(), pruneOptions());
    await world.clock.advance(GRACE + HOUR);
    const packs = names(world, "packs");
    const code = await codeOf(
      pruneRepository(await world.open(), pruneOptions(), {
        onBoundary: async (name) => {
          if (name === "after old index deletion") await world.clock.suspend(3 * HOUR);
        },
      }),
    );
    expect(code).toBe("repository_locked");
    expect(names(world, "packs")).toEqual(packs);
    await expectKept(world, kept);
  });

  it("condemns packs of an interrupted backup only when they are old", async () => {
    const world = new World();
    const repository = await world.create();
    const kept = new Map([[await world.backup(repository, filesOf(["a", 1, 20_000])), filesOf(["a", 1, 20_000])]]);
    const index = new Set(names(world, "index"));
    await world
      .backup(await world.open(), filesOf(["b", 2, 20_000]), {
        beforeCommit: () => Promise.reject(new Error("killed")),
      })
      .catch(() => undefined);
    expect(new Set(names(world, "index"))).toEqual(index);
    expect(await pruneRepository(await world.open(), pruneOptions())).toMatchObject({ packsCondemned: 0 });
    await world.clock.advance(GRACE + HOUR);
    expect(await pruneRepository(await world.open(), pruneOptions())).toMatchObject({ packsCondemned: 2, packsDeleted: 0 });
    await world.clock.advance(GRACE + HOUR);
    expect(await pruneRepository(await world.open(), pruneOptions())).toMatchObject({ packsDeleted: 2 });
    await expectKept(world, kept);
  });

  it("keeps tombstones for 30 days after the packs, then removes them", async () => {
    const world = new World();
    await history(world);
    await pruneRepository(await world.open(), pruneOptions({ immediate: true }));
    expect(names(world, "condemned").length).toBeGreaterThan(0);
    await world.clock.advance(29 * DAY);
    await pruneRepository(await world.open(), pruneOptions());
    expect(names(world, "condemned").length).toBeGreaterThan(0);
    await world.clock.advance(2 * DAY);
    await pruneRepository(await world.open(), pruneOptions());
    expect(names(world, "condemned")).toEqual([]);
  });
});

describe("prune refuses", () => {
  it("a snapshot, tree or chunk that cannot be found", async () => {
    for (const folder of ["snapshots", "packs", "index", "condemned"]) {
      const world = new World();
      await history(world);
      await pruneRepository(await world.open(), pruneOptions({ immediate: true }));
      const victim = names(world, folder)[0] as string;
      world.memory.corrupt(victim, 100);
      if (folder === "packs") world.memory.objects.delete(victim);
      const target = world.memory;
      const before = [...target.objects.keys()];
      const opened = world.open();
      // A damaged index or condemned object may refuse already when it is opened.
      const code = await codeOf(opened.then((repository) => pruneRepository(repository, pruneOptions({ immediate: true }))));
      expect(code, folder).not.toBe("none");
      expect([...target.objects.keys()].filter((name) => !name.startsWith("leases/"))).toEqual(before);
    }
  });

  it("a listing that leaves out a pack or a snapshot", async () => {
    for (const folder of ["packs/", "snapshots/"]) {
      const world = new World();
      const kept = await history(world);
      const faulty = new FaultyTarget(world.memory);
      const repository = await world.open(faulty);
      await world.clock.advance(2 * DAY);
      faulty.queue({ verb: "list", name: new RegExp(`^${folder}`), kind: "omit", omit: (_, index) => index === 0 });
      expect(await codeOf(pruneRepository(repository, pruneOptions({ immediate: true }))), folder).toBe("listing_incomplete");
      faulty.assertAllFired();
      await expectKept(world, kept);
    }
  });

  it("clocks that differ, and a time before the newest snapshot", async () => {
    const world = new World({ now: () => Date.parse("2026-03-01T00:10:00Z") });
    await world.create();
    expect(await codeOf(pruneRepository(await world.open(), pruneOptions()))).toBe("clock_unreliable");
    const other = new World();
    await history(other);
    await other.clock.jump(-2 * HOUR);
    expect(await codeOf(pruneRepository(await other.open(), pruneOptions()))).toBe("clock_unreliable");
  });

  it("a target that lies about a put", async () => {
    const world = new World();
    const kept = await history(world);
    const faulty = new FaultyTarget(world.memory);
    const repository = await world.open(faulty);
    faulty.queue({ verb: "put", name: /^packs\//, kind: "lie" });
    expect(await codeOf(pruneRepository(repository, pruneOptions({ immediate: true })))).toBe("target_lied");
    faulty.assertAllFired();
    expect(names(world, "condemned")).toEqual([]);
    await expectKept(world, kept);
  });

  it("to delete where deletion is denied, and says so", async () => {
    const world = new World();
    const kept = await history(world);
    await pruneRepository(await world.open(), pruneOptions());
    await world.clock.advance(GRACE + HOUR);
    const faulty = new FaultyTarget(world.memory);
    faulty.queue({ verb: "delete", name: /^(packs|index)\//, kind: "error", error: new HoldfastError("target_denied", "no") });
    expect(await codeOf(pruneRepository(await world.open(faulty), pruneOptions()))).toBe("target_denied");
    await expectKept(world, kept);
  });

  it("immediate deletion where listing is eventual", async () => {
    const world = new World({ listing: "eventual", visibleAfter: 0 });
    await world.create();
    expect(await codeOf(pruneRepository(await world.open(), pruneOptions({ immediate: true })))).toBe("unsupported");
  });
});

describe("prune on a full target", () => {
  it("deletes packs without live data without writing more than a few objects", async () => {
    const world = new World();
    const repository = await world.create();
    const files = filesOf(["a", 1, 400_000]);
    const first = await world.backup(repository, files);
    const rest = filesOf(["b", 2, 60_000], ["c", 3, 30_000]);
    const second = await world.backup(repository, rest);
    const last = filesOf(["b", 2, 60_000]);
    const kept = new Map([[await world.backup(repository, last), last]]);
    await deleteSnapshots(repository, [first, second]);
    const faulty = new FaultyTarget(world.memory);
    const full = await world.open(faulty);
    faulty.queue({ verb: "put", name: /^packs\//, kind: "error", error: new HoldfastError("target_full", "full") });
    const report = await pruneRepository(full, pruneOptions({ immediate: true }));
    faulty.assertAllFired();
    expect(report.notes.join()).toContain("full");
    expect(report.packsDeleted).toBeGreaterThan(3);
    await expectKept(world, kept);
    expect((await pruneRepository(await world.open(), pruneOptions({ immediate: true }))).packsRepacked).toBeGreaterThan(0);
    await expectKept(world, kept);
  });
});

describe("prune, whatever happened before", () => {
  it("keeps every kept snapshot readable", async () => {
    const step = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          act: fc.constant("backup" as const),
          seed: fc.integer({ min: 0, max: 30 }),
          size: fc.integer({ min: 0, max: 60_000 }),
          path: fc.integer({ min: 0, max: 6 }),
        }),
      },
      { weight: 2, arbitrary: fc.record({ act: fc.constant("delete" as const), which: fc.nat(10) }) },
      { weight: 2, arbitrary: fc.record({ act: fc.constant("prune" as const), immediate: fc.boolean() }) },
      { weight: 1, arbitrary: fc.record({ act: fc.constant("wait" as const), hours: fc.integer({ min: 1, max: 100 }) }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), async (steps) => {
        const world = new World({ packBytes: 32 * 1024 });
        await world.create();
        const kept = new Map<SnapshotId, Files>();
        let files: Files = new Map();
        for (const each of steps) {
          if (each.act === "backup") {
            files = new Map([...files, [`d${each.path % 2}/f${each.path}`, noise(each.seed, each.size)]]);
            kept.set(await world.backup(await world.open(), files), files);
          } else if (each.act === "delete") {
            const id = [...kept.keys()][each.which];
            if (id !== undefined) await deleteSnapshots(await world.open(), [id]);
            if (id !== undefined) kept.delete(id);
          } else if (each.act === "prune") await pruneRepository(await world.open(), pruneOptions({ immediate: each.immediate }));
          else await world.clock.advance(each.hours * HOUR);
        }
        await pruneRepository(await world.open(), pruneOptions({ immediate: true }));
        await expectKept(world, kept);
        const { damage } = await verifyRepository(await world.open(), verifyOptions());
        assert.deepEqual(damage, []);
      }),
      { numRuns: 12, seed: Buffer.from(systemRandom.bytes(4)).readInt32LE(0), verbose: 1 },
    );
  }, 600_000);
});
