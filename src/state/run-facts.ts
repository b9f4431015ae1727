import type { DatabaseSync, SQLInputValue } from "node:sqlite";
import type { RunStatus } from "../base/events.ts";

export interface RunFactsQuery {
  /** Default: all jobs. */
  readonly job?: string | undefined;
  /** Started at or after, and before (ms). */
  readonly sinceMs: number;
  readonly untilMs: number;
  readonly limit: number;
  /** Of the newest, so many are left out. */
  readonly offset: number;
}

/** What counts of a backup that has ended. */
export interface RunFacts {
  readonly job: string;
  readonly startedMs: number;
  readonly endedMs: number;
  readonly status: RunStatus;
  /** Bytes of the sources, raw bytes that were new, and bytes that were stored, on the first target of each; undefined where nothing was taken. */
  readonly sourceBytes: number | undefined;
  readonly newBytes: number | undefined;
  readonly storedBytes: number | undefined;
}

interface Statistics {
  readonly sources?: readonly {
    readonly snapshots?: readonly { readonly sourceBytes?: number; readonly newBytes?: number; readonly storedBytes?: number }[];
  }[];
}

/** Backups that have ended, the newest first, a page at a time. */
export function readRunFacts(database: DatabaseSync, query: RunFactsQuery): RunFacts[] {
  const values: SQLInputValue[] = [query.sinceMs, query.untilMs, ...(query.job === undefined ? [] : [query.job])];
  const rows = database
    .prepare(
      `SELECT subject, started_ms, ended_ms, status, statistics FROM runs
       WHERE kind = 'backup' AND ended_ms IS NOT NULL AND started_ms >= ? AND started_ms < ?
         ${query.job === undefined ? "" : "AND subject = ?"}
       ORDER BY started_ms DESC, rowid DESC LIMIT ? OFFSET ?`,
    )
    .all(...values, query.limit, query.offset);
  return rows.map((row) => ({
    job: String(row["subject"]),
    startedMs: Number(row["started_ms"]),
    endedMs: Number(row["ended_ms"]),
    status: String(row["status"]) as RunStatus,
    ...sizesOf(row["statistics"]),
  }));
}

/** What another version wrote, or nobody, counts as nothing. */
function sizesOf(text: unknown): Pick<RunFacts, "sourceBytes" | "newBytes" | "storedBytes"> {
  let statistics: Statistics | null = null;
  try {
    statistics = typeof text === "string" ? (JSON.parse(text) as Statistics | null) : null;
  } catch {
    statistics = null;
  }
  const sources = Array.isArray(statistics?.sources) ? statistics.sources : [];
  const taken = sources.flatMap(({ snapshots }) => (Array.isArray(snapshots) ? snapshots.slice(0, 1) : []));
  const sum = (key: "sourceBytes" | "newBytes" | "storedBytes"): number | undefined =>
    taken.length === 0 ? undefined : taken.reduce((total, one) => total + (Number(one[key]) || 0), 0);
  return { sourceBytes: sum("sourceBytes"), newBytes: sum("newBytes"), storedBytes: sum("storedBytes") };
}
