import type { PruneOptions, PruneReport, StoreOptions } from "../format.ts";
import { listArchives, type ListedArchive } from "./archive-list.ts";
import { putNote } from "./archive-notes.ts";
import { manifestName } from "./object-names.ts";

/**
 * Removes parts of archives that were never finished, and of deleted ones, whose newest part is older than the grace
 * time by the target's own clock. Anything else is left alone: an archive shares nothing, so there is nothing to repack.
 * On a target that is append-only or tells no times it only counts.
 */
export async function pruneLeftOvers(options: StoreOptions, { dryRun, graceMs, signal }: PruneOptions): Promise<PruneReport> {
  const { target } = options.access;
  const note = dryRun ? undefined : await putNote(options, "prune", {}, signal);
  // The time of an object that was put just now is the target's own idea of now.
  const nowMs = (note === undefined ? undefined : (await target.stat(note, { signal }))?.modifiedMs) ?? options.clock.now();
  const archives = await listArchives(target, signal);
  const unfinished = archives.filter(({ manifest }) => manifest === undefined);
  const notes: string[] = [];
  const deletable = unfinished.filter((archive) => (newestMs(archive) ?? nowMs) < nowMs - graceMs);
  if (unfinished.length > deletable.length)
    notes.push(`${unfinished.length - deletable.length} unfinished archives are kept: they may still be being written`);
  let packsDeleted = 0;
  let bytesDeleted = 0;
  if (options.appendOnly && deletable.length > 0)
    notes.push(`${deletable.length} unfinished archives stay: the target is append-only`);
  else
    for (const { uid, objects } of deletable) {
      signal.throwIfAborted();
      // Finished after all, by a writer that was stopped for longer than the grace time.
      if ((await target.stat(manifestName(uid), { signal })) !== undefined) continue;
      for (const { name, sizeBytes } of objects) {
        if (!dryRun) await target.delete(name, { signal });
        packsDeleted++;
        bytesDeleted += sizeBytes;
      }
    }
  const all = archives.flatMap(({ objects }) => objects);
  const bytesBefore = all.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const liveBytes = bytesBefore - unfinished.flatMap(({ objects }) => objects).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return {
    packsBefore: all.length,
    bytesBefore,
    liveBytes,
    packsKept: all.length - packsDeleted,
    packsRepacked: 0,
    bytesWritten: 0,
    packsCondemned: 0,
    bytesCondemned: 0,
    packsDeleted,
    bytesDeleted,
    indexObjectsReplaced: 0,
    objectsCopied: 0,
    notes,
  };
}

/** Undefined when any of them has no time. */
function newestMs({ objects }: ListedArchive): number | undefined {
  let newest = 0;
  for (const { modifiedMs } of objects) {
    if (modifiedMs === undefined) return undefined;
    newest = Math.max(newest, modifiedMs);
  }
  return newest;
}
