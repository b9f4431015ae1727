// What a restore does with every kind of thing that is in the way, under every policy: one table, checked as it stands.
import { spawnSync } from "node:child_process";
import { lstatSync, mkdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { OverwritePolicy } from "../../../src/engine/restore/restore.ts";
import { traces, writeCanary } from "../../support/hostile-repository.ts";
import { temporaryTree, writeTree } from "../../support/tree-literal.ts";
import { fixture, leftOvers, restore } from "./fixture.ts";

const POLICIES: readonly (OverwritePolicy | "always, delete")[] = ["never", "if-changed", "if-newer", "always", "always, delete"];
/** `r`: the snapshot's comes. `k`: what is there is kept, which is no problem. `c`: it is kept, and is a conflict. */
type Fate = "r" | "k" | "c";

/** What is there, and how to make it at `path`; `canary` lies outside. */
const THERE: Readonly<Record<string, (path: string, canary: string) => void>> = {
  "a file": (path) => writeFileSync(path, "there before"),
  "an empty folder": (path) => mkdirSync(path),
  "a full folder": (path) => writeTree(path, { inner: { deep: "there before" } }),
  "a symlink to a file": (path, canary) => symlinkSync(join(canary, "file"), path),
  "a symlink to a folder": (path, canary) => symlinkSync(join(canary, "folder"), path),
  "a dangling symlink": (path) => symlinkSync("nowhere", path),
  "a FIFO": (path) => void spawnSync("mkfifo", [path]),
};

/** Fates in the order of POLICIES. What is there is newer than the snapshot. */
const TABLE: readonly (readonly [comes: string, there: keyof typeof THERE, fates: string])[] = [
  ["a file", "a file", "k r k r r"],
  ["a file", "an empty folder", "k c c r r"],
  ["a file", "a full folder", "k c c c r"],
  ["a file", "a symlink to a file", "k r k r r"],
  ["a file", "a symlink to a folder", "k r k r r"],
  ["a file", "a dangling symlink", "k r k r r"],
  ["a file", "a FIFO", "k r k r r"],
  ["a symlink", "a file", "k r k r r"],
  ["a symlink", "an empty folder", "k c c r r"],
  ["a symlink", "a full folder", "k c c c r"],
  ["a symlink", "a symlink to a folder", "k r k r r"],
  ["a symlink", "a FIFO", "k r k r r"],
  ["a FIFO", "a file", "k r k r r"],
  ["a FIFO", "a full folder", "k c c c r"],
  ["a FIFO", "a symlink to a file", "k r k r r"],
  ["a folder", "a file", "c c c r r"],
  ["a folder", "an empty folder", "r r r r r"],
  ["a folder", "a symlink to a file", "c c c r r"],
  ["a folder", "a symlink to a folder", "c c c r r"],
  ["a folder", "a dangling symlink", "c c c r r"],
  ["a folder", "a FIFO", "c c c r r"],
];

const NAMES: Readonly<Record<string, string>> = { "a file": "file", "a symlink": "link", "a FIFO": "fifo", "a folder": "folder" };

function holdsRestored(comes: string, path: string): boolean {
  const stat = lstatSync(path);
  switch (comes) {
    case "a file":
      return stat.isFile() && readFileSync(path, "utf8") === "restored";
    case "a symlink":
      return stat.isSymbolicLink() && readlinkSync(path) === "restored";
    case "a FIFO":
      return stat.isFIFO();
    default:
      return stat.isDirectory() && readFileSync(join(path, "in"), "utf8") === "restored";
  }
}

/** One entry of each kind, as old as the century. */
function writeEntry(comes: string, path: string): void {
  if (comes === "a file") writeFileSync(path, "restored");
  else if (comes === "a symlink") symlinkSync("restored", path);
  else if (comes === "a FIFO") spawnSync("mkfifo", [path]);
  else writeTree(path, { in: "restored" });
  expect(spawnSync("touch", ["-h", "-d", "2001-01-01", path]).status).toBe(0);
}

describe("restoring over", () => {
  it.each(POLICIES.map((policy, i) => [policy, i] as const))(
    "everything there is, with %s, does what the table says",
    async (policy, i) => {
      // Each row has a folder of its own.
      const rows = TABLE.map(([comes, there, fates], row) => ({
        comes,
        there,
        fate: fates.split(" ")[i] as Fate,
        row: `row-${row}`,
      }));
      await using made = await fixture((source) => {
        for (const { comes, row } of rows) {
          mkdirSync(join(source, row));
          writeEntry(comes, join(source, row, NAMES[comes] as string));
        }
      });
      using outside = temporaryTree();
      writeCanary(outside.path);
      const untouched = traces(outside.path);
      const before = rows.map(({ comes, there, row }) => {
        mkdirSync(join(made.out, row));
        THERE[there]?.(join(made.out, row, NAMES[comes] as string), outside.path);
        return traces(join(made.out, row)).slice(1).join("\n");
      });
      const report = await restore(made, {
        overwrite: policy === "always, delete" ? "always" : policy,
        delete: policy === "always, delete",
      });
      const fates = rows.map(({ comes, there, row }, number) => {
        const folder = join(made.out, row);
        const path = join(folder, NAMES[comes] as string);
        const codes = report.problems.filter((problem) => problem.path === path).map(({ code }) => code);
        const isKept = traces(folder).slice(1).join("\n") === before[number];
        const found = codes.length > 0 ? (isKept ? "c" : "?") : holdsRestored(comes, path) ? "r" : isKept ? "k" : "?";
        return `${comes} over ${there}: ${found} ${codes.join(",")}`.trimEnd();
      });
      expect(fates).toEqual(
        rows.map(({ comes, there, fate }) => `${comes} over ${there}: ${fate}${fate === "c" ? " restore_conflict" : ""}`),
      );
      expect(report.status).toBe(rows.some(({ fate }) => fate === "c") ? "partial" : "success");
      expect(leftOvers(made.out)).toEqual([]);
      expect(traces(outside.path)).toEqual(untouched);
    },
  );
});
