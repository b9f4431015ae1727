/**
 * What planning needs to know of the world, as plain values. A format's own snapshot description satisfies
 * `ObservedSnapshot` structurally. Nothing here comes from the state folder alone: deleting it costs no correctness.
 */
import type { RunKind, RunStatus } from "../base/events.ts";
import type { JobMode, RetentionConfig } from "../config/config.ts";

export interface ObservedSnapshot {
  readonly id: string;
  readonly host: string;
  readonly job: string;
  readonly source: string;
  readonly sourceType: string;
  /** Start of the reading by the host's clock, milliseconds since 1970. */
  readonly timeMs: number;
  readonly mode: JobMode;
  readonly status: "success" | "partial";
  readonly sourceBytes: number;
  /** Raw bytes of what the target did not hold. */
  readonly newBytes: number;
  readonly storedBytes: number;
  readonly tags: readonly string[];
  /** Held until this time (ms), for ever (`true`), or not (`false`). */
  readonly hold: number | boolean;
  /** The target's own time of the snapshot object, where it has one. */
  readonly objectTimeMs: number | undefined;
}

/** The rules of a retention; its name does not matter. */
export type RetentionRules = Omit<RetentionConfig, "name">;

/** The retention that was last applied to a job on a target, as it was noted there. */
export interface NotedPolicy {
  readonly timeMs: number;
  /** Undefined: nothing was to be deleted. */
  readonly rules: RetentionRules | undefined;
}

export interface ObservedVerification {
  readonly timeMs: number;
  readonly ok: boolean;
}

export interface ObservedTarget {
  readonly name: string;
  readonly reachable: boolean;
  /** `missing`: never seen here. `changed`: not the one that was pinned (empty, other or older). */
  readonly repository: "present" | "missing" | "changed" | "unreadable";
  /** Why it is unreachable, changed or unreadable, for people. */
  readonly error: string | undefined;
  /** All hosts and jobs, in any order; empty where unknown. */
  readonly snapshots: readonly ObservedSnapshot[];
  /** The newest verification by job. */
  readonly verifications: ReadonlyMap<string, ObservedVerification>;
  readonly lastPruneMs: number | undefined;
  /** The last applied retention by job. */
  readonly policies: ReadonlyMap<string, NotedPolicy>;
  /** Target time minus local time; undefined where the target has no clock of its own. */
  readonly clockSkewMs: number | undefined;
  /** How full it is, of its `maxSize` or its medium [0–1]; undefined where nobody can tell. */
  readonly usedShare: number | undefined;
  /** The same in bytes; for people only. */
  readonly usedBytes?: number | undefined;
  readonly capacityBytes?: number | undefined;
}

/** A run that the state store remembers. Refines what is due; decides nothing alone. */
export interface ObservedRun {
  readonly kind: RunKind;
  /** The job, or the target of a prune. */
  readonly subject: string;
  readonly startedMs: number;
  /** Undefined while it runs. */
  readonly endedMs: number | undefined;
  readonly status: RunStatus | undefined;
  /** The targets it was for; undefined: all. */
  readonly targets: readonly string[] | undefined;
}

/** A target as the last accepted configuration had it. */
export interface AcceptedTarget {
  readonly name: string;
  readonly location: string;
  /** Name of its encryption; undefined for none. */
  readonly encryption: string | undefined;
  /** When that configuration was accepted: an approval of its change fits once. */
  readonly acceptedMs: number;
}

export interface Observed {
  readonly targets: ReadonlyMap<string, ObservedTarget>;
  readonly runs: readonly ObservedRun[];
  /** Jobs that someone paused. */
  readonly paused: ReadonlySet<string>;
  /** Targets of the last accepted configuration; empty when none is known. */
  readonly accepted: readonly AcceptedTarget[];
}

/** True when what a target holds is known. */
export function isReadable(target: ObservedTarget): boolean {
  return target.reachable && target.repository === "present";
}
