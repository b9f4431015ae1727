// Running and measuring programs; what was made and must go; sizes, free space, medians.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as immediate } from "node:timers/promises";

export const GNU_TIME = "/usr/bin/time";
export const hasProgram = (name) => spawnSync("sh", ["-c", 'command -v "$1" > /dev/null', "sh", name]).status === 0;
const hasTime = existsSync(GNU_TIME);

const stop = new AbortController();
const temporary = new Set();

/** Ctrl-C ends the program that is running, then everything made is removed; a second one does not wait. */
export function installSignals() {
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ])
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(code);
      process.exitCode = code;
      process.stderr.write(`\n${signal}: stopping and cleaning up\n`);
      stop.abort(new Error(`stopped by ${signal}`));
    });
  process.on("exit", removeTemporary);
}

export const stopped = () => stop.signal.aborted;

/** Lets signals in between long synchronous work, and ends it after one. */
export async function breathe() {
  await immediate();
  stop.signal.throwIfAborted();
}

/** This path is removed at the end, however the program ends. */
export function temporaryPath(path) {
  temporary.add(path);
  return path;
}

export function remove(path) {
  rmSync(path, { recursive: true, force: true });
}

export function keep(path) {
  temporary.delete(path);
}

export function removeTemporary() {
  for (const path of temporary) remove(path);
  temporary.clear();
}

/** An empty folder at this path. */
export function emptyFolder(path) {
  remove(path);
  mkdirSync(path, { recursive: true });
  return path;
}

/**
 * Runs a program to its end: `{ wall, cpu, rss, stdout, stderr }` in seconds and decimal megabytes, with the end of what it printed; `cpu`
 * and `rss` are NaN without GNU time.
 * Rejects with what it printed when it ends otherwise than by a status in `accept`. In a process group of its own, so that all of it can be stopped.
 */
export async function run(command, args, { env = {}, cwd, report, accept = [0] } = {}) {
  stop.signal.throwIfAborted();
  const timed = hasTime && report !== undefined;
  const [program, all] = timed ? [GNU_TIME, ["-o", report, "-f", "%U %S %M", command, ...args]] : [command, args];
  const started = process.hrtime.bigint();
  const child = spawn(program, all, { env: { ...process.env, ...env }, cwd, stdio: ["ignore", "pipe", "pipe"], detached: true });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"])
    child[name].setEncoding("utf8").on("data", (text) => {
      output[name] = (output[name] + text).slice(-65536);
    });
  const kill = (signal) => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
      // It has just ended.
    }
  };
  let last;
  const onStop = () => {
    kill("SIGTERM");
    last = setTimeout(() => kill("SIGKILL"), 5000);
  };
  stop.signal.addEventListener("abort", onStop, { once: true });
  try {
    const ended = await new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (status, signal) => resolve({ status, signal, at: process.hrtime.bigint() }));
    });
    stop.signal.throwIfAborted();
    if (!accept.includes(ended.status))
      throw new Error(
        `${command} ${args.join(" ")} ended with ${ended.signal ?? ended.status}: ${(output.stderr || output.stdout).trim().slice(-2000)}`,
      );
    const [user, system, peak] = timed
      ? readFileSync(report, "utf8").trim().split("\n").at(-1).split(" ").map(Number)
      : [NaN, NaN, NaN];
    return { wall: Number(ended.at - started) / 1e9, cpu: user + system, rss: (peak * 1024) / 1e6, ...output };
  } finally {
    clearTimeout(last);
    stop.signal.removeEventListener("abort", onStop);
  }
}

/** Several measured commands as one. */
export const together = (parts) => ({
  wall: parts.reduce((sum, { wall }) => sum + wall, 0),
  cpu: parts.reduce((sum, { cpu }) => sum + cpu, 0),
  rss: Math.max(...parts.map(({ rss }) => rss)),
  pause: parts.some(({ pause }) => pause === undefined) ? undefined : Math.max(...parts.map(({ pause }) => pause)),
});

/** Every regular file below a folder (or the file itself) in a fixed order, links not followed. */
export function filesBelow(path, found = []) {
  if (!lstatSync(path).isDirectory()) return [...found, path];
  const walk = (folder) => {
    const entries = readdirSync(folder, { withFileTypes: true });
    for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1)))
      if (entry.isDirectory()) walk(join(folder, entry.name));
      else if (entry.isFile()) found.push(join(folder, entry.name));
  };
  walk(path);
  return found;
}

/** How many regular files, and how many bytes they have. */
export function extent(path) {
  const files = filesBelow(path);
  return { files: files.length, bytes: files.reduce((sum, file) => sum + lstatSync(file).size, 0) };
}

/** Bytes that may still be written where this path is, or would be. */
export function freeBytes(path) {
  if (!existsSync(path)) return path === "/" ? 0 : freeBytes(join(path, ".."));
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

/** Everything below comes into the page cache, so that nobody pays for being first. */
export async function warm(path) {
  await run("sh", ["-c", 'find "$1" -type f -print0 | xargs -0 -r cat > /dev/null', "sh", path]);
}

/** What was written before reaches the disk before, and not while, the next thing is measured. */
export const settle = () => run("sync", []);

/** The middle value; of an even number the mean of the two in the middle; undefined of none. */
export function median(numbers) {
  const sorted = numbers.filter((one) => one !== undefined && !Number.isNaN(one)).toSorted((a, b) => a - b);
  if (sorted.length === 0) return undefined;
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
