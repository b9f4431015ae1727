import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from "node:sqlite";
import type { RunKind, RunStatus } from "../base/events.ts";

/** How often runs of a kind ended in a status, ever. */
export interface RunCount {
  readonly kind: RunKind;
  /** The job, also of a restore; the target of a prune or repair; the targets of a verification of no job. */
  readonly subject: string;
  readonly status: RunStatus;
  readonly runs: number;
}

export interface DoneRun {
  readonly startedMs: number;
  readonly endedMs: number;
  /** Whatever the engine counted; undefined when it cannot be read. */
  readonly statistics: unknown;
}

type Row = Record<string, SQLOutputValue>;

/** Figures over the runs of a state, for whoever asks often: statements are prepared once. */
export class RunFigures {
  readonly #database: DatabaseSync;
  readonly #guard: <T>(work: () => T) => T;
  readonly #statements = new Map<string, StatementSync>();

  /** Use `State.runFigures`. `guard` turns what SQLite throws into the errors of the state. */
  constructor(database: DatabaseSync, guard: <T>(work: () => T) => T) {
    this.#database = database;
    this.#guard = guard;
  }

  /** Never goes down, but for a state that was lost: runs that are forgotten stay counted. */
  counts(): RunCount[] {
    return this.#all("SELECT kind, subject, status, runs FROM run_counts").map((row) => ({
      kind: String(row["kind"]) as RunKind,
      subject: String(row["subject"]),
      status: String(row["status"]) as RunStatus,
      runs: Number(row["runs"]),
    }));
  }

  /** The newest run of a kind, of any of these subjects, that ended as `success` or `partial`. */
  lastDone(kind: RunKind, subjects: readonly string[]): DoneRun | undefined {
    const marks = subjects.map(() => "?").join(", ");
    const [row] = this.#all(
      `SELECT started_ms, ended_ms, statistics FROM runs
       WHERE kind = ? AND subject IN (${marks}) AND status IN ('success', 'partial') ORDER BY started_ms DESC, rowid DESC LIMIT 1`,
      kind,
      ...subjects,
    );
    if (row === undefined) return undefined;
    let statistics: unknown;
    try {
      statistics = row["statistics"] === null ? undefined : JSON.parse(String(row["statistics"]));
    } catch {
      statistics = undefined;
    }
    return { startedMs: Number(row["started_ms"]), endedMs: Number(row["ended_ms"]), statistics };
  }

  #all(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#guard(() => {
      let statement = this.#statements.get(sql);
      if (statement === undefined) this.#statements.set(sql, (statement = this.#database.prepare(sql)));
      return statement.all(...values);
    });
  }
}
