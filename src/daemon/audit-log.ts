import type { Clock } from "../base/clock.ts";
import { asHoldfastError } from "../base/errors.ts";
import {
  formatAuditHead,
  type AuditEntry,
  type AuditHead,
  type AuditQuery,
  type AuditRecord,
  type AuditVerdict,
} from "../state/audit.ts";
import type { State } from "../state/state.ts";
import type { Log } from "../telemetry/log.ts";

/** The audit log as those see it who may ask the daemon. */
export interface AuditLog {
  /** Appends a record. Never throws: a log that cannot be written is an error in the daemon's own log, and stops nothing. */
  record(entry: AuditEntry): void;
  /** Newest first. */
  records(query: AuditQuery): AuditRecord[];
  /** The newest record: to be noted elsewhere. */
  head(): AuditHead;
  /** Looks at every record, in pieces between which others get their turn. */
  verify(noted: AuditHead | undefined): Promise<AuditVerdict>;
}

/** The audit log of a running daemon. Each record that this process appends is also a line of its log, with the new head. */
export class DaemonAudit implements AuditLog, Disposable {
  readonly #state: State;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #listening: Disposable;

  constructor({ state, clock, log }: { readonly state: State; readonly clock: Clock; readonly log: Log }) {
    this.#state = state;
    this.#clock = clock;
    this.#log = log;
    this.#listening = state.audit.onAppended((record) => {
      const { action, subject, actor, from, outcome, code } = record;
      const how = code === undefined ? outcome : `${outcome} (${code})`;
      log.info(`audit: ${action}${subject && ` of ${subject}`} by ${actor}${from && ` from ${from}`}: ${how}`, {
        audit: formatAuditHead(record),
      });
    });
  }

  record(entry: AuditEntry): void {
    try {
      this.#state.audit.append(entry, this.#clock.now());
    } catch (error) {
      const { message, hint } = asHoldfastError(error);
      this.#log.error(
        `not in the audit log: ${entry.action} of ${entry.subject} by ${entry.actor} from ${entry.from}: ${entry.outcome}: ${message}`,
        { hint },
      );
    }
  }

  /** What the daemon does by itself. */
  own(action: string, subject: string, detail: AuditEntry["detail"], code?: string): void {
    const outcome = code === undefined ? "accepted" : "refused";
    this.record({ ...DAEMON, action, subject, outcome, code, detail });
  }

  records(query: AuditQuery): AuditRecord[] {
    return this.#state.audit.records(query);
  }

  head(): AuditHead {
    return this.#state.audit.head();
  }

  verify(noted: AuditHead | undefined): Promise<AuditVerdict> {
    return this.#state.audit.verifyGently(noted);
  }

  [Symbol.dispose](): void {
    this.#listening[Symbol.dispose]();
  }
}

/** The daemon itself, as who does something. */
export const DAEMON = { actor: "daemon", from: `process ${process.pid}` } as const;
