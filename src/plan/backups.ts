/**
 * Which jobs are due. Decided from the snapshots on the targets, for each pair of source and target; runs in the state
 * store only tell what was tried in vain, so that a failing job waits between attempts and then for its next slot.
 */
import { formatDuration } from "../base/duration.ts";
import type { Config, JobConfig, JobMode } from "../config/config.ts";
import { isReadable } from "./observed.ts";
import type { Observed, ObservedRun, ObservedTarget } from "./observed.ts";
import { PRE_RESTORE_TAG } from "./retention.ts";
import type { BackupAction, PlanNote, PlanOptions, ScheduleSlot } from "./plan.ts";
import { formatSlot } from "./zone.ts";

/** A slot this old was missed: nothing was running when it came. */
const LATE_MS = 5 * 60_000;
const BELIEVED_RUNNING_MS = 24 * 3_600_000;

interface Pair {
  readonly source: string;
  readonly target: string;
  /** Undefined when there is none; infinite when the target cannot be read, so that nothing is concluded from it. */
  readonly newestMs: number | undefined;
}

/** One action for each job that has something to do, highest priority first; reasons for waiting go to `notes`. */
export function planBackups(config: Config, observed: Observed, options: PlanOptions, notes: PlanNote[]): BackupAction[] {
  const actions: BackupAction[] = [];
  for (const job of config.jobs.values()) {
    if (!job.enabled || job.schedules.length === 0) continue;
    const info = (text: string): number => notes.push({ level: "info", job: job.name, target: undefined, text });
    if (observed.paused.has(job.name)) info(`job ${job.name} is paused`);
    else if (isRunning(job, observed, options.nowMs)) info(`job ${job.name} is running`);
    else {
      const action = planBackup(config, job, observed, options, info);
      if (action) actions.push(action);
    }
  }
  return actions.toSorted((a, b) => b.priority - a.priority);
}

function planBackup(
  config: Config,
  job: JobConfig,
  observed: Observed,
  options: PlanOptions,
  info: (text: string) => void,
): BackupAction | undefined {
  const { nowMs } = options;
  const slots = options.slots.jobs.get(job.name)?.backup ?? [];
  const usable = job.targets.map(({ target }) => target).filter(({ name }) => isUsable(observed.targets.get(name), options));
  const pairs = job.sources.flatMap(({ name: source }) =>
    usable.map(({ name: target }) => pairOf(config, job, observed, source, target, nowMs)),
  );
  if (pairs.length === 0) return undefined;
  const missing = pairs.filter(({ newestMs }) => newestMs === undefined);
  const missed = slots.filter((slot) => isMissed(slot, pairs, job, observed, nowMs));
  const lastSlot = Math.max(-Infinity, ...missed.map(({ lastMs }) => lastMs ?? -Infinity));
  const stale = pairs.filter(({ newestMs }) => newestMs === undefined || newestMs < lastSlot);
  if (missing.length === 0 && missed.length === 0) return undefined;

  // A target that cannot be read joins a run that is due anyway: by then it may be back.
  const unknown = missed.length === 0 ? [] : pairs.filter(({ newestMs }) => newestMs === Infinity);
  const wanted = [...stale, ...unknown];
  const inFile = <T extends { readonly name: string }>(all: readonly T[], some: readonly string[]): string[] =>
    all.filter(({ name }) => some.includes(name)).map(({ name }) => name);
  const targets = inFile(
    usable,
    wanted.map(({ target }) => target),
  );
  const sources = inFile(
    job.sources,
    wanted.map(({ source }) => source),
  );

  const newestSlot = Math.max(-Infinity, ...slots.map(({ lastMs }) => lastMs ?? -Infinity));
  const tried = options.impatient ? [] : attemptsSince(newestSlot, job, observed, targets, nowMs);
  const wait = waitFor(tried, job);
  if (wait !== undefined && wait > nowMs) {
    if (wait === Infinity)
      info(
        `job ${job.name} ended ${tried.at(-1)?.status} and ${tried.length > 1 ? `was tried ${tried.length} times` : "is not tried again"}; it waits for its next slot`,
      );
    else info(`job ${job.name} ended ${tried.at(-1)?.status}; next attempt in ${formatDuration(wait - nowMs)}`);
    return undefined;
  }

  const [reason, why] = explain(job, pairs, missing, lastSlot, tried, config.daemon.timezone, nowMs);
  const mode = missed.map((slot) => slot.mode).reduce(stronger, missed.length === 0 ? job.mode : "incremental");
  const slotMs = reason === "first" || reason === "new" || lastSlot === -Infinity ? undefined : lastSlot;
  return { kind: "backup", job: job.name, reason, why, mode, sources, targets, slotMs, priority: job.priority };
}

function explain(
  job: JobConfig,
  pairs: readonly Pair[],
  missing: readonly Pair[],
  slotMs: number,
  tried: readonly ObservedRun[],
  timezone: string,
  nowMs: number,
): [BackupAction["reason"], string] {
  if (tried.length > 0 && tried.at(-1)?.status !== "success")
    return ["retry", `attempt ${tried.length + 1} of ${job.retry.attempts}; the last ended ${tried.at(-1)?.status}`];
  if (missing.length === pairs.length) return ["first", "no snapshot yet"];
  if (slotMs === -Infinity)
    return ["new", `no snapshot of ${missing.map(({ source, target }) => `${source} on ${target}`).join(", ")}`];
  const lateMs = nowMs - slotMs;
  if (lateMs > LATE_MS) return ["overdue", `missed its slot of ${formatSlot(slotMs, timezone)}, ${formatDuration(lateMs)} ago`];
  return ["due", `slot of ${formatSlot(slotMs, timezone)}`];
}

/** False for a repository that is another, or broken: writing to it waits for a person, the other targets do not. */
function isUsable(target: ObservedTarget | undefined, options: PlanOptions): boolean {
  if (target?.repository === "changed") return target.reachable && options.allowRecreate;
  return target?.repository !== "unreadable" || !target.reachable;
}

function pairOf(config: Config, job: JobConfig, observed: Observed, source: string, target: string, nowMs: number): Pair {
  const there = observed.targets.get(target);
  if (there?.reachable && (there.repository === "missing" || there.repository === "changed"))
    return { source, target, newestMs: undefined };
  if (!there || !isReadable(there)) return { source, target, newestMs: Infinity };
  const names = new Set([job.name, ...job.formerly]);
  let newestMs: number | undefined;
  for (const one of there.snapshots) {
    if (one.host !== config.host || one.source !== source || !names.has(one.job)) continue;
    // A safety copy holds what a restore was about to change, not the source.
    if (one.tags.includes(PRE_RESTORE_TAG)) continue;
    // A snapshot from the future came from a wrong clock: it must not keep a job waiting until then.
    if (one.timeMs > nowMs + config.guards.clockMs) continue;
    newestMs = Math.max(newestMs ?? -Infinity, one.timeMs);
  }
  return { source, target, newestMs };
}

/** True when a slot has passed and some pair has no snapshot since. Where no target can be read, runs must tell. */
function isMissed(slot: ScheduleSlot, pairs: readonly Pair[], job: JobConfig, observed: Observed, nowMs: number): boolean {
  const at = slot.lastMs;
  if (at === undefined || (!slot.catchUp && nowMs - at > slot.jitterMs + LATE_MS)) return false;
  const known = pairs.filter(({ newestMs }) => newestMs !== Infinity);
  if (known.length > 0) return known.some(({ newestMs }) => newestMs !== undefined && newestMs < at);
  return !runsOf(job, observed).some(
    (run) => run.startedMs >= at && run.startedMs <= nowMs && run.status !== "failed" && run.status !== "interrupted",
  );
}

/** Ended runs since a slot that were for any of these targets, oldest first. Skipped runs were no attempt. */
function attemptsSince(
  slotMs: number,
  job: JobConfig,
  observed: Observed,
  targets: readonly string[],
  nowMs: number,
): ObservedRun[] {
  return runsOf(job, observed)
    .filter((run) => run.startedMs >= slotMs && run.startedMs <= nowMs && run.status !== "skipped")
    .filter((run) => run.targets === undefined || run.targets.some((name) => targets.includes(name)))
    .toSorted((a, b) => a.startedMs - b.startedMs);
}

/** When the next attempt may begin; infinite: not before the next slot; undefined: at once. */
function waitFor(tried: readonly ObservedRun[], job: JobConfig): number | undefined {
  const last = tried.at(-1);
  if (!last) return undefined;
  if (tried.length >= job.retry.attempts || last.status === "cancelled") return Infinity;
  return (last.endedMs ?? last.startedMs) + backoffMs(job.retry, tried.length);
}

/** The wait after the `attempt`-th failed attempt (from 1): doubles from the shortest to the longest. */
export function backoffMs(retry: JobConfig["retry"], attempt: number): number {
  return Math.min(retry.backoffMaxMs, retry.backoffMinMs * 2 ** (attempt - 1));
}

/** A run without an end may be one that died where nobody could see it: after a day it is no longer believed. */
function isRunning(job: JobConfig, observed: Observed, nowMs: number): boolean {
  const longestMs = Math.max(job.timeoutMs ?? 0, BELIEVED_RUNNING_MS);
  return runsOf(job, observed).some(
    (run) => run.endedMs === undefined && run.startedMs <= nowMs && nowMs - run.startedMs < longestMs,
  );
}

function runsOf(job: JobConfig, observed: Observed): ObservedRun[] {
  return observed.runs.filter((run) => run.kind === "backup" && run.subject === job.name);
}

function stronger(a: JobMode, b: JobMode): JobMode {
  const order: readonly JobMode[] = ["incremental", "differential", "full"];
  return order.indexOf(b) > order.indexOf(a) ? b : a;
}
