import { lstatSync } from "node:fs";
import { resolve } from "node:path";
import {
  formatWall,
  pathText,
  type Config,
  type Holdfast,
  type SnapshotEntry,
  type SnapshotInfo,
  type SnapshotRow,
} from "../../index.ts";
import type { Context } from "../context.ts";
import { coverageOf, pathsBelow, type Coverage } from "../coverage.ts";
import { iso, plural, safe, shortId, size } from "../format.ts";
import { warnOfUnavailable } from "./snapshots.ts";

/** Newest copies that are shown, and snapshots that are asked for them. */
const COPIES = 5;
const ASKED = 50;

interface Copy {
  readonly info: SnapshotInfo;
  readonly targets: readonly string[];
  readonly entry: SnapshotEntry;
}

interface Proof {
  readonly target: string;
  readonly job: string;
  readonly timeMs: number;
  readonly ok: boolean;
}

export async function explain(context: Context, text: string): Promise<void> {
  const path = resolve(context.shell.cwd, text);
  await using opened = await context.open();
  const { holdfast } = opened;
  const { config } = holdfast;
  const coverage = coverageOf(config, path);
  const listing = await listOrNothing(context, holdfast);
  const copies = await copiesOf(context, holdfast, listing?.snapshots ?? [], path);
  const proofs = await proofsOf(
    context,
    holdfast,
    new Set([...coverage.flatMap(({ jobs }) => jobs.map(({ name }) => name)), ...copies.map(({ info }) => info.job)]),
  );
  if (context.json) {
    await context.printJson({
      path,
      exists: exists(path),
      coverage: coverage.map(({ source, jobs, excluded }) => ({
        source,
        jobs: jobs.map(({ name }) => name),
        protected: excluded === undefined && jobs.some(({ enabled }) => enabled),
        excluded: excluded ?? null,
      })),
      copies: copies.map(({ info, targets, entry }) => ({
        snapshot: info.id,
        time: iso(info.timeMs),
        job: info.job,
        source: info.source,
        targets,
        size: entry.entry.size,
        mtime: iso(mtimeOf(entry)),
      })),
      verified: proofs.map(({ timeMs, ...rest }) => ({ ...rest, time: iso(timeMs) })),
    });
    return;
  }
  const { timezone } = config.daemon;
  await context.print(`${safe(path)}${exists(path) ? "" : " (does not exist now)"}\n`);
  for (const one of coverage) await context.print(`  ${describeCoverage(one)}\n`);
  if (coverage.length === 0) await context.print(`  ${describeNoCoverage(config, path)}\n`);
  if (copies.length === 0) await context.print("  no snapshot holds it\n");
  else await context.print("  newest copies:\n");
  for (const { info, targets, entry } of copies)
    await context.print(
      `    ${shortId(info.id)}  ${formatWall(info.timeMs, timezone)}  ${entry.entry.type === "file" ? size(entry.entry.size) : entry.entry.type}, of ${formatWall(mtimeOf(entry), timezone)}  on ${targets.join(", ")}\n`,
    );
  if (copies[0] !== undefined)
    await context.print(
      `  to restore it: holdfast restore ${shortId(copies[0].info.id)}:${pathText(copies[0].entry.path)} --to DIR\n`,
    );
  for (const { target, job, timeMs, ok } of proofs)
    await context.print(
      `  job ${safe(job)} on target ${target} was last verified ${formatWall(timeMs, timezone)}: ${ok ? "good" : "DAMAGED"}\n`,
    );
  if (copies.length > 0 && proofs.length === 0)
    await context.print("  never verified: `holdfast verify` proves that it can be read\n");
  if (listing !== undefined) await warnOfUnavailable(context, listing);
}

function describeCoverage({ source, jobs, excluded }: Coverage): string {
  if (excluded !== undefined)
    return `NOT protected by source ${source}: ${safe(excluded.why)}${excluded.place === undefined ? "" : ` (${safe(excluded.place)})`}`;
  const active = jobs.filter(({ enabled }) => enabled);
  if (jobs.length === 0) return `NOT protected: source ${source} holds it, but no job backs that source up`;
  if (active.length === 0)
    return `NOT protected: source ${source} holds it, but its ${jobs.length === 1 ? "job" : "jobs"} ${jobs.map(({ name }) => name).join(", ")} ${jobs.length === 1 ? "is" : "are"} not enabled`;
  return active
    .map(
      ({ name, targets }) =>
        `protected by job ${name} (source ${source}), on ${targets.map(({ target }) => target.name).join(", ")}`,
    )
    .join("\n  ");
}

function describeNoCoverage(config: Config, path: string): string {
  const below = pathsBelow(config, path);
  if (below.length === 0) return "NOT protected: no source holds it";
  return `NOT protected as a whole; only what is in ${plural(below.length, "path")} below it: ${below.map((one) => `${safe(one.path)} (source ${one.source})`).join(", ")}`;
}

async function listOrNothing(
  context: Context,
  holdfast: Holdfast,
): Promise<Awaited<ReturnType<Holdfast["snapshots"]>> | undefined> {
  try {
    return await holdfast.snapshots({}, context.signal);
  } catch (error) {
    // Which rule covers a path can be told without any target.
    context.signal.throwIfAborted();
    await context.warn(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

async function copiesOf(context: Context, holdfast: Holdfast, rows: readonly SnapshotRow[], path: string): Promise<Copy[]> {
  const copies: Copy[] = [];
  const own = rows.filter(({ info }) => info.host === holdfast.config.host && info.sourceType === "files");
  for (const { info, targets } of own.toReversed().slice(0, ASKED)) {
    if (copies.length === COPIES) break;
    const store = await holdfast.session.store(targets[0] as string);
    const entry = await store.lookup(info, Buffer.from(path), context.signal);
    if (entry !== undefined) copies.push({ info, targets, entry });
  }
  return copies;
}

async function proofsOf(context: Context, holdfast: Holdfast, jobs: ReadonlySet<string>): Promise<Proof[]> {
  const proofs: Proof[] = [];
  const { open } = await holdfast.session.stores();
  for (const store of open)
    for (const [job, { timeMs, ok }] of (await store.observations(context.signal)).verifications)
      if (jobs.has(job)) proofs.push({ target: store.name, job, timeMs, ok });
  return proofs;
}

const mtimeOf = ({ entry }: SnapshotEntry): number => Number(entry.meta.mtimeNs / 1_000_000n);

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
