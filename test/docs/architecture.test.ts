import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

/** The floors as the architecture test has them: read as text, because importing it would run its tests. */
function floorsOfTest(): Record<string, string[]> {
  const text = readFileSync("test/architecture.test.ts", "utf8");
  const table = /const FLOORS[^=]*= \{\n([\s\S]*?)\n\};/.exec(text)?.[1] ?? "";
  const rows = [...table.matchAll(/^ {2}"?([\w.]+)"?: \[([^\]]*)\],$/gm)];
  return Object.fromEntries(
    rows.map(([, name = "", list = ""]) => [name, [...list.matchAll(/"([^"]+)"/g)].map(([, floor = ""]) => floor)]),
  );
}

function floorsOfPage(): Record<string, string[]> {
  const text = readFileSync("docs/architecture.md", "utf8");
  const section = /## The floors\n([\s\S]*?)\n## /.exec(text)?.[1] ?? "";
  const rows = [...section.matchAll(/^\| `([\w.]+)` \| ([^|]*) \| .+ \|$/gm)];
  return Object.fromEntries(
    rows.map(([, name = "", list = ""]) => [name, [...list.matchAll(/`([^`]+)`/g)].map(([, floor = ""]) => floor)]),
  );
}

test("the page shows the floors and edges that are enforced", () => {
  const enforced = floorsOfTest();
  expect(Object.keys(enforced).length).toBeGreaterThan(10);
  expect(floorsOfPage()).toEqual(enforced);
});

test("the page marks the pure floors", () => {
  const pure = /const PURE = \[([^\]]*)\]/.exec(readFileSync("test/architecture.test.ts", "utf8"))?.[1] ?? "";
  const marked = [...readFileSync("docs/architecture.md", "utf8").matchAll(/^\| `([\w.]+)` .*\(pure\) \|$/gm)].map(
    ([, name = ""]) => name,
  );
  expect(marked.toSorted()).toEqual([...pure.matchAll(/"([^"]+)"/g)].map(([, name = ""]) => name).toSorted());
});
