// A folder there and back: `node scripts/roundtrip.mjs [FOLDER…] [--oddities] [--full] [--work DIR] [--keep]`: `--full` adds
// sparse files of 10 GiB and 1 TiB and a folder of 100,000 entries to the oddities. Backs up twice, verifies every byte, restores into an empty folder with the engine and with recover.mjs, and compares both with the original: bytes, types, modes,
// owners, nanosecond times, attributes, ACLs, hard links, holes. Prints seconds and differences; exits with 1 when there are any.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { formatSize } from "../src/base/size.ts";
import { compareTrees } from "../test/support/compare-trees.ts";
import { restoreInto } from "../test/support/campaign-restore.ts";
import { campaignConfig, CampaignSession, TARGET } from "../test/support/campaign-session.ts";
import { writeOddities } from "../test/support/oddities.ts";

/** Where Debian's package linux-source-6.1 leads when its archive is unpacked beside it. */
const LINUX_SOURCE = "/usr/src/linux-source-6.1";
const RECOVER = new URL("../recover.mjs", import.meta.url).pathname;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    oddities: { type: "boolean", default: false },
    full: { type: "boolean", default: false },
    work: { type: "string" },
    keep: { type: "boolean", default: false },
  },
});

const work = mkdtempSync(join(resolve(values.work ?? tmpdir()), "holdfast-roundtrip-"));
const folders = positionals.map((folder) => resolve(folder));
if (folders.length === 0 && existsSync(LINUX_SOURCE)) folders.push(LINUX_SOURCE);
if (values.oddities || values.full || folders.length === 0) {
  const oddities = join(work, "oddities");
  mkdirSync(oddities);
  const { skipped } = writeOddities(oddities, values.full ? { huge: true, crowd: 100_000 } : {});
  for (const { what, reason } of skipped) console.log(`This machine refuses: ${what} (${reason})`);
  folders.push(oddities);
}

let different = 0;
for (const [number, folder] of folders.entries()) await roundtrip(folder, join(work, String(number)));
if (values.keep) console.log(`Kept: ${work}`);
else execFileSync("rm", ["-rf", work]);
if (different > 0) process.exitCode = 1;

async function roundtrip(folder, place) {
  mkdirSync(place);
  const config = join(place, "holdfast.yaml");
  writeFileSync(config, campaignConfig(place, folder));
  console.log(`\n${folder}`);
  const first = new CampaignSession(config, undefined);
  await timed("create and first backup", () => first.apply());
  console.log(`  ${await newest(first)}`);
  await first[Symbol.asyncDispose]();
  const campaign = new CampaignSession(config, undefined);
  await timed("second backup", () => campaign.backup());
  console.log(`  ${await newest(campaign)}`);
  const report = await timed("verify --read-data", () => campaign.verify());
  for (const { name, checked, failed, note } of report.checks)
    console.log(`  ${name}: ${checked} checked, ${failed} failed${note === undefined ? "" : ` (${note})`}`);
  if (!report.ok) different++;
  const store = await campaign.session.store(TARGET);
  const snapshots = await store.snapshots();
  const restored = join(place, "restored");
  const restore = await timed("restore", () => restoreInto(store, snapshots.at(-1), restored));
  console.log(
    `  ${restore.files} files, ${restore.directories} folders, ${restore.problemCount} problems, ${restore.lossCount} losses of metadata`,
  );
  for (const { path, message } of restore.problems) console.log(`  ${path}: ${message}`);
  for (const { path, what, reason } of restore.losses) console.log(`  ${path}: ${what} (${reason})`);
  compare(folder, join(restored, folder));
  rmSync(restored, { recursive: true, force: true });
  const recovered = join(place, "recovered");
  const args = [
    RECOVER,
    join(place, "repository"),
    "--key-file",
    join(place, "key"),
    "restore",
    snapshots.at(-1).id,
    "--to",
    recovered,
  ];
  const { status, stderr } = await timed("recover.mjs", () =>
    spawnSync(process.execPath, args, { encoding: "utf8", maxBuffer: 2 ** 26 }),
  );
  console.log(`  exit ${status}`);
  for (const line of stderr.trimEnd().split("\n").slice(-12)) console.log(`  ${shortened(line)}`);
  const { unknown, known } = compare(folder, join(recovered, folder), beyondPlainNode);
  // 3: some entries could not be restored. Which ones, the comparison has just said.
  if (status !== 0 && !(status === 3 && unknown === 0 && known > 0)) different++;
  await campaign[Symbol.asyncDispose]();
  execFileSync("rm", ["-rf", recovered]);
}

async function timed(name, act) {
  const started = performance.now();
  const result = await act();
  console.log(`${name}: ${((performance.now() - started) / 1000).toFixed(2)} s`);
  return result;
}

async function newest(campaign) {
  const store = await campaign.session.store(TARGET);
  const { files, directories, others, sourceBytes, newBytes, storedBytes, unreadableCount } = (await store.snapshots()).at(-1);
  return `${files} files, ${directories} folders, ${others} others, ${formatSize(sourceBytes)}; new ${formatSize(newBytes)}, stored ${formatSize(storedBytes)}; ${unreadableCount} unreadable`;
}

/** What Node cannot make without an addon: sockets, and paths longer than the system takes in one call. */
function beyondPlainNode(difference, original) {
  const path = difference.replace(/ is missing$/, "");
  if (path === difference) return false;
  // A path this long cannot even be looked at.
  if (Buffer.byteLength(path) > 3500) return true;
  return lstatSync(original + path).isSocket();
}

function compare(original, copy, isKnown = () => false) {
  const started = performance.now();
  const differences = compareTrees(original, copy);
  const unknown = differences.filter((difference) => !isKnown(difference, original));
  const known = differences.length - unknown.length;
  const seconds = ((performance.now() - started) / 1000).toFixed(2);
  console.log(
    `  compared with the original: ${unknown.length} differences${known > 0 ? `, and ${known} that plain Node cannot restore (sockets, paths over 4,096 bytes)` : ""} (${seconds} s)`,
  );
  for (const difference of unknown.slice(0, 20)) console.log(`    ${shortened(difference)}`);
  if (unknown.length > 0) different++;
  return { unknown: unknown.length, known };
}

function shortened(line) {
  return line.length <= 200 ? line : `${line.slice(0, 120)} … ${line.slice(-70)}`;
}
