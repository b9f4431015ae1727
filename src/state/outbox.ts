/**
 * The outbox: events, and for each receiver whether it has been told. A delivery is `pending` until it is `delivered` or `dead`.
 * Whoever delivers claims it first, under a lease: two processes never send the same one at once. A lease of a process that is
 * provably dead has ended; any other ends with its time.
 */
import type { DatabaseSync, SQLInputValue, SQLOutputValue } from "node:sqlite";
import type { EventType } from "../base/events.ts";
import type { StoredEvent } from "../plan/events.ts";
import { isProvablyDead, processIdentity, type ProcessIdentity } from "./process-identity.ts";

/** An event that failed so often lets later ones of its receiver pass: it may be the only one that is refused. */
const PASSED_AFTER = 4;
/** No delivery is put off for longer. A time further ahead was made by a clock that has been set back since. */
const FARTHEST_MS = 48 * 3_600_000;
/** How long what has been delivered, and what could not be, is remembered, and how much of it at most. */
const KEPT_DELIVERED_MS = 7 * 86_400_000;
const KEPT_DEAD_MS = 90 * 86_400_000;
const KEPT_ROWS = 10_000;
/** Events that nobody was to be told of are counted this often. */
const COUNTED_EVERY = 256;

export type DeliveryState = "pending" | "delivered" | "dead";

export interface DeliveryRecord {
  readonly event: string;
  readonly type: EventType;
  readonly timeMs: number;
  readonly receiver: string;
  readonly state: DeliveryState;
  readonly attempts: number;
  /** When it is tried next; undefined when it is not pending. */
  readonly dueMs: number | undefined;
  readonly endedMs: number | undefined;
  /** Why the last attempt failed. */
  readonly error: string | undefined;
}

/** A delivery that this process has to make now. */
export interface ClaimedDelivery {
  readonly row: number;
  readonly event: string;
  readonly type: EventType;
  readonly timeMs: number;
  readonly payload: string;
  readonly receiver: string;
  /** This attempt included. */
  readonly attempts: number;
  /** Since when it is tried. */
  readonly sinceMs: number;
  readonly lease: string;
}

/** An event as it was stored, for those who follow what happens. */
export interface EventRecord {
  /** Grows with each event of this state, and is never used again. */
  readonly sequence: number;
  readonly id: string;
  readonly type: EventType;
  readonly timeMs: number;
  readonly payload: string;
}

export interface OutboxDepth {
  readonly pending: number;
  /** Undefined when nothing is pending. */
  readonly pendingSinceMs: number | undefined;
  readonly dead: number;
  readonly lastDeadMs: number | undefined;
}

export interface ClaimOptions {
  readonly nowMs: number;
  /** How long nobody else may take it. */
  readonly leaseMs: number;
  /** Unique to this claim. */
  readonly lease: string;
  /** At most so many; default 1. More than one ignores the order, as a digest does. */
  readonly limit?: number;
}

type Row = Record<string, SQLOutputValue>;

export class Outbox {
  readonly #database: DatabaseSync;
  readonly #guard: <T>(work: () => T) => T;
  readonly #listeners = new Set<() => void>();
  readonly #followers = new Set<() => void>();

  /** Use `State.outbox`. `guard` turns what SQLite throws into the errors of the state. */
  constructor(database: DatabaseSync, guard: <T>(work: () => T) => T) {
    this.#database = database;
    this.#guard = guard;
  }

  /** Calls `listener` after this process has stored an event. */
  onStored(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Calls `listener` after this process has stored an event, also one that nobody gets. */
  onEvent(listener: () => void): Disposable {
    this.#followers.add(listener);
    return { [Symbol.dispose]: () => void this.#followers.delete(listener) };
  }

  /**
   * Within the transaction of whoever calls: stores what happened, and who shall be told. One whose id is known already changes
   * nothing, unless nobody was to be told of it until now.
   */
  insert(events: readonly StoredEvent[]): void {
    for (const { id, type, timeMs, run, payload, deliveries } of events) {
      const { changes, lastInsertRowid } = this.#database
        .prepare("INSERT OR IGNORE INTO events (id, type, time_ms, run, payload) VALUES (?, ?, ?, ?, ?)")
        .run(id, type, timeMs, run ?? null, payload);
      if (changes > 0 && Number(lastInsertRowid) % COUNTED_EVERY === 0) this.#forgetUnheard(0);
      const sequence = changes > 0 ? lastInsertRowid : deliveries.length > 0 ? this.#unheard(id) : undefined;
      if (sequence === undefined) continue;
      for (const { receiver, dueMs } of deliveries)
        this.#database
          .prepare(
            "INSERT INTO deliveries (event, receiver, state, attempts, since_ms, due_ms) VALUES (?, ?, 'pending', 0, ?, ?)",
          )
          .run(sequence, receiver, timeMs, dueMs);
    }
  }

  /** An event that is stored and has no delivery. */
  #unheard(id: string): number | undefined {
    const [row] = this.#all(
      "SELECT sequence FROM events AS e WHERE id = ? AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.event = e.sequence)",
      id,
    );
    return row && Number(row["sequence"]);
  }

  /** Events after one, the oldest first. */
  eventsAfter(sequence: number, limit: number): EventRecord[] {
    return this.#all("SELECT * FROM events WHERE sequence > :sequence ORDER BY sequence LIMIT :limit", {
      ":sequence": sequence,
      ":limit": limit,
    }).map((row) => ({
      sequence: Number(row["sequence"]),
      id: String(row["id"]),
      type: String(row["type"]) as EventType,
      timeMs: Number(row["time_ms"]),
      payload: String(row["payload"]),
    }));
  }

  /** The newest event there ever was, and the newest of those that are forgotten; 0 when there is none. */
  eventRange(): { readonly newest: number; readonly forgotten: number } {
    const [row] = this.#all(
      "SELECT (SELECT seq FROM sqlite_sequence WHERE name = 'events') AS newest, (SELECT value FROM notes WHERE name = 'events.forgotten') AS forgotten",
    );
    return { newest: Number(row?.["newest"] ?? 0), forgotten: Number(row?.["forgotten"] ?? 0) };
  }

  /** Tells the listeners, after the transaction. */
  announce(events: readonly StoredEvent[]): void {
    if (events.some(({ deliveries }) => deliveries.length > 0)) for (const listener of this.#listeners) listener();
    if (events.length > 0) for (const listener of this.#followers) listener();
  }

  /**
   * Takes what is due for a receiver, the oldest event first, and counts the attempt. Nothing, while an older event is being
   * delivered or waits for another attempt, until that one has failed several times.
   */
  claim(receiver: string, options: ClaimOptions): ClaimedDelivery[] {
    const { nowMs, leaseMs, lease, limit = 1 } = options;
    const inOrder = `AND NOT EXISTS (
      SELECT 1 FROM deliveries AS older WHERE older.receiver = d.receiver AND older.state = 'pending' AND older.event < d.event
        AND (older.attempts < ${PASSED_AFTER} OR (older.lease_until_ms > :now AND older.lease_until_ms <= :now + :leaseMs)))`;
    const rows = this.#all(
      `UPDATE deliveries SET attempts = attempts + 1, lease = :lease, lease_owner = :owner, lease_until_ms = :now + :leaseMs
       WHERE id IN (
         SELECT d.id FROM deliveries AS d
         WHERE d.receiver = :receiver AND d.state = 'pending' AND (d.due_ms <= :now OR d.due_ms > :now + ${FARTHEST_MS})
           AND (d.lease_until_ms IS NULL OR d.lease_until_ms <= :now OR d.lease_until_ms > :now + :leaseMs)
           ${limit === 1 ? inOrder : ""}
         ORDER BY d.event LIMIT :limit)
       RETURNING id, event, receiver, attempts, since_ms, lease`,
      {
        ":receiver": receiver,
        ":now": nowMs,
        ":leaseMs": leaseMs,
        ":lease": lease,
        ":owner": JSON.stringify(processIdentity()),
        ":limit": limit,
      },
    );
    return rows
      .map((row) => {
        const [event] = this.#all("SELECT * FROM events WHERE sequence = ?", row["event"] as SQLInputValue);
        return {
          row: Number(row["id"]),
          event: String(event?.["id"]),
          type: String(event?.["type"]) as EventType,
          timeMs: Number(event?.["time_ms"]),
          payload: String(event?.["payload"]),
          receiver: String(row["receiver"]),
          attempts: Number(row["attempts"]),
          sinceMs: Number(row["since_ms"]),
          lease: String(row["lease"]),
        };
      })
      .toSorted((a, b) => a.row - b.row);
  }

  /** Ends the leases of processes that are provably dead. */
  releaseDead(): void {
    for (const { lease_owner: owner } of this.#all(
      "SELECT DISTINCT lease_owner FROM deliveries WHERE state = 'pending' AND lease_owner IS NOT NULL",
    )) {
      const identity = identityOf(String(owner));
      if (identity === undefined || isProvablyDead(identity))
        this.#run(
          "UPDATE deliveries SET lease = NULL, lease_owner = NULL, lease_until_ms = NULL WHERE state = 'pending' AND lease_owner = ?",
          String(owner),
        );
    }
  }

  /** It was delivered. Does nothing when the lease was lost meanwhile. */
  delivered({ row, lease }: ClaimedDelivery, nowMs: number): void {
    this.#end(row, lease, "delivered", nowMs, null);
  }

  /** It is not tried any more. */
  dead({ row, lease }: ClaimedDelivery, nowMs: number, error: string): void {
    this.#end(row, lease, "dead", nowMs, error);
  }

  /** It failed, and is tried again at `dueMs`. */
  retry({ row, lease }: ClaimedDelivery, dueMs: number, error: string): void {
    this.#run(
      `UPDATE deliveries SET due_ms = ?, error = ?, lease = NULL, lease_owner = NULL, lease_until_ms = NULL
       WHERE id = ? AND lease = ? AND state = 'pending'`,
      dueMs,
      error,
      row,
      lease,
    );
  }

  /** It was not tried after all. */
  release({ row, lease }: ClaimedDelivery): void {
    this.#run(
      `UPDATE deliveries SET attempts = attempts - 1, lease = NULL, lease_owner = NULL, lease_until_ms = NULL
       WHERE id = ? AND lease = ? AND state = 'pending'`,
      row,
      lease,
    );
  }

  /** Receivers for which something is pending, with the earliest time after now at which more of it is due. */
  pending(nowMs: number): { readonly receiver: string; readonly nextMs: number | undefined }[] {
    const rows = this.#all(
      `SELECT receiver, min(CASE WHEN due_ms > :now THEN due_ms END) AS next_ms FROM deliveries
       WHERE state = 'pending' GROUP BY receiver`,
      { ":now": nowMs },
    );
    return rows.map((row) => ({
      receiver: String(row["receiver"]),
      nextMs: row["next_ms"] === null ? undefined : Number(row["next_ms"]),
    }));
  }

  /** Deliveries, the newest events first. */
  deliveries(query: { readonly state?: DeliveryState; readonly event?: string; readonly limit?: number } = {}): DeliveryRecord[] {
    const where = [
      ...(query.state === undefined ? [] : ["d.state = :state"]),
      ...(query.event === undefined ? [] : ["substr(e.id, 1, length(:event)) = :event"]),
    ];
    const rows = this.#all(
      `SELECT e.id AS event_id, e.type, e.time_ms, d.* FROM deliveries AS d JOIN events AS e ON e.sequence = d.event
       ${where.length === 0 ? "" : `WHERE ${where.join(" AND ")}`} ORDER BY d.event DESC, d.id LIMIT :limit`,
      {
        ":limit": query.limit ?? 100,
        ...(query.state !== undefined && { ":state": query.state }),
        ...(query.event !== undefined && { ":event": query.event }),
      },
    );
    return rows.map((row) => ({
      event: String(row["event_id"]),
      type: String(row["type"]) as EventType,
      timeMs: Number(row["time_ms"]),
      receiver: String(row["receiver"]),
      state: String(row["state"]) as DeliveryState,
      attempts: Number(row["attempts"]),
      dueMs: row["state"] === "pending" ? Number(row["due_ms"]) : undefined,
      endedMs: row["ended_ms"] === null ? undefined : Number(row["ended_ms"]),
      error: row["error"] === null ? undefined : String(row["error"]),
    }));
  }

  /** How much waits and how much was given up, with the time since when the oldest waits, and when something was given up last. */
  depth(): OutboxDepth {
    const rows = this.#all(
      "SELECT state, count(*) AS deliveries, min(since_ms) AS since_ms, max(ended_ms) AS ended_ms FROM deliveries WHERE state IN ('pending', 'dead') GROUP BY state",
    );
    const of = (state: DeliveryState): Row | undefined => rows.find((row) => row["state"] === state);
    const time = (value: SQLOutputValue | undefined): number | undefined =>
      value === undefined || value === null ? undefined : Number(value);
    return {
      pending: Number(of("pending")?.["deliveries"] ?? 0),
      pendingSinceMs: time(of("pending")?.["since_ms"]),
      dead: Number(of("dead")?.["deliveries"] ?? 0),
      lastDeadMs: time(of("dead")?.["ended_ms"]),
    };
  }

  /** Makes what has ended pending again, from the beginning, under the same id: of one event, or all that is dead. Returns how many. */
  resend(which: { readonly event: string } | "dead", nowMs: number): number {
    const changed = this.#run(
      `UPDATE deliveries SET state = 'pending', attempts = 0, since_ms = ?, due_ms = ?, ended_ms = NULL, error = NULL
       WHERE ${which === "dead" ? "state = 'dead'" : "state <> 'pending' AND event = (SELECT sequence FROM events WHERE id = ?)"}`,
      nowMs,
      nowMs,
      ...(which === "dead" ? [] : [which.event]),
    );
    if (changed > 0) for (const listener of this.#listeners) listener();
    return changed;
  }

  /** Gives up what is pending of one event, also what is being sent; returns how many. */
  discard(event: string, error: string, nowMs: number): number {
    return this.#run(
      `UPDATE deliveries SET state = 'dead', ended_ms = ?, error = ?, lease = NULL, lease_owner = NULL, lease_until_ms = NULL
       WHERE state = 'pending' AND event = (SELECT sequence FROM events WHERE id = ?)`,
      nowMs,
      error,
      event,
    );
  }

  /** Gives up on what nobody delivers: its receiver is not in the configuration any more. */
  expire(receiver: string, beforeMs: number, nowMs: number, error: string): void {
    this.#run(
      `UPDATE deliveries SET state = 'dead', ended_ms = ?, error = ?, lease = NULL, lease_owner = NULL, lease_until_ms = NULL
       WHERE state = 'pending' AND receiver = ? AND since_ms < ?`,
      nowMs,
      error,
      receiver,
      beforeMs,
    );
  }

  /** Forgets what ended long ago, and the oldest of what has ended when it is very much. */
  forget(nowMs: number): void {
    this.#run(
      `DELETE FROM deliveries WHERE (state = 'delivered' AND ended_ms < ?) OR (state = 'dead' AND ended_ms < ?) OR
         id <= (SELECT id FROM deliveries WHERE state <> 'pending' ORDER BY id DESC LIMIT 1 OFFSET ${KEPT_ROWS}) AND state <> 'pending'`,
      nowMs - KEPT_DELIVERED_MS,
      nowMs - KEPT_DEAD_MS,
    );
    this.#guard(() => {
      const owns = !this.#database.isTransaction;
      if (owns) this.#database.exec("BEGIN IMMEDIATE");
      try {
        this.#forgetUnheard(nowMs - KEPT_DELIVERED_MS);
        if (owns) this.#database.exec("COMMIT");
      } catch (error) {
        if (owns && this.#database.isTransaction) this.#database.exec("ROLLBACK");
        throw error;
      }
    });
  }

  /** Forgets events that nobody waits for: those before a time, and all but the newest; and notes up to where, for who follows. */
  #forgetUnheard(beforeMs: number): void {
    const gone = this.#all(
      `DELETE FROM events WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.event = events.sequence)
         AND (time_ms < :before OR sequence <= (SELECT max(sequence) FROM events) - ${KEPT_ROWS}) RETURNING sequence`,
      { ":before": beforeMs },
    );
    const last = gone.reduce((most, row) => Math.max(most, Number(row["sequence"])), 0);
    if (last === 0) return;
    this.#run(
      `INSERT INTO notes (name, time_ms, value) VALUES ('events.forgotten', 0, ?1)
       ON CONFLICT (name) DO UPDATE SET value = max(CAST(value AS INTEGER), CAST(?1 AS INTEGER))`,
      String(last),
    );
  }

  #end(row: number, lease: string, state: DeliveryState, nowMs: number, error: string | null): void {
    this.#run(
      `UPDATE deliveries SET state = ?, ended_ms = ?, error = ?, lease = NULL, lease_owner = NULL, lease_until_ms = NULL
       WHERE id = ? AND lease = ? AND state = 'pending'`,
      state,
      nowMs,
      error,
      row,
      lease,
    );
  }

  #run(sql: string, ...values: SQLInputValue[]): number {
    return this.#guard(() => Number(this.#database.prepare(sql).run(...values).changes));
  }

  #all(sql: string, values?: Record<string, SQLInputValue> | SQLInputValue): Row[] {
    return this.#guard(() => {
      const statement = this.#database.prepare(sql);
      if (values === undefined) return statement.all();
      return typeof values === "object" && values !== null && !ArrayBuffer.isView(values)
        ? statement.all(values)
        : statement.all(values);
    });
  }
}

/** Undefined for what this version cannot read. */
function identityOf(text: string): ProcessIdentity | undefined {
  try {
    return JSON.parse(text) as ProcessIdentity;
  } catch {
    return undefined;
  }
}
