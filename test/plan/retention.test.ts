import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { selectForRetention } from "../../src/plan/retention.ts";
import type { RetentionContext } from "../../src/plan/retention.ts";
import type { ObservedSnapshot, RetentionRules } from "../../src/plan/observed.ts";
import { rules, snapshot } from "./literals.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = Date.parse("2026-11-20T12:00:00Z");
const context = (changes: Partial<RetentionContext> = {}): RetentionContext => ({
  nowMs: NOW,
  timezone: "Europe/Berlin",
  targetSkewMs: undefined,
  guards: { clockMs: 300_000 },
  ...changes,
});
const daysAgo = (days: number, changes: Partial<ObservedSnapshot> = {}): ObservedSnapshot =>
  snapshot({ id: `d${days}`, timeMs: NOW - days * DAY, ...changes });
const kept = (
  snapshots: readonly ObservedSnapshot[],
  policy: RetentionRules | undefined,
  changes: Partial<RetentionContext> = {},
): string[] => selectForRetention(snapshots, policy, context(changes)).keep.map(({ snapshot: { id } }) => id);
const days = (...list: number[]): ObservedSnapshot[] => list.map((day) => daysAgo(day));

describe("keep rules", () => {
  it("keeps the newest of each bucket", () => {
    expect(kept(days(0, 1, 2, 3), rules({ keepLast: 2 }))).toEqual(["d0", "d1"]);
    expect(kept(days(0, 0.1, 1, 1.1, 2), rules({ keepDaily: 2 }))).toEqual(["d0", "d1"]);
    expect(kept(days(0, 1 / 48, 1 / 24, 2 / 24), rules({ keepHourly: 2 }))).toEqual(["d0", `d${1 / 48}`]);
    expect(kept(days(0, 20, 40, 400, 800), rules({ keepYearly: 3 }))).toEqual(["d0", "d400", "d800"]);
  });

  it("counts days on the wall of the time zone", () => {
    const late = snapshot({ id: "late", timeMs: Date.parse("2026-11-18T22:30:00Z") });
    const next = snapshot({ id: "next", timeMs: Date.parse("2026-11-18T23:30:00Z") });
    expect(kept([late, next], rules({ keepDaily: 5 }))).toEqual(["next", "late"]);
    expect(kept([late, next], rules({ keepDaily: 5 }), { timezone: "UTC" })).toEqual(["next"]);
  });

  it("puts days around new year into their ISO week", () => {
    const at = (id: string, time: string): ObservedSnapshot => snapshot({ id, timeMs: Date.parse(time) });
    // 2021-01-03 is the Sunday of 2020-W53, 2021-01-04 begins 2021-W01, 2018-12-31 belongs to 2019-W01.
    const list = [at("a", "2020-12-30T12:00:00Z"), at("b", "2021-01-03T12:00:00Z"), at("c", "2021-01-04T12:00:00Z")];
    expect(kept(list, rules({ keepWeekly: 9 }))).toEqual(["c", "b"]);
    const result = selectForRetention([at("z", "2018-12-31T12:00:00Z")], rules({ keepWeekly: 1 }), context());
    expect(result.keep[0]?.reasons).toContain("weekly 2019-W01");
  });

  it("unites rules and says every reason", () => {
    const result = selectForRetention(days(0, 1, 40), rules({ keepLast: 1, keepMonthly: 2 }), context());
    expect(result.keep.map(({ snapshot: { id }, reasons }) => [id, reasons])).toEqual([
      ["d0", ["newest", "newest success", "last", "monthly 2026-11"]],
      ["d40", ["monthly 2026-10"]],
    ]);
    expect(result.remove).toMatchObject([{ snapshot: { id: "d1" }, reason: "no keep rule wants it" }]);
  });

  it("ends keepWithin at the newest snapshot, so that silence removes nothing", () => {
    expect(kept(days(100, 101, 110), rules({ keepWithinMs: 5 * DAY }))).toEqual(["d100", "d101"]);
  });

  it("prefers a success to a newer partial in a bucket, and keeps the newest whatever it is", () => {
    const list = [daysAgo(0.1, { status: "partial" }), daysAgo(0.2), daysAgo(1, { status: "partial" }), daysAgo(1.1)];
    expect(kept(list, rules({ keepDaily: 2 }))).toEqual(["d0.1", "d0.2", "d1.1"]);
  });
});

describe("max rules", () => {
  it("trim the oldest", () => {
    expect(kept(days(0, 1, 2, 3), rules({ maxCount: 2 }))).toEqual(["d0", "d1"]);
    expect(kept(days(0, 29, 31), rules({ maxAgeMs: 30 * DAY }))).toEqual(["d0", "d29"]);
    expect(kept(days(0, 1, 2, 400), rules({ keepLast: 3, keepYearly: 5, maxAgeMs: 30 * DAY }))).toEqual(["d0", "d1", "d2"]);
  });

  it("never trim the newest success", () => {
    const list = [daysAgo(1, { status: "partial" }), daysAgo(2, { status: "partial" }), daysAgo(60)];
    expect(kept(list, rules({ maxAgeMs: DAY, maxCount: 1 }))).toEqual(["d1", "d60"]);
    expect(kept(list, rules({ maxCount: 2 }))).toEqual(["d1", "d60"]);
    expect(kept(days(90, 91), rules({ maxAgeMs: DAY }))).toEqual(["d90"]);
  });

  it("do not take an age from a clock that may have leapt", () => {
    expect(kept(days(3650, 3651, 3700), rules({ maxAgeMs: 30 * DAY }))).toEqual(["d3650", "d3651"]);
  });
});

describe("what is never removed", () => {
  it("held and tagged snapshots, which count for no maxCount either", () => {
    const list = [...days(0, 1), daysAgo(2, { hold: true }), daysAgo(3, { hold: NOW + 1 }), daysAgo(4, { tags: ["legal"] })];
    expect(kept(list, rules({ maxCount: 2, keepTags: ["legal"] }))).toEqual(["d0", "d1", "d2", "d3", "d4"]);
    expect(kept([...days(0), daysAgo(3, { hold: NOW - 1 })], rules({ keepLast: 1 }))).toEqual(["d0"]);
  });

  it("the newest success of every host, job and source", () => {
    const list = ["a", "b"].flatMap((host) => ["x", "y"].map((source) => daysAgo(99, { id: host + source, host, source })));
    expect(kept(list, rules({ keepLast: 1, maxAgeMs: DAY }))).toHaveLength(4);
  });

  it("a safety copy of the last 7 days, which fills no bucket", () => {
    const copy = daysAgo(0, { tags: ["pre-restore"] });
    expect(kept([copy, ...days(0.1, 1)], rules({ keepLast: 1 }))).toEqual(["d0", "d0.1"]);
    expect(kept([daysAgo(6.9, { tags: ["pre-restore"] }), ...days(0, 7)], rules({ keepLast: 1 }))).toEqual(["d0", "d6.9"]);
    expect(kept([daysAgo(7.1, { tags: ["pre-restore"] }), ...days(0)], rules({ keepLast: 1 }))).toEqual(["d0"]);
    expect(kept([daysAgo(30, { tags: ["pre-restore"] })], rules({ keepLast: 1 }))).toEqual(["d30"]);
  });

  it("a snapshot that its object time contradicts: it stays, and pushes nothing out", () => {
    const forged = [1, 2, 3].map((n) => daysAgo(n, { id: `f${n}`, objectTimeMs: NOW - (n + 1) * DAY }));
    expect(kept([...forged, ...days(10, 11)], rules({ keepLast: 2 }))).toEqual(["f1", "f2", "f3", "d10", "d11"]);
  });

  it("anything whose object is young: object time only delays", () => {
    const copied = daysAgo(90, { objectTimeMs: NOW - DAY });
    expect(kept([...days(0), copied], rules({ maxAgeMs: 30 * DAY }))).toEqual(["d0", "d90"]);
    const older = daysAgo(29, { objectTimeMs: NOW - 29 * DAY - HOUR + 1 });
    expect(kept([...days(0), older], rules({ maxAgeMs: 29.01 * DAY }))).toEqual(["d0", "d29"]);
  });
});

describe("refusals", () => {
  const list = days(0, 1, 2, 3);
  const policy = rules({ keepLast: 1 });
  it.each<[string, Partial<RetentionContext>, Partial<RetentionRules>, RegExp]>([
    ["clocks that differ by the guard", { targetSkewMs: 300_000 }, {}, /differ by 300 s/],
    ["clocks that differ the other way", { targetSkewMs: -10 * 365 * DAY }, {}, /differ by/],
    ["a clock gone back", { nowMs: NOW - HOUR }, {}, /dated later/],
    ["no clock", { nowMs: Number.NaN }, {}, /not known/],
    ["append-only without keepWithin", { appendOnly: true }, {}, /keepWithin/],
    ["a guard", { frozen: "the source shrank" }, {}, /shrank/],
    ["a negative count", {}, { keepDaily: -1 }, /keepDaily/],
    ["a count that is no number", {}, { keepLast: Number.NaN }, /keepLast/],
    ["maxCount 0", {}, { maxCount: 0 }, /maxCount/],
    ["maxAge 0", {}, { maxAgeMs: 0 }, /maxAge/],
    ["keepWithin 0", {}, { keepWithinMs: 0 }, /keepWithin/],
  ])("%s", (_, changes, more, message) => {
    const result = selectForRetention(list, { ...policy, ...more }, context(changes));
    expect(result.refused).toMatch(message);
    expect(result.remove).toEqual([]);
    expect(result.keep).toHaveLength(4);
  });

  it("not for 299 s, nor for a future date that its object contradicts", () => {
    expect(kept(list, policy, { targetSkewMs: 299_999 })).toEqual(["d0"]);
    const future = snapshot({ id: "future", timeMs: NOW + 3650 * DAY, objectTimeMs: NOW - DAY });
    expect(kept([future, ...list], policy)).toEqual(["future", "d0"]);
  });

  it("no rules, zero rules and tags alone keep everything", () => {
    for (const empty of [undefined, rules({}), rules({ keepLast: 0 }), rules({ keepTags: ["x"] })])
      expect(kept(list, empty)).toHaveLength(4);
  });
});

describe("a renamed job", () => {
  it("goes on with its history", () => {
    const list = [daysAgo(0, { job: "documents" }), daysAgo(1, { job: "docs" })];
    expect(kept(list, rules({ keepLast: 1 }))).toEqual(["d0", "d1"]);
    expect(kept(list, rules({ keepLast: 1 }), { formerly: new Map([["docs", "documents"]]) })).toEqual(["d0"]);
  });
});

describe("for any snapshots and any policy", () => {
  const anySnapshot = fc.record({
    age: fc.integer({ min: -2, max: 24 * 500 }),
    objectLag: fc.option(fc.integer({ min: -72, max: 72 }), { nil: undefined }),
    status: fc.constantFrom<ObservedSnapshot["status"]>("success", "success", "partial"),
    host: fc.constantFrom("a", "b"),
    job: fc.constantFrom("new", "old", "other"),
    source: fc.constantFrom("x", "y"),
    hold: fc.constantFrom<number | boolean>(false, false, false, true, NOW + 1, NOW - 1),
    tags: fc.subarray(["hold", "pre-restore"], { maxLength: 1 }),
  });
  const anySnapshots = fc.array(anySnapshot, { maxLength: 40 }).map((list) =>
    list.map(({ age, objectLag, ...rest }, n) => {
      const timeMs = NOW - age * HOUR;
      return snapshot({
        ...rest,
        id: `s${n}`,
        timeMs,
        objectTimeMs: objectLag === undefined ? undefined : timeMs + objectLag * HOUR,
      });
    }),
  );
  const count = fc.option(fc.integer({ min: 0, max: 6 }), { nil: undefined });
  const anyPolicy = fc.record<RetentionRules>({
    keepLast: count,
    keepHourly: count,
    keepDaily: count,
    keepWeekly: count,
    keepMonthly: count,
    keepYearly: count,
    keepWithinMs: fc.option(fc.integer({ min: 1, max: 100 * DAY }), { nil: undefined }),
    keepTags: fc.subarray(["hold"]),
    maxAgeMs: fc.option(fc.integer({ min: 1, max: 400 * DAY }), { nil: undefined }),
    maxCount: fc.option(fc.integer({ min: 1, max: 8 }), { nil: undefined }),
  });
  const brokenPolicy = fc
    .tuple(
      anyPolicy,
      fc.constantFrom("keepLast", "keepDaily", "maxCount", "maxAgeMs", "keepWithinMs"),
      fc.constantFrom(-1, Number.NaN, -Infinity),
    )
    .map(([policy, rule, value]): RetentionRules => ({ ...policy, [rule]: value }));
  const anyContext = fc
    .record({ formerly: fc.constantFrom(undefined, new Map([["old", "new"]])), ahead: fc.boolean() })
    .map(({ formerly, ahead }) => context({ ...(formerly && { formerly }), ...(ahead && { nowMs: NOW + 3 * HOUR }) }));
  const groupOf = (s: ObservedSnapshot, by: RetentionContext): string =>
    `${s.host} ${by.formerly?.get(s.job) ?? s.job} ${s.source}`;

  it("each snapshot is in exactly one list, held ones are kept, and every group keeps its newest success", () => {
    fc.assert(
      fc.property(anySnapshots, fc.oneof(anyPolicy, brokenPolicy), anyContext, (list, policy, by) => {
        const { keep, remove, refused } = selectForRetention(list, policy, by);
        expect([...keep, ...remove].map(({ snapshot: { id } }) => id).toSorted()).toEqual(list.map(({ id }) => id).toSorted());
        if (refused !== undefined) expect(remove).toEqual([]);
        for (const { snapshot: gone } of remove) {
          expect(gone.hold === true || (gone.hold !== false && gone.hold > by.nowMs)).toBe(false);
          const left = keep.map((one) => one.snapshot).filter((one) => groupOf(one, by) === groupOf(gone, by));
          expect(left.length).toBeGreaterThan(0);
          const honest = (one: ObservedSnapshot): boolean =>
            one.status === "success" &&
            !one.tags.includes("pre-restore") &&
            !(one.objectTimeMs !== undefined && one.timeMs > one.objectTimeMs + HOUR);
          if (honest(gone)) expect(left.some((one) => honest(one) && one.timeMs >= gone.timeMs)).toBe(true);
          else if (gone.status === "success") expect(left.some((one) => one.status === "success")).toBe(true);
        }
      }),
      { numRuns: 400 },
    );
  });

  it("a dry run is the run: the order of the list does not matter, and a second time removes nothing", () => {
    fc.assert(
      fc.property(anySnapshots, anyPolicy, anyContext, (list, policy, by) => {
        const first = selectForRetention(list, policy, by);
        expect(selectForRetention(list.toReversed(), policy, by)).toEqual(first);
        const again = selectForRetention(
          first.keep.map((one) => one.snapshot),
          policy,
          by,
        );
        expect(again.remove).toEqual([]);
      }),
      { numRuns: 400 },
    );
  });

  it("one more keep rule never removes more", () => {
    const rule = fc.constantFrom("keepHourly", "keepDaily", "keepWeekly", "keepMonthly", "keepYearly");
    fc.assert(
      fc.property(anySnapshots, anyPolicy, rule, fc.integer({ min: 1, max: 9 }), (list, policy, added, many) => {
        const before = { ...policy, keepLast: policy.keepLast || 1 };
        const after = { ...before, [added]: Math.max(many, before[added as "keepDaily"] ?? 0) };
        const removed = (by: RetentionRules): string[] =>
          selectForRetention(list, by, context()).remove.map(({ snapshot: { id } }) => id);
        if (policy.maxCount === undefined) expect(removed(before)).toEqual(expect.arrayContaining(removed(after)));
        else expect(removed(after).length).toBeLessThanOrEqual(removed(before).length);
      }),
      { numRuns: 400 },
    );
  });

  it("a later object time never removes more", () => {
    fc.assert(
      fc.property(anySnapshots, anyPolicy, fc.integer({ min: 0, max: 1000 }), (list, policy, hours) => {
        const bare = list.map((one) => ({ ...one, objectTimeMs: one.timeMs }));
        const later = list.map((one) => ({ ...one, objectTimeMs: one.timeMs + hours * HOUR }));
        const removed = (by: ObservedSnapshot[]): number => selectForRetention(by, policy, context()).remove.length;
        expect(removed(later)).toBeLessThanOrEqual(removed(bare));
      }),
    );
  });
});
