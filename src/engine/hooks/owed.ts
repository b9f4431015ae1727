import { lstatSync } from "node:fs";
import { endGroup } from "../../posix/process-group.ts";
import { isProvablyAlive } from "../../state/process-identity.ts";
import type { OwedHook } from "../../state/owed-hooks.ts";
import type { Session } from "../session.ts";
import { KILL_GRACE_MS } from "./perform.ts";
import { performHook } from "./run-hooks.ts";

/** How often it is looked whether another process has done with what it had taken on. */
const LOOK_MS = 1000;

export interface SettleOptions {
  /** Only what runs of this job owe; then others that are at it are waited for. Default: of all jobs, without waiting. */
  readonly job?: string | undefined;
  /** Begins nothing more; a hook that runs may end. */
  readonly signal: AbortSignal;
  /** Ends the hook that runs, too: it is owed still. */
  readonly stopNow?: AbortSignal | undefined;
}

/**
 * Runs the `after` hooks that runs owe whose process is provably dead, each in the log of its run, with `HOLDFAST_STATUS=interrupted`.
 * What was still running of that run's hooks is ended first. One that fails is logged and not tried again, unless it removes something
 * that is still there; one during which this process dies is owed still. Rejects when the state cannot be used, and with the reason of `stopNow`.
 */
export async function settleOwedHooks(session: Session, options: SettleOptions): Promise<void> {
  const { state, surroundings } = session;
  for (;;) {
    if (options.signal.aborted) return;
    state.interruptDead(surroundings.clock.now());
    const { claimed, left } = state.owedHooks.claim(options.job);
    await performOwed(session, claimed, options);
    if (left === 0 || options.job === undefined) return;
    await surroundings.clock.sleep(LOOK_MS, options.signal).catch(() => undefined);
  }
}

async function performOwed(
  session: Session,
  owed: readonly OwedHook[],
  { signal, stopNow }: Pick<SettleOptions, "signal" | "stopNow">,
): Promise<void> {
  const waiting = new Set(owed.map(({ id }) => id));
  try {
    for (const one of owed) {
      if (signal.aborted) return;
      if (!isRemoved(one.hook)) await performOne(session, one, stopNow);
      // What could not be removed is tried again whenever owed hooks are looked for.
      if (one.hook.removes !== undefined && !isRemoved(one.hook)) continue;
      session.state.owedHooks.settle(one.id);
      waiting.delete(one.id);
    }
  } finally {
    if (waiting.size > 0) session.state.owedHooks.unclaim([...waiting]);
  }
}

function isRemoved({ removes }: OwedHook["hook"]): boolean {
  return removes !== undefined && lstatSync(removes, { throwIfNoEntry: false }) === undefined;
}

async function performOne(
  session: Session,
  { run, job, source, hook, status, running }: OwedHook,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { state, surroundings } = session;
  const onMessage = (level: "info" | "warn" | "error", text: string): void => {
    state.log(run, level, text, surroundings.clock.now());
    surroundings.listener({ type: "message", run, level, text });
  };
  if (running !== undefined && isProvablyAlive(running)) {
    onMessage("warn", `process ${running.pid}, a hook that the interrupted run left behind, is ended`);
    await endGroup(running.pid, KILL_GRACE_MS);
  }
  onMessage("warn", `${hook.name} is made up for: the run did not get to it`);
  await performHook(session, { job, source }, hook, { status }, { run, onMessage }, signal);
}
