import type { PruneReport } from "../../formats/format.ts";
import { performRun, type RunOutcome } from "../runs.ts";
import type { Session } from "../session.ts";

export interface RunPruneOptions {
  readonly dryRun: boolean;
  /** Delete at once what is not needed; needs strong listing and no other lease. */
  readonly immediate: boolean;
  /** Store anew also what lies under a key epoch before the newest. */
  readonly oldEpochs?: boolean | undefined;
  /** What comes before, as part of the run: the deletions of a retention. */
  readonly first?: ((signal: AbortSignal) => Promise<void>) | undefined;
  readonly reason?: string | undefined;
  readonly signal: AbortSignal;
}

/** Frees the space of what no snapshot on a target needs, as a recorded run. */
export async function runPrune(session: Session, target: string, options: RunPruneOptions): Promise<RunOutcome<PruneReport>> {
  const { maintenance } = session.config;
  return await performRun(
    session,
    { kind: "prune", subject: target, reason: options.reason, targets: [target], dryRun: options.dryRun },
    options.signal,
    async (context) => {
      await options.first?.(context.signal);
      const store = await session.store(target);
      const result = await store.prune({
        dryRun: options.dryRun,
        immediate: options.immediate,
        oldEpochs: options.oldEpochs,
        graceMs: maintenance.graceMs,
        maxUnused: maintenance.maxUnused,
        compression: compressionFor(session, target),
        onProgress: context.onProgress,
        signal: context.signal,
      });
      for (const note of result.notes) context.onMessage("info", `${target}: ${note}`);
      return { status: "success", result, statistics: { ...result } };
    },
  );
}

/** What is written anew is compressed like the first job that uses the target. */
function compressionFor(session: Session, target: string): { type: "none" | "zstd" | "gzip"; level: number } {
  for (const job of session.config.jobs.values())
    if (job.targets.some((one) => one.target.name === target)) return job.compression;
  return { type: "zstd", level: 3 };
}
