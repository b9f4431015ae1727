import { expect, test } from "vitest";
import { changesOf, conditionsOf, type Condition } from "../../src/plan/conditions.ts";
import { evaluateObjectives } from "../../src/plan/objectives.ts";
import type { ObservedTarget } from "../../src/plan/observed.ts";
import { collectSlots } from "../../src/scheduler/schedule.ts";
import { config, job, observed, observedTarget, snapshot } from "./literals.ts";

const HOUR = 3_600_000;
const NOW = Date.parse("2026-11-20T12:00:00Z");
const OBJECTIVES = { rpoMs: 26 * HOUR, copies: undefined, offsite: undefined, verifiedWithinMs: undefined };

function found(...targets: ObservedTarget[]): Condition[] {
  const by = config([job("documents", { objectives: OBJECTIVES })]);
  const seen = observed(targets);
  return conditionsOf(by, seen, evaluateObjectives(by, seen, NOW), collectSlots(by, NOW), NOW);
}

const disk = (hoursAgo: number, changes: Partial<ObservedTarget> = {}): ObservedTarget =>
  observedTarget("disk", [snapshot({ timeMs: NOW - hoursAgo * HOUR })], changes);

test("objectives, schedules and targets are conditions, with what they are about and when they break", () => {
  expect(found(disk(1)).map(({ key, holds, untilMs }) => [key, holds, untilMs && (untilMs - NOW) / HOUR])).toEqual([
    ["objective documents rpo", true, 25],
    ["schedule documents", true, undefined],
    ["target disk", true, undefined],
  ]);
  const late = found(disk(40));
  expect(late.map(({ holds, summary }) => [holds, summary])).toEqual([
    [false, expect.stringContaining("Job documents misses its objective rpo: the newest success of files is 1d 16h old")],
    [false, "Job documents is overdue: the newest success of files is 1d 16h old"],
    [true, "Target disk can be reached"],
  ]);
  expect(late[0]).toMatchObject({ jobs: ["documents"], targets: ["disk"] });
  expect(found(disk(1, { reachable: false, error: "no route" })).at(-1)).toMatchObject({
    holds: false,
    summary: "Target disk cannot be reached: no route",
    targets: ["disk"],
  });
});

test("a target that fills up is told of at its warning, and is no condition where nobody can tell", () => {
  const capacity = (usedShare: number | undefined): unknown =>
    found(disk(1, { usedShare })).find(({ key }) => key === "capacity disk");
  expect(capacity(undefined)).toBeUndefined();
  expect(capacity(0.849)).toMatchObject({ holds: true });
  expect(capacity(0.859)).toMatchObject({ holds: false, summary: "Target disk is 85 % full", broken: "target_capacity_low" });
});

test("each change is told once, with the event that fits, and the time since when is kept", () => {
  const kept = found(disk(1));
  const start = changesOf(kept, {}, NOW);
  expect(start.changes).toEqual([]);
  const broken = changesOf(found(disk(40, { reachable: false })), start.now, NOW + 1);
  expect(broken.changes.map(({ event }) => event)).toEqual(["objective_missed", "target_unreachable"]);
  expect(broken.now).toMatchObject({ "objective documents rpo": { holds: false, sinceMs: NOW + 1 } });
  const again = changesOf(found(disk(40, { reachable: false })), broken.now, NOW + 2);
  expect(again).toEqual({ changes: [], now: broken.now });
  const mended = changesOf(kept, again.now, NOW + 3);
  expect(mended.changes.map(({ event }) => event)).toEqual(["objective_met", "target_recovered"]);
  expect(mended.now["schedule documents"]).toEqual({ holds: true, sinceMs: NOW });
});

test("what is broken when it is first seen is told, and what is no longer declared is forgotten", () => {
  const first = changesOf(found(disk(40)), {}, NOW);
  expect(first.changes.map(({ event }) => event)).toEqual(["objective_missed", "backup_overdue"]);
  // That it is on schedule again, its backup has told.
  expect(changesOf(found(disk(1)), first.now, NOW).changes.map(({ event }) => event)).toEqual(["objective_met", undefined]);
  expect(changesOf([], first.now, NOW)).toEqual({ changes: [], now: {} });
});
