// `npm run scale`: time and peak memory of Holdfast's commands as what they work on doubles.
// `npm run scale -- --help` says how; scripts/scale/kinds.mjs holds what grows and what is measured.
import { existsSync, mkdirSync, mkdtempSync, statfsSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as measure from "./bench/measure.mjs";
import { configure, versionOf } from "./bench/tools.mjs";
import { ACTS, backUp, KINDS } from "./scale/kinds.mjs";
import { readOptions } from "./scale/options.mjs";
import { plotOf } from "./scale/plot.mjs";
import { tableOf } from "./scale/report.mjs";

const options = readOptions();
const { kinds, steps, scale, root } = options;
const progress = (text) => process.stderr.write(`${text}\n`);
/** Files must be older than this, or the next backup reads them again. */
const AGED_MS = 2500;
/** What else must stay free. */
const SPARE = { bytes: 5e8, inodes: 2000 };

const [samples, failures] = [[], []];
const sizeOf = (kind, step) => Math.max(KINDS[kind].least, Math.round(KINDS[kind].base * step * scale));

checkSpace();
measure.installSignals();
mkdirSync(options.work, { recursive: true });
const work = measure.temporaryPath(mkdtempSync(join(options.work, "holdfast-scale-")));
const loadBefore = loadavg();

try {
  for (const kind of kinds) await runKind(kind);
  await finish();
} catch (error) {
  if (!measure.stopped()) throw error;
} finally {
  measure.removeTemporary();
}

/** Ends the program when what a kind makes does not fit, before anything is made. */
function checkSpace() {
  let place = options.work;
  while (!existsSync(place)) place = join(place, "..");
  const { files, ffree } = statfsSync(place);
  // Some file systems make inodes as they go, and count none.
  const free = { bytes: measure.freeBytes(place), inodes: files === 0 ? Infinity : ffree };
  for (const kind of kinds) {
    const room = KINDS[kind].need(sizeOf(kind, steps.at(-1)));
    const need = { bytes: room.bytes + SPARE.bytes, inodes: Math.ceil(room.inodes + SPARE.inodes) };
    if (need.bytes <= free.bytes && need.inodes <= free.inodes) continue;
    const show = ({ bytes, inodes }) => `${(bytes / 1e9).toFixed(1)} GB and ${inodes.toLocaleString("en-US")} inodes`;
    console.error(`${kind} at ${steps.at(-1)}x needs ${show(need)} in ${options.work}, where ${show(free)} are free`);
    console.error("hint: fewer --steps, a smaller --scale, or another --work");
    process.exit(2);
  }
}

/** All steps of a kind. When its corpus, repository or first act fails, the larger steps are left out. */
async function runKind(kind) {
  const grow = KINDS[kind].open(measure.emptyFolder(join(work, "data")));
  let factor;
  try {
    for (factor of steps) await runStep(kind, factor, grow);
  } catch (error) {
    giveUp(error, kind, factor);
  } finally {
    for (const name of ["data", "holdfast", "out"]) measure.remove(join(work, name));
  }
}

async function runStep(kind, factor, grow) {
  const { show, fill, acts } = KINDS[kind];
  const size = sizeOf(kind, factor);
  const name = `${kind} ${factor}x, ${show(size)}`;
  const started = performance.now();
  const corpus = await grow(size);
  const folder = measure.emptyFolder(join(work, "holdfast"));
  const repository = join(folder, "repository");
  const config = configure({ folder, repository, source: corpus.source });
  const holdfast = (...args) =>
    measure.run(join(root, "bin/holdfast"), [...args, "-c", config], { report: join(folder, "time.txt") });
  await holdfast("apply", "-q");
  const step = { ...corpus, work, holdfast, snapshots: 0 };
  if (fill !== undefined) step.snapshots = await fill({ config, repository, source: corpus.source, size });
  await sleep(AGED_MS);
  await measure.breathe();
  // What was made up differs from the disk in times and inodes; a backup brings the two together.
  if (step.snapshots > 0) await backUp(step, false);
  progress(`${name}: made in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  for (const act of acts) {
    try {
      await measure.settle();
      const { wall, cpu, rss } = await ACTS[act].perform(step);
      samples.push({ kind, factor, size, act, wall, cpu, rss });
      progress(`${name}: ${ACTS[act].title} ${wall.toFixed(2)} s, ${cpu.toFixed(1)} CPU s, ${rss.toFixed(0)} MB`);
    } catch (error) {
      if (act === acts[0]) throw error;
      giveUp(error, kind, factor, act);
    }
  }
}

/** Without an act it is the step that failed, and the larger ones with it. */
function giveUp(error, kind, factor, act) {
  if (measure.stopped()) throw error;
  const text = `${kind} ${factor}x, ${act ?? "from here on"}: ${error.message.replaceAll(/\s+/g, " ")}`;
  progress(text);
  failures.push({ kind, factor, act, text });
}

async function finish() {
  const version = await versionOf(join(root, "bin/holdfast"), "--version");
  const commit = await versionOf("git", "-C", root, "rev-parse", "--short", "HEAD");
  const machine = {
    cpus: cpus().length,
    model: cpus()[0].model,
    memoryBytes: totalmem(),
    kernel: release(),
    disk: (await measure.run("stat", ["-f", "-c", "%T", work])).stdout.trim(),
    loadBefore,
    loadAfter: loadavg(),
  };
  const hardware = `${machine.cpus} × ${machine.model}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, ${machine.disk}`;
  const load = `load ${loadBefore[0].toFixed(1)} before and ${machine.loadAfter[0].toFixed(1)} after`;
  console.log(`${hardware}, Holdfast ${version} (${commit}), Node ${process.version}; ${load}`);
  if (scale !== 1) console.log(`\n**Sizes multiplied by ${scale}: these figures say nothing of the growth.**`);
  for (const kind of kinds) console.log(`\n${tableOf(kind, steps, samples, failures, (factor) => sizeOf(kind, factor))}`);
  if (failures.length > 0) console.log(["", ...failures.map(({ text }) => text)].join("\n- "));
  const date = new Date().toISOString();
  const result = { date, machine, version, commit, node: process.version, steps, scale, samples, failures };
  if (options.out !== undefined) writeFileSync(options.out, `${JSON.stringify(result, null, 1)}\n`);
  if (options.plot !== undefined) writeFileSync(options.plot, plotOf({ kinds, steps, samples, sizeOf }));
  if (failures.length > 0) process.exitCode = 1;
}
