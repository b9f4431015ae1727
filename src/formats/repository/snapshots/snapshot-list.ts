import { HoldfastError } from "../../../base/errors.ts";
import type { ObjectId, SnapshotId } from "../../../base/ids.ts";
import type { SnapshotInfo } from "../../format.ts";
import { timeOf } from "../objects/json-object.ts";
import { decodeSnapshot, type SnapshotObject } from "../objects/snapshot-object.ts";
import { inParallel, type Repository } from "../repository.ts";
import { readNotes, type StoredNote } from "./notes.ts";

/** Snapshots read at a time. */
const FETCHES = 16;

/** A snapshot with the object that holds it. Equal uids in two objects (a copy put twice) are one snapshot: the smaller object id. */
export interface StoredSnapshot extends SnapshotInfo {
  readonly object: ObjectId;
}

export interface ListSnapshotsOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told the object name of each snapshot or note that cannot be used. Without it such an object rejects. */
  readonly onDamaged?: ((id: string, error: HoldfastError) => void) | undefined;
  /** Read from the target, past any cache. */
  readonly fresh?: boolean | undefined;
}

/**
 * Every snapshot that no deletion names, with tags, hold and description as the notes left them, oldest first. Rejects
 * when a listing or a read fails for another reason than damage.
 */
export async function listSnapshots(repository: Repository, options: ListSnapshotsOptions = {}): Promise<StoredSnapshot[]> {
  return (await readSnapshots(repository, options)).snapshots;
}

/** What the folders snapshots/ and notes/ hold together. */
export interface SnapshotState {
  readonly snapshots: StoredSnapshot[];
  /** Uids that deletions name; a later copy of one of them may be there again. */
  readonly deleted: ReadonlySet<SnapshotId>;
  /** Objects that deletions name: these are gone for everyone, whether they still lie there or not. */
  readonly deletedObjects: ReadonlySet<ObjectId>;
  readonly notes: StoredNote[];
  /** Readable snapshot objects by their uid, those of deleted snapshots included. */
  readonly objects: ReadonlyMap<SnapshotId, readonly ObjectId[]>;
  /** Every name in snapshots/, readable or not. */
  readonly listed: readonly ObjectId[];
}

/** The same with object ids, the notes, and what deletions named. */
export async function readSnapshots(repository: Repository, options: ListSnapshotsOptions = {}): Promise<SnapshotState> {
  const { signal, onDamaged, fresh } = options;
  // Snapshots are listed before the notes: a deletion puts its note first, so none of them can look undeleted.
  const stats = await repository.listObjects("snapshots", signal);
  // The notes are read beside the snapshots; a rejection of either is thrown below, in this order.
  const reading = readNotes(repository, {
    signal,
    fresh,
    onDamaged: onDamaged === undefined ? undefined : (id, error) => onDamaged(`notes/${id}`, error),
  });
  reading.catch(() => undefined);
  const found: { id: ObjectId; modifiedMs: number | undefined; snapshot: SnapshotObject }[] = [];
  await inParallel(stats, Math.min(FETCHES, repository.target.capabilities.concurrency), async ({ id, modifiedMs }) => {
    try {
      found.push({ id, modifiedMs, snapshot: decodeSnapshot(await repository.readObject("snapshots", id, signal, fresh)) });
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      if (error.code === "target_missing_object") return;
      if (onDamaged === undefined || !error.code.startsWith("object_")) throw error;
      onDamaged(`snapshots/${id}`, error);
    }
  });
  const notes = await reading;
  const deleted = new Set<SnapshotId>();
  const deletedObjects = new Set<ObjectId>();
  for (const { note } of notes) {
    if (note.type !== "deletion") continue;
    for (const { uid, object } of note.snapshots) {
      deleted.add(uid);
      deletedObjects.add(object);
    }
  }
  const objects = new Map<SnapshotId, ObjectId[]>();
  for (const { id, snapshot } of found) objects.set(snapshot.uid, [...(objects.get(snapshot.uid) ?? []), id]);
  const byUid = new Map<SnapshotId, StoredSnapshot>();
  for (const { id, modifiedMs, snapshot } of found.toSorted((a, b) => (a.id < b.id ? -1 : 1)))
    if (!deletedObjects.has(id) && !byUid.has(snapshot.uid)) byUid.set(snapshot.uid, toInfo(id, modifiedMs, snapshot));
  for (const stored of notes) apply(byUid, stored);
  const snapshots = [...byUid.values()].toSorted((a, b) => a.timeMs - b.timeMs || (a.id < b.id ? -1 : 1));
  return { snapshots, deleted, deletedObjects, notes, objects, listed: stats.map(({ id }) => id) };
}

/** A snapshot object as the format contract shows it. */
export function toInfo(object: ObjectId, objectTimeMs: number | undefined, snapshot: SnapshotObject): StoredSnapshot {
  return {
    object,
    id: snapshot.uid,
    run: snapshot.run,
    host: snapshot.host,
    job: snapshot.job,
    source: snapshot.source,
    sourceType: snapshot.sourceType,
    timeMs: timeOf(snapshot.time),
    endMs: timeOf(snapshot.end),
    mode: snapshot.mode,
    baseline: snapshot.baseline,
    previous: snapshot.previous,
    status: snapshot.status,
    sourceBytes: snapshot.bytes.source,
    newBytes: snapshot.bytes.new,
    storedBytes: snapshot.bytes.stored,
    files: snapshot.counts.files,
    directories: snapshot.counts.directories,
    others: snapshot.counts.others,
    unreadable: snapshot.unreadable,
    unreadableCount: snapshot.unreadableCount,
    changedWhileRead: snapshot.changedWhileRead,
    toolVersion: snapshot.tool,
    configDigest: snapshot.configDigest,
    gitCommit: snapshot.gitCommit,
    description: snapshot.description,
    tags: snapshot.tags,
    hold: false,
    facts: snapshot.facts,
    objectTimeMs,
    root: snapshot.root,
  };
}

function apply(snapshots: Map<SnapshotId, StoredSnapshot>, { note }: StoredNote): void {
  if (note.type !== "tags" && note.type !== "hold" && note.type !== "description") return;
  const snapshot = snapshots.get(note.snapshot);
  if (snapshot === undefined) return;
  snapshots.set(note.snapshot, annotated(snapshot, note));
}

function annotated(snapshot: StoredSnapshot, note: Extract<StoredNote["note"], { snapshot: SnapshotId }>): StoredSnapshot {
  switch (note.type) {
    case "tags": {
      const kept = snapshot.tags.filter((tag) => !note.remove.includes(tag));
      return { ...snapshot, tags: [...new Set([...kept, ...note.add])] };
    }
    case "hold":
      return { ...snapshot, hold: typeof note.until === "string" ? timeOf(note.until) : note.until };
    case "description":
      return { ...snapshot, description: note.text };
  }
}

/** A snapshot that names a predecessor which is neither there nor deleted: the list may have been rolled back, or was copied in part. */
export interface MissingPredecessor {
  readonly snapshot: SnapshotInfo;
  readonly missing: SnapshotId;
}

/** The holes in the chains of `previous`, for a warning. `deleted` are the snapshots that deletions name. */
export function missingPredecessors(snapshots: readonly SnapshotInfo[], deleted: ReadonlySet<SnapshotId>): MissingPredecessor[] {
  const known = new Set(snapshots.map(({ id }) => id));
  const holes: MissingPredecessor[] = [];
  for (const snapshot of snapshots) {
    const { previous } = snapshot;
    if (previous !== undefined && !known.has(previous) && !deleted.has(previous)) holes.push({ snapshot, missing: previous });
  }
  return holes;
}
