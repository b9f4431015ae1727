import type { Clock } from "../base/clock.ts";
import type { State } from "../state/state.ts";

interface Answer {
  readonly at: number;
  readonly revision: string;
  readonly value: unknown;
}

/**
 * Answers that are given again for a moment, while nothing in the state has changed: a page or a script that asks many times a
 * second costs the daemon next to nothing. What has no trace in the state (progress, another host's snapshot) is seen when the moment is over.
 */
export class Remembered {
  readonly #clock: Clock;
  readonly #state: State;
  readonly #forMs: number;
  readonly #max: number;
  readonly #answers = new Map<string, Answer>();

  constructor(options: { readonly clock: Clock; readonly state: State; readonly forMs: number; readonly max?: number }) {
    ({ clock: this.#clock, state: this.#state, forMs: this.#forMs } = options);
    this.#max = options.max ?? 1;
  }

  /** What `make` gave under this key a moment ago, or gives now. A promise is shared while it is open, and forgotten when it rejects. */
  get<T>(key: string, make: () => T): T {
    // The wall clock, because it costs least; after a step of it nothing is remembered, or a little longer.
    const at = this.#clock.now();
    const { revision } = this.#state;
    const known = this.#answers.get(key);
    if (known !== undefined && known.revision === revision && Math.abs(at - known.at) < this.#forMs) return known.value as T;
    this.#answers.delete(key);
    for (const oldest of this.#answers.keys()) {
      if (this.#answers.size < this.#max) break;
      this.#answers.delete(oldest);
    }
    const value = make();
    const answer: Answer = { at, revision, value };
    this.#answers.set(key, answer);
    if (value instanceof Promise)
      value.catch(() => {
        if (this.#answers.get(key) === answer) this.#answers.delete(key);
      });
    return value;
  }
}
