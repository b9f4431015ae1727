import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isContentAddressed } from "../../../../src/targets/names.ts";
import { noise, World } from "../prune/fixture.ts";

/** The command of docs/operations.md, as a reader would copy it. */
const COMMAND = /### Scrub without a key\n[\s\S]*?```sh\n(.+)\n```/.exec(fs.readFileSync("docs/operations.md", "utf8"))?.[1];

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast scrub "));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

const scrub = (): string => execFileSync("sh", ["-c", COMMAND as string], { cwd: folder, encoding: "utf8" });

/** A small repository as files, with a key slot and a put that a crash left behind. */
async function files(): Promise<string[]> {
  const world = new World({ packBytes: 16 * 1024 });
  const repository = await world.create();
  await world.backup(repository, new Map([["a", noise(1, 40_000)]]));
  for (const [name, { bytes }] of world.memory.objects) {
    fs.mkdirSync(path.join(folder, path.dirname(name)), { recursive: true });
    fs.writeFileSync(path.join(folder, name), bytes);
  }
  fs.mkdirSync(path.join(folder, "tmp"));
  fs.writeFileSync(path.join(folder, "tmp", "put-0123456789abcdef"), "half");
  return [...world.memory.objects.keys()];
}

test("the shell command of the operations page names exactly the damaged file", async () => {
  const names = await files();
  expect(names.some((name) => name.startsWith("keys/"))).toBe(true);
  expect(scrub()).toBe("");
  const objects = names.filter(isContentAddressed);
  expect(new Set(objects.map((name) => name.split("/")[0]))).toEqual(new Set(["keyring", "index", "packs", "snapshots"]));
  for (const name of objects) {
    const file = path.join(folder, name);
    const good = fs.readFileSync(file);
    const bad = Buffer.from(good);
    bad[bad.length >> 1] = (bad[bad.length >> 1] as number) ^ 1;
    fs.writeFileSync(file, bad);
    expect(scrub()).toBe(`./${name}\n`);
    fs.writeFileSync(file, good);
  }
  expect(scrub()).toBe("");
});
