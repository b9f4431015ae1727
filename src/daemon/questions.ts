import { HoldfastError } from "../base/errors.ts";
import { queriesAt, type Queries } from "../engine/queries.ts";
import type { Sessions } from "./sessions.ts";

/** Questions at the same time: each may hold a piece of a target in memory. */
const MAX_OPEN = 32;

/** Answers what is asked of the targets while the daemon works; nobody's turn is waited for. */
export class Questions {
  readonly #sessions: Sessions;
  readonly #open = new Map<AbortController, Promise<unknown>>();
  #stopped = false;

  constructor(sessions: Sessions) {
    this.#sessions = sessions;
  }

  /** Rejects with `state_busy` when too much is asked at once, or the daemon stops. */
  async ask<T>(signal: AbortSignal, act: (queries: Queries, signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#stopped) throw stopping("state_busy");
    if (this.#open.size >= MAX_OPEN)
      throw new HoldfastError("state_busy", `The daemon answers ${MAX_OPEN} questions already`, {
        hint: "Try again in a moment.",
        transient: true,
      });
    const abort = new AbortController();
    const own = AbortSignal.any([signal, abort.signal]);
    const answer = this.#sessions.use((session) => {
      own.throwIfAborted();
      return act(queriesAt(session, own), own);
    });
    this.#open.set(
      abort,
      answer.catch(() => undefined),
    );
    try {
      return await answer;
    } finally {
      this.#open.delete(abort);
    }
  }

  /** Aborts what is open and takes nothing more; resolves when all has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const abort of this.#open.keys()) abort.abort(stopping("cancelled"));
    await Promise.all(this.#open.values());
  }
}

function stopping(code: "cancelled" | "state_busy"): HoldfastError {
  return new HoldfastError(code, "The daemon is stopping", { hint: "Ask again when it has been started." });
}
