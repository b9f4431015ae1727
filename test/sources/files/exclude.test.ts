import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compileExclude, nameText } from "../../../src/sources/files/exclude.ts";
import { temporaryTree } from "../../support/tree-literal.ts";

const matches = (patterns: readonly string[], path: string): number => {
  const isDirectory = path.endsWith("/");
  return compileExclude(patterns)?.match(isDirectory ? path.slice(0, -1) : path, isDirectory) ?? -1;
};

describe("exclude rules", () => {
  test.each<[patterns: readonly string[], path: string, index: number]>([
    [["*.tmp"], "a.tmp", 0],
    [["*.tmp"], "deep/er/a.tmp", 0],
    [["*.tmp"], "a.tmpx", -1],
    [["*.TMP"], "a.tmp", -1],
    [["/top"], "top", 0],
    [["/top"], "sub/top", -1],
    [["a/b"], "a/b", 0],
    [["a/b"], "x/a/b", -1],
    [["**/.cache/"], "x/y/.cache/", 0],
    [["**/.cache/"], ".cache/", 0],
    [["**/.cache/"], "x/.cache", -1],
    [["cache/"], "cache", -1],
    [["*.tmp", "!important.tmp"], "important.tmp", -1],
    [["*.tmp", "!important.tmp"], "other.tmp", 0],
    [["*.tmp", "!important.tmp", "/important.tmp"], "important.tmp", 2],
    [["a", "*"], "a", 1],
    [["dir/", "!dir/keep"], "dir/keep", 0],
    [["dir/*", "!dir/keep"], "dir/keep", -1],
    [["a/**/z"], "a/z", 0],
    [["a/**/z"], "a/b/c/z", 0],
    [["[a-c]?x"], "bnx", 0],
    [["\\#hash"], "#hash", 0],
    [["\\!bang"], "!bang", 0],
    [["# comment", "x"], "x", 1],
    [["caf?"], "café", 0],
    [["*"], "line\nbreak", 0],
    [["*.log "], "a.log", 0],
  ])("%j decides %j by rule %i", (patterns, path, index) => {
    expect(matches(patterns, path)).toBe(index);
  });

  test("that cannot exclude anything are none, and cost nothing", () => {
    expect(compileExclude([])).toBeUndefined();
    expect(compileExclude(["", "  ", "# only a comment", "!keep"])).toBeUndefined();
    expect(compileExclude(["x"])).toBeDefined();
  });

  test("answer the same after more paths than are remembered", () => {
    const rules = compileExclude(["skip/", "*.o"]);
    for (let index = 0; index < 10_000; index++) {
      expect(rules?.match(`d${index}/file.c`, false)).toBe(-1);
      expect(rules?.match(`d${index}/file.o`, false)).toBe(1);
    }
    expect(rules?.match("skip/inside/file.c", false)).toBe(0);
  });

  test("see names as UTF-8 where they are, else byte by byte", () => {
    expect(nameText("plain")).toBe("plain");
    expect(nameText("caf\xc3\xa9")).toBe("café");
    expect(nameText("caf\xe9")).toBe("caf\xe9");
    expect(matches(["caf?"], nameText("caf\xe9"))).toBe(0);
  });

  test.skipIf(spawnSync("git", ["--version"]).status !== 0)("decide as git does", () => {
    using folder = temporaryTree();
    expect(spawnSync("git", ["init", "-q", folder.path]).status).toBe(0);
    const part = fc.constantFrom("a", "b", "ab", "a.o", ".c", "*", "?", "**", "*.o", "[ab]", "a*");
    const pattern = fc
      .tuple(
        fc.constantFrom("", "", "!"),
        fc.constantFrom("", "/"),
        fc.array(part, { minLength: 1, maxLength: 3 }),
        fc.constantFrom("", "", "/"),
      )
      .map(([negation, anchor, parts, end]) => negation + anchor + parts.join("/") + end);
    const name = fc.constantFrom("a", "b", "ab", "a.o", "b.o", ".c", "xa");
    const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join("/"));
    const subject = fc.tuple(
      fc.array(pattern, { minLength: 1, maxLength: 4 }),
      fc.uniqueArray(path, { minLength: 10, maxLength: 30 }),
    );
    fc.assert(
      fc.property(subject, ([patterns, paths]) => {
        writeFileSync(`${folder.path}/.git/info/exclude`, `${patterns.join("\n")}\n`);
        const run = spawnSync("git", ["-C", folder.path, "check-ignore", "--no-index", "-v", "-n", ...paths], {
          encoding: "utf8",
        });
        const lines = run.stdout.trimEnd().split("\n");
        const rules = compileExclude(patterns);
        for (const [index, line] of lines.entries()) {
          const [, number, rule] = /^(?:[^:]*:(\d+):([^\t]*)|::)\t/.exec(line) ?? [];
          const expected = number === undefined || rule?.startsWith("!") === true ? -1 : Number(number) - 1;
          expect([patterns, paths[index], rules?.match(paths[index] as string, false) ?? -1]).toEqual([
            patterns,
            paths[index],
            expected,
          ]);
        }
        expect(lines).toHaveLength(paths.length);
      }),
      { numRuns: 60 },
    );
  });
});
