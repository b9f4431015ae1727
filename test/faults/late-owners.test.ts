import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Clock } from "../../src/base/clock.ts";
import type { SnapshotId } from "../../src/base/ids.ts";
import { LEASE_REFRESH_MS, LEASE_TTL_MS } from "../../src/formats/repository/leases/leases.ts";
import { encodeLease, type LeaseObject } from "../../src/formats/repository/objects/lease-object.ts";
import { pruneRepository, type PruneBoundary } from "../../src/formats/repository/prune/prune.ts";
import { repairRepository } from "../../src/formats/repository/repair/repair.ts";
import type { Repository, RepositoryOptions } from "../../src/formats/repository/repository.ts";
import { deleteSnapshots } from "../../src/formats/repository/snapshots/delete-snapshots.ts";
import type { CommitBoundary } from "../../src/formats/repository/write/commit-boundaries.ts";
import { processIdentity } from "../../src/state/process-identity.ts";
import {
  DAY,
  expectKept,
  GRACE,
  HOUR,
  names,
  noise,
  pruneOptions,
  World,
  type Files,
} from "../formats/repository/prune/fixture.ts";
import { FaultyTarget } from "../support/faulty-target.ts";
import { codeOf } from "../support/simulation.ts";

// Owners of leases that come too late, and clocks that are wrong: single cases of what `interleavings.test.ts` mixes.

// No threads: the packs here are dead, and nothing is read in them.
vi.mock("../../src/formats/repository/verify/verify-pool.ts", () => import("../support/threads-here.ts"));

const FILES: Files = new Map([["a", noise(1, 20_000)]]);
const YEAR = 365 * DAY;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
});
afterEach(() => {
  vi.useRealTimers();
});

async function outcome(promise: Promise<unknown>): Promise<string> {
  return await promise.then(() => "done", codeOf);
}

/** A repository whose only snapshot was deleted: all its packs are there, indexed, and nobody needs them. */
async function worldOfDeadPacks(): Promise<World> {
  const world = new World();
  const repository = await world.create();
  await deleteSnapshots(repository, [await world.backup(repository, FILES)]);
  return world;
}

/** The world's clock, but with a date of its own. */
class OwnDate implements Clock {
  offsetMs: number;
  readonly #world: World;

  constructor(world: World, offsetMs = 0) {
    this.#world = world;
    this.offsetMs = offsetMs;
  }

  now(): number {
    return this.#world.clock.now() + this.offsetMs;
  }

  monotonic(): number {
    return this.#world.clock.monotonic();
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return this.#world.clock.sleep(delayMs, signal);
  }
}

/** A backup of the same files, which has stopped at a boundary. `finish` lets it go on and tells how it ended. */
async function stoppedBackup(
  world: World,
  at: CommitBoundary,
  options: Partial<RepositoryOptions> = {},
): Promise<{ finish: () => Promise<string>; id: () => SnapshotId }> {
  const reached = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const repository = await world.open(undefined, {
    ...options,
    onCommitBoundary: async (name) => {
      if (name !== at) return;
      reached.resolve();
      await go.promise;
    },
  });
  let id: SnapshotId | undefined;
  const end = outcome(world.backup(repository, FILES).then((made) => (id = made)));
  await reached.promise;
  return {
    finish: async () => {
      go.resolve();
      return await end;
    },
    id: () => id as SnapshotId,
  };
}

/** Lets so many leases be renewed by their timers, and waits until each was read back. */
async function renew(world: World, leases: number): Promise<void> {
  const { requests } = world.memory;
  const stats = requests.stat;
  vi.advanceTimersByTime(LEASE_REFRESH_MS);
  await vi.waitFor(() => expect(requests.stat).toBe(stats + leases));
  // The answers to the last of them.
  await world.memory.capacity();
  await world.memory.capacity();
}

/** A prune during which something happens once, at a boundary. */
async function pruneWith(
  repository: Repository,
  at: PruneBoundary,
  act: () => unknown,
  options: Parameters<typeof pruneOptions>[0] = {},
): Promise<string> {
  let left = 1;
  return await outcome(
    pruneRepository(repository, pruneOptions(options), {
      onBoundary: async (name) => {
        if (name === at && left-- === 1) await act();
      },
    }),
  );
}

describe("a prune at once", () => {
  test("keeps what a writer commits between its second mark and the end of that writer's lease", async () => {
    const world = await worldOfDeadPacks();
    let writer: Awaited<ReturnType<typeof stoppedBackup>> | undefined;
    let condemned = false;
    let ended: string | undefined;
    const { memory } = world;
    const list = memory.list.bind(memory);
    const commitNow = async (): Promise<void> => {
      if (condemned && ended === undefined) ended = await writer?.finish();
    };
    let snapshotsListed = false;
    memory.list = async (prefix, options) => {
      const listed = await list(prefix, options);
      if (prefix === "snapshots/" && condemned) snapshotsListed = true;
      if (prefix === "packs/" && snapshotsListed) await commitNow();
      return listed;
    };
    const pruned = await outcome(
      pruneRepository(await world.open(), pruneOptions({ immediate: true }), {
        onBoundary: async (name) => {
          if (name === "before condemn") writer = await stoppedBackup(world, "before snapshot put");
          if (name === "after condemn") condemned = true;
        },
      }),
    );
    expect([pruned, ended]).toEqual(["done", "done"]);
    await expectKept(world, new Map([[writer?.id() as SnapshotId, FILES]]));
  });

  test.each([true, false])("respects a writer whose clock is hours ahead (object times: %s)", async (objectTimes) => {
    const world = objectTimes ? await worldOfDeadPacks() : new World({ now: null });
    if (!objectTimes) {
      const repository = await world.create();
      await deleteSnapshots(repository, [await world.backup(repository, FILES)]);
    }
    let writer: Awaited<ReturnType<typeof stoppedBackup>> | undefined;
    const pruned = await pruneWith(
      await world.open(),
      "before condemn",
      async () => (writer = await stoppedBackup(world, "before snapshot put", { clock: new OwnDate(world, 3 * HOUR) })),
      { immediate: true },
    );
    expect([pruned, await writer?.finish()]).toEqual(["done", "done"]);
    await expectKept(world, new Map([[writer?.id() as SnapshotId, FILES]]));
  });
});

describe("an owner that was frozen past its lease", () => {
  test.each(["is frozen", "is frozen, and renews its lease before its put answers"])(
    "does not commit what a prune under way is about to delete, when it %s",
    async (how) => {
      const world = await worldOfDeadPacks();
      const writer = await stoppedBackup(world, "before snapshot put");
      await pruneRepository(await world.open(), pruneOptions());
      await world.clock.suspend(GRACE + HOUR);
      let ended: string | undefined;
      const pruned = await pruneWith(await world.open(), "before tombstones", async () => {
        if (how.includes("renews")) {
          // The writer's and the maintainer's.
          await renew(world, 2);
        }
        ended = await writer.finish();
      });
      // The packs were still there when it looked.
      expect([pruned, ended]).toEqual(["done", "snapshot_withdrawn"]);
      await expectKept(world, new Map());
    },
  );

  test("commits when nobody has condemned anything meanwhile", async () => {
    const world = await worldOfDeadPacks();
    const writer = await stoppedBackup(world, "before snapshot put");
    await world.clock.suspend(GRACE + HOUR);
    expect(await writer.finish()).toBe("done");
    await expectKept(world, new Map([[writer.id(), FILES]]));
  });

  test.each(["after mark", "before tombstones", "after sweep index", "after old index deletion"] as const)(
    "deletes nothing any more after %s, even when its lease was renewed since",
    async (boundary) => {
      const world = await worldOfDeadPacks();
      await pruneRepository(await world.open(), pruneOptions());
      await world.clock.advance(GRACE + HOUR);
      const packs = names(world, "packs");
      const pruned = await pruneWith(await world.open(), boundary, async () => {
        await world.clock.suspend(LEASE_TTL_MS + HOUR);
        await renew(world, 1);
      });
      expect(pruned).toBe("repository_locked");
      expect(names(world, "packs")).toEqual(packs);
      expect(await outcome(pruneRepository(await world.open(), pruneOptions()))).toBe("done");
      expect(names(world, "packs")).toEqual([]);
    },
  );
});

describe("a wrong clock", () => {
  test.each(["after lease", "after mark"] as const)("set ahead by an hour %s deletes nothing early", async (boundary) => {
    const world = await worldOfDeadPacks();
    await pruneRepository(await world.open(), pruneOptions());
    const packs = names(world, "packs");
    await world.clock.advance(GRACE - HOUR / 2);
    const clock = new OwnDate(world);
    expect(await pruneWith(await world.open(undefined, { clock }), boundary, () => (clock.offsetMs = HOUR))).toBe("done");
    expect(names(world, "packs")).toEqual(packs);
    await world.clock.advance(HOUR / 2);
    expect(await outcome(pruneRepository(await world.open(), pruneOptions()))).toBe("done");
    expect(names(world, "packs")).toEqual([]);
  });

  test.each([
    ["back by an hour", -HOUR],
    ["back by ten years", -10 * YEAR],
    ["ahead by three hours", 3 * HOUR],
    ["ahead by ten years", 10 * YEAR],
  ])("set %s during a prune stops it", async (_, byMs) => {
    const world = await worldOfDeadPacks();
    await pruneRepository(await world.open(), pruneOptions());
    const packs = names(world, "packs");
    await world.clock.advance(GRACE - HOUR);
    for (const boundary of ["after mark", "after sweep index"] as const) {
      const clock = new OwnDate(world);
      const pruned = await pruneWith(await world.open(undefined, { clock }), boundary, () => (clock.offsetMs = byMs));
      // Where there was nothing left to do it may end well.
      expect(["repository_locked", "clock_unreliable", "done"]).toContain(pruned);
      expect(names(world, "packs")).toEqual(packs);
    }
  });

  test("by an hour or ten years, either way, refuses a prune from the beginning", async () => {
    const world = await worldOfDeadPacks();
    await pruneRepository(await world.open(), pruneOptions());
    const before = [...world.memory.objects.keys()];
    await world.clock.advance(GRACE - HOUR);
    for (const offsetMs of [-10 * YEAR, -HOUR, HOUR, 10 * YEAR]) {
      const repository = await world.open(undefined, { clock: new OwnDate(world, offsetMs) });
      for (const immediate of [false, true])
        expect(await outcome(pruneRepository(repository, pruneOptions({ immediate })))).toBe("clock_unreliable");
    }
    expect([...world.memory.objects.keys()]).toEqual(before);
  });

  test("of a writer ten years ahead is named, and its snapshot and lease cost nobody anything", async () => {
    const world = await worldOfDeadPacks();
    const future = await world.open(undefined, { clock: new OwnDate(world, 10 * YEAR), host: "future" });
    const id = await world.backup(future, FILES);
    const refused = pruneRepository(await world.open(), pruneOptions());
    await expect(refused).rejects.toMatchObject({ code: "clock_unreliable", message: expect.stringContaining("2036") });
    await expectKept(world, new Map([[id, FILES]]));
    await deleteSnapshots(await world.open(), [id]);
    expect(await outcome(pruneRepository(await world.open(), pruneOptions()))).toBe("done");
  });

  test("in a lease from the future is reported where the target tells no time", async () => {
    const world = new World({ now: null });
    await world.create();
    await putLease(await world.open(), { time: new Date(world.clock.now() + 10 * YEAR).toISOString(), host: "future" });
    const { notes } = await pruneRepository(await world.open(), pruneOptions());
    expect(notes.join()).toMatch(/lease .* of host future lies in the future/);
  });
});

test("a maintainer whose clock was ahead and that died holds nobody up for longer than its lease", async () => {
  const world = await worldOfDeadPacks();
  const time = new Date(world.clock.now() + 3 * HOUR).toISOString();
  await putLease(await world.open(), { purpose: "maintain", start: time, time });
  expect(await outcome(pruneRepository(await world.open(), pruneOptions()))).toBe("repository_locked");
  await world.clock.advance(LEASE_TTL_MS);
  expect(await outcome(pruneRepository(await world.open(), pruneOptions()))).toBe("done");
});

test("the same pid and host in another container, or after another boot, is somebody else: its lease holds", async () => {
  const here = processIdentity();
  // In this container that process would be proven dead: the pid began at another time.
  const gone = { ...here, processStart: "1" };
  for (const other of [{ pidNamespace: "pid:[1]" }, { bootId: "another" }, { pidNamespace: "", bootId: "" }]) {
    const world = await worldOfDeadPacks();
    await putLease(await world.open(), { ...gone, ...other });
    await pruneRepository(await world.open(), pruneOptions());
    expect(await outcome(pruneRepository(await world.open(), pruneOptions({ immediate: true })))).toBe("repository_locked");
    await world.clock.advance(LEASE_TTL_MS);
    expect(await outcome(pruneRepository(await world.open(), pruneOptions({ immediate: true })))).toBe("done");
    expect(names(world, "packs")).toEqual([]);
  }
  const world = await worldOfDeadPacks();
  await putLease(await world.open(), gone);
  expect(await outcome(pruneRepository(await world.open(), pruneOptions({ immediate: true })))).toBe("done");
  expect(names(world, "packs")).toEqual([]);
});

test("an index made anew keeps a pack that an index object names and a late listing does not show yet", async () => {
  const world = new World({ listing: "eventual", visibleAfter: -1 });
  const id = await world.backup(await world.create(), FILES);
  const late = new FaultyTarget(world.memory);
  // The second list is that of the rebuild.
  late.queue({ verb: "list", name: /^packs/, nth: 2, kind: "omit", omit: () => true });
  const { rebuilt } = await repairRepository(await world.open(late), {
    index: true,
    packs: [],
    onProgress: () => undefined,
    signal: new AbortController().signal,
  });
  late.assertAllFired();
  expect(rebuilt?.packs).toBe(names(world, "packs").length);
  await expectKept(world, new Map([[id, FILES]]));
});

describe("a tombstone that is shown and said to be missing", () => {
  /** Its objects are gone, and the listing shows them for ever. */
  async function backUpBeside(listing: "strong" | "eventual"): Promise<World> {
    const world = await worldOfDeadPacks();
    await pruneRepository(await world.open(), pruneOptions());
    const listed = await world.memory.list("condemned/");
    for (const { name } of listed) world.memory.objects.delete(name);
    const { memory } = world;
    const list = memory.list.bind(memory);
    Object.assign(memory, { capabilities: { ...memory.capabilities, listing } });
    memory.list = async (prefix, options) => {
      memory.settle();
      return prefix === "condemned/" ? listed : await list(prefix, options);
    };
    await expectKept(world, new Map([[await world.backup(await world.open(), FILES), FILES]]));
    return world;
  }

  test("is one whose time was over, where listings are late: it fails nobody", async () => {
    await backUpBeside("eventual");
  });

  test("is a lie where they are not, and nobody builds on packs that it may name", async () => {
    expect(await outcome(backUpBeside("strong"))).toBe("target_missing_object");
  });
});

async function putLease(repository: Repository, lease: Partial<LeaseObject>): Promise<void> {
  const { clock, host } = repository.options;
  const time = new Date(clock.now()).toISOString();
  const whole: LeaseObject = {
    owner: "ab".repeat(16),
    purpose: "write",
    sequence: 0,
    start: time,
    time,
    ttlMs: LEASE_TTL_MS,
    host,
    pid: 1,
    processStart: "1",
    bootId: "another boot",
    pidNamespace: "pid:[1]",
    released: false,
    ...lease,
  };
  await repository.putObject("leases", encodeLease(whole));
}
