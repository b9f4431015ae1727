import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FAULT_POINTS, type FaultPoint } from "../../../src/targets/local/fault-points.ts";
import { LocalTarget } from "../../../src/targets/local/local-target.ts";
import { CRASH_OBJECTS, DELETED } from "./crash-objects.ts";

const CHILD = fileURLToPath(new URL("./crash-child.ts", import.meta.url));
/** Claims are only made where there are no hard links, which the child then pretends; reading leaves nothing behind. */
const NOT_HERE: readonly FaultPoint[] = ["before claim", "after claim", "before read", "before readdir"];
const points = (Object.keys(FAULT_POINTS) as FaultPoint[]).filter((point) => !NOT_HERE.includes(point));

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-crash-"));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

/** True when the child was killed at the point, false when it came to its end. */
function crashChild(root: string, crashAt: string, failAt: string): boolean {
  const child = spawnSync(process.execPath, [CHILD, root, crashAt, failAt], { encoding: "utf8" });
  if (child.signal === "SIGKILL") return true;
  expect(child, child.stderr).toMatchObject({ status: 0, signal: null });
  return false;
}

async function expectWholeObjectsOnly(target: LocalTarget): Promise<void> {
  for (const { name, sizeBytes } of await target.list("")) {
    const expected = Buffer.concat(CRASH_OBJECTS.find((object) => object.name === name)?.parts ?? []);
    expect(sizeBytes, name).toBe(expected.length);
    expect(Buffer.compare(await target.get(name), expected), name).toBe(0);
  }
}

async function expectConverges(target: LocalTarget, root: string): Promise<void> {
  await target.cleanUp(0);
  if (fs.existsSync(path.join(root, "tmp"))) expect(fs.readdirSync(path.join(root, "tmp"))).toEqual([]);
  for (const { name, parts } of CRASH_OBJECTS) await target.put(name, parts);
  await expectWholeObjectsOnly(target);
  await target.delete(DELETED);
  expect(await target.list("")).toHaveLength(CRASH_OBJECTS.length - 1);
  expect(fs.readdirSync(path.join(root, "tmp"))).toEqual([]);
}

/** Kills at the first, second, … hit of a point until one run comes through; returns how many were killed. */
async function campaign(point: FaultPoint, failAt: string): Promise<number> {
  for (let hit = 1; ; hit++) {
    const root = path.join(folder, String(hit));
    const killed = crashChild(root, `${point}:${hit}`, failAt);
    const target = new LocalTarget({ path: root, create: true });
    if (fs.existsSync(root)) await expectWholeObjectsOnly(target);
    await expectConverges(target, root);
    fs.rmSync(root, { recursive: true, force: true });
    if (!killed) return hit - 1;
  }
}

describe("SIGKILL at every boundary of a local target", () => {
  it.each(points)("%s", async (point) => {
    expect(await campaign(point, "")).toBeGreaterThan(0);
  });

  it.each(["before claim", "after claim", "before link", "after link"] as const)("without hard links: %s", async (point) => {
    expect(await campaign(point, "before link:1=EPERM")).toBeGreaterThan(0);
  });
});

describe.skipIf(process.platform !== "linux")("SIGSTOP at a boundary", () => {
  it("a put that slept between link and fsync of the folder goes on", async () => {
    const child = spawn(process.execPath, [CHILD, folder, "", "", "after link:2"], { stdio: "inherit" });
    const ended = once(child, "exit");
    const state = (): string => fs.readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ")[1]?.[0] ?? "";
    while (state() !== "T") await new Promise((resolve) => setTimeout(resolve, 1));
    const target = new LocalTarget({ path: folder });
    await expectWholeObjectsOnly(target);
    expect(await target.list("packs/")).toHaveLength(1);
    child.kill("SIGCONT");
    expect(await ended).toEqual([0, null]);
    await expectConverges(target, folder);
  });
});
