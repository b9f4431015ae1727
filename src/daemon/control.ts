/**
 * What stands behind `DaemonControl`: the scheduler, the sessions and the state, for those who ask while the daemon works.
 * Above 500 lines: the turns of operations and runs are one thing; questions, tasks and reports have files of their own.
 */
import type { Clock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import type { Progress, RunEvent, RunListener, RunStatus } from "../base/events.ts";
import type { RunId } from "../base/ids.ts";
import type { Randomness } from "../base/random.ts";
import type { Config, JobConfig, JobMode } from "../config/config.ts";
import { runBackup } from "../engine/apply.ts";
import type { BackupResult } from "../engine/backup/backup.ts";
import { operationsAt, type DaemonOperations, type OperationHooks, type Workplace } from "../engine/operations.ts";
import type { Page, SnapshotQuery } from "../engine/browse/pages.ts";
import type { Queries } from "../engine/queries.ts";
import { confine, type ConfinedPlace } from "../engine/restore/confine.ts";
import type { RunRestoreOptions } from "../engine/restore/run.ts";
import type { RunOutcome } from "../engine/runs.ts";
import type { Session } from "../engine/session.ts";
import { reportStatus } from "../engine/status.ts";
import type { Execute, Scheduler } from "../scheduler/scheduler.ts";
import type { LogQuery, LogRecord, RunQuery, RunRecord, State } from "../state/state.ts";
import type { Log } from "../telemetry/log.ts";
import type { Access } from "./access.ts";
import type { AttachedHooks, Cancelled, DaemonControl, DaemonInfo, DaemonStatus } from "./daemon-control.ts";
import type { Feed } from "./feed.ts";
import { Monitor, type DaemonMonitor, type MonitorOptions } from "./monitor.ts";
import type { AuditLog } from "./audit-log.ts";
import type { ConfigWriting } from "./config-writing.ts";
import { Questions } from "./questions.ts";
import { Remembered } from "./remembered.ts";
import type { Reloader, ReloadOutcome } from "./reloader.ts";
import { Reports } from "./reports.ts";
import type { Sessions } from "./sessions.ts";
import { Tasks } from "./tasks.ts";

/** Operations at the same time, those that wait for their turn included: each may take threads and memory of its own. */
const MAX_OPERATIONS = 16;
/** Progress in a status may be so old. */
const STATUS_MS = 250;
/** A wait longer than this is told. */
const TOLD_WAIT_MS = 500;
/** How long aborted operations may take to end before a stop gives up on them. */
const ABORT_WAIT_MS = 10_000;

export interface ControlOptions {
  readonly clock: Clock;
  readonly random: Randomness;
  readonly state: State;
  readonly log: Log;
  readonly version: string;
  readonly sessions: Sessions;
  readonly access: Access;
  readonly feed: Feed;
  /** The configuration in force. */
  readonly current: () => Config;
  readonly loaded: MonitorOptions["current"];
  /** Has desired and observed compared soon. */
  readonly reconcile: () => void;
  readonly audit: AuditLog;
  readonly configWriting: ConfigWriting;
}

interface ActiveRun {
  readonly abort: AbortController;
  readonly kind: string;
  readonly subject: string;
  progress: Progress | undefined;
}

interface Follower {
  readonly listener: RunListener;
  readonly onWarning: (text: string) => void;
}

export class Control implements DaemonControl {
  readonly monitor: DaemonMonitor;
  readonly audit: AuditLog;
  readonly configWriting: ConfigWriting;
  readonly tasks: Tasks;
  readonly reports: Reports;
  readonly #questions: Questions;
  readonly #reported: Remembered;
  readonly #options: ControlOptions;
  readonly #startedMs: number;
  #scheduler: Scheduler | undefined;
  #reload: () => Promise<ReloadOutcome | undefined> = async () => undefined;
  #lastReload: () => ReloadOutcome | undefined = () => undefined;
  readonly #active = new Map<RunId, ActiveRun>();
  readonly #operations = new Map<AbortController, Promise<unknown>>();
  /** Runs that were asked for and are in the scheduler's queue or run, by job. */
  readonly #asked = new Map<string, Promise<RunOutcome<BackupResult> | undefined>>();
  readonly #followers = new Map<string, Set<Follower>>();
  readonly #ready = Promise.withResolvers<void>();
  #isReady = false;
  readonly #stopping = new AbortController();
  #lone: Promise<unknown> = Promise.resolve();
  readonly access: Access;
  readonly feed: Feed;

  constructor(options: ControlOptions) {
    this.#options = options;
    this.access = options.access;
    this.feed = options.feed;
    ({ audit: this.audit, configWriting: this.configWriting } = options);
    this.#startedMs = options.clock.now();
    this.monitor = new Monitor({
      clock: options.clock,
      state: options.state,
      current: options.loaded,
      status: () => this.status(),
      scheduler: () => this.#scheduler,
    });
    this.tasks = new Tasks(options.clock, options.random);
    this.reports = new Reports(options);
    this.#questions = new Questions(options);
    this.#reported = new Remembered({ ...options, forMs: STATUS_MS });
    this.#ready.promise.catch(() => undefined);
  }

  /** Gives it what it works with, before anything is asked. */
  attach(scheduler: Scheduler, reloader: Pick<Reloader, "reload" | "last">): void {
    this.#scheduler = scheduler;
    this.#reload = () => reloader.reload("asked for");
    this.#lastReload = () => reloader.last;
  }

  /** To be called when the scheduler has taken over a configuration: what was asked for goes into its queue. */
  reconciled(): void {
    this.#isReady = true;
    this.#ready.resolve();
    for (const { job, mode } of this.#options.state.runRequests()) this.#queue(job, mode);
  }

  /** Does `work` so that its runs can be found, followed and cancelled one by one. */
  async track<T>(
    session: Session,
    signal: AbortSignal,
    work: (session: Session, signal: AbortSignal) => Promise<T>,
    told?: Follower,
  ): Promise<T> {
    const abort = new AbortController();
    const listener = this.#listenerFor(abort, told?.listener);
    return await work(
      session.alsoTelling(listener, (text) => told?.onWarning(text)),
      AbortSignal.any([signal, abort.signal]),
    );
  }

  /** One after the other. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#lone;
    const mine = before.then(work, work);
    this.#lone = mine.catch(() => undefined);
    return await mine;
  }

  info(): DaemonInfo {
    const { path, digest } = this.#options.current();
    return {
      pid: process.pid,
      version: this.#options.version,
      startedMs: this.#startedMs,
      stopping: this.#stopping.signal.aborted,
      config: path,
      digest,
      reload: this.#lastReload(),
      api: this.access.status,
    };
  }

  status(): DaemonStatus {
    const { current, state, clock } = this.#options;
    const progress = new Map<string, Progress>();
    for (const [run, active] of this.#active) if (active.progress !== undefined) progress.set(run, active.progress);
    const waiting = this.#scheduler?.status().waiting ?? [];
    const config = current();
    return {
      ...this.#reported.get(config.digest, () => reportStatus(config, state, clock.now(), progress)),
      daemon: this.info(),
      waiting: waiting.map(({ kind, subject, why }) => ({ kind, subject, why })),
    };
  }

  runs(query: RunQuery): RunRecord[] {
    return this.#options.state.runs(query);
  }

  run(id: string): RunRecord {
    const run = this.#options.state.run(id);
    if (run !== undefined) return run;
    throw new HoldfastError("name_unknown", `There is no run ${id}, or it is not unique`, {
      hint: "`holdfast runs` lists them.",
    });
  }

  logs(id: string, query: LogQuery): LogRecord[] {
    return this.#options.state.logs(this.run(id).id, query);
  }

  requestRun(job: string, mode: JobMode | undefined): void {
    this.#job(job);
    this.#refuseWhenStopping();
    const busy = (text: string): never => {
      throw new HoldfastError("state_busy", text, {
        hint: "`holdfast status` shows what runs and waits; `holdfast cancel` ends it.",
      });
    };
    const { state, clock, log } = this.#options;
    const { running = [], waiting = [] } = this.#scheduler?.status() ?? {};
    const isOne = ({ kind, subject }: { readonly kind: string; readonly subject: string }): boolean =>
      kind === "backup" && subject === job;
    if (running.some(isOne)) busy(`A backup of ${job} is already running`);
    if (state.runRequests().some((one) => one.job === job) || waiting.some((due) => isOne(due) && due.reason === "asked"))
      busy(`A backup of ${job} was already asked for`);
    state.addRunRequest({ job, mode, askedMs: clock.now() });
    log.info(`a run of ${job} was asked for`);
    if (this.#isReady) this.#queue(job, mode);
  }

  async followRun(job: string, mode: JobMode | undefined, hooks: AttachedHooks): Promise<RunOutcome<BackupResult>> {
    const follower: Follower = { listener: hooks.onEvent, onWarning: hooks.onWarning };
    const followers = this.#followers.get(job) ?? new Set();
    this.#followers.set(job, followers.add(follower));
    try {
      this.requestRun(job, mode);
      await this.#readyFor(hooks);
      const outcome = await orAborted(
        this.#tellingOfWaits(this.#asked.get(job) ?? Promise.resolve(undefined), hooks, () =>
          this.#scheduler?.status().waiting.some((due) => due.kind === "backup" && due.subject === job),
        ),
        hooks.signal,
      );
      if (outcome !== undefined) return outcome;
    } finally {
      followers.delete(follower);
      if (followers.size === 0) this.#followers.delete(job);
    }
    if (this.#stopping.signal.aborted)
      throw new HoldfastError("state_busy", `The daemon stops before the run of ${job} began`, {
        hint: "It begins when the daemon is started again.",
      });
    throw new HoldfastError("cancelled", `The run of ${job} was cancelled before it began`);
  }

  pause(job: string): boolean {
    this.#job(job);
    const { state, clock, log } = this.#options;
    const changed = !state.pausedJobs().has(job);
    state.setPaused(job, true, clock.now());
    this.#scheduler?.pause(job);
    if (changed) log.info(`job ${job} is paused`);
    return changed;
  }

  resume(job: string): boolean {
    const { state, clock, log, reconcile } = this.#options;
    const changed = state.pausedJobs().has(job);
    // A job that is gone from the file may still be resumed.
    if (!changed) this.#job(job);
    state.setPaused(job, false, clock.now());
    this.#scheduler?.resume(job);
    if (changed) {
      log.info(`job ${job} is resumed`);
      reconcile();
    }
    return changed;
  }

  cancel(runOrJob: string): Cancelled {
    const { state, log, current } = this.#options;
    if (current().jobs.has(runOrJob)) {
      const job = runOrJob;
      const what = this.#scheduler?.status();
      const names = [...(what?.running ?? []), ...(what?.waiting ?? [])]
        .filter(({ subject, kind }) => subject === job && kind !== "prune")
        .map(({ kind }) => `${kind} of ${job}`);
      const wasAsked = state.removeRunRequest(job);
      this.#scheduler?.cancel(job);
      if (wasAsked && names.length === 0) names.push(`backup of ${job}`);
      if (names.length === 0)
        throw new HoldfastError("name_unknown", `Nothing runs or waits for job ${job}`, {
          hint: "`holdfast status` shows what does.",
        });
      log.info(`cancelled: ${names.join(", ")}`);
      return { cancelled: names };
    }
    const run = this.run(runOrJob);
    const active = this.#active.get(run.id);
    if (active === undefined)
      throw run.endedMs === undefined
        ? new HoldfastError("state_busy", `Run ${run.id.slice(0, 8)} belongs to another process`, {
            hint: "End it there, with Ctrl-C or SIGTERM.",
          })
        : new HoldfastError("name_unknown", `Run ${run.id.slice(0, 8)} is not running any more: it ended ${run.status}`, {
            hint: "`holdfast status` shows what runs.",
          });
    const name = `${active.kind} of ${active.subject}`;
    active.abort.abort(new HoldfastError("cancelled", `The ${name} was cancelled`));
    log.info(`cancelled: ${name}`, { run: run.id });
    return { cancelled: [name] };
  }

  async reload(): Promise<ReloadOutcome> {
    this.#refuseWhenStopping();
    const outcome = await this.#reload();
    if (outcome === undefined) throw stoppingError("state_busy");
    return outcome;
  }

  async operate<T>(hooks: AttachedHooks, act: (operations: DaemonOperations, hooks: OperationHooks) => Promise<T>): Promise<T> {
    this.#refuseWhenStopping();
    if (this.#operations.size >= MAX_OPERATIONS)
      throw new HoldfastError("state_busy", `The daemon has ${MAX_OPERATIONS} operations to do already`, {
        hint: "Try again when one of them has ended: `holdfast status`.",
        transient: true,
      });
    const abort = new AbortController();
    const signal = AbortSignal.any([hooks.signal, abort.signal]);
    const all = { ...hooks, signal };
    const done = act(operationsAt(this.#workplace(all, abort)), all);
    this.#operations.set(
      abort,
      done.catch(() => undefined),
    );
    try {
      return await done;
    } finally {
      this.#operations.delete(abort);
    }
  }

  listSnapshots(query: SnapshotQuery, page: Page, signal: AbortSignal): ReturnType<Queries["snapshots"]> {
    return this.#questions.listSnapshots(query, page, signal);
  }

  query<T>(signal: AbortSignal, act: (queries: Queries, signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#questions.ask(signal, act);
  }

  complain(text: string): void {
    this.#options.log.warn(text);
  }

  confineRestore(to: RunRestoreOptions["to"], path: string): ConfinedPlace {
    return confine(this.#options.current().control.restoreRoots, to, path);
  }

  /**
   * Takes nothing more, lets operations end within `graceMs`, then aborts them and waits 10 s. Never rejects; a second call
   * with a shorter grace shortens the first. What was asked for and has not begun is kept.
   */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort();
    this.#ready.reject(stoppingError("state_busy"));
    const ended = Promise.all([...this.#operations.values(), this.#questions.stop()]);
    if (graceMs > 0) await this.#within(ended, graceMs);
    for (const abort of this.#operations.keys()) abort.abort(stoppingError("cancelled"));
    if (this.#operations.size > 0) await this.#within(ended, ABORT_WAIT_MS);
  }

  async #within(work: Promise<unknown>, waitMs: number): Promise<void> {
    const over = new AbortController();
    await Promise.race([work, this.#options.clock.sleep(waitMs, over.signal).catch(() => undefined)]);
    over.abort();
  }

  #job(name: string): JobConfig {
    const { jobs } = this.#options.current();
    const job = jobs.get(name);
    if (job !== undefined) return job;
    throw new HoldfastError("name_unknown", `There is no job ${name}`, {
      hint: `The configuration in force has: ${[...jobs.keys()].join(", ") || "none"}.`,
    });
  }

  #refuseWhenStopping(): void {
    if (this.#stopping.signal.aborted) throw stoppingError("state_busy");
  }

  /** Resolves when the scheduler works; rejects when it never will, or nobody waits any more. */
  async #readyFor(hooks: OperationHooks): Promise<void> {
    if (this.#isReady) return;
    await orAborted(
      this.#tellingOfWaits(
        this.#ready.promise,
        hooks,
        () => !this.#isReady,
        "waiting until the daemon has looked at its targets",
      ),
      hooks.signal,
    );
  }

  /** Tells a wait that takes long. */
  async #tellingOfWaits<T>(
    work: Promise<T>,
    { onNotice }: OperationHooks,
    isWaiting: () => boolean | undefined,
    text?: string,
  ): Promise<T> {
    const over = new AbortController();
    const told = this.#options.clock.sleep(TOLD_WAIT_MS, over.signal).then(
      () => {
        if (isWaiting() !== true) return;
        const running = this.#scheduler?.status().running.map(({ kind, subject }) => `${kind} of ${subject}`) ?? [];
        onNotice(text ?? `waiting for its turn${running.length === 0 ? "" : `; what runs: ${running.join(", ")}`}`);
      },
      () => undefined,
    );
    try {
      return await work;
    } finally {
      over.abort();
      await told;
    }
  }

  /** Puts a run that was asked for into the scheduler's queue; it is forgotten when it begins, or will never. */
  #queue(job: string, mode: JobMode | undefined): void {
    const { state, log, sessions } = this.#options;
    const scheduler = this.#scheduler;
    // It may have been cancelled meanwhile.
    if (this.#asked.has(job) || scheduler === undefined || !state.runRequests().some((one) => one.job === job)) return;
    let outcome: RunOutcome<BackupResult> | undefined;
    const perform: Execute = async (due, signal) => {
      const told: Follower = {
        listener: (event) => {
          // Its record is there now: from here on the history tells what became of it.
          if (event.type === "started" && event.kind === "backup") state.removeRunRequest(job);
          for (const { listener } of this.#followers.get(job) ?? []) listener(event);
        },
        onWarning: (text) => this.#followers.get(job)?.forEach(({ onWarning }) => onWarning(text)),
      };
      outcome = await sessions.use((session) =>
        this.track(
          session,
          signal,
          (own, abort) => runBackup(own, job, { mode: due.mode, reason: "asked for", signal: abort }),
          told,
        ),
      );
      return outcome.status;
    };
    let ended: Promise<RunStatus>;
    try {
      ended = scheduler.ask({ kind: "backup", subject: job, perform, ...(mode !== undefined && { mode }) });
    } catch (error) {
      if (this.#stopping.signal.aborted) return;
      if (error instanceof HoldfastError && error.code === "state_busy") {
        const later = scheduler.idle({ kind: "backup", subject: job, targets: undefined }).then(() => {
          this.#asked.delete(job);
          this.#queue(job, mode);
          return this.#asked.get(job);
        });
        this.#asked.set(job, later);
        return;
      }
      log.warn(`the run of ${job} that was asked for is not begun: the configuration has no such job any more`);
      state.removeRunRequest(job);
      return;
    }
    const followed = ended
      .then(() => {
        // A stop drops what waits; it is asked for anew at the next start.
        if (!this.#stopping.signal.aborted) state.removeRunRequest(job);
        return outcome;
      })
      .finally(() => this.#asked.delete(job));
    followed.catch(() => undefined);
    this.#asked.set(job, followed);
  }

  #listenerFor(abort: AbortController, more: RunListener | undefined): RunListener {
    return (event: RunEvent) => {
      if (event.type === "started")
        this.#active.set(event.run, { abort, kind: event.kind, subject: event.subject, progress: undefined });
      else if (event.type === "ended") this.#active.delete(event.run);
      else if (event.type === "progress") {
        const active = this.#active.get(event.run);
        if (active !== undefined) active.progress = event.progress;
      }
      more?.(event);
    };
  }

  #workplace(hooks: AttachedHooks, abort: AbortController): Workplace {
    const { sessions } = this.#options;
    const told: Follower = { listener: hooks.onEvent, onWarning: hooks.onWarning };
    return {
      use: async (work) => {
        await this.#readyFor(hooks);
        return await sessions.use((session) =>
          work(session.alsoTelling(this.#listenerFor(abort, hooks.onEvent), hooks.onWarning)),
        );
      },
      take: async (turn, own, work) => {
        await this.#readyFor(hooks);
        this.#refuseWhenStopping();
        let begun = false;
        let thrown: { readonly error: unknown } | undefined;
        const perform: Execute = async ({ mode }, signal) => {
          begun = true;
          try {
            return await sessions.use((session) =>
              this.track(session, signal, (own, abort) => work(own, abort, turn.kind === "backup" ? mode : undefined), told),
            );
          } catch (error) {
            thrown = { error };
            throw error;
          }
        };
        let ended: Promise<RunStatus> | undefined;
        try {
          const { kind, subject, targets } = turn;
          ended = this.#scheduler?.ask({ kind, subject, perform, signal: own.signal, ...(targets && { targets }) });
        } catch (error) {
          if (error instanceof HoldfastError && error.code === "state_busy") return false;
          throw error;
        }
        if (ended !== undefined) await this.#tellingOfWaits(ended, own, () => !begun);
        if (thrown !== undefined) throw thrown.error;
        if (!begun) {
          own.signal.throwIfAborted();
          this.#refuseWhenStopping();
        }
        return true;
      },
      alone: (work) => this.alone(work),
      idle: async (turn, signal) => {
        await orAborted(this.#scheduler?.idle(turn) ?? Promise.resolve(), signal).catch(() => undefined);
      },
    };
  }
}

function stoppingError(code: "cancelled" | "state_busy"): HoldfastError {
  return new HoldfastError(code, "The daemon is stopping", { hint: "Ask again when it has been started." });
}

async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const over = Promise.withResolvers<never>();
  const abort = (): void => over.reject(signal.reason as Error);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([work, over.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
