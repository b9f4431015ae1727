import { HoldfastError } from "../../../base/errors.ts";
import type { ObjectId, SnapshotId } from "../../../base/ids.ts";
import type { Annotation } from "../../format.ts";
import { isoTime } from "../objects/json-object.ts";
import { decodeNote, encodeNote, type NoteObject, type VerificationNote } from "../objects/note-object.ts";
import { inParallel, type Repository } from "../repository.ts";

/** Notes read at a time. */
const FETCHES = 16;

/** A note with its object id. */
export interface StoredNote {
  readonly id: ObjectId;
  readonly note: NoteObject;
}

/** What a verification says of itself when it is kept. */
export interface VerificationResult {
  readonly snapshots: readonly SnapshotId[];
  /** `structure`, `data`, or the part of the data that was read: `data 0.1`. */
  readonly level: string;
  /** `ok` or `damaged`. */
  readonly result: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/**
 * Every note in the order in which notes apply: by time, then object id. Types of later versions are left out. A note
 * that is damaged goes to `onDamaged`, or rejects without it; one that vanishes meanwhile is skipped.
 */
export async function readNotes(
  repository: Repository,
  options: {
    readonly signal?: AbortSignal | undefined;
    readonly onDamaged?: ((id: ObjectId, error: HoldfastError) => void) | undefined;
    /** Read from the target, past any cache. */
    readonly fresh?: boolean | undefined;
  } = {},
): Promise<StoredNote[]> {
  const { signal, onDamaged, fresh } = options;
  const notes: StoredNote[] = [];
  const stats = await repository.listObjects("notes", signal);
  await inParallel(stats, Math.min(FETCHES, repository.target.capabilities.concurrency), async ({ id }) => {
    try {
      const note = decodeNote(await repository.readObject("notes", id, signal, fresh));
      if (note !== undefined) notes.push({ id, note });
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      if (error.code === "target_missing_object") return;
      if (onDamaged === undefined || !error.code.startsWith("object_")) throw error;
      onDamaged(id, error);
    }
  });
  return notes.toSorted((a, b) => compareTexts(a.note.time, b.note.time) || compareTexts(a.id, b.id));
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Puts one note a kind of change that `annotation` holds. Nothing is put for an empty annotation. */
export async function annotateSnapshot(
  repository: Repository,
  snapshot: { readonly id: SnapshotId },
  annotation: Annotation,
  signal?: AbortSignal,
): Promise<void> {
  const base = noteBase(repository);
  const { addTags = [], removeTags = [], hold, description } = annotation;
  const notes: NoteObject[] = [];
  if (addTags.length > 0 || removeTags.length > 0)
    notes.push({ ...base, type: "tags", snapshot: snapshot.id, add: addTags, remove: removeTags });
  if (hold !== undefined)
    notes.push({ ...base, type: "hold", snapshot: snapshot.id, until: typeof hold === "number" ? isoTime(hold) : hold });
  if (description !== undefined) notes.push({ ...base, type: "description", snapshot: snapshot.id, text: description });
  for (const note of notes) await repository.putObject("notes", encodeNote(note), signal);
}

/** Keeps the result of a verification beside the snapshots it is about. */
export async function putVerificationNote(
  repository: Repository,
  result: VerificationResult,
  signal?: AbortSignal,
): Promise<ObjectId> {
  const note: VerificationNote = { ...noteBase(repository), type: "verification", ...result };
  return await repository.putObject("notes", encodeNote(note), signal);
}

/** Keeps the retention policy that was applied, so that a later change of it can be told. */
export async function putPolicyNote(
  repository: Repository,
  policy: Readonly<Record<string, unknown>>,
  signal?: AbortSignal,
): Promise<ObjectId> {
  return await repository.putObject("notes", encodeNote({ ...noteBase(repository), type: "policy", policy }), signal);
}

/** The policy of the newest policy note, or undefined. */
export function lastPolicy(notes: readonly StoredNote[]): Readonly<Record<string, unknown>> | undefined {
  const newest = notes.findLast(({ note }) => note.type === "policy")?.note;
  return newest?.type === "policy" ? newest.policy : undefined;
}

/** The newest verification of each snapshot. */
export function lastVerifications(notes: readonly StoredNote[]): Map<SnapshotId, VerificationNote> {
  const newest = new Map<SnapshotId, VerificationNote>();
  for (const { note } of notes)
    if (note.type === "verification") for (const snapshot of note.snapshots) newest.set(snapshot, note);
  return newest;
}

/** What every note begins with. */
export function noteBase(repository: Repository): { time: string; host: string } {
  const { clock, host } = repository.options;
  return { time: isoTime(clock.now()), host };
}
