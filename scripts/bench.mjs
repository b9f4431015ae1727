// `npm run bench`: Holdfast beside restic and borg (where installed) and beside the limit, on the same bytes, in turn, on the same disk.
// `npm run bench -- --help` says how; scripts/bench/lines.mjs holds what is measured, with the aims.
import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { join } from "node:path";
import { archivesOf } from "./bench/archives.mjs";
import { openCorpus, SOURCE_BYTES } from "./bench/corpora.mjs";
import { GROUPS, KEPT, LINES, STATES, TMPFS } from "./bench/lines.mjs";
import * as measure from "./bench/measure.mjs";
import { readOptions } from "./bench/options.mjs";
import { mainTable, rowsOf, sizeTable, verdict } from "./bench/report.mjs";
import { openTool, versionOf } from "./bench/tools.mjs";

const options = readOptions();
const { runs, scale, wanted, root, cache } = options;
const progress = (text) => process.stderr.write(`${text}\n`);

const [samples, failures, notes] = [[], [], []];
const [pauses, archives] = [{}, {}];
/** What is measured in turn; a peer that is missing is named in the table. */
const tools = ["holdfast", ...options.peers];
const missing = new Map(
  options.peers.filter((name) => !measure.hasProgram(name)).map((name) => [name, `${name} is not installed`]),
);

measure.installSignals();
mkdirSync(cache, { recursive: true });
mkdirSync(options.work, { recursive: true });
const work = measure.temporaryPath(mkdtempSync(join(options.work, "run-")));
const tmpfs = existsSync(TMPFS) ? measure.temporaryPath(mkdtempSync(join(TMPFS, "holdfast-bench-"))) : undefined;
const loadBefore = loadavg();

try {
  const versions = await versionsOf();
  for (const [name, group] of Object.entries(GROUPS)) {
    const lines = Object.keys(LINES).filter((line) => LINES[line].group === name && wanted.has(line));
    if (lines.length > 0) await runGroup(group, lines);
  }
  await finish(versions);
} catch (error) {
  if (!measure.stopped()) throw error;
} finally {
  measure.removeTemporary();
}

/** All runs of all tools for the lines of one group; whatever cannot be run is noted with the reason. */
async function runGroup(group, lines) {
  let prepared;
  try {
    const corpus = await openCorpus(group.corpus, options);
    checkSpace(group, corpus.meta.bytes ?? SOURCE_BYTES[group.corpus] * scale);
    prepared = { corpus, ...(await group.prepare({ corpus, work, wanted })) };
    noteCorpus(group.corpus, corpus.meta);
    await measure.warm(prepared.limitSource ?? (existsSync(prepared.source) ? prepared.source : corpus.data));
  } catch (error) {
    giveUp(error, lines, undefined);
    return;
  }
  for (let run = 0; run < runs; run++) {
    // Nobody is always the first after the machine's own pause.
    for (const tool of [...tools.slice(run % tools.length), ...tools.slice(0, run % tools.length)])
      if (missing.has(tool)) noteFailures(lines, tool, missing.get(tool));
      else await runPass(group, lines, prepared, tool, run);
    await runLimits(lines, prepared, run);
  }
  if (options.withPauses) await runPass(group, lines, prepared, "pauses", 0);
  await addArchives(lines, prepared);
  for (const folder of [work, tmpfs].filter((path) => path !== undefined))
    for (const name of readdirSync(folder)) measure.remove(join(folder, name));
}

function checkSpace({ space }, bytes) {
  const need = (place, factor, folder) => {
    if (factor === undefined) return;
    if (folder === undefined) throw new Error(`there is no ${TMPFS}`);
    if (measure.freeBytes(folder) < bytes * factor + 1e8)
      throw new Error(`needs ${((bytes * factor) / 1e9 + 0.1).toFixed(1)} GB free in ${place}`);
  };
  need("the work folder", space.work, work);
  need(TMPFS, space.tmpfs, tmpfs);
}

/** One tool through all lines of a group. A line that fails ends the pass; what it leaves out is noted. */
async function runPass({ pass }, lines, prepared, name, run) {
  const opened = [];
  const done = new Set();
  const open = async ({ source, repository, name: own = "main" }) => {
    const tool = await openTool(name, { source, repository, root, folder: join(work, `${name}-${own}`) });
    opened.push(tool);
    await measure.settle();
    return tool;
  };
  let before = 0;
  const step = async (line, tool, act, check) => {
    await measure.settle();
    before = LINES[line].bytes === "new" ? tool.size() : 0;
    const needed = lines.includes(line) || LINES[line].bytes === "stored";
    if (!needed) return;
    const { wall, cpu, rss, pause } = await act();
    check?.();
    done.add(line);
    if (!lines.includes(line)) return;
    if (name === "pauses") pauses[line] = pause;
    else {
      const bytes = LINES[line].bytes === undefined ? undefined : tool.size() - before;
      samples.push({ tool: name, line, run, wall, cpu, rss, bytes });
      progress(
        `${name} ${line} #${run + 1}: ${wall.toFixed(2)} s, ${cpu.toFixed(1)} CPU s, ${rss.toFixed(0)} MB${bytes === undefined ? "" : `, ${(bytes / 1e6).toFixed(1)} MB ${LINES[line].bytes}`}`,
      );
    }
  };
  try {
    await pass({ ...prepared, work, tmpfs, wanted, open, step });
  } catch (error) {
    giveUp(
      error,
      lines.filter((line) => !done.has(line)),
      name,
    );
  } finally {
    for (const tool of opened) tool.close();
  }
}

async function runLimits(lines, { source, limitSource }, run) {
  for (const line of lines) {
    const act = LINES[line].limit;
    if (act === undefined) continue;
    for (const [tool, command] of act === "backup"
      ? [
          ["limit", "backup-check"],
          ["limit-unchecked", "backup"],
        ]
      : [["limit", act]]) {
      try {
        const places =
          act === "restore" ? [measure.emptyFolder(join(work, "frames")), measure.emptyFolder(join(tmpfs, "limit"))] : [];
        await measure.settle();
        const { rss, stdout } = await measure.run(
          process.execPath,
          [join(root, "scripts/bench/limit.mjs"), command, limitSource ?? source, ...places],
          { report: join(work, "time.txt") },
        );
        const { wall, cpu, bytes } = JSON.parse(stdout);
        samples.push({ tool, line, run, wall, cpu, rss, bytes: LINES[line].bytes === undefined ? undefined : bytes });
        progress(`${tool} ${line} #${run + 1}: ${wall.toFixed(2)} s, ${cpu.toFixed(1)} CPU s`);
        for (const place of places) measure.remove(place);
      } catch (error) {
        giveUp(error, [line], tool);
      }
    }
  }
}

async function addArchives(lines, prepared) {
  const line = ["first", "image", "states"].find((one) => lines.includes(one));
  if (line === undefined) return;
  try {
    const { last, ...all } = await archivesOf(prepared, { first: STATES - KEPT });
    archives[line] = all;
    if (last !== undefined) for (const one of ["states-kept", "states-fresh"]) if (lines.includes(one)) archives[one] = last;
  } catch (error) {
    giveUp(error, [line], "tar");
  }
}

function giveUp(error, lines, tool) {
  if (measure.stopped()) throw error;
  progress(`${tool ?? "all tools"}, ${lines.join(", ")}: ${error.message}`);
  if (tool === "pauses" || tool === "tar") notes.push(`${tool} of ${lines.join(", ")}: ${error.message.slice(0, 300)}`);
  else noteFailures(lines, tool, error.message);
}

function noteFailures(lines, tool, reason) {
  for (const line of lines)
    if (!failures.some((one) => one.line === line && one.tool === tool)) failures.push({ line, tool, reason });
}

function noteCorpus(name, { files, bytes, uniqueBytes, from, changedPages }) {
  const image =
    uniqueBytes === undefined
      ? ""
      : `, ${((uniqueBytes / bytes) * 100).toFixed(0)} % of it from ${from} different files of this system, the rest the same bytes in another guise`;
  const text = `${name}: ${files} files, ${(bytes / 1e6).toFixed(1)} MB${image}${changedPages === undefined ? "" : `; ${changedPages} of ${Math.ceil(bytes / 4096)} pages changed`}`;
  if (!notes.includes(text)) notes.push(text);
}

async function versionsOf() {
  const versions = { node: process.version, holdfast: await versionOf(join(root, "bin/holdfast"), "--version") };
  versions.commit = await versionOf("git", "-C", root, "rev-parse", "--short", "HEAD");
  if (tools.includes("restic") && !missing.has("restic")) versions.restic = await versionOf("restic", "version");
  if (tools.includes("borg") && !missing.has("borg")) versions.borg = await versionOf("borg", "--version");
  versions.zstd = process.versions.zstd;
  if (!existsSync(measure.GNU_TIME)) notes.push("no CPU seconds and no memory: GNU time is missing (Debian package time)");
  const built = join(root, "dist/main.js");
  const newer = (folder) =>
    readdirSync(folder, { recursive: true }).some(
      (path) => path.endsWith(".ts") && statSync(join(folder, path)).mtimeMs > statSync(built).mtimeMs,
    );
  if (!existsSync(built)) throw new Error(`${built} is missing: run npm run build`);
  if (newer(join(root, "src"))) notes.push("the source is newer than the build that was measured: run npm run build");
  return versions;
}

async function finish(versions) {
  const lines = Object.keys(LINES).filter((line) => wanted.has(line));
  const rows = rowsOf({ samples, failures, pauses, lines, tools, files: options.files * scale });
  const memory = readFileSync("/proc/meminfo", "utf8").match(/MemAvailable:\s+(\d+)/)?.[1];
  const machine = {
    cpus: cpus().length,
    model: cpus()[0].model,
    memoryBytes: totalmem(),
    availableBytes: Number(memory) * 1024,
    kernel: release(),
    loadBefore,
    loadAfter: loadavg(),
  };
  machine.disk = spawnSync("stat", ["-f", "-c", "%T", work], { encoding: "utf8" }).stdout?.trim();
  const named = Object.entries(versions).filter(([, version]) => version !== undefined);
  console.log(
    `\n${machine.cpus} × ${machine.model}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, ${machine.disk}, ${named.map(([name, version]) => (version.startsWith(name) ? version : `${name} ${version}`)).join(", ")}; medians of ${runs}; load ${loadBefore[0].toFixed(1)} before and ${machine.loadAfter[0].toFixed(1)} after\n`,
  );
  if (scale !== 1) console.log(`**Corpora shrunk to ${scale}: these figures say nothing of the aims.**\n`);
  console.log(mainTable(rows));
  const sizes = sizeTable(rows, archives, tools);
  if (sizes !== undefined) console.log(`\nStored, in MB and as raw bytes to one stored:\n\n${sizes}`);
  console.log(`\n${verdict(rows)}\n`);
  for (const note of notes) console.log(`- ${note.replaceAll(/\s+/g, " ")}`);
  const result = {
    date: new Date().toISOString(),
    machine,
    versions,
    runs,
    scale,
    files: options.files,
    rows,
    archives,
    notes,
    failures,
    samples,
    pauses,
  };
  if (options.json !== undefined) appendFileSync(options.json, `${JSON.stringify(result)}\n`);
}
