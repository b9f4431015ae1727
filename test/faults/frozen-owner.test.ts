import { spawn } from "node:child_process";
import { readdirSync, readFileSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { LEASE_TTL_MS } from "../../src/formats/repository/leases/leases.ts";
import type { PruneBoundary } from "../../src/formats/repository/prune/prune.ts";
import type { CommitBoundary } from "../../src/formats/repository/write/commit-boundaries.ts";
import { CampaignLab } from "../support/campaign-lab.ts";
import { TARGET } from "../support/campaign-session.ts";
import type { FrozenWork } from "../support/frozen-child.ts";
import { temporaryTree } from "../support/tree-literal.ts";

// The owner of a lease is a real process that stops (SIGSTOP) for longer than its lease, while this one works on its
// repository. For the target the time passes by making all its objects older; for the frozen process by its clocks.

const CHILD = fileURLToPath(new URL("../support/frozen-child.ts", import.meta.url));
const FROZEN_MS = 2 * LEASE_TTL_MS;
const PACK_BYTES = 2 ** 16;

interface Frozen {
  /** Continues it; resolves with how its work ended. */
  readonly thaw: () => Promise<string>;
}

async function freezeAt(lab: CampaignLab, operation: FrozenWork["operation"], boundary: string): Promise<Frozen> {
  const config = join(lab.folder, "holdfast.yaml");
  const work: FrozenWork = { config, operation, boundary, frozenMs: FROZEN_MS, packBytes: PACK_BYTES };
  const child = spawn(process.execPath, [CHILD, JSON.stringify(work)], { stdio: ["ignore", "pipe", "pipe"] });
  let stderr = "";
  child.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
  const reached = Promise.withResolvers<void>();
  let outcome: string | undefined;
  createInterface(child.stdout).on("line", (line) => {
    if (line === `at ${boundary}`) reached.resolve();
    if (line.startsWith("ended ")) outcome = line.slice("ended ".length);
  });
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
  await Promise.race([
    reached.promise,
    closed.then(() => {
      throw new Error(`The child ended as ${outcome} before "${boundary}": ${stderr}`);
    }),
  ]);
  const stat = (): string => readFileSync(`/proc/${child.pid}/stat`, "latin1");
  while (!/\) T /.test(stat())) await delay(5);
  age(join(lab.folder, "repository"));
  return {
    thaw: async () => {
      child.kill("SIGCONT");
      await closed;
      if (outcome === undefined) throw new Error(`The child ended without a word: ${stderr}`);
      return outcome;
    },
  };
}

/** Makes every object older by the time the other is frozen. */
function age(folder: string): void {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const { atimeMs, mtimeMs } = statSync(path);
    utimesSync(path, (atimeMs - FROZEN_MS) / 1000, (mtimeMs - FROZEN_MS) / 1000);
  }
}

/** Every object but leases. */
function objects(lab: CampaignLab): string[] {
  return readdirSync(join(lab.folder, "repository"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/\/(leases|tmp)$/.test(entry.parentPath))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}

/** Forgets snapshots: all, or all but the newest. */
async function forget(lab: CampaignLab, which: "all" | "old"): Promise<void> {
  await using campaign = lab.open();
  const store = await campaign.session.store(TARGET);
  const snapshots = await store.snapshots();
  await store.delete(which === "all" ? snapshots : snapshots.slice(0, -1), { reason: "test" });
}

async function started(folder: string): Promise<CampaignLab> {
  const lab = new CampaignLab(join(folder, "lab"), {
    seed: "frozen",
    size: { files: 60, bytes: 1_000_000 },
    packBytes: PACK_BYTES,
  });
  await lab.start();
  // The first retention that deletes anything would wait for an approval.
  await lab.prune();
  return lab;
}

describe.skipIf(process.platform !== "linux")("SIGSTOP for longer than a lease", () => {
  test.each(["after index", "before snapshot put"] satisfies CommitBoundary[])(
    "a backup stopped %s, whose packs another has pruned away, commits nothing",
    async (boundary) => {
      using folder = temporaryTree();
      const lab = await started(folder.path);
      const frozen = await freezeAt(lab, "backup", boundary);
      await forget(lab, "all");
      await lab.prune();
      await lab.prune();
      expect(lab.countObjects()["condemned"]).toBeGreaterThan(0);
      const outcome = await frozen.thaw();
      expect(outcome).toMatch(
        boundary === "before snapshot put"
          ? /^snapshot_withdrawn$/
          : /^(chunk_missing|target_missing_object|object_damaged|snapshot_withdrawn)$/,
      );
      expect(lab.countObjects()["snapshots"] ?? 0).toBe(0);
      await lab.backup();
      await lab.verify();
      expect(await lab.restoreAll()).toBe(1);
    },
  );

  test.each(["after mark", "mid pack deletion", "before condemn"] satisfies PruneBoundary[])(
    "a prune stopped %s, while another backs up and prunes, changes nothing any more",
    async (boundary) => {
      using folder = temporaryTree();
      const lab = await started(folder.path);
      for (let i = 0; i < 2; i++) {
        lab.tree.change();
        await lab.backup();
      }
      await forget(lab, "old");
      // Something condemned to sweep, and something new to condemn.
      if (boundary === "mid pack deletion") {
        await lab.prune();
        lab.tree.change();
        await lab.backup();
      }
      const frozen = await freezeAt(lab, "prune", boundary);
      lab.tree.change();
      await lab.backup();
      await lab.prune();
      const before = objects(lab);
      expect(await frozen.thaw()).toBe("repository_locked");
      expect(objects(lab)).toEqual(before);
      await lab.restoreAll();
      await lab.prune();
      await lab.verify();
      expect(await lab.restoreAll()).toBeGreaterThan(0);
    },
  );
});
