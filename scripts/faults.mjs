// Every fault of files and disks that Holdfast must survive, at full length: `node scripts/faults.mjs [SECTION…] [--seed N]`.
//   replay   traced calls of a backup, a prune and a creation: every prefix, and 1,000 power losses of each
//   errors   every file call fails once: EIO, EMFILE, EDQUOT, ENOSPC, short reads and writes
//   kills    SIGKILL before and after every file call that changes something
//   strace   the built program under `strace`: SIGKILL and EIO at every system call of a kind
//   space    a medium that is full at every MiB of a backup, and at many sizes in a prune
// Prints what was made to fail, how often it fired and how the run ended; exits with 1 at the first promise that did not hold.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { SECTIONS } from "../test/support/fault-sections.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    losses: { type: "string", default: "1000" },
    "thorough-every": { type: "string", default: "10" },
    step: { type: "string", default: "1" },
  },
});
const chosen = positionals.length === 0 ? Object.keys(SECTIONS) : positionals;
const unknown = chosen.filter((name) => !Object.hasOwn(SECTIONS, name));
const [losses, thoroughEvery, step] = [values.losses, values["thorough-every"], values.step].map(Number);
if (unknown.length > 0 || ![losses, thoroughEvery, step].every((number) => Number.isSafeInteger(number) && number > 0)) {
  console.error(
    `Usage: node scripts/faults.mjs [${Object.keys(SECTIONS).join("] [")}] [--seed N] [--losses 1000] [--thorough-every 10] [--step 1]`,
  );
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), "holdfast-faults-"));
const again = `node scripts/faults.mjs ${chosen.join(" ")} --seed ${values.seed} --losses ${losses} --thorough-every ${thoroughEvery} --step ${step}`;
const started = Date.now();
console.log(`Seed ${values.seed}, in ${folder}`);

const rows = [["fault", "fired", "outcome"]];
let failed = false;
for (const name of chosen) {
  try {
    await SECTIONS[name]({
      folder: join(folder, name),
      seed: values.seed,
      losses,
      thoroughEvery,
      step,
      row: (fault, fired, outcome) => {
        rows.push([fault, String(fired), outcome]);
        console.log(`${((Date.now() - started) / 1000).toFixed(0).padStart(5)} s  ${fault}: fired ${fired} times; ${outcome}`);
        if (fired > 0) return;
        failed = true;
        console.error(`FAILED  ${fault} never fired`);
      },
    });
  } catch (error) {
    failed = true;
    rows.push([name, "", "FAILED"]);
    console.error(error);
  }
}

const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column].length)));
console.log(
  `\n${rows
    .map((row) =>
      row
        .map((cell, i) => (i === 1 ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
        .join("  ")
        .trimEnd(),
    )
    .join("\n")}`,
);
console.log(`\n${((Date.now() - started) / 1000).toFixed(0)} s. Again: ${again}`);
if (failed) {
  console.error(`Some promise did not hold; the folder ${folder} is as it was left.`);
  process.exitCode = 1;
} else {
  rmSync(folder, { recursive: true, force: true });
  console.log("Every promise held.");
}
