import { formatDuration, HoldfastError, type BackupResult, type JobMode } from "../../index.ts";
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
  const { holdfast } = opened;
  holdfast.session.job(job);
  const baseline =
    flags.baseline === undefined ? undefined : (await holdfast.select({ id: flags.baseline }, context.signal)).info;
  const outcome = await holdfast.backup(job, {
    mode: flags.mode,
    baseline,
    ...(flags.description !== undefined && { description: flags.description }),
    tags: flags.tag ?? [],
    dryRun: flags.dryRun === true,
    verify: flags.verify,
    reason: "asked for",
    signal: context.signal,
  });
  await reporter.end();
  if (context.json)
    await context.printLine("summary", {
      command: "backup",
      job,
      dryRun: flags.dryRun === true,
      ...outcomeJson(outcome),
      sources: sourcesJson(outcome.result),
    });
  else {
    if (!context.quiet && outcome.result !== undefined)
      await context.print(backupSummary(outcome.result, flags.dryRun === true, outcome.durationMs));
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
