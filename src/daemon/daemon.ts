import { asHoldfastError } from "../base/errors.ts";
import { formatDuration } from "../base/duration.ts";
import type { RunEvent, RunListener, RunStatus } from "../base/events.ts";
import { formatSize } from "../base/size.ts";
import { performAction, planNow, runBackup } from "../engine/apply.ts";
import type { ConfigFiles } from "../engine/config-write.ts";
import { runPrune } from "../engine/prune/prune.ts";
import { Session } from "../engine/session.ts";
import { runVerify } from "../engine/verify/verify.ts";
import { formatSlot } from "../plan/zone.ts";
import { keepWorkers } from "../posix/workers.ts";
import type { ProbesConfig } from "../config/config.ts";
import type { StartedDue } from "../scheduler/due.ts";
import { Scheduler } from "../scheduler/scheduler.ts";
import { Machine } from "../state/machine.ts";
import type { State } from "../state/state.ts";
import { asRunId } from "../base/ids.ts";
import { randomHex } from "../base/random.ts";
import type { Log } from "../telemetry/log.ts";
import { Notifier } from "../notify/notifier.ts";
import { Access } from "./access.ts";
import { DAEMON, DaemonAudit } from "./audit-log.ts";
import { claimDaemon } from "./claim.ts";
import { ConfigWriter } from "./config-writing.ts";
import { Control } from "./control.ts";
import type { DaemonControl } from "./daemon-control.ts";
import { Feed } from "./feed.ts";
import { Probes } from "./probes.ts";
import { Reloader, type DaemonConfig, type DaemonReading } from "./reloader.ts";
import { Reconciler } from "./reconciler.ts";
import { ServiceManager } from "./service-manager.ts";
import { Sessions } from "./sessions.ts";

/** How long a stopping daemon still tries to tell of what it stopped; the rest goes out at the next start. */
const LAST_WORDS_MS = 5000;

export interface DaemonOptions extends DaemonConfig {
  readonly state: State;
  readonly log: Log;
  /** The files and folders of `config`. */
  readonly watched: readonly string[];
  /** Reads the configuration anew. Rejects when its file cannot be read. */
  readonly read: () => Promise<DaemonReading>;
  /** Where the configuration is written when somebody asks for it; without it nobody may. */
  readonly configFiles?: ConfigFiles;
  /** Names who is called to have the configuration read at once: `SIGHUP`. */
  readonly onReload?: (listener: () => void) => void;
  /** Also told of every run event. */
  readonly listener?: RunListener;
  /** Lets others ask the daemon for something, until what it returns is disposed of. A rejection is logged; the daemon goes on. */
  readonly serve?: (control: DaemonControl, stateDir: string) => Promise<AsyncDisposable>;
  /** Answers probes where the configuration says; `daemon/probes.ts` keeps it. */
  readonly serveProbes?: (control: DaemonControl, probes: ProbesConfig) => Promise<AsyncDisposable>;
  /** Fires when the daemon shall stop; a second abort reason is not needed: `stopNow` shortens the grace. */
  readonly signal: AbortSignal;
  readonly stopNow?: AbortSignal;
}

interface Skip extends Pick<StartedDue, "kind" | "subject"> {
  readonly reason: string;
  readonly timeMs: number;
  /** Default: skipped. */
  readonly status?: "skipped" | "cancelled";
}

/**
 * Converges for ever: at start, when the configuration has changed and on a slow tick it observes, plans, creates what is
 * missing and queues what is due; the scheduler runs the rest by time. A configuration that is not valid changes nothing,
 * and runs in flight keep the one they began with. Resolves after a stop, when every run has ended or the grace time has passed.
 * Rejects with `state_busy` when another daemon works on the same state folder.
 */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const { state, log, signal } = options;
  await using stack = new AsyncDisposableStack();
  stack.use(claimDaemon(state.directory));
  // Only now: the runs of a daemon that works here are none of ours.
  state.interruptDead(options.surroundings.clock.now(), true);
  const { clock, random, toolVersion } = options.surroundings;
  stack.use(keepWorkers());
  const feed = stack.use(new Feed({ state, clock, random }));
  const sessionFor = ({ config, surroundings }: DaemonConfig): Session =>
    new Session(config, state, {
      ...surroundings,
      actor: { name: DAEMON.actor, from: DAEMON.from },
      listener: (event) => {
        logEvent(log, event);
        feed.run(event);
        options.listener?.(event);
      },
    });
  let current: DaemonConfig = options;
  let loaded = { commit: undefined as string | undefined, loadedMs: 0 };
  const takeOver = (next: DaemonConfig): void => {
    current = next;
    const taken = { commit: undefined as string | undefined, loadedMs: clock.now() };
    loaded = taken;
    void Promise.resolve(next.surroundings.gitCommit).then((commit) => (taken.commit = commit));
  };
  takeOver(options);
  const manager = stack.use(new ServiceManager({ env: options.surroundings.env, clock }));
  const sessions = stack.use(new Sessions(clock, () => sessionFor(current)));
  const skip = ({ kind, subject, reason, timeMs, status = "skipped" }: Skip): RunStatus => {
    log.warn(`${kind} of ${subject} ${status}: ${reason}`);
    try {
      state.skipRun({ id: asRunId(randomHex(random, 16)), kind, subject, reason, timeMs, status });
    } catch (error) {
      // A state that is busy or full ends no daemon.
      log.warn(`that cannot be kept in the history: ${asHoldfastError(error).message}`);
    }
    return status;
  };
  const machine = new Machine();
  const access = new Access(log, () => current);
  const audit = stack.use(new DaemonAudit({ state, clock, log }));
  let planned = Promise.withResolvers<void>();
  const configWriting = new ConfigWriter({
    clock,
    state,
    log,
    files: options.configFiles,
    current: () => current.config,
    reload: () => control.reload(),
    planned: () => planned.promise,
  });
  const control = new Control({
    clock,
    random,
    state,
    log,
    version: toolVersion,
    sessions,
    access,
    feed,
    current: () => current.config,
    loaded: () => ({ config: current.config, ...loaded }),
    reconcile: () => reconciler.hurry(),
    audit,
    configWriting,
  });
  const scheduler = new Scheduler({
    machine: () => machine.state(),
    clock,
    random,
    execute: (due, abort) =>
      sessions.use((session) =>
        control.track(session, abort, (own, stop) =>
          execute(own, due, stop, (reason) => skip({ ...due, reason, timeMs: clock.now() })),
        ),
      ),
    onEvent: (event) => {
      if (event.type === "started" || event.type === "ended") setImmediate(tellStatus);
      if (event.type === "ended") {
        reconciler.runEnded();
        // What failed before its run was on record, or was called off.
        if (event.error !== undefined)
          log.error(`${event.due.kind} of ${event.due.subject} ended: ${asHoldfastError(event.error).message}`);
      }
      if (event.type === "skipped") skip(event);
      else if (event.type === "deferred") log.info(`${event.due.kind} of ${event.due.subject} waits: ${event.reason}`);
      else if (event.type === "retry")
        log.info(`${event.due.kind} of ${event.due.subject} is tried again in ${formatDuration(event.afterMs)}`);
    },
  });
  const reconciler = new Reconciler({ clock, log, scheduler });
  for (const job of state.pausedJobs()) scheduler.pause(job);
  log.info(`holdfast ${toolVersion} started`, {
    config: options.config.path,
    jobs: options.config.jobs.size,
    targets: options.config.targets.size,
  });
  audit.own("daemon.start", options.config.path, { version: toolVersion, digest: options.config.digest });
  const notifier = stack.use(
    new Notifier({
      state,
      clock,
      random,
      log,
      toolVersion,
      config: () => current.config,
      secrets: () => current.surroundings,
    }),
  );
  notifier.start();
  const tellStatus = (): void => manager.status(statusLine(scheduler, current.config.daemon.timezone));
  const reloader = stack.use(
    new Reloader({
      ...options,
      clock,
      current: () => current.config,
      record: (event) => {
        notifier.record(event);
        const refused = event.type === "config_rejected" ? "config_invalid" : undefined;
        audit.own("config.reload", current.config.path, event.details, refused);
      },
      onReload: (next) => {
        takeOver(next);
        sessions.forget();
        void probes?.listen(next.config.probes);
        // What is no longer declared stops at once; what is new waits for its plan.
        if (scheduler.isStarted) scheduler.reconcile(next.config, { actions: [] });
        reconciler.hurry();
      },
      onReading: (moment) => {
        if (moment === "begins") return manager.reloading();
        manager.ready();
        access.wasRead();
      },
    }),
  );
  const { serveProbes } = options;
  const probes = serveProbes && stack.use(new Probes({ clock, log, serve: (wanted) => serveProbes(control, wanted) }));
  options.onReload?.(() => void reloader.reload("asked for"));
  control.attach(scheduler, reloader);
  try {
    const served = await options.serve?.(control, state.directory);
    if (served !== undefined) stack.use(served);
  } catch (error) {
    const { message, hint } = asHoldfastError(error);
    log.error(`nobody can talk to this daemon: ${message}`, { hint });
  }
  await probes?.listen(current.config.probes);
  manager.ready();
  try {
    while (!signal.aborted) {
      const isPlanned = await sessions.use((session) =>
        control.alone(() => reconciler.reconcile(session, signal, () => session.config === current.config)),
      );
      if (isPlanned) {
        control.reconciled();
        planned.resolve();
        planned = Promise.withResolvers();
      }
      tellStatus();
      await reconciler.rest(signal);
    }
  } finally {
    reloader[Symbol.dispose]();
    manager.stopping();
    const { shutdownGraceMs } = current.config.daemon;
    log.info("stopping", { grace: formatDuration(shutdownGraceMs) });
    const stop = (graceMs: number): Promise<unknown> =>
      Promise.all([control.stop(graceMs), scheduler.stop(graceMs), reconciler.stop(graceMs)]);
    const stopped = stop(shutdownGraceMs);
    const hurry = (): void => void stop(0);
    options.stopNow?.addEventListener("abort", hurry, { once: true });
    if (options.stopNow?.aborted === true) hurry();
    await stopped;
    options.stopNow?.removeEventListener("abort", hurry);
    await notifier.flush(LAST_WORDS_MS, options.stopNow);
    audit.own("daemon.stop", current.config.path, undefined);
    log.info("stopped");
  }
}

/** What runs, what waits and what comes next, in one line. */
function statusLine(scheduler: Scheduler, timezone: string): string {
  const { running, waiting } = scheduler.status();
  const [next] = scheduler.next();
  const parts = [
    running.length === 0 ? "Idle" : `Running ${running.map(({ kind, subject }) => `${kind} of ${subject}`).join(", ")}`,
    ...(waiting.length === 0 ? [] : [`${waiting.length} waiting`]),
    ...(next === undefined ? [] : [`next: ${next.job} at ${formatSlot(next.timeMs, timezone)}`]),
  ];
  return parts.join("; ");
}

async function execute(
  session: Session,
  due: StartedDue,
  signal: AbortSignal,
  skip: (reason: string) => RunStatus,
): Promise<RunStatus> {
  const reason = `${due.reason}: ${due.why}`;
  switch (due.kind) {
    case "backup":
      return (
        await runBackup(session, due.subject, { mode: due.mode, sources: due.sources, targets: due.targets, reason, signal })
      ).status;
    case "verify": {
      const readData = due.config.jobs.get(due.subject)?.verify.readData ?? 0;
      return (await runVerify(session, { targets: due.targets, jobs: [due.subject], snapshots: [], readData, reason, signal }))
        .status;
    }
    case "prune": {
      // It follows a plan made now, so that nothing stale is deleted.
      const plan = await planNow(session, { signal });
      const frozen = plan.frozen.get(due.subject);
      if (frozen !== undefined && due.reason !== "asked") return skip(`target ${due.subject} is not pruned: ${frozen}`);
      // Retention first: it decides what a prune may free.
      const first = async (stop: AbortSignal): Promise<void> => {
        for (const action of plan.actions) {
          if (action.kind !== "retention" || action.target !== due.subject) continue;
          if (action.held !== undefined || action.remove.length === 0) continue;
          const outcome = await performAction(session, action, stop);
          if (outcome.error !== undefined) throw outcome.error;
        }
      };
      return (await runPrune(session, due.subject, { dryRun: false, immediate: false, first, reason, signal })).status;
    }
  }
}

function logEvent(log: Log, event: RunEvent): void {
  switch (event.type) {
    case "started":
      log.info(`${event.kind} of ${event.subject} started`, { run: event.run });
      break;
    case "message":
      log[event.level](event.text, { run: event.run });
      break;
    case "snapshot":
      log.info(`snapshot ${event.snapshot.slice(0, 8)} taken of ${event.source} on ${event.targets.join(", ")}`, {
        run: event.run,
        snapshot: event.snapshot,
      });
      break;
    case "ended":
      if (event.error === undefined) log.info(`run ended: ${event.status}`, { run: event.run });
      else
        log.error(`run ended: ${event.status}: ${event.error.message}`, {
          run: event.run,
          code: event.error.code,
          hint: event.error.hint,
        });
      break;
    case "progress":
      log.debug(`${event.progress.phase}: ${event.progress.filesDone} files, ${formatSize(event.progress.bytesDone)}`, {
        run: event.run,
      });
      break;
  }
}
