import { globSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ERROR_CODES } from "../../src/base/errors.ts";

/** Codes that no part of this version throws. They have their meaning already, and their rows say that they are reserved. */
const RESERVED = ["target_throttled"];

interface Row {
  readonly group: string;
  readonly code: string;
  readonly exit: number;
  readonly cells: readonly string[];
}

function rows(): Row[] {
  const found: Row[] = [];
  let group = "";
  for (const line of readFileSync("docs/errors.md", "utf8").split("\n")) {
    if (line.startsWith("## ")) group = line.slice(3);
    const match = /^\| `([a-z_]+)` \| (\d+) \| (.+) \|$/.exec(line);
    if (match === null) continue;
    const [, code = "", exit = "", rest = ""] = match;
    found.push({ group, code, exit: Number(exit), cells: rest.split(" | ") });
  }
  return found;
}

test("every code is documented with its exit code, and nothing else is", () => {
  const documented = Object.fromEntries(rows().map(({ code, exit }) => [code, exit]));
  expect(documented).toEqual({ ...ERROR_CODES });
});

test("each code has one row with a meaning, an occasion and an advice, in the order of the code", () => {
  expect(rows().map(({ code }) => code)).toEqual(Object.keys(ERROR_CODES));
  for (const { code, cells } of rows())
    expect({ code, cells: cells.map((cell) => cell.length > 3) }).toEqual({ code, cells: [true, true, true] });
});

test("every exit code is in the table of exit codes", () => {
  const listed = [...readFileSync("docs/errors.md", "utf8").matchAll(/^\| (\d+) \| /gm)].map(([, exit]) => Number(exit));
  expect(listed).toEqual([0, 1, 2, 3, 4, 10, 11, 12, 130]);
  for (const exit of Object.values(ERROR_CODES)) expect(listed).toContain(exit);
});

test("every code is thrown somewhere in src, except those that are reserved", () => {
  const files = globSync("src/**/*.ts").filter((file) => file !== "src/base/errors.ts");
  // `internal` and `cancelled` are also made from whatever else was thrown, in errors.ts itself.
  const text = files.map((file) => readFileSync(file, "utf8")).join("\n");
  const unused = Object.keys(ERROR_CODES).filter((code) => !text.includes(`"${code}"`));
  expect(unused.toSorted()).toEqual(RESERVED.toSorted());
  const said = rows().filter(({ cells }) => cells.some((cell) => cell.startsWith("Reserved")));
  expect(said.map(({ code }) => code).toSorted()).toEqual(RESERVED.toSorted());
});
