// A daemon under edits: `node scripts/soak.mjs --seconds 600 --jobs 10 --edits 100 --seed 1`. Needs dist/ (`npm run build`).
// Prints what ran, what was skipped, and memory; exits with 1 when a slot was lost or ran twice, a run failed, or memory grew.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { soak } from "../test/support/daemon-soak.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "600" },
    jobs: { type: "string", default: "10" },
    edits: { type: "string", default: "100" },
    seed: { type: "string", default: "1" },
    quiet: { type: "boolean", default: false },
  },
});

const folder = mkdtempSync(join(tmpdir(), "holdfast-soak-"));
const result = await soak({
  folder,
  jobs: Number(values.jobs),
  seconds: Number(values.seconds),
  edits: Number(values.edits),
  seed: Number(values.seed),
  log: (line) => {
    if (!values.quiet) console.log(line);
  },
});
console.log(JSON.stringify(result, null, 2));
const { lost, doubled, failed, memory, mappings, threads, exitCode } = result;
// What was always there in the last three tenths of the time, against the three before.
const GROWTH = 1.05;
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const grown = [memory, mappings, threads].some(({ least }) => mean(least.slice(7)) > mean(least.slice(4, 7)) * GROWTH);
if (lost.length + doubled.length + failed.length > 0 || grown || exitCode !== 0) {
  console.error(`A promise did not hold; what is left is in ${folder}`);
  process.exitCode = 1;
} else {
  rmSync(folder, { recursive: true, force: true });
  console.log("Every promise held.");
}
