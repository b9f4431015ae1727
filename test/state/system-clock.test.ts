import { afterEach, describe, expect, it, vi } from "vitest";
import { createSystemClock } from "../../src/state/system-clock.ts";

afterEach(() => {
  vi.useRealTimers();
});

describe("the system clock", () => {
  it("tells both times, and the monotonic one never goes back", () => {
    const clock = createSystemClock();
    expect(Math.abs(clock.now() - Date.now())).toBeLessThan(60_000);
    let last = clock.monotonic();
    for (let n = 0; n < 2000; n++) {
      const next = clock.monotonic();
      expect(next).toBeGreaterThanOrEqual(last);
      last = next;
    }
  });

  it("sets no timer that would overflow, and wakes when told", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const delays: (number | undefined)[] = [];
    const real = globalThis.setTimeout;
    vi.spyOn(globalThis, "setTimeout").mockImplementation(((run: () => void, delayMs?: number) => {
      delays.push(delayMs);
      return real(run, delayMs);
    }) as typeof setTimeout);
    const abort = new AbortController();
    const asleep = createSystemClock().sleep(40 * 86_400_000, abort.signal);
    // The monotonic clock stands still meanwhile, so the sleep goes on.
    await vi.advanceTimersByTimeAsync(130_000);
    expect(delays.length).toBeGreaterThan(2);
    for (const delayMs of delays) expect(delayMs).toBeLessThanOrEqual(60_000);
    abort.abort(new Error("woken"));
    await expect(asleep).rejects.toThrow("woken");
    expect(vi.getTimerCount()).toBe(0);
  });

  it("sleeps for nothing, and not at all when the signal has fired", async () => {
    const clock = createSystemClock();
    await clock.sleep(0);
    await clock.sleep(-5);
    await expect(clock.sleep(1e9, AbortSignal.abort(new Error("no")))).rejects.toThrow("no");
  });
});
