/**
 * A daemon under edits: jobs by the second, and a configuration that changes all the time, validly and not. Afterwards every
 * slot of every job must have been run or skipped on record, once, for as long as the job was declared.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { createWriteStream, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { join, resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import { openState, type RunRecord } from "../../src/state/state.ts";

const PROGRAM = resolve("bin/holdfast");
/** Around an edit it is not known to the millisecond which configuration a slot met. */
const MARGIN_MS = 1500;

export interface SoakOptions {
  readonly folder: string;
  readonly jobs: number;
  readonly seconds: number;
  readonly edits: number;
  readonly seed: number;
  readonly log?: (line: string) => void;
}

export interface SoakResult {
  readonly runs: Readonly<Record<string, number>>;
  readonly slots: { readonly expected: number; readonly run: number; readonly skipped: number };
  readonly edits: Readonly<Record<string, number>>;
  /** `job time` of slots that were neither run nor skipped, and of those that ran twice. */
  readonly lost: readonly string[];
  readonly doubled: readonly string[];
  readonly failed: readonly string[];
  /** Of the daemon: resident memory in MB, mappings, and threads. */
  readonly memory: Tenths;
  readonly mappings: Tenths;
  readonly threads: Tenths;
  readonly exitCode: number | null;
}

/** Of each tenth of the time. The least is what is always there: runs that meet at a moment have more for that moment. */
export interface Tenths {
  readonly least: readonly number[];
  readonly median: readonly number[];
}

/** A job as it was declared from one moment to another. */
interface Declared {
  readonly job: string;
  readonly everyMs: number;
  readonly fromMs: number;
  toMs: number;
}

export async function soak(options: SoakOptions): Promise<SoakResult> {
  const { folder, jobs, seconds, edits, log = () => undefined } = options;
  const random = sequence(options.seed);
  const file = join(folder, "holdfast.yaml");
  const declared = new Map<string, number>();
  for (let n = 0; n < jobs; n++) {
    mkdirSync(join(folder, `data${n}`), { recursive: true });
    writeFileSync(join(folder, `data${n}`, "file"), `content of ${n}`);
    declared.set(`job${n}`, 1000 * (1 + (n % 5)));
  }
  const publish = (text: string): void => {
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  };
  publish(configuration(declared, jobs, 0));
  const output = join(folder, "daemon.log");
  const daemon = spawn(PROGRAM, ["daemon", "-c", file], { stdio: ["ignore", "ignore", "pipe"], cwd: folder });
  daemon.stderr.pipe(createWriteStream(output));
  const ended = once(daemon, "exit") as Promise<[number | null]>;
  const says = async (text: string, times: number): Promise<void> => {
    const until = Date.now() + 60_000;
    while (readFileSync(output, "utf8").split(text).length - 1 <= times) {
      if (Date.now() > until || daemon.exitCode !== null) throw new Error(`the daemon did not say ${text} ${times} times`);
      await setTimeout(20);
    }
  };
  const periods: Declared[] = [];
  const begin = (atMs: number): void => {
    for (const [job, everyMs] of declared) periods.push({ job, everyMs, fromMs: atMs, toMs: Number.POSITIVE_INFINITY });
  };
  const seen: Seen = { memory: [], mappings: [], threads: [] };
  const made: Record<string, number> = { invalid: 0, removed: 0, added: 0, "interval changed": 0, "description changed": 0 };
  let reloads = 0;
  let refusals = 0;
  try {
    while (!(await exists(output))) await setTimeout(20);
    await says("started", 0);
    begin(Date.now());
    const startedMs = Date.now();
    for (let edit = 1; edit <= edits; edit++) {
      await rest(startedMs + (edit * seconds * 1000) / (edits + 1), daemon, seen);
      const before = Date.now();
      if (edit % 10 < 3) {
        publish(`${configuration(declared, jobs, edit)}jbos: {}\n`);
        made["invalid"] = (made["invalid"] as number) + 1;
        await says("the one before stays in force", refusals++);
        log(`${edit}: invalid`);
        continue;
      }
      const names = [...declared.keys()];
      const name = names[Math.floor(random() * names.length)] as string;
      const missing = Array.from({ length: jobs }, (_, n) => `job${n}`).filter((job) => !declared.has(job));
      let kind = "description changed";
      if (edit % 10 === 3 && missing[0] !== undefined) {
        declared.set(missing[0], 1000 * (1 + Math.floor(random() * 5)));
        kind = "added";
      } else if (edit % 10 === 7 && declared.size > 1) {
        declared.delete(name);
        kind = "removed";
      } else if (edit % 2 === 0) {
        declared.set(name, 1000 * (1 + Math.floor(random() * 5)));
        kind = "interval changed";
      }
      made[kind] = (made[kind] as number) + 1;
      publish(configuration(declared, jobs, edit));
      await says("configuration reloaded", reloads++);
      for (const period of periods) period.toMs = Math.min(period.toMs, before);
      begin(Date.now());
      log(`${edit}: ${kind}, ${Date.now() - before} ms`);
    }
    await rest(startedMs + seconds * 1000, daemon, seen);
    for (const period of periods) period.toMs = Math.min(period.toMs, Date.now());
  } finally {
    daemon.kill("SIGTERM");
  }
  const [exitCode] = await ended;
  return {
    ...account(folder, periods),
    edits: made,
    memory: tenths(seen.memory),
    mappings: tenths(seen.mappings),
    threads: tenths(seen.threads),
    exitCode,
  };
}

function account(
  folder: string,
  periods: readonly Declared[],
): Pick<SoakResult, "runs" | "slots" | "lost" | "doubled" | "failed"> {
  using state = openState(join(folder, "state"));
  const records = state.runs({ limit: 1_000_000 });
  const backups = records.filter(({ kind }) => kind === "backup");
  const count: Record<string, number> = {};
  for (const { kind, status } of records) count[`${kind} ${status}`] = (count[`${kind} ${status}`] ?? 0) + 1;
  const ran = new Map<string, number>();
  const skips = new Map<string, number[]>();
  for (const run of backups) {
    if (run.status === "skipped") skips.set(run.subject, [...(skips.get(run.subject) ?? []), run.startedMs]);
    const slot = slotOf(run);
    if (slot !== undefined) ran.set(`${run.subject} ${slot}`, (ran.get(`${run.subject} ${slot}`) ?? 0) + 1);
  }
  const lost: string[] = [];
  let expected = 0;
  let skipped = 0;
  for (const { job, everyMs, fromMs, toMs } of periods)
    for (let slotMs = Math.ceil((fromMs + MARGIN_MS) / everyMs) * everyMs; slotMs < toMs - MARGIN_MS; slotMs += everyMs) {
      expected++;
      if (ran.has(`${job} ${slotMs}`)) continue;
      // What passed while the scheduler looked away is one slot, the newest.
      if (skips.get(job)?.some((time) => time >= slotMs && time < slotMs + everyMs + MARGIN_MS) === true) skipped++;
      else lost.push(`${job} ${new Date(slotMs).toISOString()}`);
    }
  return {
    runs: count,
    slots: { expected, run: ran.size, skipped },
    lost,
    doubled: [...ran].filter(([, times]) => times > 1).map(([slot]) => slot),
    failed: records
      .filter(({ status }) => status === "failed" || status === "interrupted")
      .map(({ kind, subject, error }) => `${kind} of ${subject}: ${error?.message}`),
  };
}

/** The slot that a run's reason names, in UTC. */
function slotOf({ reason = "" }: RunRecord): number | undefined {
  const [, day, minute, second = ":00"] = /slot of (\S+) (\d\d:\d\d)(:\d\d)?/.exec(reason) ?? [];
  return day === undefined ? undefined : Date.parse(`${day}T${minute}${second}Z`);
}

function configuration(declared: ReadonlyMap<string, number>, all: number, edit: number): string {
  const each = (line: (n: number) => string): string => Array.from({ length: all }, (_, n) => line(n)).join("\n");
  return `version: 1
host: soak
daemon: { stateDir: ./state, cacheDir: ./cache, timezone: UTC, maxConcurrentJobs: 4 }
encryption: { main: { keyFile: ./key, generate: true } }
sources:
${each((n) => `  data${n}: { type: files, paths: [./data${n}] }`)}
targets:
${each((n) => `  disk${n}: { type: local, path: ./repository${n}, encryption: main }`)}
retention: { few: { keepLast: 5 } }
maintenance: { schedule: { every: 30s } }
jobs:
${[...declared]
  .map(([job, everyMs]) => {
    const n = job.slice(3);
    return `  ${job}: { description: "after edit ${edit}", sources: [data${n}], targets: [disk${n}], retention: few, schedule: { every: ${everyMs / 1000}s, catchUp: true } }`;
  })
  .join("\n")}
`;
}

interface Seen {
  readonly memory: number[];
  readonly mappings: number[];
  readonly threads: number[];
}

/** Waits until `untilMs`, and looks at the daemon's memory now and then. */
async function rest(untilMs: number, daemon: ChildProcess, seen: Seen): Promise<void> {
  while (Date.now() < untilMs) {
    await setTimeout(Math.min(500, Math.max(1, untilMs - Date.now())));
    const folder = `/proc/${daemon.pid}`;
    seen.memory.push((Number(readFileSync(`${folder}/statm`, "utf8").split(" ")[1]) * 4096) / 1e6);
    seen.mappings.push(readFileSync(`${folder}/maps`, "utf8").split("\n").length - 1);
    seen.threads.push(readdirSync(`${folder}/task`).length);
  }
}

function tenths(values: readonly number[]): Tenths {
  const parts = Array.from({ length: 10 }, (_, tenth) =>
    values
      .slice(Math.floor((values.length * tenth) / 10), Math.floor((values.length * (tenth + 1)) / 10))
      .toSorted((a, b) => a - b)
      .map(Math.round),
  );
  return { least: parts.map((part) => part[0] ?? 0), median: parts.map((part) => part[Math.floor(part.length / 2)] ?? 0) };
}

async function exists(path: string): Promise<boolean> {
  try {
    readFileSync(path);
    return true;
  } catch {
    return false;
  }
}

/** Numbers from 0 to 1, the same for each seed. */
function sequence(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
