/** What `holdfast status` knows without opening a target. */
import { expect, test } from "vitest";
import { asRunId } from "../../src/base/ids.ts";
import type { Config } from "../../src/config/config.ts";
import { noteObserved, reportStatus, type StatusReport } from "../../src/engine/status.ts";
import type { Session } from "../../src/engine/session.ts";
import type { RunStatus } from "../../src/base/events.ts";
import { openState, type State } from "../../src/state/state.ts";
import { config, job, observed, observedTarget, schedule, snapshot } from "../plan/literals.ts";
import { temporaryTree } from "../support/tree-literal.ts";

const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 10, 20, 12, 30);
const hourly = { schedules: [{ schedule: schedule(HOUR), mode: undefined }] };

interface Bench extends Disposable {
  readonly state: State;
  ran(name: string, status: RunStatus, startedMs: number): void;
  began(name: string): void;
  report(by: Config): StatusReport["jobs"];
  saw(
    by: Config,
    snapshots: Parameters<typeof observedTarget>[1],
    nowMs: number,
    objectives?: Parameters<typeof noteObserved>[2],
  ): void;
}

function bench(): Bench {
  const folder = temporaryTree({});
  const state = openState(folder.path);
  let count = 0;
  const begin = (name: string, startedMs: number): ReturnType<typeof asRunId> => {
    const id = asRunId(String(count++).padStart(32, "0"));
    state.startRun({ id, kind: "backup", subject: name, startedMs });
    return id;
  };
  return {
    state,
    ran: (name, status, startedMs) => state.endRun(begin(name, startedMs), { status, endedMs: startedMs + 1000 }),
    began: (name) => void begin(name, NOW - 1000),
    report: (by) => reportStatus(by, state, NOW).jobs,
    saw: (by, snapshots, nowMs, objectives = []) =>
      noteObserved(
        { config: by, state } as unknown as Session,
        observed([...by.targets.keys()].map((name) => observedTarget(name, snapshots))),
        objectives,
        nowMs,
      ),
    [Symbol.dispose]: () => {
      state.close();
      folder[Symbol.dispose]();
    },
  };
}

test("a job is overdue when its slot passed without a backup, and nothing keeps it from one", () => {
  using on = bench();
  const by = config([job("docs", hourly)]);
  const since = (): number | undefined => on.report(by)[0]?.overdueSinceMs;
  expect(since()).toBe(NOW - HOUR / 2);
  on.ran("docs", "failed", NOW - 60_000);
  expect(since()).toBe(NOW - HOUR / 2);
  on.began("docs");
  expect(since()).toBeUndefined();
  on.state.interruptDead(NOW, true);
  on.state.setPaused("docs", true, NOW);
  expect(since()).toBeUndefined();
  expect(on.report(by)).toMatchObject([{ paused: true, nextMs: undefined }]);
});

test("a partial backup came in time, but is no success", () => {
  using on = bench();
  const by = config([job("docs", hourly)]);
  on.ran("docs", "success", NOW - 5 * HOUR);
  on.ran("docs", "partial", NOW - 60_000);
  expect(on.report(by)).toMatchObject([
    { last: { status: "partial" }, lastSuccessMs: NOW - 5 * HOUR, overdueSinceMs: undefined, nextMs: NOW + HOUR / 2 },
  ]);
});

test("runs under an earlier name count, skipped ones do not, and what was seen on the targets does", () => {
  using on = bench();
  const by = config([
    job("docs", { ...hourly, formerly: ["papers"] }),
    job("mail", hourly),
    job("off", { ...hourly, enabled: false }),
  ]);
  on.ran("papers", "success", NOW - 60_000);
  on.ran("docs", "skipped", NOW - 1000);
  expect(on.report(by)).toMatchObject([
    { last: { status: "success" }, lastSuccessMs: NOW - 60_000 },
    { last: undefined, lastSuccessMs: undefined, overdueSinceMs: NOW - HOUR / 2 },
    { overdueSinceMs: undefined, nextMs: undefined },
  ]);
  on.saw(by, [snapshot({ job: "mail", timeMs: NOW - 120_000 }), snapshot({ job: "mail", timeMs: NOW, status: "partial" })], NOW);
  expect(on.report(by)[1]).toMatchObject({ lastSuccessMs: NOW - 120_000, overdueSinceMs: undefined });
});

test("objectives are those that were judged last, unless a backup has ended since", () => {
  using on = bench();
  const by = config([
    job("docs", { objectives: { rpoMs: HOUR, copies: undefined, offsite: undefined, verifiedWithinMs: undefined } }),
    job("mail"),
  ]);
  const objectives = (): unknown => on.report(by).map((one) => one.objectives);
  expect(objectives()).toEqual([undefined, []]);
  const judged = [
    { job: "docs", objective: "rpo" as const, met: false, reason: "old", untilMs: undefined },
    { job: "docs", objective: "copies" as const, met: false, reason: "no longer declared", untilMs: undefined },
  ];
  on.saw(by, [], NOW - 10_000, judged);
  expect(objectives()).toEqual([[{ objective: "rpo", met: false, reason: "old", untilMs: undefined }], []]);
  on.ran("docs", "success", NOW - 5000);
  expect(objectives()).toEqual([undefined, []]);
  on.saw(by, [], NOW, [{ job: "docs", objective: "rpo", met: true, reason: "fine", untilMs: undefined }]);
  expect(objectives()).toEqual([[{ objective: "rpo", met: true, reason: "fine", untilMs: undefined }], []]);
});

test("a note that cannot be read is none", () => {
  using on = bench();
  on.state.setNote("observed", "nonsense", NOW);
  expect(on.state.note("other")).toBeUndefined();
  expect(on.report(config([job("docs", hourly)]))).toMatchObject([{ job: "docs", lastSuccessMs: undefined }]);
});
