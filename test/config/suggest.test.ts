import fc from "fast-check";
import { expect, test } from "vitest";
import { interpolate, retype } from "../../src/config/interpolate.ts";
import { longestGapMs, neverFires } from "../../src/config/cron.ts";
import { editDistance, nearest } from "../../src/config/suggest.ts";
import { parseWindow } from "../../src/config/window.ts";

test("the distance counts slips, and swaps once", () => {
  const cases = [
    ["", "", 0],
    ["ab", "ba", 1],
    ["retention", "retnetion", 1],
    ["kitten", "sitting", 3],
    ["abc", "abc", 0],
    ["abc", "", 3],
  ] as const;
  for (const [left, right, distance] of cases) expect(editDistance(left, right, 9), `${left} ${right}`).toBe(distance);
  expect(editDistance("abcdef", "uvwxyz", 2)).toBe(3);
});

test("the distance is symmetric, and its limit cuts it only", () => {
  const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 8 });
  fc.assert(
    fc.property(word, word, fc.nat(4), (left, right, limit) => {
      const full = editDistance(left, right, 99);
      expect(editDistance(right, left, 99)).toBe(full);
      expect(editDistance(left, right, limit)).toBe(Math.min(full, limit + 1));
    }),
    { verbose: true },
  );
});

test("suggestions", () => {
  const keys = ["monday", "sunday", "schedule", "sources", "warn", "maxSize"];
  const cases = {
    sonday: "sunday",
    Schedule: "schedule",
    "max-size": "maxSize",
    warning: "warn",
    source: "sources",
    x: undefined,
    zebra: undefined,
  } as const;
  for (const [text, expected] of Object.entries(cases)) expect(nearest(text, keys), text).toBe(expected);
});

test("interpolation", () => {
  const env = { A: "1", EMPTY: "" };
  const cases = {
    "${A}": "1",
    "a${A}b$$": "a1b$",
    "${B:-x y}": "x y",
    "${EMPTY:-x}": "x",
    "${EMPTY}": "",
    "$A $": "$A $",
    "$${A}": "${A}",
    "${B:-}": "",
  } as const;
  for (const [text, expected] of Object.entries(cases))
    expect(interpolate(text, env), text).toMatchObject({ text: expected, faults: [] });
  for (const text of ["${B}", "${B:?why}", "${EMPTY:?}", "${}", "${1}", "${A", "${toString}"])
    expect(interpolate(text, env).faults, text).toHaveLength(1);
  expect(interpolate("${B:?why}", env).faults[0]?.message).toBe("the environment variable B is needed: why");
  expect(["5", "-1.5", "true", "null", "", "0x10", "yes", "1 2"].map(retype)).toEqual([
    5,
    -1.5,
    true,
    null,
    null,
    "0x10",
    "yes",
    "1 2",
  ]);
});

test("cron that never fires, and the longest gap", () => {
  expect(["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 29 2 *", "0 0 L 2 *", "0 0 31 * *"].map(neverFires)).toEqual([
    true,
    true,
    false,
    false,
    false,
  ]);
  const cron = (expression: string): { rule: { kind: "cron"; expression: string }; jitterMs: number } => ({
    rule: { kind: "cron", expression },
    jitterMs: 0,
  });
  const hours = (...expressions: string[]): number => longestGapMs(expressions.map(cron), "UTC")! / 3_600_000;
  expect(hours("0 2 * * *")).toBe(24);
  expect(hours("0 2 * * *", "0 14 * * *")).toBe(12);
  expect(hours("0 0 * * 1", "0 0 * * 4")).toBe(96);
  expect(longestGapMs([{ rule: { kind: "every", everyMs: 5000 }, jitterMs: 1000 }], "UTC")).toBe(6000);
  expect(longestGapMs([], "UTC")).toBeUndefined();
});

test("windows", () => {
  expect(parseWindow("Sat-Mon 00:00-24:00")).toMatchObject({ days: [0, 1, 6], startMinute: 0, endMinute: 1440 });
  expect(parseWindow("22:00-06:00")?.days).toHaveLength(7);
  for (const text of ["", "Mon", "Mon-Tue-Wed 1:00-2:00", "Mon 24:00-25:00", "Mon 08:00-24:30", "Mon, Tue 08:00-09:00"])
    expect(parseWindow(text), text).toBeUndefined();
});
