import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { KEY_OPERATIONS, KEY_POINTS, KeyCampaign } from "../support/key-lab.ts";
import { temporaryTree } from "../support/tree-literal.ts";

// The small form of `node scripts/campaign.mjs --keys`: every change of keys stopped at each call of its target, and one of
// them killed in a process of its own.

const writes = KEY_POINTS.filter((point) => /temporary|fsync|link/.test(point) && !/delete/.test(point));
const deletes = KEY_POINTS.filter((point) => /delete/.test(point));
const expected = {
  add: writes,
  remove: [...writes, ...deletes],
  change: [...writes, ...deletes],
  rotate: [...writes, ...deletes],
  rewrite: ["before link", "after link", "before delete", "after delete"],
  kit: ["before read", "before readdir"],
};

describe.skipIf(process.platform !== "linux")("a change of keys killed at each call of its target", () => {
  it.each(KEY_OPERATIONS)(
    "%s: a known password opens, and the next run converges",
    async (operation) => {
      using folder = temporaryTree();
      const campaign = new KeyCampaign(join(folder.path, "keys"));
      await campaign.run([operation], "once");
      expect([...(campaign.kills.get(operation)?.keys() ?? [])].toSorted()).toEqual([...expected[operation]].toSorted());
    },
    600_000,
  );
});
