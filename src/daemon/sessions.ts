import type { Session } from "../engine/session.ts";

/** The configuration in force, and those before it with which runs still go on. Disposing closes all of them. */
export class Sessions implements AsyncDisposable {
  #current: Session;
  readonly #users = new Map<Session, number>();
  readonly #closing = new Set<Promise<void>>();

  constructor(first: Session) {
    this.#current = first;
  }

  get current(): Session {
    return this.#current;
  }

  /** Puts another in force. The one before is closed when the last run that uses it has ended. */
  replace(next: Session): void {
    const before = this.#current;
    this.#current = next;
    if (!this.#users.has(before)) this.#close(before);
  }

  /** Works with the one in force now, which stays open meanwhile. */
  async use<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const session = this.#current;
    this.#users.set(session, (this.#users.get(session) ?? 0) + 1);
    try {
      return await work(session);
    } finally {
      const left = (this.#users.get(session) ?? 1) - 1;
      if (left > 0) this.#users.set(session, left);
      else {
        this.#users.delete(session);
        if (session !== this.#current) this.#close(session);
      }
    }
  }

  #close(session: Session): void {
    const closing = session[Symbol.asyncDispose]()
      // Its targets are not needed any more; what fails in closing them concerns nobody.
      .catch(() => undefined)
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#closing, ...[...this.#users.keys()].map((session) => session[Symbol.asyncDispose]())]);
    if (!this.#users.has(this.#current)) await this.#current[Symbol.asyncDispose]();
  }
}
