/** How operations end: their exit code, and what is said of a failure. */
import { ERROR_CODES, formatDuration, type HoldfastError, type RunOutcome, type RunStatus } from "../index.ts";
import type { Context } from "./context.ts";
import { errorJson } from "./format.ts";

const FAILED = 1;
const PARTIAL = 3;
const INTERRUPTED = 130;

export function exitCodeOf(outcome: { readonly status: RunStatus; readonly error: HoldfastError | undefined }): number {
  switch (outcome.status) {
    case "success":
    case "skipped":
      return 0;
    case "partial":
      return PARTIAL;
    case "cancelled":
    case "interrupted":
      return INTERRUPTED;
    case "failed":
      return outcome.error === undefined ? FAILED : ERROR_CODES[outcome.error.code];
  }
}

/** The members of a summary that every run has. */
export function outcomeJson(outcome: RunOutcome<unknown>): Record<string, unknown> {
  return {
    run: outcome.run,
    status: outcome.status,
    durationMs: Math.round(outcome.durationMs),
    ...(outcome.error !== undefined && outcome.status !== "cancelled" && { error: errorJson(outcome.error) }),
  };
}

/** Says on standard error why a run did not succeed; nothing for one that did. */
export async function reportOutcome(context: Context, what: string, outcome: RunOutcome<unknown>): Promise<void> {
  if (context.json) return;
  if (outcome.status === "cancelled")
    await context.note(
      `${what} was cancelled after ${formatDuration(outcome.durationMs)}. What was stored so far is used by the next run.`,
    );
  else if (outcome.error !== undefined) await context.fail(outcome.error);
}
