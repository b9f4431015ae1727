/** What the engine and the command line record of changes: who is named by the surroundings. */
import { asHoldfastError, HoldfastError } from "../base/errors.ts";
import type { SnapshotInfo } from "../formats/format.ts";
import type { AuditEntry, AuditOutcome } from "../state/audit.ts";
import type { Applied, ApplyRequest, Operations, RestoreOperation, RollbackRequest } from "./operations.ts";
import type { PruneRequest } from "./prune/prune-jobs.ts";
import type { RunOutcome } from "./runs.ts";
import type { Session } from "./session.ts";

/** Who changes something, when no request of the API says so. */
export interface Actor {
  /** `cli:USER`, `daemon`. */
  readonly name: string;
  /** `process 1234`. */
  readonly from: string;
}

/** What is done to what. */
export type Deed = Pick<AuditEntry, "action" | "subject" | "detail">;

/** Appends a record. A log that cannot be written ends nothing: it is a warning. */
export function record(
  { state, surroundings }: Session,
  deed: Deed,
  end: { readonly outcome: AuditOutcome; readonly code?: string | undefined },
): void {
  const { name, from } = surroundings.actor ?? { name: "library", from: `process ${process.pid}` };
  try {
    state.audit.append({ ...deed, ...end, actor: name, from }, surroundings.clock.now());
  } catch (error) {
    surroundings.onWarning?.(`${deed.action} is not in the audit log: ${asHoldfastError(error).message}`);
  }
}

/** Does `act` and records how it ended; what takes long also when it begins. */
export async function audited<T>(session: Session, deed: Deed, act: () => Promise<T>, takesLong = false): Promise<T> {
  if (takesLong) record(session, deed, { outcome: "begun" });
  try {
    const result = await act();
    const { outcome, code, detail } = endOf(result);
    record(session, detail === undefined ? deed : { ...deed, detail: { ...deed.detail, ...detail } }, { outcome, code });
    return result;
  } catch (error) {
    record(session, deed, { outcome: "failed", code: asHoldfastError(error).code });
    throw error;
  }
}

/** How something ended by its result: a run says so itself, and a plan by its actions. */
export function endOf(result: unknown): {
  readonly outcome: "accepted" | "failed";
  readonly code: string | undefined;
  readonly detail: Readonly<Record<string, unknown>> | undefined;
} {
  const end = (typeof result === "object" && result !== null ? result : {}) as Partial<RunOutcome<unknown> & Applied>;
  if (Array.isArray(end.outcomes)) {
    const failures = end.outcomes.filter(({ status }) => status === "failed");
    return {
      outcome: failures.length === 0 ? "accepted" : "failed",
      code: failures[0] && (failures[0].error?.code ?? "failed"),
      detail: { actions: end.outcomes.length, ...(failures.length > 0 && { failed: failures.length }) },
    };
  }
  const { run, status, error } = end;
  const failed = typeof status === "string" && status !== "success" && status !== "partial" && status !== "skipped";
  return {
    outcome: failed ? "failed" : "accepted",
    code: failed ? (error instanceof HoldfastError ? error.code : String(status)) : undefined,
    detail: typeof run === "string" ? { run, status } : undefined,
  };
}

/** Snapshots that go by a rule. A list of all would be cut: the first are enough to find the others among what the target has noted. */
export function deletion(subject: string, snapshots: readonly Pick<SnapshotInfo, "id">[], reason: string): Deed {
  const first = snapshots.slice(0, 10).map(({ id }) => id.slice(0, 12));
  return { action: "retention.delete", subject, detail: { reason, count: snapshots.length, first } };
}

/** What the operations change, for the log: names and choices, never contents. A dry run changes nothing. */
export const OPERATION_DEEDS = {
  backup: ({
    job,
    mode,
    dryRun,
  }: {
    readonly job: string;
    readonly mode?: string | undefined;
    readonly dryRun?: boolean | undefined;
  }): Deed => ({
    action: "job.run",
    subject: job,
    detail: { ...(mode !== undefined && { mode }), ...(dryRun === true && { dryRun }) },
  }),
  apply: ({ approve, allowRecreate }: ApplyRequest): Deed => ({
    action: "plan.apply",
    subject: approve.join(" "),
    detail: { approve, allowRecreate },
  }),
  restore: ({ selector, path, to, overwrite, delete: deletes, safetySnapshot }: RestoreOperation): Deed => ({
    action: "restore.start",
    subject: `${selector.id}:${path}`,
    detail: { to: to === "in-place" ? to : to.folder, overwrite, delete: deletes, safetySnapshot },
  }),
  rollback: ({ run }: RollbackRequest): Deed => ({ action: "restore.rollback", subject: run, detail: undefined }),
  prune: ({ job, keepLast, immediate, dryRun }: PruneRequest): Deed => ({
    action: "prune.run",
    subject: job ?? "",
    detail: { ...(keepLast !== undefined && { keepLast }), immediate, ...(dryRun && { dryRun }) },
  }),
} as const;

/** The operations, recorded: for who does them in a process of their own. A backup is in the history of runs. */
export function auditedOperations(operations: Operations, session: Session): Operations {
  const { apply, restore, rollback, prune } = OPERATION_DEEDS;
  return {
    backup: (request, hooks) => operations.backup(request, hooks),
    apply: (request, hooks) => audited(session, apply(request), () => operations.apply(request, hooks), true),
    restore: (request, hooks) => audited(session, restore(request), () => operations.restore(request, hooks), true),
    rollback: (request, hooks) => audited(session, rollback(request), () => operations.rollback(request, hooks), true),
    prune: (request, hooks) =>
      request.dryRun
        ? operations.prune(request, hooks)
        : audited(session, prune(request), () => operations.prune(request, hooks), true),
  };
}
