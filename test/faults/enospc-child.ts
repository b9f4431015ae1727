import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { HoldfastError } from "../../src/base/errors.ts";
import { CampaignLab, must } from "../support/campaign-lab.ts";

// Run by enospc.test.ts in a mount namespace of its own: a repository on a small tmpfs that becomes full or read-only.

const [scenario = "", folder = ""] = process.argv.slice(2);
const mountPoint = join(folder, "repository");

function mount(...args: string[]): void {
  execFileSync("mount", [...args, mountPoint]);
}

async function codeOf(act: Promise<unknown>): Promise<string> {
  try {
    await act;
    return "ok";
  } catch (error) {
    return error instanceof HoldfastError ? error.code : String(error);
  }
}

/** A lab whose repository lies on a tmpfs, with a first snapshot. */
async function start(): Promise<CampaignLab> {
  mkdirSync(mountPoint, { recursive: true });
  mount("-t", "tmpfs", "-o", "size=8m", "tmpfs");
  const lab = new CampaignLab(folder, { seed: "medium", size: { files: 60, bytes: 3_000_000 }, packBytes: 2 ** 18 });
  await lab.start();
  // So that a later retention is not the first one.
  await lab.prune();
  return lab;
}

const big = join(folder, "tree", "big");

/** Files that no codec makes smaller, more than the target holds. */
function grow(): void {
  mkdirSync(big);
  for (let i = 0; i < 12; i++) writeFileSync(join(big, String(i)), randomBytes(2 ** 20));
}

async function lastRun(lab: CampaignLab): Promise<{ status: string | undefined; code: string | undefined }> {
  await using campaign = lab.open();
  const [run] = campaign.state.runs({ limit: 1 });
  return { status: run?.status, code: run?.error?.code };
}

const SCENARIOS: Record<string, () => Promise<unknown>> = {
  async full() {
    const lab = await start();
    grow();
    const backup = await codeOf(lab.backup());
    const run = await lastRun(lab);
    const left = await lab.restoreAll();
    await lab.verify();
    mount("-o", "remount,size=64m", "tmpfs");
    const later = await codeOf(lab.backup());
    await lab.verify();
    return { backup, run, left, temporary: lab.countObjects()["tmp"], later, restored: await lab.restoreAll() };
  },

  async reclaimed() {
    const lab = await start();
    grow();
    const backup = await codeOf(lab.backup());
    rmSync(big, { recursive: true });
    // The first prune condemns what the failed run left, the second deletes it.
    const prunes = [await codeOf(lab.prune()), await codeOf(lab.prune())];
    lab.tree.change();
    const later = await codeOf(lab.backup());
    await lab.verify();
    return { backup, prunes, later, restored: await lab.restoreAll() };
  },

  async readOnly() {
    const lab = await start();
    const before = lab.countObjects();
    mount("-o", "remount,ro", "tmpfs");
    lab.tree.change();
    const backup = await codeOf(lab.backup());
    const run = await lastRun(lab);
    const prune = await codeOf(lab.prune());
    const restored = await lab.restoreAll();
    const untouched = JSON.stringify(lab.countObjects()) === JSON.stringify(before);
    mount("-o", "remount,rw", "tmpfs");
    const later = await codeOf(lab.backup());
    await lab.verify();
    return { backup, run, prune, restored, untouched, later };
  },

  /** In full, behind `scripts/faults.mjs`: a backup of 12 MiB with 0, 1, 2, … MiB to spare, until it fits. */
  async everyMiB() {
    const outcomes: Record<string, string> = {};
    for (let spare = 0; ; spare++) {
      const lab = await start();
      grow();
      limit(used() + spare * MIB);
      const backup = await codeOf(lab.backup());
      must(backup === "ok" || (backup === "target_full" && (await lab.restoreAll()) === 1), `with ${spare} MiB: ${backup}`);
      await lab.verify();
      if (backup !== "ok") {
        // The first prune condemns what the failed run left, the second deletes it.
        const prunes = spare === 0 ? [] : [await codeOf(lab.prune()), await codeOf(lab.prune())];
        must(
          prunes.every((code) => code === "ok" || code === "target_full"),
          `with ${spare} MiB: prunes ended with ${prunes.join(", ")}`,
        );
        limit(64 * MIB);
        await lab.backup();
        await lab.prune();
        await lab.verify();
        await lab.restoreAll();
        outcomes[`backup: full after ${spare} MiB`] = [backup, ...prunes.map((code) => `prune ${code}`)].join(", ");
      }
      end();
      if (backup === "ok") return outcomes;
    }
  },

  /** In full: a prune with so many KiB to spare; then the way out that `docs/operations.md` gives. */
  async pruneFull() {
    const outcomes: Record<string, string> = {};
    for (const spare of [0, 4, 8, 16, 32, 64, 128, 256, 512, 1024]) {
      const lab = await start();
      for (let round = 0; round < 2; round++) {
        for (let i = 0; i < 3; i++) {
          lab.tree.change();
          await lab.backup();
        }
        if (round === 0) await lab.prune();
      }
      const before = used();
      limit(before + spare * 1024);
      const prune = await codeOf(lab.prune());
      must(prune === "ok" || prune === "target_full", `with ${spare} KiB: ${prune}`);
      await lab.verify();
      await lab.restoreAll();
      // "Free some megabytes by other means and begin again."
      limit(before + 2 * MIB);
      {
        await using campaign = lab.open();
        await campaign.prune(undefined, true);
      }
      await lab.prune();
      must(used() < before, `with ${spare} KiB: a prune gave nothing back`);
      await lab.backup();
      await lab.verify();
      await lab.restoreAll();
      outcomes[`prune: full after ${spare} KiB`] = `${prune}; ${Math.round((before - used()) / 1024)} KiB given back`;
      end();
    }
    return outcomes;
  },
};

const MIB = 2 ** 20;

function used(): number {
  const { blocks, bfree, bsize } = statfsSync(mountPoint);
  return (blocks - bfree) * bsize;
}

function limit(bytes: number): void {
  mount("-o", `remount,size=${bytes}`, "tmpfs");
}

/** Takes the lab away, so that the next one can start. */
function end(): void {
  execFileSync("umount", [mountPoint]);
  rmSync(folder, { recursive: true });
}

const act = SCENARIOS[scenario];
if (act === undefined) throw new Error(`No scenario ${scenario}`);
process.stdout.write(JSON.stringify(await act()));
