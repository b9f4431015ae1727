import { setImmediate as nextTurn } from "node:timers/promises";
import type { Clock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import type { Config, JobConfig, ScheduleConfig } from "../config/config.ts";
import { analyse, type Bucket } from "../engine/analytics.ts";
import { viewConfig } from "../engine/config-view.ts";
import { deliveryJson, iso } from "../engine/documents.ts";
import { reportTargets } from "../engine/sizes.ts";
import { nextJobRuns, nextRuns } from "../scheduler/schedule.ts";
import type { DeliveryState } from "../state/outbox.ts";
import type { State } from "../state/state.ts";
import type { Log } from "../telemetry/log.ts";

type Document = Record<string, unknown>;

const DAY_MS = 86_400_000;
/** Jobs whose next runs are computed in one turn of the event loop. */
const JOBS_A_TURN = 8;
/** Deliveries that an event id may have to be found in. */
const MAX_FOUND = 1000;

export interface ReportsOptions {
  readonly clock: Clock;
  readonly state: State;
  readonly log: Log;
  readonly current: () => Config;
}

/** What the configuration and the state say to those who ask, and the outbox. */
export class Reports {
  readonly #options: ReportsOptions;

  constructor(options: ReportsOptions) {
    this.#options = options;
  }

  /** As they were seen last. */
  targets(): Document {
    const { state, clock, current } = this.#options;
    return { targets: reportTargets({ config: current(), state }, clock.now()) };
  }

  /** The next `count` runs of each job. Throws `name_unknown`. */
  async schedules(name: string | undefined, count: number): Promise<Document> {
    const { state, clock, current } = this.#options;
    const config = current();
    const { timezone } = config.daemon;
    const nowMs = clock.now();
    const paused = state.pausedJobs();
    if (name !== undefined && !config.jobs.has(name)) throw noJob(name, config);
    const plainly = (schedule: ScheduleConfig): Document => ({
      name: schedule.name ?? null,
      text: schedule.text,
      jitterMs: schedule.jitterMs,
      catchUp: schedule.catchUp,
      onStart: schedule.onStart,
    });
    const times = (schedule: ScheduleConfig | undefined): string[] =>
      schedule === undefined ? [] : nextRuns(schedule.rule, nowMs, timezone, count).map(iso);
    const describe = (job: JobConfig): Document => {
      const isActive = job.enabled && !paused.has(job.name);
      return {
        job: job.name,
        enabled: job.enabled,
        paused: paused.has(job.name),
        schedules: job.schedules.map(({ schedule, mode }) => ({ ...plainly(schedule), mode: mode ?? job.mode })),
        notDuring: job.notDuring.map(({ text }) => text),
        next: isActive ? nextJobRuns(job, nowMs, timezone, count).map(({ timeMs, mode }) => ({ time: iso(timeMs), mode })) : [],
        verify:
          job.verify.schedule === undefined
            ? null
            : { ...plainly(job.verify.schedule), next: isActive ? times(job.verify.schedule) : [] },
      };
    };
    const jobs: Document[] = [];
    for (const job of config.jobs.values()) {
      if (name !== undefined && job.name !== name) continue;
      jobs.push(describe(job));
      if (jobs.length % JOBS_A_TURN === 0) await nextTurn();
    }
    const { schedule } = config.maintenance;
    return { timezone, time: iso(nowMs), jobs, maintenance: { ...plainly(schedule), next: times(schedule) } };
  }

  /** Default: the last 30 days. */
  async analytics(query: {
    readonly job?: string | undefined;
    readonly sinceMs?: number | undefined;
    readonly untilMs?: number | undefined;
    readonly bucket: Bucket;
  }): Promise<Document> {
    const { state, clock, current } = this.#options;
    const untilMs = query.untilMs ?? clock.now() + 1;
    const sinceMs = query.sinceMs ?? untilMs - 30 * DAY_MS;
    return await analyse(state, { job: query.job, bucket: query.bucket, sinceMs, untilMs, timezone: current().daemon.timezone });
  }

  /** The configuration in force, without secrets. */
  config(): Document {
    return viewConfig(this.#options.current());
  }

  /** Plans that wait for an approval. */
  pending(): Document {
    return {
      pending: this.#options.state
        .pendingApprovals()
        .map(({ plan, sinceMs, text }) => ({ plan, since: iso(sinceMs), why: text.split("\n") })),
    };
  }

  /** Throws `name_unknown` for a plan that does not wait. */
  assertPending(plan: string): void {
    if (this.#options.state.pendingApprovals().some((one) => one.plan === plan)) return;
    throw new HoldfastError("name_unknown", `No plan ${plan} waits for an approval`, {
      hint: "It may have changed since you looked: see what waits now, GET /api/v1/config/pending.",
    });
  }

  /** What was to be told to receivers, the newest first. */
  outbox(query: { readonly state?: DeliveryState; readonly limit: number }): Document {
    return { notifications: this.#options.state.outbox.deliveries(query).map(deliveryJson) };
  }

  /** Queues again what has ended of one event, or all that is dead; returns how many. */
  resend(event: string | undefined): number {
    const { state, clock, log } = this.#options;
    const count = state.outbox.resend(event === undefined ? "dead" : { event: this.#event(event) }, clock.now());
    log.info(`${count} messages were queued again`);
    return count;
  }

  /** Gives up what still waits of one event; returns how many. */
  discard(event: string, by: string): number {
    const { state, clock, log } = this.#options;
    const id = this.#event(event);
    const count = state.outbox.discard(id, `discarded by ${by}`, clock.now());
    log.info(`${count} messages of ${id} were discarded by ${by}`);
    return count;
  }

  #event(text: string): string {
    const prefix = text.startsWith("evt_") ? text : `evt_${text}`;
    const found = new Set(this.#options.state.outbox.deliveries({ event: prefix, limit: MAX_FOUND }).map(({ event }) => event));
    const [first] = found;
    if (first !== undefined && found.size === 1) return first;
    throw new HoldfastError("name_unknown", `There is no message ${text}, or it is not unique`, {
      hint: "List them: GET /api/v1/outbox.",
    });
  }
}

function noJob(name: string, config: Config): HoldfastError {
  return new HoldfastError("name_unknown", `There is no job ${name}`, {
    hint: `The configuration in force has: ${[...config.jobs.keys()].join(", ") || "none"}.`,
  });
}
