import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { renderProblems } from "../../src/config/problem.ts";
import { FIXTURES, loadText } from "./load-fixture.ts";

const EVERY = readFileSync(`${FIXTURES}good/every-key.yaml`, "utf8").replace("include: [parts/*.yaml]\n", "");
const runs = (numRuns: number): fc.Parameters<unknown> => ({ numRuns, verbose: fc.VerbosityLevel.Verbose });

function check(text: string): void {
  const { config, problems } = loadText(text, { env: { A: "1", B: "" } });
  const hasErrors = problems.some(({ severity }) => severity === "error");
  expect(config === undefined).toBe(hasErrors);
  for (const { line, column, endColumn } of problems) expect(line > 0 && column > 0 && endColumn > column).toBe(true);
  const places = problems.map(({ line, column }) => line * 1e6 + column);
  expect(places).toEqual(places.toSorted((a, b) => a - b));
  expect(renderProblems(problems, { color: false })).not.toContain("\u001b");
}

test("any text is a configuration or problems", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => check(text)),
    runs(300),
  );
  const yaml = fc.array(
    fc.constantFrom(
      "a",
      "- ",
      ": ",
      "\n",
      "  ",
      "{",
      "}",
      "[",
      "]",
      "&a ",
      "*a",
      "<<",
      "!x ",
      "|",
      ">",
      "'",
      '"',
      "#",
      "---\n",
      "${A}",
      "${",
      "jobs",
      "version: 1\n",
      ",",
    ),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(yaml, (parts) => check(parts.join(""))),
    runs(500),
  );
});

test("the full configuration with one piece replaced, doubled or taken out", () => {
  const edit = fc.record({
    at: fc.nat(EVERY.length),
    length: fc.nat(12),
    put: fc.constantFrom(
      "",
      "x",
      " ",
      "\n",
      "{",
      "}",
      ":",
      "5",
      "null",
      "*",
      "&a",
      "${A}",
      "${",
      "true",
      "[]",
      "- ",
      "-1",
      "%",
      "1e400",
    ),
  });
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
      let text = EVERY;
      for (const { at, length, put } of edits) text = text.slice(0, at) + put + text.slice(at + length);
      check(text);
    }),
    runs(400),
  );
});

test("any values under known keys, of any shape", () => {
  const word = fc.constantFrom(
    "version",
    "jobs",
    "docs",
    "sources",
    "targets",
    "type",
    "files",
    "local",
    "paths",
    "path",
    "schedule",
    "every",
    "retention",
    "keepLast",
    "objectives",
    "copies",
    "encryption",
    "password",
    "verify",
    "name",
    "mode",
    "disk",
    "archive",
    "defaults",
    "maintenance",
    "exclude",
  );
  const leaf = fc.oneof(
    fc.constantFrom<unknown>(
      1,
      0,
      -1,
      1.5,
      null,
      true,
      "docs",
      "disk",
      "files",
      "local",
      "1h",
      "10%",
      "none",
      "0 2 * * *",
      "/x",
      "full",
    ),
    fc.string({ maxLength: 5 }),
  );
  const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 6, withCrossShrink: true },
      leaf,
      fc.array(tie("tree"), { maxLength: 4 }),
      fc.dictionary(word, tie("tree"), { maxKeys: 6 }),
    ),
  }));
  fc.assert(
    fc.property(fc.dictionary(word, tree, { maxKeys: 8 }), (value) => check(JSON.stringify({ version: 1, ...value }))),
    runs(500),
  );
});

test("a plain secret is in no problem, whatever is wrong beside it", () => {
  const edit = fc.record({ at: fc.nat(200), put: fc.constantFrom("", "x", " ", "\n", "{", "}", ":", "'", "[", "*", "!t ") });
  const text =
    "version: 1\nencryption:\n  main:\n    password: CANARY\n    previous: [CANARY]\n    keyDerivation: { function: nothing }\n";
  fc.assert(
    fc.property(edit, ({ at, put }) => {
      const from = text.indexOf("    keyDerivation") + (at % 40);
      const { problems } = loadText(text.slice(0, from) + put + text.slice(from + 1));
      expect(JSON.stringify(problems)).not.toContain("CANARY");
    }),
    runs(200),
  );
});
