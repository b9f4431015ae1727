/** Time as the program sees it. Passed in everywhere, so that tests own it. */
export interface Clock {
  /** Wall clock, milliseconds since 1970-01-01 UTC. May jump. */
  now(): number;
  /** Milliseconds since an arbitrary point; never goes back and counts suspended time where the system can (CLOCK_BOOTTIME). */
  monotonic(): number;
  /** Resolves after `delayMs`, or rejects with `signal.reason`. Delays over 2^31 ms are honoured. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
}
