import { expect, it } from "vitest";
import { HoldfastError } from "../../../src/base/errors.ts";
import { MeterTarget } from "../../../src/targets/wrap/meter.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { FaultyTarget } from "../../support/faulty-target.ts";
import { MemoryTarget } from "../../support/memory-target.ts";

it("counts requests, failures, bytes, durations and calls in flight", async () => {
  const clock = new FakeClock();
  const faulty = new FaultyTarget(new MemoryTarget());
  const target = new MeterTarget(faulty, { clock });
  await target.put("packs/a", [new Uint8Array(1000), new Uint8Array(24)]);
  await target.get("packs/a");
  await target.get("packs/a", { range: { offset: 0, length: 10 } });
  await target.list("");

  faulty.queue({ verb: "put", kind: "error", error: new HoldfastError("target_full", "full") });
  await expect(target.put("packs/b", [new Uint8Array(5)])).rejects.toMatchObject({ code: "target_full" });

  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  for (const { promise } of gates) faulty.queue({ verb: "stat", kind: "delay", until: promise });
  const first = target.stat("packs/a");
  const second = target.stat("packs/a");
  expect(target.snapshotMeter()).toMatchObject({ inFlight: 2, maxInFlight: 2 });
  await clock.advance(300);
  gates[0]?.resolve();
  await first;
  await clock.advance(200);
  gates[1]?.resolve();
  await second;

  expect(target.snapshotMeter()).toEqual({
    verbs: {
      put: { requests: 2, failures: 1, durationMs: 0, maxDurationMs: 0 },
      get: { requests: 2, failures: 0, durationMs: 0, maxDurationMs: 0 },
      stat: { requests: 2, failures: 0, durationMs: 800, maxDurationMs: 500 },
      list: { requests: 1, failures: 0, durationMs: 0, maxDurationMs: 0 },
      delete: { requests: 0, failures: 0, durationMs: 0, maxDurationMs: 0 },
      capacity: { requests: 0, failures: 0, durationMs: 0, maxDurationMs: 0 },
      cleanUp: { requests: 0, failures: 0, durationMs: 0, maxDurationMs: 0 },
    },
    requests: 7,
    failures: 1,
    bytesPut: 1024,
    bytesGot: 1034,
    inFlight: 0,
    maxInFlight: 2,
  });
  faulty.assertAllFired();
});
