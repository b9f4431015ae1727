import {
  actionJson,
  ERROR_CODES,
  formatDuration,
  hasChanges,
  heldActions,
  type ActionOutcome,
  type Applied,
  type BackupResult,
} from "../../index.ts";
import { hooksFor, operationsFor } from "../beside.ts";
import type { Context } from "../context.ts";
import { errorJson, plural, safe, shortId, size } from "../format.ts";
import { Reporter } from "../reporter.ts";

const PARTIAL = 3;
const INTERRUPTED = 130;

export async function apply(
  context: Context,
  flags: { readonly approve?: string; readonly allow?: "recreate" },
): Promise<number> {
  const startedMs = context.clock.monotonic();
  await using reporter = new Reporter(context);
  await using opened = await context.open(reporter.listener);
  const operations = await operationsFor(context, opened, reporter);
  const applied = await operations.apply(
    { approve: flags.approve === undefined ? [] : [flags.approve], allowRecreate: flags.allow === "recreate" },
    hooksFor(context, reporter),
  );
  await reporter.end();
  const { outcomes } = applied;
  const shown = outcomes.filter(isWorthSaying);
  // What an action failed at is not said twice.
  const tried = new Set(
    outcomes.flatMap(({ action, status }) => (status === "failed" && action.kind === "create" ? [action.target] : [])),
  );
  const unavailable = applied.unavailable.filter(({ target }) => !tried.has(target));
  const statuses = new Set(outcomes.map(({ status }) => status));
  const status = context.signal.aborted
    ? "cancelled"
    : statuses.has("failed") || unavailable.length > 0
      ? "failed"
      : statuses.has("partial")
        ? "partial"
        : "success";
  const durationMs = context.clock.monotonic() - startedMs;
  if (context.json)
    await context.printLine("summary", {
      command: "apply",
      status,
      durationMs: Math.round(durationMs),
      plan: applied.planId ?? null,
      actions: outcomes.map((outcome) => ({
        ...actionJson(outcome.action),
        status: outcome.status,
        summary: outcome.summary,
        run: outcome.run?.run ?? null,
        ...(outcome.error !== undefined && { error: errorJson(outcome.error) }),
      })),
      notes: applied.notes,
      unavailable: unavailable.map(({ target, error }) => ({ target, ...errorJson(error) })),
    });
  else {
    if (!context.quiet) {
      await context.print(shown.map((outcome) => `${outcomeLine(outcome)}\n${snapshotLines(outcome)}`).join(""));
      if (unavailable.length === 0 || shown.length > 0) await context.print(summary(outcomes, durationMs));
    }
    await reportProblems(context, applied);
    for (const { error } of unavailable) await context.fail(error);
  }
  if (status === "cancelled") return INTERRUPTED;
  if (status === "partial") return PARTIAL;
  if (status === "success") return 0;
  // One reason has its own code; several have only failure in common.
  const errors = [
    ...unavailable.map(({ error }) => error),
    ...outcomes.flatMap((one) => (one.status === "failed" && one.error !== undefined ? [one.error] : [])),
  ];
  const codes = new Set(errors.map(({ code }) => ERROR_CODES[code]));
  return codes.size === 1 ? ([...codes][0] as number) : 1;
}

/** A retention that removes nothing only takes a note. */
function isWorthSaying({ action, status }: ActionOutcome): boolean {
  return action.kind !== "retention" || action.remove.length > 0 || status !== "done";
}

function outcomeLine({ action, status, summary: text, run }: ActionOutcome): string {
  const why = action.kind === "backup" || action.kind === "verify" || action.kind === "prune" ? ` (${action.why})` : "";
  const took = run === undefined ? "" : `, ${formatDuration(run.durationMs)}, run ${shortId(run.run)}`;
  return `${`${status}:`.padEnd(11)}${safe(text)}${safe(why)}${took}`;
}

/** Which snapshots a backup took. */
function snapshotLines({ action, run }: ActionOutcome): string {
  const result = action.kind === "backup" ? (run?.result as BackupResult | undefined) : undefined;
  const lines = (result?.outcomes ?? []).flatMap(({ source, snapshots }) =>
    snapshots
      .slice(0, 1)
      .map(
        ({ snapshot }) =>
          `${" ".repeat(11)}snapshot ${shortId(snapshot.id)} of ${safe(source)} on ${snapshots.map(({ target }) => target).join(", ")}: ${plural(snapshot.files, "file")}, ${size(snapshot.sourceBytes)}, ${size(snapshot.newBytes)} new\n`,
      ),
  );
  return lines.join("");
}

function summary(outcomes: readonly ActionOutcome[], durationMs: number): string {
  if (!hasChanges({ actions: outcomes.map(({ action }) => action) })) return "Nothing to do: what is declared is what exists.\n";
  const shown = outcomes.filter(isWorthSaying);
  const parts = (["done", "partial", "failed", "held", "cancelled"] as const)
    .map((status) => ({ status, count: shown.filter((one) => one.status === status).length }))
    .filter(({ count }) => count > 0)
    .map(({ status, count }) => `${count} ${status}`);
  return `${shown.length === 1 ? "1 action" : `${shown.length} actions`}: ${parts.join(", ")}, in ${formatDuration(durationMs)}\n`;
}

async function reportProblems(context: Context, { planId, notes, outcomes }: Applied): Promise<void> {
  for (const note of notes) {
    if (note.level === "info") await context.note(safe(note.text));
    // Targets that cannot be used are reported by themselves, with what to do.
    else if (note.job !== undefined || note.target === undefined) await context.warn(note.text);
  }
  for (const { error, status } of outcomes) if (error !== undefined && status !== "cancelled") await context.fail(error);
  const held = heldActions({ actions: outcomes.map(({ action }) => action) });
  if (held.length === 0 || planId === undefined) return;
  await context.warn(
    `${held.length === 1 ? "1 change is" : `${held.length} changes are`} held until approved; \`holdfast plan\` shows what it would delete`,
  );
  await context.shell.stderr.write(`  approve with: holdfast apply --approve ${planId}\n`);
}
