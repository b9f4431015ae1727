import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Config } from "../../src/config/config.ts";
import { diffConfigs, renderConfigDiff } from "../../src/config/diff.ts";
import { FIXTURES, loadFile, loadText } from "./load-fixture.ts";

const SMALL = readFileSync(`${FIXTURES}good/small.yaml`, "utf8");

function changed(...edits: (readonly [string, string])[]): Config {
  let text = SMALL;
  for (const [from, to] of edits) {
    expect(text).toContain(from);
    text = text.replaceAll(from, to);
  }
  const { config, problems } = loadText(text);
  expect(problems.filter(({ severity }) => severity === "error")).toEqual([]);
  return config!;
}

const lines = (before: Config | undefined, after: Config): string[] =>
  renderConfigDiff(diffConfigs(before, after), { color: false }).split("\n").slice(0, -1);

test("the same configuration differs in nothing, wherever its lines stand", () => {
  expect(diffConfigs(changed(), changed(["version: 1", "# moved\n\nversion: 1"]))).toEqual([]);
});

test("a first configuration is added whole", () => {
  const kinds = new Set(diffConfigs(undefined, changed()).map(({ kind }) => kind));
  expect(kinds).toEqual(new Set(["added"]));
  expect(lines(undefined, changed())).toContain("+ jobs.docs");
});

test("fields, names and sections", () => {
  const after = changed(
    ["path: /backups,", "path: /backups, maxSize: 100GB,"],
    ['schedule: "0 2 * * *"', "schedule: [{ every: 1h, mode: full }], priority: 5"],
    [
      "jobs:",
      "  more: { type: local, path: /more, encryption: main }\nguards: { clock: 10m }\nretention: { short: { keepLast: 2 } }\njobs:",
    ],
    ["targets: [disk]", "targets: { disk: { retention: short } }"],
  );
  expect(lines(changed(), after)).toEqual([
    "~ targets.disk",
    "    maxSize: (none) → 100 GB",
    "+ targets.more",
    "    type: local",
    "    path: /more",
    "    format.kind: repository",
    "    encryption: main",
    "    capacityWarning: 0.9",
    "    appendOnly: false",
    "    offsite: false",
    "+ retention.short",
    "    keepLast: 2",
    "    keepTags: []",
    "~ jobs.docs",
    "    schedules.1.schedule.text: cron 0 2 * * * → every 1h",
    "    schedules.1.schedule.rule.kind: cron → every",
    "    schedules.1.schedule.rule.expression: 0 2 * * * → (none)",
    "    priority: 0 → 5",
    "    targets.disk.retention: (none) → short",
    "    schedules.1.schedule.rule.every: (none) → 1h 00m",
    "    schedules.1.mode: (none) → full",
    "~ guards",
    "    clock: 5m 00s → 10m 00s",
  ]);
});

test("a job that says formerly is renamed, another is removed and added", () => {
  expect(lines(changed(), changed(["  docs: { sources", "  papers: { formerly: [docs], sources"]))).toEqual([
    "~ jobs.papers (formerly docs)",
  ]);
  const [added, removed] = diffConfigs(changed(), changed(["  docs: { sources", "  papers: { sources"]));
  expect([added?.kind, added?.name, removed?.kind, removed?.name]).toEqual(["added", "papers", "removed", "docs"]);
});

test("a changed secret is seen and not shown", () => {
  const before = changed(["{ file: /run/secrets/p }", "first-canary"]);
  const after = changed(["{ file: /run/secrets/p }", "second-canary"]);
  expect(lines(before, after)).toEqual(["~ encryption.main", "    password.plain: *** → *** (changed)"]);
  expect(JSON.stringify(diffConfigs(before, after))).not.toContain("canary");
  expect(lines(changed(), before)).toEqual([
    "~ encryption.main",
    "    password.file: /run/secrets/p → (none)",
    "    password.plain: (none) → ***",
  ]);
});

test("every key can be compared", () => {
  const every = loadFile(`${FIXTURES}good/every-key.yaml`).config!;
  expect(diffConfigs(every, every)).toEqual([]);
  expect(diffConfigs(changed(), every).length).toBeGreaterThan(10);
});

test("the control API, its tokens by their names and never shown", () => {
  const first =
    'version: 1\ncontrol: { listen: "127.0.0.1:9480", tokens: [{ name: ops, role: viewer, token: "0123456789abcdef0123456789abcdef" }] }';
  const then = first.replace("viewer", "admin").replace('f" }]', 'e" }]').replace("9480", "9481");
  expect(lines(changed(), changed(["version: 1", first]))).toEqual([
    "~ control",
    "    listen: (none) → 127.0.0.1:9480",
    "    tokens.ops.role: (none) → viewer",
    "    tokens.ops.token.plain: (none) → ***",
  ]);
  expect(lines(changed(["version: 1", first]), changed(["version: 1", then]))).toEqual([
    "~ control",
    "    listen: 127.0.0.1:9480 → 127.0.0.1:9481",
    "    tokens.ops.role: viewer → admin",
    "    tokens.ops.token.plain: *** → *** (changed)",
  ]);
});
