import { randomInt } from "node:crypto";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { runSweeps } from "../support/file-fault-campaign.ts";
import type { Sweep } from "../support/file-fault-child.ts";
import { temporaryTree } from "../support/tree-literal.ts";

// The small form of `node scripts/faults.mjs errors`, which makes every call go wrong. After each: a run that failed has committed
// nothing after a failed fsync, every snapshot from before reads as it was backed up, and now and then the next runs need no repair.

const seed = process.env["HOLDFAST_SEED"] ?? String(randomInt(1_000_000));
/** Which of the calls are met differs from seed to seed. */
const offset = 1 + (Number(seed) % 3);

const EIO = { errno: "EIO" };
const once = { onwards: false, from: offset, step: 5 } as const;
const SWEEPS: readonly Sweep[] = [
  { operation: "backup", call: "fsync of a file", how: EIO, ...once },
  { operation: "backup", call: "fsync of a folder", how: EIO, ...once },
  { operation: "backup", call: "link", how: EIO, ...once },
  { operation: "backup", call: "write", how: { errno: "EDQUOT" }, ...once },
  { operation: "backup", call: "write", how: { errno: "ENOSPC" }, onwards: true, from: 2 + offset, step: 100 },
  // Every write and every read moves a part of what was asked, to the end of the run.
  { operation: "backup", call: "write", how: { short: true }, onwards: true, from: 1, step: 1000 },
  { operation: "backup", call: "read", how: { short: true }, onwards: true, from: 1, step: 1000 },
  { operation: "prune", call: "fsync of a file", how: EIO, ...once },
  { operation: "prune", call: "unlink", how: EIO, onwards: false, from: offset, step: 8 },
  { operation: "prune", call: "write", how: { errno: "ENOSPC" }, onwards: true, from: offset, step: 100 },
];

describe.skipIf(process.platform !== "linux")(`failing file calls of a local target, seed ${seed}`, () => {
  it("cost no snapshot, are never a false success, and leave nothing to repair", async () => {
    using folder = temporaryTree();
    const faults = await runSweeps({ folder: join(folder.path, "lab"), seed, sweeps: SWEEPS, thoroughEvery: 10 });
    for (const [number, { operation, call, how }] of SWEEPS.entries()) {
      const outcomes = faults.filter(({ sweep }) => sweep === number).map(({ outcome }) => outcome);
      expect(outcomes, `${operation}, ${call}, ${JSON.stringify(how)}`).not.toEqual([]);
      if ("short" in how) expect(outcomes).toEqual(["success"]);
    }
  });
});
