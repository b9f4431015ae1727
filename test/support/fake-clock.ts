import type { Clock } from "../../src/base/clock.ts";

interface Sleeper {
  readonly wakeAt: number;
  readonly order: number;
  readonly wake: () => void;
}

/**
 * A clock that only tests move. `advance` lives through the time, waking every sleeper in its turn; `suspend` lets it pass
 * at once, as a sleeping machine does; `jump` changes the date and nothing else. All let woken code run to its next wait.
 */
export class FakeClock implements Clock {
  #now: number;
  #monotonic = 0;
  #order = 0;
  readonly #sleepers = new Set<Sleeper>();

  constructor(now: number | string = "2026-01-01T00:00:00Z") {
    this.#now = typeof now === "string" ? Date.parse(now) : now;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  /** How many sleeps are under way. */
  get sleeping(): number {
    return this.#sleepers.size;
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const sleeper: Sleeper = {
        wakeAt: this.#monotonic + Math.max(0, delayMs),
        order: this.#order++,
        wake: () => {
          this.#sleepers.delete(sleeper);
          signal?.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      const onAbort = (): void => {
        this.#sleepers.delete(sleeper);
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#sleepers.add(sleeper);
    });
  }

  async advance(durationMs: number): Promise<void> {
    const end = this.#monotonic + durationMs;
    await settle();
    for (let next = this.#next(end); next; next = this.#next(end)) {
      this.#pass(next.wakeAt - this.#monotonic);
      next.wake();
      await settle();
    }
    this.#pass(end - this.#monotonic);
    await settle();
  }

  async suspend(durationMs: number): Promise<void> {
    await settle();
    this.#pass(durationMs);
    for (let next = this.#next(this.#monotonic); next; next = this.#next(this.#monotonic)) {
      next.wake();
      await settle();
    }
  }

  async jump(byMs: number): Promise<void> {
    this.#now += byMs;
    await settle();
  }

  #pass(durationMs: number): void {
    this.#now += durationMs;
    this.#monotonic += durationMs;
  }

  #next(until: number): Sleeper | undefined {
    let first: Sleeper | undefined;
    for (const sleeper of this.#sleepers) {
      if (sleeper.wakeAt > until) continue;
      if (!first || sleeper.wakeAt < first.wakeAt || (sleeper.wakeAt === first.wakeAt && sleeper.order < first.order))
        first = sleeper;
    }
    return first;
  }
}

/** Lets everything that is ready run: promise jobs, and what they queue. */
export function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
