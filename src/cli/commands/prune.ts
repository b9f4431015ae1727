import {
  heldActions,
  HoldfastError,
  performAction,
  selectForRetention,
  type Holdfast,
  type JobConfig,
  type Plan,
  type PruneReport,
  type SnapshotInfo,
  type Store,
} from "../../index.ts";
import type { Context } from "../context.ts";
import { formatWall } from "../../index.ts";
import { iso, plural, safe, shortId, size } from "../format.ts";
import { exitCodeOf, outcomeJson, reportOutcome } from "../outcome.ts";
import { Reporter } from "../reporter.ts";
import { parseCount } from "../selectors.ts";

export interface PruneFlags {
  readonly dryRun?: boolean;
  readonly keepLast?: string;
  readonly immediate?: boolean;
  readonly yes?: boolean;
}

/** Snapshots of one job that go from one target. */
interface Removal {
  readonly job: string;
  readonly target: string;
  readonly remove: readonly {
    readonly snapshot: { readonly id: string; readonly source: string; readonly timeMs: number; readonly storedBytes: number };
    readonly reason: string;
  }[];
  readonly perform: () => Promise<void>;
}

export async function prune(context: Context, jobName: string | undefined, flags: PruneFlags): Promise<number> {
  const keepLast = flags.keepLast === undefined ? undefined : parseCount(flags.keepLast, "--keep-last");
  await using reporter = new Reporter(context);
  await using opened = await context.open(reporter.listener);
  const { holdfast } = opened;
  const jobs = jobName === undefined ? [...holdfast.config.jobs.values()] : [holdfast.session.job(jobName)];
  const plan = await holdfast.plan({ signal: context.signal });
  const removals =
    keepLast === undefined ? declared(context, holdfast, plan, jobs) : await keepingLast(context, holdfast, jobs, keepLast);
  await reportHeld(context, plan, jobs, keepLast !== undefined);
  const dryRun = flags.dryRun === true;
  await showRemovals(context, removals, holdfast.config.daemon.timezone, dryRun);
  const going = removals.reduce((sum, { remove }) => sum + remove.length, 0);
  if (keepLast !== undefined && !dryRun && going > 0) {
    const targets = [...new Set(removals.map(({ target }) => target))].join(", ");
    if (
      !(await context.confirm(`delete ${plural(going, "snapshot")} from ${targets}, keeping the last ${keepLast}`, "", flags.yes))
    )
      return 0;
  }
  if (!dryRun) for (const removal of removals) await removal.perform();
  let code = 0;
  const { open, closed } = await holdfast.session.stores(targetsOf(jobs));
  for (const { error } of closed) {
    if (error.code === "repository_missing") continue;
    await context.fail(error);
    code = exitCodeOf({ status: "failed", error });
  }
  for (const store of open) {
    if (holdfast.session.target(store.name).appendOnly) {
      await context.note(`target ${store.name} is append-only here: nothing is deleted`);
      continue;
    }
    const outcome = await holdfast.prune(store.name, {
      dryRun,
      immediate: flags.immediate === true,
      reason: "asked for",
      signal: context.signal,
    });
    await reporter.end();
    const mine = removals.filter(({ target }) => target === store.name);
    if (context.json)
      await context.printLine("summary", {
        command: "prune",
        target: store.name,
        dryRun,
        ...outcomeJson(outcome),
        deleted: mine.flatMap(removalJson),
        report: outcome.result,
      });
    else {
      if (!context.quiet && outcome.result !== undefined)
        await context.print(pruneSummary(store.name, outcome.result, dryRun, flags.immediate === true));
      await reportOutcome(context, `The prune of target ${store.name}`, outcome);
    }
    code = Math.max(code, exitCodeOf(outcome));
  }
  return code;
}

function targetsOf(jobs: readonly JobConfig[]): string[] {
  return [...new Set(jobs.flatMap(({ targets }) => targets.map(({ target }) => target.name)))];
}

/** What the declared retention lets go, as the plan has it. */
function declared(context: Context, holdfast: Holdfast, plan: Plan, jobs: readonly JobConfig[]): Removal[] {
  const names = new Set(jobs.map(({ name }) => name));
  return plan.actions.flatMap((action) => {
    if (action.kind !== "retention" || action.held !== undefined || action.remove.length === 0 || !names.has(action.job))
      return [];
    const perform = async (): Promise<void> => {
      const { error } = await performAction(holdfast.session, action, context.signal);
      if (error !== undefined) throw error;
    };
    return [{ job: action.job, target: action.target, remove: action.remove, perform }];
  });
}

/** Everything but the newest so many of each source of this host; what is held, or guarded, stays all the same. */
async function keepingLast(
  context: Context,
  holdfast: Holdfast,
  jobs: readonly JobConfig[],
  keepLast: number,
): Promise<Removal[]> {
  const { config } = holdfast;
  const removals: Removal[] = [];
  const { open } = await holdfast.session.stores(targetsOf(jobs));
  for (const store of open) {
    if (holdfast.session.target(store.name).appendOnly) continue;
    const [snapshots, { clockSkewMs }] = [
      await store.snapshots({ signal: context.signal }),
      await store.observations(context.signal),
    ];
    for (const job of jobs) {
      if (!job.targets.some(({ target }) => target.name === store.name)) continue;
      const names = new Set([job.name, ...job.formerly]);
      const own = snapshots.filter((one) => one.host === config.host && names.has(one.job));
      const rules = { ...NO_RULES, keepLast };
      const selection = selectForRetention(own, rules, {
        nowMs: context.clock.now(),
        timezone: config.daemon.timezone,
        targetSkewMs: clockSkewMs,
        guards: config.guards,
        formerly: new Map(job.formerly.map((name) => [name, job.name])),
      });
      if (selection.refused !== undefined)
        throw new HoldfastError(
          "clock_unreliable",
          `Nothing is deleted of job ${job.name} on target ${store.name}: ${selection.refused}`,
          {
            hint: "Set the clock right and try again.",
          },
        );
      if (selection.remove.length > 0)
        removals.push({
          job: job.name,
          target: store.name,
          remove: selection.remove,
          perform: () => deleteFrom(store, selection.remove, context.signal),
        });
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

async function deleteFrom(
  store: Store,
  remove: readonly { readonly snapshot: SnapshotInfo }[],
  signal: AbortSignal,
): Promise<void> {
  const ids = new Set(remove.map(({ snapshot }) => snapshot.id));
  // Read anew: someone may have put a hold on one while we asked.
  const current = (await store.snapshots({ signal })).filter(({ id, hold }) => ids.has(id) && hold === false);
  await store.delete(current, { reason: "prune --keep-last", signal });
}

async function showRemovals(context: Context, removals: readonly Removal[], timezone: string, dryRun: boolean): Promise<void> {
  if (context.json || context.quiet) return;
  for (const { job, target, remove } of removals) {
    await context.print(
      `${dryRun ? "would delete" : "to delete:"} ${plural(remove.length, "snapshot")} of job ${job} from target ${target}\n`,
    );
    for (const { snapshot, reason } of remove)
      await context.print(
        `  ${shortId(snapshot.id)}  ${formatWall(snapshot.timeMs, timezone)}  ${safe(snapshot.source)}  ${size(snapshot.storedBytes)}: ${reason}\n`,
      );
  }
}

async function reportHeld(context: Context, plan: Plan, jobs: readonly JobConfig[], ignored: boolean): Promise<void> {
  const names = new Set(jobs.map(({ name }) => name));
  for (const note of plan.notes)
    if (note.level === "refusal" && note.job !== undefined && names.has(note.job)) await context.warn(note.text);
  const held = heldActions(plan).filter((action) => action.kind === "retention" && names.has(action.job));
  if (ignored || held.length === 0 || plan.id === undefined) return;
  for (const action of held)
    await context.warn(
      `the retention of ${action.kind === "retention" ? `job ${action.job} on ` : ""}target ${action.target} is held: ${action.held}`,
    );
  await context.shell.stderr.write(`  approve with: holdfast apply --approve ${plan.id}\n`);
}

function removalJson({ job, remove }: Removal): Record<string, unknown>[] {
  return remove.map(({ snapshot, reason }) => ({
    id: snapshot.id,
    job,
    source: snapshot.source,
    time: iso(snapshot.timeMs),
    storedBytes: snapshot.storedBytes,
    reason,
  }));
}

function pruneSummary(target: string, report: PruneReport, dryRun: boolean, immediate: boolean): string {
  const would = dryRun ? "would be " : "";
  const unneeded = Math.max(0, report.bytesBefore - report.liveBytes);
  const steps = [
    ...(report.packsDeleted > 0 ? [`${plural(report.packsDeleted, "pack")} (${size(report.bytesDeleted)}) ${would}deleted`] : []),
    ...(report.packsCondemned > 0
      ? [
          `${plural(report.packsCondemned, "pack")} (${size(report.bytesCondemned)}) ${would}condemned${immediate ? " on the way" : ", to be deleted after the grace time"}`,
        ]
      : []),
    ...(report.packsRepacked > 0
      ? [`${plural(report.packsRepacked, "pack")} ${would}packed anew into ${size(report.bytesWritten)}`]
      : []),
  ];
  return `target ${target}: ${size(report.bytesBefore)} in ${plural(report.packsBefore, "pack")}, ${size(unneeded)} not needed; ${steps.length === 0 ? "nothing to free" : steps.join("; ")}\n`;
}
