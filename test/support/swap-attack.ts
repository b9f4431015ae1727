/** Restores while another process swaps what they go through; see swap-attacker.ts. For its test and for scripts/attack.mjs. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { HoldfastError } from "../../src/base/errors.ts";
import { performRestore } from "../../src/engine/restore/perform.ts";
import type { OverwritePolicy } from "../../src/engine/restore/restore.ts";
import { backUp, createRepository } from "../formats/repository/read/backed-up.ts";
import { SeededNumbers } from "./changing-tree.ts";
import { compareTrees } from "./compare-trees.ts";
import { traces, writeCanary } from "./hostile-repository.ts";
import { hardLink, symlink, writeTree, type TreeLiteral } from "./tree-literal.ts";

const ATTACKER = fileURLToPath(new URL("./swap-attacker.ts", import.meta.url));
const POLICIES: readonly OverwritePolicy[] = ["always", "always", "if-changed", "if-newer", "never"];

export interface AttackOptions {
  /** Empty; needed afterwards by nobody. */
  readonly folder: string;
  readonly seed: string;
  readonly restores: number;
}

export interface AttackOutcome {
  /** How restores ended: `success`, `partial` or an error's code, and how often. */
  readonly endings: Readonly<Record<string, number>>;
  /** Codes of single entries' problems, and how often. */
  readonly problems: Readonly<Record<string, number>>;
  /** What the attacker swapped. */
  readonly swaps: { readonly folders: number; readonly files: number; readonly temporaries: number; readonly misses: number };
  /** Differences between the source and a last restore in peace. */
  readonly differences: readonly string[];
}

/** Three folders in three folders in three, each with files, a symlink, a FIFO and hard links. */
function sourceTree(numbers: SeededNumbers, depth: number, path: string): TreeLiteral {
  const tree: Record<string, TreeLiteral[string]> = {
    f0: "zero ".repeat(numbers.below(50)),
    f1: Buffer.alloc(numbers.below(300_000), depth),
    link: symlink("f0"),
    twin: hardLink(join(path, "f0")),
  };
  if (depth > 0) for (let i = 0; i < 3; i++) tree[`d${i}`] = sourceTree(numbers, depth - 1, join(path, `d${i}`));
  return tree;
}

/**
 * Restores again and again into a destination under attack, each time with another policy, and compares the canary after
 * each: throws when a trace of a restore is on it, and when a restore ends with anything but a report or a HoldfastError.
 */
export async function attackRestores({ folder, seed, restores }: AttackOptions): Promise<AttackOutcome> {
  const at = (name: string): string => join(folder, name);
  const numbers = new SeededNumbers(`restores ${seed}`);
  const tree = sourceTree(numbers, 3, "");
  writeTree(at("source"), tree);
  for (const path of ["pipe", "d0/pipe", "d1/d1/pipe"]) spawnSync("mkfifo", [join(at("source"), path)]);
  writeTree(at("canary"), sourceTree(new SeededNumbers("canary"), 3, ""));
  writeCanary(at("canary"));
  mkdirSync(at("repository"));
  await using store = await createRepository(at("repository"));
  const snapshot = await backUp(store, [at("source")]);
  const before = traces(at("canary")).join("\n");
  const endings: Record<string, number> = {};
  const problems: Record<string, number> = {};
  const count = (counts: Record<string, number>, key: string): void => void (counts[key] = (counts[key] ?? 0) + 1);

  const restore = async (overwrite: OverwritePolicy, isCleaning: boolean): Promise<void> => {
    try {
      const report = await performRestore(
        {
          store,
          snapshot,
          path: Buffer.from(at("source")),
          destination: { kind: "folder", path: Buffer.from(at("out")) },
          include: [],
          exclude: [],
          overwrite,
          delete: isCleaning,
          confirmedLive: false,
          roots: [Buffer.from(at("source"))],
          protect: [],
        },
        { verifyFirst: false, verify: numbers.below(4) === 0, onProgress: () => undefined, signal: new AbortController().signal },
      );
      count(endings, report.status);
      for (const { code } of report.problems) count(problems, code);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      count(endings, error.code);
      if (error.code === "internal") throw error;
    }
  };

  mkdirSync(at("out"));
  const attacker = spawn(process.execPath, [ATTACKER, at("out"), at("attic"), at("canary"), seed], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  let said = "";
  attacker.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
  const exited = once(attacker, "exit");
  try {
    await Promise.race([once(attacker.stdout, "data"), exited]);
    for (let round = 0; round < restores; round++) {
      // Now and then into an empty folder, else over what the last one and the attacker left.
      if (numbers.below(3) === 0) {
        renameSync(at("out"), at(`done-${round}`));
        mkdirSync(at("out"));
      }
      await restore(numbers.pick(POLICIES), numbers.below(2) === 0);
      if (traces(at("canary")).join("\n") !== before) throw new Error(`Seed ${seed}, restore ${round}: the canary was changed`);
    }
  } finally {
    attacker.stdin.end("stop");
    await exited;
  }
  const swaps = JSON.parse(said.slice(said.indexOf("{"))) as AttackOutcome["swaps"];
  await restore("always", true);
  if (traces(at("canary")).join("\n") !== before) throw new Error(`Seed ${seed}: the canary was changed in peace`);
  const differences = compareTrees(at("source"), at("out"), { ignoreRoot: true });
  rmSync(at("attic"), { recursive: true, force: true });
  return { endings, problems, swaps, differences };
}
