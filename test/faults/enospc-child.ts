import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { HoldfastError } from "../../src/base/errors.ts";
import { CampaignLab } from "../support/campaign-lab.ts";

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
  mkdirSync(mountPoint);
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
};

const act = SCENARIOS[scenario];
if (act === undefined) throw new Error(`No scenario ${scenario}`);
process.stdout.write(JSON.stringify(await act()));
