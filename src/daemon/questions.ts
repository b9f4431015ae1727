import type { Clock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import { queriesAt, type Queries } from "../engine/queries.ts";
import type { Page, SnapshotQuery } from "../engine/browse/pages.ts";
import type { State } from "../state/state.ts";
import { Remembered } from "./remembered.ts";
import type { Sessions } from "./sessions.ts";

/** Questions at the same time: each may hold a piece of a target in memory. */
const MAX_OPEN = 32;
/** A list of snapshots is given again for so long, while this daemon did nothing. */
const LIST_MS = 2000;
const MAX_LISTS = 32;
/** A longer one is not kept for others. */
const MAX_LISTED = 1000;

/** Answers what is asked of the targets while the daemon works; nobody's turn is waited for. */
export class Questions {
  readonly #sessions: Sessions;
  readonly #lists: Remembered;
  readonly #open = new Map<AbortController, Promise<unknown>>();
  #stopped = false;

  constructor(options: { readonly sessions: Sessions; readonly clock: Clock; readonly state: State }) {
    this.#sessions = options.sessions;
    this.#lists = new Remembered({ ...options, forMs: LIST_MS, max: MAX_LISTS });
  }

  /** The same for a list of snapshots, which many may ask for at once and get from one look at the targets. */
  async listSnapshots(query: SnapshotQuery, page: Page, signal: AbortSignal): Promise<Awaited<ReturnType<Queries["snapshots"]>>> {
    const ask = (by: AbortSignal): ReturnType<Queries["snapshots"]> => this.ask(by, (queries) => queries.snapshots(query, page));
    if (page.limit > MAX_LISTED) return await ask(signal);
    // Who asked first may go away: others wait for the same.
    return await this.#lists.get(JSON.stringify([query, page]), () => ask(new AbortController().signal));
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
