/** Whether a job keeps its promises, from the snapshots that exist. */
import { formatDuration } from "../base/duration.ts";
import type { Config, JobConfig } from "../config/config.ts";
import { isReadable } from "./observed.ts";
import type { Observed, ObservedSnapshot } from "./observed.ts";
import type { Slots } from "./plan.ts";
import { isSuspicious } from "./retention.ts";

export interface ObjectiveResult {
  readonly job: string;
  readonly objective: "rpo" | "copies" | "offsite" | "verifiedWithin";
  readonly met: boolean;
  /** For people: what was promised and what is. */
  readonly reason: string;
  /** When a promise that is kept is broken if nothing happens; undefined where time alone breaks nothing. */
  readonly untilMs: number | undefined;
}

/**
 * One result for each objective that an enabled job declares, in the order of the file. Judges the worst source of a job, by successes of this
 * host: a partial snapshot keeps no promise, nor does one dated in the future. A target that cannot be read counts as holding
 * nothing, because nobody can prove otherwise.
 */
export function evaluateObjectives(config: Config, observed: Observed, nowMs: number): ObjectiveResult[] {
  return [...config.jobs.values()].filter((job) => job.enabled).flatMap((job) => evaluateJob(config, job, observed, nowMs));
}

interface Copy {
  readonly target: string;
  readonly offsite: boolean;
  readonly snapshot: ObservedSnapshot;
}

function evaluateJob(config: Config, job: JobConfig, observed: Observed, nowMs: number): ObjectiveResult[] {
  const { rpoMs, copies, offsite, verifiedWithinMs } = job.objectives;
  const bySource = job.sources.map(({ name }) => ({ name, copies: copiesOf(config, job, observed, name, nowMs) }));
  const results: ObjectiveResult[] = [];
  const oldestNewest = Math.min(...bySource.map(({ copies: held }) => Math.max(...held.map(({ snapshot }) => snapshot.timeMs))));
  const judge = (
    objective: ObjectiveResult["objective"],
    verdict: (source: string, held: readonly Copy[]) => string | undefined,
    good: string,
  ): void => {
    const failed = bySource.map((source) => verdict(source.name, source.copies)).filter((reason) => reason !== undefined);
    const met = failed.length === 0;
    const untilMs = met && rpoMs !== undefined ? oldestNewest + rpoMs : undefined;
    results.push({ job: job.name, objective, met, reason: met ? good : failed.join("; "), untilMs });
  };
  if (rpoMs !== undefined) {
    const promise = formatDuration(rpoMs);
    judge(
      "rpo",
      (source, held) => {
        if (held.length === 0) return `${source} has no successful snapshot`;
        const ageMs = nowMs - Math.max(...held.map(({ snapshot }) => snapshot.timeMs));
        return ageMs <= rpoMs
          ? undefined
          : `the newest success of ${source} is ${formatDuration(ageMs)} old, ${promise} was promised`;
      },
      `every source has a success of the last ${promise}`,
    );
  }
  // Copies are of the newest state: a target that still holds last month's is no copy of today's.
  const newest = (held: readonly Copy[]): Copy[] => {
    const newestMs = Math.max(...held.map(({ snapshot }) => snapshot.timeMs));
    return held.filter(({ snapshot }) => (rpoMs === undefined ? snapshot.timeMs === newestMs : nowMs - snapshot.timeMs <= rpoMs));
  };
  const counted = (objective: "copies" | "offsite", wanted: number, which: (copy: Copy) => boolean, what: string): void =>
    judge(
      objective,
      (source, held) => {
        const names = newest(held)
          .filter(which)
          .map(({ target }) => target);
        return names.length >= wanted
          ? undefined
          : `${source} has ${names.length} ${what}${names.length === 0 ? "" : ` (${names.join(", ")})`}, ${wanted} promised`;
      },
      `every source has at least ${wanted} ${what}`,
    );
  if (copies !== undefined) counted("copies", copies, () => true, "current copies");
  if (offsite !== undefined) counted("offsite", offsite, (copy) => copy.offsite, "current offsite copies");
  if (verifiedWithinMs !== undefined) results.push(judgeVerified(job, observed, verifiedWithinMs, nowMs));
  return results;
}

function judgeVerified(job: JobConfig, observed: Observed, withinMs: number, nowMs: number): ObjectiveResult {
  const problems: string[] = [];
  let oldestMs = Number.POSITIVE_INFINITY;
  for (const { target, required } of job.targets) {
    if (!required) continue;
    const last = observed.targets.get(target.name)?.verifications.get(job.name);
    oldestMs = Math.min(oldestMs, last?.timeMs ?? oldestMs);
    if (!last || last.timeMs > nowMs) problems.push(`never verified on ${target.name}`);
    else if (!last.ok) problems.push(`the last verification on ${target.name} failed`);
    else if (nowMs - last.timeMs > withinMs)
      problems.push(
        `last verified on ${target.name} ${formatDuration(nowMs - last.timeMs)} ago, ${formatDuration(withinMs)} promised`,
      );
  }
  const reason =
    problems.length === 0 ? `verified within ${formatDuration(withinMs)} on every required target` : problems.join("; ");
  const untilMs = problems.length === 0 && Number.isFinite(oldestMs) ? oldestMs + withinMs : undefined;
  return { job: job.name, objective: "verifiedWithin", met: problems.length === 0, reason, untilMs };
}

/** Whether a job is later than its own schedule allows. */
export interface OverdueResult {
  readonly job: string;
  readonly overdue: boolean;
  readonly reason: string;
}

/**
 * One result for each enabled job with a schedule, that nobody paused. Overdue is a job of which some source had no success of this host on any
 * target since the slot before the last: a whole interval has passed in vain, whatever the runs said.
 */
export function evaluateOverdue(config: Config, observed: Observed, slots: Slots, nowMs: number): OverdueResult[] {
  const results: OverdueResult[] = [];
  for (const job of config.jobs.values()) {
    const own = slots.jobs.get(job.name)?.backup ?? [];
    if (!job.enabled || observed.paused.has(job.name) || own.length === 0) continue;
    const sinceMs = Math.max(...own.map(({ previousMs }) => previousMs ?? Number.NEGATIVE_INFINITY));
    const late = job.sources
      .map(({ name }) => ({ name, newest: copiesOf(config, job, observed, name, nowMs).map(({ snapshot }) => snapshot.timeMs) }))
      // A source that never had one is about to get it: the plan says so.
      .filter(({ newest }) => newest.length > 0 && Math.max(...newest) < sinceMs)
      .map(({ name, newest }) => `the newest success of ${name} is ${formatDuration(nowMs - Math.max(...newest))} old`);
    results.push({ job: job.name, overdue: late.length > 0, reason: late.join("; ") || "on schedule" });
  }
  return results;
}

/** The newest honest success of a source on each target that can be read. */
function copiesOf(config: Config, job: JobConfig, observed: Observed, source: string, nowMs: number): Copy[] {
  const names = new Set([job.name, ...job.formerly]);
  return job.targets.flatMap(({ target }): Copy[] => {
    const there = observed.targets.get(target.name);
    if (!there || !isReadable(there)) return [];
    let newest: ObservedSnapshot | undefined;
    for (const one of there.snapshots) {
      const counts = one.host === config.host && one.source === source && names.has(one.job) && one.status === "success";
      if (!counts || isSuspicious(one) || one.timeMs > nowMs + config.guards.clockMs) continue;
      if (!newest || one.timeMs > newest.timeMs) newest = one;
    }
    return newest ? [{ target: target.name, offsite: target.offsite, snapshot: newest }] : [];
  });
}
