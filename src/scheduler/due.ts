import type { RunStatus } from "../base/events.ts";
import type { Config, JobMode } from "../config/config.ts";

/** Something to run, as the scheduler hands it over. */
export interface Due {
  readonly kind: "backup" | "verify" | "prune";
  /** The job; for a prune the target. */
  readonly subject: string;
  /** `slot`: on time. `missed`: made up for. `plan`: the plan asked for it. `start`: `onStart`. `asked`: a person or the API. */
  readonly reason: "slot" | "missed" | "plan" | "retry" | "start" | "asked";
  /** For people. */
  readonly why: string;
  readonly mode: JobMode;
  /** Undefined: all that the job has when it starts. */
  readonly sources: readonly string[] | undefined;
  readonly targets: readonly string[] | undefined;
  readonly slotMs: number | undefined;
  /** Counts from 1. */
  readonly attempt: number;
}

/** A due run as it starts: with the configuration it keeps to its end. */
export interface StartedDue extends Due {
  readonly config: Config;
}

export type SchedulerEvent =
  | { readonly type: "queued"; readonly due: Due }
  /** Not run, and why; to be recorded as a run with this status. Of what was cancelled nothing is due before its next slot. */
  | {
      readonly type: "skipped";
      readonly status: "skipped" | "cancelled";
      readonly kind: Due["kind"];
      readonly subject: string;
      readonly slotMs: number | undefined;
      readonly timeMs: number;
      readonly reason: string;
    }
  /** Waits for a window to end, or, without a time, for the machine to be as asked; told once for each wait. */
  | { readonly type: "deferred"; readonly due: Due; readonly untilMs: number | undefined; readonly reason: string }
  | { readonly type: "started"; readonly due: StartedDue; readonly timeMs: number }
  | {
      readonly type: "ended";
      readonly due: StartedDue;
      readonly timeMs: number;
      readonly status: RunStatus;
      readonly error: unknown;
    }
  | { readonly type: "retry"; readonly due: Due; readonly afterMs: number };

/** What a schedule asks for. */
export function slotDue(
  kind: Due["kind"],
  subject: string,
  reason: Due["reason"],
  why: string,
  mode: JobMode,
  target: string | undefined,
  slotMs: number | undefined,
): Due {
  return {
    kind,
    subject,
    reason,
    why,
    mode,
    sources: undefined,
    targets: target === undefined ? undefined : [target],
    slotMs,
    attempt: 1,
  };
}

/** What may be waiting or running only once at a time: a job's backups, a verification of a job on a target, a prune of a target. */
export function dueKey(due: Pick<Due, "kind" | "subject"> & Partial<Pick<Due, "targets">>): string {
  return due.kind === "verify" ? `verify:${due.subject}:${due.targets?.join(",") ?? ""}` : `${due.kind}:${due.subject}`;
}
