/**
 * Makes file calls of a backup or a prune go wrong, one after the other, and judges what each leaves. Run with
 * `--import file-faults.ts`; prints one JSON line for each fault, and fails at the first promise that does not hold.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { asHoldfastError } from "../../src/base/errors.ts";
import { CampaignFailure, must } from "./campaign-lab.ts";
import { FIRED, NOTES, type FileFault } from "./file-faults.ts";
import { SmallLab, type Expectation } from "./small-lab.ts";

export interface Sweep extends Pick<FileFault, "call" | "how" | "onwards"> {
  readonly operation: "backup" | "prune";
  /** The faults meet the calls `from`, `from + step`, … until one is not reached. */
  readonly from: number;
  readonly step: number;
}

export interface SweepWork {
  /** A missing folder. */
  readonly folder: string;
  readonly seed: string;
  readonly sweeps: readonly Sweep[];
  /** Every so many faults a verification, a backup and a prune follow. */
  readonly thoroughEvery: number;
}

/** One fault that fired. */
export interface SweepFault {
  /** Position of the sweep. */
  readonly sweep: number;
  readonly nth: number;
  /** `success`, `killed`, or the code of the failure. */
  readonly outcome: string;
}

const PRELOAD = fileURLToPath(new URL("./file-faults.ts", import.meta.url));
const [argument] = process.argv.slice(2);
const place = process.env["HOLDFAST_FILE_FAULT"];
if (argument === undefined || place === undefined) throw new Error("file-fault-child is run by a campaign");
await perform(JSON.parse(argument) as SweepWork, place);

async function perform(work: SweepWork, faultPlace: string): Promise<void> {
  const lab = new SmallLab(work.folder, work.seed);
  await lab.prepare();
  let judged = 0;
  for (const [number, sweep] of work.sweeps.entries())
    for (let nth = sweep.from; ; nth += sweep.step) {
      const notes = join(lab.folder, "notes");
      rmSync(notes, { recursive: true, force: true });
      mkdirSync(notes);
      lab.reset();
      const { call, how, onwards, operation } = sweep;
      const fault: FileFault = { folder: lab.repository, notes, call, nth, onwards, how };
      const name = `${operation}, ${call} ${nth}${onwards ? " and later" : ""}, ${JSON.stringify(how)}, seed ${work.seed}`;
      writeFileSync(faultPlace, JSON.stringify(fault));
      const outcome = "kill" in how ? killed(lab, sweep) : await performed(lab, sweep);
      writeFileSync(faultPlace, "");
      const calls = readFileSync(join(notes, NOTES), "utf8").trimEnd().split("\n");
      if (!calls.includes(FIRED)) {
        must(outcome === "success", `${name}: no fault fired, yet the outcome is ${outcome}`);
        break;
      }
      try {
        await lab.judge({ ...expectation(lab, sweep, calls, outcome), thorough: judged++ % work.thoroughEvery === 0 });
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw new CampaignFailure(`${name}, outcome ${outcome}: ${why} (see ${lab.folder})`, { cause: error });
      }
      process.stdout.write(`${JSON.stringify({ sweep: number, nth, outcome } satisfies SweepFault)}\n`);
    }
}

async function performed(lab: SmallLab, { operation }: Sweep): Promise<string> {
  try {
    await lab.perform(operation);
    return "success";
  } catch (error) {
    return asHoldfastError(error).code;
  }
}

function killed(lab: SmallLab, { operation }: Sweep): string {
  const { status, signal, stderr } = spawnSync(process.execPath, ["--import", PRELOAD, ...lab.childArguments(operation)], {
    encoding: "utf8",
  });
  must(signal === "SIGKILL" || status === 0, `a child ended with ${signal ?? status}: ${stderr}`);
  return signal === "SIGKILL" ? "killed" : "success";
}

/** What must hold after these calls, the fault among them. */
function expectation(lab: SmallLab, sweep: Sweep, calls: readonly string[], outcome: string): Omit<Expectation, "thorough"> {
  const all = new Set(lab.known.keys());
  if (sweep.operation === "prune") {
    const began = calls.some((call) => call.startsWith(`link ${lab.repository}/notes/`));
    return { required: began ? lab.kept : all, added: "no", exists: true };
  }
  const named = calls.findIndex((call) => call.startsWith(`link ${lab.repository}/snapshots/`));
  const fired = calls.indexOf(FIRED);
  if (sweep.call.startsWith("fsync") && "errno" in sweep.how) {
    must(named < 0 || named < fired, "an fsync failed, and a snapshot was committed after it");
    // What cannot be made durable is taken back.
    if (named >= 0 && calls[fired - 1] === `fsync of a folder ${lab.repository}/snapshots`) {
      must(outcome !== "success", "the snapshot's folder could not be synced, and the backup claims success");
      return { required: all, added: "no", exists: true };
    }
  }
  return { required: all, added: outcome === "success" ? "yes" : named >= 0 ? "maybe" : "no", exists: true };
}
