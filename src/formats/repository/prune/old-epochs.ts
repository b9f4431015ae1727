import { createHash } from "node:crypto";
import { throwIfAborted } from "../../../base/abort.ts";
import { HoldfastError } from "../../../base/errors.ts";
import type { ObjectId } from "../../../base/ids.ts";
import { decodeNote, encodeNote } from "../objects/note-object.ts";
import { inParallel, objectIdOf, OBJECT_KINDS, type Repository } from "../repository.ts";
import { noteBase, readNotes } from "../snapshots/notes.ts";
import { readSnapshots } from "../snapshots/snapshot-list.ts";

// Snapshots and notes are stored anew by copying: the same content under the newest epoch, so under another name. Both
// copies count meanwhile, which changes nothing: snapshots of one uid are one, and a note that applies twice says the same.
// Readers that listed the old one still find it, until a prune deletes it after the grace time.

const FOLDERS = ["snapshots", "notes"] as const;
type Folder = (typeof FOLDERS)[number];
const FETCHES = 16;

/** The steps of a rewrite beside those of the prune that it is part of. */
export const REWRITE_BOUNDARIES = [
  "mid object copies",
  "after object copies",
  "mid outdated deletion",
  "after outdated deletion",
] as const;
export type RewriteBoundary = (typeof REWRITE_BOUNDARIES)[number];
type OnBoundary = (name: RewriteBoundary) => void | Promise<void>;

interface SealedObject {
  readonly folder: Folder;
  readonly id: ObjectId;
  readonly epoch: number;
  /** SHA-256 of the content: equal for copies. Known in memory alone. */
  readonly digest: string;
  readonly objectTimeMs: number | undefined;
}

/** Rejects with `repository_changed` when another process began an epoch since this repository was opened. */
export async function refuseOlderKeyring(repository: Repository, signal: AbortSignal): Promise<void> {
  for (const { id } of await repository.listObjects("keyring", signal)) {
    const keyring = await repository.readKeyring(id, signal);
    if (keyring === undefined || keyring.generation <= repository.keyring.generation) continue;
    throw new HoldfastError("repository_changed", `Another process began a key epoch on target ${repository.name} meanwhile`, {
      hint: "Nothing was changed. Run the command again; it opens the repository with the new keyring.",
    });
  }
}

/** Those of the index objects `ids` that are sealed under an epoch before the newest. */
export async function oldIndexObjects(
  repository: Repository,
  ids: readonly ObjectId[],
  signal: AbortSignal,
): Promise<Set<ObjectId>> {
  const old = new Set<ObjectId>();
  await inParallel(ids, fetchesOf(repository), async (id) => {
    if (isOld(repository, (await repository.readSealed("index", id, signal)).epoch)) old.add(id);
  });
  return old;
}

/**
 * Stores every snapshot and note that lies under an older epoch once more under the newest, unless a copy is there. What a
 * deletion names is left out. Rejects when one of them cannot be read; returns how many copies were put.
 */
export async function copyOldObjects(
  repository: Repository,
  options: { readonly signal: AbortSignal; readonly onCopied: (copied: number) => void; readonly onBoundary: OnBoundary },
): Promise<number> {
  const { signal, onCopied, onBoundary } = options;
  const { deletedObjects } = await readSnapshots(repository, { signal });
  const copies = new Map<ObjectId, ObjectId>();
  for (const folder of FOLDERS) {
    const objects = await sealedObjects(repository, folder, signal);
    const current = new Set(objects.filter(({ epoch }) => !isOld(repository, epoch)).map(({ digest }) => digest));
    const old = objects.filter(({ epoch, id }) => isOld(repository, epoch) && !deletedObjects.has(id));
    const places = folder === "notes" ? await tiePlaces(repository, old, signal) : new Map<ObjectId, TiePlace>();
    // The last first: of notes that apply in the order of their names, those copied so far must be those that come last.
    for (const { id, digest } of old.toReversed()) {
      if (current.has(digest)) continue;
      current.add(digest);
      copies.set(id, await copy(repository, folder, id, places.get(id) ?? { position: 0, of: 1 }, signal));
      onCopied(copies.size);
      await onBoundary("mid object copies");
    }
  }
  const { size } = copies;
  await withdrawDeleted(repository, copies, signal);
  await onBoundary("after object copies");
  return size;
}

/** Objects under older epochs that may go: their copy under the newest has been there for longer than the grace time. */
export async function deleteOutdated(
  repository: Repository,
  options: {
    readonly graceMs: number;
    /** Nobody else is at work, so that nobody can have listed the old ones alone. */
    readonly immediate: boolean;
    readonly targetNowMs: number | undefined;
    readonly signal: AbortSignal;
    readonly remove: (name: string) => Promise<void>;
    readonly onBoundary: OnBoundary;
  },
): Promise<void> {
  const { graceMs, immediate, targetNowMs, signal, remove, onBoundary } = options;
  if (repository.keyring.epochs.length === 1) return;
  const nowMs = repository.options.clock.now();
  const { deletedObjects } = await readSnapshots(repository, { signal });
  for (const folder of FOLDERS) {
    const objects = await sealedObjects(repository, folder, signal);
    const copies = new Map(
      objects.filter(({ epoch, id }) => !isOld(repository, epoch) && !deletedObjects.has(id)).map((one) => [one.digest, one]),
    );
    const old = objects.filter(({ epoch }) => isOld(repository, epoch));
    // Until the last one has its copy, a rewrite that was interrupted needs all of them to go on with.
    if (old.some(({ id, digest }) => !deletedObjects.has(id) && !copies.has(digest))) continue;
    for (const { id, digest } of old) {
      if (!deletedObjects.has(id)) {
        const newer = copies.get(digest);
        if (newer === undefined) continue;
        const { objectTimeMs } = newer;
        if (!immediate && objectTimeMs === undefined) continue;
        // Whichever clock says less counts: time only ever delays.
        const age = Math.min(nowMs, targetNowMs ?? Infinity) - (objectTimeMs ?? 0);
        if (!immediate && age < graceMs) continue;
        // Of the target itself, past any cache: from here on it is the only one.
        await repository.readObject(folder, newer.id, signal, true);
      }
      await remove(`${folder}/${id}`);
      await onBoundary("mid outdated deletion");
    }
  }
  await onBoundary("after outdated deletion");
}

async function sealedObjects(repository: Repository, folder: Folder, signal: AbortSignal): Promise<SealedObject[]> {
  const objects: SealedObject[] = [];
  await inParallel(await repository.listObjects(folder, signal), fetchesOf(repository), async ({ id, modifiedMs }) => {
    try {
      const { epoch, content } = await repository.readSealed(folder, id, signal);
      objects.push({ folder, id, epoch, digest: createHash("sha256").update(content).digest("hex"), objectTimeMs: modifiedMs });
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== "target_missing_object") throw error;
    }
  });
  return objects.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** Where the name of a copy must lie among those of its equals: in the given one of `of` equal parts of all names. */
interface TiePlace {
  readonly position: number;
  readonly of: number;
}

/** Notes of one snapshot and one time apply in the order of their names, which their copies must keep. */
async function tiePlaces(
  repository: Repository,
  notes: readonly SealedObject[],
  signal: AbortSignal,
): Promise<Map<ObjectId, TiePlace>> {
  const ties = new Map<string, ObjectId[]>();
  for (const { id } of notes) {
    const note = decodeNote(await repository.readObject("notes", id, signal));
    if (note === undefined || !("snapshot" in note)) continue;
    const key = `${note.type} ${note.snapshot} ${note.time}`;
    ties.set(key, [...(ties.get(key) ?? []), id]);
  }
  return new Map([...ties.values()].flatMap((tie) => tie.map((id, position) => [id, { position, of: tie.length }])));
}

async function copy(
  repository: Repository,
  folder: Folder,
  id: ObjectId,
  { position, of }: TiePlace,
  signal: AbortSignal,
): Promise<ObjectId> {
  throwIfAborted(signal);
  const content = await repository.readObject(folder, id, signal);
  // Sealing is salted, so each attempt has another name.
  for (;;) {
    const bytes = repository.sealer.sealObject(OBJECT_KINDS[folder], content);
    const name = objectIdOf(bytes);
    if (Math.floor((Number.parseInt(name.slice(0, 8), 16) / 2 ** 32) * of) !== position) continue;
    await repository.target.put(`${folder}/${name}`, [bytes], { signal });
    const stored = await repository.readObject(folder, name, signal, true);
    if (Buffer.compare(stored, content) === 0) return name;
    throw new HoldfastError("write_verification_failed", `${folder}/${name} on target ${repository.name} has other content`, {
      hint: "This points to a fault of memory or CPU. Nothing was deleted.",
    });
  }
}

/** A snapshot deleted while it was copied must not come back with its copy. */
async function withdrawDeleted(repository: Repository, copies: Map<ObjectId, ObjectId>, signal: AbortSignal): Promise<void> {
  for (const { note } of await readNotes(repository, { signal })) {
    if (note.type !== "deletion") continue;
    for (const deleted of note.snapshots) {
      const object = copies.get(deleted.object);
      if (object === undefined || !copies.delete(deleted.object)) continue;
      const again = { ...noteBase(repository), type: "deletion", snapshots: [{ ...deleted, object }] } as const;
      await repository.putObject("notes", encodeNote(again), signal);
      await repository.target.delete(`snapshots/${object}`, { signal });
    }
  }
}

function isOld(repository: Repository, epoch: number): boolean {
  return epoch < repository.keys.current.epoch;
}

function fetchesOf(repository: Repository): number {
  return Math.min(FETCHES, repository.target.capabilities.concurrency);
}
