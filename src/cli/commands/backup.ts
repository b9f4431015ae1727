import { formatDuration, HoldfastError, type BackupResult, type JobMode, type RunOutcome } from "../../index.ts";
import { hooksFor, operationsFor, operationsHere } from "../beside.ts";
import type { Context } from "../context.ts";
import { errorJson, plural, safe, shortId, size, snapshotJson } from "../format.ts";
import { exitCodeOf, outcomeJson, reportOutcome } from "../outcome.ts";
import { Reporter } from "../reporter.ts";

export interface BackupFlags {
  readonly mode?: JobMode;
  readonly baseline?: string;
  readonly description?: string;
  readonly tag?: readonly string[];
  readonly verify?: boolean;
  readonly dryRun?: boolean;
}

export async function backup(context: Context, job: string, flags: BackupFlags): Promise<number> {
  if (flags.mode === "full" && flags.baseline !== undefined)
    throw new HoldfastError("usage", "A full backup compares with nothing, so --baseline does not go with it", {
      hint: "Leave one of the two out.",
    });
  await using reporter = new Reporter(context);
  await using opened = await context.open(reporter.listener);
  opened.holdfast.session.job(job);
  // What stores nothing disturbs nobody.
  const operations = flags.dryRun === true ? operationsHere(opened) : await operationsFor(context, opened, reporter);
  const outcome = await operations.backup(
    {
      job,
      mode: flags.mode,
      baseline: flags.baseline,
      description: flags.description,
      tags: flags.tag ?? [],
      dryRun: flags.dryRun === true,
      verify: flags.verify,
    },
    hooksFor(context, reporter),
  );
  await reporter.end();
  return await reportBackup(context, job, outcome, { command: "backup", dryRun: flags.dryRun === true });
}

/** The summary of a backup, and its exit code. */
export async function reportBackup(
  context: Context,
  job: string,
  outcome: RunOutcome<BackupResult>,
  { command, dryRun }: { readonly command: "backup" | "run"; readonly dryRun: boolean },
): Promise<number> {
  if (context.json)
    await context.printLine("summary", {
      command,
      job,
      dryRun,
      ...outcomeJson(outcome),
      sources: sourcesJson(outcome.result),
    });
  else {
    if (!context.quiet && outcome.result !== undefined)
      await context.print(backupSummary(outcome.result, dryRun, outcome.durationMs));
    await reportOutcome(context, `The backup of ${job}`, outcome);
  }
  return exitCodeOf(outcome);
}

/** What each source got, for people: one line a source, and one with its numbers. */
export function backupSummary(result: BackupResult, dryRun: boolean, durationMs: number): string {
  const lines = result.outcomes.map(({ source, snapshots }) => {
    const first = snapshots[0]?.snapshot;
    if (first === undefined) return `${safe(source)}: no snapshot`;
    const where = snapshots.map(({ target }) => target).join(", ");
    const stored = Math.max(...snapshots.map(({ snapshot }) => snapshot.storedBytes));
    const numbers = `${plural(first.files, "file")}, ${size(first.sourceBytes)}; ${size(first.newBytes)} new`;
    const partial =
      first.status === "partial" ? `, partial: ${plural(first.unreadableCount, "entry", "entries")} could not be read` : "";
    return dryRun
      ? `${safe(source)}: would be a snapshot on ${where}\n  ${numbers}`
      : `${safe(source)}: snapshot ${shortId(first.id)} on ${where}${partial}\n  ${numbers}, ${size(stored)} stored; ${first.mode}`;
  });
  // Where nothing was stored the error says why.
  if (result.outcomes.every(({ snapshots }) => snapshots.length === 0)) return "";
  return `${lines.join("\n")}\n${dryRun ? "nothing was stored" : "done"} in ${formatDuration(durationMs)}\n`;
}

function sourcesJson(result: BackupResult | undefined): unknown {
  return result?.outcomes.map(({ source, snapshots, errors }) => ({
    source,
    snapshots: snapshots.map(({ target, snapshot }) => snapshotJson(snapshot, [target])),
    errors: errors.map(({ target, error }) => ({ target: target ?? null, ...errorJson(error) })),
  }));
}
