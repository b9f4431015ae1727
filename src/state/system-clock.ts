import { readFileSync } from "node:fs";
import type { Clock } from "../base/clock.ts";

/** Timers take at most 2^31 − 1 ms and do not count suspended time: a minute bounds how late a sleep ends after it. */
const LONGEST_TIMER_MS = 60_000;

/**
 * The machine's clock. `monotonic` counts suspended time where the system tells its uptime (Linux); elsewhere it is the
 * process clock. `sleep` follows `monotonic`: changing the date neither shortens nor lengthens it. Timers keep the process alive.
 */
export function createSystemClock(): Clock {
  const monotonic = uptimeMs() === undefined ? (): number => performance.now() : bootTime();
  return {
    now: () => Date.now(),
    monotonic,
    async sleep(delayMs, signal) {
      const end = monotonic() + delayMs;
      let left = Math.max(0, delayMs);
      do {
        await timer(Math.min(left, LONGEST_TIMER_MS), signal);
        left = end - monotonic();
      } while (left > 0);
    },
  };
}

/** Uptime has hundredths of a second; the process clock fills in between, and neither may make it go back. */
function bootTime(): () => number {
  let last = 0;
  let offset = (uptimeMs() ?? 0) - performance.now();
  return () => {
    const uptime = uptimeMs();
    if (uptime !== undefined && uptime - (performance.now() + offset) > 20) offset = uptime - performance.now();
    last = Math.max(last, performance.now() + offset);
    return last;
  };
}

function uptimeMs(): number | undefined {
  try {
    const seconds = Number.parseFloat(readFileSync("/proc/uptime", "latin1"));
    return Number.isFinite(seconds) ? seconds * 1000 : undefined;
  } catch {
    return undefined;
  }
}

function timer(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      clearTimeout(handle);
      reject(signal?.reason);
    };
    const handle = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, delayMs);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
