/** What should hold all the time, whether anything runs or not: objectives, schedules, targets that can be reached. */
import type { EventType } from "../base/events.ts";
import type { Config } from "../config/config.ts";
import { evaluateOverdue, type ObjectiveResult } from "./objectives.ts";
import type { Observed } from "./observed.ts";
import type { Slots } from "./plan.ts";

export interface Condition {
  /** The same for the same condition, over restarts. */
  readonly key: string;
  readonly holds: boolean;
  /** One line for people, of the state as it is. */
  readonly summary: string;
  /** What is told when it ceases to hold. */
  readonly broken: EventType;
  /** What is told when it holds again; undefined when another event tells that. */
  readonly mended: EventType | undefined;
  readonly jobs: readonly string[];
  readonly targets: readonly string[];
  /** When it ceases to hold if nothing happens, where that is known. */
  readonly untilMs: number | undefined;
}

/** A condition as it was found last. */
export interface KnownCondition {
  readonly holds: boolean;
  /** When it was found so first. */
  readonly sinceMs: number;
}

export interface ConditionChange {
  readonly condition: Condition;
  readonly event: EventType | undefined;
}

/** One for each objective, schedule and target of a configuration. */
export function conditionsOf(
  config: Config,
  observed: Observed,
  objectives: readonly ObjectiveResult[],
  slots: Slots,
  nowMs: number,
): Condition[] {
  const targetsOf = (job: string): string[] => config.jobs.get(job)?.targets.map(({ target }) => target.name) ?? [];
  return [
    ...objectives.map(({ job, objective, met, reason, untilMs }): Condition => ({
      key: `objective ${job} ${objective}`,
      holds: met,
      summary: met
        ? `Job ${job} meets its objective ${objective}: ${reason}`
        : `Job ${job} misses its objective ${objective}: ${reason}`,
      broken: "objective_missed",
      mended: "objective_met",
      jobs: [job],
      targets: targetsOf(job),
      untilMs,
    })),
    ...evaluateOverdue(config, observed, slots, nowMs).map(({ job, overdue, reason }): Condition => ({
      key: `schedule ${job}`,
      holds: !overdue,
      summary: overdue ? `Job ${job} is overdue: ${reason}` : `Job ${job} is on schedule`,
      broken: "backup_overdue",
      mended: undefined,
      jobs: [job],
      targets: targetsOf(job),
      untilMs: undefined,
    })),
    ...[...observed.targets.values()].map(({ name, reachable, error }): Condition => ({
      key: `target ${name}`,
      holds: reachable,
      summary: reachable
        ? `Target ${name} can be reached`
        : `Target ${name} cannot be reached${error === undefined ? "" : `: ${error}`}`,
      broken: "target_unreachable",
      mended: "target_recovered",
      jobs: [],
      targets: [name],
      untilMs: undefined,
    })),
    ...[...observed.targets.values()].flatMap(({ name, usedShare }): Condition[] => {
      const limit = config.targets.get(name)?.capacityWarning;
      if (usedShare === undefined || limit === undefined) return [];
      const full = `Target ${name} is ${Math.floor(usedShare * 100)} % full`;
      return [
        {
          key: `capacity ${name}`,
          holds: usedShare < limit,
          summary: usedShare < limit ? `${full} only` : full,
          broken: "target_capacity_low",
          mended: undefined,
          jobs: [],
          targets: [name],
          untilMs: undefined,
        },
      ];
    }),
  ];
}

/**
 * Which conditions changed since they were `known`, and what is known now. One that is new and holds is no change; what is no longer
 * declared is forgotten.
 */
export function changesOf(
  conditions: readonly Condition[],
  known: Readonly<Record<string, KnownCondition>>,
  nowMs: number,
): { readonly changes: readonly ConditionChange[]; readonly now: Readonly<Record<string, KnownCondition>> } {
  const changes: ConditionChange[] = [];
  const now: Record<string, KnownCondition> = {};
  for (const condition of conditions) {
    const { key, holds } = condition;
    const before = Object.hasOwn(known, key) ? known[key] : undefined;
    now[key] = before?.holds === holds ? before : { holds, sinceMs: nowMs };
    if (before?.holds === holds || (before === undefined && holds)) continue;
    changes.push({ condition, event: holds ? condition.mended : condition.broken });
  }
  return { changes, now };
}
