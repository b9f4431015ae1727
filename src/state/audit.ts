/**
 * The audit log: who changed what, from where, and what came of it. Each record names the hash of the one before, so that
 * a record that is changed, taken out or moved no longer fits. The hash is SHA-256, in hex, over the UTF-8 of
 * `JSON.stringify(["holdfast-audit-1", sequence, timeMs, actor, from, action, subject, outcome, code, detail, previous])`, where
 * `code` is null when there is none, and `previous` of the first record is 64 zeros. Who may write to the state folder may make
 * the whole log anew: what shows that is a head that was noted elsewhere (`AuditHead`), as each line of the daemon's log does.
 */
import { createHash } from "node:crypto";
import type { DatabaseSync, SQLInputValue, SQLOutputValue } from "node:sqlite";
import { HoldfastError } from "../base/errors.ts";
import { escapeControl } from "../config/problem.ts";

const FORMAT = "holdfast-audit-1";
const NONE = "0".repeat(64);
/** How many records are kept: a year of 270 changes a day, in 100 MB at the very most. */
const KEPT_RECORDS = 100_000;
/** Old ones are taken away by so many at once, each time with a record that says so. */
const TRIMMED_AT_ONCE = 1000;
/** Characters of each text. */
const MAX_NAME = 128;
const MAX_SUBJECT = 256;
const MAX_DETAIL = 1024;
const TRIM_ACTION = "audit.trim";

/** `begun`: what takes long began, and another record will say how it ended. `refused`: nothing was done. */
export type AuditOutcome = "begun" | "accepted" | "refused" | "failed";

export interface AuditEntry {
  /** Who: the name of a token, `owner` (of the control socket), `cli:USER`, or `daemon`. */
  readonly actor: string;
  /** An address, `socket`, or a process. */
  readonly from: string;
  /** `job.pause`, `snapshot.delete`, … */
  readonly action: string;
  /** What it was done to; may be empty. */
  readonly subject: string;
  readonly outcome: AuditOutcome;
  /** Of the failure or refusal. */
  readonly code?: string | undefined;
  /** Facts: numbers, ids, names. Never a secret. */
  readonly detail?: Readonly<Record<string, unknown>> | undefined;
}

export interface AuditRecord extends Omit<AuditEntry, "detail" | "code"> {
  /** From 1, without gaps. */
  readonly sequence: number;
  readonly timeMs: number;
  readonly code: string | undefined;
  /** JSON, cut when it was long; empty when there is none. */
  readonly detail: string;
  readonly previous: string;
  readonly hash: string;
}

export interface AuditQuery {
  /** Newest this many; default 100. */
  readonly limit?: number;
  /** At or after (ms). */
  readonly since?: number;
  /** Before (ms). */
  readonly until?: number;
  readonly actor?: string;
  readonly action?: string;
}

/** The newest record. Sequence 0 and zeros before the first. */
export interface AuditHead {
  readonly sequence: number;
  readonly hash: string;
}

export interface AuditVerdict {
  readonly intact: boolean;
  readonly head: AuditHead;
  /** Records that were looked at. */
  readonly records: number;
  /** The first that is kept; older ones were taken away, as a record says. */
  readonly first: number;
  /** Empty when it is intact; at most 20. */
  readonly problems: readonly string[];
}

type Row = Record<string, SQLOutputValue>;

export class Audit {
  readonly #database: DatabaseSync;
  readonly #guard: <T>(work: () => T) => T;
  readonly #listeners = new Set<(record: AuditRecord) => void>();

  /** Use `State.audit`. `guard` turns what SQLite throws into the errors of the state. */
  constructor(database: DatabaseSync, guard: <T>(work: () => T) => T) {
    this.#database = database;
    this.#guard = guard;
  }

  /** Calls `listener` after this process has appended a record. */
  onAppended(listener: (record: AuditRecord) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Appends a record; it is on disk when this returns. */
  append(entry: AuditEntry, timeMs: number): AuditRecord {
    return this.during(entry, timeMs, () => undefined).record;
  }

  /** Changes the state by `work` and appends the record of it, all or nothing. `work` may not open a transaction of its own. */
  during<T>(entry: AuditEntry, timeMs: number, work: () => T): { readonly result: T; readonly record: AuditRecord } {
    const done = this.#guard(() => {
      this.#database.exec("BEGIN IMMEDIATE");
      try {
        const result = work();
        const records = [this.#insert(entry, timeMs)];
        const trimmed = this.#trim(timeMs);
        if (trimmed !== undefined) records.push(trimmed);
        this.#database.exec("COMMIT");
        return { result, records };
      } catch (error) {
        if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
        throw error;
      }
    });
    for (const record of done.records) for (const listener of this.#listeners) listener(record);
    return { result: done.result, record: done.records[0] as AuditRecord };
  }

  head(): AuditHead {
    const [row] = this.#all("SELECT sequence, hash FROM audit_head");
    return { sequence: Number(row?.["sequence"] ?? 0), hash: String(row?.["hash"] ?? NONE) };
  }

  /** Records that match, newest first. */
  records(query: AuditQuery = {}): AuditRecord[] {
    const given: readonly (readonly [string, SQLInputValue | undefined])[] = [
      ["time_ms >= ?", query.since],
      ["time_ms < ?", query.until],
      ["actor = ?", query.actor],
      ["action = ?", query.action],
    ];
    const conditions = given.filter((one): one is readonly [string, SQLInputValue] => one[1] !== undefined);
    const where = conditions.length === 0 ? "" : `WHERE ${conditions.map(([sql]) => sql).join(" AND ")}`;
    return this.#all(`SELECT * FROM audit ${where} ORDER BY sequence DESC LIMIT ?`, [
      ...conditions.map(([, value]) => value),
      query.limit ?? 100,
    ]).map(toRecord);
  }

  /**
   * Looks at every record: its hash, its place, what it follows; and at the head that was noted, when there is one. Never rejects
   * for what it finds.
   */
  verify(noted?: AuditHead): AuditVerdict {
    const problems: string[] = [];
    const say = (text: string): void => {
      if (problems.length < 20) problems.push(text);
    };
    let last: AuditRecord | undefined;
    let first: AuditRecord | undefined;
    let records = 0;
    let notedHash: string | undefined;
    let trim: { readonly through: number; readonly hash: string } = { through: 0, hash: NONE };
    const rows = this.#guard(() => this.#database.prepare("SELECT * FROM audit ORDER BY sequence").iterate());
    for (const row of rows) {
      const record = toRecord(row);
      records++;
      first ??= record;
      if (hashOf(record) !== record.hash) say(`record ${record.sequence} was changed: its hash is another`);
      if (last !== undefined && record.sequence !== last.sequence + 1)
        say(`${missing(last.sequence + 1, record.sequence - 1)} between records ${last.sequence} and ${record.sequence}`);
      else if (last !== undefined && record.previous !== last.hash)
        say(`record ${record.sequence} does not follow record ${last.sequence}: one of them was changed or moved`);
      if (record.sequence === noted?.sequence) notedHash = record.hash;
      if (record.action === TRIM_ACTION && record.actor === "holdfast") trim = trimOf(record) ?? trim;
      last = record;
    }
    const head = this.head();
    if (first !== undefined && (first.sequence !== trim.through + 1 || first.previous !== trim.hash))
      say(
        first.sequence > trim.through + 1
          ? `${missing(trim.through + 1, first.sequence - 1)} at the beginning, and no record says that they were taken away`
          : `the log begins with record ${first.sequence}, which does not follow what was taken away`,
      );
    const end = { sequence: last?.sequence ?? 0, hash: last?.hash ?? NONE };
    if (end.sequence < head.sequence) say(`${missing(end.sequence + 1, head.sequence)} at the end`);
    else if (end.sequence !== head.sequence || end.hash !== head.hash)
      say(`the last record, ${end.sequence}, is not the one that was appended last, ${head.sequence}`);
    if (noted !== undefined && noted.sequence > 0) {
      if (noted.sequence > end.sequence)
        say(`the noted head, record ${noted.sequence}, is missing: the log ends with record ${end.sequence}`);
      else if (noted.sequence === trim.through && noted.hash === trim.hash) notedHash = noted.hash;
      else if (noted.sequence <= trim.through)
        say(`the noted head, record ${noted.sequence}, is no longer kept: nothing can be said of it`);
      else if (notedHash !== noted.hash) say(`record ${noted.sequence} is not the one whose hash was noted`);
    }
    return { intact: problems.length === 0, head, records, first: first?.sequence ?? 0, problems };
  }

  #insert(entry: AuditEntry, timeMs: number): AuditRecord {
    const head = this.head();
    const unhashed = {
      sequence: head.sequence + 1,
      timeMs: Math.trunc(timeMs),
      actor: bounded(entry.actor, MAX_NAME),
      from: bounded(entry.from, MAX_SUBJECT),
      action: bounded(entry.action, MAX_NAME),
      subject: bounded(entry.subject, MAX_SUBJECT),
      outcome: entry.outcome,
      code: entry.code === undefined ? undefined : bounded(entry.code, MAX_NAME),
      detail: entry.detail === undefined ? "" : bounded(JSON.stringify(entry.detail), MAX_DETAIL),
      previous: head.hash,
    };
    const record: AuditRecord = { ...unhashed, hash: hashOf(unhashed) };
    this.#database
      .prepare(
        `INSERT INTO audit (sequence, time_ms, actor, origin, action, subject, outcome, code, detail, previous, hash)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        record.sequence,
        record.timeMs,
        record.actor,
        record.from,
        record.action,
        record.subject,
        record.outcome,
        record.code ?? null,
        record.detail,
        record.previous,
        record.hash,
      );
    this.#database.prepare("UPDATE audit_head SET sequence = ?, hash = ?").run(record.sequence, record.hash);
    return record;
  }

  /** Takes the oldest records away when there are too many, and says so in one that stays. */
  #trim(timeMs: number): AuditRecord | undefined {
    const [row] = this.#all("SELECT min(sequence) AS first, max(sequence) AS last FROM audit");
    const [first, last] = [Number(row?.["first"]), Number(row?.["last"])];
    if (last - first < KEPT_RECORDS + TRIMMED_AT_ONCE) return undefined;
    const through = last - KEPT_RECORDS + 1;
    const [gone] = this.#all("SELECT hash FROM audit WHERE sequence = ?", [through]);
    // Where somebody has taken records out, nothing more is taken away: what is left is evidence.
    if (gone === undefined) return undefined;
    this.#database.prepare("UPDATE audit_head SET trimmed = ?").run(through);
    this.#database.prepare("DELETE FROM audit WHERE sequence <= ?").run(through);
    const detail = { through, hash: String(gone["hash"]) };
    return this.#insert(
      { actor: "holdfast", from: "", action: TRIM_ACTION, subject: `records 1 to ${through}`, outcome: "accepted", detail },
      timeMs,
    );
  }

  #all(sql: string, values: readonly SQLInputValue[] = []): Row[] {
    return this.#guard(() => this.#database.prepare(sql).all(...values));
  }
}

/** A head as people note it: `SEQUENCE:HASH`. */
export function formatAuditHead({ sequence, hash }: AuditHead): string {
  return `${sequence}:${hash}`;
}

/** Throws `usage` when it is none. */
export function parseAuditHead(text: string): AuditHead {
  const match = /^(\d{1,15}):([0-9a-f]{64})$/.exec(text.trim());
  if (match !== null) return { sequence: Number(match[1]), hash: match[2] as string };
  throw new HoldfastError("usage", `${JSON.stringify(text.slice(0, 100))} is not a head of the audit log`, {
    hint: "It is a number, a colon and 64 hex digits, as `holdfast audit --head` prints it and the daemon's log has it.",
  });
}

/** Rejects with `audit_broken` when the verdict is not good. */
export function requireIntact({ intact, problems, head }: AuditVerdict): void {
  if (intact) return;
  throw new HoldfastError("audit_broken", `The audit log is not what was written: ${problems[0]}`, {
    hint: "Compare with the daemon's log, which has each record too, and find out who could write to the state folder.",
    data: { problems, head },
  });
}

function hashOf(record: Omit<AuditRecord, "hash">): string {
  const { sequence, timeMs, actor, from, action, subject, outcome, code, detail, previous } = record;
  const fields = [FORMAT, sequence, timeMs, actor, from, action, subject, outcome, code ?? null, detail, previous];
  return createHash("sha256").update(JSON.stringify(fields)).digest("hex");
}

/** No character that a line or a database trips over, and at most so many. */
function bounded(text: string, max: number): string {
  const safe = escapeControl(text.slice(0, max + 1));
  return safe.length <= max ? safe : `${safe.slice(0, max - 1).toWellFormed()}…`;
}

function missing(from: number, to: number): string {
  return from === to ? `record ${from} is missing` : `records ${from} to ${to} are missing`;
}

function trimOf(record: AuditRecord): { readonly through: number; readonly hash: string } | undefined {
  try {
    const { through, hash } = JSON.parse(record.detail) as { through?: unknown; hash?: unknown };
    return typeof through === "number" && typeof hash === "string" ? { through, hash } : undefined;
  } catch {
    return undefined;
  }
}

function toRecord(row: Row): AuditRecord {
  return {
    sequence: Number(row["sequence"]),
    timeMs: Number(row["time_ms"]),
    actor: String(row["actor"]),
    from: String(row["origin"]),
    action: String(row["action"]),
    subject: String(row["subject"]),
    outcome: String(row["outcome"]) as AuditOutcome,
    code: row["code"] === null ? undefined : String(row["code"]),
    detail: String(row["detail"]),
    previous: String(row["previous"]),
    hash: String(row["hash"]),
  };
}
