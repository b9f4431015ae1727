import { describe, expect, test } from "vitest";
import type { Config } from "../../src/config/config.ts";
import { guardOf } from "../../src/plan/guards.ts";
import type { ObservedRun, ObservedSnapshot } from "../../src/plan/observed.ts";
import { makePlan } from "../../src/plan/plan.ts";
import { collectSlots } from "../../src/scheduler/schedule.ts";
import { config, job, observed, observedTarget, rules, schedule, snapshot, source, target } from "./literals.ts";

const HOUR = 3_600_000;
/** A Monday; maintenance was due on Sunday. */
const NOW = Date.parse("2026-11-23T12:00:00Z");
const at = (hoursAgo: number, changes: Partial<ObservedSnapshot> = {}): ObservedSnapshot =>
  snapshot({ id: `${hoursAgo}`.padStart(8, "a"), timeMs: NOW - hoursAgo * HOUR, ...changes });
const sized = (...sizes: number[]): ObservedSnapshot[] =>
  sizes.map((sourceBytes, index) => at(24 * (sizes.length - index), { sourceBytes, newBytes: 0 }));
const run = (hoursAgo: number, status: ObservedRun["status"], targets?: string[]): ObservedRun => ({
  kind: "backup",
  subject: "documents",
  startedMs: NOW - hoursAgo * HOUR,
  endedMs: NOW - hoursAgo * HOUR + 1,
  status,
  targets,
});

function guard(
  snapshots: readonly ObservedSnapshot[],
  guards: Partial<Config["guards"]> = {},
  runs: readonly ObservedRun[] = [],
  sources = ["files"],
): string | undefined {
  const documents = job("documents", { sources: sources.map(source) });
  const by = config([documents], { guards: { clockMs: 300_000, shrink: 0.3, changed: 0.6, ...guards } });
  const disk = observedTarget("disk", snapshots);
  return guardOf(by, documents, disk, observed([disk], { runs }));
}

describe("shrink", () => {
  test("freezes from the snapshot that shrank, however small those after it are", () => {
    expect(guard(sized(1000, 900, 800))).toBeUndefined();
    expect(guard(sized(1000, 700))).toBeUndefined();
    expect(guard(sized(1000, 690))).toContain("snapshot aaaaaa24 of files is 31% smaller than aaaaaa48, guards.shrink is 30%");
    expect(guard(sized(1000, 100, 100, 90))).toContain("holdfast tag aaaaaa24 --add accepted");
    expect(guard(sized(1000, 0))).toContain("100% smaller");
  });

  test("ends with one that is large enough again, or that someone accepted", () => {
    expect(guard(sized(1000, 100, 950))).toBeUndefined();
    expect(guard(sized(1000, 100, 1000, 100))).toBeDefined();
    const accepted = sized(1000, 100, 100, 100).map((one, index) => (index === 2 ? { ...one, tags: ["accepted"] } : one));
    expect(guard(accepted)).toBeUndefined();
    expect(guard([...accepted, at(1, { sourceBytes: 50, newBytes: 0 })])).toContain("50% smaller");
  });

  test("each source is judged by itself, and safety copies and other hosts not at all", () => {
    const [big, small] = sized(1000, 10) as [ObservedSnapshot, ObservedSnapshot];
    expect(guard([big, { ...small, source: "mail" }], {}, [], ["files", "mail"])).toBeUndefined();
    expect(guard([big, { ...small, tags: ["pre-restore"] }])).toBeUndefined();
    expect(guard([big, { ...small, host: "web2" }])).toBeUndefined();
    expect(guard([big, { ...small, objectTimeMs: small.timeMs - 2 * HOUR }])).toBeUndefined();
  });
});

describe("changed", () => {
  const all = (hoursAgo: number, changes: Partial<ObservedSnapshot> = {}): ObservedSnapshot =>
    at(hoursAgo, { sourceBytes: 1000, newBytes: 1000, ...changes });
  const little = (hoursAgo: number): ObservedSnapshot => all(hoursAgo, { newBytes: 10 });

  test("freezes for good when more is new than it allows; the first snapshot is new as a whole", () => {
    expect(guard([all(48), little(24)])).toBeUndefined();
    expect(guard([all(48), all(24, { newBytes: 600 })])).toBeUndefined();
    expect(guard([all(48), all(24), little(12)])).toContain(
      "snapshot aaaaaa24 of files is new in 100% of its bytes, guards.changed is 60%",
    );
  });

  test("ends when someone accepted it, or one after it", () => {
    expect(guard([all(48), all(24, { tags: ["accepted"] }), little(12)])).toBeUndefined();
    expect(guard([all(48), all(24), { ...little(12), tags: ["accepted"] }])).toBeUndefined();
    expect(guard([all(48), { ...all(24), tags: ["accepted"] }, all(12)])).toBeDefined();
  });

  test("dumps are not judged: they may differ in every byte", () => {
    expect(guard([all(48), all(24, { sourceType: "command" })])).toBeUndefined();
  });
});

describe("a failed backup", () => {
  test("freezes where it brought no snapshot of some source, until one does", () => {
    expect(guard([at(24)], {}, [run(24, "success"), run(1, "failed")])).toContain("the last backup failed");
    expect(guard([at(24)], {}, [run(1, "failed", ["nas"])])).toBeUndefined();
    expect(guard([at(24), at(0.5)], {}, [run(1, "failed")])).toBeUndefined();
    expect(guard([at(24), at(0.5)], {}, [run(1, "failed")], ["files", "mail"])).toContain("the last backup failed");
    expect(guard([at(24), at(0.5)], {}, [run(2, "failed"), run(1, "success")])).toBeUndefined();
    expect(guard([at(24)], {}, [run(2, "failed"), run(1, "cancelled"), run(0.5, "skipped")])).toBeDefined();
    expect(guard([], {}, [run(1, "failed")])).toBeUndefined();
  });
});

test("no guard fires without a threshold", () => {
  expect(guard(sized(1000, 1, 1000), { shrink: undefined, changed: undefined })).toBeUndefined();
});

test("a guard stops retention and prune where it fires, says so, and nothing else", () => {
  const retention = { ...rules({ keepLast: 1 }), name: "short" };
  const targets = ["disk", "nas"].map((name) => ({ target: target(name), retention, required: true }));
  const by = config([job("documents", { targets, schedules: [] })], {
    guards: { clockMs: 300_000, shrink: 0.3, changed: undefined },
    maintenance: { schedule: schedule("0 3 * * 0"), graceMs: 72 * HOUR, maxUnused: 0.05 },
  });
  const seen = observed([
    observedTarget("disk", sized(1000, 1000, 1), { policies: new Map([["documents", { timeMs: 0, rules: retention }]]) }),
    observedTarget("nas", sized(1000, 1000), { policies: new Map([["documents", { timeMs: 0, rules: retention }]]) }),
  ]);
  const plan = makePlan(by, seen, { nowMs: NOW, slots: collectSlots(by, NOW), approved: [], allowRecreate: false });
  expect(plan.actions.map((action) => `${action.kind} ${"target" in action ? action.target : ""}`)).toEqual([
    "retention nas",
    "prune nas",
  ]);
  expect(plan.notes.filter(({ level }) => level === "refusal").map(({ text }) => text.split(": snapshot")[0])).toEqual([
    "retention of job documents on target disk is stopped",
    "target disk is not pruned: job documents",
  ]);
});
