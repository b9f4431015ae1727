import { randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { MessageChannel } from "node:worker_threads";
import { LocalTarget } from "../../src/targets/local/local-target.ts";
import { createTarget } from "../../src/targets/registry.ts";
import type { Target } from "../../src/targets/target.ts";
import { serveTarget } from "../../src/targets/thread/target-host.ts";
import { spawnTargetThread } from "../../src/targets/thread/target-thread.ts";
import { CacheTarget } from "../../src/targets/wrap/cache.ts";
import { LimitTarget } from "../../src/targets/wrap/limit.ts";
import { MeterTarget } from "../../src/targets/wrap/meter.ts";
import { RetryTarget } from "../../src/targets/wrap/retry.ts";
import { targetConformance, type TargetFixture } from "../conformance/target.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { FaultyTarget } from "../support/faulty-target.ts";
import { MemoryTarget } from "../support/memory-target.ts";

const random = { bytes: (length: number) => randomBytes(length) };

async function inFolder(make: (folder: string) => Target | Promise<Target>): Promise<TargetFixture> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-target-"));
  return {
    target: await make(folder),
    release: async () => fs.rmSync(folder, { recursive: true, force: true }),
  };
}

targetConformance("local", () => inFolder((folder) => new LocalTarget({ path: folder })));

targetConformance("local, made on the first put", () =>
  inFolder((folder) => new LocalTarget({ path: path.join(folder, "not/yet"), create: true })),
);

targetConformance("local, without hard links", () =>
  inFolder((folder) => {
    let linked = false;
    const faultPoint = (point: string): void => {
      if (point !== "before link" || linked) return;
      linked = true;
      throw Object.assign(new Error("no hard links here"), { code: "EPERM" });
    };
    return new LocalTarget({ path: folder, faultPoint });
  }),
);

targetConformance("local, in a thread", () => inFolder((folder) => spawnTargetThread({ driver: "local", path: folder })));

targetConformance("local, in a thread, memory given away", () =>
  inFolder((folder) => spawnTargetThread({ driver: "local", path: folder }, { transfer: true })),
);

targetConformance("memory", async () => ({ target: new MemoryTarget() }));

targetConformance("memory, slow", async () => ({ target: new MemoryTarget({ latencyMs: 2, now: null }) }));

targetConformance("memory, served by this thread through another one", async () => {
  const { port1, port2 } = new MessageChannel();
  const host = serveTarget(port1, new MemoryTarget());
  return {
    target: await spawnTargetThread({ driver: "port", port: port2 }),
    release: () => host[Symbol.asyncDispose](),
  };
});

targetConformance("port, in one thread", async () => {
  const { port1, port2 } = new MessageChannel();
  serveTarget(port1, new MemoryTarget(), { own: true });
  return { target: await createTarget({ driver: "port", port: port2, transfer: true }) };
});

targetConformance("retry", async () => ({ target: new RetryTarget(new MemoryTarget(), { clock: new FakeClock(), random }) }));

targetConformance("limit", async () => ({
  target: new LimitTarget(new MemoryTarget(), { clock: new FakeClock(), connections: 3 }),
}));

targetConformance("meter", async () => ({ target: new MeterTarget(new MemoryTarget(), { clock: new FakeClock() }) }));

targetConformance("cache", () => inFolder((folder) => new CacheTarget(new MemoryTarget(), { folder })));

targetConformance("cache that cannot be written", async () => ({
  target: new CacheTarget(new MemoryTarget(), { folder: "/dev/null" }),
}));

targetConformance("faulty, without faults", async () => ({ target: new FaultyTarget(new MemoryTarget()) }));

targetConformance("all wrappers around a local target", () =>
  inFolder((folder) => {
    const clock = new FakeClock();
    const meter = new MeterTarget(new LocalTarget({ path: folder }), { clock });
    return new RetryTarget(new LimitTarget(meter, { clock, connections: 4 }), { clock, random });
  }),
);
