/** The sections of `scripts/faults.mjs`. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { CampaignFailure, must } from "./campaign-lab.ts";
import { JOB } from "./campaign-session.ts";
import { replay } from "./crash-replay.ts";
import { runSweeps } from "./file-fault-campaign.ts";
import type { Sweep } from "./file-fault-child.ts";
import { SmallLab, type Operation } from "./small-lab.ts";

export interface SectionOptions {
  /** A missing folder. */
  readonly folder: string;
  readonly seed: string;
  /** Power losses of each replayed operation. */
  readonly losses: number;
  /** Every so many states and faults, a verification, a backup and a prune follow. */
  readonly thoroughEvery: number;
  /** Meet every so many calls only; 1 for all. */
  readonly step: number;
  readonly row: (fault: string, fired: number, outcome: string) => void;
}

type Section = (options: SectionOptions) => Promise<void>;

const PROGRAM = fileURLToPath(new URL("../../bin/holdfast", import.meta.url));
const ENOSPC_CHILD = fileURLToPath(new URL("../faults/enospc-child.ts", import.meta.url));

const OPERATIONS = ["backup", "prune"] as const;
const EIO = { errno: "EIO" };

async function replaySection({ folder, seed, losses, thoroughEvery, step, row }: SectionOptions): Promise<void> {
  const variants: readonly (readonly [operation: Operation, withoutLinks: boolean])[] = [
    ["backup", false],
    ["prune", false],
    ["apply", false],
    ["key", false],
    ["repair", false],
    ["backup", true],
  ];
  for (const [operation, withoutLinks] of variants) {
    const lab = new SmallLab(join(folder, `${operation}${withoutLinks ? "-rename" : ""}`), seed);
    if (operation === "apply") lab.prepareNothing();
    else await lab.prepare();
    const done = await replay(lab, { operation, withoutLinks, seed, prefixEvery: step, losses, thoroughEvery });
    const what = withoutLinks ? `${operation} without hard links` : operation;
    const states = `${done.states} different states whole, ${done.thorough} of them backed up and pruned after`;
    row(`${what}: kill after each of ${done.calls.length} calls`, done.prefixes, states);
    row(`${what}: power loss`, done.losses, states);
    for (const call of ["create", "write", "fsync", withoutLinks ? "rename" : "link", "unlink"]) {
      const made = done.calls.filter((one) => one.call === call).length;
      must(made > 0, `the traced ${what} made no ${call}`);
    }
  }
}

async function sweepSection({ folder, seed, thoroughEvery, row }: SectionOptions, sweeps: readonly Sweep[]): Promise<void> {
  const outcomes = sweeps.map(() => new Map<string, number>());
  let told = 0;
  const tellUpTo = (end: number): void => {
    for (; told < end; told++) {
      const found = outcomes[told] as Map<string, number>;
      const fired = [...found.values()].reduce((sum, count) => sum + count, 0);
      row(sweepName(sweeps[told] as Sweep), fired, outcomeText(found));
    }
  };
  await runSweeps({ folder, seed, sweeps, thoroughEvery }, ({ sweep, outcome }) => {
    tellUpTo(sweep);
    const found = outcomes[sweep] as Map<string, number>;
    found.set(outcome, (found.get(outcome) ?? 0) + 1);
  });
  tellUpTo(sweeps.length);
}

function sweepName({ operation, call, how, onwards }: Sweep): string {
  if ("kill" in how) return `${operation}: SIGKILL ${how.kill} ${call}`;
  const what = "short" in how ? `short ${call}` : `${how.errno} at ${call}`;
  return `${operation}: ${what}${onwards ? ", from then on" : ""}`;
}

function outcomeText(outcomes: ReadonlyMap<string, number>): string {
  return [...outcomes].map(([outcome, count]) => `${count} ${outcome}`).join(", ");
}

function errorSweeps(step: number): Sweep[] {
  return OPERATIONS.flatMap((operation): Sweep[] => {
    const once = { operation, onwards: false, from: 1, step } as const;
    const calls = [
      "fsync of a file",
      "fsync of a folder",
      "write",
      "link",
      "unlink",
      "mkdir",
      "open",
      "read",
      "close",
      "readdir",
    ] as const;
    return [
      ...calls.map((call) => ({ ...once, call, how: EIO })),
      { ...once, call: "write", how: { errno: "EDQUOT" } },
      { ...once, call: "open", how: { errno: "EMFILE" } },
      { ...once, call: "write", how: { short: true } },
      { ...once, call: "read", how: { short: true } },
      { ...once, call: "write", how: { errno: "ENOSPC" }, onwards: true },
      { ...once, call: "open", how: { errno: "EROFS" }, onwards: true },
      { ...once, call: "write", how: { short: true }, onwards: true, step: 1000 },
      { ...once, call: "read", how: { short: true }, onwards: true, step: 1000 },
    ];
  });
}

function killSweeps(step: number): Sweep[] {
  const calls = ["write", "fsync of a file", "fsync of a folder", "link", "unlink", "mkdir"] as const;
  return OPERATIONS.flatMap((operation) =>
    calls.flatMap((call) =>
      (["before", "after"] as const).map((kill) => ({ operation, call, how: { kill }, onwards: false, from: 1, step })),
    ),
  );
}

/** `when` counts the calls of each thread by itself, so an error may meet one in every thread; a kill is one. */
async function straceSection({ folder, seed, thoroughEvery, step, row }: SectionOptions): Promise<void> {
  const lab = new SmallLab(folder, seed);
  await lab.prepare();
  const log = join(dirname(folder), "strace.log");
  let judged = 0;
  for (const operation of OPERATIONS)
    for (const call of ["fsync", "link", "unlink", "writev"])
      for (const fault of ["signal=SIGKILL", "error=EIO"]) {
        const outcomes = new Map<string, number>();
        let fired = 0;
        for (let nth = 1; ; nth += step) {
          lab.reset();
          const { status, signal, stderr } = spawnSync(
            "strace",
            [
              "-f",
              "-qq",
              "-o",
              log,
              "-e",
              `trace=${call}`,
              "-e",
              `inject=${call}:${fault}:when=${nth}`,
              PROGRAM,
              "-c",
              lab.config,
              ...(operation === "backup" ? ["backup", JOB] : ["prune", "--yes"]),
            ],
            { encoding: "utf8" },
          );
          const calls = readFileSync(log, "utf8");
          if (!/\(INJECTED\)|killed by SIGKILL/.test(calls)) {
            must(status === 0, `${operation} under strace ended with ${signal ?? status}: ${stderr}`);
            break;
          }
          fired += Math.max(1, calls.split("(INJECTED)").length - 1);
          const outcome = signal ?? (status === 0 ? "success" : `exit ${status}`);
          outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
          const added = operation === "prune" ? "no" : status === 0 ? "yes" : "maybe";
          try {
            const required = operation === "prune" ? lab.kept : new Set(lab.known.keys());
            await lab.judge({ required, added, exists: true, thorough: judged++ % thoroughEvery === 0 });
          } catch (error) {
            const name = `${operation}, ${call} ${nth}, ${fault}, seed ${seed}`;
            throw new CampaignFailure(`${name}: ${error instanceof Error ? error.message : String(error)} (see ${folder})`, {
              cause: error,
            });
          }
        }
        row(`${operation}: ${fault} at ${call} by strace`, fired, outcomeText(outcomes));
      }
}

async function spaceSection({ folder, row }: SectionOptions): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (const scenario of ["everyMiB", "pruneFull"]) {
    const child = spawnSync("unshare", ["-Urm", process.execPath, ENOSPC_CHILD, scenario, join(folder, scenario)], {
      encoding: "utf8",
    });
    must(child.status === 0, `${scenario} ended with ${child.status}: ${child.stderr}`);
    for (const [name, outcome] of Object.entries(JSON.parse(child.stdout) as Record<string, string>)) row(name, 1, outcome);
  }
}

export const SECTIONS: Readonly<Record<string, Section>> = {
  replay: replaySection,
  errors: (options) => sweepSection(options, errorSweeps(options.step)),
  kills: (options) => sweepSection(options, killSweeps(options.step)),
  strace: straceSection,
  space: spaceSection,
};
