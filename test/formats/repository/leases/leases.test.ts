import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { HoldfastError } from "../../../../src/base/errors.ts";
import {
  HeldLease,
  LEASE_REFRESH_MS,
  LEASE_TTL_MS,
  listLeases,
  lockedError,
  type SeenLease,
} from "../../../../src/formats/repository/leases/leases.ts";
import { encodeLease, type LeaseObject } from "../../../../src/formats/repository/objects/lease-object.ts";
import type { RepositoryStore } from "../../../../src/formats/repository/repository-format.ts";
import { processIdentity } from "../../../../src/state/process-identity.ts";
import { FakeClock } from "../../../support/fake-clock.ts";
import { FaultyTarget } from "../../../support/faulty-target.ts";
import { MemoryTarget } from "../../../support/memory-target.ts";
import { createStore } from "../write/fixture.ts";

const HOUR = 3_600_000;
let clock: FakeClock;
let memory: MemoryTarget;
let target: FaultyTarget;
let store: RepositoryStore;

beforeEach(async () => {
  clock = new FakeClock();
  memory = new MemoryTarget({ now: () => clock.now() });
  target = new FaultyTarget(memory);
  store = await createStore(target, { clock });
});
afterEach(() => {
  vi.useRealTimers();
  target.assertAllFired();
});

const objects = (): string[] => [...memory.objects.keys()].filter((name) => name.startsWith("leases/"));

async function put(lease: Partial<LeaseObject>): Promise<void> {
  const time = new Date(clock.now()).toISOString();
  await store.repository.putObject(
    "leases",
    encodeLease({
      owner: "ab".repeat(16),
      purpose: "write",
      sequence: 0,
      start: time,
      time,
      ttlMs: LEASE_TTL_MS,
      host: "elsewhere",
      pid: 1,
      processStart: "1",
      bootId: "another boot",
      pidNamespace: "pid:[1]",
      released: false,
      ...lease,
    }),
  );
}

async function stateOf(targetNowMs?: number): Promise<SeenLease["state"] | undefined> {
  return (await listLeases(store.repository, targetNowMs))[0]?.state;
}

test("a lease lives for its time after the last object, by the local clock where the target tells none", async () => {
  await put({});
  expect(await stateOf()).toBe("live");
  await clock.advance(LEASE_TTL_MS - 1);
  expect(await stateOf()).toBe("live");
  await clock.advance(1);
  expect(await stateOf()).toBe("expired");
  await put({ sequence: 1 });
  expect(await stateOf()).toBe("live");
  expect(await listLeases(store.repository, undefined)).toHaveLength(1);
});

test("the target's time decides where it is known, whatever either clock says", async () => {
  const start = clock.now();
  await put({ time: new Date(start - 10 * 365 * 24 * HOUR).toISOString() });
  expect(await stateOf()).toBe("expired");
  expect(await stateOf(start + LEASE_TTL_MS - 1)).toBe("live");
  expect(await stateOf(start + LEASE_TTL_MS)).toBe("expired");
  await clock.jump(20 * 365 * 24 * HOUR);
  expect(await stateOf(start + 1)).toBe("live");
});

test("a lease from far in the future is a clock fault, by either clock, and so are years of a ttl", async () => {
  await put({ time: new Date(clock.now() + 2 * LEASE_TTL_MS + 1).toISOString() });
  expect(await stateOf()).toBe("clock-fault");
  // The target's clock was set back after the object was put.
  expect(await stateOf(clock.now() - 2 * LEASE_TTL_MS - 1)).toBe("clock-fault");
  await put({ owner: "cd".repeat(16), ttlMs: 365 * 24 * HOUR });
  await clock.advance(2 * LEASE_TTL_MS);
  const long = (await listLeases(store.repository, undefined)).find(({ owner }) => owner.startsWith("cd"));
  expect(long?.state).toBe("expired");
});

test("the newest object of an owner speaks for it, in whatever order they are read", async () => {
  await put({ sequence: 2, released: true });
  await put({ sequence: 0 });
  await put({ sequence: 1 });
  const leases = await listLeases(store.repository, undefined);
  expect(leases).toHaveLength(1);
  expect(leases[0]).toMatchObject({ sequence: 2, state: "released" });
  expect(leases[0]?.objects).toHaveLength(3);
});

test("only a process that provably is gone counts as dead", async () => {
  const here = processIdentity();
  const cases: [Partial<LeaseObject>, SeenLease["state"]][] = [
    [here, "live"],
    // The pid was given to another process since.
    [{ ...here, processStart: "1" }, "dead"],
    // The same pid and host in another container, after another boot, or where nothing is known.
    [{ ...here, processStart: "1", pidNamespace: "pid:[1]" }, "live"],
    [{ ...here, processStart: "1", bootId: "another" }, "live"],
    [{ ...here, processStart: "" }, "live"],
    [{ ...here, processStart: "1", pidNamespace: "", bootId: "" }, "live"],
  ];
  for (const [number, [lease]] of cases.entries()) await put({ ...lease, owner: number.toString(16).padStart(32, "0") });
  const states = new Map((await listLeases(store.repository, undefined)).map(({ owner, state }) => [owner, state]));
  expect(cases.map((_, number) => states.get(number.toString(16).padStart(32, "0")))).toEqual(cases.map(([, state]) => state));
});

test("holding one: put and read back, seen as live, gone afterwards", async () => {
  {
    await using lease = await HeldLease.acquire(store.repository, "write");
    expect(objects()).toHaveLength(1);
    expect(await stateOf()).toBe("live");
    expect(lease.targetSkewMs).toBe(0);
    await lease.confirm();
    expect(objects()).toHaveLength(2);
  }
  expect(objects()).toEqual([]);
});

test("a lease that cannot be read back is none, and leaves nothing behind", async () => {
  for (const fault of [
    { verb: "get", name: /^leases/, kind: "flip", offset: 100 },
    { verb: "put", name: /^leases/, kind: "lie" },
    { verb: "stat", name: /^leases/, kind: "error", error: new HoldfastError("target_io", "broken") },
    { verb: "put", name: /^leases/, kind: "error", error: new HoldfastError("target_io", "the answer was lost"), when: "after" },
  ] as const) {
    target.queue(fault);
    await expect(HeldLease.acquire(store.repository, "write")).rejects.toBeInstanceOf(HoldfastError);
    expect(objects()).toEqual([]);
  }
});

test("what is looked at beside a confirmation begins after the put, and its failure is the confirmation's", async () => {
  await using lease = await HeldLease.acquire(store.repository, "write");
  let seen = 0;
  await lease.confirm(undefined, async () => (seen = objects().length));
  expect(seen).toBe(2);
  await expect(lease.confirm(undefined, () => Promise.reject(new Error("no list")))).rejects.toThrow("no list");
});

test("the newest object is removed last; on an append-only target a released one is put instead", async () => {
  const order: string[] = [];
  const lease = await HeldLease.acquire(store.repository, "write");
  await lease.confirm();
  await lease.confirm();
  const put = objects();
  const remove = memory.delete.bind(memory);
  vi.spyOn(memory, "delete").mockImplementation(async (name) => {
    order.push(name);
    await remove(name);
  });
  await lease[Symbol.asyncDispose]();
  await lease[Symbol.asyncDispose]();
  expect(order.at(-1)).toBe(put.at(-1));
  expect(order.toSorted()).toEqual(put.toSorted());

  const other = await createStore(new MemoryTarget(), { clock, appendOnly: true });
  await (await HeldLease.acquire(other.repository, "write"))[Symbol.asyncDispose]();
  expect(await listLeases(other.repository, undefined)).toMatchObject([{ state: "released", sequence: 1 }]);
});

test("it is lapsed after its time by either clock, and a renewal does not undo that it was", async () => {
  await using lease = await HeldLease.acquire(store.repository, "write");
  expect([lease.lapsed(), lease.everLapsed()]).toEqual([false, false]);
  await clock.advance(LEASE_TTL_MS - 1);
  expect(lease.lapsed()).toBe(false);
  await clock.advance(1);
  expect(lease.lapsed()).toBe(true);
  await lease.confirm();
  expect([lease.lapsed(), lease.everLapsed()]).toEqual([false, true]);
  // A date set back hides how much time has passed.
  await using backwards = await HeldLease.acquire(store.repository, "write");
  await clock.jump(-2 * 60_000);
  expect([backwards.lapsed(), backwards.everLapsed()]).toEqual([true, true]);
  await clock.jump(2 * 60_000);
  expect(backwards.lapsed()).toBe(false);
});

test("it is renewed by itself, an error is kept for the commit, and disposing waits for a renewal under way", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  const lease = await HeldLease.acquire(store.repository, "write");
  vi.advanceTimersByTime(LEASE_REFRESH_MS);
  await vi.waitFor(() => expect(objects()).toHaveLength(2));
  target.queue({ verb: "put", name: /^leases/, kind: "error", error: new HoldfastError("target_io", "broken") });
  vi.advanceTimersByTime(LEASE_REFRESH_MS);
  await vi.waitFor(() => expect(lease.refreshError).toMatchObject({ message: "broken" }));
  vi.advanceTimersByTime(LEASE_REFRESH_MS);
  await lease[Symbol.asyncDispose]();
  expect(objects()).toEqual([]);
  vi.advanceTimersByTime(10 * LEASE_REFRESH_MS);
  await new Promise((resolve) => setImmediate(resolve));
  expect(objects()).toEqual([]);
});

test("an error about a lease names who holds it", async () => {
  await put({ purpose: "maintain", pid: 77 });
  const [lease] = await listLeases(store.repository, undefined);
  expect(lockedError(store.repository, lease as SeenLease)).toMatchObject({
    code: "repository_locked",
    message: expect.stringContaining("maintenance by process 77 on elsewhere"),
    data: { host: "elsewhere", pid: 77 },
  });
});
