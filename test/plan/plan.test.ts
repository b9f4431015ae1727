import { describe, expect, it } from "vitest";
import type { Config, JobConfig, RetentionConfig } from "../../src/config/config.ts";
import { acceptedTargets } from "../../src/plan/changes.ts";
import { evaluateObjectives, evaluateOverdue } from "../../src/plan/objectives.ts";
import type { Observed, ObservedRun, ObservedSnapshot, ObservedTarget } from "../../src/plan/observed.ts";
import { hasChanges, heldActions, makePlan } from "../../src/plan/plan.ts";
import type { BackupAction, Plan, PlanOptions } from "../../src/plan/plan.ts";
import { renderPlan } from "../../src/plan/render-plan.ts";
import { windowEnd } from "../../src/plan/window.ts";
import { collectSlots } from "../../src/scheduler/schedule.ts";
import { config, job, observed, observedTarget, rules, schedule, snapshot, source, target } from "./literals.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** A Friday; the last slot of `0 2 * * *` was ten hours ago, the last Sunday 03:00 five days. */
const NOW = Date.parse("2026-11-20T12:00:00Z");

const plan = (by: Config, seen: Observed, changes: Partial<PlanOptions> = {}): Plan => {
  const nowMs = changes.nowMs ?? NOW;
  return makePlan(by, seen, { nowMs, slots: collectSlots(by, nowMs), approved: [], allowRecreate: false, ...changes });
};
const backups = (by: Config, seen: Observed, changes: Partial<PlanOptions> = {}): BackupAction[] =>
  plan(by, seen, changes).actions.filter((action) => action.kind === "backup");
const ago = (hours: number, changes: Partial<ObservedSnapshot> = {}): ObservedSnapshot =>
  snapshot({ id: `h${hours}`, timeMs: NOW - hours * HOUR, ...changes });
const disk = (...snapshots: ObservedSnapshot[]): ObservedTarget => observedTarget("disk", snapshots);
const run = (startedHoursAgo: number, status: ObservedRun["status"], changes: Partial<ObservedRun> = {}): ObservedRun => ({
  kind: "backup",
  subject: "documents",
  startedMs: NOW - startedHoursAgo * HOUR,
  endedMs: status === undefined ? undefined : NOW - startedHoursAgo * HOUR,
  status,
  targets: undefined,
  ...changes,
});
const on = (...names: string[]): JobConfig["targets"] =>
  names.map((name) => ({ target: target(name), retention: undefined, required: true }));

describe("what is due", () => {
  it("a job without snapshots, at once; it first creates its repository", () => {
    const seen = observed([observedTarget("disk", [], { repository: "missing" })]);
    expect(plan(config([job("documents")]), seen).actions).toMatchObject([
      { kind: "create", target: "disk", recreate: false },
      { kind: "backup", job: "documents", reason: "first", sources: ["files"], targets: ["disk"], mode: "incremental" },
    ]);
  });

  it("a job whose slot passed without a snapshot since", () => {
    const nightly = config([job("documents")]);
    expect(backups(nightly, observed([disk(ago(9.9))]))).toEqual([]);
    expect(backups(nightly, observed([disk(ago(10))]))).toEqual([]);
    expect(backups(nightly, observed([disk(ago(10.1))]))).toMatchObject([{ reason: "overdue", slotMs: NOW - 10 * HOUR }]);
    expect(backups(nightly, observed([disk(ago(34))]), { nowMs: NOW - 10 * HOUR + 1000 })).toMatchObject([{ reason: "due" }]);
    expect(backups(nightly, observed([disk(ago(10.1, { host: "other" }), ago(1, { job: "other" }))]))).toMatchObject([
      { reason: "first" },
    ]);
  });

  it("not a missed slot without catchUp, a disabled or paused job, nor one without schedules", () => {
    const late = observed([disk(ago(40))]);
    const no = (changes: Partial<JobConfig>): BackupAction[] => backups(config([job("documents", changes)]), late);
    expect(no({ schedules: [{ schedule: schedule("0 2 * * *", { catchUp: false }), mode: undefined }] })).toEqual([]);
    expect(no({ enabled: false })).toEqual([]);
    expect(no({ schedules: [] })).toEqual([]);
    expect(backups(config([job("documents")]), { ...late, paused: new Set(["documents"]) })).toEqual([]);
  });

  it("only the target and source that lack a snapshot, in the order of the file", () => {
    const both = config([job("documents", { targets: on("disk", "nas"), sources: [source("files"), source("db")] })]);
    const fresh = ["files", "db"].map((name) => ago(1, { source: name }));
    expect(backups(both, observed([disk(...fresh), observedTarget("nas", [], { repository: "missing" })]))).toMatchObject([
      { reason: "new", targets: ["nas"], sources: ["files", "db"] },
    ]);
    expect(backups(both, observed([disk(...fresh), observedTarget("nas", [ago(1)])]))).toMatchObject([
      { reason: "new", targets: ["nas"], sources: ["db"] },
    ]);
    expect(
      backups(
        both,
        observed([
          disk(...fresh),
          observedTarget(
            "nas",
            fresh.map((one) => ({ ...one, timeMs: NOW - 30 * HOUR })),
          ),
        ]),
      ),
    ).toMatchObject([{ reason: "overdue", targets: ["nas"] }]);
  });

  it("the strongest of the modes missed", () => {
    const schedules = [
      { schedule: schedule("0 3 * * 0"), mode: "full" as const },
      { schedule: schedule("0 2 * * *"), mode: undefined },
    ];
    const weekly = config([job("documents", { schedules })]);
    expect(backups(weekly, observed([disk(ago(24))]))).toMatchObject([{ mode: "incremental" }]);
    expect(backups(weekly, observed([disk(ago(24 * 6))]))).toMatchObject([{ mode: "full", slotMs: NOW - 10 * HOUR }]);
  });

  it("a renamed job goes on; a snapshot from the future does not keep it waiting", () => {
    expect(backups(config([job("new", { formerly: ["documents"] })]), observed([disk(ago(1))]))).toEqual([]);
    expect(backups(config([job("documents")]), observed([disk(ago(40), ago(-24 * 3650))]))).toMatchObject([
      { reason: "overdue" },
    ]);
  });

  it("highest priority first", () => {
    const jobs = config([job("low"), job("high", { priority: 10 })]);
    expect(backups(jobs, observed([disk()])).map((action) => action.job)).toEqual(["high", "low"]);
  });
});

describe("failed attempts", () => {
  const nightly = config([job("documents")]);
  const late = disk(ago(34));
  const tried = (...runs: ObservedRun[]): BackupAction[] => backups(nightly, observed([late], { runs }));

  it("wait longer each time, then for the next slot", () => {
    expect(tried(run(0.01, "failed"))).toEqual([]);
    expect(tried(run(0.02, "failed"))).toMatchObject([{ reason: "retry", why: "attempt 2 of 3; the last ended failed" }]);
    expect(tried(run(1, "failed"), run(0.02, "interrupted"))).toEqual([]);
    expect(tried(run(1, "failed"), run(0.04, "interrupted"))).toHaveLength(1);
    expect(tried(run(3, "failed"), run(2, "failed"), run(1, "failed"))).toEqual([]);
    expect(tried(run(13, "failed"), run(12, "failed"), run(11, "failed"))).toMatchObject([{ reason: "overdue" }]);
    expect(tried(run(1, "cancelled"))).toEqual([]);
    expect(tried(run(1, "skipped"))).toMatchObject([{ reason: "overdue" }]);
    const failing = observed([late], { runs: [run(3, "failed"), run(2, "failed"), run(1, "failed")] });
    expect(backups(nightly, failing, { impatient: true })).toHaveLength(1);
    expect(plan(nightly, failing).notes).toMatchObject([
      { text: expect.stringContaining("was tried 3 times; it waits for its next slot") },
    ]);
  });

  it("of other targets do not count for a new one", () => {
    const both = config([job("documents", { targets: on("disk", "nas") })]);
    const runs = [3, 2, 1].map((hours) => run(hours, "failed", { targets: ["disk"] }));
    expect(backups(both, observed([disk(ago(1)), observedTarget("nas", [])], { runs }))).toMatchObject([{ targets: ["nas"] }]);
  });

  it("a run under way is not doubled; one that never ended is believed for a day", () => {
    expect(tried(run(2, undefined))).toEqual([]);
    expect(backups(nightly, observed([disk(ago(100))], { runs: [run(30, undefined)] }))).toHaveLength(1);
  });
});

describe("targets in trouble", () => {
  it("an unreachable target is warned of, joins what is due, and starts nothing alone", () => {
    const both = config([job("documents", { targets: on("disk", "nas") })]);
    const nas = observedTarget("nas", [], { reachable: false, error: "no route" });
    const calm = plan(both, observed([disk(ago(1)), nas]));
    expect(calm.actions).toEqual([]);
    expect(calm.notes).toMatchObject([{ level: "warning", target: "nas", text: "target nas cannot be reached: no route" }]);
    expect(backups(both, observed([disk(ago(34)), nas]))).toMatchObject([{ targets: ["disk", "nas"] }]);
  });

  it("when no target can be reached, runs tell whether a slot was served", () => {
    const only = (runs: ObservedRun[]): BackupAction[] =>
      backups(config([job("documents")]), observed([observedTarget("disk", [], { reachable: false })], { runs }));
    expect(only([])).toHaveLength(1);
    expect(only([run(9, "success")])).toEqual([]);
    expect(only([run(11, "success")])).toHaveLength(1);
  });

  it("a repository that changed stops its target until it may be recreated", () => {
    const both = config([job("documents", { targets: on("disk", "nas") })]);
    const seen = observed([disk(ago(34)), observedTarget("nas", [], { repository: "changed", error: "it is empty" })]);
    const stopped = plan(both, seen);
    expect(stopped.actions).toMatchObject([{ kind: "backup", targets: ["disk"] }]);
    expect(stopped.notes).toMatchObject([{ level: "refusal", text: expect.stringContaining("--allow recreate") }]);
    expect(plan(both, seen, { allowRecreate: true }).actions).toMatchObject([
      { kind: "create", target: "nas", recreate: true },
      { kind: "backup", targets: ["disk", "nas"] },
    ]);
  });
});

describe("retention and approvals", () => {
  const retain = (
    given: Partial<RetentionConfig>,
    changes: Partial<Config> = {},
    on: Partial<Parameters<typeof target>[1]> = {},
  ): Config =>
    config(
      [
        job("documents", {
          targets: [{ target: target("disk", on), retention: { name: undefined, ...rules(given) }, required: true }],
        }),
      ],
      changes,
    );
  const daily = (count: number): ObservedSnapshot[] => Array.from({ length: count }, (_, n) => ago(1 + 24 * n));
  const retention = (made: Plan): (string | number | boolean | undefined)[][] =>
    made.actions.filter((action) => action.kind === "retention").map(({ remove, held }) => [remove.length, held !== undefined]);
  const noted = (given: Partial<RetentionConfig>, timeMs = 1): Partial<ObservedTarget> => ({
    policies: new Map([["documents", { timeMs, rules: rules(given) }]]),
  });

  it("without a noted policy hold more than a fifth, or more than ten", () => {
    const held = (all: number, kept: number): unknown =>
      retention(plan(retain({ keepLast: kept }), observed([disk(...daily(all))])));
    expect(held(10, 8)).toEqual([[2, false]]);
    expect(held(10, 7)).toEqual([[3, true]]);
    expect(held(100, 90)).toEqual([[10, false]]);
    expect(held(100, 89)).toEqual([[11, true]]);
    // Nothing to remove: the policy is only noted.
    expect(held(3, 3)).toEqual([[0, false]]);
  });

  it("hold what the noted policy would have kept, and only that", () => {
    const seen = observed([observedTarget("disk", daily(10), noted({ keepLast: 7 }))]);
    expect(retention(plan(retain({ keepLast: 7 }), seen))).toEqual([[3, false]]);
    expect(retention(plan(retain({ keepLast: 8 }), seen))).toEqual([[2, false]]);
    expect(retention(plan(retain({ keepLast: 6 }), seen))).toEqual([[4, true]]);
    expect(
      retention(plan(retain({ keepLast: 7 }), observed([observedTarget("disk", daily(7), noted({ keepLast: 7 }))]))),
    ).toEqual([]);
    expect(retention(plan(retain({}), seen))).toEqual([[0, false]]);
  });

  it("an approval fits its plan, whatever was backed up meanwhile, and no other", () => {
    const seen = (...changes: [ObservedSnapshot[], number]): Observed =>
      observed([observedTarget("disk", changes[0], noted({ keepLast: 7 }, changes[1]))]);
    const first = plan(retain({ keepLast: 5 }), seen(daily(10), 1));
    expect(first.id).toMatch(/^[0-9a-f]{12}$/);
    expect(heldActions(first)).toHaveLength(1);
    const later = seen([ago(0), ...daily(10)], 1);
    expect(plan(retain({ keepLast: 5 }), later).id).toBe(first.id);
    const approved = plan(retain({ keepLast: 5 }, { approve: first.id }), later);
    expect([approved.approved, retention(approved)]).toEqual([true, [[6, false]]]);
    expect(retention(plan(retain({ keepLast: 5 }), later, { approved: [first.id as string] }))).toEqual([[6, false]]);
    // Another rule, or the same change once more after it was applied and undone.
    expect(retention(plan(retain({ keepLast: 4 }, { approve: first.id }), later))).toEqual([[7, true]]);
    expect(retention(plan(retain({ keepLast: 5 }, { approve: first.id }), seen(daily(10), 2)))).toEqual([[5, true]]);
  });

  it("never touch what is not theirs", () => {
    const foreign = daily(30).map((one) => ({ ...one, host: "other" }));
    const otherJob = daily(30).map((one) => ({ ...one, job: "gone" }));
    const otherSource = daily(30).map((one) => ({ ...one, source: "gone" }));
    const seen = observed([observedTarget("disk", [...foreign, ...otherJob, ...otherSource, ago(1)], noted({ keepLast: 1 }))]);
    expect(retention(plan(retain({ keepLast: 1 }), seen))).toEqual([]);
    const mine = observed([observedTarget("disk", daily(30), noted({ keepLast: 1 }))]);
    expect(retention(plan(retain({ keepLast: 1 }, {}, { appendOnly: true }), mine))).toEqual([]);
    expect(
      retention(
        plan(
          retain({ keepLast: 1 }),
          observed([observedTarget("disk", daily(30), { ...noted({ keepLast: 1 }), clockSkewMs: DAY })]),
        ),
      ),
    ).toEqual([]);
  });

  it("hold a removed target and a changed encryption, each approval once", () => {
    const before = config([job("documents", { targets: on("disk", "nas") })]);
    const after = config([
      job("documents", {
        targets: [{ target: target("disk", { encryption: undefined }), retention: undefined, required: true }],
      }),
    ]);
    const seen = (acceptedMs: number): Observed => observed([disk(ago(1))], { accepted: acceptedTargets(before, acceptedMs) });
    const made = plan(after, seen(1));
    expect(made.actions).toMatchObject([
      { kind: "change", change: "changed-encryption", target: "disk", held: expect.stringContaining("from main to none") },
      { kind: "change", change: "removed-target", target: "nas", held: expect.stringContaining("no longer declared") },
    ]);
    expect(heldActions(plan(after, seen(1), { approved: [made.id as string] }))).toEqual([]);
    expect(heldActions(plan(after, seen(2), { approved: [made.id as string] }))).toHaveLength(2);
    expect(plan(before, seen(1)).id).toBeUndefined();
  });
});

describe("verify and prune", () => {
  it("are due after their slot, counted from the first snapshot where there was none yet", () => {
    const weekly = config([job("documents", { verify: { afterBackup: false, schedule: schedule("0 3 * * 0"), readData: 0.1 } })]);
    const kinds = (...changes: Parameters<typeof observedTarget>): string[] =>
      plan(weekly, observed([observedTarget(...changes)])).actions.map(({ kind }) => kind);
    expect(kinds("disk", [ago(1)])).toEqual([]);
    expect(kinds("disk", [ago(1), ago(200)])).toEqual(["verify", "prune"]);
    const done = { verifications: new Map([["documents", { timeMs: NOW - DAY, ok: true }]]), lastPruneMs: NOW - DAY };
    expect(kinds("disk", [ago(1), ago(200)], done)).toEqual([]);
    expect(kinds("disk", [ago(1), ago(200)], { ...done, lastPruneMs: NOW + 3650 * DAY })).toEqual(["prune"]);
    expect(kinds("disk", [ago(1), ago(200)], { reachable: false })).toEqual(["backup"]);
  });
});

describe("a rendered plan", () => {
  const by = config([
    job("documents", {
      schedules: [
        { schedule: schedule("0 2 * * *"), mode: undefined },
        { schedule: schedule("0 3 * * 0"), mode: "full" },
      ],
      targets: [{ target: target("disk"), retention: { name: "small", ...rules({ keepLast: 1 }) }, required: true }],
    }),
    job("asked", { schedules: [] }),
  ]);
  const made = plan(by, observed([disk(ago(34), ago(60, { id: "cafe".repeat(8), storedBytes: 1_500_000 }))]));

  it("says what is held and how to approve it, what would be deleted and why, and the next five runs", () => {
    expect(hasChanges(made)).toBe(true);
    expect(renderPlan(made, { format: "text" })).toBe(
      `Held until approved: plan ${made.id}:
  - job documents on target disk: no retention was applied here before, and this one removes 1 of 2 snapshots
  Approve with holdfast apply --approve ${made.id}, or with approve: ${made.id} in the configuration.

To do:
  - back up job documents (incremental) to disk: missed its slot of 2026-11-20 02:00, 10h 00m ago

Retention would delete:
  - job documents on target disk: 1 of 2 snapshots, 1.50 MB when they were stored (held)
      cafecafecafe of files, 2026-11-18 00:00, 1.50 MB: no keep rule wants it

Next runs (UTC):
  - documents: 2026-11-21 02:00 incremental, 2026-11-22 02:00 incremental, 2026-11-22 03:00 full, 2026-11-23 02:00 incremental, 2026-11-24 02:00 incremental
  - asked: only when asked
`,
    );
  });

  it("is markdown for a pull request, and says when there is nothing to do", () => {
    const markdown = renderPlan(made, { format: "markdown" });
    expect(markdown).toContain(`### Held until approved: plan ${made.id}\n\n- job documents`);
    expect(markdown).toContain(`\n\nApprove with \`holdfast apply --approve ${made.id}\``);
    expect(markdown).toContain("- job `documents` on target `disk`: 1 of 2 snapshots");
    expect(markdown).toContain("  - `cafecafecafe` of files");
    const calm = plan(config([job("documents")]), observed([disk(ago(1))]));
    expect(hasChanges(calm)).toBe(false);
    expect(renderPlan(calm, { format: "text" })).toMatch(/^Nothing to do/);
  });
});

describe("a prune or a verification that did not do", () => {
  const by = config([job("documents", { verify: { afterBackup: false, schedule: schedule("0 3 * * *"), readData: 0 } })]);
  const due = (runs: readonly ObservedRun[], changes: Partial<PlanOptions> = {}): string[] =>
    plan(by, observed([disk(ago(24 * 8))], { runs }), changes)
      .actions.map(({ kind }) => kind)
      .filter((kind) => kind === "prune" || kind === "verify");
  const tried = (hoursAgo: number, status: ObservedRun["status"], changes: Partial<ObservedRun> = {}): ObservedRun[] => [
    run(hoursAgo, status, { kind: "prune", subject: "disk", ...changes }),
    run(hoursAgo, status, { kind: "verify", ...changes }),
  ];

  it("is left alone for an hour, after a cancellation until its next slot, and not where someone asks", () => {
    expect(due([])).toEqual(["verify", "prune"]);
    expect(due(tried(0.5, "failed"))).toEqual([]);
    expect(due(tried(1.5, "failed"))).toEqual(["verify", "prune"]);
    expect(due(tried(0.5, "failed"), { impatient: true })).toEqual(["verify", "prune"]);
    expect(due(tried(8, "cancelled"))).toEqual([]);
    // Cancelled for the slot before: the verification's is every day, the prune's was on Sunday.
    expect(due(tried(20, "cancelled"))).toEqual(["verify"]);
    expect(due(tried(0.5, "interrupted"))).toEqual(["verify", "prune"]);
    expect(due(tried(0.5, undefined))).toEqual([]);
    expect(due(tried(0.5, "failed", { targets: ["nas"] }))).toEqual(["verify", "prune"]);
  });
});

describe("objectives", () => {
  const promise = (objectives: Partial<JobConfig["objectives"]>, ...targets: ObservedTarget[]): [string, boolean, string][] => {
    const none = { rpoMs: undefined, copies: undefined, offsite: undefined, verifiedWithinMs: undefined };
    const where = [
      { target: target("disk"), retention: undefined, required: true },
      { target: target("nas", { offsite: true }), retention: undefined, required: true },
    ];
    const by = config([job("documents", { targets: where, objectives: { ...none, ...objectives } })]);
    return evaluateObjectives(by, observed(targets), NOW).map(({ objective, met, reason }) => [objective, met, reason]);
  };

  it("rpo counts the newest honest success", () => {
    expect(promise({ rpoMs: 26 * HOUR }, disk(ago(26)))).toEqual(
      [["rpo", true, "every source has a success of the last 26h 00m"]].map(([a, b]) => [a, b, expect.any(String)]),
    );
    expect(
      promise(
        { rpoMs: 26 * HOUR },
        disk(ago(27), ago(1, { status: "partial" }), ago(-48), ago(2, { objectTimeMs: NOW - 90 * HOUR })),
      ),
    ).toEqual([["rpo", false, expect.stringContaining("1d 3h old")]]);
    expect(promise({ rpoMs: 26 * HOUR }, disk())).toEqual([["rpo", false, "files has no successful snapshot"]]);
  });

  it("what is kept is said with the time at which it would be broken", () => {
    const verified = { verifications: new Map([["documents", { timeMs: NOW - 2 * DAY, ok: true }]]) };
    const by = config([
      job("documents", { objectives: { rpoMs: 26 * HOUR, copies: undefined, offsite: undefined, verifiedWithinMs: 8 * DAY } }),
    ]);
    const until = (...targets: ObservedTarget[]): unknown[] =>
      evaluateObjectives(by, observed(targets), NOW).map(({ untilMs }) => untilMs && (untilMs - NOW) / HOUR);
    expect(until(observedTarget("disk", [ago(5)], verified))).toEqual([21, 144]);
    expect(until(observedTarget("disk", [ago(27)], verified))).toEqual([undefined, 144]);
    expect(until(observedTarget("disk", [ago(5)]))).toEqual([21, undefined]);
  });

  it("a job is overdue when a whole interval of its schedules has passed without a success", () => {
    const overdue = (changes: Partial<JobConfig>, more: Partial<Observed>, ...snapshots: ObservedSnapshot[]): unknown[] => {
      const by = config([job("documents", changes)]);
      const seen = observed([disk(...snapshots)], more);
      return evaluateOverdue(by, seen, collectSlots(by, NOW), NOW).map(({ overdue: late, reason }) => (late ? reason : late));
    };
    // Slots at 02:00: ten hours ago, and thirty-four.
    expect(overdue({}, {}, ago(33))).toEqual([false]);
    expect(overdue({}, {}, ago(35))).toEqual(["the newest success of files is 1d 11h old"]);
    expect(overdue({}, {}, ago(35), ago(1, { status: "partial" }))).toHaveLength(1);
    expect(overdue({}, {}, ago(35), ago(1, { host: "other" }))).toEqual(["the newest success of files is 1d 11h old"]);
    expect(overdue({}, {})).toEqual([false]);
    expect(overdue({}, { paused: new Set(["documents"]) }, ago(35))).toEqual([]);
    expect(overdue({ enabled: false }, {}, ago(35))).toEqual([]);
    expect(overdue({ schedules: [] }, {}, ago(35))).toEqual([]);
    const two = [schedule("0 2 * * *"), schedule(HOUR)].map((one) => ({ schedule: one, mode: undefined }));
    expect(overdue({ schedules: two }, {}, ago(3))).toEqual(["the newest success of files is 3h 00m old"]);
  });

  it("copies and offsite count current copies on targets that can be read", () => {
    const two = { rpoMs: undefined, copies: 2, offsite: 1 };
    expect(promise(two, disk(ago(1)), observedTarget("nas", [ago(1)])).map(([, met]) => met)).toEqual([true, true]);
    expect(promise(two, disk(ago(1)), observedTarget("nas", [ago(30)]))).toEqual([
      ["copies", false, "files has 1 current copies (disk), 2 promised"],
      ["offsite", false, "files has 0 current offsite copies, 1 promised"],
    ]);
    expect(
      promise({ copies: 2, rpoMs: 40 * HOUR }, disk(ago(1)), observedTarget("nas", [ago(30)])).map(([, met]) => met),
    ).toEqual([true, true]);
    expect(promise(two, disk(ago(1)), observedTarget("nas", [ago(1)], { reachable: false })).map(([, met]) => met)).toEqual([
      false,
      false,
    ]);
  });

  it("verifiedWithin wants a good, recent verification on every required target", () => {
    const verified = (hours: number, ok = true): Partial<ObservedTarget> => ({
      verifications: new Map([["documents", { timeMs: NOW - hours * HOUR, ok }]]),
    });
    const within = (a: Partial<ObservedTarget>, b: Partial<ObservedTarget>): unknown =>
      promise({ verifiedWithinMs: DAY }, observedTarget("disk", [], a), observedTarget("nas", [], b))[0];
    expect(within(verified(1), verified(24))).toMatchObject({ 1: true });
    expect(within(verified(25), {})).toEqual([
      "verifiedWithin",
      false,
      "last verified on disk 1d 1h ago, 1d 0h promised; never verified on nas",
    ]);
    expect(within(verified(1, false), verified(1))).toMatchObject({ 1: false, 2: expect.stringContaining("failed") });
  });
});

describe("windows", () => {
  const office = { text: "Mon-Fri 08:00-18:00", days: [1, 2, 3, 4, 5], startMinute: 480, endMinute: 1080 };
  const night = { text: "Fri 18:00-06:00", days: [5], startMinute: 1080, endMinute: 360 };
  const end = (windows: (typeof office)[], time: string, zone = "UTC"): string | undefined => {
    const at = windowEnd(windows, Date.parse(time), zone);
    return at === undefined ? undefined : new Date(at).toISOString().slice(0, 16);
  };

  it("end on the wall of the zone, joined where they touch", () => {
    expect(end([office], "2026-11-20T12:00Z")).toBe("2026-11-20T18:00");
    expect(end([office], "2026-11-20T12:00Z", "America/New_York")).toBeUndefined();
    expect(end([office], "2026-11-20T08:00Z")).toBe("2026-11-20T18:00");
    expect(end([office], "2026-11-20T18:00Z")).toBeUndefined();
    expect(end([office], "2026-11-21T12:00Z")).toBeUndefined();
    expect(end([office, night], "2026-11-20T12:00Z")).toBe("2026-11-21T06:00");
    expect(end([night], "2026-11-21T05:59Z")).toBe("2026-11-21T06:00");
    expect(end([night], "2026-11-20T05:59Z")).toBeUndefined();
  });

  it("that cover the week never end", () => {
    const always = { text: "", days: [0, 1, 2, 3, 4, 5, 6], startMinute: 0, endMinute: 1440 };
    expect(windowEnd([always], NOW, "Europe/Berlin")).toBe(Infinity);
  });
});
