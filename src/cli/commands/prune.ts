import {
  formatWall,
  heldActions,
  previewPrune,
  type JobConfig,
  type Plan,
  type PrunePart,
  type PruneReport,
  type Removal,
} from "../../index.ts";
import { hooksFor, operationsFor, operationsHere } from "../beside.ts";
import type { Context } from "../context.ts";
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

export async function prune(context: Context, jobName: string | undefined, flags: PruneFlags): Promise<number> {
  const keepLast = flags.keepLast === undefined ? undefined : parseCount(flags.keepLast, "--keep-last");
  await using reporter = new Reporter(context);
  await using opened = await context.open(reporter.listener);
  const { config, session } = opened.holdfast;
  const { plan, jobs, removals } = await previewPrune(session, { job: jobName, keepLast }, context.signal);
  await reportHeld(context, plan, jobs, keepLast !== undefined);
  const dryRun = flags.dryRun === true;
  await showRemovals(context, removals, config.daemon.timezone, dryRun);
  const going = removals.reduce((sum, { remove }) => sum + remove.length, 0);
  if (keepLast !== undefined && !dryRun && going > 0) {
    const targets = [...new Set(removals.map(({ target }) => target))].join(", ");
    if (
      !(await context.confirm(`delete ${plural(going, "snapshot")} from ${targets}, keeping the last ${keepLast}`, "", flags.yes))
    )
      return 0;
  }
  const operations = dryRun ? operationsHere(opened) : await operationsFor(context, opened, reporter);
  let code = 0;
  let printed = Promise.resolve();
  const immediate = flags.immediate === true;
  const onPart = (part: PrunePart): void => {
    printed = printed.then(async () => {
      await reporter.end();
      const mine = await reportPart(context, part, { dryRun, immediate });
      code = part.part === "unavailable" ? mine : Math.max(code, mine);
    });
  };
  // What was shown is what goes, and nothing else.
  const only = [...new Set(removals.flatMap(({ remove }) => remove.map(({ snapshot }) => snapshot.id)))];
  try {
    await operations.prune({ job: jobName, keepLast, dryRun, immediate, only }, hooksFor(context, reporter, onPart));
  } finally {
    await printed;
  }
  return code;
}

async function reportPart(
  context: Context,
  part: PrunePart,
  { dryRun, immediate }: { readonly dryRun: boolean; readonly immediate: boolean },
): Promise<number> {
  const { target } = part;
  if (part.part === "unavailable") {
    await context.fail(part.error);
    return exitCodeOf({ status: "failed", error: part.error });
  }
  if (part.part === "append-only") {
    await context.note(`target ${target} is append-only here: nothing is deleted`);
    return 0;
  }
  const { outcome, removals } = part;
  if (context.json)
    await context.printLine("summary", {
      command: "prune",
      target,
      dryRun,
      ...outcomeJson(outcome),
      deleted: removals.flatMap(removalJson),
      report: outcome.result,
    });
  else {
    if (!context.quiet && outcome.result !== undefined)
      await context.print(pruneSummary(target, outcome.result, dryRun, immediate));
    await reportOutcome(context, `The prune of target ${target}`, outcome);
  }
  return exitCodeOf(outcome);
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
