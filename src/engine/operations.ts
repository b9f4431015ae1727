/**
 * What a person may have done, as plain requests and results: the same in the process of the command line and in a daemon
 * beside it. Where it happens is the `Workplace`; results are plain but for the errors in them.
 */
import { asHoldfastError, HoldfastError } from "../base/errors.ts";
import type { RunKind, RunStatus } from "../base/events.ts";
import type { JobMode } from "../config/config.ts";
import type { PlanNote } from "../plan/plan.ts";
import { applyNow, performAction, planNow, runBackup, type ActionOutcome } from "./apply.ts";
import type { BackupResult } from "./backup/backup.ts";
import { pruneNow, type PrunePart, type PruneRequest } from "./prune/prune-jobs.ts";
import { rollbackRestore, runRestore, type RestoreResult, type RunRestoreOptions } from "./restore/run.ts";
import type { RunOutcome } from "./runs.ts";
import type { Session } from "./session.ts";
import { selectSnapshot } from "./snapshots.ts";
import { verifyScopes } from "./verify/scopes.ts";
import { runVerify, type TargetReports } from "./verify/verify.ts";

export interface BackupRequest {
  readonly job: string;
  /** Default: the job's. */
  readonly mode?: JobMode | undefined;
  /** Compare with this snapshot: an id or a unique prefix of one. */
  readonly baseline?: string | undefined;
  readonly description?: string | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly dryRun?: boolean | undefined;
  readonly verify?: boolean | undefined;
}

export interface ApplyRequest {
  /** Ids of plans that may go on. */
  readonly approve: readonly string[];
  readonly allowRecreate: boolean;
}

export interface Applied {
  readonly planId: string | undefined;
  readonly notes: readonly PlanNote[];
  /** One for each action of the plan, in its order. */
  readonly outcomes: readonly ActionOutcome[];
  /** Targets of enabled jobs that could not be used. */
  readonly unavailable: readonly UnavailableTarget[];
}

export interface UnavailableTarget {
  readonly target: string;
  readonly error: HoldfastError;
}

export type RestoreOperation = Omit<RunRestoreOptions, "signal">;

export interface RollbackRequest {
  /** The restore to undo: an id or a unique prefix of one. */
  readonly run: string;
  readonly verify: boolean;
  readonly confirmedLive: boolean;
}

/** How an operation speaks while it goes on, beside the events of its runs; and how it is cancelled. */
export interface OperationHooks {
  /** Why it waits, for people. */
  readonly onNotice: (text: string) => void;
  readonly onPart: (part: PrunePart) => void;
  readonly signal: AbortSignal;
}

/** Each is done to its end, and rejects only for a mistake of the caller; what fails on the way is in the result. */
export interface Operations {
  backup(request: BackupRequest, hooks: OperationHooks): Promise<RunOutcome<BackupResult>>;
  apply(request: ApplyRequest, hooks: OperationHooks): Promise<Applied>;
  restore(request: RestoreOperation, hooks: OperationHooks): Promise<RunOutcome<RestoreResult>>;
  rollback(request: RollbackRequest, hooks: OperationHooks): Promise<RunOutcome<RestoreResult>>;
  /** Tells each part as it is done. */
  prune(request: PruneRequest, hooks: OperationHooks): Promise<void>;
}

export interface VerifyRequest {
  /** Ids of snapshots, or unique prefixes. Empty: all. */
  readonly snapshots: readonly string[];
  /** Default: all that hold them. */
  readonly target?: string | undefined;
  /** Part of the stored data to read, 0 to 1. */
  readonly readData: number;
}

/** What a daemon does beside that. */
export interface DaemonOperations extends Operations {
  /** One run for targets that hold the same ones. */
  verify(request: VerifyRequest, hooks: OperationHooks): Promise<readonly RunOutcome<TargetReports>[]>;
}

/** What may go on only once at a time. */
export interface Turn {
  readonly kind: Extract<RunKind, "backup" | "verify" | "prune">;
  /** The job; for a prune the target. */
  readonly subject: string;
  readonly targets: readonly string[] | undefined;
}

/** Lends sessions, and decides whose turn it is. */
export interface Workplace {
  use<T>(work: (session: Session) => Promise<T>): Promise<T>;
  /**
   * Does `work` when its turn has come; `mode` is that of the job, or of a scheduled run that it stands in for. False, without doing it, while the same runs or was asked for already. Rejects with the
   * signal's reason when it was given up before it began.
   */
  take(
    turn: Turn,
    hooks: OperationHooks,
    work: (session: Session, signal: AbortSignal, mode: JobMode | undefined) => Promise<RunStatus>,
  ): Promise<boolean>;
  /** One at a time: what would disturb another that makes the same thing. */
  alone<T>(work: () => Promise<T>): Promise<T>;
  /** Resolves when what runs or waits of this turn has ended. */
  idle(turn: Turn, signal: AbortSignal): Promise<void>;
}

/** A workplace of one's own: nobody else is waited for. */
export function ownWorkplace(session: Session): Workplace {
  return {
    use: (work) => work(session),
    take: async (_turn, { signal }, work) => {
      await work(session, signal, undefined);
      return true;
    },
    alone: (work) => work(),
    idle: async () => undefined,
  };
}

export function operationsAt(place: Workplace): DaemonOperations {
  return {
    backup: (request, hooks) => backup(place, request, hooks),
    apply: (request, hooks) => apply(place, request, hooks),
    restore: (request, { signal }) => place.use((session) => runRestore(session, { ...request, signal })),
    rollback: ({ run, ...options }, { signal }) => place.use((session) => rollbackRestore(session, run, { ...options, signal })),
    prune: (request, hooks) => pruneNow(place, request, hooks),
    verify: (request, hooks) => place.use((session) => verify(session, request, hooks)),
  };
}

async function verify(
  session: Session,
  { snapshots, target, readData }: VerifyRequest,
  { signal }: OperationHooks,
): Promise<readonly RunOutcome<TargetReports>[]> {
  const scopes = await verifyScopes(
    session,
    snapshots.map((id) => ({ id })),
    target,
    signal,
  );
  const outcomes: RunOutcome<TargetReports>[] = [];
  for (const scope of scopes) outcomes.push(await runVerify(session, { ...scope, readData, reason: "asked for", signal }));
  return outcomes;
}

async function backup(place: Workplace, request: BackupRequest, hooks: OperationHooks): Promise<RunOutcome<BackupResult>> {
  const { job, baseline, description, ...options } = request;
  // Before the run begins: a name that fits nothing is a mistake of the caller, not a failed backup.
  const compared = await place.use(async (session) => {
    session.job(job);
    return baseline === undefined ? undefined : (await selectSnapshot(session, { id: baseline }, hooks.signal)).info;
  });
  let outcome: RunOutcome<BackupResult> | undefined;
  const done = await place.take({ kind: "backup", subject: job, targets: undefined }, hooks, async (session, signal, mode) => {
    outcome = await runBackup(session, job, {
      ...options,
      mode: options.mode ?? (baseline === undefined ? mode : undefined),
      baseline: compared,
      ...(description !== undefined && { description }),
      reason: "asked for",
      signal,
    });
    return outcome.status;
  });
  if (outcome !== undefined) return outcome;
  if (!done)
    throw new HoldfastError("state_busy", `A backup of ${job} is running, or was asked for already`, {
      hint: "`holdfast status` shows it; `holdfast cancel` ends it.",
    });
  throw new HoldfastError("cancelled", `The backup of ${job} was cancelled before it began`);
}

async function apply(place: Workplace, request: ApplyRequest, hooks: OperationHooks): Promise<Applied> {
  return await place.use(async (session) => {
    const { plan, outcomes } = await applyNow(session, {
      ...request,
      signal: hooks.signal,
      perform: (action) => performInTurn(place, session, action, request, hooks),
    });
    return { planId: plan.id, notes: plan.notes, outcomes, unavailable: await unavailableTargets(session) };
  });
}

/** Performs an action when its turn has come. Where the same went on already it is waited for, and done only if it is still due. */
async function performInTurn(
  place: Workplace,
  session: Session,
  action: ActionOutcome["action"],
  request: ApplyRequest,
  hooks: OperationHooks,
): Promise<ActionOutcome> {
  const { signal } = hooks;
  if (action.kind === "create" && !action.recreate)
    return await place.alone(async () => {
      // Someone else may have made it since the plan.
      const isThere = await session.store(action.target).then(
        () => true,
        () => false,
      );
      if (!isThere) return await performAction(session, action, signal);
      const made = `created a repository on target ${action.target}`;
      return { action, status: "done", error: undefined, run: undefined, summary: made };
    });
  const isRun = action.kind === "backup" || action.kind === "verify" || action.kind === "prune";
  if (!isRun) return await performAction(session, action, signal);
  const subject = action.kind === "prune" ? action.target : action.job;
  const turn: Turn = {
    kind: action.kind,
    subject,
    targets: action.kind === "backup" ? action.targets : [action.target],
  };
  const cancelled: ActionOutcome = { action, status: "cancelled", error: undefined, run: undefined, summary: "cancelled" };
  let wanted: ActionOutcome["action"] | undefined = action;
  while (wanted !== undefined) {
    const now: ActionOutcome["action"] = wanted;
    let outcome: ActionOutcome | undefined;
    let done: boolean;
    try {
      done = await place.take(turn, hooks, async (own, abort) => {
        outcome = await performAction(own, now, abort);
        return outcome.run?.status ?? "failed";
      });
    } catch (thrown) {
      const error = asHoldfastError(thrown);
      const status = error.code === "cancelled" ? "cancelled" : "failed";
      return { action, status, error, run: undefined, summary: error.message };
    }
    if (outcome !== undefined) return outcome;
    if (done || signal.aborted) return cancelled;
    hooks.onNotice(`waiting for the ${action.kind} of ${subject} that is going on already`);
    await place.idle(turn, signal);
    if (signal.aborted) return cancelled;
    const plan = await planNow(session, { ...request, impatient: true, signal });
    wanted = plan.actions.find(
      (one) =>
        one.kind === action.kind &&
        (one.kind === "prune" ? one.target === subject : "job" in one && one.job === subject) &&
        (one.kind !== "verify" || (turn.targets ?? []).includes(one.target)),
    );
  }
  const summary = `${action.kind} of ${subject}: done by the run that was going on`;
  return { action, status: "done", error: undefined, run: undefined, summary };
}

/** Targets of enabled jobs that cannot be used: whatever there was to do or to say, it was not all. */
export async function unavailableTargets(session: Session): Promise<UnavailableTarget[]> {
  const used = new Set(
    [...session.config.jobs.values()]
      .filter(({ enabled }) => enabled)
      .flatMap(({ targets }) => targets.map(({ target }) => target.name)),
  );
  const { closed } = await session.stores([...used]);
  return closed.map(({ target, error }) => ({ target: target.name, error }));
}
