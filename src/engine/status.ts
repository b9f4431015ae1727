/** What a person wants to know at a glance, from the configuration and the state alone: no target is opened for it. */
import { HoldfastError, type ErrorWire } from "../base/errors.ts";
import type { Progress, RunKind, RunStatus } from "../base/events.ts";
import type { Config, JobConfig } from "../config/config.ts";
import type { ObjectiveResult } from "../plan/objectives.ts";
import { isReadable, type Observed } from "../plan/observed.ts";
import { PRE_RESTORE_TAG } from "../plan/retention.ts";
import { nextJobRuns, previousRun } from "../scheduler/schedule.ts";
import type { PendingApproval, RunRecord, State } from "../state/state.ts";
import type { Session } from "./session.ts";

const NOTE = "observed";
/** A run this much later than its slot is overdue; jitter comes on top. */
const OVERDUE_MS = 5 * 60_000;

export interface LastRun {
  readonly run: string;
  readonly status: RunStatus;
  readonly startedMs: number;
  readonly endedMs: number;
  readonly error: ErrorWire | undefined;
}

export interface JobReport {
  readonly job: string;
  readonly enabled: boolean;
  readonly paused: boolean;
  /** A run was asked for and has not begun. */
  readonly askedMs: number | undefined;
  /** The newest backup that ended; skipped ones are none. */
  readonly last: LastRun | undefined;
  /** Start of the newest success that is known here. */
  readonly lastSuccessMs: number | undefined;
  readonly nextMs: number | undefined;
  /** The slot that passed without a backup; undefined when none did. */
  readonly overdueSinceMs: number | undefined;
  /** As they were judged last; undefined where a backup has ended since, or they never were. */
  readonly objectives: readonly Pick<ObjectiveResult, "objective" | "met" | "reason">[] | undefined;
}

export interface TargetReport {
  readonly target: string;
  /** When it was last looked at; `unknown` when never. */
  readonly status: "ok" | "empty" | "changed" | "unreadable" | "unreachable" | "unknown";
  readonly error: string | undefined;
  readonly snapshots: number | undefined;
  /** As they were found last; undefined where nobody can tell. */
  readonly usedBytes?: number | undefined;
  readonly capacityBytes?: number | undefined;
  /** The newest verification of each job that the target notes. */
  readonly verified?: readonly { readonly job: string; readonly timeMs: number; readonly ok: boolean }[] | undefined;
}

export interface RunningReport {
  readonly run: string;
  readonly kind: RunKind;
  readonly subject: string;
  readonly startedMs: number;
  /** Where it is; undefined for the run of another process. */
  readonly progress: Progress | undefined;
}

export interface StatusReport {
  readonly timeMs: number;
  readonly timezone: string;
  readonly host: string;
  readonly config: string;
  readonly digest: string;
  readonly jobs: readonly JobReport[];
  readonly targets: readonly TargetReport[];
  /** When targets and objectives were looked at; undefined when never. */
  readonly observedMs: number | undefined;
  readonly pending: readonly PendingApproval[];
  readonly running: readonly RunningReport[];
}

interface Noted {
  readonly targets: readonly TargetReport[];
  readonly objectives: readonly ObjectiveResult[];
  /** Start of the newest success of the source that lags most, by job; null where a source has none. */
  readonly newest: Readonly<Record<string, number | null>>;
}

/** Keeps what was observed for `reportStatus`. A state that is busy or full is left alone: nothing depends on it. */
export function noteObserved(session: Session, observed: Observed, objectives: readonly ObjectiveResult[], nowMs: number): void {
  const { config, state } = session;
  const targets = [...observed.targets.values()].map((target): TargetReport => ({
    target: target.name,
    status: !target.reachable
      ? "unreachable"
      : target.repository === "present"
        ? "ok"
        : target.repository === "missing"
          ? "empty"
          : target.repository,
    error: target.error,
    snapshots: isReadable(target) ? target.snapshots.length : undefined,
    usedBytes: target.usedBytes,
    capacityBytes: target.capacityBytes,
    verified: [...target.verifications].map(([job, { timeMs, ok }]) => ({ job, timeMs, ok })),
  }));
  const newest = Object.fromEntries([...config.jobs.values()].map((job) => [job.name, newestOf(config, job, observed)]));
  const noted: Noted = { targets, objectives, newest };
  try {
    state.setNote(NOTE, noted, nowMs);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
  }
}

function newestOf(config: Config, job: JobConfig, observed: Observed): number | null {
  const names = new Set([job.name, ...job.formerly]);
  const snapshots = [...observed.targets.values()]
    .flatMap((target) => target.snapshots)
    .filter((one) => one.host === config.host && names.has(one.job) && one.status === "success")
    .filter(({ tags }) => !tags.includes(PRE_RESTORE_TAG));
  const newest = job.sources.map(({ name }) =>
    Math.max(-Infinity, ...snapshots.filter(({ source }) => source === name).map(({ timeMs }) => timeMs)),
  );
  const least = Math.min(...newest);
  return Number.isFinite(least) ? least : null;
}

/** `progress` of the runs that this process knows more of. */
export function reportStatus(
  config: Config,
  state: State,
  nowMs: number,
  progress: ReadonlyMap<string, Progress> = new Map(),
): StatusReport {
  const note = state.note(NOTE);
  // Of another configuration only what has the same name counts.
  const noted = notedOf(note?.value);
  const paused = state.pausedJobs();
  const asked = new Map(state.runRequests().map(({ job, askedMs }) => [job, askedMs]));
  const open = state.openRuns();
  return {
    timeMs: nowMs,
    timezone: config.daemon.timezone,
    host: config.host,
    config: config.path,
    digest: config.digest,
    jobs: [...config.jobs.values()].map((job) =>
      reportJob(config, state, job, nowMs, {
        paused: paused.has(job.name),
        askedMs: asked.get(job.name),
        isRunning: open.some(({ kind, subject }) => kind === "backup" && subject === job.name),
        noted,
        notedMs: note?.timeMs ?? -Infinity,
      }),
    ),
    targets: [...config.targets.keys()].map(
      (target) =>
        noted?.targets.find((one) => one.target === target) ?? {
          target,
          status: "unknown",
          error: undefined,
          snapshots: undefined,
        },
    ),
    observedMs: note?.timeMs,
    pending: state.pendingApprovals(),
    running: open.map(({ id, kind, subject, startedMs }) => ({ run: id, kind, subject, startedMs, progress: progress.get(id) })),
  };
}

function reportJob(
  config: Config,
  state: State,
  job: JobConfig,
  nowMs: number,
  known: {
    readonly paused: boolean;
    readonly askedMs: number | undefined;
    readonly isRunning: boolean;
    readonly noted: Noted | undefined;
    readonly notedMs: number;
  },
): JobReport {
  const { timezone } = config.daemon;
  const names = [job.name, ...job.formerly];
  const last = state.lastRun("backup", names);
  const successes = names.flatMap((name) => state.runs({ kind: "backup", job: name, status: "success", limit: 1 }));
  const seenMs = known.noted?.newest[job.name] ?? undefined;
  const isActive = job.enabled && !known.paused;
  const newestMs = Math.max(seenMs ?? -Infinity, ...successes.map(({ startedMs }) => startedMs));
  const lastSuccessMs = Number.isFinite(newestMs) ? newestMs : undefined;
  const slots = job.schedules.flatMap(({ schedule }) => {
    const at = previousRun(schedule.rule, nowMs - OVERDUE_MS - schedule.jitterMs, timezone);
    return at === undefined ? [] : [at];
  });
  const slotMs = slots.length === 0 ? undefined : Math.max(...slots);
  // A partial backup came on time, whatever it left out.
  const keptMs = Math.max(newestMs, last?.status === "partial" ? last.startedMs : -Infinity);
  const isOverdue = isActive && !known.isRunning && slotMs !== undefined && keptMs < slotMs;
  return {
    job: job.name,
    enabled: job.enabled,
    paused: known.paused,
    askedMs: known.askedMs,
    last: last && lastRun(last),
    lastSuccessMs,
    nextMs: isActive ? nextJobRuns(job, nowMs, timezone, 1)[0]?.timeMs : undefined,
    overdueSinceMs: isOverdue ? slotMs : undefined,
    objectives: judged(job, known.noted, (last?.endedMs ?? -Infinity) > known.notedMs),
  };
}

/** A note as this version writes it; anything else is none. */
function notedOf(value: unknown): Noted | undefined {
  const { targets, objectives, newest } = (value ?? {}) as Partial<Noted>;
  const isNoted = Array.isArray(targets) && Array.isArray(objectives) && typeof newest === "object" && newest !== null;
  return isNoted ? { targets, objectives, newest } : undefined;
}

function judged(job: JobConfig, noted: Noted | undefined, isStale: boolean): JobReport["objectives"] {
  const { rpoMs, copies, offsite, verifiedWithinMs } = job.objectives;
  const declared = { rpo: rpoMs, copies, offsite, verifiedWithin: verifiedWithinMs };
  if (Object.values(declared).every((promise) => promise === undefined)) return [];
  if (noted === undefined || isStale) return undefined;
  return noted.objectives
    .filter((one) => one.job === job.name && declared[one.objective] !== undefined)
    .map(({ objective, met, reason }) => ({ objective, met, reason }));
}

function lastRun({ id, status, startedMs, endedMs, error }: RunRecord): LastRun {
  return { run: id, status: status ?? "interrupted", startedMs, endedMs: endedMs ?? startedMs, error };
}
