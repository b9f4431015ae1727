import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../base/clock.ts";
import { asHoldfastError, HoldfastError } from "../base/errors.ts";
import { performAction, planNow, recordAcceptance, type ActionOutcome } from "../engine/apply.ts";
import { settleOwedHooks } from "../engine/hooks/owed.ts";
import { forgetOldRuns } from "../engine/runs.ts";
import type { Session } from "../engine/session.ts";
import { changesOf, type Condition } from "../plan/conditions.ts";
import { conditionEventId, makeEvent } from "../plan/events.ts";
import type { PlanNote } from "../plan/plan.ts";
import type { Scheduler } from "../scheduler/scheduler.ts";
import type { Log } from "../telemetry/log.ts";
import { CONDITIONS_NOTE, knownConditions } from "./known-conditions.ts";

/** How often desired and observed are compared although nothing happened. */
const RECONCILE_MS = 10 * 60_000;
/** After a run they are compared too, but not after each of many. */
const BETWEEN_MS = 30_000;
/** Beyond the moment in which a promise breaks. */
const SURELY_MS = 1000;

export interface ReconcilerOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly scheduler: Scheduler;
}

/**
 * Compares desired with observed: creates what is missing, hands to the scheduler what is due, and tells what has ceased to hold, or
 * holds again, since it looked last, over restarts too.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  #wake = new AbortController();
  #lookedAt = Number.NEGATIVE_INFINITY;
  #untilMs = Number.POSITIVE_INFINITY;
  #ended = new AbortController();
  readonly #stopNow = new AbortController();
  /** Settling owed hooks, while it goes on. */
  #owed: Promise<void> | undefined;
  /** Notes of the last plan: each is logged once, whatever the times in it say. */
  #told: ReadonlySet<string> = new Set();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  /** Ends a `rest` at once. */
  hurry(): void {
    this.#wake.abort();
  }

  /** A run has ended, and what is observed may have changed. */
  runEnded(): void {
    this.#ended.abort();
  }

  /** Resolves when it is time to look again, or when `signal` fires. */
  async rest(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const wake = AbortSignal.any([signal, this.#wake.signal]);
    const untilMs = Math.max(0, this.#untilMs - clock.now()) + SURELY_MS;
    await clock.sleep(Math.min(RECONCILE_MS, untilMs), AbortSignal.any([wake, this.#ended.signal])).catch(() => undefined);
    const leftMs = BETWEEN_MS - (clock.monotonic() - this.#lookedAt);
    if (leftMs > 0) await clock.sleep(leftMs, wake).catch(() => undefined);
  }

  /** Lets an owed hook that runs end within `graceMs`, then ends it; a second call may shorten the first. Never rejects. */
  async stop(graceMs: number): Promise<void> {
    const over = new AbortController();
    const late = this.#options.clock.sleep(graceMs, over.signal).then(
      () => this.#stopNow.abort(new HoldfastError("cancelled", "The daemon stops")),
      () => undefined,
    );
    await this.#owed;
    over.abort();
    await late;
  }

  /**
   * True when the scheduler has a plan of this configuration. Never rejects. Does nothing more once `isCurrent` is false: another
   * configuration is in force.
   */
  async reconcile(session: Session, signal: AbortSignal, isCurrent: () => boolean): Promise<boolean> {
    const { clock, log, scheduler } = this.#options;
    this.#wake = new AbortController();
    this.#ended = new AbortController();
    this.#lookedAt = clock.monotonic();
    try {
      forgetOldRuns(session.state, clock.now());
      this.#settleOwed(session, signal);
      let plan = await planNow(session, { signal });
      const first = plan.actions.filter((action) => action.kind === "create" || action.kind === "change");
      for (const action of first) this.#report(await performAction(session, action, signal));
      // What was created changes what is due.
      if (first.some(({ kind }) => kind === "create")) plan = await planNow(session, { signal });
      // A plan of a configuration that was replaced meanwhile is worth nothing.
      if (!isCurrent()) return false;
      this.#tellNotes(plan.notes);
      this.#tellChanges(session, plan.conditions);
      recordAcceptance(session, plan);
      scheduler.reconcile(session.config, plan);
      for (const { job, timeMs } of scheduler.next()) log.debug(`next run of ${job}: ${new Date(timeMs).toISOString()}`);
      return true;
    } catch (error) {
      if (!signal.aborted) log.error(`reconciling failed: ${asHoldfastError(error).message}`);
      return false;
    } finally {
      if (!isCurrent()) this.hurry();
    }
  }

  /** Beside everything else: a hook may take long, and only runs of its own job wait for it. */
  #settleOwed(session: Session, signal: AbortSignal): void {
    this.#owed ??= settleOwedHooks(session, { signal, stopNow: this.#stopNow.signal })
      .catch((error: unknown) => {
        if (!signal.aborted) this.#options.log.error(`owed hooks cannot be settled: ${asHoldfastError(error).message}`);
      })
      .finally(() => {
        this.#owed = undefined;
      });
  }

  #tellNotes(notes: readonly PlanNote[]): void {
    const { log } = this.#options;
    const keys = notes.map(({ level, job, target, text }) => `${level} ${job} ${target} ${text.replaceAll(/\d+/g, "")}`);
    for (const [index, { level, text }] of notes.entries())
      if (!this.#told.has(keys[index] as string)) log[level === "info" ? "info" : "warn"](text);
    this.#told = new Set(keys);
  }

  /** Events first, then what is known: a crash between the two tells nothing twice, because their ids are the same again. */
  #tellChanges(session: Session, conditions: readonly Condition[]): void {
    const { clock, log } = this.#options;
    const { state, config } = session;
    const nowMs = clock.now();
    this.#untilMs = Math.min(...conditions.map(({ untilMs }) => untilMs ?? Number.POSITIVE_INFINITY));
    try {
      const known = knownConditions(state);
      const { changes, now } = changesOf(conditions, known, nowMs);
      for (const { condition, event } of changes) {
        const { key, holds, summary, jobs, targets } = condition;
        log[holds ? "info" : "warn"](summary);
        const sinceMs = known[key]?.sinceMs ?? nowMs;
        if (event !== undefined)
          state.recordEvent(
            makeEvent(config, conditionEventId(event, key, sinceMs), { type: event, timeMs: nowMs, summary, jobs, targets }),
          );
      }
      if (!isDeepStrictEqual(known, now)) state.setNote(CONDITIONS_NOTE, now, nowMs);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      log.warn(`what holds and what does not cannot be kept: ${error.message}`);
    }
  }

  #report({ action, status, summary, error }: Pick<ActionOutcome, "action" | "status" | "summary" | "error">): void {
    const { log } = this.#options;
    if (status === "failed") log.error(summary, { action: action.kind, code: error?.code, hint: error?.hint });
    else if (status === "held") log.warn(`held for approval: ${summary}`);
    else log.info(summary);
  }
}
