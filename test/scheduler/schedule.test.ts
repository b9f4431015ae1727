import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ScheduleRule } from "../../src/config/config.ts";
import { formatWall, fromWall, toWall } from "../../src/plan/zone.ts";
import { cronProblem, nextRun, nextRuns, previousRun } from "../../src/scheduler/schedule.ts";
import { ZONES } from "./zones.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const cron = (expression: string): ScheduleRule => ({ kind: "cron", expression });
const at = (text: string): number => Date.parse(text);
const iso = (times: readonly number[]): string[] => times.map((time) => new Date(time).toISOString().slice(0, 16));

describe("cron in a DST gap and fold", () => {
  it("runs late once, and only the first time", () => {
    const nightly = cron("30 2 * * *");
    expect(iso(nextRuns(nightly, at("2025-03-28T12:00Z"), "Europe/Berlin", 3))).toEqual([
      "2025-03-29T01:30",
      "2025-03-30T01:00",
      "2025-03-31T00:30",
    ]);
    expect(iso(nextRuns(nightly, at("2025-10-25T12:00Z"), "Europe/Berlin", 2))).toEqual(["2025-10-26T00:30", "2025-10-27T01:30"]);
  });

  it("makes one run of several that fall into the gap", () => {
    expect(iso(nextRuns(cron("*/20 2 * * *"), at("2025-03-30T00:00Z"), "Europe/Berlin", 2))).toEqual([
      "2025-03-30T01:00",
      "2025-03-31T00:00",
    ]);
    expect(iso(nextRuns(cron("30 2,14 * * *"), at("2025-03-30T00:00Z"), "Europe/Berlin", 2))).toEqual([
      "2025-03-30T01:00",
      "2025-03-30T12:30",
    ]);
    expect(iso(nextRuns(cron("0 */2 * * *"), at("2025-03-29T23:30Z"), "Europe/Berlin", 2))).toEqual([
      "2025-03-30T01:00",
      "2025-03-30T02:00",
    ]);
  });

  it("goes on hourly through both", () => {
    for (const day of ["2025-03-29T22:00Z", "2025-10-25T22:00Z"]) {
      for (const expression of ["15 * * * *", "@hourly", "0 15 * * * *"]) {
        const runs = nextRuns(cron(expression), at(day), "Europe/Berlin", 6);
        expect(runs.slice(1).map((time, n) => time - (runs[n] as number))).toEqual([HOUR, HOUR, HOUR, HOUR, HOUR]);
      }
    }
  });

  it("gives a skipped day its run at the next midnight", () => {
    // Apia went over the date line: 2011-12-30 does not exist there.
    expect(iso(nextRuns(cron("30 2 * * *"), at("2011-12-29T13:00Z"), "Pacific/Apia", 2))).toEqual([
      "2011-12-30T10:00",
      "2011-12-30T12:30",
    ]);
  });

  it.each(ZONES)("%s: one run on every day of three years, at 02:30 or as soon after as the wall allows", (zone) => {
    const rule = cron("30 2 * * *");
    const start = fromWall(at("2024-01-01T00:00Z"), zone);
    const runs = nextRuns(rule, start - 1, zone, 3 * 365 + 1);
    const days = runs.map((time) => formatWall(time, zone).slice(0, 10));
    const expected = Array.from({ length: runs.length }, (_, n) =>
      new Date(at("2024-01-01T00:00Z") + n * DAY).toISOString().slice(0, 10),
    );
    expect(days).toEqual(expected);
    let odd = 0;
    for (const time of runs) {
      const wall = formatWall(time, zone).slice(11);
      if (wall === "02:30") continue;
      odd++;
      expect(["03:00", "02:30", "03:30"]).toContain(wall);
      const lastMinute = formatWall(time - 60_000, zone).slice(11);
      expect(lastMinute < "02:30").toBe(true);
    }
    expect(odd).toBeLessThanOrEqual(3);
  });

  it.each(ZONES)("%s: going back visits the same runs", (zone) => {
    for (const expression of ["30 2 * * *", "*/20 1-3 * * *", "17 * * * *", "0 3 * * 0", "0 0 L * *"]) {
      const rule = cron(expression);
      const count = 60;
      for (const start of ["2025-03-08T00:00Z", "2025-10-04T00:00Z", "2025-10-25T00:00Z"]) {
        const runs = nextRuns(rule, at(start), zone, count);
        const back: number[] = [];
        for (
          let time: number | undefined = runs.at(-1);
          time !== undefined && back.length < count;
          time = previousRun(rule, time - 1, zone)
        )
          back.unshift(time);
        expect(back).toEqual(runs);
      }
    }
  });
});

describe("zones", () => {
  it("map wall times to instants that never go back", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...ZONES),
        fc.integer({ min: at("2024-01-01"), max: at("2026-12-31") }),
        fc.integer({ min: 0, max: 4 * HOUR }),
        (zone, wall, more) => {
          const seconds = Math.floor(wall / 1000) * 1000;
          expect(fromWall(seconds + more, zone)).toBeGreaterThanOrEqual(fromWall(seconds, zone));
          const there = toWall(fromWall(seconds, zone), zone);
          if (there !== seconds) expect(there - seconds).toBeGreaterThan(0);
        },
      ),
    );
  });
});

describe("next and previous", () => {
  const anyRule = fc.oneof(
    fc.integer({ min: 1000, max: 90 * DAY }).map((everyMs): ScheduleRule => ({ kind: "every", everyMs })),
    fc
      .constantFrom(
        "0 2 * * *",
        "*/7 * * * *",
        "15 30 4 * * *",
        "@daily",
        "@weekly",
        "@monthly",
        "@yearly",
        "0 9-17 * * 1-5",
        "0 0 29 2 *",
      )
      .map(cron),
  );

  it("bracket any instant: previous ≤ now < next, with nothing between", () => {
    fc.assert(
      fc.property(
        anyRule,
        fc.constantFrom(...ZONES),
        fc.integer({ min: at("2016-01-01"), max: at("2046-01-01") }),
        (rule, zone, now) => {
          const previous = previousRun(rule, now, zone) as number;
          const next = nextRun(rule, now, zone) as number;
          expect(previous).toBeLessThanOrEqual(now);
          expect(next).toBeGreaterThan(now);
          expect(nextRun(rule, previous, zone)).toBe(next);
          expect(previousRun(rule, previous, zone)).toBe(previous);
        },
      ),
    );
  });

  it("every is anchored, far slots are found, impossible dates are not", () => {
    expect(nextRun({ kind: "every", everyMs: HOUR }, at("2026-01-01T00:00Z"), "UTC")).toBe(at("2026-01-01T01:00Z"));
    expect(nextRun({ kind: "every", everyMs: 40 * DAY }, 0, "UTC")).toBe(40 * DAY);
    expect(nextRun(cron("0 0 30 2 *"), 0, "UTC")).toBeUndefined();
    expect(previousRun(cron("0 0 30 2 *"), at("2026-01-01"), "UTC")).toBeUndefined();
  });

  it("says what is wrong with a cron", () => {
    expect(cronProblem("0 2 * * *", "UTC")).toBeUndefined();
    expect(cronProblem("@daily", "UTC")).toBeUndefined();
    expect(cronProblem("0 2 * *", "UTC")).toMatch(/./);
    expect(cronProblem("0 25 * * *", "UTC")).toMatch(/./);
    expect(cronProblem("0 0 0 1 1 * 2030", "UTC")).toMatch(/./);
  });
});
