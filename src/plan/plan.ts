/** The plan: the difference between what is declared and what exists, as a list of actions. A value; performing it is the engine's. */
import type { Config, JobMode } from "../config/config.ts";
import { planBackups } from "./backups.ts";
import { planChanges } from "./changes.ts";
import { guardOf } from "./guards.ts";
import { isReadable } from "./observed.ts";
import type { Observed, ObservedSnapshot, RetentionRules } from "./observed.ts";
import { planRetention } from "./removals.ts";

/** The last slot of a schedule, and how it was meant. */
export interface ScheduleSlot {
  /** For people. */
  readonly text: string;
  readonly mode: JobMode;
  /** The newest slot at or before now; undefined when there never was one. */
  readonly lastMs: number | undefined;
  /** The one before that. */
  readonly previousMs: number | undefined;
  readonly catchUp: boolean;
  readonly jitterMs: number;
}

export interface JobSlots {
  readonly backup: readonly ScheduleSlot[];
  readonly verify: ScheduleSlot | undefined;
  /** The next runs, ascending. */
  readonly next: readonly { readonly timeMs: number; readonly mode: JobMode }[];
}

/** How long a verification or a prune that did not do is left alone. */
const TRY_AGAIN_MS = 3_600_000;

/** Schedules at one instant, from `scheduler/schedule.ts`. */
export interface Slots {
  readonly jobs: ReadonlyMap<string, JobSlots>;
  readonly maintenance: ScheduleSlot;
}

export interface CreateAction {
  readonly kind: "create";
  readonly target: string;
  /** In place of a repository that was pinned and is gone or another; only with `allowRecreate`. */
  readonly recreate: boolean;
}

export interface BackupAction {
  readonly kind: "backup";
  readonly job: string;
  /** `first`: no snapshot yet. `new`: a source or target without one. `overdue`: the slot passed while nothing ran. `retry`: it ran, and something is still missing. */
  readonly reason: "first" | "new" | "due" | "overdue" | "retry";
  /** For people. */
  readonly why: string;
  readonly mode: JobMode;
  /** Those that lack a snapshot for the slot. */
  readonly sources: readonly string[];
  readonly targets: readonly string[];
  /** The slot this makes up for; undefined for `first` and `new`. */
  readonly slotMs: number | undefined;
  readonly priority: number;
}

export interface VerifyAction {
  readonly kind: "verify";
  readonly job: string;
  readonly target: string;
  readonly why: string;
  /** Fraction [0–1] of the data to read. */
  readonly readData: number;
}

export interface RetentionAction {
  readonly kind: "retention";
  readonly job: string;
  readonly target: string;
  /** What to apply, and to note on the target as applied; undefined: nothing is removed any more. */
  readonly rules: RetentionRules | undefined;
  readonly remove: readonly { readonly snapshot: ObservedSnapshot; readonly reason: string }[];
  readonly keep: readonly { readonly snapshot: ObservedSnapshot; readonly reasons: readonly string[] }[];
  /** Stored bytes the removed snapshots once added: what pruning may free, no promise. */
  readonly removeBytes: number;
  /** True when maintenance is due; a daemon waits for that, `apply` does not. */
  readonly due: boolean;
  /** Why it waits for approval; undefined when it may go on. Nothing is removed while it is held. */
  readonly held: string | undefined;
}

export interface PruneAction {
  readonly kind: "prune";
  readonly target: string;
  readonly why: string;
}

/** A change of a target that someone must approve before the new configuration is accepted. */
export interface ChangeAction {
  readonly kind: "change";
  readonly change: "removed-target" | "changed-encryption" | "moved-target";
  readonly target: string;
  readonly why: string;
  readonly held: string | undefined;
}

export type Action = CreateAction | BackupAction | VerifyAction | RetentionAction | PruneAction | ChangeAction;

/** Something a plan will not do, or that someone should know. */
export interface PlanNote {
  readonly level: "info" | "warning" | "refusal";
  readonly job: string | undefined;
  readonly target: string | undefined;
  readonly text: string;
}

export interface Plan {
  /** 12 hex digits over what would be destroyed and under which rule; what an approval names. Undefined when nothing is held or approved. */
  readonly id: string | undefined;
  readonly nowMs: number;
  readonly timezone: string;
  /** In the order to perform them. */
  readonly actions: readonly Action[];
  readonly notes: readonly PlanNote[];
  /** The next runs by job, in the order of the file. */
  readonly next: ReadonlyMap<string, JobSlots["next"]>;
  /** Targets that are not to be pruned by themselves, and why. */
  readonly frozen: ReadonlyMap<string, string>;
  /** True when an approval named this plan. */
  readonly approved: boolean;
}

export interface PlanOptions {
  readonly nowMs: number;
  readonly slots: Slots;
  /** Plan ids approved on the command line; `approve:` of the configuration counts too. */
  readonly approved: readonly string[];
  /** Create anew where a pinned repository is gone or another. */
  readonly allowRecreate: boolean;
  /** Ignore failed attempts and their waits: someone asked. */
  readonly impatient?: boolean;
}

/**
 * Compares a configuration with what exists at `nowMs`. Pure: reads no clock, performs nothing, and gives the same plan for
 * the same input. What is held for approval is in the actions, marked; a caller performs only actions without `held`.
 * An unreachable target loses nothing: no removal is ever planned from what could not be read.
 */
export function makePlan(config: Config, observed: Observed, options: PlanOptions): Plan {
  const notes: PlanNote[] = [];
  const creates = planCreates(config, observed, options, notes);
  const approvedIds = new Set([...options.approved, ...(config.approve === undefined ? [] : [config.approve])]);
  const retention = planRetention(config, observed, options, notes);
  const frozen = frozenTargets(config, observed);
  const changes = planChanges(config, observed, retention, approvedIds);
  const actions: Action[] = [
    ...changes.changes,
    ...creates,
    ...planBackups(config, observed, options, notes),
    ...planVerifications(config, observed, options),
    ...changes.retention,
    ...planPrunes(config, observed, options, frozen, notes),
  ];
  const next = new Map([...config.jobs.keys()].map((job) => [job, options.slots.jobs.get(job)?.next ?? []]));
  return {
    id: changes.id,
    nowMs: options.nowMs,
    timezone: config.daemon.timezone,
    actions,
    notes,
    next,
    frozen,
    approved: changes.approved,
  };
}

/** The actions of a plan that wait for an approval. */
export function heldActions(plan: Pick<Plan, "actions">): (RetentionAction | ChangeAction)[] {
  return plan.actions
    .filter((action) => action.kind === "retention" || action.kind === "change")
    .filter(({ held }) => held !== undefined);
}

/** True when performing the plan would change anything, held or not. A retention that removes nothing only takes a note. */
export function hasChanges(plan: Pick<Plan, "actions">): boolean {
  return plan.actions.some((action) => action.kind !== "retention" || action.remove.length > 0);
}

function planCreates(config: Config, observed: Observed, options: PlanOptions, notes: PlanNote[]): CreateAction[] {
  const actions: CreateAction[] = [];
  const used = new Set([...config.jobs.values()].flatMap((job) => job.targets.map(({ target }) => target.name)));
  for (const name of config.targets.keys()) {
    const target = observed.targets.get(name);
    if (!target || !used.has(name)) continue;
    const note = (level: PlanNote["level"], text: string): number => notes.push({ level, job: undefined, target: name, text });
    const because = target.error === undefined ? "" : `: ${target.error}`;
    if (!target.reachable) note("warning", `target ${name} cannot be reached${because}`);
    else if (target.repository === "missing") actions.push({ kind: "create", target: name, recreate: false });
    else if (target.repository === "changed" && options.allowRecreate)
      actions.push({ kind: "create", target: name, recreate: true });
    else if (target.repository === "changed")
      note("refusal", `target ${name} does not hold the repository it held before${because}; --allow recreate begins a new one`);
    else if (target.repository === "unreadable") note("refusal", `the repository on target ${name} cannot be read${because}`);
  }
  return actions;
}

function planVerifications(config: Config, observed: Observed, options: PlanOptions): VerifyAction[] {
  const actions: VerifyAction[] = [];
  for (const job of config.jobs.values()) {
    const slot = options.slots.jobs.get(job.name)?.verify;
    if (!job.enabled || observed.paused.has(job.name) || slot?.lastMs === undefined) continue;
    for (const { target } of job.targets) {
      const there = observed.targets.get(target.name);
      if (!there || !isReadable(there)) continue;
      const names = new Set([job.name, ...job.formerly]);
      const taken = there.snapshots.filter((one) => one.host === config.host && names.has(one.job)).map((one) => one.timeMs);
      const last = there.verifications.get(job.name)?.timeMs;
      const trusted = last !== undefined && last <= options.nowMs ? last : undefined;
      if (taken.length === 0 || slot.lastMs <= (trusted ?? Math.min(...taken))) continue;
      if (wasJustTried(observed, "verify", job.name, target.name, slot.lastMs, options)) continue;
      const why = trusted === undefined ? "never verified" : `last verified before the slot of ${slot.text}`;
      actions.push({ kind: "verify", job: job.name, target: target.name, why, readData: job.verify.readData });
    }
  }
  return actions;
}

function planPrunes(
  config: Config,
  observed: Observed,
  options: PlanOptions,
  frozen: ReadonlyMap<string, string>,
  notes: PlanNote[],
): PruneAction[] {
  const slot = options.slots.maintenance.lastMs;
  const actions: PruneAction[] = [];
  for (const target of config.targets.values()) {
    const there = observed.targets.get(target.name);
    if (slot === undefined || !there || !isReadable(there) || there.snapshots.length === 0 || target.appendOnly) continue;
    const last = there.lastPruneMs !== undefined && there.lastPruneMs <= options.nowMs ? there.lastPruneMs : undefined;
    const since = last ?? Math.min(...there.snapshots.map((one) => one.timeMs));
    if (slot <= since || wasJustTried(observed, "prune", target.name, target.name, slot, options)) continue;
    const reason = frozen.get(target.name);
    if (reason !== undefined)
      notes.push({
        level: "refusal",
        job: undefined,
        target: target.name,
        text: `target ${target.name} is not pruned: ${reason}`,
      });
    else
      actions.push({
        kind: "prune",
        target: target.name,
        why: last === undefined ? "never pruned" : `due by ${options.slots.maintenance.text}`,
      });
  }
  return actions;
}

function frozenTargets(config: Config, observed: Observed): Map<string, string> {
  const frozen = new Map<string, string>();
  for (const target of observed.targets.values()) {
    for (const job of config.jobs.values()) {
      if (!job.enabled || !job.targets.some((entry) => entry.target.name === target.name)) continue;
      const reason = guardOf(config, job, target, observed);
      if (reason !== undefined && !frozen.has(target.name)) frozen.set(target.name, `job ${job.name}: ${reason}`);
    }
  }
  return frozen;
}

/**
 * Whether it runs, or was tried for this slot within the hour, or cancelled: what fails again and again is not worth every minute,
 * and what someone has stopped waits for its next slot. Who asks (`impatient`) does not wait.
 */
function wasJustTried(
  observed: Observed,
  kind: "verify" | "prune",
  subject: string,
  target: string,
  slotMs: number,
  { nowMs, impatient }: PlanOptions,
): boolean {
  return observed.runs.some((run) => {
    if (run.kind !== kind || run.subject !== subject || !(run.targets?.includes(target) ?? true)) return false;
    if (run.endedMs === undefined) return true;
    if (impatient === true || run.startedMs < slotMs || run.status === "skipped" || run.status === "interrupted") return false;
    return run.status === "cancelled" || nowMs - run.endedMs < TRY_AGAIN_MS;
  });
}
