import type { DatabaseSync, SQLInputValue, SQLOutputValue } from "node:sqlite";
import type { RunStatus } from "../base/events.ts";
import type { RunId } from "../base/ids.ts";
import type { HookConfig, HooksConfig } from "../config/config.ts";
import { processIdentity, type ProcessIdentity } from "./process-identity.ts";

/** A hook as it is run: what was declared when it was promised, whatever the configuration says later. */
export interface PromisedHook extends HookConfig {
  /** Where it stands: `sources.app.hooks.after[0]`. */
  readonly name: string;
  readonly kind: keyof HooksConfig;
  /** Working folder, absolute: that of the configuration. */
  readonly cwd: string;
  /** Path of what it removes: it is owed for as long as this is there, and not any more when it is gone. */
  readonly removes?: string | undefined;
}

/** A hook that must run once what it belongs to is over. */
export interface OwedHook {
  readonly id: number;
  readonly run: RunId;
  readonly job: string;
  /** Undefined: a hook of the job. */
  readonly source: string | undefined;
  readonly hook: PromisedHook;
  /** How the run ended: `interrupted` after a kill. */
  readonly status: RunStatus;
  /** The hook of the same run and source that was started last and not seen to end. */
  readonly running: ProcessIdentity | undefined;
}

type Row = Record<string, SQLOutputValue>;

/**
 * The `after` hooks that runs owe. A hook is written here before what makes it necessary begins, and taken away when it has run. When
 * its run is no longer open it belongs to whoever claims it first. Every call is on disk when it returns.
 */
export class OwedHooks {
  readonly #database: DatabaseSync;
  readonly #guard: <T>(work: () => T) => T;

  constructor(database: DatabaseSync, guard: <T>(work: () => T) => T) {
    this.#database = database;
    this.#guard = guard;
  }

  /** Writes down what a run of this process owes from now on, all or nothing; returns their ids in order. */
  owe(run: RunId, job: string, source: string | undefined, hooks: readonly PromisedHook[]): number[] {
    return this.#transaction(() =>
      hooks.map((hook) => {
        const sql = "INSERT INTO owed_hooks (run, job, source, hook) VALUES (?, ?, ?, ?)";
        return Number(this.#run(sql, [run, job, source ?? null, JSON.stringify(hook)]).lastInsertRowid);
      }),
    );
  }

  /** The hook has run. */
  settle(id: number): void {
    this.#guard(() => this.#run("DELETE FROM owed_hooks WHERE id = ?", [id]));
  }

  /** Notes which hook of a run and source is under way, or that none is. Does nothing where nothing is owed. */
  setRunning(run: RunId, source: string | undefined, running: ProcessIdentity | undefined): void {
    this.#guard(() =>
      this.#run("UPDATE owed_hooks SET running = ? WHERE run = ? AND source IS ?", [
        running === undefined ? null : JSON.stringify(running),
        run,
        source ?? null,
      ]),
    );
  }

  /**
   * Takes on what runs that are over still owe, of one job or of all: the oldest run first, its sources before the job itself. What
   * somebody else (or another part of this process) has taken on is left out; `left` counts it.
   */
  claim(job: string | undefined): { readonly claimed: OwedHook[]; readonly left: number } {
    const due = (): Row[] =>
      this.#database
        .prepare(
          `SELECT owed_hooks.*, runs.status FROM owed_hooks JOIN runs ON runs.id = owed_hooks.run
           WHERE runs.ended_ms IS NOT NULL AND (?1 IS NULL OR job = ?1)
           ORDER BY runs.started_ms, runs.rowid, source IS NULL, owed_hooks.id`,
        )
        .all(job ?? null);
    // Mostly there is nothing, and nobody has to wait for a lock.
    if (this.#guard(due).length === 0) return { claimed: [], left: 0 };
    const me = JSON.stringify(processIdentity());
    return this.#transaction(() => {
      const rows = due();
      const free = rows.filter((row) => row["claimed_by"] === null);
      for (const row of free) this.#run("UPDATE owed_hooks SET claimed_by = ? WHERE id = ?", [me, Number(row["id"])]);
      return { claimed: free.map(toOwedHook), left: rows.length - free.length };
    });
  }

  /** Gives back what was claimed and did not run. */
  unclaim(ids: readonly number[]): void {
    this.#transaction(() => {
      for (const id of ids) this.#run("UPDATE owed_hooks SET claimed_by = NULL WHERE id = ?", [id]);
    });
  }

  /** Frees what processes had claimed that are gone. */
  free(isGone: (owner: ProcessIdentity) => boolean): void {
    this.#guard(() => {
      const rows: Row[] = this.#database.prepare("SELECT DISTINCT claimed_by FROM owed_hooks WHERE claimed_by IS NOT NULL").all();
      for (const row of rows) {
        const owner = toIdentity(row["claimed_by"]);
        if (owner === undefined || isGone(owner))
          this.#run("UPDATE owed_hooks SET claimed_by = NULL WHERE claimed_by = ?", [String(row["claimed_by"])]);
      }
    });
  }

  #run(sql: string, values: readonly SQLInputValue[]): { readonly lastInsertRowid: number | bigint } {
    return this.#database.prepare(sql).run(...values);
  }

  #transaction<T>(work: () => T): T {
    return this.#guard(() => {
      this.#database.exec("BEGIN IMMEDIATE");
      try {
        const result = work();
        this.#database.exec("COMMIT");
        return result;
      } catch (error) {
        if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
        throw error;
      }
    });
  }
}

function toOwedHook(row: Row): OwedHook {
  return {
    id: Number(row["id"]),
    run: String(row["run"]) as RunId,
    job: String(row["job"]),
    source: row["source"] === null ? undefined : String(row["source"]),
    hook: JSON.parse(String(row["hook"])) as PromisedHook,
    status: String(row["status"]) as RunStatus,
    running: toIdentity(row["running"]),
  };
}

function toIdentity(value: SQLOutputValue | undefined): ProcessIdentity | undefined {
  return typeof value === "string" ? (JSON.parse(value) as ProcessIdentity) : undefined;
}
