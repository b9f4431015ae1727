/** The place of a campaign: a changing tree, its repository, and what every snapshot in it must restore to. */
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { SnapshotInfo } from "../../src/formats/format.ts";
import type { ChildWork } from "./campaign-child.ts";
import { manifestDifferences, takeManifest, type Manifest } from "./campaign-manifest.ts";
import { restoreInto } from "./campaign-restore.ts";
import { campaignConfig, CampaignSession, TARGET } from "./campaign-session.ts";
import { ChangingTree, type SeededNumbers, type TreeSize } from "./changing-tree.ts";

const CHILD = fileURLToPath(new URL("./campaign-child.ts", import.meta.url));
const RECOVER = fileURLToPath(new URL("../../recover.mjs", import.meta.url));

/** How a child process ended. */
export interface ChildEnd {
  /** False when it came to its end first. */
  readonly killed: boolean;
  /** Milliseconds from its `begin` to its end. */
  readonly workMs: number;
  /** Runs that it began. */
  readonly runs: readonly string[];
}

/** What a kill left behind. */
export interface Aftermath {
  /** True when the killed run had committed its snapshot. */
  readonly committed: boolean;
  /** Snapshots that a killed retention had removed. */
  readonly removed: number;
}

export class CampaignLab {
  readonly folder: string;
  readonly tree: ChangingTree;
  readonly packBytes: number;
  readonly #manifests = new Map<string, Manifest>();
  readonly #config: string;
  #restores = 0;
  /** Restores made, by reader. */
  readonly restored = { engine: 0, recover: 0 };

  /** Makes the tree and the configuration in an empty folder; no repository yet. */
  constructor(folder: string, options: { readonly seed: string; readonly size: TreeSize; readonly packBytes: number }) {
    this.folder = folder;
    this.packBytes = options.packBytes;
    mkdirSync(folder, { recursive: true });
    this.tree = new ChangingTree(join(folder, "tree"), options.seed, options.size);
    this.tree.create();
    this.#config = join(folder, "holdfast.yaml");
    writeFileSync(this.#config, campaignConfig(folder));
  }

  open(): CampaignSession {
    return new CampaignSession(this.#config, this.packBytes);
  }

  /** Makes the repository and the first snapshot. */
  async start(): Promise<void> {
    await using campaign = this.open();
    await campaign.apply();
    await this.#learn(campaign);
  }

  /** An ordinary backup, which must succeed. */
  async backup(): Promise<void> {
    await using campaign = this.open();
    const before = (await this.#list(campaign)).length;
    await campaign.backup();
    const learnt = await this.#learn(campaign);
    must(learnt.length === 1, `a successful backup added ${learnt.length} snapshots to ${before}`);
  }

  /** Retention and prune, which must succeed and keep the newest snapshot. */
  async prune(): Promise<void> {
    await using campaign = this.open();
    const newest = (await this.#list(campaign)).at(-1)?.id;
    await campaign.prune();
    const left = await this.#list(campaign);
    must(left.at(-1)?.id === newest, "a prune removed the newest snapshot");
    this.#forget(left);
  }

  /** Loses index objects, at least one, as a failing disk might. Only a repair brings them back. */
  loseIndex(numbers: SeededNumbers): void {
    const folder = join(this.folder, "repository/index");
    const names = readdirSync(folder).sort();
    const lost = names.filter(() => numbers.below(2) === 0);
    for (const name of lost.length > 0 ? lost : names) rmSync(join(folder, name));
  }

  /** Every check over every byte, which must find nothing. */
  async verify(): Promise<void> {
    await using campaign = this.open();
    const { ok, damage } = await campaign.verify();
    must(ok, `verify found damage: ${JSON.stringify(damage.slice(0, 3))}`);
  }

  /** Restores every snapshot that is listed. */
  async restoreAll(): Promise<number> {
    await using campaign = this.open();
    const snapshots = await this.#list(campaign);
    for (const snapshot of snapshots) await this.#restore(campaign, snapshot);
    return snapshots.length;
  }

  /** Runs a child, and kills it `afterMs` after its beginning unless it ends or kills itself before. */
  async run(work: Omit<ChildWork, "config" | "packBytes">, afterMs?: number): Promise<ChildEnd> {
    const argument: ChildWork = { ...work, config: this.#config, packBytes: this.packBytes };
    const child = spawn(process.execPath, [CHILD, JSON.stringify(argument)], { stdio: ["ignore", "pipe", "pipe"] });
    const runs: string[] = [];
    let stderr = "";
    let began = Number.NaN;
    let ended = Number.NaN;
    let timer: NodeJS.Timeout | undefined;
    child.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
    createInterface(child.stdout).on("line", (line) => {
      if (line.startsWith("run ")) runs.push(line.slice(4));
      if (line === "end") ended = performance.now();
      if (line !== "begin") return;
      began = performance.now();
      if (afterMs !== undefined) timer = setTimeout(() => child.kill("SIGKILL"), afterMs);
    });
    const [status, killedBy] = await new Promise<[number | null, string | null]>((resolve) => {
      child.once("close", (code, by) => resolve([code, by]));
    });
    clearTimeout(timer);
    must(killedBy === "SIGKILL" || status === 0, `a child ended with ${killedBy ?? status}: ${stderr}`);
    const finished = !Number.isNaN(ended);
    return { killed: !finished, workMs: (finished ? ended : performance.now()) - began, runs };
  }

  /**
   * What must hold after a kill: the history tells the truth, no snapshot is listed that cannot be restored, and the last
   * one from before the kill restores. Then an ordinary backup succeeds, and a verification of every byte is clean.
   */
  async survive(operation: ChildWork["operation"], end: ChildEnd, options: { readonly change: boolean }): Promise<Aftermath> {
    let aftermath: Aftermath;
    {
      await using campaign = this.open();
      // What was lost before the repair is still lost; a repair that is killed is asked for again.
      if (operation === "repair" && end.killed) await campaign.repair();
      if (operation === "key") must((await campaign.brokenSlots()) === 0, "a key slot cannot be read");
      const snapshots = await this.#list(campaign);
      const last = [...this.#manifests.keys()].at(-1);
      const lost = [...this.#manifests.keys()].filter((id) => !snapshots.some((snapshot) => snapshot.id === id));
      must(lost.length === 0 || operation === "prune", `a killed ${operation} lost ${lost.length} snapshots`);
      must(last === undefined || !lost.includes(last), "the newest snapshot is gone");
      const added = snapshots.filter(({ id }) => !this.#manifests.has(id));
      must(
        added.length <= (operation === "backup" || operation === "apply" ? 1 : 0),
        `a killed ${operation} added ${added.length} snapshots`,
      );
      must(
        added.every(({ run }) => end.runs.includes(run)),
        "a snapshot of another run appeared",
      );
      for (const id of end.runs) {
        const record = campaign.state.run(id);
        const committed = added.some(({ run }) => run === id);
        if (record === undefined) continue;
        must(record.status !== undefined, `the killed run ${id} counts as running`);
        must(
          record.status === "success" || record.status === "interrupted",
          `the killed run ${id} counts as ${record.status}: ${JSON.stringify(record.error)}`,
        );
        must(
          record.status !== "success" || record.kind !== "backup" || committed,
          `the killed run ${id} counts as a success without a snapshot`,
        );
      }
      const before = snapshots.find(({ id }) => id === last);
      if (before !== undefined) await this.#restore(campaign, before);
      for (const snapshot of await this.#learn(campaign)) await this.#restore(campaign, snapshot);
      this.#forget(snapshots);
      aftermath = { committed: added.length > 0, removed: lost.length };
    }
    if (options.change) this.tree.change();
    if (operation === "apply") await this.start();
    else await this.backup();
    await this.verify();
    return aftermath;
  }

  async #list(campaign: CampaignSession): Promise<SnapshotInfo[]> {
    const { open, closed } = await campaign.session.stores([TARGET]);
    // A repository whose making was killed is not there yet.
    if (closed[0]?.error.code === "repository_missing") return [];
    if (closed[0] !== undefined) throw closed[0].error;
    const damaged: string[] = [];
    const snapshots = (await open[0]?.snapshots({ onDamaged: (id) => damaged.push(id) })) ?? [];
    must(damaged.length === 0, `unreadable objects: ${damaged.join(", ")}`);
    return snapshots;
  }

  /** Notes that the new snapshots are of the tree as it is now. */
  async #learn(campaign: CampaignSession): Promise<SnapshotInfo[]> {
    const added = (await this.#list(campaign)).filter(({ id }) => !this.#manifests.has(id));
    if (added.length === 0) return added;
    const manifest = takeManifest(this.tree.root);
    for (const { id } of added) this.#manifests.set(id, manifest);
    return added;
  }

  #forget(left: readonly SnapshotInfo[]): void {
    for (const id of this.#manifests.keys()) if (!left.some((snapshot) => snapshot.id === id)) this.#manifests.delete(id);
  }

  /** Restores a snapshot, every third time with the independent reader, and compares it with what its tree was. */
  async #restore(campaign: CampaignSession, snapshot: SnapshotInfo): Promise<void> {
    const destination = join(this.folder, "restored");
    rmSync(destination, { recursive: true, force: true });
    const reader = this.#restores++ % 3 === 2 ? "recover" : "engine";
    this.restored[reader]++;
    if (reader === "recover") {
      const args = [
        RECOVER,
        join(this.folder, "repository"),
        "--key-file",
        join(this.folder, "key"),
        "restore",
        snapshot.id,
        "--to",
        destination,
      ];
      const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
      must(status === 0, `recover.mjs ended with ${status}: ${stderr}`);
    } else {
      const report = await restoreInto(await campaign.session.store(TARGET), snapshot, destination);
      must(report.status === "success", `a restore was not complete: ${JSON.stringify(report.problems.slice(0, 3))}`);
    }
    const expected = this.#manifests.get(snapshot.id);
    must(expected !== undefined, `snapshot ${snapshot.id} is not known`);
    const differences = manifestDifferences(expected as Manifest, takeManifest(join(destination, this.tree.root)));
    must(differences.length === 0, `snapshot ${snapshot.id} restored by ${reader} differs:\n  ${differences.join("\n  ")}`);
    rmSync(destination, { recursive: true, force: true });
  }

  /** Removes pack folders that prunes have emptied, so that the next pack makes one anew. */
  forgetEmptyFolders(): void {
    const packs = join(this.folder, "repository/packs");
    for (const name of readdirSync(packs)) if (readdirSync(join(packs, name)).length === 0) rmdirSync(join(packs, name));
  }

  /** Objects of the repository, by folder. */
  countObjects(): Record<string, number> {
    const root = join(this.folder, "repository");
    return Object.fromEntries(
      readdirSync(root, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => [
          name,
          readdirSync(join(root, name), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).length,
        ]),
    );
  }
}

/** A promise of the program that did not hold. */
export class CampaignFailure extends Error {}

export function must(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new CampaignFailure(otherwise);
}
