import { HoldfastError } from "../../base/errors.ts";
import type { SnapshotId } from "../../base/ids.ts";
import type { ObjectStat, Target } from "../../targets/target.ts";
import { archiveOf, ARCHIVES, manifestName } from "./object-names.ts";
import { decodeManifest, type Manifest } from "./manifest.ts";

/** Objects of one archive, finished or not. */
export interface ListedArchive {
  readonly uid: SnapshotId;
  readonly objects: readonly ObjectStat[];
  /** Undefined for one that was not finished. */
  readonly manifest: ObjectStat | undefined;
}

/** Everything in `archives/`, by archive; what is not ours is left out. */
export async function listArchives(target: Target, signal?: AbortSignal): Promise<ListedArchive[]> {
  const byUid = new Map<SnapshotId, ObjectStat[]>();
  for (const stat of await target.list(ARCHIVES, { signal })) {
    const uid = archiveOf(stat.name)?.uid;
    if (uid === undefined) continue;
    const objects = byUid.get(uid);
    if (objects === undefined) byUid.set(uid, [stat]);
    else objects.push(stat);
  }
  return [...byUid].map(([uid, objects]) => ({ uid, objects, manifest: objects.find(({ name }) => name === manifestName(uid)) }));
}

/** A listed archive's manifest; undefined when it has vanished meanwhile. */
export async function readManifest(
  target: Target,
  { uid, manifest }: ListedArchive,
  signal?: AbortSignal,
): Promise<Manifest | undefined> {
  try {
    return decodeManifest(await target.get(manifestName(uid), { signal }), uid, manifest?.modifiedMs);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "target_missing_object") return undefined;
    throw error;
  }
}

/** Runs `act` for each item, `width` at a time. */
export async function inParallel<Item>(items: readonly Item[], width: number, act: (item: Item) => Promise<void>): Promise<void> {
  const queue = items.values();
  const worker = async (): Promise<void> => {
    for (const item of queue) await act(item);
  };
  await Promise.all(Array.from({ length: Math.max(1, Math.min(width, items.length)) }, worker));
}
