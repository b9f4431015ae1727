/**
 * The state store: what happened, and what was seen. One SQLite file, shared by the daemon and the command line beside it.
 * Everything in it may be deleted at any time: no restore needs it, and a plan finds what is due without it.
 * Above 500 lines: the statements of runs and what belongs to them stand here; the outbox and owed hooks have files of their own.
 */
import { chmodSync, existsSync, mkdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { SQLInputValue, SQLOutputValue, StatementSync } from "node:sqlite";
import { errnoOf, HoldfastError } from "../base/errors.ts";
import type { ErrorWire } from "../base/errors.ts";
import type { RunKind, RunStatus } from "../base/events.ts";
import type { RepositoryId, RunId } from "../base/ids.ts";
import type { StoredEvent } from "../plan/events.ts";
import type { JobMode } from "../config/config.ts";
import type { AcceptedTarget } from "../plan/observed.ts";
import { Audit } from "./audit.ts";
import { Outbox } from "./outbox.ts";
import { OwedHooks } from "./owed-hooks.ts";
import { RunFigures } from "./run-figures.ts";
import { isRegardedAsDead, processIdentity } from "./process-identity.ts";
import type { ProcessIdentity } from "./process-identity.ts";
import { readRunFacts, type RunFacts, type RunFactsQuery } from "./run-facts.ts";
import { migrate, schemaVersion, SCHEMA_VERSION } from "./schema.ts";

const FILE = "state.db";
const BUSY_TIMEOUT_MS = 10_000;
/** A whole check reads the whole file: above this only the first use of a damaged page tells. */
const CHECKED_BYTES = 64 * 2 ** 20;

export type LogLevel = "debug" | "info" | "warn" | "error";

export interface RunRecord {
  readonly id: RunId;
  readonly kind: RunKind;
  /** The job, or the target of a prune. */
  readonly subject: string;
  readonly startedMs: number;
  /** Undefined while it runs. */
  readonly endedMs: number | undefined;
  readonly status: RunStatus | undefined;
  /** Why it ran or was skipped, for people. */
  readonly reason: string | undefined;
  /** The targets it was for; undefined: all. */
  readonly targets: readonly string[] | undefined;
  readonly error: ErrorWire | undefined;
  /** Whatever the engine counted. */
  readonly statistics: Readonly<Record<string, unknown>> | undefined;
}

export interface RunQuery {
  /** Newest this many; default 100. */
  readonly limit?: number;
  /** Matches the subject of any kind of run. */
  readonly job?: string;
  readonly kind?: RunKind;
  readonly status?: RunStatus;
  /** Started at or after (ms). */
  readonly since?: number;
  /** Started before (ms). */
  readonly until?: number;
  /** Only what comes after this run in the order of the answer. */
  readonly after?: Pick<RunRecord, "id" | "startedMs">;
}

export interface LogRecord {
  readonly run: RunId;
  readonly timeMs: number;
  readonly level: LogLevel;
  readonly text: string;
}

export interface LogQuery {
  readonly since?: number;
  readonly until?: number;
  readonly grep?: RegExp;
  /** Only these. */
  readonly levels?: readonly LogLevel[];
  /** Newest this many; default 10,000. */
  readonly limit?: number;
}

/** What a target held when it was last used: it must not come back empty, other or older unnoticed. */
export interface Pin {
  readonly target: string;
  /** `locationOf(target)`: a pin belongs to a place, so that moving a target pins anew. */
  readonly location: string;
  readonly repository: RepositoryId;
  /** Fingerprint of the keyring. */
  readonly keyring: string;
  /** Generation of the keyring; must not go back. */
  readonly generation: number;
}

export interface AcceptedConfig {
  readonly digest: string;
  readonly timeMs: number;
  /** The text before interpolation: no secret that the file does not itself contain. */
  readonly text: string;
  readonly targets: readonly AcceptedTarget[];
}

export interface PendingApproval {
  readonly plan: string;
  readonly sinceMs: number;
  /** The rendered plan. */
  readonly text: string;
}

/** A run of a job that someone asked the daemon for, and that has not begun. */
export interface RunRequestRecord {
  readonly job: string;
  /** Undefined: the job's own. */
  readonly mode: JobMode | undefined;
  readonly askedMs: number;
}

export interface StateOptions {
  /** Told when a damaged database was moved aside: loudly, because history is lost. */
  readonly onWarning?: (message: string) => void;
  /** Used for the name of a database moved aside, and the end of interrupted runs. Default: the machine's clock. */
  readonly now?: () => number;
  /**
   * The caller is the only daemon of this folder. Unfinished runs of processes it can prove nothing about (an earlier container, a
   * system without `/proc`) are then interrupted too, unless they are its own.
   */
  readonly soleOwner?: boolean;
}

/**
 * Opens the state in `directory`, which is made with mode 0700. Runs whose process is provably dead become `interrupted`. A damaged
 * database is moved aside as `state.db.damaged-TIME`, with a warning, and begun anew. Throws `state_unusable` when the folder
 * cannot be written or a newer version made the database, `state_busy` when another process holds it for 10 s.
 */
export function openState(directory: string, options: StateOptions = {}): State {
  const now = options.now ?? Date.now;
  const path = join(directory, FILE);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw unusable(directory, error);
  }
  let database: DatabaseSync;
  try {
    database = openDatabase(path);
  } catch (error) {
    if (!isDamage(error)) throw unusable(directory, error);
    const aside = `${path}.damaged-${new Date(now()).toISOString().replaceAll(":", "")}`;
    try {
      for (const suffix of ["", "-wal", "-shm"]) if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
      database = openDatabase(path);
    } catch (second) {
      throw unusable(directory, second);
    }
    options.onWarning?.(
      `The state database was damaged and has been moved to ${aside}. Run history, pins and pauses begin anew; snapshots are not affected.`,
    );
  }
  const state = new State(database, directory);
  state.interruptDead(now(), options.soleOwner);
  return state;
}

function openDatabase(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS, enableForeignKeyConstraints: true });
  try {
    database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
    if (statSync(path).size <= CHECKED_BYTES) {
      const [row] = database.prepare("PRAGMA quick_check(1)").all();
      if (row?.["quick_check"] !== "ok") throw new DamagedState(String(row?.["quick_check"]));
    }
    const version = schemaVersion(database);
    if (version > SCHEMA_VERSION)
      throw new HoldfastError(
        "state_unusable",
        `The state database ${path} has version ${version}; this program knows ${SCHEMA_VERSION}`,
        {
          hint: "Run the newer version again, or move the file away: no restore needs it.",
        },
      );
    migrate(database);
    if ((statSync(path).mode & 0o077) !== 0) chmodSync(path, 0o600);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

class DamagedState extends Error {}

const SQLITE_BUSY = 5;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

/** SQLite's primary result code of an error, or undefined. */
function resultCode(error: unknown): number | undefined {
  if (error instanceof Error && "errcode" in error && typeof error.errcode === "number") return error.errcode & 0xff;
  return undefined;
}

function isDamage(error: unknown): boolean {
  const code = resultCode(error);
  return error instanceof DamagedState || code === SQLITE_CORRUPT || code === SQLITE_NOTADB;
}

function unusable(directory: string, error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  if (resultCode(error) === SQLITE_BUSY)
    return new HoldfastError("state_busy", `The state in ${directory} is in use by another process`, {
      cause: error,
      transient: true,
      hint: "Try again when it has finished.",
    });
  const why = errnoOf(error) ?? (error instanceof Error ? error.message : String(error));
  return new HoldfastError("state_unusable", `The state folder ${directory} cannot be used: ${why}`, {
    cause: error,
    hint: "Make the folder writable for this user, free space on its disk, or set daemon.stateDir.",
  });
}

type Row = Record<string, SQLOutputValue>;

/** An open state store. Synchronous; a write is on disk when its call returns. */
export class State implements Disposable {
  readonly directory: string;
  /** Hooks that must still run. */
  readonly owedHooks: OwedHooks;
  /** Who is to be told of what. */
  readonly outbox: Outbox;
  /** What can be counted of runs. */
  readonly runFigures: RunFigures;
  /** Who changed what. */
  readonly audit: Audit;
  readonly #database: DatabaseSync;
  #revision: StatementSync | undefined;

  /** Use `openState`. */
  constructor(database: DatabaseSync, directory: string) {
    this.#database = database;
    this.directory = directory;
    this.owedHooks = new OwedHooks(database, (work) => this.#guard(work));
    this.outbox = new Outbox(database, (work) => this.#guard(work));
    this.runFigures = new RunFigures(database, (work) => this.#guard(work));
    this.audit = new Audit(database, (work) => this.#guard(work));
  }

  /** Records that this process began a run, and with it, all or nothing, the events that say so. */
  startRun(
    run: Pick<RunRecord, "id" | "kind" | "subject" | "startedMs"> & Partial<Pick<RunRecord, "reason" | "targets">>,
    events: readonly StoredEvent[] = [],
  ): void {
    this.#withEvents(events, () => {
      this.#insertRun({ ...run, endedMs: undefined, status: undefined });
      return true;
    });
  }

  /** Records a run that never began: skipped, or cancelled while it waited, and why. */
  skipRun(
    run: Pick<RunRecord, "id" | "kind" | "subject" | "reason"> & {
      readonly timeMs: number;
      readonly status?: "skipped" | "cancelled";
    },
  ): void {
    this.#insertRun({ ...run, startedMs: run.timeMs, endedMs: run.timeMs, status: run.status ?? "skipped" });
  }

  /**
   * Records how a run ended, and with it, all or nothing, the events that say so. The first end counts: a run that has one
   * keeps it, and nobody is told of another.
   */
  endRun(
    id: RunId,
    end: { readonly status: RunStatus; readonly endedMs: number } & Partial<Pick<RunRecord, "error" | "statistics">>,
    events: readonly StoredEvent[] = [],
  ): void {
    this.#withEvents(
      events,
      () =>
        this.#run("UPDATE runs SET ended_ms = ?, status = ?, error = ?, statistics = ? WHERE id = ? AND ended_ms IS NULL", [
          end.endedMs,
          end.status,
          json(end.error),
          json(end.statistics),
          id,
        ]) > 0,
    );
  }

  /** Stores an event that belongs to no run. */
  recordEvent(event: StoredEvent): void {
    this.#withEvents([event], () => true);
  }

  /** Runs that match, newest first. */
  runs(query: RunQuery = {}): RunRecord[] {
    const { where, values } = conditions([
      ["subject = ?", query.job],
      ["kind = ?", query.kind],
      ["status = ?", query.status],
      ["started_ms >= ?", query.since],
      ["started_ms < ?", query.until],
    ]);
    const { after } = query;
    // The run itself may have been forgotten meanwhile.
    const rest = "(started_ms < ? OR (started_ms = ? AND rowid < coalesce((SELECT rowid FROM runs WHERE id = ?), 0)))";
    const all = after === undefined ? where : `${where === "" ? "WHERE" : `${where} AND`} ${rest}`;
    return this.#all(`SELECT * FROM runs ${all} ORDER BY started_ms DESC, rowid DESC LIMIT ?`, [
      ...values,
      ...(after === undefined ? [] : [after.startedMs, after.startedMs, after.id]),
      query.limit ?? 100,
    ]).map(toRun);
  }

  /** Facts of backups that have ended, newest first. */
  runFacts(query: RunFactsQuery): RunFacts[] {
    return this.#guard(() => readRunFacts(this.#database, query));
  }

  /** Another one after every change of the database, by whomever: what was read of it under the same is still so. */
  get revision(): string {
    const row = this.#guard(() => {
      // Prepared once: whoever remembers answers asks for it with every question.
      this.#revision ??= this.#database.prepare("SELECT data_version AS others, total_changes() AS own FROM pragma_data_version");
      return this.#revision.get();
    });
    return `${Number(row?.["others"])}.${Number(row?.["own"])}`;
  }

  /** Runs without an end, oldest first: of this process, and of others that may still live. */
  openRuns(): RunRecord[] {
    return this.#all("SELECT * FROM runs WHERE ended_ms IS NULL ORDER BY started_ms, rowid").map(toRun);
  }

  /** The newest `limit` runs of a kind and subject that were not skipped. */
  attempts(kind: RunKind, subject: string, limit: number): RunRecord[] {
    return this.#all(
      "SELECT * FROM runs WHERE kind = ? AND subject = ? AND status IS NOT 'skipped' ORDER BY started_ms DESC, rowid DESC LIMIT ?",
      [kind, subject, limit],
    ).map(toRun);
  }

  /** The newest run of a kind that has ended and was not skipped, of any of these subjects. */
  lastRun(kind: RunKind, subjects: readonly string[]): RunRecord | undefined {
    const marks = subjects.map(() => "?").join(", ");
    const [row] = this.#all(
      `SELECT * FROM runs WHERE kind = ? AND subject IN (${marks}) AND ended_ms IS NOT NULL AND status <> 'skipped' ORDER BY started_ms DESC, rowid DESC LIMIT 1`,
      [kind, ...subjects],
    );
    return row && toRun(row);
  }

  /** One run by id or a unique prefix of it; undefined when none or several match. */
  run(id: string): RunRecord | undefined {
    const rows = this.#all("SELECT * FROM runs WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id = ?1 DESC LIMIT 2", [id]);
    const [first] = rows;
    return first && (rows.length === 1 || first["id"] === id) ? toRun(first) : undefined;
  }

  /**
   * Ends runs whose process is provably dead as `interrupted`, and frees owed hooks that it had taken on; returns the runs as they
   * were. `openState` does this first.
   */
  interruptDead(nowMs: number, soleOwner = false): RunRecord[] {
    const open = this.#all("SELECT * FROM runs WHERE ended_ms IS NULL");
    const isGone = (owner: ProcessIdentity): boolean => isRegardedAsDead(owner, soleOwner);
    const dead = open.filter((row) =>
      isGone({
        bootId: String(row["boot_id"]),
        pidNamespace: String(row["pid_namespace"]),
        pid: Number(row["pid"]),
        processStart: String(row["process_start"]),
      }),
    );
    this.owedHooks.free(isGone);
    for (const row of dead)
      this.endRun(String(row["id"]) as RunId, { status: "interrupted", endedMs: Math.max(nowMs, Number(row["started_ms"])) });
    return dead.map(toRun);
  }

  /** Appends to the log of a run; a run that was forgotten takes no more lines. */
  log(run: RunId, level: LogLevel, text: string, timeMs: number): void {
    this.#run("INSERT INTO run_logs (run, time_ms, level, text) SELECT id, ?, ?, ? FROM runs WHERE id = ?", [
      timeMs,
      level,
      text,
      run,
    ]);
  }

  /** Log lines of a run, or of all, oldest first. */
  logs(run: RunId | undefined, query: LogQuery = {}): LogRecord[] {
    const { where, values } = conditions([
      ["run = ?", run],
      ["time_ms >= ?", query.since],
      ["time_ms < ?", query.until],
    ]);
    const limit = query.limit ?? 10_000;
    const found: LogRecord[] = [];
    const pattern = query.grep && new RegExp(query.grep.source, query.grep.flags.replace(/[gy]/g, ""));
    const rows = this.#guard(() =>
      this.#database.prepare(`SELECT * FROM run_logs ${where} ORDER BY rowid DESC`).iterate(...values),
    );
    for (const row of rows) {
      const text = String(row["text"]);
      if (pattern && !pattern.test(text)) continue;
      if (query.levels !== undefined && !query.levels.includes(String(row["level"]) as LogLevel)) continue;
      found.push({
        run: String(row["run"]) as RunId,
        timeMs: Number(row["time_ms"]),
        level: String(row["level"]) as LogLevel,
        text,
      });
      if (found.length >= limit) break;
    }
    return found.toReversed();
  }

  /** Deletes runs, with their logs, that ended before a time; returns how many. */
  forgetRuns(beforeMs: number): number {
    return this.#run("DELETE FROM runs WHERE ended_ms < ?", [beforeMs]);
  }

  pin(target: string, location: string): Pin | undefined {
    const [row] = this.#all("SELECT * FROM pins WHERE target = ? AND location = ?", [target, location]);
    if (!row) return undefined;
    const { repository, keyring, generation } = row;
    return {
      target,
      location,
      repository: String(repository) as RepositoryId,
      keyring: String(keyring),
      generation: Number(generation),
    };
  }

  /** Remembers what a target holds now, in place of what it held. The same again changes nothing. */
  setPin(pin: Pin, nowMs: number): void {
    const known = this.pin(pin.target, pin.location);
    if (known?.repository === pin.repository && known.keyring === pin.keyring && known.generation === pin.generation) return;
    this.#run(
      "INSERT OR REPLACE INTO pins (target, location, repository, keyring, generation, pinned_ms) VALUES (?, ?, ?, ?, ?, ?)",
      [pin.target, pin.location, pin.repository, pin.keyring, pin.generation, nowMs],
    );
  }

  /** Forgets a pin: the next use pins whatever is there. */
  removePin(target: string, location: string): void {
    this.#run("DELETE FROM pins WHERE target = ? AND location = ?", [target, location]);
  }

  /** The configuration that was accepted last. */
  acceptedConfig(): AcceptedConfig | undefined {
    const [row] = this.#all("SELECT * FROM configs ORDER BY sequence DESC LIMIT 1");
    if (!row) return undefined;
    const targets = parsed(row, "targets", Array.isArray) as AcceptedTarget[];
    return { digest: String(row["digest"]), timeMs: Number(row["accepted_ms"]), text: String(row["text"]), targets };
  }

  /** Remembers an accepted configuration; one that equals the last changes nothing. Keeps the last 20. */
  acceptConfig(config: AcceptedConfig): void {
    if (this.acceptedConfig()?.digest === config.digest) return;
    this.#run("INSERT INTO configs (digest, accepted_ms, text, targets) VALUES (?, ?, ?, ?)", [
      config.digest,
      config.timeMs,
      config.text,
      JSON.stringify(config.targets),
    ]);
    this.#run("DELETE FROM configs WHERE sequence <= (SELECT max(sequence) FROM configs) - 20");
  }

  /** What waits for approval, oldest first. */
  pendingApprovals(): PendingApproval[] {
    return this.#all("SELECT * FROM pending_approvals ORDER BY since_ms, plan").map((row) => ({
      plan: String(row["plan"]),
      sinceMs: Number(row["since_ms"]),
      text: String(row["text"]),
    }));
  }

  /** Replaces what waits for approval by one plan, or nothing. A plan that waited already keeps its time. */
  setPendingApproval(pending: PendingApproval | undefined): void {
    this.#run("DELETE FROM pending_approvals WHERE plan <> ?", [pending?.plan ?? ""]);
    if (pending)
      this.#run(
        "INSERT INTO pending_approvals (plan, since_ms, text) VALUES (?, ?, ?) ON CONFLICT (plan) DO UPDATE SET text = excluded.text",
        [pending.plan, pending.sinceMs, pending.text],
      );
  }

  /** Jobs that someone paused, by name. */
  pausedJobs(): Set<string> {
    return new Set(this.#all("SELECT job FROM pauses ORDER BY job").map((row) => String(row["job"])));
  }

  setPaused(job: string, paused: boolean, nowMs: number): void {
    if (paused) this.#run("INSERT OR IGNORE INTO pauses (job, since_ms) VALUES (?, ?)", [job, nowMs]);
    else this.#run("DELETE FROM pauses WHERE job = ?", [job]);
  }

  /** Runs that were asked for and have not begun, oldest first. */
  runRequests(): RunRequestRecord[] {
    return this.#all("SELECT * FROM requests ORDER BY asked_ms, rowid").map((row) => ({
      job: String(row["job"]),
      mode: row["mode"] === null ? undefined : (String(row["mode"]) as JobMode),
      askedMs: Number(row["asked_ms"]),
    }));
  }

  /** Remembers that a run of a job was asked for; one that was asked for already stays as it was. */
  addRunRequest(request: RunRequestRecord): void {
    this.#run("INSERT OR IGNORE INTO requests (job, mode, asked_ms) VALUES (?, ?, ?)", [
      request.job,
      request.mode ?? null,
      request.askedMs,
    ]);
  }

  /** Forgets what was asked for of a job; false when there was nothing. */
  removeRunRequest(job: string): boolean {
    return this.#run("DELETE FROM requests WHERE job = ?", [job]) > 0;
  }

  /** What was noted last under a name, and when; undefined when nothing was, or it cannot be read. */
  note(name: string): { readonly timeMs: number; readonly value: unknown } | undefined {
    const [row] = this.#all("SELECT time_ms, value FROM notes WHERE name = ?", [name]);
    if (row === undefined) return undefined;
    try {
      return { timeMs: Number(row["time_ms"]), value: JSON.parse(String(row["value"])) as unknown };
    } catch {
      return undefined;
    }
  }

  /** Notes a value (as JSON) in place of what had the name before. Nothing may depend on it. */
  setNote(name: string, value: unknown, timeMs: number): void {
    this.#run("INSERT OR REPLACE INTO notes (name, time_ms, value) VALUES (?, ?, ?)", [name, timeMs, JSON.stringify(value)]);
  }

  /** Closes the database; idempotent. */
  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Does `work` and stores the events, in one transaction; they are not stored when `work` says false. */
  #withEvents(events: readonly StoredEvent[], work: () => boolean): void {
    if (events.length === 0) return void work();
    this.#guard(() => {
      this.#database.exec("BEGIN IMMEDIATE");
      try {
        if (work()) this.outbox.insert(events);
        this.#database.exec("COMMIT");
      } catch (error) {
        if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
        throw error;
      }
    });
    this.outbox.announce(events);
  }

  #insertRun(run: Partial<RunRecord> & Pick<RunRecord, "id" | "kind" | "subject" | "startedMs">): void {
    const owner = processIdentity();
    this.#run(
      `INSERT INTO runs (id, kind, subject, started_ms, ended_ms, status, reason, targets, boot_id, pid_namespace, pid, process_start)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      [
        run.id,
        run.kind,
        run.subject,
        run.startedMs,
        run.endedMs ?? null,
        run.status ?? null,
        run.reason ?? null,
        json(run.targets),
        owner.bootId,
        owner.pidNamespace,
        owner.pid,
        owner.processStart,
      ],
    );
  }

  #run(sql: string, values: readonly SQLInputValue[] = []): number {
    return this.#guard(() => Number(this.#database.prepare(sql).run(...values).changes));
  }

  #all(sql: string, values: readonly SQLInputValue[] = []): Row[] {
    return this.#guard(() => this.#database.prepare(sql).all(...values));
  }

  #guard<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw unusable(this.directory, error);
    }
  }
}

function conditions(all: readonly (readonly [string, SQLInputValue | undefined])[]): { where: string; values: SQLInputValue[] } {
  const given = all.filter((condition): condition is readonly [string, SQLInputValue] => condition[1] !== undefined);
  return {
    where: given.length === 0 ? "" : `WHERE ${given.map(([sql]) => sql).join(" AND ")}`,
    values: given.map(([, value]) => value),
  };
}

function json(value: unknown): string | null {
  return value === undefined ? null : JSON.stringify(value);
}

/** A column that holds JSON. Throws `state_unusable` when it does not, or its value has another shape. */
function parsed(row: Row, column: string, fits: (value: unknown) => boolean): unknown {
  let value: unknown;
  try {
    value = JSON.parse(String(row[column]));
  } catch {
    value = undefined;
  }
  if (fits(value)) return value;
  throw new HoldfastError("state_unusable", `The state database is damaged: a record's \`${column}\` cannot be read`, {
    hint: `Stop Holdfast and move ${FILE} in daemon.stateDir away: history, pins and pauses begin anew; snapshots are not affected.`,
  });
}

function isRecord(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function toRun(row: Row): RunRecord {
  const optional = (column: string, fits: (value: unknown) => boolean): unknown =>
    row[column] === null ? undefined : parsed(row, column, fits);
  return {
    id: String(row["id"]) as RunId,
    kind: String(row["kind"]) as RunKind,
    subject: String(row["subject"]),
    startedMs: Number(row["started_ms"]),
    endedMs: row["ended_ms"] === null ? undefined : Number(row["ended_ms"]),
    status: row["status"] === null ? undefined : (String(row["status"]) as RunStatus),
    reason: row["reason"] === null ? undefined : String(row["reason"]),
    targets: optional("targets", Array.isArray) as RunRecord["targets"],
    error: optional("error", isRecord) as RunRecord["error"],
    statistics: optional("statistics", isRecord) as RunRecord["statistics"],
  };
}
