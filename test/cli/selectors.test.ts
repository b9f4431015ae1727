import { describe, expect, test } from "vitest";
import { joinOptionalValues } from "../../src/cli/optional-values.ts";
import { parseHold } from "../../src/cli/commands/tag.ts";
import { parseCount, parsePathSelector, parsePercent, parseSelector, parseTime, snapshotPath } from "../../src/cli/selectors.ts";

const when = { nowMs: Date.UTC(2026, 10, 20, 12), timezone: "Europe/Berlin" };

describe("times", () => {
  test.each([
    ["2026-11-20", Date.UTC(2026, 10, 19, 23)],
    ["2026-11-20 14:30", Date.UTC(2026, 10, 20, 13, 30)],
    ["2026-07-01T14:30:05", Date.UTC(2026, 6, 1, 12, 30, 5)],
    ["2026-11-20T14:30:00Z", Date.UTC(2026, 10, 20, 14, 30)],
    ["2026-11-20T14:30+01:00", Date.UTC(2026, 10, 20, 13, 30)],
    ["2h", when.nowMs - 7_200_000],
    ["1d12h", when.nowMs - 36 * 3_600_000],
  ])("%s", (text, expected) => expect(parseTime(text, when)).toBe(expected));

  test.each(["99999999999999999999d", "yesterday", "2026-02-30", "2026-11-20 25:00", "20.11.2026", "", "12"])(
    "%j is none",
    (text) => {
      expect(() => parseTime(text, when)).toThrow(expect.objectContaining({ code: "usage" }));
    },
  );
});

describe("selectors", () => {
  test("the first colon ends the id", () => {
    const { selector, path } = parsePathSelector("3f2a:/srv//a:b/./c/", { job: "docs" }, when);
    expect(selector).toMatchObject({ id: "3f2a", job: "docs" });
    expect(path?.toString()).toBe("/srv/a:b/c");
    expect(parsePathSelector("latest", {}, when).path).toBeUndefined();
    expect(parsePathSelector("latest:", {}, when).path?.toString()).toBe("/");
  });

  test("bytes are typed as ls shows them", () =>
    expect(snapshotPath("/a\\xff\\\\b")).toEqual(Buffer.from([0x2f, 0x61, 0xff, 0x5c, 0x62])));
  test("a path never goes up", () => expect(() => snapshotPath("/a/../b")).toThrow(expect.objectContaining({ code: "usage" })));
  test("--at needs latest", () => {
    expect(parseSelector("latest", { at: "2d" }, when).atMs).toBe(when.nowMs - 2 * 86_400_000);
    expect(() => parseSelector("3f2a", { at: "2d" }, when)).toThrow(expect.objectContaining({ code: "usage" }));
  });
});

test("percentages and counts", () => {
  expect(parsePercent("10%", "--read-data")).toBe(0.1);
  expect(parseCount("5", "--limit")).toBe(5);
  for (const bad of ["0%", "101%", "10", "x%"])
    expect(() => parsePercent(bad, "--read-data")).toThrow(expect.objectContaining({ code: "usage" }));
  for (const bad of ["0", "-1", "1.5", "x", ""])
    expect(() => parseCount(bad, "--limit")).toThrow(expect.objectContaining({ code: "usage" }));
});

test("options with optional values leave what follows them alone", () => {
  expect(joinOptionalValues(["verify", "--read-data", "3f2a"])).toEqual(["verify", "--read-data=100%", "3f2a"]);
  expect(joinOptionalValues(["verify", "--read-data", "10%"])).toEqual(["verify", "--read-data=10%"]);
  expect(joinOptionalValues(["tag", "--hold", "12d"])).toEqual(["tag", "--hold=yes", "12d"]);
  expect(joinOptionalValues(["tag", "3f", "--hold", "2027-01-01"])).toEqual(["tag", "3f", "--hold=2027-01-01"]);
  expect(joinOptionalValues(["tag", "--", "--hold"])).toEqual(["tag", "--", "--hold"]);
});

test("a hold lasts for ever, to the end of a day, or for a while", () => {
  expect(parseHold("yes", when)).toBe(true);
  expect(parseHold("no", when)).toBe(false);
  expect(parseHold("30d", when)).toBe(when.nowMs + 30 * 86_400_000);
  expect(parseHold("2026-11-20", when)).toBe(Date.UTC(2026, 10, 20, 23));
  expect(() => parseHold("2026-11-19", when)).toThrow(expect.objectContaining({ code: "usage" }));
});
