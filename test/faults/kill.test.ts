import { randomInt } from "node:crypto";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { PRUNE_BOUNDARIES } from "../../src/formats/repository/prune/prune.ts";
import { COMMIT_BOUNDARIES } from "../../src/formats/repository/write/commit-boundaries.ts";
import { FAULT_POINTS } from "../../src/targets/local/fault-points.ts";
import { Campaign, type CampaignOptions } from "../support/campaign.ts";
import { temporaryTree } from "../support/tree-literal.ts";

// The small form of `node scripts/campaign.mjs`. After every kill: the history says interrupted, the last snapshot from before
// restores, an ordinary backup succeeds, and a verification of every byte is clean. A failure names the seed.

const seed = process.env["HOLDFAST_SEED"] ?? String(randomInt(1_000_000));

async function campaign(options: Pick<CampaignOptions, "random" | "boundaries">): Promise<Campaign> {
  using folder = temporaryTree();
  const made = new Campaign({
    ...options,
    folder: join(folder.path, "campaign"),
    seed,
    size: { files: 300, bytes: 8_000_000 },
    packBytes: 2 ** 18,
    restoreAllEvery: 20,
    log: () => undefined,
  });
  await made.run();
  return made;
}

const reached = (made: Campaign): string[] => [...made.rows.values()].filter(({ kills }) => kills > 0).map(({ name }) => name);

describe.skipIf(process.platform !== "linux")(`SIGKILL, seed ${seed}`, () => {
  it("at every named boundary of backup, commit, prune and target: nothing is lost", async () => {
    const made = await campaign({ boundaries: "once", random: { backup: 0, prune: 0, repair: 0, key: 0 } });
    const names = new Set([...Object.keys(COMMIT_BOUNDARIES), ...PRUNE_BOUNDARIES, ...Object.keys(FAULT_POINTS)]);
    expect(new Set(reached(made))).toEqual(names);
  }, 900_000);

  it("at random moments of backup, prune, repair and key changes: nothing is lost", async () => {
    const made = await campaign({ boundaries: undefined, random: { backup: 7, prune: 4, repair: 3, key: 3 } });
    expect(made.kills).toBe(17);
  }, 600_000);
});
