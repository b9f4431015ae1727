import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { temporaryTree } from "../support/tree-literal.ts";

const CHILD = fileURLToPath(new URL("./enospc-child.ts", import.meta.url));
/** Mounts need a user and mount namespace; where the system forbids them these tests show as skipped. */
const canMount = spawnSync("unshare", ["-Urm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]).status === 0;

function run(scenario: string): unknown {
  using folder = temporaryTree({ lab: {} });
  const child = spawnSync("unshare", ["-Urm", process.execPath, CHILD, scenario, join(folder.path, "lab")], { encoding: "utf8" });
  expect(child, child.stderr).toMatchObject({ status: 0 });
  return JSON.parse(child.stdout);
}

describe.skipIf(!canMount)("the medium of a target", () => {
  it("is full: the backup fails by name, earlier snapshots restore, and with more space the next run succeeds", () => {
    expect(run("full")).toEqual({
      backup: "target_full",
      run: { status: "failed", code: "target_full" },
      left: 1,
      temporary: 0,
      later: "ok",
      restored: 2,
    });
  });

  it("is full: prunes give back what the failed backup took, and the next run succeeds", () => {
    expect(run("reclaimed")).toEqual({ backup: "target_full", prunes: ["ok", "ok"], later: "ok", restored: 2 });
  });

  it("is read-only: a clear error before anything is read, restores work, and once writable the next run succeeds", () => {
    expect(run("readOnly")).toEqual({
      backup: "target_read_only",
      run: { status: "failed", code: "target_read_only" },
      prune: "target_read_only",
      restored: 1,
      untouched: true,
      later: "ok",
    });
  });
});
