/** Work that somebody asked for and does not stay for: found again by its id, with its runs, while the daemon lives. */
import type { Clock } from "../base/clock.ts";
import { asHoldfastError, HoldfastError, type ErrorWire } from "../base/errors.ts";
import { randomHex, type Randomness } from "../base/random.ts";
import type { AttachedHooks } from "./daemon-control.ts";

/** Tasks at the same time, and ended ones that are remembered. */
const MAX_OPEN = 32;
const KEPT_ENDED = 100;
/** Of what a task says, the newest so many; of its runs and parts the first. */
const KEPT_NOTICES = 20;
const KEPT_PARTS = 1000;

export interface TaskReport {
  readonly id: string;
  readonly kind: string;
  /** What it is about, for people. */
  readonly subject: string;
  /** Who asked for it. */
  readonly by: string;
  /** `waiting` until its first run begins, where it has one. */
  readonly state: "waiting" | "running" | "ended";
  readonly startedMs: number;
  readonly endedMs: number | undefined;
  /** Ids of its runs, in the order they began. */
  readonly runs: readonly string[];
  readonly notices: readonly string[];
  readonly parts: readonly unknown[];
  /** Undefined until it has ended, and when it failed. */
  readonly result: unknown;
  readonly error: ErrorWire | undefined;
}

export interface TaskDescription {
  readonly kind: string;
  readonly subject: string;
  readonly by: string;
}

/** What whoever starts a task waits for, at most so long: its first run, or its end. */
export interface TaskPatience {
  readonly until: "begun" | "ended";
  readonly waitMs: number;
}

interface Task {
  readonly report: { -readonly [Key in keyof TaskReport]: TaskReport[Key] } & {
    runs: string[];
    notices: string[];
    parts: unknown[];
  };
  readonly abort: AbortController;
  readonly begun: PromiseWithResolvers<void>;
  thrown: { readonly error: unknown } | undefined;
}

export class Tasks {
  readonly #clock: Clock;
  readonly #random: Randomness;
  readonly #tasks = new Map<string, Task>();

  constructor(clock: Clock, random: Randomness) {
    this.#clock = clock;
    this.#random = random;
  }

  /**
   * Begins `act` and reports when it was waited for enough; it goes on. Rejects as `act` does where that was before any run
   * began, for then nothing is to be looked up; and with `state_busy` when there is too much to do already.
   */
  async start(
    description: TaskDescription,
    act: (hooks: AttachedHooks) => Promise<unknown>,
    { until, waitMs }: TaskPatience,
  ): Promise<TaskReport> {
    const open = [...this.#tasks.values()].filter(({ report }) => report.state !== "ended");
    if (open.length >= MAX_OPEN)
      throw new HoldfastError("state_busy", `The daemon has ${MAX_OPEN} things to do already`, {
        hint: "Try again when one of them has ended.",
        transient: true,
      });
    const task = this.#add(description);
    const ended = this.#perform(task, act);
    const over = new AbortController();
    const wait = this.#clock.sleep(waitMs, over.signal).catch(() => undefined);
    await Promise.race([ended, wait, ...(until === "begun" ? [task.begun.promise] : [])]);
    over.abort();
    if (task.thrown !== undefined && task.report.runs.length === 0) {
      this.#tasks.delete(task.report.id);
      throw task.thrown.error;
    }
    return copyOf(task);
  }

  /** The newest first. */
  list(): TaskReport[] {
    return [...this.#tasks.values()].toReversed().map(copyOf);
  }

  get(id: string): TaskReport | undefined {
    const task = this.#tasks.get(id);
    return task && copyOf(task);
  }

  /** False when there is none that goes on. */
  cancel(id: string): boolean {
    const task = this.#tasks.get(id);
    if (task === undefined || task.report.state === "ended") return false;
    task.abort.abort(new HoldfastError("cancelled", `The ${task.report.kind} of ${task.report.subject} was cancelled`));
    return true;
  }

  #add(description: TaskDescription): Task {
    const ended = [...this.#tasks.values()].filter(({ report }) => report.state === "ended");
    for (const { report } of ended.slice(0, Math.max(0, ended.length - KEPT_ENDED + 1))) this.#tasks.delete(report.id);
    const id = randomHex(this.#random, 16);
    const task: Task = {
      report: {
        id,
        ...description,
        state: "waiting",
        startedMs: this.#clock.now(),
        endedMs: undefined,
        runs: [],
        notices: [],
        parts: [],
        result: undefined,
        error: undefined,
      },
      abort: new AbortController(),
      begun: Promise.withResolvers(),
      thrown: undefined,
    };
    this.#tasks.set(id, task);
    return task;
  }

  async #perform(task: Task, act: (hooks: AttachedHooks) => Promise<unknown>): Promise<void> {
    const { report, abort, begun } = task;
    const notice = (text: string): void => {
      report.notices.push(text);
      if (report.notices.length > KEPT_NOTICES) report.notices.shift();
    };
    try {
      report.result = await act({
        signal: abort.signal,
        onEvent: (event) => {
          if (event.type !== "started") return;
          report.state = "running";
          if (report.runs.length < KEPT_PARTS) report.runs.push(event.run);
          begun.resolve();
        },
        onNotice: notice,
        onWarning: notice,
        onPart: (part) => void (report.parts.length < KEPT_PARTS && report.parts.push(part)),
      });
    } catch (error) {
      task.thrown = { error };
      report.error = asHoldfastError(error).toWire();
    }
    report.state = "ended";
    report.endedMs = this.#clock.now();
  }
}

function copyOf({ report }: Task): TaskReport {
  return { ...report, runs: [...report.runs], notices: [...report.notices], parts: [...report.parts] };
}
