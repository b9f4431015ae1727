// The tools that are compared, each with a repository of its own and the same few acts; and Holdfast once more through its library, for its pauses.
import { existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { emptyFolder, extent, filesBelow, remove, run, together } from "./measure.mjs";

/**
 * Opens a new repository: `{ backup, verify, restore, one, keepLast, size, close }`. The acts resolve to what `run` measured; `place` holds
 * name, folder (for everything but the repository), repository (default: below folder), source, and root of the checkout.
 */
export async function openTool(name, place) {
  emptyFolder(place.folder);
  const repository = place.repository ?? join(place.folder, "repository");
  remove(repository);
  const tool = await openers[name]({ ...place, repository, report: join(place.folder, "time.txt") });
  return {
    ...tool,
    size: () => extent(repository).bytes,
    close: () => {
      remove(repository);
      remove(place.folder);
    },
  };
}

const openers = { holdfast: openHoldfast, pauses: openPauses, restic: openRestic, borg: openBorg };

/** Writes a configuration of one source, one target and one job, all with state, cache and key in `folder`; returns its path. */
export function configure({ folder, repository, source }) {
  const config = join(folder, "holdfast.yaml");
  const text = [
    "version: 1",
    "host: bench",
    "daemon: { stateDir: ./state, cacheDir: ./cache }",
    "encryption: { main: { keyFile: ./key, generate: true } }",
    `sources: { corpus: { type: files, paths: [${JSON.stringify(source)}] } }`,
    `targets: { disk: { type: local, path: ${JSON.stringify(repository)}, encryption: main } }`,
    "jobs: { corpus: { sources: [corpus], targets: [disk] } }",
    "",
  ];
  writeFileSync(config, text.join("\n"));
  return config;
}

async function openHoldfast(place) {
  const config = configure(place);
  const holdfast = (...args) => run(join(place.root, "bin/holdfast"), [...args, "-q", "-c", config], { report: place.report });
  await holdfast("apply");
  return {
    config,
    backup: () => holdfast("backup", "corpus"),
    verify: () => holdfast("verify", "--read-data"),
    restore: (to) => holdfast("restore", "latest", "--to", to),
    one: (path, to) => holdfast("restore", `latest:${path}`, "--to", to),
    keepLast: (count) => holdfast("prune", "--keep-last", String(count), "--immediate", "-y"),
  };
}

/** Each act in a process of its own that drives the library and says for how long its event loop stood still. */
async function openPauses(place) {
  const command = await openHoldfast(place);
  const library = join(place.root, "dist/index.js");
  if (!existsSync(library)) throw new Error(`${library} is missing: run npm run build`);
  const script = join(place.folder, "pause.mjs");
  writeFileSync(script, PAUSE_SCRIPT);
  const act = async (...args) => {
    const measured = await run(process.execPath, [script, library, command.config, ...args], { report: place.report });
    return { ...measured, pause: JSON.parse(measured.stdout).pause };
  };
  return {
    backup: () => act("backup"),
    verify: () => act("verify"),
    restore: (to) => act("restore", "/", to),
    one: (path, to) => act("restore", path, to),
    // What retention removes is chosen in the command, not in the library: there is no act to drive.
    keepLast: async (count) => ({ ...(await command.keepLast(count)), pause: undefined }),
  };
}

const PAUSE_SCRIPT = `
import { monitorEventLoopDelay } from "node:perf_hooks";
const [, , library, config, act, path, to] = process.argv;
const { Holdfast, readConfigFile, openState, createSystemClock, systemRandom } = await import(library);
const loaded = readConfigFile(config, { env: process.env, cwd: "/", hostName: "bench", home: "/", isRoot: true, timezone: "UTC" }, false);
const state = openState(loaded.config.daemon.stateDir);
const holdfast = new Holdfast(loaded.config, state, { env: process.env, credentialsDirectory: undefined, clock: createSystemClock(), random: systemRandom, toolVersion: "bench", gitCommit: undefined, configText: "", listener: () => {} });
const signal = new AbortController().signal;
const acts = {
  backup: () => holdfast.backup("corpus", { signal }),
  verify: () => holdfast.verify({ snapshots: [], readData: 1, signal }),
  restore: () => holdfast.restore({ selector: { id: "latest" }, path, to: { folder: to }, include: [], exclude: [], overwrite: "if-changed", delete: false, verifyFirst: false, verify: false, safetySnapshot: true, confirmedLive: false, signal }),
};
const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
const { status } = await acts[act]();
const pause = delay.max / 1e6;
await holdfast[Symbol.asyncDispose]();
state.close();
if (status !== undefined && status !== "success") throw new Error(act + " ended as " + status);
console.log(JSON.stringify({ pause }));
`;

async function openRestic({ folder, repository, source, report }) {
  const env = { RESTIC_PASSWORD: "bench", RESTIC_CACHE_DIR: join(folder, "cache") };
  const restic = (...args) => run("restic", ["-q", "-r", repository, ...args], { env, report });
  await restic("init");
  return {
    backup: () => restic("backup", source),
    verify: () => restic("check", "--read-data"),
    restore: (to) => restic("restore", "latest", "--target", to),
    one: (path, to) => restic("restore", "latest", "--target", to, "--include", path),
    keepLast: (count) => restic("forget", "--keep-last", String(count), "--prune"),
  };
}

async function openBorg({ folder, repository, source, report }) {
  const env = { BORG_PASSPHRASE: "bench", BORG_BASE_DIR: join(folder, "base") };
  const borg = (args, cwd) => run("borg", args, { env, cwd, report });
  await borg(["init", "-e", "repokey-blake2", repository]);
  let number = 0;
  const extract = (to, ...paths) => {
    mkdirSync(to, { recursive: true });
    return borg(["extract", `${repository}::${number}`, ...paths], to);
  };
  return {
    backup: () => borg(["create", "-C", "zstd,3", `${repository}::${++number}`, source]),
    verify: () => borg(["check", "--verify-data", repository]),
    restore: (to) => extract(to),
    one: (path, to) => extract(to, path.slice(1)),
    keepLast: async (count) =>
      together([await borg(["prune", "--keep-last", String(count), repository]), await borg(["compact", repository])]),
  };
}

/** Whether the version can be asked; the first line of the answer. */
export async function versionOf(command, ...args) {
  try {
    return (await run(command, args)).stdout.trim().split("\n")[0];
  } catch {
    return undefined;
  }
}

/** A restored tree must be the whole tree: as many files, as many bytes. */
export function checkRestored(folder, { files, bytes }) {
  const found = extent(folder);
  if (found.files !== files || found.bytes !== bytes)
    throw new Error(`restored ${found.files} files of ${found.bytes} bytes instead of ${files} of ${bytes}`);
}

/** The file that is restored alone: the one every Linux source has, or else the one in the middle. */
export function fileOf(source) {
  const known = join(source, "MAINTAINERS");
  if (existsSync(known)) return known;
  const files = filesBelow(source).filter((path) => statSync(path).size > 0);
  return files[files.length >> 1];
}
