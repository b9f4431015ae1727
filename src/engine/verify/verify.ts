import { HoldfastError } from "../../base/errors.ts";
import type { SnapshotId } from "../../base/ids.ts";
import type { VerifyReport } from "../../formats/format.ts";
import { performRun, type RunContext, type RunOutcome } from "../runs.ts";
import type { Session } from "../session.ts";

export interface RunVerifyOptions {
  /** Default: all. */
  readonly targets?: readonly string[] | undefined;
  /** The jobs it is for: noted as verified. Default: those of the snapshots. */
  readonly jobs?: readonly string[] | undefined;
  /** Empty: all. */
  readonly snapshots: readonly SnapshotId[];
  /** Part of the stored data to read, 0 to 1. */
  readonly readData: number;
  readonly reason?: string | undefined;
  readonly signal: AbortSignal;
}

export type TargetReports = readonly { readonly target: string; readonly report: VerifyReport }[];

/** Verifies snapshots on one target after another, as a recorded run; `failed` when anything is damaged or a target cannot be opened. */
export async function runVerify(session: Session, options: RunVerifyOptions): Promise<RunOutcome<TargetReports>> {
  const targets = options.targets ?? [...session.config.targets.keys()];
  const subject = options.jobs?.[0] ?? targets.join(", ");
  return await performRun(
    session,
    { kind: "verify", subject, reason: options.reason, targets },
    options.signal,
    async (context) => {
      const reports: { target: string; report: VerifyReport }[] = [];
      let error: HoldfastError | undefined;
      for (const target of targets) {
        const report = await verifySnapshots(session, target, options.jobs, options.snapshots, options.readData, context);
        reports.push({ target, report });
        error ??= report.error;
      }
      return {
        status: error === undefined ? "success" : "failed",
        error,
        result: reports,
        statistics: {
          targets: reports.map(({ target, report }) => ({
            target,
            ok: report.ok,
            bytesRead: report.bytesRead,
            damage: report.damage.length,
          })),
        },
      };
    },
  );
}

/** Verifies snapshots on one target, keeps the result there as a note, and turns damage into an error that names it. */
export async function verifySnapshots(
  session: Session,
  target: string,
  jobs: readonly string[] | undefined,
  snapshots: readonly SnapshotId[],
  readData: number,
  context: RunContext,
): Promise<VerifyReport & { readonly error: HoldfastError | undefined }> {
  const store = await session.store(target);
  const report = await store.verify({ snapshots, readData, onProgress: context.onProgress, signal: context.signal });
  for (const damage of report.damage) context.onMessage("error", `${target}: ${damage.kind} ${damage.id}: ${damage.message}`);
  const concerned = jobs ?? [
    ...new Set(
      (await store.snapshots({ signal: context.signal }))
        .filter(({ id }) => snapshots.length === 0 || snapshots.includes(id))
        .map(({ job }) => job),
    ),
  ];
  try {
    await store.noteVerification(concerned, snapshots, report, context.signal);
  } catch (error) {
    context.signal.throwIfAborted();
    // A target that cannot be written to can still be verified; only the plan will not know of it.
    context.onMessage(
      "warn",
      `${target}: the result could not be noted there: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  if (report.ok) return { ...report, error: undefined };
  const error = new HoldfastError("verify_failed", `Target ${target} has ${report.damage.length} damaged objects`, {
    hint: "`holdfast repair` marks what is unreadable, so that the next backup stores it again; what the source no longer has comes from another target.",
    data: { target, damage: report.damage.map(({ kind, id }) => ({ kind, id })) },
  });
  return { ...report, error };
}
