import { describe, expect, test } from "vitest";
import { judgeHealth, stateFailed, type HealthComponent, type HealthFacts } from "../../src/daemon/health.ts";
import type { JobReport, TargetReport } from "../../src/engine/status.ts";
import { config, job, target } from "../plan/literals.ts";
import { facts, NOW, report } from "./monitor-facts.ts";

const HOUR = 3_600_000;

/** The components that are not well, as text; every one of them says what to do. */
function unwell(of: HealthFacts): string[] {
  const { components, status } = judgeHealth(of);
  const bad = components.filter((one) => one.status !== "ok");
  for (const one of bad) expect(one.recommendation, one.summary).toMatch(/\w+/);
  expect(status).toBe(bad.some((one) => one.status === "critical") ? "critical" : bad.length > 0 ? "warning" : "ok");
  return bad.map(line);
}

const line = ({ status, component, name, sinceMs, summary }: HealthComponent): string =>
  `${status} ${component}${name === undefined ? "" : ` ${name}`}${sinceMs === undefined ? "" : ` since ${(NOW - sinceMs) / 1000} s`}: ${summary}`;

const withJob = (changes: Partial<JobReport>): HealthFacts => facts({ jobs: [report("docs", changes)] });
const last = (status: NonNullable<JobReport["last"]>["status"], message?: string): NonNullable<JobReport["last"]> => ({
  run: "abcdef0123456789",
  status,
  startedMs: NOW - 10_000,
  endedMs: NOW - 5000,
  error: message === undefined ? undefined : { code: "target_full", message, hint: "Make room.", transient: false },
});

test("all is well, and says so part by part", () => {
  const { status, components } = judgeHealth(facts());
  expect(status).toBe("ok");
  expect(components.map(line)).toEqual([
    "ok config since 7200 s: the configuration is in force as it is written",
    "ok state: the state can be read",
    "ok scheduler: 0 running, 0 waiting",
    "ok target disk since 3600 s: 3 snapshots",
    "ok job docs since 3600 s: the last backup is whole",
    "ok objective docs since 3600 s: rpo: met",
    "ok outbox: nothing waits",
    "ok approval: nothing waits for an approval",
  ]);
});

describe("a job", () => {
  test.each<[string, Partial<JobReport>, string[]]>([
    [
      "that failed",
      { last: last("failed", "disk is full") },
      ["critical job docs since 5 s: the last backup failed: disk is full"],
    ],
    [
      "whose process died",
      { last: last("interrupted") },
      ["critical job docs since 5 s: the last backup was interrupted: its process died"],
    ],
    ["that left something out", { last: last("partial") }, ["warning job docs since 5 s: the last backup left something out"]],
    [
      "that is overdue",
      { overdueSinceMs: NOW - HOUR },
      ["critical job docs since 3600 s: it is overdue: a slot passed 1h 00m ago without a backup"],
    ],
    ["that is paused", { paused: true }, ["warning job docs: it is paused: nothing runs by schedule"]],
    ["that was cancelled", { last: last("cancelled") }, []],
    ["that never ran", { last: undefined, lastSuccessMs: undefined }, []],
    [
      "that misses a promise",
      { objectives: [{ objective: "rpo", met: false, reason: "files is 2 d old" }] },
      ["critical objective docs: rpo: files is 2 d old"],
    ],
  ])("%s", (_what, changes, expected) => expect(unwell(withJob(changes))).toEqual(expected));

  test("that is disabled is well, whatever happened to it, and promises nothing", () => {
    const off = facts({ jobs: [report("docs", { last: last("failed") })] }, [job("docs", { enabled: false })]);
    expect(unwell(off)).toEqual([]);
  });

  test("that failed names the run to look at and the hint of its error", () => {
    const bad = judgeHealth(withJob({ last: last("failed", "disk is full") })).components.find(({ status }) => status !== "ok");
    expect(bad?.recommendation).toBe("`holdfast logs abcdef01` says why; then `holdfast run docs`. Make room.");
  });

  test("whose objective the daemon has found missed says since when; a backup that ended meanwhile is not judged anew", () => {
    const conditions = { "objective docs rpo": { holds: false, sinceMs: NOW - 60_000 } };
    expect(unwell({ ...withJob({ objectives: undefined }), conditions })).toEqual([
      "critical objective docs since 60 s: rpo: missed",
    ]);
    expect(unwell({ ...withJob({ objectives: undefined }), conditions: {} })).toEqual([]);
  });
});

describe("a target", () => {
  const seen = (changes: Partial<TargetReport>): HealthFacts => {
    const good = facts();
    const [first] = good.status.targets;
    return { ...good, status: { ...good.status, targets: [{ ...(first as TargetReport), ...changes }] } };
  };
  test.each<[string, Partial<TargetReport>, string[]]>([
    ["that is empty", { status: "empty", snapshots: undefined }, []],
    ["nobody has looked at", { status: "unknown" }, ["warning target disk: it has not been looked at yet"]],
    ["that is away", { status: "unreachable", error: "EIO" }, ["critical target disk: it cannot be reached: EIO"]],
    [
      "that is another one",
      { status: "changed" },
      ["critical target disk since 60 s: it does not hold the repository that was there before"],
    ],
    ["that cannot be read", { status: "unreadable" }, ["critical target disk since 60 s: it cannot be read"]],
  ])("%s", (_what, changes, expected) => expect(unwell(seen(changes))).toEqual(expected));

  test("that no job requires is only a warning when it is away", () => {
    const disk = target("disk");
    const optional = config([job("docs", { targets: [{ target: disk, retention: undefined, required: false }] })]);
    expect(unwell({ ...seen({ status: "unreachable" }), config: optional })).toEqual([
      "warning target disk: it cannot be reached",
    ]);
  });

  test("that is nearly full says since when and how full", () => {
    const conditions = { "capacity disk": { holds: false, sinceMs: NOW - 1000 } };
    expect(unwell({ ...seen({ usedBytes: 925 }), conditions })).toEqual([
      "warning target disk since 1 s: it is nearly full (92 %)",
    ]);
  });
});

describe("the daemon", () => {
  test("that runs on the last good configuration", () => {
    const { daemon } = facts().status;
    const refused = (result: "invalid" | "unreadable"): HealthFacts =>
      facts({ daemon: { ...daemon, reload: { timeMs: NOW - 1000, result, changes: [], problems: [], error: undefined } } });
    expect(unwell(refused("invalid"))).toEqual([
      "warning config since 1 s: the configuration file has 0 errors: the one before stays in force",
    ]);
    expect(unwell(refused("unreadable"))).toEqual([
      "warning config since 1 s: the configuration file cannot be read: the one before stays in force",
    ]);
  });

  test("whose scheduler has not begun, or has stopped", () => {
    expect(unwell({ ...facts(), scheduler: { started: false, turns: true } })).toEqual([
      "warning scheduler since 7200 s: the daemon looks at its targets for the first time",
    ]);
    expect(unwell({ ...facts(), scheduler: { started: true, turns: false } })).toEqual([
      "critical scheduler: the scheduler has stopped turning",
    ]);
  });

  test("whose messages are not delivered", () => {
    const outbox = (changes: Partial<HealthFacts["outbox"]>): HealthFacts => ({
      ...facts(),
      outbox: { ...facts().outbox, ...changes },
    });
    expect(unwell(outbox({ pending: 1, pendingSinceMs: NOW - 60_000 }))).toEqual([]);
    expect(unwell(outbox({ pending: 2, pendingSinceMs: NOW - 2 * HOUR }))).toEqual([
      "warning outbox since 7200 s: 2 messages not delivered, the oldest for 2h 00m",
    ]);
    expect(unwell(outbox({ dead: 1, lastDeadMs: NOW - HOUR }))).toEqual([
      "warning outbox since 3600 s: 1 message could not be delivered: given up",
    ]);
    expect(unwell(outbox({ dead: 1, lastDeadMs: NOW - 25 * HOUR }))).toEqual([]);
  });

  test("that holds changes names the plan to approve", () => {
    const held = facts({ pending: [{ plan: "cafe", sinceMs: NOW - 1000, text: "a\nb" }] });
    expect(unwell(held)).toEqual(["warning approval since 1 s: 2 changes held, because they would destroy something"]);
    expect(judgeHealth(held).components.at(-1)?.recommendation).toContain("holdfast apply --approve cafe");
  });

  test("whose state cannot be read is critical, with its hint", () => {
    expect(stateFailed(NOW, { message: "The state cannot be used", hint: "Free space." })).toMatchObject({
      status: "critical",
      components: [{ component: "state", summary: "The state cannot be used", recommendation: "Free space." }],
    });
  });
});
