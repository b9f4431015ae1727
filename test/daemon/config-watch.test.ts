import { mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ConfigWatch } from "../../src/daemon/config-watch.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { temporaryTree } from "../support/tree-literal.ts";

/** Longer than any wait of the watch: it has looked, and has seen the files at rest. */
const LOOKED_MS = 20_000;

function watching(paths: readonly string[]): {
  readonly clock: FakeClock;
  readonly watch: ConfigWatch;
  readonly changes: () => number;
} {
  const clock = new FakeClock();
  let count = 0;
  const watch = new ConfigWatch({ clock, paths, onChange: () => count++ });
  return { clock, watch, changes: () => count };
}

test.each([
  ["is written in place", (path: string) => writeFileSync(path, "version: 1 # longer")],
  ["is renamed over", (path: string) => (writeFileSync(`${path}.new`, "version: 1"), renameSync(`${path}.new`, path))],
  ["goes away", (path: string) => rmSync(path)],
  [
    "keeps size and time, and is another file",
    (path: string) => (
      writeFileSync(`${path}~`, "VERSION: 1"),
      utimesSync(`${path}~`, 1, 1),
      utimesSync(path, 1, 1),
      renameSync(`${path}~`, path)
    ),
  ],
] as const)("a file that %s is told of once", async (_, change) => {
  using folder = temporaryTree({ "holdfast.yaml": "version: 1" });
  const path = join(folder.path, "holdfast.yaml");
  const { clock, watch, changes } = watching([path]);
  using _watch = watch;
  await clock.advance(LOOKED_MS);
  expect(changes()).toBe(0);
  change(path);
  await clock.advance(LOOKED_MS);
  expect(changes()).toBe(1);
  await clock.advance(LOOKED_MS);
  expect(changes()).toBe(1);
});

test("a link behind which another folder is put, as Kubernetes does", async () => {
  using folder = temporaryTree({ one: { "holdfast.yaml": "version: 1" }, two: { "holdfast.yaml": "version: 1" } });
  const at = (name: string): string => join(folder.path, name);
  symlinkSync("one", at("..data"));
  symlinkSync("..data/holdfast.yaml", at("holdfast.yaml"));
  const { clock, watch, changes } = watching([at("holdfast.yaml")]);
  using _watch = watch;
  symlinkSync("two", at("..tmp"));
  renameSync(at("..tmp"), at("..data"));
  await clock.advance(LOOKED_MS);
  expect(changes()).toBe(1);
});

test("a new file in a watched folder, and a file that was missing", async () => {
  using folder = temporaryTree({ "conf.d": {} });
  const { clock, watch, changes } = watching([join(folder.path, "conf.d"), join(folder.path, "extra.yaml")]);
  using _watch = watch;
  writeFileSync(join(folder.path, "conf.d/a.yaml"), "");
  await clock.advance(LOOKED_MS);
  expect(changes()).toBe(1);
  writeFileSync(join(folder.path, "extra.yaml"), "");
  await clock.advance(LOOKED_MS);
  expect(changes()).toBe(2);
});

test("nothing is told while the files are still changing", async () => {
  using folder = temporaryTree({ a: "" });
  const path = join(folder.path, "a");
  const { clock, watch, changes } = watching([path]);
  using _watch = watch;
  for (let i = 1; i < 50; i++) {
    writeFileSync(path, "x".repeat(i));
    // Far more often than what counts as rest.
    await clock.advance(100);
  }
  expect(changes()).toBe(0);
  await clock.advance(LOOKED_MS);
  expect(changes()).toBe(1);
});

test("other paths are watched after a replacement, and what is known of those that stay is kept", async () => {
  using folder = temporaryTree({ a: "", b: "" });
  const at = (name: string): string => join(folder.path, name);
  const { clock, watch, changes } = watching([at("a")]);
  using _watch = watch;
  writeFileSync(at("a"), "changed before the replacement");
  expect(watch.replace([at("a"), at("b")])).toBe(true);
  expect(watch.replace([at("a"), at("b")])).toBe(false);
  await clock.advance(LOOKED_MS);
  expect(changes()).toBe(1);
  writeFileSync(at("b"), "changed");
  await clock.advance(LOOKED_MS);
  expect(changes()).toBe(2);
  expect(watch.replace([at("b")])).toBe(false);
  writeFileSync(at("a"), "of no concern any more");
  await clock.advance(LOOKED_MS);
  expect(changes()).toBe(2);
});

test("after its end nothing is told", async () => {
  using folder = temporaryTree({ a: "" });
  const { clock, watch, changes } = watching([join(folder.path, "a")]);
  watch[Symbol.dispose]();
  writeFileSync(join(folder.path, "a"), "changed");
  mkdirSync(join(folder.path, "d"));
  await clock.advance(LOOKED_MS);
  expect(changes()).toBe(0);
  expect(clock.sleeping).toBe(0);
});
