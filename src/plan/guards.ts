/**
 * When what is new looks wrong, nothing old is deleted. Judged for each job and target by itself, from the snapshots that
 * exist, so that losing the state loses no guard but that of a failed run.
 */
import type { Config, JobConfig } from "../config/config.ts";
import type { Observed, ObservedSnapshot, ObservedTarget } from "./observed.ts";
import { isSuspicious, PRE_RESTORE_TAG } from "./retention.ts";

/** Someone has looked at a snapshot with this tag: it, and those before it, freeze nothing. */
export const ACCEPTED_TAG = "accepted";

/**
 * Why retention and prune of a job must wait on a target, for people; undefined when they need not. It waits
 * - while the last backup failed and brought the target no snapshot of some source,
 * - from a snapshot that is smaller than the one before by more than `guards.shrink`, until one is large enough again,
 * - from a snapshot of files whose new bytes exceed `guards.changed` of it, for good,
 * - in both cases until a snapshot that is not older has the tag `accepted`.
 */
export function guardOf(config: Config, job: JobConfig, target: ObservedTarget, observed: Observed): string | undefined {
  const names = new Set([job.name, ...job.formerly]);
  const own = target.snapshots
    .filter((one) => one.host === config.host && names.has(one.job))
    .filter((one) => !isSuspicious(one) && !one.tags.includes(PRE_RESTORE_TAG))
    .toSorted((a, b) => a.timeMs - b.timeMs);
  const bySource = job.sources.map(({ name }) => own.filter(({ source }) => source === name));
  if (own.length === 0) return undefined;
  if (isFailing(job, target, bySource, observed)) return "the last backup failed; `holdfast runs` says why";
  const { shrink, changed } = config.guards;
  for (const snapshots of bySource) {
    const since = snapshots.findLastIndex(({ tags }) => tags.includes(ACCEPTED_TAG));
    const judged = snapshots.slice(Math.max(0, since));
    const reason =
      (shrink === undefined ? undefined : shrunk(judged, shrink)) ??
      (changed === undefined ? undefined : rewritten(judged, changed));
    if (reason !== undefined) return reason;
  }
  return undefined;
}

function isFailing(
  job: JobConfig,
  target: ObservedTarget,
  bySource: readonly (readonly ObservedSnapshot[])[],
  observed: Observed,
): boolean {
  let last: Observed["runs"][number] | undefined;
  for (const run of observed.runs)
    if (
      run.kind === "backup" &&
      (run.subject === job.name || job.formerly.includes(run.subject)) &&
      (run.status === "failed" || run.status === "success" || run.status === "partial") &&
      (run.targets?.includes(target.name) ?? true) &&
      (last === undefined || run.startedMs > last.startedMs)
    )
      last = run;
  if (last?.status !== "failed") return false;
  const { startedMs } = last;
  return bySource.some((snapshots) => (snapshots.at(-1)?.timeMs ?? -Infinity) < startedMs);
}

/** `snapshots` oldest first; the first of them is taken as right. */
function shrunk([first, ...rest]: readonly ObservedSnapshot[], most: number): string | undefined {
  let reference = first;
  let small: ObservedSnapshot | undefined;
  for (const snapshot of rest)
    if (reference !== undefined && snapshot.sourceBytes < reference.sourceBytes * (1 - most)) small = snapshot;
    else {
      reference = snapshot;
      small = undefined;
    }
  if (reference === undefined || small === undefined) return undefined;
  const share = 1 - small.sourceBytes / reference.sourceBytes;
  return `snapshot ${short(small)} of ${small.source} is ${percent(share)} smaller than ${short(reference)}, guards.shrink is ${percent(most)}${howToAccept(small)}`;
}

/** As `shrunk`. A dump may differ from the one before in every byte, so only files are judged. */
function rewritten([, ...rest]: readonly ObservedSnapshot[], most: number): string | undefined {
  const snapshot = rest.findLast(
    ({ sourceType, newBytes, sourceBytes }) => sourceType === "files" && newBytes > sourceBytes * most,
  );
  if (snapshot === undefined) return undefined;
  const share = snapshot.newBytes / snapshot.sourceBytes;
  return `snapshot ${short(snapshot)} of ${snapshot.source} is new in ${percent(share)} of its bytes, guards.changed is ${percent(most)}${howToAccept(snapshot)}`;
}

const short = ({ id }: ObservedSnapshot): string => id.slice(0, 8);

const percent = (share: number): string => `${Math.round(Math.min(1, share) * 100)}%`;

const howToAccept = (snapshot: ObservedSnapshot): string =>
  `; if that is as it should be: holdfast tag ${short(snapshot)} --add ${ACCEPTED_TAG}`;
