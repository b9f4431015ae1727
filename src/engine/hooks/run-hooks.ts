import { asHoldfastError, type HoldfastError } from "../../base/errors.ts";
import type { RunStatus } from "../../base/events.ts";
import type { HooksConfig } from "../../config/config.ts";
import { identityOf } from "../../state/process-identity.ts";
import { childEnvironment } from "../child-environment.ts";
import { endOfThrown, type RunContext } from "../runs.ts";
import type { Session } from "../session.ts";
import { runHook } from "./perform.ts";
import { endingKind, hookCalls, hookEnvironment, type HookCall, type HookOwner, type HookStatus } from "./plan.ts";

/** What hooks are told of the end of what they belong to. */
export interface HookEnd {
  readonly status: HookStatus;
  readonly error?: { readonly code: string } | undefined;
}

/** What hooks need of the run they belong to. */
export type HookContext = Pick<RunContext, "run" | "onMessage">;

/** The hooks of one job, or of one source, in one run. Without any, nothing here does anything. */
export class RunHooks {
  readonly #session: Session;
  readonly #owner: HookOwner;
  readonly #hooks: HooksConfig | undefined;
  readonly #context: HookContext;
  /** What `after` owes; undefined before anything has begun. */
  #owed: { readonly id: number; readonly call: HookCall }[] | undefined;
  #after: Promise<HoldfastError | undefined> | undefined;

  constructor(session: Session, owner: HookOwner, hooks: HooksConfig | undefined, context: HookContext) {
    this.#session = session;
    this.#owner = owner;
    this.#hooks = hooks;
    this.#context = context;
  }

  /**
   * Notes what will be owed, then runs the `before` hooks up to the first that fails. Rejects with its `hook_failed`, or with
   * `signal.reason`. Whatever it does, `after` must follow.
   */
  async before(signal: AbortSignal): Promise<void> {
    if (this.#hooks === undefined) return;
    signal.throwIfAborted();
    const { run } = this.#context;
    const after = this.#calls("after");
    const ids = after.length === 0 ? [] : this.#session.state.owedHooks.owe(run, this.#owner.job, this.#owner.source, after);
    this.#owed = after.map((call, index) => ({ id: ids[index] as number, call }));
    for (const call of this.#calls("before")) {
      const failure = await this.#run(call, { status: "running" }, signal);
      if (failure !== undefined) throw failure;
    }
  }

  /** Runs `onSuccess` or `onFailure`, as the status says. Resolves with the first failure that counts; never for `onError: warn`. */
  async ended(end: HookEnd & { readonly status: RunStatus }, signal: AbortSignal): Promise<HoldfastError | undefined> {
    const kind = endingKind(end.status);
    let first: HoldfastError | undefined;
    for (const call of kind === undefined ? [] : this.#calls(kind)) {
      try {
        // What ended the run already must not keep its end from being told.
        const failure = await this.#run(call, end, signal.aborted ? undefined : signal);
        first ??= failure;
      } catch (error) {
        first ??= asHoldfastError(error);
      }
    }
    return first;
  }

  /**
   * Runs the `after` hooks, each with its own timeout and whatever became of the run; none when nothing has begun. Only the first call
   * does anything, the others wait for it. Resolves with the first failure that counts; rejects when the state could not be written.
   */
  after(end: HookEnd): Promise<HoldfastError | undefined> {
    this.#after ??= this.#runAfter(end);
    return this.#after;
  }

  async #runAfter(end: HookEnd): Promise<HoldfastError | undefined> {
    let first: HoldfastError | undefined;
    const broken: unknown[] = [];
    for (const { id, call } of this.#owed ?? []) {
      try {
        const failure = await this.#run(call, end, undefined);
        first ??= failure;
      } catch (error) {
        // A state that cannot be written, on a full disk, is no reason to leave out the next one.
        broken.push(error);
      }
      try {
        this.#session.state.owedHooks.settle(id);
      } catch (error) {
        broken.push(error);
      }
    }
    if (broken.length > 0) throw broken[0];
    return first;
  }

  #calls(kind: keyof HooksConfig): HookCall[] {
    return hookCalls(this.#session.config, this.#owner, this.#hooks, kind);
  }

  /** Resolves with a failure that counts. */
  async #run(call: HookCall, end: HookEnd, signal: AbortSignal | undefined): Promise<HoldfastError | undefined> {
    const failure = await performHook(this.#session, this.#owner, call, end, this.#context, signal);
    return call.onError === "fail" ? failure : undefined;
  }
}

/**
 * Runs one hook of a run, with its output and its failure in the log of the run. Resolves with the failure; rejects with
 * `signal.reason`, and, once the hook is over, with what kept the state from being written.
 */
export async function performHook(
  session: Session,
  owner: HookOwner,
  call: HookCall,
  end: HookEnd,
  { run, onMessage }: HookContext,
  signal: AbortSignal | undefined,
): Promise<HoldfastError | undefined> {
  const { config, state, surroundings } = session;
  const broken: unknown[] = [];
  const safely = (act: () => void): void => {
    try {
      act();
    } catch (error) {
      broken.push(error);
    }
  };
  const failure = await runHook(call, {
    env: hookEnvironment(childEnvironment(config, surroundings.env), call.kind, {
      ...owner,
      run,
      host: config.host,
      status: end.status,
      error: end.error?.code,
    }),
    clock: surroundings.clock,
    signal,
    onLine: (level, text) => safely(() => onMessage(level, text)),
    onProcess: (pid) =>
      safely(() => state.owedHooks.setRunning(run, owner.source, pid === undefined ? undefined : identityOf(pid))),
  });
  if (failure !== undefined) safely(() => onMessage(call.onError === "fail" ? "error" : "warn", failure.message));
  if (broken.length > 0) throw broken[0];
  return failure;
}

/**
 * Backs up within the hooks of a job: `before`, `act`, `onSuccess` or `onFailure`, and always `after`. A hook that fails with
 * `onError: fail` makes the run fail. Rejects as `act` does.
 */
export async function withHooks<Ended extends { readonly status: RunStatus; readonly error?: HoldfastError | undefined }>(
  hooks: RunHooks,
  signal: AbortSignal,
  act: () => Promise<Ended>,
): Promise<Ended> {
  let ended: Ended | undefined;
  let thrown: unknown;
  try {
    await hooks.before(signal);
    ended = await act();
  } catch (error) {
    thrown = error;
  }
  const end = ended ?? endOfThrown(thrown, signal);
  let failure: HoldfastError | undefined;
  try {
    failure = await hooks.ended(end, signal);
  } finally {
    failure = (await hooks.after(failure === undefined ? end : { status: "failed", error: end.error ?? failure })) ?? failure;
  }
  if (ended === undefined) throw thrown;
  return failure === undefined ? ended : { ...ended, status: "failed", error: ended.error ?? failure };
}
