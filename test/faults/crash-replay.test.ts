import { randomInt } from "node:crypto";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { replay } from "../support/crash-replay.ts";
import { SmallLab } from "../support/small-lab.ts";
import { canTrace } from "../support/traced-calls.ts";
import { temporaryTree } from "../support/tree-literal.ts";

// The small form of `node scripts/faults.mjs replay`. The calls of one backup and one prune are traced; what is on the disk after a
// kill between any two, or after a power loss there, is built from the log. Whatever it is: every committed snapshot reads as
// it was backed up, any other is absent or whole, and a backup and a prune then need no repair. A failure names the seed.

const seed = process.env["HOLDFAST_SEED"] ?? String(randomInt(1_000_000));

// Needs `strace`; where it is missing or may not trace, these show as skipped.
describe.skipIf(!canTrace)(`the traced calls of a local target, seed ${seed}`, () => {
  it("after a kill or a power loss at any of them, committed snapshots are whole and the next runs need no repair", async () => {
    using folder = temporaryTree();
    const lab = new SmallLab(join(folder.path, "lab"), seed);
    await lab.prepare();
    const made = new Set<string>();
    for (const operation of ["backup", "prune"] as const) {
      const { calls, states } = await replay(lab, { operation, seed, prefixEvery: 8, losses: 30, thoroughEvery: 20 });
      for (const { call } of calls) made.add(call);
      expect(states, operation).toBeGreaterThan(10);
    }
    for (const call of ["create", "write", "fsync", "link", "unlink"]) expect(made).toContain(call);
  });
});
