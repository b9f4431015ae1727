import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../base/clock.ts";
import { asHoldfastError } from "../base/errors.ts";
import type { ProbesConfig } from "../config/config.ts";
import type { Log } from "../telemetry/log.ts";

/** An address may be taken, or not be there yet, for a while. */
const RETRY_MS = 60_000;

export interface ProbesOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Listens until what it returns is disposed of. Rejects when it cannot. */
  readonly serve: (probes: ProbesConfig) => Promise<AsyncDisposable>;
}

/**
 * Keeps the listener that the configuration in force declares, and no other. One that cannot listen is said loudly, and tried
 * again each minute; the daemon goes on without. Disposing closes it.
 */
export class Probes implements AsyncDisposable {
  readonly #options: ProbesOptions;
  #wanted: ProbesConfig | undefined;
  #listening: AsyncDisposable | undefined;
  /** One change after the other. */
  #work: Promise<void> = Promise.resolve();
  #retry = new AbortController();

  constructor(options: ProbesOptions) {
    this.#options = options;
  }

  /** Resolves when it listens there, or could not. Never rejects. */
  listen(wanted: ProbesConfig | undefined): Promise<void> {
    this.#work = this.#work.then(async () => {
      if (isDeepStrictEqual(wanted, this.#wanted) && (wanted === undefined || this.#listening !== undefined)) return;
      this.#wanted = wanted;
      await this.#close();
      if (wanted !== undefined) await this.#open(wanted);
    });
    return this.#work;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.listen(undefined);
  }

  async #close(): Promise<void> {
    this.#retry.abort();
    const listening = this.#listening;
    this.#listening = undefined;
    try {
      await listening?.[Symbol.asyncDispose]();
    } catch (error) {
      this.#options.log.warn(`the listener for probes did not close: ${asHoldfastError(error).message}`);
    }
  }

  async #open(wanted: ProbesConfig): Promise<void> {
    const { serve, log, clock } = this.#options;
    const { listen } = wanted;
    const where =
      listen.kind === "unix"
        ? `unix:${listen.path}`
        : `${listen.host.includes(":") ? `[${listen.host}]` : listen.host}:${listen.port}`;
    try {
      this.#listening = await serve(wanted);
      log.info(`probes are answered on ${where}`, { metrics: wanted.metrics });
    } catch (thrown) {
      const { message, hint } = asHoldfastError(thrown);
      log.error(`probes are NOT answered on ${where}: ${message}`, { hint, retry: `${RETRY_MS / 1000} s` });
      this.#retry = new AbortController();
      clock.sleep(RETRY_MS, this.#retry.signal).then(
        () => this.listen(this.#wanted),
        () => undefined,
      );
    }
  }
}
