// Restores under attack in full: `node scripts/attack.mjs --restores 500 --seed 1`. Another process swaps folders, files and
// temporary files of the destination for symlinks to a canary meanwhile. Prints what was swapped and how restores ended;
// exits with 1 when the canary has changed, a restore ended without an error of its own, or the last one differs.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { attackRestores } from "../test/support/swap-attack.ts";

const { values } = parseArgs({
  options: {
    restores: { type: "string", default: "500" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
  },
});
const restores = Number(values.restores);
if (!Number.isSafeInteger(restores) || restores < 1) {
  console.error("Usage: node scripts/attack.mjs [--restores 500] [--seed N]");
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), "holdfast-attack-"));
console.log(`Seed ${values.seed}: ${restores} restores, in ${folder}`);
const started = performance.now();
const { endings, problems, swaps, differences } = await attackRestores({ folder, seed: values.seed, restores });
console.log(`Swapped: ${JSON.stringify(swaps)}`);
console.log(`Restores: ${JSON.stringify(endings)}, problems of entries: ${JSON.stringify(problems)}`);
console.log(`${((performance.now() - started) / 1000).toFixed(0)} s`);
rmSync(folder, { recursive: true, force: true });
if (differences.length === 0) console.log("The canary is untouched, and the last restore is equal to its source.");
else {
  console.error(differences.join("\n"));
  process.exitCode = 1;
}
