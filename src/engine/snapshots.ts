import { HoldfastError } from "../base/errors.ts";
import type { SnapshotInfo, Store } from "../formats/format.ts";
import { PRE_RESTORE_TAG } from "../plan/retention.ts";
import type { ClosedStore, Session } from "./session.ts";

/** A snapshot and the targets that hold it. */
export interface SnapshotRow {
  readonly info: SnapshotInfo;
  /** In the order of the configuration. */
  readonly targets: readonly string[];
}

export interface SnapshotFilter {
  readonly job?: string | undefined;
  readonly source?: string | undefined;
  readonly host?: string | undefined;
  readonly target?: string | undefined;
  readonly tags?: readonly string[] | undefined;
  /** Newest this many. */
  readonly limit?: number | undefined;
}

export interface SnapshotListing {
  /** Oldest first. */
  readonly snapshots: readonly SnapshotRow[];
  readonly closed: readonly ClosedStore[];
  /** Snapshot objects that could not be read. */
  readonly damaged: readonly { readonly target: string; readonly id: string; readonly error: HoldfastError }[];
}

/** Snapshots of all targets (or one), each once. Rejects only when no target can be opened. */
export async function listAllSnapshots(session: Session, filter: SnapshotFilter, signal?: AbortSignal): Promise<SnapshotListing> {
  const { open, closed } = await session.stores(filter.target === undefined ? undefined : [session.target(filter.target).name]);
  if (open.length === 0 && closed[0] !== undefined) throw closed[0].error;
  const rows = new Map<string, { info: SnapshotInfo; targets: string[] }>();
  const damaged: { target: string; id: string; error: HoldfastError }[] = [];
  for (const store of open) {
    const onDamaged = (id: string, error: HoldfastError): number => damaged.push({ target: store.name, id, error });
    for (const info of await store.snapshots({ signal, onDamaged })) {
      const row = rows.get(info.id);
      if (row === undefined) rows.set(info.id, { info, targets: [store.name] });
      else row.targets.push(store.name);
    }
  }
  const matching = [...rows.values()]
    .filter(({ info }) => matches(session, info, filter))
    .sort((a, b) => a.info.timeMs - b.info.timeMs);
  return { snapshots: filter.limit === undefined ? matching : matching.slice(-filter.limit), closed, damaged };
}

function matches(session: Session, info: SnapshotInfo, filter: SnapshotFilter): boolean {
  const names =
    filter.job === undefined ? undefined : new Set([filter.job, ...(session.config.jobs.get(filter.job)?.formerly ?? [])]);
  return (
    (names === undefined || names.has(info.job)) &&
    (filter.source === undefined || info.source === filter.source) &&
    (filter.host === undefined || info.host === filter.host) &&
    (filter.tags ?? []).every((tag) => info.tags.includes(tag))
  );
}

/** How a person names a snapshot: an id prefix or `latest`, narrowed. */
export interface SnapshotSelector extends SnapshotFilter {
  readonly id: string;
  /** The newest at or before this time (ms), with `latest`. */
  readonly atMs?: number | undefined;
}

/** One snapshot and an open store that holds it. Rejects with `snapshot_missing` or `selector_ambiguous`, naming the candidates. */
export async function selectSnapshot(
  session: Session,
  selector: SnapshotSelector,
  signal?: AbortSignal,
): Promise<{ readonly info: SnapshotInfo; readonly store: Store; readonly targets: readonly string[] }> {
  const { snapshots, closed } = await listAllSnapshots(session, { ...selector, limit: undefined }, signal);
  const row = selector.id === "latest" ? latest(session, snapshots, selector) : byPrefix(snapshots, selector.id, closed);
  const name = row.targets[0] as string;
  return { info: row.info, store: await session.store(name), targets: row.targets };
}

function latest(session: Session, rows: readonly SnapshotRow[], selector: SnapshotSelector): SnapshotRow {
  // A safety copy holds what a restore was about to change: it is only ever meant by its id.
  const before = rows.filter(
    ({ info }) => (selector.atMs === undefined || info.timeMs <= selector.atMs) && !info.tags.includes(PRE_RESTORE_TAG),
  );
  const own = before.filter(({ info }) => selector.host !== undefined || info.host === session.config.host);
  const newest = own.at(-1);
  if (newest === undefined)
    throw new HoldfastError("snapshot_missing", "No snapshot fits", {
      hint:
        before.length > 0
          ? `There are snapshots of other hosts (${[...new Set(before.map(({ info }) => info.host))].join(", ")}); name one with --host.`
          : "`holdfast snapshots` lists what there is.",
    });
  const series = new Map(own.map((row) => [`${row.info.job} / ${row.info.source}`, row]));
  if (series.size > 1)
    throw new HoldfastError("selector_ambiguous", `latest fits several sources: ${[...series.keys()].join(", ")}`, {
      hint: "Narrow it with --job and --source, or give the snapshot's id.",
      data: { candidates: [...series.values()].map(({ info }) => ({ id: info.id, job: info.job, source: info.source })) },
    });
  return newest;
}

function byPrefix(rows: readonly SnapshotRow[], prefix: string, closed: readonly ClosedStore[]): SnapshotRow {
  if (!/^[0-9a-f]{1,32}$/.test(prefix))
    throw new HoldfastError(
      "usage",
      `${JSON.stringify(prefix)} is not a snapshot: an id is a hex string, any unique prefix of it, or latest`,
      {
        hint: "`holdfast snapshots` lists the ids.",
      },
    );
  const fitting = rows.filter(({ info }) => info.id.startsWith(prefix));
  const [only] = fitting;
  if (only === undefined)
    throw new HoldfastError("snapshot_missing", `No snapshot begins with ${prefix}`, {
      hint:
        closed.length > 0
          ? `Not every target could be read: ${closed.map(({ target, error }) => `${target.name} (${error.message})`).join(", ")}.`
          : "`holdfast snapshots` lists what there is.",
    });
  if (fitting.length > 1)
    throw new HoldfastError("selector_ambiguous", `${prefix} fits ${fitting.length} snapshots`, {
      hint: `Give more digits: ${fitting.map(({ info }) => `${info.id.slice(0, 12)} (${info.job} / ${info.source}, ${new Date(info.timeMs).toISOString()})`).join(", ")}`,
      data: { candidates: fitting.map(({ info }) => info.id) },
    });
  return only;
}
