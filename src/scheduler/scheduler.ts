/**
 * Plan + Clock → runs. Holds timelines (when things become due), delays (jitter, retries), a queue and what runs. Everything
 * in it can be lost: the next plan finds again what is due. Only the Clock moves it, at least every 30 s, so that a jump of the
 * date or a suspended machine is noticed. Above 500 lines: what waits, runs and is delayed changes together, at each of its calls.
 */
import { createHash } from "node:crypto";
import { asHoldfastError, HoldfastError } from "../base/errors.ts";
import type { Clock } from "../base/clock.ts";
import { formatDuration } from "../base/duration.ts";
import type { RunStatus } from "../base/events.ts";
import type { Randomness } from "../base/random.ts";
import type { Config, JobConfig, JobMode, ScheduleConfig } from "../config/config.ts";
import { backoffMs } from "../plan/backups.ts";
import type { Plan } from "../plan/plan.ts";
import { windowEnd } from "../plan/window.ts";
import { formatSlot } from "../plan/zone.ts";
import { dueKey, slotDue } from "./due.ts";
import type { Due, SchedulerEvent, StartedDue } from "./due.ts";
import { selectStartable } from "./queue.ts";
import type { Waiting } from "./queue.ts";
import { backupSchedules, nextJobRuns, prunableTargets, strongerMode } from "./schedule.ts";
import { Timeline } from "./timeline.ts";

const LONGEST_SLEEP_MS = 30_000;
/** A slot older than this passed while nothing looked. */
const LATE_MS = 5 * 60_000;
/** How long aborted runs may take to end before `stop` gives up on them. */
const ABORT_WAIT_MS = 10_000;

export interface SchedulerOptions {
  readonly clock: Clock;
  /** Seeds the jitter. */
  readonly random: Randomness;
  readonly execute: Execute;
  readonly onEvent: (event: SchedulerEvent) => void;
  /** What the machine is like now; asked only for jobs that wait for it. */
  readonly machine?: () => MachineState;
}

/** What a job may wait for. */
export interface MachineState {
  /** Load average of the last minute. */
  readonly load: number;
  readonly onBattery: boolean;
  readonly metered: boolean;
}

/** What a person or the API asks for. */
export interface RunRequest extends Pick<Due, "kind" | "subject">, Partial<Pick<Due, "mode" | "sources" | "targets" | "why">> {
  /** Runs it in place of the scheduler's `execute`. */
  readonly perform?: Execute;
  /** Gives it up: what waits is dropped and counts as cancelled, what runs is aborted with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Runs one thing to its end. A rejection counts as `failed`. The signal fires on cancel, timeout and shutdown. */
export type Execute = (due: StartedDue, signal: AbortSignal) => Promise<RunStatus>;

interface Queued extends Waiting {
  readonly perform: Execute | undefined;
  readonly settled: PromiseWithResolvers<RunStatus>;
  deferred: boolean;
}

interface Running extends Queued {
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

interface Delayed {
  readonly due: Due;
  /** On the monotonic clock. */
  readonly at: number;
}

export class Scheduler implements AsyncDisposable {
  readonly #options: SchedulerOptions;
  readonly #seed: Uint8Array;
  readonly #timelines = new Map<string, Timeline>();
  readonly #delayed = new Map<string, Delayed>();
  readonly #queue = new Map<string, Queued>();
  readonly #running = new Map<string, Running>();
  readonly #paused = new Set<string>();
  #config: Config | undefined;
  #order = 0;
  #wake = new AbortController();
  #loop: Promise<void> | undefined;
  #stopping = false;
  #turnedAt: number | undefined;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#seed = options.random.bytes(16);
  }

  /**
   * Takes over a configuration and what its plan says is due. The first call starts the scheduler and runs `onStart` schedules. Calling
   * it again with the same plan changes nothing: what waits or runs is not queued twice. Runs in flight keep their configuration.
   */
  reconcile(config: Config, plan: Pick<Plan, "actions">): void {
    if (this.#stopping) return;
    const first = this.#config === undefined;
    this.#config = config;
    this.#reconcileTimelines(config);
    for (const [key, { due }] of this.#delayed) if (!this.#isDeclared(due)) this.#delayed.delete(key);
    for (const item of this.#queue.values())
      if (!this.#isDeclared(item.due)) this.#drop(item, `${item.due.subject} is no longer in the configuration`);
    for (const action of plan.actions) {
      const base = { sources: undefined, slotMs: undefined, attempt: 1, reason: "plan", mode: "full" } as const;
      if (action.kind === "backup") {
        if (action.slotMs !== undefined) this.#timelines.get(`backup:${action.job}`)?.remember(action.slotMs);
        const { job: subject, sources, targets, mode, slotMs, why } = action;
        this.#offer({ ...base, kind: "backup", subject, sources, targets, mode, slotMs, why });
      } else if (action.kind === "verify")
        this.#offer({ ...base, kind: "verify", subject: action.job, targets: [action.target], why: action.why });
      else if (action.kind === "prune")
        this.#offer({ ...base, kind: "prune", subject: action.target, targets: [action.target], why: action.why });
    }
    if (first) {
      for (const job of config.jobs.values()) {
        const schedule = job.enabled ? job.schedules.find((one) => one.schedule.onStart) : undefined;
        if (schedule)
          this.#offer(
            slotDue("backup", job.name, "start", "the daemon started", schedule.mode ?? job.mode, undefined, undefined),
          );
      }
      this.#loop = this.#live();
    }
    this.#poke();
  }

  /** Queues a run ahead of all scheduled ones, windows or not, and resolves when it has ended. Rejects as `ask` throws. */
  async request(request: RunRequest): Promise<RunStatus> {
    return await this.ask(request);
  }

  /**
   * The same, but throws at once when it cannot be queued: `state_busy` while the same runs or was asked for already, or the
   * scheduler does not run; `name_unknown` for what is not declared.
   */
  ask(request: RunRequest): Promise<RunStatus> {
    const config = this.#config;
    if (!config || this.#stopping) throw new HoldfastError("state_busy", "The scheduler is not running");
    const key = dueKey(request);
    const waiting = this.#queue.get(key);
    const due: Due = {
      kind: request.kind,
      subject: request.subject,
      reason: "asked",
      why: request.why ?? "asked for",
      // It stands in for what waits, which may be the full backup of the week.
      mode: request.mode ?? strongerMode(config.jobs.get(request.subject)?.mode ?? "full", waiting?.due.mode),
      sources: request.sources,
      targets: request.kind === "prune" ? [request.subject] : request.targets,
      slotMs: undefined,
      attempt: 1,
    };
    if (!this.#isDeclared(due))
      throw new HoldfastError("name_unknown", `There is no ${due.kind === "prune" ? "target" : "job"} named ${due.subject}`);
    const hint = "`holdfast status` shows what runs and waits; `holdfast cancel` ends it.";
    if (this.#running.has(key))
      throw new HoldfastError("state_busy", `A ${due.kind} of ${due.subject} is already running`, { hint });
    if (waiting?.due.reason === "asked")
      throw new HoldfastError("state_busy", `A ${due.kind} of ${due.subject} was already asked for`, { hint });
    this.#delayed.delete(key);
    const { settled } = this.#enqueue(due, waiting, request.perform);
    const { signal } = request;
    const giveUp = (): void => {
      const queued = this.#queue.get(key);
      // Who asked thinks better of it: a slot that this run stood in for is still due.
      if (queued?.settled === settled) this.#drop(queued, "who asked for it gave it up", "cancelled", "skipped");
      const running = this.#running.get(key);
      if (running?.settled === settled) running.abort.abort(signal?.reason);
    };
    signal?.addEventListener("abort", giveUp, { once: true });
    settled.promise.then(() => signal?.removeEventListener("abort", giveUp)).catch(() => undefined);
    if (signal?.aborted === true) giveUp();
    this.#poke();
    return settled.promise;
  }

  /** Resolves when what runs or waits of this kind and subject has ended; at once when there is nothing. */
  async idle(what: Pick<Due, "kind" | "subject" | "targets">): Promise<void> {
    const key = dueKey(what);
    await (this.#running.get(key) ?? this.#queue.get(key))?.settled.promise;
  }

  /** A paused job is not started by schedules and plans; what runs goes on, and a person may still ask for it. */
  pause(job: string): void {
    this.#paused.add(job);
    for (const item of this.#queue.values())
      if (item.due.subject === job && item.due.reason !== "asked") this.#drop(item, `job ${job} is paused`);
    for (const [key, { due }] of this.#delayed) if (due.subject === job) this.#delayed.delete(key);
  }

  resume(job: string): void {
    this.#paused.delete(job);
  }

  /** Aborts what runs for a job (or prunes a target), and drops what waits, on record. False when there was nothing. */
  cancel(subject: string): boolean {
    const reason = new HoldfastError("cancelled", `The run of ${subject} was cancelled`);
    const running = [...this.#running.values()].filter(({ due }) => due.subject === subject);
    const waiting = [...this.#queue.values()].filter(({ due }) => due.subject === subject);
    for (const { abort } of running) abort.abort(reason);
    for (const item of waiting) this.#drop(item, "it was cancelled", "cancelled");
    const delayed = [...this.#delayed].filter(([, { due }]) => due.subject === subject);
    for (const [key, { due }] of delayed) {
      this.#delayed.delete(key);
      this.#tellSkipped(due, "it was cancelled", "cancelled");
    }
    return running.length + waiting.length + delayed.length > 0;
  }

  /** True when it has taken over a configuration, and so may be asked for runs. */
  get isStarted(): boolean {
    return this.#config !== undefined;
  }

  /** When the loop turned last, on the monotonic clock: at most 30 s ago while it lives. Undefined before it starts and once it stops. */
  get turnedAt(): number | undefined {
    return this.#stopping ? undefined : this.#turnedAt;
  }

  /** What runs, and what waits for a place, a window or its jitter. */
  status(): { readonly running: readonly Due[]; readonly waiting: readonly Due[]; readonly paused: readonly string[] } {
    const waiting = [...this.#queue.values(), ...this.#delayed.values()].map(({ due }) => due);
    return { running: [...this.#running.values()].map(({ due }) => due), waiting, paused: [...this.#paused] };
  }

  /** The next run of each enabled job that has one, soonest first; jitter comes on top. */
  next(): { job: string; timeMs: number; mode: JobMode }[] {
    const config = this.#config;
    if (!config) return [];
    return [...config.jobs.values()]
      .filter((job) => job.enabled && !this.#paused.has(job.name))
      .flatMap((job) =>
        nextJobRuns(job, this.#options.clock.now(), config.daemon.timezone, 1).map((run) => ({ job: job.name, ...run })),
      )
      .toSorted((a, b) => a.timeMs - b.timeMs);
  }

  /**
   * Starts nothing more, lets what runs end within `graceMs`, then aborts it and waits 10 s. Never rejects. A second call with a
   * shorter grace shortens the first.
   */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#poke();
    await this.#loop;
    for (const item of this.#queue.values()) this.#drop(item, "the daemon is stopping", "cancelled", "skipped");
    this.#delayed.clear();
    const ended = Promise.all([...this.#running.values()].map(({ done }) => done));
    if (graceMs > 0) await this.#within(ended, graceMs);
    for (const { abort, due } of this.#running.values())
      abort.abort(new HoldfastError("cancelled", `The run of ${due.subject} was stopped: the daemon is stopping`));
    if (this.#running.size > 0) await this.#within(ended, ABORT_WAIT_MS);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop(0);
  }

  async #live(): Promise<void> {
    const { clock } = this.#options;
    while (!this.#stopping) {
      this.#wake = new AbortController();
      this.#turnedAt = clock.monotonic();
      this.#tick();
      try {
        await clock.sleep(this.#untilNext(), this.#wake.signal);
      } catch {
        // Woken early.
      }
    }
  }

  #poke(): void {
    this.#wake.abort();
  }

  /** Resolves when `work` has settled or `waitMs` have passed. */
  async #within(work: Promise<unknown>, waitMs: number): Promise<void> {
    const over = new AbortController();
    const limit = this.#options.clock.sleep(waitMs, over.signal).catch(() => undefined);
    await Promise.race([work, limit]);
    over.abort();
  }

  #tick(): void {
    const config = this.#config;
    if (!config) return;
    const { clock } = this.#options;
    const nowMs = clock.now();
    for (const [key, timeline] of this.#timelines) {
      const passed = timeline.pass(nowMs);
      if (passed) this.#slotPassed(key, passed.slotMs, passed.mode, passed.schedule, nowMs, config);
    }
    for (const [key, { due, at }] of this.#delayed) {
      if (at > clock.monotonic()) continue;
      this.#delayed.delete(key);
      this.#offer(due);
    }
    this.#startWaiting(config, nowMs);
  }

  #untilNext(): number {
    const { clock } = this.#options;
    let delayMs = LONGEST_SLEEP_MS;
    for (const { nextMs } of this.#timelines.values())
      if (nextMs !== undefined) delayMs = Math.min(delayMs, nextMs - clock.now());
    for (const { at } of this.#delayed.values()) delayMs = Math.min(delayMs, at - clock.monotonic());
    return Math.max(1, delayMs);
  }

  #slotPassed(timeline: string, slotMs: number, mode: JobMode, schedule: ScheduleConfig, nowMs: number, config: Config): void {
    const { timezone } = config.daemon;
    const lateMs = nowMs - slotMs;
    const [kind, subject] = timeline.split(":", 2) as [Due["kind"], string];
    const skip = (reason: string): void => this.#tellSkipped({ kind, subject, slotMs }, reason);
    if (kind !== "prune" && this.#paused.has(subject)) return skip("the job is paused");
    if (!schedule.catchUp && lateMs > LATE_MS + schedule.jitterMs)
      return skip(`the slot of ${formatSlot(slotMs, timezone)} was missed, and catchUp is off`);
    const isLate = lateMs > LATE_MS;
    const why = isLate
      ? `missed its slot of ${formatSlot(slotMs, timezone)}, ${formatDuration(lateMs)} ago`
      : `slot of ${formatSlot(slotMs, timezone)}`;
    const targets =
      kind === "prune"
        ? prunableTargets(config)
        : kind === "verify"
          ? (config.jobs.get(subject)?.targets ?? []).map(({ target }) => target.name)
          : [undefined];
    for (const target of targets) {
      const due = slotDue(
        kind,
        kind === "prune" ? (target as string) : subject,
        isLate ? "missed" : "slot",
        why,
        mode,
        target,
        slotMs,
      );
      if (this.#isBusy(due, slotMs)) continue;
      const key = dueKey(due);
      const delayMs = this.#jitter(key, slotMs, schedule.jitterMs);
      this.#delayed.delete(key);
      if (delayMs > 0) this.#delayed.set(key, { due, at: this.#options.clock.monotonic() + delayMs });
      else this.#enqueue(due);
    }
  }

  /** Overlap: the same still runs or waits. Then a slot is skipped, on record; one that waits only takes the stronger mode. */
  #isBusy(due: Due, slotMs: number): boolean {
    const key = dueKey(due);
    const waiting = this.#queue.get(key);
    const skip = (reason: string): void => this.#tellSkipped({ ...due, slotMs }, reason);
    if (waiting) {
      this.#queue.set(key, { ...waiting, due: { ...waiting.due, mode: strongerMode(waiting.due.mode, due.mode) } });
      if (!waiting.deferred) skip("the run before is still waiting for its turn");
    } else if (this.#running.has(key)) skip("the run before is still going: it takes longer than its interval");
    else return false;
    return true;
  }

  /** Deterministic by what and when, different on every host. */
  #jitter(key: string, slotMs: number, jitterMs: number): number {
    if (jitterMs <= 0) return 0;
    const digest = createHash("sha256").update(this.#seed).update(`${key} ${slotMs}`).digest();
    return Math.floor((digest.readUInt32BE(0) / 2 ** 32) * jitterMs);
  }

  /** Queues what does not wait or run already. */
  #offer(due: Due): void {
    const key = dueKey(due);
    if (this.#queue.has(key) || this.#running.has(key) || this.#delayed.has(key)) return;
    if (due.kind !== "prune" && this.#paused.has(due.subject)) return;
    if (this.#isDeclared(due)) this.#enqueue(due);
  }

  #enqueue(due: Due, replaces?: Queued, perform?: Execute): Queued {
    const settled = replaces?.settled ?? Promise.withResolvers<RunStatus>();
    // Nobody need listen to a run that nobody asked for.
    settled.promise.catch(() => undefined);
    const order = replaces?.order ?? this.#order++;
    const item: Queued = { due, priority: 0, order, targets: [], perform, settled, deferred: false };
    this.#queue.set(dueKey(due), item);
    this.#options.onEvent({ type: "queued", due });
    return item;
  }

  /** Takes it out of the queue and settles it; a drop that is no `cancel` is on record as skipped. */
  #drop(item: Queued, reason: string, status: "skipped" | "cancelled" = "skipped", recorded = status): void {
    this.#queue.delete(dueKey(item.due));
    this.#tellSkipped(item.due, reason, recorded);
    item.settled.resolve(status);
  }

  #tellSkipped(
    { kind, subject, slotMs }: Pick<Due, "kind" | "subject" | "slotMs">,
    reason: string,
    status: "skipped" | "cancelled" = "skipped",
  ): void {
    const timeMs = this.#options.clock.now();
    this.#options.onEvent({ type: "skipped", status, kind, subject, slotMs, timeMs, reason });
  }

  #startWaiting(config: Config, nowMs: number): void {
    const ready: Queued[] = [];
    for (const item of this.#queue.values()) {
      const job = config.jobs.get(item.due.subject);
      const waits =
        item.due.kind === "backup" && item.due.reason !== "asked" && job ? this.#waitOf(job, config, nowMs) : undefined;
      if (waits === undefined) {
        const priority = item.due.kind === "backup" ? (job?.priority ?? 0) : 0;
        ready.push({ ...item, priority, targets: item.due.targets ?? job?.targets.map(({ target }) => target.name) ?? [] });
      } else if (!item.deferred) {
        item.deferred = true;
        this.#options.onEvent({ type: "deferred", due: item.due, ...waits });
      }
    }
    const started = selectStartable({
      waiting: ready,
      running: [...this.#running.values()],
      maxConcurrent: config.daemon.maxConcurrentJobs,
    });
    for (const item of started) this.#start(item as Queued, config);
  }

  /** Why a job does not start by itself now, and until when where that is known. */
  #waitOf(job: JobConfig, config: Config, nowMs: number): { untilMs: number | undefined; reason: string } | undefined {
    const untilMs = windowEnd(job.notDuring, nowMs, config.daemon.timezone);
    if (untilMs !== undefined) return { untilMs, reason: "the job does not start within notDuring" };
    const { loadBelow, onMains, unmetered } = job.when;
    const { machine } = this.#options;
    if (machine === undefined || (loadBelow === undefined && !onMains && !unmetered)) return undefined;
    const is = machine();
    const wait = (reason: string): { untilMs: undefined; reason: string } => ({ untilMs: undefined, reason });
    if (loadBelow !== undefined && !(is.load < loadBelow))
      return wait(`the load is ${is.load.toFixed(2)}, and it starts below ${loadBelow}`);
    if (onMains && is.onBattery) return wait("the machine is on battery");
    if (unmetered && is.metered) return wait("the network is metered");
    return undefined;
  }

  #start(item: Queued, config: Config): void {
    const key = dueKey(item.due);
    this.#queue.delete(key);
    const abort = new AbortController();
    const done = this.#execute({ ...item.due, config }, abort, item.perform).then((status) => {
      this.#running.delete(key);
      this.#retry(item.due, status, config);
      item.settled.resolve(status);
      this.#poke();
    });
    this.#running.set(key, { ...item, abort, done });
  }

  async #execute(due: StartedDue, abort: AbortController, perform: Execute | undefined): Promise<RunStatus> {
    const { clock, onEvent } = this.#options;
    const execute = perform ?? this.#options.execute;
    onEvent({ type: "started", due, timeMs: clock.now() });
    const over = new AbortController();
    const timeoutMs = due.kind === "backup" ? due.config.jobs.get(due.subject)?.timeoutMs : undefined;
    if (timeoutMs !== undefined) {
      const expire = (): void =>
        abort.abort(
          new HoldfastError("timeout", `Job ${due.subject} ran longer than its timeout of ${formatDuration(timeoutMs)}`),
        );
      clock.sleep(timeoutMs, over.signal).then(expire, () => undefined);
    }
    let status: RunStatus = "failed";
    let error: unknown;
    try {
      status = await execute(due, abort.signal);
    } catch (thrown) {
      error = thrown;
      if (asHoldfastError(thrown).code === "cancelled") status = "cancelled";
    }
    over.abort();
    onEvent({ type: "ended", due, timeMs: clock.now(), status, error });
    return status;
  }

  /** A failed backup is tried again, later each time, until its attempts are used up or its next slot comes. */
  #retry(due: Due, status: RunStatus, config: Config): void {
    const retry = config.jobs.get(due.subject)?.retry;
    if (
      due.kind !== "backup" ||
      due.reason === "asked" ||
      status !== "failed" ||
      this.#stopping ||
      !retry ||
      due.attempt >= retry.attempts
    )
      return;
    const again: Due = {
      ...due,
      reason: "retry",
      attempt: due.attempt + 1,
      why: `attempt ${due.attempt + 1} of ${retry.attempts}`,
    };
    if (!this.#isDeclared(again) || this.#paused.has(due.subject)) return;
    const afterMs = backoffMs(retry, due.attempt);
    this.#delayed.set(dueKey(again), { due: again, at: this.#options.clock.monotonic() + afterMs });
    this.#options.onEvent({ type: "retry", due: again, afterMs });
  }

  #isDeclared(due: Due): boolean {
    if (due.kind === "prune") return this.#config?.targets.has(due.subject) ?? false;
    const job = this.#config?.jobs.get(due.subject);
    return job !== undefined && (job.enabled || due.reason === "asked");
  }

  #reconcileTimelines(config: Config): void {
    const nowMs = this.#options.clock.now();
    const wanted = new Map<string, { schedule: ScheduleConfig; mode: JobMode }[]>();
    for (const job of config.jobs.values()) {
      if (!job.enabled) continue;
      wanted.set(`backup:${job.name}`, backupSchedules(job));
      if (job.verify.schedule) wanted.set(`verify:${job.name}`, [{ schedule: job.verify.schedule, mode: job.mode }]);
    }
    wanted.set("prune:*", [{ schedule: config.maintenance.schedule, mode: "full" }]);
    for (const key of this.#timelines.keys()) if (!wanted.has(key)) this.#timelines.delete(key);
    for (const [key, schedules] of wanted) {
      const timeline = this.#timelines.get(key);
      if (timeline) timeline.update(schedules, config.daemon.timezone, nowMs);
      else this.#timelines.set(key, new Timeline(schedules, config.daemon.timezone, nowMs));
    }
  }
}
