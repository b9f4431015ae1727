/** Searches and comparisons for those who wait for an answer: bounded in what they say and in how long they take, and they say so. */
import { HoldfastError } from "../../base/errors.ts";
import { pathText } from "../../base/path-text.ts";
import type { EntryType } from "../../sources/source.ts";
import { entryJson, errorJson } from "../documents.ts";
import type { Session } from "../session.ts";
import { listAllSnapshots, selectSnapshot, type SnapshotSelector } from "../snapshots.ts";
import { diffSnapshots, type Change, type ChangeKind } from "./diff.ts";
import { findEntries } from "./find.ts";
import { isWithin, type SnapshotQuery } from "./pages.ts";

type Document = Record<string, unknown>;

export interface Bounds {
  /** Of what is listed. */
  readonly limit: number;
  /** It ends with what it has after this time. */
  readonly withinMs: number;
}

export interface SearchQuery extends SnapshotQuery {
  readonly pattern: string;
  readonly ignoreCase: boolean;
  readonly type: EntryType | undefined;
  readonly path: Uint8Array;
  /** Only these: ids or unique prefixes. Default: all that fit. */
  readonly snapshots: readonly string[];
}

/** Why an answer is not whole: `limit`, `time`, or null. */
type Cut = "limit" | "time" | null;

/** Entries that fit, the newest snapshot first. `searched` counts snapshots that were looked through to their end. */
export async function searchSnapshots(
  session: Session,
  query: SearchQuery,
  bounds: Bounds,
  signal: AbortSignal,
): Promise<Document> {
  const { pattern, ignoreCase, type, path } = query;
  const { job, source, host, target, tags } = query;
  const listing = await listAllSnapshots(session, { job, source, host, target, tags }, signal);
  const fitting = listing.snapshots.filter(({ info }) => isWithin(info, query));
  for (const id of query.snapshots) {
    const named = fitting.filter(({ info }) => info.id.startsWith(id));
    if (named.length === 1) continue;
    throw named.length === 0
      ? new HoldfastError("snapshot_missing", `No snapshot begins with ${id}`, { hint: "List them: GET /api/v1/snapshots." })
      : new HoldfastError("selector_ambiguous", `${named.length} snapshots begin with ${id}`, { hint: "Give more digits." });
  }
  const rows = fitting
    .filter(({ info }) => query.snapshots.length === 0 || query.snapshots.some((id) => info.id.startsWith(id)))
    .toReversed();
  const found: Document[] = [];
  const done = new Set<string>();
  const cut = await within(bounds.withinMs, signal, async (own): Promise<Cut> => {
    // Each on the first target that holds it; what snapshots of one store share is read once.
    for (const [name, group] of Map.groupBy(rows, ({ targets }) => targets[0] as string)) {
      const store = await session.store(name);
      const infos = group.map(({ info }) => info);
      let at = 0;
      for await (const { snapshot, entry } of findEntries(store, infos, { pattern, ignoreCase, type, path }, own)) {
        for (; infos[at]?.id !== snapshot.id; at++) done.add(infos[at]?.id as string);
        if (found.length >= bounds.limit) return "limit";
        found.push({ snapshot: snapshot.id, time: new Date(snapshot.timeMs).toISOString(), ...entryJson(entry) });
      }
      for (const { id } of infos) done.add(id);
    }
    return null;
  });
  return {
    pattern,
    found,
    cut,
    searched: done.size,
    snapshots: rows.length,
    unavailable: listing.closed.map((one) => ({ target: one.target.name, ...errorJson(one.error) })),
  };
}

export interface CompareQuery {
  readonly before: SnapshotSelector;
  readonly after: SnapshotSelector;
  readonly path: Uint8Array;
}

/** What changed between two snapshots, in tree order. Where it is cut, totals are of what was compared until then. */
export async function compareSnapshots(
  session: Session,
  { before, after, path }: CompareQuery,
  bounds: Bounds,
  signal: AbortSignal,
): Promise<Document> {
  const [a, b] = [await selectSnapshot(session, before, signal), await selectSnapshot(session, after, signal)];
  // One store that holds both, where there is one: equal folders are then told by their ids alone.
  const common = a.targets.find((target) => b.targets.includes(target));
  const shared = common === undefined ? undefined : await session.store(common);
  const [storeA, storeB] = [shared ?? a.store, shared ?? b.store];
  const totals: Record<ChangeKind, number> = { added: 0, removed: 0, modified: 0, type: 0, metadata: 0 };
  const changes: Document[] = [];
  let bytes = 0;
  const cut = await within(bounds.withinMs, signal, async (own): Promise<Cut> => {
    const sides = [
      { store: storeA, snapshot: a.info, path },
      { store: storeB, snapshot: b.info, path },
    ] as const;
    for await (const batch of diffSnapshots(...sides, own))
      for (const change of batch) {
        if (changes.length >= bounds.limit) return "limit";
        changes.push(changeJson(change));
        totals[change.kind]++;
        bytes += (change.after?.entry.size ?? 0) - (change.before?.entry.size ?? 0);
      }
    return null;
  });
  return { before: a.info.id, after: b.info.id, path: pathText(path), changes, totals, bytes, cut };
}

function changeJson({ kind, path, before, after }: Change): Document {
  return {
    kind,
    path: pathText(path),
    pathBase64: Buffer.from(path).toString("base64"),
    type: (after ?? before)?.entry.type,
    sizeBefore: before?.entry.size ?? null,
    sizeAfter: after?.entry.size ?? null,
  };
}

/** Does `work` until its time is over; then its signal fires, and the result is `time`. */
export async function within<T>(
  withinMs: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T | "time"> {
  const over = AbortSignal.timeout(withinMs);
  try {
    return await work(AbortSignal.any([signal, over]));
  } catch (error) {
    if (over.aborted && !signal.aborted) return "time";
    throw error;
  }
}
