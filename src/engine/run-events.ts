import { formatDuration } from "../base/duration.ts";
import type { ErrorWire } from "../base/errors.ts";
import type { EventType, RunKind, RunStatus } from "../base/events.ts";
import type { RunId } from "../base/ids.ts";
import type { Config } from "../config/config.ts";
import { eventIdOf, makeEvent, type StoredEvent } from "../plan/events.ts";
import type { RunRecord, State } from "../state/state.ts";

const DAY_MS = 86_400_000;
/** A run that began earlier is looked for no more. */
const LONGEST_RUN_MS = 60 * DAY_MS;

/** What is known of a run when it begins. */
export interface BegunRun {
  readonly id: RunId;
  readonly kind: RunKind;
  readonly subject: string;
  readonly startedMs: number;
  readonly reason?: string | undefined;
  readonly targets?: readonly string[] | undefined;
  /** The job it is about, when the subject does not name it. */
  readonly job?: string | undefined;
}

export interface EndedRun {
  readonly status: RunStatus;
  readonly endedMs: number;
  readonly error?: ErrorWire | undefined;
  readonly statistics?: Readonly<Record<string, unknown>> | undefined;
}

/** What people may be told when a run begins; nothing for most kinds. */
export function eventsOfStart(config: Config, run: BegunRun): StoredEvent[] {
  if (run.kind !== "backup") return [];
  return [eventOf(config, run, "backup_started", `Backup of ${run.subject} started on ${config.host}`, run.startedMs, {})];
}

/** What people may be told when a run has ended. Nothing of one that somebody cancelled, or that was skipped. */
export function eventsOfEnd(config: Config, run: BegunRun, end: EndedRun): StoredEvent[] {
  const type = typeOf(run.kind, end.status);
  if (type === undefined) return [];
  const { status, endedMs, error, statistics } = end;
  const durationMs = Math.max(0, endedMs - run.startedMs);
  const verb = type.endsWith("_completed") ? "completed" : type === "backup_partial" ? "is partial" : "failed";
  const how =
    status === "interrupted"
      ? ": its process died"
      : error === undefined
        ? ` after ${formatDuration(durationMs)}${status === "partial" && verb === "failed" ? ": it is partial" : ""}`
        : `: ${error.message}`;
  const what = { backup: "Backup", restore: "Restore", verify: "Verification", prune: "Prune", repair: "Repair", apply: "Apply" };
  const summary = `${what[run.kind]} of ${run.subject} ${verb} on ${config.host}${how}`;
  return [
    eventOf(config, run, type, summary, endedMs, {
      status,
      endTime: new Date(endedMs).toISOString(),
      durationMs,
      ...(error !== undefined && { error: { code: error.code, message: error.message, hint: error.hint ?? null } }),
      ...(statistics !== undefined && { statistics }),
    }),
  ];
}

function typeOf(kind: RunKind, status: RunStatus): EventType | undefined {
  if (status === "cancelled" || status === "skipped") return undefined;
  const completed = status === "success";
  switch (kind) {
    case "backup":
      return completed ? "backup_completed" : status === "partial" ? "backup_partial" : "backup_failed";
    // What is not whole is no success: these have no name for the half.
    case "verify":
      return completed ? "verify_completed" : "verify_failed";
    case "prune":
      return completed ? "prune_completed" : "prune_failed";
    case "restore":
      return completed ? "restore_completed" : "restore_failed";
    case "repair":
    case "apply":
      return undefined;
  }
}

function eventOf(
  config: Config,
  run: BegunRun,
  type: EventType,
  summary: string,
  timeMs: number,
  end: Readonly<Record<string, unknown>>,
): StoredEvent {
  const name = run.job ?? run.subject;
  const job = run.kind === "prune" ? undefined : config.jobs.get(name);
  return makeEvent(config, eventIdOf(run.id, type), {
    type,
    timeMs,
    summary,
    jobs: job === undefined ? [] : [job.name],
    targets: run.targets ?? job?.targets.map(({ target }) => target.name) ?? [],
    run: run.id,
    details: {
      run: {
        id: run.id,
        kind: run.kind,
        subject: run.subject,
        reason: run.reason ?? null,
        startTime: new Date(run.startedMs).toISOString(),
        ...end,
      },
    },
  });
}

/**
 * Stores what nobody could say at the time: that the process of a run died. Only of the last day, so that a receiver that is
 * new is not told old stories. Saying it twice is no harm: an event of a run is stored once.
 */
export function recordInterrupted(config: Config, state: State, nowMs: number): void {
  const runs = state
    .runs({ status: "interrupted", since: nowMs - LONGEST_RUN_MS, limit: 1000 })
    .filter(({ endedMs = 0 }) => endedMs >= nowMs - DAY_MS);
  for (const run of runs.toReversed()) for (const event of eventsOfEnd(config, run, endOf(run))) state.recordEvent(event);
}

function endOf(run: RunRecord): EndedRun {
  return {
    status: run.status ?? "interrupted",
    endedMs: run.endedMs ?? run.startedMs,
    error: run.error,
    statistics: run.statistics,
  };
}
