/** What may be done to snapshots on every target that holds them: annotated, deleted. */
import { audited } from "./audit.ts";
import { HoldfastError } from "../base/errors.ts";
import type { Annotation, SnapshotInfo } from "../formats/format.ts";
import type { Session } from "./session.ts";
import { selectSnapshot, type SnapshotSelector } from "./snapshots.ts";

export interface DeletedSnapshot {
  readonly snapshot: SnapshotInfo;
  readonly targets: readonly string[];
}

/** Removes snapshots from every target that holds them. Rejects with `plan_held`, before anything is removed, when one is held. */
export async function deleteSnapshots(
  session: Session,
  selectors: readonly SnapshotSelector[],
  signal?: AbortSignal,
): Promise<readonly DeletedSnapshot[]> {
  const chosen = await Promise.all(selectors.map((selector) => selectSnapshot(session, selector, signal)));
  for (const { info } of chosen)
    if (info.hold !== false)
      throw new HoldfastError("plan_held", `Snapshot ${info.id.slice(0, 8)} is held`, {
        hint: "Release it first: `holdfast tag ID --hold=no`. Nothing was deleted.",
      });
  for (const { info, targets } of chosen)
    await audited(
      session,
      { action: "snapshot.delete", subject: info.id, detail: { job: info.job, source: info.source, targets } },
      async () => {
        for (const name of targets) {
          const store = await session.store(name);
          const own = (await store.snapshots({ signal })).filter(({ id }) => id === info.id);
          await store.delete(own, { reason: "asked for", signal });
        }
      },
    );
  return chosen.map(({ info, targets }) => ({ snapshot: info, targets }));
}

/** The same of one, for who has seen which it is: `confirm` must be its whole id. Rejects with `confirmation_required` otherwise. */
export async function deleteConfirmed(
  session: Session,
  id: string,
  confirm: string | undefined,
  signal: AbortSignal,
): Promise<DeletedSnapshot | undefined> {
  const { info, targets } = await selectSnapshot(session, { id }, signal);
  if (confirm !== info.id)
    throw new HoldfastError(
      "confirmation_required",
      `A confirmation is needed to delete snapshot ${info.id.slice(0, 8)} of ${info.job} / ${info.source} from ${targets.join(", ")}`,
      { hint: `Repeat the request with confirm=${info.id}. Nothing was changed.`, data: { snapshot: info.id, targets } },
    );
  return (await deleteSnapshots(session, [{ id: info.id }], signal))[0];
}

/** Annotates a snapshot on every target that holds it. */
export async function annotateSnapshot(
  session: Session,
  selector: SnapshotSelector,
  annotation: Annotation,
  signal?: AbortSignal,
): Promise<{ readonly info: SnapshotInfo; readonly targets: readonly string[] }> {
  const { info, targets } = await selectSnapshot(session, selector, signal);
  await audited(session, { action: "snapshot.annotate", subject: info.id, detail: { ...annotation } }, async () => {
    for (const name of targets) {
      const store = await session.store(name);
      const own = (await store.snapshots({ signal })).find(({ id }) => id === info.id);
      if (own !== undefined) await store.annotate(own, annotation, signal);
    }
  });
  return await selectSnapshot(session, { id: info.id }, signal);
}
