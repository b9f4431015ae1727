import type { Clock } from "../base/clock.ts";
import type { Session } from "../engine/session.ts";

/** A session older than this gets no new users: what others did to its targets meanwhile would go unnoticed. */
const FRESH_MS = 60 * 60_000;

interface Shared {
  readonly session: Session;
  /** On the monotonic clock. */
  readonly madeAt: number;
  users: number;
}

/**
 * The open sessions of a daemon. What runs at the same time shares one, and so its indexes; it is closed when the last
 * user has ended, so that an idle daemon holds neither memory nor targets, and a new key epoch, another repository or a
 * mounted disk is seen by whatever comes next. Disposing closes all.
 */
export class Sessions implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #make: () => Session;
  #shared: Shared | undefined;
  readonly #open = new Set<Session>();

  constructor(clock: Clock, make: () => Session) {
    this.#clock = clock;
    this.#make = make;
  }

  /** The next user gets a session made anew. Who uses one goes on with it. */
  forget(): void {
    this.#shared = undefined;
  }

  /** Works with a session of the configuration in force now, which stays open meanwhile. */
  async use<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const now = this.#clock.monotonic();
    if (this.#shared === undefined || now - this.#shared.madeAt > FRESH_MS)
      this.#shared = { session: this.#make(), madeAt: now, users: 0 };
    const shared = this.#shared;
    shared.users++;
    this.#open.add(shared.session);
    try {
      return await work(shared.session);
    } finally {
      if (--shared.users === 0) {
        if (this.#shared === shared) this.#shared = undefined;
        if (this.#open.delete(shared.session)) await shared.session[Symbol.asyncDispose]();
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const open = [...this.#open];
    this.#open.clear();
    await Promise.all(open.map((session) => session[Symbol.asyncDispose]()));
  }
}
