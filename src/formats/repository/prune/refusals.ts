import { formatDuration } from "../../../base/duration.ts";
import { HoldfastError } from "../../../base/errors.ts";
import type { Repository } from "../repository.ts";
import type { SnapshotState } from "../snapshots/snapshot-list.ts";
import type { RepositoryView } from "../verify/repository-view.ts";

/** Local and target time may differ by less than this. */
const MAX_SKEW_MS = 5 * 60_000;

/** Whether a deletion names a snapshot's object. */
export function isDeleted(object: string, state: Pick<SnapshotState, "notes">): boolean {
  return state.notes.some(
    ({ note }) => note.type === "deletion" && note.snapshots.some((tombstone) => tombstone.object === object),
  );
}

/** Throws `object_damaged` when an index or condemned object that counts cannot be read. */
export function refuseDamage(repository: Repository, view: RepositoryView): void {
  const replaced = view.supersededIndex;
  for (const [id, error] of [...view.damagedIndex, ...view.damagedCondemned]) {
    if (replaced.has(id)) continue;
    throw new HoldfastError(
      "object_damaged",
      `Target ${repository.name} holds a damaged ${view.damagedIndex.has(id) ? "index" : "condemned"} object, ${id}`,
      {
        hint: "Nothing was changed. Run `holdfast repair`, then prune again.",
        cause: error,
        data: { object: id },
      },
    );
  }
}

/** Throws `object_damaged`: a pack that is damaged and needed cannot be stored anew, so not all would be under the newest epoch. */
export function refuseDamagedPacks(repository: Repository, packs: number): void {
  if (packs === 0) return;
  throw new HoldfastError("object_damaged", `Target ${repository.name} holds ${packs} damaged packs that snapshots need`, {
    hint: "Nothing was changed. `holdfast verify` names what depends on them; a backup stores again what its source still has. Then try again.",
  });
}

/** Throws `unsupported` for a repository with one key epoch, or an append-only one: there is nothing, or no way, to rewrite. */
export function refuseOneEpoch(repository: Repository): void {
  if (repository.keyring.epochs.length === 1)
    throw new HoldfastError("unsupported", `Target ${repository.name} has one key epoch only: nothing lies under an older one`, {
      hint: "`holdfast key rotate` begins a new epoch; rewrite after it.",
    });
  if (repository.options.appendOnly === true)
    throw new HoldfastError("unsupported", `Target ${repository.name} is append-only: what lies there cannot be replaced`, {
      hint: "Rewrite from a machine that may delete.",
    });
}

/** Throws `clock_unreliable` when the clocks of machine and target differ too much to tell what is old. */
export function refuseSkew(repository: Repository, skewMs: number | undefined): void {
  if (skewMs === undefined || Math.abs(skewMs) < MAX_SKEW_MS) return;
  throw new HoldfastError(
    "clock_unreliable",
    `The time of this machine and that of target ${repository.name} differ by ${formatDuration(Math.abs(skewMs))}`,
    {
      hint: "Nothing was changed. Set both clocks (NTP); what is old enough to delete cannot be told otherwise.",
    },
  );
}
