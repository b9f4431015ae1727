import { HoldfastError } from "../../base/errors.ts";
import type { SnapshotId } from "../../base/ids.ts";
import { randomHex } from "../../base/random.ts";
import type { Target } from "../../targets/target.ts";
import type { StoreObservations, StoreOptions, VerifyReport } from "../format.ts";
import { inParallel } from "./archive-list.ts";
import { NOTES } from "./object-names.ts";
import { decodeSealed, encodeSealed } from "./sealed-json.ts";

const READS = 16;
const MAX_JOBS = 100_000;

/** What was done to an archive target. Notes are never changed; of each kind and job the newest counts. */
export type ArchiveNote =
  | { readonly type: "verification"; readonly timeMs: number; readonly jobs: readonly string[]; readonly ok: boolean }
  | { readonly type: "policy"; readonly timeMs: number; readonly job: string; readonly policy: unknown }
  | { readonly type: "prune"; readonly timeMs: number };

/** Puts a note and returns its object's name. */
export async function putNote(
  { access, clock, random, host }: StoreOptions,
  type: ArchiveNote["type"],
  members: Readonly<Record<string, unknown>>,
  signal?: AbortSignal,
): Promise<string> {
  const name = `${NOTES}${randomHex(random, 16)}.json`;
  await access.target.put(name, [encodeSealed({ ...members, type, timeMs: clock.now(), host })], { signal });
  return name;
}

export function verificationMembers(
  jobs: readonly string[],
  snapshots: readonly SnapshotId[],
  report: VerifyReport,
): Readonly<Record<string, unknown>> {
  const { ok, level, checks, bytesRead } = report;
  return { jobs, snapshots, ok, level, checks, damage: report.damage.slice(0, 100), bytesRead };
}

/** Every note, oldest first. A damaged one goes to `onDamaged`; types of later versions are left out. */
export async function readNotes(
  target: Target,
  onDamaged: (name: string, error: HoldfastError) => void,
  signal?: AbortSignal,
): Promise<ArchiveNote[]> {
  const notes: ArchiveNote[] = [];
  const stats = (await target.list(NOTES, { signal })).filter(({ name }) => /^notes\/[0-9a-f]{32}\.json$/.test(name));
  await inParallel(stats, READS, async ({ name }) => {
    try {
      const note = decodeNote(await target.get(name, { signal }), name);
      if (note !== undefined) notes.push(note);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      if (error.code === "target_missing_object") return;
      if (!error.code.startsWith("object_")) throw error;
      onDamaged(name, error);
    }
  });
  return notes.toSorted((a, b) => a.timeMs - b.timeMs);
}

/** The newest of each kind, from notes in order. */
export function observationsOf(notes: readonly ArchiveNote[]): StoreObservations {
  const verifications = new Map<string, { timeMs: number; ok: boolean }>();
  const policies = new Map<string, { timeMs: number; policy: unknown }>();
  let lastPruneMs: number | undefined;
  for (const note of notes) {
    const { timeMs } = note;
    if (note.type === "prune") lastPruneMs = timeMs;
    else if (note.type === "policy") policies.set(note.job, { timeMs, policy: note.policy });
    else for (const job of note.jobs) verifications.set(job, { timeMs, ok: note.ok });
  }
  return { verifications, policies, lastPruneMs, clockSkewMs: undefined };
}

function decodeNote(bytes: Uint8Array, name: string): ArchiveNote | undefined {
  const members = decodeSealed(bytes, name);
  const timeMs = members.integer("timeMs", 0, 8.64e15);
  const type = members.text("type");
  switch (type) {
    case "verification":
      return { type, timeMs, jobs: members.texts("jobs", MAX_JOBS), ok: members.flag("ok") };
    case "policy":
      return { type, timeMs, job: members.text("job"), policy: members.value("policy") };
    case "prune":
      return { type, timeMs };
    default:
      return undefined;
  }
}
