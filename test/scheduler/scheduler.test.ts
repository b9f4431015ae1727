// Long because each rule of when something runs is one short story on one bench.

import { afterEach, describe, expect, it } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import type { RunStatus } from "../../src/base/events.ts";
import type { Config, JobConfig } from "../../src/config/config.ts";
import { makePlan } from "../../src/plan/plan.ts";
import type { Plan } from "../../src/plan/plan.ts";
import type { SchedulerEvent, StartedDue } from "../../src/scheduler/due.ts";
import { collectSlots } from "../../src/scheduler/schedule.ts";
import { Scheduler, type MachineState } from "../../src/scheduler/scheduler.ts";
import { config, job, observed, observedTarget, schedule, snapshot, target } from "../plan/literals.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const YEAR = 365 * DAY;
/** A Friday. */
const START = "2026-11-20T00:30:00Z";

type Run = { readonly due: StartedDue; readonly signal: AbortSignal; readonly end: (status: RunStatus) => Promise<void> };

interface Bench {
  readonly clock: FakeClock;
  readonly scheduler: Scheduler;
  readonly events: SchedulerEvent[];
  /** What is running now, in the order of its start. */
  readonly running: Run[];
  /** `job at 2026-11-20 02:00` for each start. */
  readonly started: string[];
  readonly skipped: () => string[];
}

const benches: Bench[] = [];

/** A scheduler whose runs end at once as success, or, with `hold`, when the test says so. */
function bench(options: { hold?: boolean; at?: string; machine?: () => MachineState } = {}): Bench {
  const clock = new FakeClock(options.at ?? START);
  const events: SchedulerEvent[] = [];
  const running: Run[] = [];
  const started: string[] = [];
  const execute = (due: StartedDue, signal: AbortSignal): Promise<RunStatus> => {
    // Weekly maintenance comes and goes; what it starts is seen in the events.
    if (due.kind !== "prune")
      started.push(`${due.subject} at ${new Date(clock.now()).toISOString().slice(0, 16).replace("T", " ")}`);
    if (!options.hold) return Promise.resolve("success");
    const { promise, resolve, reject } = Promise.withResolvers<RunStatus>();
    const end = async (status: RunStatus): Promise<void> => {
      running.splice(running.indexOf(run), 1);
      resolve(status);
      await settle();
    };
    const run: Run = { due, signal, end };
    running.push(run);
    signal.addEventListener("abort", () => {
      running.splice(running.indexOf(run), 1);
      reject(signal.reason);
    });
    return promise;
  };
  const random = { bytes: (length: number): Uint8Array => new Uint8Array(length).fill(7) };
  const onEvent = (event: SchedulerEvent): unknown => events.push(event);
  const scheduler = new Scheduler({ clock, random, execute, onEvent, ...(options.machine && { machine: options.machine }) });
  const skipped = (): string[] =>
    events.filter((event) => event.type === "skipped").map((event) => `${event.subject}: ${event.reason}`);
  const made = { clock, scheduler, events, running, started, skipped };
  benches.push(made);
  return made;
}

/** A plan of the present: every job has a snapshot of now, so that only slots to come count. */
function calmPlan(by: Config, nowMs: number): Plan {
  const targets = [...by.targets.keys()].map((name) =>
    observedTarget(
      name,
      [...by.jobs.keys()].map((one) => snapshot({ job: one, timeMs: nowMs })),
      { lastPruneMs: nowMs },
    ),
  );
  return makePlan(by, observed(targets), { nowMs, slots: collectSlots(by, nowMs), approved: [], allowRecreate: false });
}

async function begin(on: Bench, by: Config, plan = calmPlan(by, on.clock.now())): Promise<void> {
  on.scheduler.reconcile(by, plan);
  await settle();
}

const every = (everyMs: number, changes: Parameters<typeof schedule>[1] = {}): Partial<JobConfig> => ({
  schedules: [{ schedule: schedule(everyMs, changes), mode: undefined }],
});

afterEach(async () => {
  for (const { scheduler } of benches.splice(0)) await scheduler.stop(0);
});

describe("slots", () => {
  it("run when they come, and not before", async () => {
    const on = bench();
    await begin(on, config([job("docs")]));
    expect(on.scheduler.next()).toEqual([{ job: "docs", timeMs: Date.parse("2026-11-20T02:00Z"), mode: "incremental" }]);
    await on.clock.advance(90 * MINUTE - 1);
    expect(on.started).toEqual([]);
    await on.clock.advance(1);
    expect(on.started).toEqual(["docs at 2026-11-20 02:00"]);
    await on.clock.advance(2 * DAY);
    expect(on.started).toHaveLength(3);
    expect(on.events.filter(({ type }) => type === "ended")).toHaveLength(3);
  });

  it("40 days ahead are reached", async () => {
    const on = bench();
    await begin(on, config([job("docs", every(40 * DAY))]));
    const { timeMs } = on.scheduler.next()[0] as { timeMs: number };
    await on.clock.advance(timeMs - on.clock.now() - 1);
    expect(on.started).toEqual([]);
    await on.clock.advance(1);
    expect(on.started).toHaveLength(1);
  });

  it("slept through become one catch-up", async () => {
    const on = bench();
    await begin(on, config([job("docs", every(HOUR)), job("lazy", every(HOUR, { catchUp: false }))]));
    await on.clock.suspend(3 * HOUR + 10 * MINUTE);
    expect(on.started).toEqual(["docs at 2026-11-20 03:40"]);
    expect(on.events).toContainEqual(
      expect.objectContaining({
        type: "started",
        due: expect.objectContaining({ reason: "missed", slotMs: Date.parse("2026-11-20T03:00Z") }),
      }),
    );
    expect(on.skipped()).toEqual(["lazy: the slot of 2026-11-20 03:00 was missed, and catchUp is off"]);
    await on.clock.advance(20 * MINUTE);
    expect(on.started.slice(1).toSorted()).toEqual(["docs at 2026-11-20 04:00", "lazy at 2026-11-20 04:00"]);
  });

  it("at the same time are one run, in the strongest mode", async () => {
    const on = bench();
    const schedules = [
      { schedule: schedule("0 2 * * *"), mode: undefined },
      { schedule: schedule("0 2 * * 5"), mode: "full" as const },
    ];
    await begin(on, config([job("docs", { schedules })]));
    await on.clock.advance(2 * HOUR);
    expect(on.events.filter((event) => event.type === "started").map((event) => event.due.mode)).toEqual(["full"]);
  });

  it("are spread by jitter, the same each time for one seed, within its bound", async () => {
    const times: string[][] = [];
    for (let n = 0; n < 2; n++) {
      const on = bench();
      await begin(
        on,
        config([job("a", every(HOUR, { jitterMs: 30 * MINUTE })), job("b", every(HOUR, { jitterMs: 30 * MINUTE }))]),
      );
      await on.clock.advance(61 * MINUTE);
      times.push(on.started.toSorted());
    }
    const [first, second] = times as [string[], string[]];
    expect(first).toHaveLength(2);
    expect(second).toEqual(first);
    for (const start of first)
      expect(start.slice(5, 24) >= "2026-11-20 01:00" && start.slice(5, 24) < "2026-11-20 01:30").toBe(true);
    expect(first[0]?.slice(1)).not.toBe(first[1]?.slice(1));
  });

  it("verify each target of a job and prune each target that is not append-only", async () => {
    const on = bench({ at: "2026-11-22T02:30:00Z" });
    const targets = [target("disk"), target("nas", { appendOnly: true })].map((one) => ({
      target: one,
      retention: undefined,
      required: true,
    }));
    await begin(
      on,
      config([
        job("docs", { schedules: [], targets, verify: { afterBackup: false, schedule: schedule("0 3 * * 0"), readData: 0 } }),
      ]),
    );
    await on.clock.advance(HOUR);
    const started = on.events.filter((event) => event.type === "started").map(({ due }) => [due.kind, due.subject, due.targets]);
    expect(started).toEqual([
      ["verify", "docs", ["disk"]],
      ["verify", "docs", ["nas"]],
      ["prune", "disk", ["disk"]],
    ]);
  });
});

describe("a clock that jumps", () => {
  const hourly = config([job("docs", every(HOUR))]);

  it("an hour ahead and back runs no slot twice", async () => {
    const on = bench();
    await begin(on, hourly);
    await on.clock.advance(31 * MINUTE);
    expect(on.started).toEqual(["docs at 2026-11-20 01:00"]);
    await on.clock.jump(HOUR);
    await on.clock.advance(MINUTE);
    expect(on.started).toEqual(["docs at 2026-11-20 01:00", "docs at 2026-11-20 02:01"]);
    await on.clock.jump(-HOUR);
    await on.clock.advance(2 * HOUR);
    expect(on.started.slice(2)).toEqual(["docs at 2026-11-20 03:00"]);
  });

  it("an hour back runs no slot twice", async () => {
    const on = bench();
    await begin(on, hourly);
    await on.clock.advance(40 * MINUTE);
    await on.clock.jump(-HOUR);
    await on.clock.advance(2 * HOUR);
    expect(on.started).toEqual(["docs at 2026-11-20 01:00", "docs at 2026-11-20 02:00"]);
  });

  it("an hour back runs none of many slots twice", async () => {
    const on = bench();
    await begin(on, config([job("docs", every(10 * MINUTE))]));
    await on.clock.advance(61 * MINUTE);
    expect(on.started).toHaveLength(6);
    await on.clock.jump(-HOUR);
    await on.clock.advance(70 * MINUTE);
    expect(on.started).toHaveLength(7);
    expect(new Set(on.started).size).toBe(7);
  });

  it.each([10 * YEAR, -10 * YEAR])("%d ms and back makes no storm, and goes on", async (jump) => {
    const on = bench();
    await begin(on, hourly);
    await on.clock.advance(40 * MINUTE);
    expect(on.started).toHaveLength(1);
    await on.clock.jump(jump);
    await on.clock.advance(5 * MINUTE);
    expect(on.started).toHaveLength(jump > 0 ? 2 : 1);
    await on.clock.advance(3 * HOUR);
    expect(on.started).toHaveLength(jump > 0 ? 5 : 4);
    const before = on.started.length;
    await on.clock.jump(-jump);
    await on.clock.advance(MINUTE);
    expect(on.started.length - before).toBeLessThanOrEqual(1);
    const back = on.started.length;
    await on.clock.advance(3 * HOUR);
    expect(on.started).toHaveLength(back + 3);
    expect(new Set(on.started).size).toBe(on.started.length);
  });

  it("to and fro many times runs no more than the slots of both times", async () => {
    const on = bench();
    await begin(on, hourly);
    for (let n = 0; n < 20; n++) {
      await on.clock.jump(n % 2 ? -10 * YEAR : 10 * YEAR);
      await on.clock.advance(MINUTE);
    }
    expect(on.started.length).toBeLessThanOrEqual(2);
  });
});

describe("overlap and the queue", () => {
  it("a run longer than its interval makes the next skipped, with the reason", async () => {
    const on = bench({ hold: true });
    await begin(on, config([job("docs", every(HOUR))]));
    await on.clock.advance(3 * HOUR);
    expect(on.started).toEqual(["docs at 2026-11-20 01:00"]);
    expect(on.skipped()).toEqual(Array(2).fill("docs: the run before is still going: it takes longer than its interval"));
    await on.running[0]?.end("success");
    await on.clock.advance(HOUR);
    expect(on.started).toHaveLength(2);
  });

  it("runs so many at once as allowed, by priority, then as they came", async () => {
    const on = bench({ hold: true });
    const jobs = ["a", "b", "c", "d"].map((name) =>
      job(name, { ...every(HOUR), priority: name === "c" ? 10 : name === "d" ? 5 : 0 }),
    );
    await begin(on, config(jobs));
    await on.clock.advance(31 * MINUTE);
    expect(on.running.map(({ due }) => due.subject)).toEqual(["c", "d"]);
    await on.running[1]?.end("failed");
    expect(on.running.map(({ due }) => due.subject)).toEqual(["c", "a"]);
    await on.running[0]?.end("success");
    expect(on.running.map(({ due }) => due.subject)).toEqual(["a", "b"]);
  });

  it("gives a prune its target alone, and keeps later backups from overtaking it for ever", async () => {
    const on = bench({ hold: true });
    const other = job("other", { targets: [{ target: target("nas"), retention: undefined, required: true }] });
    const by = config([job("docs"), job("more"), other], {});
    await begin(on, { ...by, daemon: { ...by.daemon, maxConcurrentJobs: 9 } });
    const asked = (kind: "backup" | "prune", subject: string): void =>
      void on.scheduler.request({ kind, subject }).catch(() => undefined);
    asked("backup", "docs");
    await settle();
    asked("prune", "disk");
    await settle();
    asked("backup", "more");
    asked("backup", "other");
    await settle();
    expect(on.running.map(({ due }) => `${due.kind} ${due.subject}`)).toEqual(["backup docs", "backup other"]);
    await on.running[0]?.end("success");
    expect(on.running.map(({ due }) => `${due.kind} ${due.subject}`)).toEqual(["backup other", "prune disk"]);
    await on.running[1]?.end("success");
    expect(on.running.map(({ due }) => `${due.kind} ${due.subject}`)).toEqual(["backup other", "backup more"]);
  });

  it("starts nothing within notDuring: what came then runs once, at its end", async () => {
    const on = bench();
    const window = { text: "Mon-Fri 01:00-04:30", days: [1, 2, 3, 4, 5], startMinute: 60, endMinute: 270 };
    await begin(on, config([job("docs", { ...every(HOUR), notDuring: [window] })]));
    await on.clock.advance(4 * HOUR + 40 * MINUTE);
    expect(on.started).toEqual(["docs at 2026-11-20 04:30", "docs at 2026-11-20 05:00"]);
    expect(on.skipped()).toEqual([]);
    expect(on.events.filter(({ type }) => type === "deferred")).toMatchObject([{ untilMs: Date.parse("2026-11-20T04:30Z") }]);
  });
});

describe("a job that waits for the machine", () => {
  const when = { loadBelow: 2, onMains: true, unmetered: true };

  it("starts when load, power and network are as asked, once, and at once for a person", async () => {
    const machine = { load: 5, onBattery: true, metered: true };
    const on = bench({ machine: () => machine });
    await begin(on, config([job("docs", { ...every(HOUR), when }), job("other", every(HOUR))]));
    await on.clock.advance(3 * HOUR + MINUTE);
    expect(on.started).toEqual(["other at 2026-11-20 01:00", "other at 2026-11-20 02:00", "other at 2026-11-20 03:00"]);
    expect(on.events.filter(({ type }) => type === "deferred")).toMatchObject([
      { due: { subject: "docs" }, untilMs: undefined, reason: "the load is 5.00, and it starts below 2" },
    ]);
    await on.scheduler.request({ kind: "backup", subject: "docs" });
    expect(on.started.at(-1)).toBe("docs at 2026-11-20 03:31");
    await on.clock.advance(HOUR);
    machine.load = 1.99;
    await on.clock.advance(MINUTE);
    machine.onBattery = false;
    await on.clock.advance(MINUTE);
    expect(on.started.filter((run) => run.startsWith("docs"))).toHaveLength(1);
    machine.metered = false;
    await on.clock.advance(MINUTE);
    expect(on.started.filter((run) => run.startsWith("docs"))).toHaveLength(2);
    expect(on.skipped()).toEqual([]);
  });
});

describe("retries", () => {
  const failing = config([job("docs", { retry: { attempts: 3, backoffMinMs: MINUTE, backoffMaxMs: 90_000 } })]);

  it("follow a failure, later each time, until the attempts are used up", async () => {
    const on = bench({ hold: true });
    await begin(on, failing);
    await on.clock.advance(90 * MINUTE);
    for (const waitMs of [MINUTE, 90_000]) {
      await on.running[0]?.end("failed");
      await on.clock.advance(waitMs - 1);
      expect(on.running).toHaveLength(0);
      await on.clock.advance(1);
      expect(on.running).toHaveLength(1);
    }
    await on.running[0]?.end("failed");
    await on.clock.advance(20 * HOUR);
    expect(on.started).toHaveLength(3);
    await on.clock.advance(4 * HOUR);
    expect(on.running.map(({ due }) => due.attempt)).toEqual([1]);
  });

  it("do not follow a partial, a cancelled or a rejected abort; a rejection is a failure", async () => {
    const on = bench({ hold: true });
    await begin(on, failing);
    await on.clock.advance(90 * MINUTE);
    await on.running[0]?.end("partial");
    await on.clock.advance(DAY);
    expect(on.scheduler.cancel("docs")).toBe(true);
    await on.clock.advance(HOUR);
    expect(on.events.filter((event) => event.type === "ended").map(({ status }) => status)).toEqual(["partial", "cancelled"]);
    expect(on.started).toHaveLength(2);
    expect(on.scheduler.cancel("docs")).toBe(false);
  });

  it("a timeout aborts the run, which then counts as failed", async () => {
    const on = bench({ hold: true });
    await begin(on, config([job("docs", { timeoutMs: HOUR })]));
    await on.clock.advance(90 * MINUTE + HOUR);
    expect(on.events.filter((event) => event.type === "ended")).toMatchObject([{ status: "failed", error: { code: "timeout" } }]);
    expect(on.events.filter(({ type }) => type === "retry")).toHaveLength(1);
  });
});

describe("plans and reloads", () => {
  const plan = (by: Config, nowMs: number): Plan =>
    makePlan(by, observed([observedTarget("disk", [])]), {
      nowMs,
      slots: collectSlots(by, nowMs),
      approved: [],
      allowRecreate: false,
    });

  it("run what a plan says is due, once, however often it says so", async () => {
    const on = bench({ hold: true });
    const by = config([job("docs")]);
    await begin(on, by, plan(by, on.clock.now()));
    await begin(on, by, plan(by, on.clock.now()));
    expect(on.started).toEqual(["docs at 2026-11-20 00:30"]);
    expect(on.running[0]?.due).toMatchObject({ reason: "plan", why: "no snapshot yet" });
    expect(on.skipped()).toEqual([]);
  });

  it("start onStart schedules with the daemon only", async () => {
    const on = bench();
    const by = config([job("docs", every(DAY, { onStart: true }))]);
    await begin(on, by);
    await begin(on, by);
    expect(on.started).toHaveLength(1);
  });

  it("a removed job is not started again, what runs keeps its configuration, and an edit runs nothing", async () => {
    const on = bench({ hold: true });
    const first = config([job("docs", every(HOUR)), job("more", every(HOUR))], { digest: "first" });
    await begin(on, { ...first, daemon: { ...first.daemon, maxConcurrentJobs: 1 } });
    await on.clock.advance(31 * MINUTE);
    expect(on.scheduler.status()).toMatchObject({ running: [{ subject: "docs" }], waiting: [{ subject: "more" }] });
    await begin(on, config([job("docs", every(30 * MINUTE))], { digest: "second" }));
    expect(on.skipped()).toEqual(["more: more is no longer in the configuration"]);
    expect(on.running[0]?.due.config.digest).toBe("first");
    await on.running[0]?.end("success");
    expect(on.running).toHaveLength(0);
    await on.clock.advance(29 * MINUTE);
    expect(on.started.slice(1)).toEqual(["docs at 2026-11-20 01:30"]);
    expect(on.running[0]?.due.config.digest).toBe("second");
  });

  it("a schedule moved to an hour that is past waits for the next day", async () => {
    const on = bench();
    await begin(on, config([job("docs")]));
    await on.clock.advance(12 * HOUR);
    await begin(on, config([job("docs", { schedules: [{ schedule: schedule("0 9 * * *"), mode: undefined }] })]));
    await on.clock.advance(DAY);
    expect(on.started).toEqual(["docs at 2026-11-20 02:00", "docs at 2026-11-21 09:00"]);
  });

  it("a paused job starts nothing by itself, but for a person", async () => {
    const on = bench();
    await begin(on, config([job("docs", every(HOUR))]));
    on.scheduler.pause("docs");
    await on.clock.advance(HOUR);
    expect(on.skipped()).toEqual(["docs: the job is paused"]);
    await expect(on.scheduler.request({ kind: "backup", subject: "docs", mode: "full" })).resolves.toBe("success");
    on.scheduler.resume("docs");
    await on.clock.advance(HOUR);
    expect(on.started).toEqual(["docs at 2026-11-20 01:30", "docs at 2026-11-20 02:00"]);
  });

  it("a request is refused while the same runs, and for what does not exist", async () => {
    const on = bench({ hold: true });
    await begin(on, config([job("docs")]));
    const asked = on.scheduler.request({ kind: "backup", subject: "docs" });
    await settle();
    await expect(on.scheduler.request({ kind: "backup", subject: "docs" })).rejects.toMatchObject({ code: "state_busy" });
    await expect(on.scheduler.request({ kind: "backup", subject: "nothing" })).rejects.toMatchObject({ code: "name_unknown" });
    await on.running[0]?.end("partial");
    await expect(asked).resolves.toBe("partial");
  });
});

describe("who asks", () => {
  const full: Partial<JobConfig> = { schedules: [{ schedule: schedule(HOUR), mode: "full" }] };
  /** Two run, and `docs` waits for its scheduled full backup. */
  async function waiting(): Promise<Bench> {
    const on = bench({ hold: true });
    const first = { ...every(HOUR), priority: 1 };
    await begin(on, config([job("a", first), job("b", first), job("docs", full)]));
    await on.clock.advance(30 * MINUTE);
    expect(on.running.map(({ due }) => due.subject)).toEqual(["a", "b"]);
    expect(on.scheduler.status().waiting).toMatchObject([{ subject: "docs", mode: "full" }]);
    return on;
  }

  it("gets the full backup that was waiting, unless another was asked for", async () => {
    const on = await waiting();
    void on.scheduler.request({ kind: "backup", subject: "docs" });
    expect(on.scheduler.status().waiting).toMatchObject([{ subject: "docs", mode: "full", reason: "asked" }]);
    const other = await waiting();
    void other.scheduler.request({ kind: "backup", subject: "docs", mode: "incremental" });
    expect(other.scheduler.status().waiting).toMatchObject([{ mode: "incremental" }]);
  });

  it("brings the work along, and knows when it has ended", async () => {
    const on = await waiting();
    const did: string[] = [];
    const asked = on.scheduler.request({
      kind: "backup",
      subject: "docs",
      perform: async ({ mode }) => {
        did.push(mode);
        return "partial";
      },
    });
    let idle = false;
    void on.scheduler.idle({ kind: "backup", subject: "docs", targets: undefined }).then(() => (idle = true));
    await settle();
    expect([did, idle]).toEqual([[], false]);
    await on.running[0]?.end("success");
    expect(await asked).toBe("partial");
    await settle();
    expect([did, idle]).toEqual([["full"], true]);
    expect(on.started).not.toContain("docs at 2026-11-20 01:00");
  });

  it("may give it up: what waits goes, what runs is aborted with the reason, and neither disturbs another", async () => {
    const on = await waiting();
    const stop = new AbortController();
    const asked = on.scheduler.request({ kind: "backup", subject: "docs", signal: stop.signal });
    stop.abort(new HoldfastError("cancelled", "enough"));
    expect(await asked).toBe("cancelled");
    expect(on.scheduler.status().waiting).toEqual([]);
    expect(on.events.at(-1)).toMatchObject({ type: "skipped", status: "skipped", subject: "docs" });
    await on.running[0]?.end("success");
    const again = new AbortController();
    const running = on.scheduler.request({ kind: "backup", subject: "docs", signal: again.signal });
    await settle();
    expect(on.running.map(({ due }) => due.subject)).toEqual(["b", "docs"]);
    again.abort(new HoldfastError("cancelled", "enough"));
    expect(await running).toBe("cancelled");
    expect(on.running.map(({ due }) => due.subject)).toEqual(["b"]);
    await expect(on.scheduler.request({ kind: "backup", subject: "docs", signal: AbortSignal.abort() })).resolves.toBe(
      "cancelled",
    );
  });

  it("and cancels: what waits or is to be tried again is on record as cancelled", async () => {
    const on = await waiting();
    expect(on.scheduler.cancel("docs")).toBe(true);
    expect(on.events.at(-1)).toMatchObject({ type: "skipped", status: "cancelled", subject: "docs" });
    await on.running[0]?.end("failed");
    expect(on.scheduler.status().waiting).toMatchObject([{ subject: "a", reason: "retry" }]);
    expect(on.scheduler.cancel("a")).toBe(true);
    expect(on.events.at(-1)).toMatchObject({ type: "skipped", status: "cancelled", subject: "a" });
    expect(on.scheduler.cancel("a")).toBe(false);
    await on.scheduler.stop(0);
    expect(on.events.filter((event) => event.type === "skipped" && event.status === "cancelled")).toHaveLength(2);
  });
});

describe("stopping", () => {
  it("lets runs end within the grace time", async () => {
    const on = bench({ hold: true });
    await begin(on, config([job("docs", every(HOUR))]));
    await on.clock.advance(31 * MINUTE);
    const stopped = on.scheduler.stop(30_000);
    await settle();
    await on.running[0]?.end("success");
    await stopped;
    expect(on.events.at(-1)).toMatchObject({ type: "ended", status: "success" });
    await on.clock.advance(DAY);
    expect(on.started).toHaveLength(1);
    expect(on.clock.sleeping).toBe(0);
  });

  it("aborts them after it, or at once when told again", async () => {
    for (const again of [false, true]) {
      const on = bench({ hold: true });
      await begin(on, config([job("docs", every(HOUR))]));
      await on.clock.advance(31 * MINUTE);
      const stopped = on.scheduler.stop(30_000);
      await settle();
      if (again) await on.scheduler.stop(0);
      else await on.clock.advance(30_000);
      await stopped;
      expect(on.events.at(-1)).toMatchObject({ type: "ended", status: "cancelled", error: expect.any(HoldfastError) });
    }
  });

  it("gives up on a run that ignores its abort", async () => {
    const clock = new FakeClock(START);
    const random = { bytes: (length: number): Uint8Array => new Uint8Array(length) };
    const scheduler = new Scheduler({ clock, random, onEvent: () => undefined, execute: () => new Promise(() => undefined) });
    const by = config([job("docs", every(HOUR))]);
    scheduler.reconcile(by, calmPlan(by, clock.now()));
    await clock.advance(31 * MINUTE);
    const stopped = scheduler.stop(1000);
    await clock.advance(11_000);
    await expect(stopped).resolves.toBeUndefined();
  });
});
