import { expect, test } from "vitest";
import type { Scheduler } from "../../src/scheduler/scheduler.ts";
import { Reconciler } from "../../src/daemon/reconciler.ts";
import { FakeClock } from "../support/fake-clock.ts";

const MINUTE = 60_000;
const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

function resting(): {
  clock: FakeClock;
  reconciler: Reconciler;
  rested: () => Promise<number | undefined>;
  stop: AbortController;
} {
  const clock = new FakeClock();
  const reconciler = new Reconciler({ clock, log, scheduler: {} as Scheduler });
  const stop = new AbortController();
  let ended: number | undefined;
  void reconciler.rest(stop.signal).then(() => (ended = clock.monotonic()));
  return {
    clock,
    reconciler,
    stop,
    rested: async () => {
      await clock.advance(0);
      return ended;
    },
  };
}

test("where nothing happens it looks every ten minutes", async () => {
  const { clock, rested } = resting();
  await clock.advance(10 * MINUTE - 1);
  expect(await rested()).toBeUndefined();
  await clock.advance(1);
  expect(await rested()).toBe(10 * MINUTE);
});

test("it looks at once when asked, and when it is stopped", async () => {
  for (const act of ["hurry", "stop"] as const) {
    const { clock, reconciler, rested, stop } = resting();
    await clock.advance(MINUTE);
    if (act === "hurry") reconciler.hurry();
    else stop.abort();
    expect(await rested()).toBe(MINUTE);
  }
});
