import { asHoldfastError, HoldfastError, type ErrorWire } from "../base/errors.ts";
import type { Progress, RunKind, RunStatus } from "../base/events.ts";
import { asRunId, type RunId } from "../base/ids.ts";
import { randomHex } from "../base/random.ts";
import type { State } from "../state/state.ts";
import { eventsOfEnd, eventsOfStart } from "./run-events.ts";
import type { Session } from "./session.ts";

const DAY_MS = 24 * 60 * 60_000;
/** A year, and the month in which someone looks back at it. */
const KEPT_RUNS_MS = 400 * DAY_MS;

/** What a running operation may say. */
export interface RunContext {
  readonly run: RunId;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
  readonly onMessage: (level: "info" | "warn" | "error", text: string) => void;
}

/** How an operation ended, with its result where it got that far. */
export interface RunOutcome<Result> {
  readonly run: RunId;
  readonly status: RunStatus;
  readonly error: HoldfastError | undefined;
  readonly result: Result | undefined;
  readonly durationMs: number;
}

export interface RunDescription {
  readonly kind: RunKind;
  /** The job, target or snapshot it is about. */
  readonly subject: string;
  readonly reason?: string | undefined;
  readonly targets?: readonly string[] | undefined;
  /** The job it is about, when the subject does not name it. */
  readonly job?: string | undefined;
  /** It only looks: it is in no history, and nobody is told of it. */
  readonly dryRun?: boolean | undefined;
}

/**
 * Runs `act` as a Run: recorded before it starts (but for a dry run), its messages kept, its end recorded with a status whatever happens.
 * Never rejects: a failure is in the outcome. `act` returns its status and what to keep as statistics.
 */
export async function performRun<Result>(
  session: Session,
  description: RunDescription,
  signal: AbortSignal,
  act: (context: RunContext) => Promise<{
    readonly status: RunStatus;
    readonly result: Result;
    readonly error?: HoldfastError | undefined;
    readonly statistics?: Readonly<Record<string, unknown>>;
  }>,
): Promise<RunOutcome<Result>> {
  const { clock, random, listener } = session.surroundings;
  const run = asRunId(randomHex(random, 16));
  const startedMs = clock.now();
  const started = clock.monotonic();
  const { dryRun, ...described } = description;
  const begun = { id: run, startedMs, ...described };
  // A dry run is in no history: nothing was done that a plan, a guard or a person could count on.
  if (dryRun !== true) session.state.startRun(begun, eventsOfStart(session.config, begun));
  listener({ type: "started", run, kind: description.kind, subject: description.subject, time: startedMs });
  const context: RunContext = {
    run,
    signal,
    onProgress: (progress) => listener({ type: "progress", run, progress }),
    onMessage: (level, text) => {
      session.state.log(run, level, text, clock.now());
      listener({ type: "message", run, level, text });
    },
  };
  let status: RunStatus;
  let error: HoldfastError | undefined;
  let result: Result | undefined;
  let statistics: Readonly<Record<string, unknown>> | undefined;
  try {
    signal.throwIfAborted();
    ({ status, result, error, statistics } = await act(context));
  } catch (thrown) {
    ({ status, error } = endOfThrown(thrown, signal));
  }
  const time = clock.now();
  const wire: ErrorWire | undefined = error?.toWire();
  const end = { status, endedMs: time, error: wire, statistics };
  if (dryRun !== true) session.state.endRun(run, end, eventsOfEnd(session.config, begun, end));
  listener({ type: "ended", run, status, time, ...(wire && { error: wire }) });
  forgetOldRuns(session.state, time);
  return { run, status, error, result, durationMs: clock.monotonic() - started };
}

/** How a run ends whose work rejected. */
export function endOfThrown(
  thrown: unknown,
  signal: AbortSignal,
): { readonly status: "cancelled" | "failed"; readonly error: HoldfastError } {
  const error = asHoldfastError(signal.aborted ? signal.reason : thrown);
  // A timeout aborts too, but nobody asked for it.
  return { status: signal.aborted && error.code === "cancelled" ? "cancelled" : "failed", error };
}

const lastForgotten = new WeakMap<State, number>();

/**
 * Forgets runs, with their logs, that ended more than 400 days ago; looks at most once a day for each open state. A state
 * that is busy or full is left for the next time: nothing depends on it.
 */
export function forgetOldRuns(state: State, nowMs: number): void {
  const last = lastForgotten.get(state);
  if (last !== undefined && nowMs - last < DAY_MS) return;
  lastForgotten.set(state, nowMs);
  try {
    state.forgetRuns(nowMs - KEPT_RUNS_MS);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
  }
}
