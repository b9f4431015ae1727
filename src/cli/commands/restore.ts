import { resolve } from "node:path";
import {
  formatDuration,
  HoldfastError,
  pathText,
  type OverwritePolicy,
  type RestoreAction,
  type RestoreReport,
  type RestoreResult,
  type RunOutcome,
  type RunRestoreOptions,
} from "../../index.ts";
import { hooksFor, operationsFor } from "../beside.ts";
import type { Context, Opened } from "../context.ts";
import { count, plural, safe, shortId, size, snapshotJson } from "../format.ts";
import { exitCodeOf, outcomeJson, reportOutcome } from "../outcome.ts";
import { Reporter } from "../reporter.ts";
import { parsePathSelector, type NarrowFlags } from "../selectors.ts";

export interface RestoreFlags extends NarrowFlags {
  readonly to?: string;
  readonly inPlace?: boolean;
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly overwrite: OverwritePolicy;
  readonly delete?: boolean;
  readonly dryRun?: boolean;
  readonly verifyFirst?: boolean;
  readonly verify?: boolean;
  /** False with `--no-safety-snapshot`. */
  readonly safetySnapshot: boolean;
  readonly rollback?: string;
  readonly yes?: boolean;
}

export async function restore(context: Context, text: string | undefined, flags: RestoreFlags): Promise<number> {
  if (flags.rollback !== undefined) return await rollback(context, text, flags.rollback, flags);
  if (text === undefined)
    throw new HoldfastError("usage", "Nothing is named to restore", {
      hint: "`holdfast snapshots` lists what there is; then: holdfast restore ID --to DIR",
    });
  if ((flags.to === undefined) === (flags.inPlace !== true))
    throw new HoldfastError(
      "usage",
      flags.to === undefined ? "It is not said where to restore to" : "--to and --in-place exclude each other",
      {
        hint: "Give --to DIR for a folder, or --in-place for where it came from.",
      },
    );
  if (flags.to === "") throw new HoldfastError("usage", "--to names no folder", { hint: "Write --to DIR." });
  await using reporter = new Reporter(context);
  await using opened = await context.open(reporter.listener);
  const options = optionsFor(context, opened, text, flags);
  if (flags.dryRun === true) return await dryRun(context, opened, options);
  const live = options.to === "in-place" || options.to.folder === "/";
  const agreed = live ? await confirmLive(context, opened, options, flags) : options;
  if (agreed === undefined) return 0;
  const operations = await operationsFor(context, opened, reporter, { orHere: true });
  const { signal: _, ...request } = agreed;
  return await finish(context, reporter, await operations.restore(request, hooksFor(context, reporter)), live);
}

function optionsFor(context: Context, { holdfast }: Opened, text: string, flags: RestoreFlags): RunRestoreOptions {
  const { selector, path } = parsePathSelector(text, flags, {
    nowMs: context.clock.now(),
    timezone: holdfast.config.daemon.timezone,
  });
  return {
    selector,
    path: pathText(path ?? Buffer.from("/")),
    to: flags.to === undefined ? "in-place" : { folder: resolve(context.shell.cwd, flags.to) },
    include: flags.include ?? [],
    exclude: flags.exclude ?? [],
    overwrite: flags.overwrite,
    delete: flags.delete === true,
    verifyFirst: flags.verifyFirst === true,
    verify: flags.verify === true,
    safetySnapshot: flags.safetySnapshot,
    confirmedLive: false,
    signal: context.signal,
  };
}

/** What is to be restored once somebody has agreed to it: that very snapshot, whatever is the latest by then. */
async function confirmLive(
  context: Context,
  { holdfast }: Opened,
  options: RunRestoreOptions,
  flags: RestoreFlags,
): Promise<RunRestoreOptions | undefined> {
  const { info } = await holdfast.select(options.selector, context.signal);
  const what =
    options.path === "/"
      ? `all of snapshot ${shortId(info.id)} (${info.job} / ${info.source})`
      : `${options.path} from snapshot ${shortId(info.id)}`;
  const safety = flags.safetySnapshot ? "What is there now is kept in a safety snapshot first" : "What is there now is NOT kept";
  const agreed = await context.confirm(
    `restore ${what} over live data${flags.delete === true ? ", deleting what the snapshot does not have" : ""}`,
    safety,
    flags.yes,
  );
  return agreed ? { ...options, selector: { ...options.selector, id: info.id }, confirmedLive: true } : undefined;
}

async function rollback(context: Context, text: string | undefined, run: string, flags: RestoreFlags): Promise<number> {
  const others = [text, flags.to, flags.inPlace, flags.include, flags.exclude, flags.delete, flags.dryRun];
  if (others.some((one) => one !== undefined))
    throw new HoldfastError("usage", "--rollback goes with no other choice: it undoes one restore as a whole", {
      hint: "holdfast restore --rollback RUN",
    });
  await using reporter = new Reporter(context);
  await using opened = await context.open(reporter.listener);
  if (!(await context.confirm(`return everything in the scope of restore ${run} to what it was before`, "", flags.yes))) return 0;
  const operations = await operationsFor(context, opened, reporter, { orHere: true });
  const outcome = await operations.rollback(
    { run, confirmedLive: true, verify: flags.verify === true },
    hooksFor(context, reporter),
  );
  return await finish(context, reporter, outcome, true);
}

const VERBS: Partial<Readonly<Record<RestoreAction["act"], string>>> = {
  create: "create",
  replace: "replace",
  metadata: "set metadata of",
  delete: "delete",
  conflict: "cannot restore",
  damaged: "cannot read",
};

/** Names everything that would be created, replaced or deleted, and what stays with `--verbose`. */
async function dryRun(context: Context, { holdfast }: Opened, options: RunRestoreOptions): Promise<number> {
  const steps: { action: string; path: string }[] = [];
  const print: Promise<void>[] = [];
  const { snapshot, summary } = await holdfast.planRestore(options, (actions) => {
    for (const action of actions) {
      const verb =
        action.act === "enter"
          ? action.exists
            ? undefined
            : "create"
          : action.act === "keep" && context.verbose
            ? "leave"
            : VERBS[action.act];
      if (verb === undefined) continue;
      const path = pathText(Buffer.from(action.path, "latin1"));
      const shown = `${options.to === "in-place" ? "/" : ""}${path === "" ? "." : path}${action.act === "enter" ? "/" : ""}`;
      if (context.json) steps.push({ action: action.act === "enter" ? "create" : action.act, path });
      else if (!context.quiet)
        print.push(context.print(`${verb} ${shown}${"error" in action ? `: ${safe(action.error.message)}` : ""}\n`));
    }
  });
  await Promise.all(print);
  if (context.json)
    await context.printLine("summary", { command: "restore", dryRun: true, snapshot: snapshot.id, steps, ...summary });
  else
    await context.print(
      `would create ${summary.create}, replace ${summary.replace}, set metadata of ${summary.metadata}, leave ${summary.keep}, delete ${summary.delete}; ${plural(summary.files, "file")}, ${size(summary.bytes)} to write${summary.conflicts > 0 ? `; ${plural(summary.conflicts, "conflict")}` : ""}\nnothing was changed\n`,
    );
  return 0;
}

async function finish(context: Context, reporter: Reporter, outcome: RunOutcome<RestoreResult>, live: boolean): Promise<number> {
  await reporter.end();
  const { result } = outcome;
  if (context.json)
    await context.printLine("summary", {
      command: "restore",
      ...outcomeJson(outcome),
      ...(result !== undefined && {
        snapshot: snapshotJson(result.snapshot, [result.target]),
        safetySnapshot: result.safetySnapshot?.id ?? null,
        report: result.report,
      }),
    });
  else {
    if (result !== undefined && !context.quiet) {
      const { report, snapshot } = result;
      await context.print(
        `restored from snapshot ${shortId(snapshot.id)} on ${result.target}: ${restoredText(report)}\n` +
          `  ${plural(report.files, "file")}, ${size(report.bytes)} written in ${formatDuration(outcome.durationMs)}${report.verifiedFiles > 0 ? `; ${plural(report.verifiedFiles, "file")} read back and found equal` : ""}\n`,
      );
      if (report.problemCount > 0)
        await context.print(`  ${plural(report.problemCount, "entry", "entries")} could not be restored\n`);
      if (result.safetySnapshot !== undefined)
        await context.print(
          `  what was there before is snapshot ${shortId(result.safetySnapshot.id)}; to return to it: holdfast restore --rollback ${shortId(outcome.run)}\n`,
        );
    }
    await reportOutcome(context, live ? "The restore in place" : "The restore", outcome);
  }
  return exitCodeOf(outcome);
}

/** What was done to how many entries, without what was done to none. */
function restoredText({ created, replaced, metadata, kept, deleted }: RestoreReport): string {
  const counts = [
    [created, "created"],
    [replaced, "replaced"],
    [metadata, "with metadata set"],
    [kept, "left as they were"],
    [deleted, "deleted"],
  ] as const;
  const parts = counts.filter(([number]) => number > 0).map(([number, what]) => `${count(number)} ${what}`);
  return parts.length === 0 ? "there was nothing to do" : parts.join(", ");
}
