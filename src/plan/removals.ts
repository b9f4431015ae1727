/** What retention would delete on each target, and whether that is more than anyone agreed to. */
import type { Config, JobConfig, JobTargetConfig } from "../config/config.ts";
import { guardOf } from "./guards.ts";
import { isReadable } from "./observed.ts";
import type { NotedPolicy, Observed, ObservedTarget, RetentionRules } from "./observed.ts";
import type { PlanNote, PlanOptions, RetentionAction } from "./plan.ts";
import { selectForRetention } from "./retention.ts";
import type { RetentionContext, RetentionSelection } from "./retention.ts";

/** Without a noted policy, removing more than this share of a job's snapshots on a target needs approval … */
const SHARE_WITHOUT_APPROVAL = 0.2;
/** … and so does removing more than this many. */
const COUNT_WITHOUT_APPROVAL = 10;

/** A retention, and what makes it need an approval. */
export interface RetentionProposal {
  readonly action: RetentionAction;
  readonly noted: NotedPolicy | undefined;
  /** Why someone must approve it; undefined when nobody must. */
  readonly loosened: string | undefined;
}

/**
 * One proposal for each job and target where something is to be removed or the rules are not those noted. Only snapshots of this host,
 * of enabled jobs and of sources they still have; a target that is append-only for this host, or cannot be read, gets none.
 */
export function planRetention(config: Config, observed: Observed, options: PlanOptions, notes: PlanNote[]): RetentionProposal[] {
  const proposals: RetentionProposal[] = [];
  for (const job of config.jobs.values()) {
    if (!job.enabled) continue;
    for (const entry of job.targets) {
      const there = observed.targets.get(entry.target.name);
      if (!there || !isReadable(there) || entry.target.appendOnly) continue;
      const proposal = propose(config, job, entry, there, observed, options, notes);
      if (proposal) proposals.push(proposal);
    }
  }
  return proposals;
}

function propose(
  config: Config,
  job: JobConfig,
  { target, retention: rules }: JobTargetConfig,
  there: ObservedTarget,
  observed: Observed,
  options: PlanOptions,
  notes: PlanNote[],
): RetentionProposal | undefined {
  const names = new Set([job.name, ...job.formerly]);
  const sources = new Set(job.sources.map(({ name }) => name));
  const snapshots = there.snapshots.filter((one) => one.host === config.host && names.has(one.job) && sources.has(one.source));
  if (snapshots.length === 0) return undefined;
  const context: RetentionContext = {
    nowMs: options.nowMs,
    timezone: config.daemon.timezone,
    targetSkewMs: there.clockSkewMs,
    guards: { clockMs: config.guards.clockMs },
    formerly: new Map(job.formerly.map((name) => [name, job.name])),
    frozen: guardOf(config, job, there, observed),
  };
  const selection = selectForRetention(snapshots, rules, context);
  if (selection.refused !== undefined) {
    notes.push({
      level: "refusal",
      job: job.name,
      target: target.name,
      text: `retention of job ${job.name} on target ${target.name} is stopped: ${selection.refused}`,
    });
    return undefined;
  }
  const noted = there.policies.get(job.name);
  const isNoted = noted ? sameRules(noted.rules, rules) : rules === undefined;
  if (selection.remove.length === 0 && isNoted) return undefined;
  const lastPruneMs = there.lastPruneMs ?? -Infinity;
  const slotMs = options.slots.maintenance.lastMs;
  const action: RetentionAction = {
    kind: "retention",
    job: job.name,
    target: target.name,
    rules,
    keep: selection.keep,
    remove: selection.remove,
    removeBytes: selection.remove.reduce((sum, { snapshot }) => sum + snapshot.storedBytes, 0),
    due: slotMs !== undefined && (slotMs > lastPruneMs || lastPruneMs > options.nowMs),
    held: undefined,
  };
  return { action, noted, loosened: looser(selection, noted, context) };
}

function looser(selection: RetentionSelection, noted: NotedPolicy | undefined, context: RetentionContext): string | undefined {
  const removed = selection.remove.length;
  if (removed === 0) return undefined;
  if (noted) {
    const all = [...selection.keep, ...selection.remove].map(({ snapshot }) => snapshot);
    const agreed = new Set(selectForRetention(all, noted.rules, context).remove.map(({ snapshot }) => snapshot));
    const more = selection.remove.filter(({ snapshot }) => !agreed.has(snapshot)).length;
    return more === 0
      ? undefined
      : `the retention was changed: it removes ${more} of ${removed + selection.keep.length} that the one applied before keeps`;
  }
  const total = removed + selection.keep.length;
  if (removed <= COUNT_WITHOUT_APPROVAL && removed <= total * SHARE_WITHOUT_APPROVAL) return undefined;
  return `no retention was applied here before, and this one removes ${removed} of ${total} snapshots`;
}

/** True when two policies say the same; a rule of 0 is one not given. */
export function sameRules(a: RetentionRules | undefined, b: RetentionRules | undefined): boolean {
  return canonicalRules(a) === canonicalRules(b);
}

/** The rules as one text: equal exactly when the rules are. */
export function canonicalRules(rules: RetentionRules | undefined): string {
  if (rules === undefined) return "none";
  const { keepLast, keepHourly, keepDaily, keepWeekly, keepMonthly, keepYearly, keepWithinMs, keepTags, maxAgeMs, maxCount } =
    rules;
  const counts = [keepLast, keepHourly, keepDaily, keepWeekly, keepMonthly, keepYearly].map((count) => count || null);
  return JSON.stringify([...counts, keepWithinMs ?? null, [...new Set(keepTags)].toSorted(), maxAgeMs ?? null, maxCount ?? null]);
}
