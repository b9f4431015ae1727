/** Runs sweeps of file faults in a process of their own, because faults reach its threads only when they are there before them. */
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { once } from "node:events";
import { CampaignFailure } from "./campaign-lab.ts";
import type { SweepFault, SweepWork } from "./file-fault-child.ts";

const CHILD = fileURLToPath(new URL("./file-fault-child.ts", import.meta.url));
const PRELOAD = fileURLToPath(new URL("./file-faults.ts", import.meta.url));

/** The faults that fired, in order. Rejects with a `CampaignFailure` at the first promise that does not hold. */
export async function runSweeps(work: SweepWork, onFault: (fault: SweepFault) => void = () => undefined): Promise<SweepFault[]> {
  mkdirSync(work.folder, { recursive: true });
  const place = join(work.folder, "fault.json");
  writeFileSync(place, "");
  const child = spawn(process.execPath, ["--import", PRELOAD, CHILD, JSON.stringify(work)], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, HOLDFAST_FILE_FAULT: place },
  });
  const faults: SweepFault[] = [];
  let stderr = "";
  child.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
  createInterface(child.stdout).on("line", (line) => {
    const fault = JSON.parse(line) as SweepFault;
    faults.push(fault);
    onFault(fault);
  });
  const [status, signal] = (await once(child, "close")) as [number | null, string | null];
  if (status !== 0) throw new CampaignFailure(`the faults' process ended with ${signal ?? status}: ${stderr}`);
  return faults;
}
