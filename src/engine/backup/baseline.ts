import { HoldfastError } from "../../base/errors.ts";
import type { SnapshotId } from "../../base/ids.ts";
import type { JobConfig, JobMode, SourceConfig } from "../../config/config.ts";
import { PRE_RESTORE_TAG } from "../../plan/retention.ts";
import type { SnapshotInfo, Store } from "../../formats/format.ts";

export interface BaselineChoice {
  readonly mode: JobMode;
  readonly baseline: SnapshotInfo | undefined;
  /** Newest snapshot of the series, for noticing gaps. */
  readonly previous: SnapshotId | undefined;
}

/**
 * The baseline a run compares with. `full`: none. `incremental`: the newest snapshot of this host, job and source.
 * `differential`: the newest full one, or else this run becomes full. A given baseline must be of the same source.
 */
export async function chooseBaseline(
  host: string,
  job: JobConfig,
  source: SourceConfig,
  stores: readonly Store[],
  options: { readonly mode?: JobMode | undefined; readonly baseline?: SnapshotInfo | undefined; readonly signal: AbortSignal },
): Promise<BaselineChoice> {
  const names = new Set([job.name, ...job.formerly]);
  const series = new Map<string, SnapshotInfo>();
  // A target whose snapshots cannot be listed says so when it is written to; the others go on without it.
  const listings = await Promise.allSettled(stores.map((store) => store.snapshots({ signal: options.signal })));
  options.signal.throwIfAborted();
  for (const listing of listings)
    for (const snapshot of listing.status === "fulfilled" ? listing.value : [])
      if (
        snapshot.host === host &&
        names.has(snapshot.job) &&
        snapshot.source === source.name &&
        !snapshot.tags.includes(PRE_RESTORE_TAG)
      )
        series.set(snapshot.id, snapshot);
  const sorted = [...series.values()].sort((a, b) => a.timeMs - b.timeMs);
  const previous = sorted.at(-1)?.id;
  const mode = options.mode ?? job.mode;
  const stored = stores.every((store) => store.capabilities.incremental);
  if (options.baseline !== undefined) {
    if (options.baseline.source !== source.name || options.baseline.sourceType !== source.type)
      throw new HoldfastError(
        "usage",
        `Snapshot ${options.baseline.id.slice(0, 8)} is of source ${options.baseline.source}, not of ${source.name}`,
        {
          hint: "Give a baseline of the same source; `holdfast snapshots` lists them.",
        },
      );
    return { mode: mode === "full" ? "incremental" : mode, baseline: options.baseline, previous };
  }
  if (mode === "full" || !stored) return { mode: "full", baseline: undefined, previous };
  const baseline = mode === "incremental" ? sorted.at(-1) : sorted.findLast((snapshot) => snapshot.mode === "full");
  return { mode: baseline === undefined ? "full" : mode, baseline, previous };
}
