import { throwIfAborted } from "./abort.ts";
import type { Clock } from "./clock.ts";

/** A token bucket that runs a debt: bytes are paid when they are known, and the next turn waits for them. */
export class Pacer {
  readonly #clock: Clock;
  #bytesPerSecond: number | undefined;
  /** Monotonic time at which everything paid so far is worked off. */
  #clearMs = 0;
  #queue: Promise<void> = Promise.resolve();

  constructor(clock: Clock, bytesPerSecond: number | undefined) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
  }

  setRate(bytesPerSecond: number | undefined): void {
    this.#bytesPerSecond = bytesPerSecond;
  }

  pay(bytes: number): void {
    if (this.#bytesPerSecond === undefined) return;
    this.#clearMs = Math.max(this.#clearMs, this.#clock.monotonic()) + (bytes / this.#bytesPerSecond) * 1000;
  }

  /** Resolves, having paid, when the debt is worked off and everyone who asked before has had the turn. */
  async turn(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    const before = this.#queue;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#queue = before.then(() => promise);
    try {
      await before;
      throwIfAborted(signal);
      for (let wait = this.debtMs; wait > 0; wait = this.debtMs) await this.#clock.sleep(wait, signal);
      this.pay(bytes);
    } finally {
      resolve();
    }
  }

  /** Milliseconds until everything paid so far is worked off. */
  get debtMs(): number {
    return this.#bytesPerSecond === undefined ? 0 : Math.max(0, this.#clearMs - this.#clock.monotonic());
  }
}
