/** A prune as a person asks for one: what retention lets go of jobs, then the space of what nothing needs, target by target. */
import { HoldfastError } from "../../base/errors.ts";
import type { JobConfig } from "../../config/config.ts";
import type { PruneReport, SnapshotInfo } from "../../formats/format.ts";
import type { ObservedSnapshot } from "../../plan/observed.ts";
import type { Plan, RetentionAction } from "../../plan/plan.ts";
import { selectForRetention } from "../../plan/retention.ts";
import { performAction, planNow } from "../apply.ts";
import { audited, deletion } from "../audit.ts";
import type { OperationHooks, Turn, Workplace } from "../operations.ts";
import type { RunOutcome } from "../runs.ts";
import type { Session } from "../session.ts";
import { runPrune } from "./prune.ts";

export interface PruneRequest {
  /** Default: all jobs. */
  readonly job?: string | undefined;
  /** In place of the declared retention: everything but the newest so many of each source goes. */
  readonly keepLast?: number | undefined;
  readonly dryRun: boolean;
  readonly immediate: boolean;
  /** Ids of the snapshots that may go, as they were shown. Default: whatever the rules let go. */
  readonly only?: readonly string[] | undefined;
}

/** Snapshots of one job that go from one target. */
export interface Removal {
  readonly job: string;
  readonly target: string;
  readonly remove: readonly {
    readonly snapshot: Pick<ObservedSnapshot, "id" | "source" | "timeMs" | "storedBytes">;
    readonly reason: string;
  }[];
}

/** What a prune tells of each target when it is done with it. */
export type PrunePart =
  | { readonly part: "unavailable"; readonly target: string; readonly error: HoldfastError }
  | { readonly part: "append-only"; readonly target: string }
  | {
      readonly part: "pruned";
      readonly target: string;
      readonly outcome: RunOutcome<PruneReport>;
      /** What went, or in a dry run would go: of a run that failed not what was not reached. */
      readonly removals: readonly Removal[];
    };

export interface PrunePreview {
  readonly plan: Plan;
  readonly jobs: readonly JobConfig[];
  readonly removals: readonly Removal[];
}

interface Removing extends Removal {
  readonly remove: readonly { readonly snapshot: ObservedSnapshot; readonly reason: string }[];
  /** The action that the declared retention makes of it; undefined for `keepLast`. */
  readonly action: RetentionAction | undefined;
}

/** What a prune would let go, and what the plan says of it; deletes nothing. */
export async function previewPrune(
  session: Session,
  request: Pick<PruneRequest, "job" | "keepLast">,
  signal: AbortSignal,
): Promise<PrunePreview> {
  const jobs = jobsOf(session, request.job);
  const plan = await planNow(session, { impatient: true, signal });
  const removals =
    request.keepLast === undefined ? declared(plan, jobs) : await keepingLast(session, jobs, request.keepLast, signal);
  return { plan, jobs, removals };
}

/** Deletes and prunes, telling each part; what cannot be deleted makes the run of its target fail. */
export async function pruneNow(place: Workplace, request: PruneRequest, hooks: OperationHooks): Promise<void> {
  const { signal, onPart } = hooks;
  const targets = await place.use(async (session) => {
    const jobs = jobsOf(session, request.job);
    const names = new Set(jobs.flatMap((job) => job.targets.map(({ target }) => target.name)));
    const { open, closed } = await session.stores([...names]);
    for (const { target, error } of closed)
      if (error.code !== "repository_missing") onPart({ part: "unavailable", target: target.name, error });
    return open.map(({ name }) => ({ name, appendOnly: session.target(name).appendOnly }));
  });
  for (const { name, appendOnly } of targets) {
    if (appendOnly) {
      onPart({ part: "append-only", target: name });
      continue;
    }
    const turn: Turn = { kind: "prune", subject: name, targets: [name] };
    const work = async (session: Session, abort: AbortSignal): Promise<RunOutcome<PruneReport>["status"]> => {
      const removals = await removalsOn(session, name, request, abort);
      const { dryRun, immediate } = request;
      const gone: Removing[] = [];
      const first = async (stop: AbortSignal): Promise<void> => {
        for (const removal of removals) {
          await remove(session, removal, stop);
          gone.push(removal);
        }
      };
      const outcome = await runPrune(session, name, {
        dryRun,
        immediate,
        ...(!dryRun && { first }),
        reason: "asked for",
        signal: abort,
      });
      onPart({ part: "pruned", target: name, outcome, removals: (dryRun ? removals : gone).map(plainly) });
      return outcome.status;
    };
    while (!(await place.take(turn, hooks, work))) {
      hooks.onNotice(`waiting for the prune of ${name} that is going on already`);
      await place.idle(turn, signal);
      signal.throwIfAborted();
    }
  }
}

function jobsOf(session: Session, name: string | undefined): JobConfig[] {
  return name === undefined ? [...session.config.jobs.values()] : [session.job(name)];
}

/** What goes from one target, decided anew: of what was shown only what is still to go. */
async function removalsOn(session: Session, target: string, request: PruneRequest, signal: AbortSignal): Promise<Removing[]> {
  const jobs = jobsOf(session, request.job);
  const all =
    request.keepLast === undefined
      ? declared(await planNow(session, { impatient: true, signal }), jobs)
      : await keepingLast(session, jobs, request.keepLast, signal);
  const only = request.only === undefined ? undefined : new Set(request.only);
  return all
    .filter((one) => one.target === target)
    .map((one) => ({ ...one, remove: one.remove.filter(({ snapshot }) => only?.has(snapshot.id) ?? true) }))
    .filter((one) => one.remove.length > 0);
}

async function remove(session: Session, removal: Removing, signal: AbortSignal): Promise<void> {
  if (removal.action !== undefined) {
    const { error } = await performAction(session, { ...removal.action, remove: removal.remove }, signal);
    if (error !== undefined) throw error;
    return;
  }
  const store = await session.store(removal.target);
  const ids = new Set(removal.remove.map(({ snapshot }) => snapshot.id));
  // Read anew: someone may have put a hold on one while we asked.
  const current = (await store.snapshots({ signal })).filter(({ id, hold }) => ids.has(id) && hold === false);
  const reason = "prune --keep-last";
  await audited(session, deletion(`${removal.job} on ${removal.target}`, current, reason), () =>
    store.delete(current, { reason, signal }),
  );
}

/** What the declared retention lets go, as the plan has it. */
function declared(plan: Plan, jobs: readonly JobConfig[]): Removing[] {
  const names = new Set(jobs.map(({ name }) => name));
  return plan.actions.flatMap((action) =>
    action.kind === "retention" && action.held === undefined && action.remove.length > 0 && names.has(action.job)
      ? [{ job: action.job, target: action.target, remove: action.remove, action }]
      : [],
  );
}

/** Everything but the newest so many of each source of this host; what is held, or guarded, stays all the same. */
async function keepingLast(
  session: Session,
  jobs: readonly JobConfig[],
  keepLast: number,
  signal: AbortSignal,
): Promise<Removing[]> {
  const { config } = session;
  const removals: Removing[] = [];
  const targets = new Set(jobs.flatMap((job) => job.targets.map(({ target }) => target.name)));
  const { open } = await session.stores([...targets]);
  for (const store of open) {
    if (session.target(store.name).appendOnly) continue;
    const snapshots: readonly SnapshotInfo[] = await store.snapshots({ signal });
    const { clockSkewMs } = await store.observations(signal);
    for (const job of jobs) {
      if (!job.targets.some(({ target }) => target.name === store.name)) continue;
      const names = new Set([job.name, ...job.formerly]);
      const own = snapshots.filter((one) => one.host === config.host && names.has(one.job));
      const selection = selectForRetention(
        own,
        { ...NO_RULES, keepLast },
        {
          nowMs: session.surroundings.clock.now(),
          timezone: config.daemon.timezone,
          targetSkewMs: clockSkewMs,
          guards: config.guards,
          formerly: new Map(job.formerly.map((name) => [name, job.name])),
        },
      );
      if (selection.refused !== undefined)
        throw new HoldfastError(
          "clock_unreliable",
          `Nothing is deleted of job ${job.name} on target ${store.name}: ${selection.refused}`,
          { hint: "Set the clock right and try again." },
        );
      if (selection.remove.length > 0)
        removals.push({ job: job.name, target: store.name, remove: selection.remove, action: undefined });
    }
  }
  return removals;
}

const NO_RULES = {
  keepLast: undefined,
  keepHourly: undefined,
  keepDaily: undefined,
  keepWeekly: undefined,
  keepMonthly: undefined,
  keepYearly: undefined,
  keepWithinMs: undefined,
  keepTags: [],
  maxAgeMs: undefined,
  maxCount: undefined,
};

function plainly({ job, target, remove: going }: Removal): Removal {
  return {
    job,
    target,
    remove: going.map(({ snapshot: { id, source, timeMs, storedBytes }, reason }) => ({
      snapshot: { id, source, timeMs, storedBytes },
      reason,
    })),
  };
}
