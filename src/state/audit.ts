/**
 * The audit log: who changed what, from where, and what came of it. Each record names the hash of the one before, so that
 * a record that is changed, taken out or moved no longer fits. The hash is SHA-256, in hex, over the UTF-8 of
 * `JSON.stringify(["holdfast-audit-1", sequence, timeMs, actor, from, action, subject, outcome, code, detail, previous])`, where
 * `code` is null when there is none, and `previous` of the first record is 64 zeros. Who may write to the state folder may make
 * the whole log anew: what shows that is a head that was noted elsewhere (`AuditHead`), as each line of the daemon's log does.
 */
import { createHash } from "node:crypto";
import type { DatabaseSync, SQLInputValue, SQLOutputValue } from "node:sqlite";
import { setImmediate } from "node:timers/promises";
import { HoldfastError } from "../base/errors.ts";
import { escapeControl } from "../config/problem.ts";

const FORMAT = "holdfast-audit-1";
const NONE = "0".repeat(64);
/** How many records are kept: a year of 270 changes a day, in 100 MB at the very most. */
const KEPT_RECORDS = 100_000;
/** Old ones are taken away when there are more by this part of them, with a record that says so. */
const TRIMMED_PART = 100;
/** Characters of each text. */
const MAX_NAME = 128;
const MAX_SUBJECT = 256;
const MAX_DETAIL = 1024;
const TRIM_ACTION = "audit.trim";
/** Nobody who asks for something has this name for this action. */
const OWN_NAME = "holdfast";
/** Records that are looked at before others get their turn: a few milliseconds. */
const CHECKED_AT_ONCE = 500;
const MAX_PROBLEMS = 20;

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
  /** Only records with a smaller sequence: the next page. */
  readonly before?: number;
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
  /** Empty when it is intact; the first 20. */
  readonly problems: readonly string[];
}

type Row = Record<string, SQLOutputValue>;

export class Audit {
  readonly #database: DatabaseSync;
  readonly #guard: <T>(work: () => T) => T;
  readonly #kept: number;
  readonly #listeners = new Set<(record: AuditRecord) => void>();

  /** Use `State.audit`. `guard` turns what SQLite throws into the errors of the state; tests keep fewer records. */
  constructor(database: DatabaseSync, guard: <T>(work: () => T) => T, kept = KEPT_RECORDS) {
    this.#database = database;
    this.#kept = kept;
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
      ["sequence < ?", query.before],
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
   * Looks at every record: its hash, its place, what it follows; and at the head that was noted, when there is
   * one. Never throws for what it finds.
   */
  verify(noted?: AuditHead): AuditVerdict {
    const check = new AuditCheck(this.head(), noted);
    while (this.#look(check));
    return check.verdict();
  }

  /** The same, in pieces between which others get their turn. */
  async verifyGently(noted?: AuditHead): Promise<AuditVerdict> {
    const check = new AuditCheck(this.head(), noted);
    while (this.#look(check)) await setImmediate();
    return check.verdict();
  }

  /** Looks at the next records, and at the head when they are the last; false then. */
  #look(check: AuditCheck): boolean {
    return this.#guard(() => {
      // One view of both: another process may append between them.
      this.#database.exec("BEGIN");
      try {
        const after = check.last?.sequence ?? -Number.MAX_SAFE_INTEGER;
        const rows = this.#all("SELECT * FROM audit WHERE sequence > ? ORDER BY sequence LIMIT ?", [after, CHECKED_AT_ONCE]);
        for (const row of rows) check.look(toRecord(row));
        check.end = this.head();
        return rows.length === CHECKED_AT_ONCE;
      } finally {
        this.#database.exec("COMMIT");
      }
    });
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
    if (last - first + 1 <= this.#kept + this.#kept / TRIMMED_PART) return undefined;
    // One less, for the record that says so.
    const through = last - this.#kept + 1;
    const [gone] = this.#all("SELECT hash FROM audit WHERE sequence = ?", [through]);
    // Where somebody has taken records out, nothing more is taken away: what is left is evidence.
    if (gone === undefined) return undefined;
    this.#database.prepare("UPDATE audit_head SET trimmed = ?").run(through);
    this.#database.prepare("DELETE FROM audit WHERE sequence <= ?").run(through);
    const detail = { through, hash: String(gone["hash"]) };
    return this.#insert(
      { actor: OWN_NAME, from: "", action: TRIM_ACTION, subject: `records 1 to ${through}`, outcome: "accepted", detail },
      timeMs,
    );
  }

  #all(sql: string, values: readonly SQLInputValue[] = []): Row[] {
    return this.#guard(() => this.#database.prepare(sql).all(...values));
  }
}

/** One look at the whole log, record by record in their order. */
class AuditCheck {
  /** The head when everything had been looked at. */
  end: AuditHead;
  last: AuditRecord | undefined;
  readonly #start: AuditHead;
  readonly #noted: AuditHead | undefined;
  readonly #problems: string[] = [];
  #first: AuditRecord | undefined;
  #records = 0;
  #trimmed: AuditHead = { sequence: 0, hash: NONE };
  #notedHash: string | undefined;

  constructor(start: AuditHead, noted: AuditHead | undefined) {
    this.#start = start;
    this.#noted = noted;
    this.end = start;
  }

  look(record: AuditRecord): void {
    const { last } = this;
    this.#records++;
    this.#first ??= record;
    if (hashOf(record) !== record.hash) this.#say(`record ${record.sequence} was changed: its hash is another`);
    if (last !== undefined && record.sequence !== last.sequence + 1)
      this.#say(`${missing(last.sequence + 1, record.sequence - 1)} between records ${last.sequence} and ${record.sequence}`);
    else if (last !== undefined && record.previous !== last.hash)
      this.#say(`record ${record.sequence} does not follow record ${last.sequence}: one of them was changed or moved`);
    if (record.sequence === this.#noted?.sequence) this.#notedHash = record.hash;
    // What is taken away while this goes on has been looked at.
    const isEarlier = record.sequence <= this.#start.sequence;
    if (isEarlier && record.action === TRIM_ACTION && record.actor === OWN_NAME) this.#trimmed = trimOf(record) ?? this.#trimmed;
    this.last = record;
  }

  verdict(): AuditVerdict {
    this.#lookAtBeginning();
    const end = { sequence: this.last?.sequence ?? 0, hash: this.last?.hash ?? NONE };
    if (end.sequence < this.end.sequence) this.#say(`${missing(end.sequence + 1, this.end.sequence)} at the end`);
    else if (end.sequence !== this.end.sequence || end.hash !== this.end.hash)
      this.#say(`the last record, ${end.sequence}, is not the one that was appended last, ${this.end.sequence}`);
    this.#lookAtNoted(end.sequence);
    return {
      intact: this.#problems.length === 0,
      head: this.end,
      records: this.#records,
      first: this.#first?.sequence ?? 0,
      problems: this.#problems,
    };
  }

  #lookAtBeginning(): void {
    const { sequence: through, hash } = this.#trimmed;
    const first = this.#first;
    if (first === undefined || (first.sequence === through + 1 && first.previous === hash)) return;
    this.#say(
      first.sequence > through + 1
        ? `${missing(through + 1, first.sequence - 1)} at the beginning, and no record says that they were taken away`
        : `the log begins with record ${first.sequence}, which does not follow what was taken away`,
    );
  }

  #lookAtNoted(last: number): void {
    const noted = this.#noted;
    const trimmed = this.#trimmed;
    if (noted === undefined || noted.sequence === 0) return;
    if (noted.sequence === trimmed.sequence && noted.hash === trimmed.hash) return;
    if (noted.sequence > last)
      this.#say(`the noted head, record ${noted.sequence}, is missing: the log ends with record ${last}`);
    else if (noted.sequence <= trimmed.sequence)
      this.#say(`the noted head, record ${noted.sequence}, is no longer kept: nothing can be said of it`);
    else if (this.#notedHash !== noted.hash) this.#say(`record ${noted.sequence} is not the one whose hash was noted`);
  }

  #say(text: string): void {
    if (this.#problems.length < MAX_PROBLEMS) this.#problems.push(text);
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

function trimOf(record: AuditRecord): AuditHead | undefined {
  try {
    const { through, hash } = JSON.parse(record.detail) as { through?: unknown; hash?: unknown };
    return typeof through === "number" && typeof hash === "string" ? { sequence: through, hash } : undefined;
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
