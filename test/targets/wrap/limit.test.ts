import { describe, expect, it } from "vitest";
import { LimitTarget } from "../../../src/targets/wrap/limit.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { FaultyTarget } from "../../support/faulty-target.ts";
import { MemoryTarget } from "../../support/memory-target.ts";

const KIB = 1024;

/** Names of settled calls, in the order they settled. */
function recorder(): { readonly done: string[]; readonly track: <T>(name: string, call: Promise<T>) => Promise<T> } {
  const done: string[] = [];
  return { done, track: (name, call) => call.finally(() => done.push(name)) };
}

const turns = async (): Promise<void> => {
  for (let n = 0; n < 20; n++) await new Promise((resolve) => setTimeout(resolve, 0));
};

describe("limit: connections", () => {
  it("never has more calls in flight, and finishes them all", async () => {
    const memory = new MemoryTarget({ latencyMs: 1 });
    const target = new LimitTarget(memory, { clock: new FakeClock(), connections: 3 });
    await Promise.all(Array.from({ length: 40 }, (_, i) => target.put(`notes/${i}`, [new Uint8Array(1)])));
    expect(memory.maxInFlight).toBe(3);
    expect(memory.objects.size).toBe(40);
    expect(target.capabilities.concurrency).toBe(3);
  });

  it("frees the place of a call that failed", async () => {
    const faulty = new FaultyTarget(new MemoryTarget());
    const target = new LimitTarget(faulty, { clock: new FakeClock(), connections: 1 });
    faulty.queue({ verb: "stat", kind: "error", error: new Error("once") });
    await expect(target.stat("a")).rejects.toThrow("once");
    expect(await target.stat("a")).toBeUndefined();
    faulty.assertAllFired();
  });

  it("an aborted call in the queue leaves it, and the others move up in order", async () => {
    const gate = Promise.withResolvers<void>();
    const faulty = new FaultyTarget(new MemoryTarget(), [{ verb: "stat", kind: "delay", until: gate.promise }]);
    const target = new LimitTarget(faulty, { clock: new FakeClock(), connections: 1 });
    const { done, track } = recorder();
    const controller = new AbortController();
    const first = track("first", target.stat("a"));
    const second = track("second", target.stat("b", { signal: controller.signal }));
    const third = track("third", target.stat("c"));
    const fourth = track("fourth", target.stat("d"));
    controller.abort(new Error("second gives up"));
    await expect(second).rejects.toThrow("second gives up");
    gate.resolve();
    await Promise.all([first, third, fourth]);
    expect(done).toEqual(["second", "first", "third", "fourth"]);
  });

  it("a raised limit lets waiting calls in", async () => {
    const gate = Promise.withResolvers<void>();
    const faulty = new FaultyTarget(new MemoryTarget(), [{ verb: "stat", kind: "delay", until: gate.promise }]);
    const target = new LimitTarget(faulty, { clock: new FakeClock(), connections: 1 });
    const blocked = target.stat("a");
    const waiting = target.stat("b");
    target.setLimits({ connections: 2 });
    expect(await waiting).toBeUndefined();
    gate.resolve();
    await blocked;
  });
});

describe("limit: bytes per second", () => {
  it("starts a put when the bytes before it are worked off, first come first served", async () => {
    const clock = new FakeClock();
    const memory = new MemoryTarget();
    const target = new LimitTarget(memory, { clock, uploadBytesPerSecond: 10 * KIB });
    const puts = [20, 10, 5].map((kib, i) => target.put(`packs/${i}`, [new Uint8Array(kib * KIB)]));
    const stored = (): number[] => [...memory.objects.values()].map(({ bytes }) => bytes.length / KIB);
    await turns();
    expect(stored()).toEqual([20]);
    await clock.advance(1999);
    await turns();
    expect(stored()).toEqual([20]);
    await clock.advance(1);
    await turns();
    expect(stored()).toEqual([20, 10]);
    await clock.advance(1000);
    await Promise.all(puts);
    expect(stored()).toEqual([20, 10, 5]);
  });

  it("idle time is not saved up", async () => {
    const clock = new FakeClock();
    const memory = new MemoryTarget();
    const target = new LimitTarget(memory, { clock, uploadBytesPerSecond: KIB });
    await clock.advance(3_600_000);
    await target.put("packs/0", [new Uint8Array(KIB)]);
    const second = target.put("packs/1", [new Uint8Array(KIB)]);
    await turns();
    expect(memory.objects.size).toBe(1);
    await clock.advance(1000);
    await second;
  });

  it("counts whole objects and ranges that are read, and nothing else", async () => {
    const clock = new FakeClock();
    const memory = new MemoryTarget();
    await memory.put("packs/0", [new Uint8Array(4 * KIB)]);
    const target = new LimitTarget(memory, { clock, downloadBytesPerSecond: KIB });
    await target.get("packs/0");
    const range = target.get("packs/0", { range: { offset: 0, length: KIB } });
    await target.put("packs/1", [new Uint8Array(KIB)]);
    await target.list("");
    await turns();
    expect(memory.requests.get).toBe(1);
    await clock.advance(4000);
    expect(await range).toHaveLength(KIB);
    const last = target.get("packs/1");
    await turns();
    expect(memory.requests.get).toBe(2);
    await clock.advance(1000);
    await last;
  });

  it("an abort while waiting rejects with the reason, pays nothing and lets the next one through", async () => {
    const clock = new FakeClock();
    const memory = new MemoryTarget();
    const target = new LimitTarget(memory, { clock, uploadBytesPerSecond: KIB });
    await target.put("packs/0", [new Uint8Array(KIB)]);
    const controller = new AbortController();
    const aborted = target.put("packs/1", [new Uint8Array(100 * KIB)], { signal: controller.signal });
    aborted.catch(() => undefined);
    const next = target.put("packs/2", [new Uint8Array(KIB)]);
    await turns();
    controller.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
    await clock.advance(1000);
    await next;
    expect([...memory.objects.keys()]).toEqual(["packs/0", "packs/2"]);
  });
});
