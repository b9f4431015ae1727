import type { SnapshotEntry, SnapshotInfo, Store } from "../../formats/format.ts";
import { entryAt, walkSnapshot } from "./entries.ts";

/**
 * What is at `path`: the entries of a folder, with everything below when `recursive`, or the one entry that is no folder.
 * In tree order, in batches. Rejects with `path_missing`.
 */
export async function* listEntries(
  store: Store,
  snapshot: SnapshotInfo,
  path: Uint8Array,
  options: { readonly recursive: boolean; readonly signal: AbortSignal },
): AsyncGenerator<readonly SnapshotEntry[], void, undefined> {
  const { signal, recursive } = options;
  const start = await entryAt(store, snapshot, path, signal);
  if (start.entry.type !== "directory") yield [start];
  else if (!recursive) yield* store.list(start, signal);
  else
    for await (const steps of walkSnapshot(store, start, signal)) {
      const entries = steps.flatMap((step) => ("entry" in step ? [step.entry] : []));
      if (entries.length > 0) yield entries;
    }
}
