import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readConfigFile, type ConfigSurroundings } from "../../src/engine/config-file.ts";
import { likelyStateDirs, readLastGood, saveLastGood } from "../../src/engine/last-good.ts";
import { temporaryTree } from "../support/tree-literal.ts";

const MAIN = `version: 1
host: tester
include: [conf.d/*.yaml]
daemon: { stateDir: ./state }
targets: { disk: { type: local, path: "\${WHERE}", encryption: main } }
encryption: { main: { keyFile: ./key, generate: true } }
`;
const INCLUDED = `version: 1
sources: { docs: { type: files, paths: [./data] } }
jobs: { docs: { sources: [docs], targets: [disk], schedule: { every: 1h } } }
`;

function place(): { path: string; file: string; surroundings: ConfigSurroundings } & Disposable {
  const folder = temporaryTree({ "holdfast.yaml": MAIN, "conf.d": { "a.yaml": INCLUDED } });
  const { path } = folder;
  const env = { WHERE: "/first" };
  return {
    path,
    file: join(path, "holdfast.yaml"),
    surroundings: { env, cwd: path, hostName: "h", home: path, isRoot: false, timezone: "UTC" },
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}

test("the last good configuration reads as it did, with what it includes and with the environment of now", () => {
  using here = place();
  const state = join(here.path, "state");
  const reading = readConfigFile(here.file, here.surroundings, false);
  expect(reading.problems.filter(({ severity }) => severity === "error")).toEqual([]);
  saveLastGood(state, here.file, reading, Date.UTC(2026, 0, 2));
  writeFileSync(join(here.path, "conf.d/a.yaml"), "gone: wrong");
  expect(readConfigFile(here.file, here.surroundings, false).config).toBeUndefined();
  const lastGood = readLastGood(state, here.file, { ...here.surroundings, env: { WHERE: "/second" } });
  expect(lastGood).toMatchObject({ saved: "2026-01-02T00:00:00.000Z", digest: reading.digest });
  expect([...(lastGood?.config.jobs.keys() ?? [])]).toEqual(["docs"]);
  expect(lastGood?.watched).toEqual([here.file, join(here.path, "conf.d/a.yaml"), join(here.path, "conf.d")]);
  expect(lastGood?.config.targets.get("disk")?.path).toBe("/second");
  // Texts may hold a secret in plain, and never one that was expanded.
  expect(statSync(join(state, "last-good.json")).mode & 0o777).toBe(0o600);
  expect(readFileSync(join(state, "last-good.json"), "utf8")).not.toContain("/first");
});

test("there is none of another file, of a record that is damaged, or of one that is not valid any more", () => {
  using here = place();
  const state = join(here.path, "state");
  expect(readLastGood(state, here.file, here.surroundings)).toBeUndefined();
  saveLastGood(state, here.file, readConfigFile(here.file, here.surroundings, false), 0);
  expect(readLastGood(state, join(here.path, "other.yaml"), here.surroundings)).toBeUndefined();
  expect(readLastGood(state, here.file, { ...here.surroundings, env: {} })).toBeUndefined();
  writeFileSync(join(state, "last-good.json"), '{"version":1');
  expect(readLastGood(state, here.file, here.surroundings)).toBeUndefined();
});

test("the state folder of a file that cannot be parsed is what looks like it in the text, and then the default", () => {
  using here = place();
  const fallback = join(here.path, ".local/state/holdfast");
  for (const [text, dir] of [
    ["daemon:\n  stateDir: ./s # here\njobs: [", "s"],
    ['daemon: { stateDir: "./with space", x: [', "with space"],
    ["daemon: { 'stateDir': './q' }\n\tjobs", "q"],
    ["daemon: { stateDir: /abs }\n[", "/abs"],
  ] as const) {
    writeFileSync(here.file, text);
    const stated = readConfigFile(here.file, here.surroundings, false).stateDir;
    const expected = dir.startsWith("/") ? dir : join(here.path, dir);
    expect(likelyStateDirs(here.file, stated, here.surroundings)).toEqual([expected, fallback]);
  }
  expect(likelyStateDirs(here.file, "/stated", here.surroundings)).toEqual(["/stated", fallback]);
  mkdirSync(join(here.path, "folder"));
  expect(likelyStateDirs(join(here.path, "folder"), undefined, here.surroundings)).toEqual([fallback]);
});
