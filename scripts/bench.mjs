// `npm run bench`: Holdfast beside restic and borg (where installed) on the same bytes, in turn, on the same disk.
//   node scripts/bench.mjs [--corpus FOLDER] [--runs 3] [--work FOLDER] [--peers restic,borg] [--lines first,unchanged,verify,restore,one] [--json FILE]
// Prints medians, ratios to restic, CPU seconds and peak memory; for Holdfast also the longest pause of the main thread's event loop.
import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    corpus: { type: "string", default: "/tmp/holdfast-bench/corpus/linux-source-6.1" },
    runs: { type: "string", default: "3" },
    work: { type: "string", default: tmpdir() },
    peers: { type: "string", default: "restic,borg" },
    lines: { type: "string", default: "first,unchanged,verify,restore,one" },
    json: { type: "string" },
  },
});
const root = new URL("..", import.meta.url).pathname;
const runs = Number(values.runs);
const wanted = new Set(values.lines.split(","));
const has = (program) => spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;
const peers = values.peers.split(",").filter((name) => name !== "" && has(name));

/** Debian's package holds the tree as one archive. */
function prepareCorpus() {
  if (existsSync(values.corpus)) return;
  const archive = "/usr/src/linux-source-6.1.tar.xz";
  if (!existsSync(archive)) {
    console.error(`No corpus at ${values.corpus}. Install the Debian package linux-source-6.1, or name a folder with --corpus.`);
    process.exit(2);
  }
  mkdirSync(join(values.corpus, ".."), { recursive: true });
  spawnSync("tar", ["-xf", archive, "-C", join(values.corpus, "..")], { stdio: "inherit" });
}

/** Wall seconds, CPU seconds of the command and its children, peak resident MB. */
function measure(command, args, env = {}) {
  const report = join(folder, "time.txt");
  const started = process.hrtime.bigint();
  const result = has("/usr/bin/time")
    ? spawnSync("/usr/bin/time", ["-o", report, "-f", "%U %S %M", command, ...args], {
        env: { ...process.env, ...env },
        encoding: "utf8",
        maxBuffer: 2 ** 28,
      })
    : spawnSync(command, args, { env: { ...process.env, ...env }, encoding: "utf8", maxBuffer: 2 ** 28 });
  const wall = Number(process.hrtime.bigint() - started) / 1e9;
  if (result.status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${result.status}: ${result.stderr}`);
  const [user, system, peak] = existsSync(report) ? readLast(report) : [NaN, NaN, NaN];
  return { wall, cpu: user + system, rss: peak / 1024, stdout: result.stdout };
}

function readLast(path) {
  const text = spawnSync("tail", ["-n", "1", path], { encoding: "utf8" }).stdout;
  return text.trim().split(" ").map(Number);
}

const folder = mkdtempSync(join(values.work, "holdfast-bench-"));
const sizeOf = (path) =>
  statSync(path).isDirectory() ? readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0) : statSync(path).size;
const fresh = (name) => {
  const path = join(folder, name);
  rmSync(path, { recursive: true, force: true });
  return path;
};

const holdfast = {
  name: "holdfast",
  prepare() {
    const home = fresh("holdfast");
    mkdirSync(home);
    writeFileSync(
      join(home, "holdfast.yaml"),
      [
        "version: 1",
        "daemon: { stateDir: ./state, cacheDir: ./cache }",
        "encryption: { main: { keyFile: ./key, generate: true } }",
        `sources: { corpus: { type: files, paths: [${JSON.stringify(values.corpus)}] } }`,
        "targets: { disk: { type: local, path: ./repository, encryption: main } }",
        "jobs: { corpus: { sources: [corpus], targets: [disk] } }",
        "",
      ].join("\n"),
    );
    this.config = join(home, "holdfast.yaml");
    this.repository = join(home, "repository");
    this.run("apply");
  },
  run(...args) {
    return measure(join(root, "bin/holdfast"), [...args, "-q", "-c", this.config]);
  },
  first: (self) => self.run("backup", "corpus"),
  unchanged: (self) => self.run("backup", "corpus"),
  verify: (self) => self.run("verify", "--read-data"),
  restore: (self) => self.run("restore", "latest", "--to", fresh("out")),
  one: (self) => self.run("restore", `latest:${values.corpus}/MAINTAINERS`, "--to", fresh("out")),
};

const restic = {
  name: "restic",
  prepare() {
    this.repository = fresh("restic");
    this.run("init");
  },
  run(...args) {
    return measure("restic", ["-q", "-r", this.repository, ...args], { RESTIC_PASSWORD: "bench" });
  },
  first: (self) => self.run("backup", values.corpus),
  unchanged: (self) => self.run("backup", values.corpus),
  verify: (self) => self.run("check", "--read-data"),
  restore: (self) => self.run("restore", "latest", "--target", fresh("out")),
  one: (self) => self.run("restore", "latest", "--target", fresh("out"), "--include", `${values.corpus}/MAINTAINERS`),
};

const borg = {
  name: "borg",
  prepare() {
    this.repository = fresh("borg");
    this.number = 0;
    this.run("init", "-e", "repokey-blake2", this.repository);
  },
  run(...args) {
    return measure("borg", args, { BORG_PASSPHRASE: "bench", BORG_BASE_DIR: join(folder, "borg-base") });
  },
  create: (self) => self.run("create", "-C", "zstd,3", `${self.repository}::${++self.number}`, values.corpus),
  first: (self) => self.create(self),
  unchanged: (self) => self.create(self),
  verify: (self) => self.run("check", "--verify-data", self.repository),
  restore: (self) => self.extract(self),
  one: (self) => self.extract(self, `${values.corpus.slice(1)}/MAINTAINERS`),
  extract(self, ...paths) {
    const out = fresh("out");
    mkdirSync(out);
    const before = process.cwd();
    process.chdir(out);
    try {
      return self.run("extract", `${self.repository}::1`, ...paths);
    } finally {
      process.chdir(before);
    }
  },
};

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor((numbers.length - 1) / 2)];

prepareCorpus();
const tools = [holdfast, ...[restic, borg].filter(({ name }) => peers.includes(name))];
const samples = [];
try {
  // Bring the corpus into the page cache, so that nobody pays for being first.
  spawnSync("sh", ["-c", `find ${JSON.stringify(values.corpus)} -type f -print0 | xargs -0 cat > /dev/null`]);
  for (let run = 0; run < runs; run++) {
    for (const tool of tools) {
      tool.prepare();
      for (const line of ["first", "unchanged", "verify", "restore", "one"]) {
        if (!wanted.has(line) && line !== "first") continue;
        const { wall, cpu, rss } = tool[line](tool);
        const stored = line === "first" ? sizeOf(tool.repository) : undefined;
        samples.push({ tool: tool.name, line, run, wall, cpu, rss, stored });
        process.stderr.write(
          `${tool.name} ${line} #${run + 1}: ${wall.toFixed(2)} s, ${cpu.toFixed(1)} CPU s, ${rss.toFixed(0)} MB\n`,
        );
      }
      rmSync(tool.repository, { recursive: true, force: true });
    }
  }
  const pauses = await longestPauses();
  report(pauses);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** The longest pause of the event loop, measured inside a process of its own through the library. */
async function longestPauses() {
  holdfast.prepare();
  const script = `
    import { monitorEventLoopDelay } from "node:perf_hooks";
    const { Holdfast, readConfigFile, openState, createSystemClock, systemRandom } = await import(${JSON.stringify(join(root, "dist/index.js"))});
    const loaded = readConfigFile(${JSON.stringify(holdfast.config)}, { env: process.env, cwd: "/", hostName: "bench", home: "/", isRoot: true, timezone: "UTC" }, false);
    const state = openState(loaded.config.daemon.stateDir);
    const h = new Holdfast(loaded.config, state, { env: process.env, credentialsDirectory: undefined, clock: createSystemClock(), random: systemRandom, toolVersion: "bench", gitCommit: undefined, configText: "", listener: () => {} });
    const signal = new AbortController().signal;
    const out = {};
    const line = async (name, act) => { const d = monitorEventLoopDelay({ resolution: 1 }); d.enable(); await act(); out[name] = d.max / 1e6; };
    await line("first", () => h.backup("corpus", { signal }));
    await line("unchanged", () => h.backup("corpus", { signal }));
    await line("verify", () => h.verify({ snapshots: [], readData: 1, signal }));
    await line("restore", () => h.restore({ selector: { id: "latest" }, path: "/", to: { folder: ${JSON.stringify(fresh("out"))} }, include: [], exclude: [], overwrite: "if-changed", delete: false, verifyFirst: false, verify: false, safetySnapshot: true, confirmedLive: false, signal }));
    await h[Symbol.asyncDispose](); state.close();
    console.log(JSON.stringify(out));`;
  const path = join(folder, "pauses.mjs");
  writeFileSync(path, script);
  const { status, stdout, stderr } = spawnSync(join(root, "node_modules/.bin/node"), [path], { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

function report(pauses) {
  const rows = [];
  for (const line of ["first", "unchanged", "verify", "restore", "one"]) {
    const of = (tool) => samples.filter((one) => one.line === line && one.tool === tool.name);
    const base = peers.includes("restic") ? median(of(restic).map(({ wall }) => wall)) : undefined;
    for (const tool of tools) {
      const mine = of(tool);
      if (mine.length === 0) continue;
      const wall = median(mine.map((one) => one.wall));
      rows.push({
        line,
        tool: tool.name,
        wall,
        ratio: base === undefined ? undefined : wall / base,
        cpu: median(mine.map((one) => one.cpu)),
        rss: median(mine.map((one) => one.rss)),
        stored: mine[0].stored === undefined ? undefined : median(mine.map((one) => one.stored)),
        pause: tool === holdfast ? pauses[line] : undefined,
      });
    }
  }
  const cell = (value, digits, unit = "") =>
    value === undefined || Number.isNaN(value) ? "" : `${value.toFixed(digits)}${unit}`;
  console.log(
    `\n${cpus().length} × ${cpus()[0].model}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, Node ${process.version}, medians of ${runs}\n`,
  );
  console.log("| workload | tool | wall s | to restic | CPU s | peak MB | stored MB | longest pause ms |");
  console.log("|---|---|---|---|---|---|---|---|");
  for (const row of rows)
    console.log(
      `| ${row.line} | ${row.tool} | ${cell(row.wall, 2)} | ${cell(row.ratio, 2, "×")} | ${cell(row.cpu, 1)} | ${cell(row.rss, 0)} | ${cell(row.stored === undefined ? undefined : row.stored / 1e6, 1)} | ${cell(row.pause, 0)} |`,
    );
  if (values.json !== undefined)
    appendFileSync(
      values.json,
      `${JSON.stringify({ date: new Date().toISOString(), node: process.version, runs, rows, samples })}\n`,
    );
}
