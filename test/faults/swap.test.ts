import { randomInt } from "node:crypto";
import { describe, expect, it } from "vitest";
import { attackRestores } from "../support/swap-attack.ts";
import { temporaryTree } from "../support/tree-literal.ts";

// The small form of `node scripts/attack.mjs`. A failure names the seed.

const seed = process.env["HOLDFAST_SEED"] ?? String(randomInt(1_000_000));

describe.skipIf(process.platform !== "linux")(`a process that swaps folders for symlinks during restores, seed ${seed}`, () => {
  it("changes nothing outside, brings no restore down, and leaves what the next one mends", async () => {
    using folder = temporaryTree();
    const { endings, problems, swaps, differences } = await attackRestores({ folder: folder.path, seed, restores: 15 });
    expect(differences).toEqual([]);
    // It did get in between.
    expect(swaps.folders).toBeGreaterThan(15);
    expect(endings["partial"] ?? 0, JSON.stringify({ endings, problems, swaps })).toBeGreaterThan(0);
  });
});
