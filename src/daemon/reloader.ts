import type { Clock } from "../base/clock.ts";
import { asHoldfastError, type ErrorWire } from "../base/errors.ts";
import type { Config } from "../config/config.ts";
import { diffConfigs } from "../config/diff.ts";
import type { Problem } from "../config/problem.ts";
import type { Surroundings } from "../engine/session.ts";
import type { EventDescription } from "../plan/events.ts";
import type { Log } from "../telemetry/log.ts";
import { ConfigWatch } from "./config-watch.ts";

/** A valid configuration, and what the engine needs to work with it. */
export interface DaemonConfig {
  readonly config: Config;
  readonly surroundings: Omit<Surroundings, "listener">;
}

/** The configuration as its files say now. */
export interface DaemonReading {
  /** Undefined when it is not valid. */
  readonly valid: DaemonConfig | undefined;
  readonly problems: readonly Problem[];
  readonly digest: string;
  /** Files and folders whose change may change it. */
  readonly watched: readonly string[];
}

/** What came of a reading of the configuration. Plain. */
export interface ReloadOutcome {
  readonly timeMs: number;
  readonly result: "reloaded" | "unchanged" | "invalid" | "unreadable";
  /** What changed, as `jobs.docs added`. */
  readonly changes: readonly string[];
  readonly problems: readonly Problem[];
  /** Why it could not be read. */
  readonly error: ErrorWire | undefined;
}

export interface ReloaderOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly watched: readonly string[];
  readonly read: () => Promise<DaemonReading>;
  /** The configuration in force. */
  readonly current: () => Config;
  /** Puts a valid configuration in force that differs from the current one. */
  readonly onReload: (next: DaemonConfig) => void;
  /** Around each reading. */
  readonly onReading?: (state: "begins" | "ends") => void;
  /** Told of every configuration that was taken over or refused. */
  readonly record: (event: Omit<EventDescription, "timeMs">) => void;
}

/** A configuration is about no job and no target. */
const NOTHING_NAMED = { jobs: [], targets: [] } as const;

/**
 * Has the configuration read when its files change or when it is asked for, one reading after the other, and says what
 * came of it. One that cannot be read or is not valid changes nothing.
 */
export class Reloader implements Disposable {
  readonly #options: ReloaderOptions;
  readonly #watch: ConfigWatch;
  #reading: Promise<unknown> = Promise.resolve();
  #last: ReloadOutcome | undefined;
  #disposed = false;
  /** Of the last configuration that was refused, its digest or why it cannot be read: it is complained about once. */
  #refused: string | undefined;

  constructor(options: ReloaderOptions) {
    this.#options = options;
    this.#watch = new ConfigWatch({
      clock: options.clock,
      paths: options.watched,
      onChange: () => void this.reload("the files changed"),
    });
    // What changed after it was read and before it was watched.
    void this.reload("the files changed");
  }

  /** The last reading that changed something, failed, or was asked for; undefined when there was none. */
  get last(): ReloadOutcome | undefined {
    return this.#last;
  }

  /** Reads it when earlier readings are done. Never rejects; undefined when this was disposed of before. */
  reload(why: "asked for" | "the files changed"): Promise<ReloadOutcome | undefined> {
    const reading = this.#reading.then(async () => {
      if (this.#disposed) return undefined;
      this.#options.onReading?.("begins");
      const outcome = await this.#reload(why);
      this.#options.onReading?.("ends");
      const wasRefused = this.#last?.result === "invalid" || this.#last?.result === "unreadable";
      if (outcome !== undefined && (why === "asked for" || wasRefused || outcome.result !== "unchanged")) this.#last = outcome;
      return outcome;
    });
    this.#reading = reading;
    return reading;
  }

  async #reload(why: string): Promise<ReloadOutcome | undefined> {
    const { log, current, onReload, record, clock } = this.#options;
    const outcome = (
      result: ReloadOutcome["result"],
      more: Partial<Pick<ReloadOutcome, "changes" | "problems" | "error">> = {},
    ): ReloadOutcome => ({ timeMs: clock.now(), result, changes: [], problems: [], error: undefined, ...more });
    try {
      let reading = await this.#options.read();
      // A file that is new to the watch may have changed between its reading and now.
      while (this.#watch.replace(reading.watched)) reading = await this.#options.read();
      if (this.#disposed) return undefined;
      const { valid, problems, digest } = reading;
      if (valid === undefined) {
        const errors = problems.filter(({ severity }) => severity === "error");
        if (this.#refused === digest && why !== "asked for") return outcome("invalid", { problems: errors });
        this.#refused = digest;
        for (const { file, line, column, message } of errors) log.error(`${file}:${line}:${column}: ${message}`);
        log.error("the configuration is not valid: the one before stays in force", { digest: digest.slice(0, 12) });
        record({
          ...NOTHING_NAMED,
          type: "config_rejected",
          summary: `The configuration on ${current().host} is not valid: the one before stays in force`,
          details: {
            digest,
            problems: errors.map(({ file, line, column, message }) => ({ place: `${file}:${line}:${column}`, message })),
          },
        });
        return outcome("invalid", { problems: errors });
      }
      const mended = this.#refused !== undefined;
      this.#refused = undefined;
      const before = current();
      if (before.digest === digest) {
        if (mended) log.info("the configuration is again the one in force");
        else if (why === "asked for") log.info("the configuration has not changed");
        return outcome("unchanged");
      }
      for (const { severity, file, line, message } of problems)
        if (severity === "warning") log.warn(`${file}:${line}: ${message}`);
      const changes = diffConfigs(before, valid.config).map(
        ({ section, name, kind }) => `${section}${name && `.${name}`} ${kind}`,
      );
      for (const key of ["stateDir", "log"] as const)
        if (JSON.stringify(before.daemon[key]) !== JSON.stringify(valid.config.daemon[key]))
          log.warn(`daemon.${key} takes effect when the daemon is started again`);
      onReload(valid);
      const commit = await valid.surroundings.gitCommit;
      log.info("configuration reloaded", {
        changes: changes.join(", ") || "none in effect",
        digest: digest.slice(0, 12),
        commit,
      });
      record({
        ...NOTHING_NAMED,
        type: "config_reloaded",
        summary: `The configuration on ${valid.config.host} was reloaded: ${changes.join(", ") || "nothing in effect changed"}`,
        details: { digest, commit: commit ?? null, changes },
      });
      return outcome("reloaded", { changes, problems });
    } catch (thrown) {
      const error = asHoldfastError(thrown);
      const { message, hint } = error;
      log.error(`the configuration cannot be read: ${message}; the one before stays in force`, { hint });
      if (this.#refused !== message)
        record({
          ...NOTHING_NAMED,
          type: "config_rejected",
          summary: `The configuration on ${current().host} cannot be read: the one before stays in force`,
          details: { problems: [{ place: current().path, message }] },
        });
      this.#refused = message;
      return outcome("unreadable", { error: error.toWire() });
    }
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#watch[Symbol.dispose]();
  }
}
