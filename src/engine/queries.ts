/** What may be asked of the targets, as plain documents: nothing here takes a turn, and nothing but a few named changes is made. */
import { HoldfastError } from "../base/errors.ts";
import type { Annotation, Unlocking } from "../formats/format.ts";
import { heldActions } from "../plan/plan.ts";
import { planNow } from "./apply.ts";
import { compareSnapshots, searchSnapshots, type Bounds, type CompareQuery, type SearchQuery } from "./browse/bounded.ts";
import { downloadFrom, type Download, type DownloadQuery } from "./browse/download.ts";
import { describeSnapshot, detailsOf, pageOfEntries, pageOfSnapshots, type Page, type SnapshotQuery } from "./browse/pages.ts";
import { annotateSnapshot, deleteConfirmed } from "./change-snapshots.ts";
import { actionJson, iso, snapshotJson, statsJson } from "./documents.ts";
import { addKeySlot, listKeySlots, removeKeySlot } from "./keys.ts";
import { previewRestore } from "./restore/preview.ts";
import type { RunRestoreOptions } from "./restore/run.ts";
import type { Session } from "./session.ts";
import { measureTargets, reportTargets } from "./sizes.ts";
import type { SnapshotSelector } from "./snapshots.ts";

type Document = Record<string, unknown>;

/** Each rejects with what it was asked wrongly, or what a target says. */
export interface Queries {
  snapshots(query: SnapshotQuery, page: Page): Promise<Document>;
  snapshot(selector: SnapshotSelector): Promise<Document>;
  entries(selector: SnapshotSelector, path: Uint8Array, page: Page): Promise<Document>;
  search(query: SearchQuery, bounds: Bounds): Promise<Document>;
  compare(query: CompareQuery, bounds: Bounds): Promise<Document>;
  download(query: DownloadQuery, deliver: (download: Download) => Promise<void>): Promise<void>;
  annotate(selector: SnapshotSelector, annotation: Annotation): Promise<Document>;
  /** `confirm` must be the whole id of the snapshot. */
  deleteSnapshot(id: string, confirm: string | undefined): Promise<Document>;
  previewRestore(options: Omit<RunRestoreOptions, "signal">, limit: number): Promise<Document>;
  sizes(): Promise<Document>;
  /** Looks at every target now. */
  targets(): Promise<Document>;
  plan(): Promise<Document>;
  keys(target: string): Promise<Document>;
  addKey(target: string, unlocking: Unlocking, label: string): Promise<Document>;
  removeKey(target: string, slot: string, confirm: string | undefined): Promise<Document>;
}

export function queriesAt(session: Session, signal: AbortSignal): Queries {
  return {
    snapshots: (query, page) => pageOfSnapshots(session, query, page, signal),
    snapshot: (selector) => describeSnapshot(session, selector, signal),
    entries: (selector, path, page) => pageOfEntries(session, selector, path, page, signal),
    search: (query, bounds) => searchSnapshots(session, query, bounds, signal),
    compare: (query, bounds) => compareSnapshots(session, query, bounds, signal),
    download: (query, deliver) => downloadFrom(session, query, deliver, signal),
    annotate: async (selector, annotation) => detailsOf(await annotateSnapshot(session, selector, annotation, signal)),
    deleteSnapshot: async (id, confirm) => {
      const deleted = await deleteConfirmed(session, id, confirm, signal);
      if (deleted === undefined) throw new HoldfastError("snapshot_missing", `No snapshot begins with ${id}`);
      return { deleted: snapshotJson(deleted.snapshot, deleted.targets) };
    },
    previewRestore: (options, limit) => previewRestore(session, { ...options, signal }, limit),
    sizes: async () => ({ targets: (await measureTargets(session, signal)).map(statsJson) }),
    targets: async () => {
      await planNow(session, { impatient: true, signal });
      await measureTargets(session, signal);
      return { targets: reportTargets(session, session.surroundings.clock.now()) };
    },
    plan: () => describePlan(session, signal),
    keys: async (target) => ({ slots: await listKeySlots(session, target, signal) }),
    addKey: async (target, unlocking, label) => ({ target, slot: await addKeySlot(session, target, unlocking, label, signal) }),
    removeKey: async (target, slot, confirm) => ({
      target,
      removed: await removeKeySlot(session, target, slot, confirm, signal),
    }),
  };
}

async function describePlan(session: Session, signal: AbortSignal): Promise<Document> {
  const plan = await planNow(session, { impatient: true, signal });
  return {
    id: plan.id ?? null,
    time: iso(plan.nowMs),
    approved: plan.approved,
    held: heldActions(plan).length,
    actions: plan.actions.map(actionJson),
    notes: plan.notes.map(({ level, job, target, text }) => ({ level, job: job ?? null, target: target ?? null, text })),
    next: Object.fromEntries(
      [...plan.next].map(([job, runs]) => [job, runs.map(({ timeMs, mode }) => ({ time: iso(timeMs), mode }))]),
    ),
  };
}
