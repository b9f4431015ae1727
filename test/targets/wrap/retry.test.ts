import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HoldfastError } from "../../../src/base/errors.ts";
import { RetryTarget, type RetryNotice, type RetryOptions } from "../../../src/targets/wrap/retry.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { FaultyTarget } from "../../support/faulty-target.ts";
import { MemoryTarget } from "../../support/memory-target.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const busy = (data?: Record<string, unknown>): HoldfastError =>
  new HoldfastError("target_throttled", "busy", { transient: true, data });
/** Always the largest jitter. */
const largest = { bytes: (length: number) => new Uint8Array(length).fill(255) };

interface Rig {
  readonly clock: FakeClock;
  readonly memory: MemoryTarget;
  readonly faulty: FaultyTarget;
  readonly notices: RetryNotice[];
  readonly target: RetryTarget;
}

function rig(options: Partial<RetryOptions> = {}): Rig {
  const clock = new FakeClock();
  const memory = new MemoryTarget();
  const faulty = new FaultyTarget(memory);
  const notices: RetryNotice[] = [];
  const target = new RetryTarget(faulty, { clock, random: largest, onRetry: (notice) => notices.push(notice), ...options });
  return { clock, memory, faulty, notices, target };
}

/** Drives the fake clock from sleep to sleep until the call is settled. */
async function throughSleeps<T>(clock: FakeClock, call: Promise<T>): Promise<T> {
  const state = { settled: false };
  const watched = call.finally(() => (state.settled = true));
  watched.catch(() => undefined);
  while (!state.settled) await (clock.sleeping > 0 ? clock.advance(1000) : new Promise(setImmediate));
  return watched;
}

describe("retry", () => {
  it("repeats a transient failure with growing delays, until it succeeds", async () => {
    const { clock, faulty, notices, target, memory } = rig();
    for (let n = 0; n < 4; n++) faulty.queue({ verb: "put", kind: "error", error: busy() });
    await throughSleeps(clock, target.put("keys/a", [bytes("x")]));
    expect(notices.map(({ delayMs }) => delayMs)).toEqual([499, 999, 1999, 3999]);
    expect(notices[0]).toMatchObject({ verb: "put", name: "keys/a", attempt: 1, error: { code: "target_throttled" } });
    expect(memory.objects.has("keys/a")).toBe(true);
    faulty.assertAllFired();
  });

  it.each(["get", "stat", "list", "delete", "capacity", "cleanUp"] as const)("repeats %s", async (verb) => {
    const { clock, faulty, target, notices } = rig();
    await target.put("keys/a", [bytes("x")]);
    faulty.queue({ verb, kind: "error", error: busy() });
    const calls = {
      get: () => target.get("keys/a"),
      stat: () => target.stat("keys/a"),
      list: () => target.list("keys/"),
      delete: () => target.delete("keys/a"),
      capacity: () => target.capacity(),
      cleanUp: () => target.cleanUp(0),
    };
    await throughSleeps<unknown>(clock, calls[verb]());
    expect(notices).toHaveLength(1);
    faulty.assertAllFired();
  });

  it.each([
    ["one that is not transient", new HoldfastError("target_full", "full")],
    ["one of another class", new TypeError("a bug")],
  ])("throws %s at once, unchanged", async (_, error) => {
    const { faulty, target, memory } = rig();
    faulty.queue({ verb: "put", kind: "error", error });
    await expect(target.put("keys/a", [bytes("x")])).rejects.toBe(error);
    expect(memory.requests.put).toBe(0);
    faulty.assertAllFired();
  });

  it("gives up after the tries it has, with the last error", async () => {
    const { clock, faulty, notices, target } = rig({ attempts: 3 });
    const errors = [busy(), busy(), busy()];
    for (const error of errors) faulty.queue({ verb: "get", kind: "error", error });
    await expect(throughSleeps(clock, target.get("keys/a"))).rejects.toBe(errors[2]);
    expect(notices).toHaveLength(2);
    faulty.assertAllFired();
  });

  it("begins no delay that ends after its budget", async () => {
    const { clock, faulty, notices, target } = rig({ attempts: 100, baseDelayMs: 1000, maxDelayMs: 1000, budgetMs: 5000 });
    for (let n = 0; n < 6; n++) faulty.queue({ verb: "get", kind: "error", error: busy() });
    await expect(throughSleeps(clock, target.get("keys/a"))).rejects.toMatchObject({ code: "target_throttled" });
    expect(notices).toHaveLength(5);
    expect(clock.monotonic()).toBeLessThanOrEqual(6000);
  });

  it("waits at least as long as the target asks", async () => {
    const { clock, faulty, notices, target } = rig();
    faulty.queue({ verb: "stat", kind: "error", error: busy({ retryAfterMs: 70_000 }) });
    await throughSleeps(clock, target.stat("keys/a"));
    expect(notices[0]?.delayMs).toBe(70_000);
  });

  it("any jitter lies between 0 and the bound of its try", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ minLength: 4, maxLength: 4 }), { minLength: 5, maxLength: 5 }), async (draws) => {
        const left = [...draws];
        const { clock, faulty, notices, target } = rig({ random: { bytes: () => left.shift() as Uint8Array }, maxDelayMs: 3000 });
        for (let n = 0; n < 5; n++) faulty.queue({ verb: "stat", kind: "error", error: busy() });
        await throughSleeps(clock, target.stat("keys/a"));
        notices.forEach(({ delayMs, attempt }) => {
          expect(delayMs).toBeGreaterThanOrEqual(0);
          expect(delayMs).toBeLessThan(Math.min(3000, 500 * 2 ** (attempt - 1)));
        });
      }),
      { numRuns: 25 },
    );
  });

  it("a put that arrived though its answer was lost succeeds on the retry, stored once", async () => {
    const { clock, faulty, target, memory } = rig();
    faulty.queue({ verb: "put", kind: "error", error: busy(), when: "after" });
    await throughSleeps(clock, target.put("keys/a", [bytes("x")]));
    expect(memory.requests.put).toBe(2);
    expect(memory.objects.size).toBe(1);
    faulty.assertAllFired();
  });

  describe("with a driver that cannot compare", () => {
    const taken = new HoldfastError("target_exists", "taken");

    it("a retried put that meets its own bytes succeeds", async () => {
      const { clock, faulty, target } = rig();
      faulty.queue({ verb: "put", kind: "error", error: busy(), when: "after" });
      faulty.queue({ verb: "put", kind: "error", error: taken });
      await throughSleeps(clock, target.put("keys/a", [bytes("on"), bytes("e")]));
      faulty.assertAllFired();
    });

    it.each(["two", "longer"])("a retried put that meets other bytes (%s) does not", async (stored) => {
      const { clock, faulty, memory, target } = rig();
      await memory.put("keys/a", [bytes(stored)]);
      faulty.queue({ verb: "put", kind: "error", error: busy() });
      faulty.queue({ verb: "put", kind: "error", error: taken });
      await expect(throughSleeps(clock, target.put("keys/a", [bytes("one")]))).rejects.toBe(taken);
    });

    it("a first put that meets the name does not look", async () => {
      const { faulty, memory, target } = rig();
      await memory.put("keys/a", [bytes("one")]);
      faulty.queue({ verb: "put", kind: "error", error: taken });
      await expect(target.put("keys/a", [bytes("one")])).rejects.toBe(taken);
      expect(memory.requests.get).toBe(0);
    });
  });

  it("does not repeat a put whose memory was given away", async () => {
    const { faulty, target } = rig();
    const part = new Uint8Array(1000);
    const error = busy();
    faulty.queue({ verb: "put", kind: "error", error });
    structuredClone(part, { transfer: [part.buffer] });
    await expect(target.put("keys/a", [part])).rejects.toBe(error);
  });

  it("an abort during a delay rejects with the reason", async () => {
    const { clock, faulty, target } = rig();
    faulty.queue({ verb: "stat", kind: "error", error: busy() });
    const controller = new AbortController();
    const call = target.stat("keys/a", { signal: controller.signal });
    call.catch(() => undefined);
    while (clock.sleeping === 0) await new Promise(setImmediate);
    const reason = new Error("shutdown");
    controller.abort(reason);
    await expect(call).rejects.toBe(reason);
    expect(clock.sleeping).toBe(0);
  });

  it("an abort during a hanging call rejects with the reason, and is not repeated", async () => {
    const { faulty, target, notices } = rig();
    faulty.queue({ verb: "get", kind: "hang" });
    const controller = new AbortController();
    const call = target.get("keys/a", { signal: controller.signal });
    controller.abort(new HoldfastError("timeout", "too slow", { transient: true }));
    await expect(call).rejects.toBe(controller.signal.reason);
    expect(notices).toEqual([]);
    faulty.assertAllFired();
  });
});
