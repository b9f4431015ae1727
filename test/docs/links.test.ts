import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { expect, test } from "vitest";

const pages = globSync(["*.md", "docs/**/*.md"]).toSorted();

/** Prose only: what stands in fences and code spans is no link. */
function prose(page: string): string {
  return readFileSync(page, "utf8")
    .replace(/^```[\s\S]*?^```$/gm, "")
    .replace(/`[^`\n]*`/g, (code) => "x".repeat(code.length));
}

/** Anchors of a page as GitHub makes them: headings in lower case, without punctuation, spaces as hyphens; and explicit ids. */
function anchorsOf(page: string): Set<string> {
  const text = readFileSync(page, "utf8").replace(/^```[\s\S]*?^```$/gm, "");
  const anchors = new Set<string>();
  for (const [, heading = ""] of text.matchAll(/^#{1,6} +(.+?) *$/gm)) {
    const words = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
    const slug = words.replace(/[^\p{L}\p{N}\p{M} _-]/gu, "").replaceAll(" ", "-");
    let unique = slug;
    for (let i = 1; anchors.has(unique); i++) unique = `${slug}-${i}`;
    anchors.add(unique);
  }
  for (const [, id = ""] of text.matchAll(/<a id="([^"]+)">/g)) anchors.add(id);
  return anchors;
}

test("there are pages, and the README leads to all of them but the decisions", () => {
  expect(pages).toContain("README.md");
  const readme = readFileSync("README.md", "utf8");
  const unlinked = pages.filter(
    (page) => page !== "README.md" && !page.startsWith("docs/decisions/") && !readme.includes(`](${page})`),
  );
  expect(unlinked).toEqual([]);
});

test.each(pages)("every relative link of %s leads somewhere", (page) => {
  const links = [...prose(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = ""]) => link);
  const broken = links.filter((link) => {
    if (/^[a-z]+:/.test(link)) return false;
    const [path = "", anchor] = link.split("#");
    const file = path === "" ? page : normalize(join(dirname(page), path));
    if (!existsSync(file)) return true;
    return anchor !== undefined && (statSync(file).isDirectory() || !anchorsOf(file).has(anchor));
  });
  expect(broken).toEqual([]);
});

test.each(pages)("every file of src, test, scripts and docs that %s names exists", (page) => {
  const spans = [...readFileSync(page, "utf8").matchAll(/`([^`\n]+)`/g)].map(([, code = ""]) => code);
  const named = spans.filter((code) => /^(?:src|test|scripts|schemas|docs|tools)\/[\w./-]*$/.test(code));
  expect(named.filter((path) => !existsSync(path))).toEqual([]);
});

test("decisions are numbered without gaps, and have their three parts", () => {
  const decisions = pages.filter((page) => page.startsWith("docs/decisions/"));
  expect(decisions.map((page) => page.slice("docs/decisions/".length, "docs/decisions/".length + 4))).toEqual(
    decisions.map((_, i) => String(i + 1).padStart(4, "0")),
  );
  for (const page of decisions) {
    const parts = [...readFileSync(page, "utf8").matchAll(/^\*\*(\w+)\.\*\*/gm)].map(([, part]) => part);
    expect({ page, parts }).toEqual({ page, parts: ["Context", "Decision", "Consequence"] });
  }
});
