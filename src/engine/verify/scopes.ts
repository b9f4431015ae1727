import { HoldfastError } from "../../base/errors.ts";
import type { SnapshotId } from "../../base/ids.ts";
import type { Session } from "../session.ts";
import { selectSnapshot, type SnapshotSelector } from "../snapshots.ts";

/** What one verification looks at. */
export interface VerifyScope {
  /** Undefined: all. */
  readonly targets: readonly string[] | undefined;
  /** Empty: all. */
  readonly snapshots: readonly SnapshotId[];
}

/** What to verify where: all, or the named snapshots on each target that holds them; targets that hold the same ones together. */
export async function verifyScopes(
  session: Session,
  selectors: readonly SnapshotSelector[],
  target: string | undefined,
  signal: AbortSignal,
): Promise<readonly VerifyScope[]> {
  if (target !== undefined) session.target(target);
  if (selectors.length === 0) return [{ targets: target === undefined ? undefined : [target], snapshots: [] }];
  const byTarget = new Map<string, SnapshotId[]>();
  for (const selector of selectors) {
    const { info, targets } = await selectSnapshot(session, { ...selector, ...(target !== undefined && { target }) }, signal);
    for (const name of targets) byTarget.set(name, [...(byTarget.get(name) ?? []), info.id]);
  }
  const groups = Map.groupBy(byTarget, ([, ids]) => ids.join());
  if (groups.size === 0) throw new HoldfastError("snapshot_missing", "No target holds these snapshots");
  return [...groups.values()].map((group) => ({ targets: group.map(([name]) => name), snapshots: group[0]?.[1] ?? [] }));
}
