/**
 * The kill campaign: SIGKILL at random moments of backup, prune, repair and key changes, and at every named boundary, on one repository that lives
 * through all of it. After every kill the promises of `CampaignLab.survive` are checked. Everything but the moments
 * themselves follows from the seed.
 */
import { join } from "node:path";
import { PRUNE_BOUNDARIES } from "../../src/formats/repository/prune/prune.ts";
import { COMMIT_BOUNDARIES, type CommitBoundary } from "../../src/formats/repository/write/commit-boundaries.ts";
import { FAULT_POINTS, type FaultPoint } from "../../src/targets/local/fault-points.ts";
import type { ChildWork, KillPoint } from "./campaign-child.ts";
import { CampaignFailure, CampaignLab, must, type ChildEnd } from "./campaign-lab.ts";
import { SeededNumbers, type TreeSize } from "./changing-tree.ts";

export interface CampaignOptions {
  /** An empty or missing folder; left behind, so that a failure can be examined. */
  readonly folder: string;
  readonly seed: string;
  readonly size: TreeSize;
  readonly packBytes: number;
  /** Kills at random moments. */
  readonly random: Readonly<Record<Operation, number>>;
  /** Kill at every named boundary too: `once`, or `thoroughly`, which tries more places and makes more for a prune to do. */
  readonly boundaries: "once" | "thoroughly" | undefined;
  /** Restore every listed snapshot after each so many kills. */
  readonly restoreAllEvery: number;
  /** Told of every step. */
  readonly log: (line: string) => void;
}

/** One line of the histogram. */
export interface CampaignRow {
  readonly operation: ChildWork["operation"];
  readonly name: string;
  kills: number;
  /** Of these, how many left the snapshot of the killed backup committed. */
  committed: number;
  /** Runs that ended before they could be killed. */
  ended: number;
}

type Operation = "backup" | "prune" | "repair" | "key";

/** Tries before a boundary counts as never reached. */
const TRIES = 8;
/** A hit of the targets in I/O threads, which only put packs. */
const PACK_POINTS = (Object.keys(FAULT_POINTS) as FaultPoint[]).filter((point) => !/read|delete/.test(point));
/** Where the making of a repository is killed, at each of the first hits. Only its names need claims: others are content hashes. */
const INIT_POINTS: readonly (readonly [point: FaultPoint, hits: number])[] = [
  ["after temporary write", 4],
  ["after link", 4],
  ["before claim", 2],
  ["after claim", 2],
];

export class Campaign {
  readonly rows = new Map<string, CampaignRow>();
  readonly lab: CampaignLab;
  readonly #options: CampaignOptions;
  readonly #numbers: SeededNumbers;
  readonly #durations: Record<Operation, number[]> = { backup: [], prune: [], repair: [], key: [] };
  #step = "the start";
  #kills = 0;

  constructor(options: CampaignOptions) {
    this.#options = options;
    this.#numbers = new SeededNumbers(`campaign ${options.seed}`);
    this.lab = new CampaignLab(join(options.folder, "lab"), options);
  }

  /** Rejects with a `CampaignFailure` at the first promise that does not hold, or when a boundary was never reached. */
  async run(): Promise<void> {
    try {
      await this.lab.start();
      // The first time a retention would delete much, it waits for an approval; applied early, it has nothing to delete.
      await this.lab.prune();
      for (let i = 0; i < 2; i++) await this.#churn();
      if (this.#options.boundaries !== undefined) await this.#boundaries();
      await this.#random();
      this.#step = "the end";
      await this.lab.restoreAll();
      await this.lab.prune();
      await this.lab.verify();
      await this.lab.restoreAll();
    } catch (error) {
      const { seed, folder } = this.#options;
      throw new CampaignFailure(
        `${this.#step}, seed ${seed}, after ${this.#kills} kills: ${error instanceof Error ? error.message : String(error)} (the folder ${folder} is as it was left)`,
        { cause: error },
      );
    }
  }

  async #churn(): Promise<void> {
    this.lab.tree.change();
    await this.lab.backup();
  }

  /** In a mixed order, so that each meets what the others left, and prunes keep the repository from growing for ever. */
  async #random(): Promise<void> {
    const left: Record<Operation, number> = { ...this.#options.random };
    const operations = (Object.keys(left) as Operation[]).filter((operation) => left[operation] > 0);
    for (const operation of operations)
      for (let i = 0; i < 2; i++) await this.#kill(operation, "calibration", undefined, Number.POSITIVE_INFINITY);
    const wanted = operations.reduce((sum, operation) => sum + left[operation], 0);
    for (let tries = 0; ; tries++) {
      const deck = operations.flatMap((operation) => Array<Operation>(left[operation]).fill(operation));
      const operation = deck[this.#numbers.below(Math.max(1, deck.length))];
      if (operation === undefined) return;
      must(tries < 3 * wanted + 20, `${deck.length} of ${wanted} kills are left after ${tries} runs`);
      const before = this.#killsOf(operation, "random moment");
      await this.#kill(operation, "random moment", undefined, this.#numbers.unit() * this.#duration(operation));
      left[operation] -= this.#killsOf(operation, "random moment") - before;
    }
  }

  async #boundaries(): Promise<void> {
    await this.#init();
    for (const name of Object.keys(COMMIT_BOUNDARIES) as CommitBoundary[])
      await this.#reach("backup", name, (attempt) => ({
        at: "commit",
        name,
        hit: name === "after pack put" && attempt === 0 ? 2 : 1,
      }));
    for (const name of PRUNE_BOUNDARIES)
      await this.#reach("prune", name, (attempt) => ({
        at: "prune",
        name,
        hit: name.startsWith("mid ") && name !== "mid condemn" && attempt === 0 ? 2 : 1,
      }));
    for (const name of Object.keys(FAULT_POINTS) as FaultPoint[]) {
      if (name.endsWith(" claim")) continue;
      // After some dozen backups every folder that a pack could need is there.
      if (/folder create|parent fsync/.test(name)) this.lab.forgetEmptyFolders();
      await this.#reach("backup", name, (attempt) => this.#targetPoint(name, attempt, /delete/.test(name) ? 2 : 4));
      if (this.#thorough && /delete|readdir|link$/.test(name))
        await this.#reach("prune", name, (attempt) => this.#targetPoint(name, attempt, 6));
    }
  }

  /** The first attempt is at a hit somewhere in the middle, later ones at hits that come more surely. */
  #targetPoint(name: FaultPoint, attempt: number, hits: number): KillPoint {
    const byThread = attempt === 0 ? this.#numbers.below(2) === 0 : attempt % 2 === 1;
    const place = PACK_POINTS.includes(name) && byThread ? "thread" : "main";
    const hit = attempt > 0 ? 1 : 1 + this.#numbers.below(place === "thread" ? 2 : hits);
    return { at: "target", name, hit, place };
  }

  /** Kills the making of a repository at each of its first puts; each time in a folder of its own. */
  async #init(): Promise<void> {
    const { folder, seed, packBytes } = this.#options;
    for (const [name, hits] of INIT_POINTS)
      for (let hit = this.#thorough ? 1 : 2; hit <= (this.#thorough ? hits : 2); hit++) {
        this.#step = `init: ${name}:${hit}`;
        const lab = new CampaignLab(join(folder, `init-${name.replaceAll(" ", "-")}-${hit}`), {
          seed,
          size: { files: 20, bytes: 200_000 },
          packBytes,
        });
        const end = await lab.run({ operation: "apply", kill: { at: "target", name, hit, place: "main" } });
        must(end.killed, "the child was not killed");
        await this.#count("apply", name, end, lab, true);
        await lab.restoreAll();
      }
  }

  async #reach(operation: Operation, name: string, at: (attempt: number) => KillPoint): Promise<void> {
    for (let attempt = 0; attempt < TRIES; attempt++) {
      if (operation === "prune") {
        // Something condemned before, to delete; something new, to condemn.
        await this.lab.prune();
        for (let i = this.#thorough ? 3 : 1; i > 0; i--) await this.#churn();
      }
      await this.#kill(operation, name, at(attempt), undefined);
      if (this.#killsOf(operation, name) > 0) return;
    }
    throw new CampaignFailure(`${operation} never reached ${JSON.stringify(name)}`);
  }

  async #kill(operation: Operation, name: string, kill: KillPoint | undefined, afterMs: number | undefined): Promise<void> {
    this.#step = `${operation}: ${name}`;
    if (operation === "repair") this.lab.loseIndex(this.#numbers);
    this.lab.tree.change();
    const end = await this.lab.run({ operation, kill }, afterMs === Number.POSITIVE_INFINITY ? undefined : afterMs);
    if (!end.killed) this.#durations[operation].push(end.workMs);
    await this.#count(operation, name, end, this.lab, this.#numbers.below(2) === 0);
    if (end.killed && ++this.#kills % this.#options.restoreAllEvery === 0) await this.lab.restoreAll();
  }

  async #count(operation: ChildWork["operation"], name: string, end: ChildEnd, lab: CampaignLab, change: boolean): Promise<void> {
    const { committed, removed } = await lab.survive(operation, end, { change });
    const key = `${operation} ${name}`;
    const row = this.rows.get(key) ?? { operation, name, kills: 0, committed: 0, ended: 0 };
    this.rows.set(key, row);
    if (end.killed) row.kills++;
    else row.ended++;
    if (end.killed && committed) row.committed++;
    const what = end.killed ? `killed after ${end.workMs.toFixed(0)} ms` : `ended after ${end.workMs.toFixed(0)} ms`;
    this.#options.log(
      `${operation}, ${name}: ${what}${committed ? ", its snapshot was committed" : ""}${removed > 0 ? `, ${removed} snapshots had been removed` : ""}; good`,
    );
  }

  get #thorough(): boolean {
    return this.#options.boundaries === "thoroughly";
  }

  #killsOf(operation: Operation, name: string): number {
    return this.rows.get(`${operation} ${name}`)?.kills ?? 0;
  }

  /** The median of the last runs that came to their end. */
  #duration(operation: Operation): number {
    const last = this.#durations[operation].slice(-7).toSorted((a, b) => a - b);
    return last[last.length >> 1] ?? 500;
  }

  /** The histogram, for people. */
  table(): string {
    const rows = [...this.rows.values()].map(({ operation, name, kills, committed, ended }) => [
      operation,
      name,
      String(kills),
      operation === "backup" ? String(committed) : "",
      ended > 0 ? String(ended) : "",
      kills > 0 || name === "calibration" ? "good" : "",
    ]);
    const lines = [["operation", "killed at", "kills", "committed", "ended before", "outcome"], ...rows];
    const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? [];
    return lines
      .map((line) =>
        line
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd(),
      )
      .join("\n");
  }

  get kills(): number {
    return [...this.rows.values()].reduce((sum, row) => sum + row.kills, 0);
  }
}
