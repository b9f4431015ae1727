// The kill campaign in full: `node scripts/campaign.mjs --kills 100 --files 5000 --bytes 200MB --seed 1`.
// With `--keys` it kills every change of keys at every call of its target instead, which takes no other option but --folder and --quiet.
// Prints what was killed where and how often; exits with 1 at the first promise that did not hold, and leaves the folder.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { parseSize } from "../src/base/size.ts";
import { Campaign } from "../test/support/campaign.ts";
import { KEY_OPERATIONS, KeyCampaign } from "../test/support/key-lab.ts";

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "100" },
    files: { type: "string", default: "5000" },
    bytes: { type: "string", default: "200MB" },
    pack: { type: "string", default: "4MiB" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    folder: { type: "string" },
    "no-boundaries": { type: "boolean", default: false },
    "restore-all-every": { type: "string", default: "10" },
    quiet: { type: "boolean", default: false },
    keys: { type: "boolean", default: false },
  },
});

const kills = Number(values.kills);
const files = Number(values.files);
const bytes = parseSize(values.bytes);
const packBytes = parseSize(values.pack);
if (!Number.isSafeInteger(kills) || !Number.isSafeInteger(files) || bytes === undefined || packBytes === undefined) {
  console.error(
    "Usage: node scripts/campaign.mjs [--kills 100] [--files 5000] [--bytes 200MB] [--pack 4MiB] [--seed N] [--folder DIR] [--no-boundaries] [--restore-all-every 10] [--quiet] [--keys]",
  );
  process.exit(2);
}

const folder = values.folder === undefined ? mkdtempSync(join(tmpdir(), "holdfast-campaign-")) : resolve(values.folder);
if (values.keys) {
  const keys = new KeyCampaign(join(folder, "keys"), (line) => {
    if (!values.quiet) console.log(line);
  });
  await keys.run(KEY_OPERATIONS, "thoroughly");
  for (const [operation, points] of keys.kills)
    console.log(`${operation}: ${[...points].map(([point, kills]) => `${point} ${kills}`).join(", ")}`);
  if (values.folder === undefined) rmSync(folder, { recursive: true, force: true });
  console.log("Every promise held.");
  process.exit();
}
const share = (part) => Math.round(kills * part);
const random = { prune: share(0.25), repair: share(0.15), key: share(0.15) };
const started = Date.now();
const since = () => `${((Date.now() - started) / 1000).toFixed(0)} s`.padStart(7);
console.log(
  `Seed ${values.seed}: ${files} files, ${values.bytes}, ${kills} kills at random moments${values["no-boundaries"] ? "" : " and one at every named boundary"}, in ${folder}`,
);

const campaign = new Campaign({
  folder,
  seed: values.seed,
  size: { files, bytes },
  packBytes,
  random: { ...random, backup: kills - random.prune - random.repair - random.key },
  boundaries: values["no-boundaries"] ? undefined : "thoroughly",
  restoreAllEvery: Number(values["restore-all-every"]),
  log: (line) => {
    if (!values.quiet) console.log(`${since()}  ${line}`);
  },
});

let failure;
try {
  await campaign.run();
} catch (error) {
  failure = error;
}
console.log(`\n${campaign.table()}\n`);
const { engine, recover } = campaign.lab.restored;
console.log(`${campaign.kills} kills, ${engine} restores by the engine and ${recover} by recover.mjs, ${since().trim()}`);
console.log(
  `Again: node scripts/campaign.mjs --kills ${kills} --files ${files} --bytes ${values.bytes} --pack ${values.pack} --seed ${values.seed}${values["no-boundaries"] ? " --no-boundaries" : ""}`,
);
if (failure === undefined) {
  if (values.folder === undefined) rmSync(folder, { recursive: true, force: true });
  console.log("Every promise held.");
} else {
  console.error(failure);
  process.exitCode = 1;
}
