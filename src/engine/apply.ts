import { formatDuration } from "../base/duration.ts";
import { asHoldfastError, HoldfastError } from "../base/errors.ts";
import type { JobConfig } from "../config/config.ts";
import { acceptedTargets } from "../plan/changes.ts";
import {
  heldActions,
  makePlan,
  type Action,
  type BackupAction,
  type Plan,
  type PruneAction,
  type RetentionAction,
  type VerifyAction,
} from "../plan/plan.ts";
import { conditionsOf, type Condition } from "../plan/conditions.ts";
import { evaluateObjectives } from "../plan/objectives.ts";
import { collectSlots } from "../scheduler/schedule.ts";
import { audited, deletion } from "./audit.ts";
import { backupJob, type BackupResult } from "./backup/backup.ts";
import { settleOwedHooks } from "./hooks/owed.ts";
import { RunHooks, withHooks } from "./hooks/run-hooks.ts";
import { observe } from "./observe.ts";
import { performRun, type RunContext, type RunOutcome } from "./runs.ts";
import { noteObserved } from "./status.ts";
import type { Session } from "./session.ts";

export interface PlanRequest {
  readonly approve?: readonly string[];
  readonly allowRecreate?: boolean;
  readonly impatient?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Observes and plans; changes nothing. */
export async function planNow(
  session: Session,
  request: PlanRequest = {},
): Promise<Plan & { readonly conditions: readonly Condition[] }> {
  const observed = await observe(session, request.signal);
  const nowMs = session.surroundings.clock.now();
  const slots = collectSlots(session.config, nowMs);
  const plan = makePlan(session.config, observed, {
    nowMs,
    slots,
    approved: request.approve ?? [],
    allowRecreate: request.allowRecreate ?? false,
    impatient: request.impatient ?? false,
  });
  // Of a job that is about to run for the first time everybody knows.
  const fresh = new Set(
    plan.actions.flatMap((action) => (action.kind === "backup" && action.reason === "first" ? [action.job] : [])),
  );
  const objectives = evaluateObjectives(session.config, observed, nowMs);
  noteObserved(session, observed, objectives, nowMs);
  const missed = objectives.filter(({ met, job }) => !met && !fresh.has(job));
  const notes = missed.map(({ job, objective, reason }) => ({
    level: "warning" as const,
    job,
    target: undefined,
    text: `job ${job} misses its objective ${objective}: ${reason}`,
  }));
  const judged = objectives.filter(({ job }) => !fresh.has(job));
  const conditions = conditionsOf(session.config, observed, judged, slots, nowMs);
  return { ...plan, notes: [...plan.notes, ...notes], conditions };
}

/** What became of one action. `held` and `skipped` say why nothing was done. */
export interface ActionOutcome {
  readonly action: Action;
  readonly status: "done" | "partial" | "failed" | "held" | "cancelled";
  readonly error: HoldfastError | undefined;
  readonly run: RunOutcome<unknown> | undefined;
  /** One line for people. */
  readonly summary: string;
}

export interface ApplyResult {
  readonly plan: Plan;
  readonly outcomes: readonly ActionOutcome[];
}

/**
 * Converges once: performs every action of a fresh plan that is not held, in its order. A failure does not stop later
 * actions that do not need it. The configuration counts as accepted once nothing of it is held.
 */
export async function applyNow(
  session: Session,
  request: PlanRequest & { readonly signal: AbortSignal; readonly perform?: (action: Action) => Promise<ActionOutcome> },
): Promise<ApplyResult> {
  await settleOwedHooks(session, request);
  const plan = await planNow(session, { ...request, impatient: request.impatient ?? true });
  const { open } = await session.stores();
  for (const { level, text } of await session.settleKeys(
    open.map(({ name }) => name),
    request.signal,
  ))
    if (level === "warn") session.surroundings.onWarning?.(text);
  const outcomes: ActionOutcome[] = [];
  for (const action of plan.actions) {
    if (request.signal.aborted) {
      outcomes.push({ action, status: "cancelled", error: undefined, run: undefined, summary: "cancelled" });
      continue;
    }
    outcomes.push(await (request.perform?.(action) ?? performAction(session, action, request.signal)));
  }
  recordAcceptance(session, plan);
  return { plan, outcomes };
}

/** Notes what waits for approval, and accepts the configuration when nothing does. */
export function recordAcceptance(session: Session, plan: Plan): void {
  const nowMs = session.surroundings.clock.now();
  const held = heldActions(plan);
  if (held.length > 0 && plan.id !== undefined) {
    const pending = session.state.pendingApprovals().find((one) => one.plan === plan.id);
    session.state.setPendingApproval({
      plan: plan.id,
      sinceMs: pending?.sinceMs ?? nowMs,
      text: held.map(({ held: why }) => why).join("\n"),
    });
    return;
  }
  session.state.setPendingApproval(undefined);
  const accepted = session.state.acceptedConfig();
  if (accepted?.digest !== session.config.digest)
    session.state.acceptConfig({
      digest: session.config.digest,
      timeMs: nowMs,
      text: session.surroundings.configText,
      targets: acceptedTargets(session.config, nowMs),
    });
}

/** Performs one action of a plan. Never rejects. */
export async function performAction(session: Session, action: Action, signal: AbortSignal): Promise<ActionOutcome> {
  if ("held" in action && action.held !== undefined)
    return { action, status: "held", error: undefined, run: undefined, summary: action.held };
  switch (action.kind) {
    case "create":
      return await plainly(action, async () => {
        await audited(
          session,
          { action: "repository.create", subject: action.target, detail: { recreate: action.recreate } },
          () => session.create(action.target, { recreate: action.recreate }),
        );
        return `created a repository on target ${action.target}`;
      });
    case "change":
      return { action, status: "done", error: undefined, run: undefined, summary: action.why };
    case "backup":
      return await performBackup(session, action, signal);
    case "retention":
      return await plainly(action, () => performRetention(session, action, signal));
    case "verify":
      return await performVerify(session, action, signal);
    case "prune":
      return await performPrune(session, action, signal);
  }
}

async function plainly(action: Action, act: () => Promise<string>): Promise<ActionOutcome> {
  try {
    return { action, status: "done", error: undefined, run: undefined, summary: await act() };
  } catch (thrown) {
    const error = asHoldfastError(thrown);
    return { action, status: "failed", error, run: undefined, summary: error.message };
  }
}

async function performBackup(session: Session, action: BackupAction, signal: AbortSignal): Promise<ActionOutcome> {
  const outcome = await runBackup(session, action.job, {
    mode: action.mode,
    sources: action.sources,
    targets: action.targets,
    reason: `${action.reason}: ${action.why}`,
    signal,
  });
  return ofRun(action, outcome, `backup of ${action.job}`);
}

async function performRetention(session: Session, action: RetentionAction, signal: AbortSignal): Promise<string> {
  const store = await session.store(action.target);
  if (action.remove.length > 0) {
    const ids = new Set(action.remove.map(({ snapshot }) => snapshot.id));
    // Read anew: what was annotated with a hold since the plan was made stays.
    const snapshots = (await store.snapshots({ signal })).filter((snapshot) => ids.has(snapshot.id) && snapshot.hold === false);
    await audited(session, deletion(`${action.job} on ${action.target}`, snapshots, "retention"), () =>
      store.delete(snapshots, { reason: "retention", signal }),
    );
  }
  await store.notePolicy(action.job, action.rules ?? null, signal);
  return action.remove.length === 0
    ? `noted the retention of ${action.job} on target ${action.target}`
    : `deleted ${action.remove.length} snapshots of ${action.job} from target ${action.target}`;
}

async function performVerify(session: Session, action: VerifyAction, signal: AbortSignal): Promise<ActionOutcome> {
  const { runVerify } = await import("./verify/verify.ts");
  const outcome = await runVerify(session, {
    targets: [action.target],
    jobs: [action.job],
    snapshots: [],
    readData: action.readData,
    reason: action.why,
    signal,
  });
  return ofRun(action, outcome, `verification of ${action.job} on target ${action.target}`);
}

async function performPrune(session: Session, action: PruneAction, signal: AbortSignal): Promise<ActionOutcome> {
  const { runPrune } = await import("./prune/prune.ts");
  const outcome = await runPrune(session, action.target, { dryRun: false, immediate: false, reason: action.why, signal });
  return ofRun(action, outcome, `prune of target ${action.target}`);
}

function ofRun(action: Action, run: RunOutcome<unknown>, what: string): ActionOutcome {
  const status =
    run.status === "success"
      ? "done"
      : run.status === "partial"
        ? "partial"
        : run.status === "cancelled"
          ? "cancelled"
          : "failed";
  return { action, status, error: run.error, run, summary: `${what}: ${run.status}` };
}

export interface RunBackupOptions {
  readonly mode?: BackupAction["mode"] | undefined;
  readonly sources?: readonly string[] | undefined;
  readonly targets?: readonly string[] | undefined;
  readonly baseline?: Parameters<typeof backupJob>[2]["baseline"];
  readonly description?: string;
  readonly tags?: readonly string[];
  readonly dryRun?: boolean;
  /** Check the new snapshots right after; default: the job's `verify.afterBackup`. */
  readonly verify?: boolean | undefined;
  readonly reason?: string | undefined;
  readonly signal: AbortSignal;
}

/** One run of a job, recorded: backup, and the verification after it when the job or the caller wants one. */
export async function runBackup(session: Session, jobName: string, options: RunBackupOptions): Promise<RunOutcome<BackupResult>> {
  const job = session.job(jobName);
  // What an earlier run has left undone must not come into the middle of this one.
  if (options.dryRun !== true) await settleOwedHooks(session, { job: job.name, signal: options.signal });
  using deadline = deadlineOf(session, job);
  const signal = deadline === undefined ? options.signal : AbortSignal.any([options.signal, deadline.signal]);
  return await performRun(
    session,
    { kind: "backup", subject: job.name, reason: options.reason, targets: options.targets, dryRun: options.dryRun },
    signal,
    (context) => {
      const owner = { job: job.name, source: undefined };
      const hooks = new RunHooks(session, owner, options.dryRun === true ? undefined : job.hooks, context);
      return withHooks(hooks, signal, () => backUp(session, job, options, context));
    },
  );
}

/** A backup, and the verification after it. */
async function backUp(
  session: Session,
  job: JobConfig,
  options: RunBackupOptions,
  context: RunContext,
): Promise<{
  readonly status: BackupResult["status"];
  readonly error: HoldfastError | undefined;
  readonly result: BackupResult;
  readonly statistics: Readonly<Record<string, unknown>>;
}> {
  const result = await backupJob(session, job, { ...options, ...context });
  for (const { source, snapshots } of result.outcomes) {
    const first = snapshots[0];
    if (first !== undefined && options.dryRun !== true)
      session.surroundings.listener({
        type: "snapshot",
        run: context.run,
        snapshot: first.snapshot.id,
        source,
        targets: snapshots.map(({ target }) => target),
      });
  }
  let { status, error } = result;
  if ((options.verify ?? job.verify.afterBackup) && options.dryRun !== true) {
    const { verifySnapshots } = await import("./verify/verify.ts");
    const taken = result.outcomes.flatMap(({ snapshots }) => snapshots);
    for (const target of new Set(taken.map((one) => one.target))) {
      const ids = taken.filter((one) => one.target === target).map(({ snapshot }) => snapshot.id);
      const report = await verifySnapshots(session, target, [job.name], ids, job.verify.readData, context);
      if (report.ok) continue;
      status = "failed";
      error ??= report.error;
    }
  }
  return { status, error, result, statistics: statisticsOf(result) };
}

/** Aborts with `timeout` when a job runs longer than it may. Waits by the session's clock, so that far times are no trouble. */
function deadlineOf(session: Session, job: JobConfig): (Disposable & { readonly signal: AbortSignal }) | undefined {
  const { timeoutMs } = job;
  if (timeoutMs === undefined) return undefined;
  const over = new AbortController();
  const done = new AbortController();
  const expire = (): void =>
    over.abort(
      new HoldfastError("timeout", `Job ${job.name} ran longer than its timeout of ${formatDuration(timeoutMs)}`, {
        hint: "Nothing of this run was committed. Raise jobs.*.timeout, or find out what made it slow: `holdfast logs`.",
      }),
    );
  session.surroundings.clock.sleep(timeoutMs, done.signal).then(expire, () => undefined);
  return { signal: over.signal, [Symbol.dispose]: () => done.abort() };
}

function statisticsOf(result: BackupResult): Readonly<Record<string, unknown>> {
  return {
    sources: result.outcomes.map(({ source, snapshots }) => ({
      source,
      snapshots: snapshots.map(({ target, snapshot }) => ({
        target,
        id: snapshot.id,
        files: snapshot.files,
        sourceBytes: snapshot.sourceBytes,
        newBytes: snapshot.newBytes,
        storedBytes: snapshot.storedBytes,
        unreadable: snapshot.unreadableCount,
        durationMs: snapshot.endMs - snapshot.timeMs,
      })),
    })),
  };
}
