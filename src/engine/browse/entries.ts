import { HoldfastError } from "../../base/errors.ts";
import { pathText } from "../../base/path-text.ts";
import type { SnapshotEntry, SnapshotInfo, Store } from "../../formats/format.ts";

/** The entry at `path`. Rejects with `path_missing`. */
export async function entryAt(
  store: Store,
  snapshot: SnapshotInfo,
  path: Uint8Array,
  signal: AbortSignal,
): Promise<SnapshotEntry> {
  const entry = await store.lookup(snapshot, path, signal);
  if (entry !== undefined) return entry;
  throw new HoldfastError("path_missing", `Snapshot ${snapshot.id.slice(0, 8)} has no ${pathText(path)}`, {
    hint: "List a folder with `holdfast ls`, or search with `holdfast find`.",
  });
}

/** One step of a walk through a snapshot: an entry, or the end of the folder that was entered last. */
export type WalkStep = { readonly entry: SnapshotEntry; readonly depth: number } | { readonly leave: SnapshotEntry };

/**
 * Everything below `folder` in tree order, depth first; `enter` says whether a folder is entered. Whatever the depth, one
 * listing a level is held.
 */
export async function* walkSnapshot(
  store: Store,
  folder: SnapshotEntry,
  signal: AbortSignal,
  enter: (folder: SnapshotEntry, depth: number) => boolean = () => true,
): AsyncGenerator<readonly WalkStep[], void, undefined> {
  const stack: Level[] = [level(store, folder, signal)];
  let steps: WalkStep[] = [];
  try {
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const entry = top.batch[top.next++];
      if (entry === undefined) {
        const next = await top.batches.next();
        if (next.done !== true) {
          top.batch = next.value;
          top.next = 0;
        } else {
          stack.pop();
          if (stack.length > 0) steps.push({ leave: top.folder });
        }
      } else {
        const depth = stack.length - 1;
        steps.push({ entry, depth });
        if (entry.entry.type === "directory" && enter(entry, depth)) stack.push(level(store, entry, signal));
      }
      if (steps.length < STEPS) continue;
      yield steps;
      steps = [];
    }
    if (steps.length > 0) yield steps;
  } finally {
    for (const { batches } of stack) await batches.return?.();
  }
}

const STEPS = 512;

interface Level {
  readonly folder: SnapshotEntry;
  readonly batches: AsyncIterator<readonly SnapshotEntry[]>;
  batch: readonly SnapshotEntry[];
  next: number;
}

function level(store: Store, folder: SnapshotEntry, signal: AbortSignal): Level {
  return { folder, batches: store.list(folder, signal)[Symbol.asyncIterator](), batch: [], next: 0 };
}
