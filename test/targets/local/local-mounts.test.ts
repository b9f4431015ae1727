import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const CHILD = fileURLToPath(new URL("./mounts-child.ts", import.meta.url));
/** Mounts need a user and mount namespace; where the system forbids them these tests show as skipped. */
const canMount = spawnSync("unshare", ["-Urm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]).status === 0;

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-mounts-"));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

function run(scenario: string, command: readonly string[]): unknown {
  const [program, ...args] = [...command, process.execPath, CHILD, scenario, folder];
  const child = spawnSync(program as string, args, { encoding: "utf8" });
  expect(child, child.stderr).toMatchObject({ status: 0 });
  return JSON.parse(child.stdout);
}

describe.skipIf(!canMount)("local target on mounted file systems", () => {
  const inNamespace = ["unshare", "-Urm"];

  it("a full file system: the put fails whole, what is stored stays, space can be reclaimed", () => {
    const result = run("full", inNamespace) as { puts: string[]; whole: boolean[]; left: string[]; capacity: object };
    expect(result.puts.slice(0, 5)).toEqual(["ok", "ok", "ok", "ok", "ok"]);
    expect(result.puts.slice(-2)).toEqual(["target_full", "target_full"]);
    expect(result.whole).toEqual(result.puts.filter((put) => put === "ok").map(() => true));
    expect(result).toMatchObject({ left: [], afterDelete: "ok", capacity: { totalBytes: 6 * 2 ** 20 } });
  });

  it("a read-only file system: writes are refused by name, reads work", () => {
    expect(run("readOnly", inNamespace)).toEqual({
      put: "target_read_only",
      same: "ok",
      get: 2 ** 20,
      list: 1,
      delete: "target_read_only",
    });
  });

  it("requireMount: nothing is read from or written to the bare folder", () => {
    expect(run("mounts", inNamespace)).toEqual({
      bare: "target_not_mounted",
      bareList: "target_not_mounted",
      bareEntries: [],
      mounted: "ok",
      lost: "target_not_mounted",
      lostEntries: [],
      bind: "ok",
      absent: "target_not_mounted",
    });
  });

  it("another file system over the root is not written to", () => {
    expect(run("replaced", inNamespace)).toEqual({ before: "ok", after: "target_unreachable", entries: [] });
  });
});

describe("local target without permission", () => {
  it("says denied, and does not call it missing", () => {
    expect(run("denied", [])).toEqual({ put: "target_denied", get: "target_denied", absent: "target_missing_object" });
  });
});
