/**
 * When schedules fire. Everything is computed from the rule, the zone and an instant: there is no state to lose.
 *
 * - `every` fires at whole multiples since 1970, so that restarts do not shift it.
 * - Cron is 5 or 6 fields (seconds first) or `@daily` and the like, read on the wall of the zone. What falls into a DST gap
 *   fires once, at its end; what a fold repeats fires the first time only.
 * - Cron with `*` as its hour follows elapsed time instead: it neither makes up for a gap nor pauses in a fold.
 */
import { Cron } from "croner";
import type { Config, JobConfig, JobMode, ScheduleConfig, ScheduleRule } from "../config/config.ts";
import type { JobSlots, ScheduleSlot, Slots } from "../plan/plan.ts";
import { fromWall, toWall, zoneOffset } from "../plan/zone.ts";

const HOUR_MS = 3_600_000;
/** How many future runs a plan shows. */
const SHOWN_RUNS = 5;

interface ParsedCron {
  /** Reads wall times as if they were UTC, or instants in the zone. */
  readonly cron: Cron;
  readonly everyHour: boolean;
}

const parsed = new Map<string, ParsedCron>();

function parseCron(expression: string, timezone: string): ParsedCron {
  const key = `${timezone}\n${expression}`;
  let entry = parsed.get(key);
  if (!entry) {
    const fields = expression.trim().split(/\s+/);
    const everyHour = fields.length === 1 ? /^@hourly$/i.test(expression.trim()) : fields.at(-4) === "*" || fields.at(-4) === "?";
    const cron = new Cron(expression.trim(), { timezone: everyHour ? timezone : "UTC", paused: true, mode: "5-or-6-parts" });
    entry = { cron, everyHour };
    parsed.set(key, entry);
  }
  return entry;
}

/** Why an expression is no cron, or undefined when it is one. Says nothing of whether it ever fires. */
export function cronProblem(expression: string, timezone: string): string | undefined {
  try {
    parseCron(expression, timezone);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** The first time after `afterMs` (exclusive) at which a rule fires; undefined when it never does again. */
export function nextRun(rule: ScheduleRule, afterMs: number, timezone: string): number | undefined {
  if (rule.kind === "every") return (Math.floor(afterMs / rule.everyMs) + 1) * rule.everyMs;
  const { cron, everyHour } = parseCron(rule.expression, timezone);
  let from = everyHour ? afterMs : toWall(afterMs, timezone);
  for (;;) {
    const next = cron.nextRun(new Date(from))?.getTime();
    if (next === undefined) return undefined;
    const instant = everyHour ? next : fromWall(next, timezone);
    if (instant > afterMs) return instant;
    from = next;
  }
}

/** The last time at or before `atMs` at which a rule fired; undefined when it never did. */
export function previousRun(rule: ScheduleRule, atMs: number, timezone: string): number | undefined {
  if (rule.kind === "every") return Math.floor(atMs / rule.everyMs) * rule.everyMs;
  const { cron, everyHour } = parseCron(rule.expression, timezone);
  // A wall time from before a fold may show a later hour than now.
  const latest = Math.max(zoneOffset(atMs, timezone), zoneOffset(atMs - 3 * HOUR_MS, timezone));
  let before = (Math.floor((everyHour ? atMs : atMs + latest) / 1000) + 1) * 1000;
  for (;;) {
    const previous = cron.previousRuns(1, new Date(before))[0]?.getTime();
    if (previous === undefined) return undefined;
    const instant = everyHour ? previous : fromWall(previous, timezone);
    if (instant <= atMs) return instant;
    before = previous;
  }
}

/** The next `count` times after `afterMs`, ascending. */
export function nextRuns(rule: ScheduleRule, afterMs: number, timezone: string, count: number): number[] {
  const runs: number[] = [];
  for (let at = nextRun(rule, afterMs, timezone); at !== undefined && runs.length < count; at = nextRun(rule, at, timezone))
    runs.push(at);
  return runs;
}

/** What planning must know of schedules at `nowMs`: the last slot of each, and the next runs of each job. */
export function collectSlots(config: Config, nowMs: number): Slots {
  const { timezone } = config.daemon;
  const slot = (schedule: ScheduleConfig, mode: JobMode): ScheduleSlot => {
    const lastMs = previousRun(schedule.rule, nowMs, timezone);
    return {
      text: schedule.name === undefined ? schedule.text : `${schedule.name} (${schedule.text})`,
      mode,
      lastMs,
      previousMs: lastMs === undefined ? undefined : previousRun(schedule.rule, lastMs - 1, timezone),
      catchUp: schedule.catchUp,
      jitterMs: schedule.jitterMs,
    };
  };
  const jobSlots = (job: JobConfig): JobSlots => ({
    backup: job.schedules.map(({ schedule, mode }) => slot(schedule, mode ?? job.mode)),
    verify: job.verify.schedule && slot(job.verify.schedule, job.mode),
    next: nextJobRuns(job, nowMs, timezone, SHOWN_RUNS),
  });
  return {
    jobs: new Map([...config.jobs.values()].map((job) => [job.name, jobSlots(job)])),
    maintenance: slot(config.maintenance.schedule, "full"),
  };
}

/** The next runs of a job over all its schedules. Slots at the same instant are one run, in the strongest mode. */
export function nextJobRuns(
  job: JobConfig,
  afterMs: number,
  timezone: string,
  count: number,
): { timeMs: number; mode: JobMode }[] {
  const modes = new Map<number, JobMode>();
  for (const { schedule, mode = job.mode } of job.schedules) {
    for (const timeMs of nextRuns(schedule.rule, afterMs, timezone, count))
      modes.set(timeMs, strongerMode(mode, modes.get(timeMs)));
  }
  return [...modes]
    .toSorted(([a], [b]) => a - b)
    .slice(0, count)
    .map(([timeMs, mode]) => ({ timeMs, mode }));
}

/** `full` over `differential` over `incremental`. */
export function strongerMode(a: JobMode, b: JobMode | undefined): JobMode {
  const order: readonly JobMode[] = ["incremental", "differential", "full"];
  return b !== undefined && order.indexOf(b) > order.indexOf(a) ? b : a;
}

export const backupSchedules = (job: JobConfig): { schedule: ScheduleConfig; mode: JobMode }[] =>
  job.schedules.map(({ schedule, mode }) => ({ schedule, mode: mode ?? job.mode }));

export const prunableTargets = (config: Config): string[] =>
  [...config.targets.values()].filter((target) => !target.appendOnly).map(({ name }) => name);
