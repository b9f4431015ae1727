import { HoldfastError } from "../../../base/errors.ts";
import type { SnapshotId } from "../../../base/ids.ts";
import { isoTime } from "../objects/json-object.ts";
import { encodeNote } from "../objects/note-object.ts";
import type { Repository } from "../repository.ts";
import { noteBase } from "./notes.ts";
import { readSnapshots } from "./snapshot-list.ts";

/**
 * Forgets snapshots: a tombstone note first, then their objects. From the note on they are gone for everyone; after a
 * crash between the two, calling it again (or any later deletion) removes what is left. On an append-only target the
 * objects stay. A held snapshot, or one whose state cannot be known because a note is damaged, refuses the whole call.
 */
export async function deleteSnapshots(
  repository: Repository,
  ids: readonly SnapshotId[],
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const { signal } = options;
  const { snapshots, deleted, deletedObjects, objects, listed } = await readSnapshots(repository, {
    signal,
    onDamaged: (name, error) => {
      // An unreadable snapshot is another's problem; an unreadable note may be the hold of one of these.
      if (name.startsWith("notes/")) throw error;
    },
  });
  const now = repository.options.clock.now();
  const wanted = new Set(ids);
  const chosen = snapshots.filter(({ id }) => wanted.has(id));
  for (const snapshot of chosen)
    if (snapshot.hold === true || (typeof snapshot.hold === "number" && snapshot.hold > now))
      throw new HoldfastError(
        "plan_held",
        `Snapshot ${snapshot.id} on target ${repository.name} is held${snapshot.hold === true ? "" : ` until ${isoTime(snapshot.hold)}`}`,
        {
          hint: "Nothing was deleted. Release it first: holdfast tag ID --hold=false.",
          data: { snapshot: snapshot.id },
        },
      );
  const known = new Set(chosen.map(({ id }) => id));
  for (const id of ids)
    if (!known.has(id) && !deleted.has(id))
      throw new HoldfastError("snapshot_missing", `There is no snapshot ${id} on target ${repository.name}`, {
        hint: "Nothing was deleted. `holdfast snapshots` lists what is there.",
        data: { snapshot: id },
      });
  // A snapshot that was put twice is deleted only with every copy of it.
  const tombstones = chosen.flatMap(({ id, timeMs, job, source, host }) =>
    (objects.get(id) ?? [])
      .filter((object) => !deletedObjects.has(object))
      .map((object) => ({ uid: id, object, time: isoTime(timeMs), job, source, host })),
  );
  if (tombstones.length > 0)
    await repository.putObject("notes", encodeNote({ ...noteBase(repository), type: "deletion", snapshots: tombstones }), signal);
  if (repository.options.appendOnly === true) return;
  const gone = new Set([...deletedObjects, ...tombstones.map(({ object }) => object)]);
  for (const object of listed) if (gone.has(object)) await repository.target.delete(`snapshots/${object}`, { signal });
}
