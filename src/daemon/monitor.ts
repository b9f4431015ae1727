/** What others may know of how the daemon does, without asking a target: from the configuration, the state and memory. */
import type { Clock } from "../base/clock.ts";
import { asHoldfastError } from "../base/errors.ts";
import type { Config } from "../config/config.ts";
import type { Scheduler } from "../scheduler/scheduler.ts";
import type { State } from "../state/state.ts";
import type { Metrics, MetricsPage } from "../telemetry/metrics.ts";
import type { DaemonStatus } from "./daemon-control.ts";
import { judgeHealth, stateFailed, type HealthReport, type SchedulerState } from "./health.ts";
import { knownConditions } from "./known-conditions.ts";

/** The scheduler's loop turns every 30 s; only a fault, or a process that got no time at all, keeps it so long. */
const STUCK_MS = 5 * 60_000;
/** What was found out is told for so long: whoever asks more often costs nothing more. */
const FRESH_MS = 1000;

/** What probes and scrapes are answered. */
export interface DaemonMonitor {
  /** Whether the loop turns that all runs are started from. A restart helps where it does not. */
  isAlive(): boolean;
  /** Why it cannot work now, for people: it stops, or its state cannot be read. Undefined when it can, however backups fare. */
  unready(): string | undefined;
  health(): HealthReport;
  /** Rejects with what the state says. */
  metrics(): Promise<MetricsPage>;
}

export interface MonitorOptions {
  readonly clock: Clock;
  readonly state: State;
  /** The configuration in force, the commit it was read at, and when it was taken over. */
  readonly current: () => { readonly config: Config; readonly commit: string | undefined; readonly loadedMs: number };
  readonly status: () => DaemonStatus;
  readonly scheduler: () => Scheduler | undefined;
}

export class Monitor implements DaemonMonitor {
  readonly #options: MonitorOptions;
  #metrics: Promise<Metrics> | undefined;
  #page: { readonly at: number; readonly page: Promise<MetricsPage> } | undefined;
  #health: { readonly at: number; readonly report: HealthReport } | undefined;

  constructor(options: MonitorOptions) {
    this.#options = options;
  }

  isAlive(): boolean {
    return this.#scheduler().turns;
  }

  unready(): string | undefined {
    const { state, status } = this.#options;
    try {
      state.pausedJobs();
      return status().daemon.stopping ? "the daemon is stopping" : undefined;
    } catch {
      return "the state cannot be read";
    }
  }

  health(): HealthReport {
    const { clock, status, state, current } = this.#options;
    const at = clock.monotonic();
    if (this.#health !== undefined && at - this.#health.at < FRESH_MS) return this.#health.report;
    let report: HealthReport;
    try {
      report = judgeHealth({
        config: current().config,
        status: status(),
        scheduler: this.#scheduler(),
        conditions: knownConditions(state),
        outbox: state.outbox.depth(),
      });
    } catch (error) {
      report = stateFailed(clock.now(), asHoldfastError(error));
    }
    this.#health = { at, report };
    return report;
  }

  metrics(): Promise<MetricsPage> {
    const at = this.#options.clock.monotonic();
    if (this.#page === undefined || at - this.#page.at >= FRESH_MS) this.#page = { at, page: this.#measure() };
    return this.#page.page;
  }

  async #measure(): Promise<MetricsPage> {
    // Imported by who is scraped alone: its figures of the process cost a little all the time.
    this.#metrics ??= import("../telemetry/metrics.ts").then(({ Metrics: Page }) => new Page());
    const [metrics, { metricFamilies }] = await Promise.all([this.#metrics, import("./metric-families.ts")]);
    const { state, status, current } = this.#options;
    const { config, commit, loadedMs } = current();
    const families = metricFamilies({
      config,
      commit,
      loadedMs,
      nodeVersion: process.version,
      status: status(),
      conditions: knownConditions(state),
      counts: state.runFigures.counts(),
      outbox: state.outbox.depth(),
      lastBackup: (job) => state.runFigures.lastDone("backup", [job.name, ...job.formerly]),
      lastPrune: (target) => {
        const run = state.lastRun("prune", [target]);
        return run?.status === undefined ? undefined : { startedMs: run.startedMs, status: run.status };
      },
    });
    return await metrics.page(families);
  }

  #scheduler(): SchedulerState {
    const scheduler = this.#options.scheduler();
    const turnedAt = scheduler?.turnedAt;
    return {
      started: scheduler?.isStarted === true,
      turns: turnedAt === undefined || this.#options.clock.monotonic() - turnedAt < STUCK_MS,
    };
  }
}
