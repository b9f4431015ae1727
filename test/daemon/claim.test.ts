import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { claimDaemon } from "../../src/daemon/claim.ts";
import { processIdentity, type ProcessIdentity } from "../../src/state/process-identity.ts";
import { temporaryTree } from "../support/tree-literal.ts";

function claimedBy(owner: Partial<ProcessIdentity>): { path: string } & Disposable {
  const folder = temporaryTree({});
  writeFileSync(join(folder.path, "daemon.json"), JSON.stringify({ ...processIdentity(), ...owner }));
  return folder;
}

test.runIf(processIdentity().bootId !== "")("a claim from before a reboot, or of a process that is gone, is taken over", () => {
  for (const owner of [{ bootId: "another" }, { processStart: "1" }]) {
    using folder = claimedBy(owner);
    using _claim = claimDaemon(folder.path);
    expect(existsSync(join(folder.path, "daemon.json"))).toBe(true);
  }
});

test("a claim of a process that may live is not: of this one, or of another container", () => {
  for (const owner of [{}, { pidNamespace: "pid:[1]" }, { bootId: "", pidNamespace: "" }]) {
    using folder = claimedBy(owner);
    expect(() => claimDaemon(folder.path)).toThrow(expect.objectContaining({ code: "state_busy" }) as Error);
  }
});
