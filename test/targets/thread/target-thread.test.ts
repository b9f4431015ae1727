import { randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { MessageChannel, Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HoldfastError } from "../../../src/base/errors.ts";
import { accessByPort } from "../../../src/targets/access.ts";
import { createTarget } from "../../../src/targets/registry.ts";
import { PortTarget } from "../../../src/targets/thread/port-target.ts";
import { refuseTarget, serveTarget } from "../../../src/targets/thread/target-host.ts";
import { spawnTargetThread } from "../../../src/targets/thread/target-thread.ts";
import { FaultyTarget } from "../../support/faulty-target.ts";
import { MemoryTarget } from "../../support/memory-target.ts";

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-thread-"));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

describe("memory across a port", () => {
  it("without transfer leaves the parts with the caller", async () => {
    await using target = await spawnTargetThread({ driver: "local", path: folder });
    const part = randomBytes(200_000);
    await target.put("packs/a", [part]);
    expect(part.buffer.detached).toBe(false);
    expect(Buffer.compare(await target.get("packs/a"), part)).toBe(0);
  });

  it("with transfer gives large parts away, also several views of one buffer, and copies small and shared ones", async () => {
    await using target = await spawnTargetThread({ driver: "local", path: folder }, { transfer: true });
    const shared = new Uint8Array(new SharedArrayBuffer(100_000)).fill(1);
    const whole = new Uint8Array(300_000).fill(2);
    const small = Buffer.from("a small one from Node's pool");
    const parts = [shared, whole.subarray(0, 100_000), small, whole.subarray(100_000)];
    const expected = Buffer.concat(parts);
    await target.put("packs/a", parts);
    expect(whole.buffer.detached).toBe(true);
    expect(small.toString()).toBe("a small one from Node's pool");
    expect(Buffer.compare(await target.get("packs/a"), expected)).toBe(0);
  });

  it("what a get returns can be transferred on", async () => {
    await using target = await spawnTargetThread({ driver: "local", path: folder });
    await target.put("packs/a", [randomBytes(100_000)]);
    const got = await target.get("packs/a");
    expect(got.buffer.byteLength).toBe(100_000);
    structuredClone(got, { transfer: [got.buffer as ArrayBuffer] });
    expect(got).toHaveLength(0);
  });
});

describe("errors across a port", () => {
  it("keep code, hint, transience and facts", async () => {
    const { port1, port2 } = new MessageChannel();
    const error = new HoldfastError("target_throttled", "slow down", {
      hint: "wait",
      transient: true,
      data: { retryAfterMs: 5 },
      cause: new Error("429"),
    });
    await using _host = serveTarget(port1, new FaultyTarget(new MemoryTarget(), [{ verb: "stat", kind: "error", error }]));
    await using target = await PortTarget.connect(port2);
    const caught = await target.stat("a").catch((thrown: unknown) => thrown);
    expect(caught).toBeInstanceOf(HoldfastError);
    expect(caught).toMatchObject({ code: "target_throttled", message: "slow down", hint: "wait", transient: true });
    expect(caught).toMatchObject({ data: { retryAfterMs: 5 }, cause: { message: "429" } });
  });

  it("a host that refuses rejects the connection with its reason", async () => {
    const { port1, port2 } = new MessageChannel();
    refuseTarget(port1, new HoldfastError("target_denied", "no"));
    await expect(PortTarget.connect(port2)).rejects.toMatchObject({ code: "target_denied" });
  });

  it("a spec that cannot be made rejects the spawn", async () => {
    const { port1, port2 } = new MessageChannel();
    port1.close();
    await expect(spawnTargetThread({ driver: "port", port: port2 })).rejects.toMatchObject({ code: "target_unreachable" });
    await expect(spawnTargetThread({ driver: "local", path: folder, crashAt: "no such point" })).rejects.toMatchObject({
      message: expect.stringContaining("No fault point"),
    });
  });
});

describe("cancelling across a port", () => {
  it("reaches a call that hangs in the host", async () => {
    const { port1, port2 } = new MessageChannel();
    const memory = new MemoryTarget();
    const faulty = new FaultyTarget(memory, [{ verb: "put", kind: "hang" }]);
    await using host = serveTarget(port1, faulty);
    await using target = await PortTarget.connect(port2);
    const controller = new AbortController();
    const reason = new Error("stop");
    const put = target.put("keys/a", [new Uint8Array(1)], { signal: controller.signal });
    while (faulty.fired === 0) await new Promise(setImmediate);
    controller.abort(reason);
    await expect(put).rejects.toBe(reason);
    // Only ends when the hanging call was told.
    await host[Symbol.asyncDispose]();
    expect(memory.objects.size).toBe(0);
  });

  it("overtakes calls that wait for their turn", async () => {
    // Both ends on this thread: all calls and their cancellation are delivered before the host's next turn.
    const { port1, port2 } = new MessageChannel();
    const begun: string[] = [];
    const memory = new MemoryTarget();
    const put = memory.put.bind(memory);
    memory.put = (name, ...rest) => {
      begun.push(name);
      return put(name, ...rest);
    };
    const host = serveTarget(port1, memory);
    const target = await PortTarget.connect(port2);
    const controller = new AbortController();
    const first = target.put("packs/first", [randomBytes(1000)]);
    const others = Array.from({ length: 20 }, (_, i) =>
      target.put(`packs/${i}`, [randomBytes(1000)], { signal: controller.signal }),
    );
    const settled = Promise.allSettled(others);
    controller.abort(new Error("not these"));
    expect((await settled).map((result) => result.status)).toEqual(others.map(() => "rejected"));
    await first;
    await target.list("");
    expect(begun).toEqual(["packs/first"]);
    await target[Symbol.asyncDispose]();
    await host.closed;
  });
});

describe("the end of a port", () => {
  it("disposing a thread disposes its target, ends it, and refuses later calls", async () => {
    const target = await spawnTargetThread({ driver: "local", path: folder });
    await target[Symbol.asyncDispose]();
    await target[Symbol.asyncDispose]();
    expect(await target.ended).toBeUndefined();
    await expect(target.stat("a")).rejects.toMatchObject({ code: "cancelled" });
  });

  it("disposing rejects what is in flight", async () => {
    const { port1, port2 } = new MessageChannel();
    const faulty = new FaultyTarget(new MemoryTarget(), [{ verb: "get", kind: "hang" }]);
    const host = serveTarget(port1, faulty);
    const target = await PortTarget.connect(port2);
    const get = target.get("a");
    get.catch(() => undefined);
    while (faulty.fired === 0) await new Promise(setImmediate);
    await target[Symbol.asyncDispose]();
    await expect(get).rejects.toMatchObject({ code: "cancelled" });
    await host.closed;
  });

  it("an owned target is disposed with the port, another one is not, and serves on", async () => {
    for (const own of [true, false]) {
      const memory = new MemoryTarget();
      const [a, b] = [new MessageChannel(), new MessageChannel()];
      const hostA = serveTarget(a.port1, memory, { own });
      await using _hostB = serveTarget(b.port1, memory);
      const first = await PortTarget.connect(a.port2);
      await using second = await PortTarget.connect(b.port2);
      await first.put("keys/a", [new Uint8Array(1)]);
      await first[Symbol.asyncDispose]();
      await hostA.closed;
      expect(memory.disposals).toBe(own ? 1 : 0);
      expect(await second.list("")).toHaveLength(1);
    }
  });

  it("the death of the host's thread rejects calls in flight and later ones as unreachable", async () => {
    const { port1, port2 } = new MessageChannel();
    const host = new URL("./dying-host.ts", import.meta.url);
    const worker = new Worker(host, { workerData: { port: port1 }, transferList: [port1] });
    const died = new Promise<Error>((resolve) => worker.once("error", resolve));
    const target = await PortTarget.connect(port2);
    await expect(target.get("keys/a")).rejects.toMatchObject({ code: "target_unreachable", transient: false });
    expect(await died).toMatchObject({ message: "the thread dies" });
    await expect(target.stat("keys/a")).rejects.toMatchObject({ code: "target_unreachable" });
    await target[Symbol.asyncDispose]();
  });
});

describe("building blocks", () => {
  it("createTarget makes a local target in this thread", async () => {
    await using target = await createTarget({ driver: "local", path: folder });
    await target.put("keys/a", [new Uint8Array(3)]);
    expect(fs.statSync(path.join(folder, "keys/a")).size).toBe(3);
  });

  it("a target of this thread is reached from another one", async () => {
    const memory = new MemoryTarget();
    await using access = accessByPort(memory);
    const { spec } = access.forThread();
    await using target = await spawnTargetThread(spec);
    await target.put("keys/a", [new Uint8Array(3)]);
    expect(memory.objects.get("keys/a")?.bytes).toHaveLength(3);
  });

  it("a fault spec reaches the target in its thread", async () => {
    await using target = await spawnTargetThread({ driver: "local", path: folder, failAt: "before fsync:2=EIO" });
    await target.put("keys/a", [new Uint8Array(3)]);
    await expect(target.put("keys/b", [new Uint8Array(3)])).rejects.toMatchObject({ code: "target_io", data: { errno: "EIO" } });
  });
});
