/** How backups went over time, from the history alone. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { RunStatus } from "../base/events.ts";
import { formatWall, fromWall, toWall, wallParts } from "../plan/zone.ts";
import type { RunFacts } from "../state/run-facts.ts";
import type { State } from "../state/state.ts";
import { iso } from "./documents.ts";

const DAY_MS = 86_400_000;
/** Runs that are looked at, the newest; and in one turn of the event loop. */
const MAX_RUNS = 20_000;
const RUNS_A_TURN = 500;

export type Bucket = "day" | "week" | "month";

export interface AnalyticsQuery {
  readonly job?: string | undefined;
  readonly sinceMs: number;
  readonly untilMs: number;
  readonly bucket: Bucket;
  readonly timezone: string;
}

type Document = Record<string, unknown>;

/** Rates, durations, sizes and growth: of each job, and of each of its days, weeks (from Monday) or months in the zone. */
export async function analyse(state: State, query: AnalyticsQuery): Promise<Document> {
  const runs: RunFacts[] = [];
  let isMore = true;
  while (isMore && runs.length < MAX_RUNS) {
    const page = state.runFacts({ ...query, limit: RUNS_A_TURN, offset: runs.length });
    runs.push(...page);
    isMore = page.length === RUNS_A_TURN;
    await nextTurn();
  }
  const jobs: Document[] = [];
  for (const [job, own] of [...Map.groupBy(runs, (run) => run.job)].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const oldestFirst = own.toReversed();
    const series = [...Map.groupBy(oldestFirst, ({ startedMs }) => bucketOf(startedMs, query))].map(([start, some]) => ({
      start,
      ...summary(some),
    }));
    jobs.push({ job, ...summary(oldestFirst), growthBytesPerDay: growthOf(oldestFirst), series });
    await nextTurn();
  }
  return {
    since: iso(query.sinceMs),
    until: iso(query.untilMs),
    bucket: query.bucket,
    timezone: query.timezone,
    runs: runs.length,
    cut: isMore && runs.length >= MAX_RUNS ? "limit" : null,
    all: summary(runs.toReversed()),
    jobs,
  };
}

/** Of runs, the oldest first. Rates leave out what never began and what somebody cancelled. */
function summary(runs: readonly RunFacts[]): Document {
  const count = (status: RunStatus): number => runs.filter((run) => run.status === status).length;
  const [success, partial, failed, interrupted] = [count("success"), count("partial"), count("failed"), count("interrupted")];
  const judged = success + partial + failed + interrupted;
  const durations = runs
    .filter(({ status }) => status === "success" || status === "partial")
    .map(({ startedMs, endedMs }) => endedMs - startedMs)
    .toSorted((a, b) => a - b);
  const newBytes = sum(runs, "newBytes");
  const storedBytes = sum(runs, "storedBytes");
  return {
    runs: runs.length,
    success,
    partial,
    failed,
    interrupted,
    cancelled: count("cancelled"),
    skipped: count("skipped"),
    successRate: judged === 0 ? null : Math.round((success / judged) * 10_000) / 10_000,
    durationMs: durations.length === 0 ? null : { median: at(durations, 0.5), p95: at(durations, 0.95), max: durations.at(-1) },
    sourceBytes: runs.findLast(({ sourceBytes }) => sourceBytes !== undefined)?.sourceBytes ?? null,
    newBytes,
    storedBytes,
    ratio: storedBytes === 0 ? null : Math.round((newBytes / storedBytes) * 100) / 100,
  };
}

function sum(runs: readonly RunFacts[], key: "newBytes" | "storedBytes"): number {
  return runs.reduce((total, run) => total + (run[key] ?? 0), 0);
}

/** The value that so large a part of them does not exceed. */
function at(sorted: readonly number[], part: number): number | undefined {
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)];
}

/** From the first to the last that was whole; null below a day between them. */
function growthOf(runs: readonly RunFacts[]): number | null {
  const whole = runs.filter(({ status, sourceBytes }) => status === "success" && sourceBytes !== undefined);
  const [first, last] = [whole[0], whole.at(-1)];
  const days = ((last?.startedMs ?? 0) - (first?.startedMs ?? 0)) / DAY_MS;
  return days < 1 ? null : Math.round(((last?.sourceBytes ?? 0) - (first?.sourceBytes ?? 0)) / days);
}

/** `2026-11-20`: the first day of the bucket. */
function bucketOf(timeMs: number, { bucket, timezone }: AnalyticsQuery): string {
  const wall = toWall(timeMs, timezone);
  if (bucket === "month") return `${formatWall(timeMs, timezone).slice(0, 7)}-01`;
  const { weekday } = wallParts(wall);
  const back = bucket === "week" ? ((weekday + 6) % 7) * DAY_MS : 0;
  return formatWall(fromWall(wall - back, timezone), timezone).slice(0, 10);
}
