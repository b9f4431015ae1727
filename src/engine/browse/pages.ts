/** What there is, a bounded page at a time: snapshots of all targets, and the entries of a folder. */
import { HoldfastError } from "../../base/errors.ts";
import { pathText } from "../../base/path-text.ts";
import type { SnapshotInfo } from "../../formats/format.ts";
import { entryJson, errorJson, snapshotJson } from "../documents.ts";
import type { Session } from "../session.ts";
import {
  listAllSnapshots,
  selectSnapshot,
  type SnapshotFilter,
  type SnapshotListing,
  type SnapshotRow,
  type SnapshotSelector,
} from "../snapshots.ts";
import { entryAt } from "./entries.ts";

type Document = Record<string, unknown>;

export interface Page {
  /** At most so many. */
  readonly limit: number;
  /** Where the page before ended, as it said. */
  readonly cursor?: string | undefined;
}

export interface SnapshotQuery extends Omit<SnapshotFilter, "limit"> {
  /** Taken at or after; before; at or before (ms). */
  readonly sinceMs?: number | undefined;
  readonly untilMs?: number | undefined;
  readonly atMs?: number | undefined;
}

/** The newest first. `next` is undefined on the last page. Rejects with `usage` for a cursor that is none. */
export async function pageOfSnapshots(
  session: Session,
  query: SnapshotQuery,
  { limit, cursor }: Page,
  signal: AbortSignal,
): Promise<Document> {
  const after = cursor === undefined ? undefined : placeOf(cursor);
  const { job, source, host, target, tags } = query;
  const { snapshots, closed, damaged } = await listing(session, { job, source, host, target, tags }, signal);
  const rows = snapshots
    .filter(({ info }) => isWithin(info, query))
    .toSorted((a, b) => compare(b.info, a.info))
    .filter(({ info }) => after === undefined || compare(info, after) < 0);
  const page = rows.slice(0, limit);
  const last = page.at(-1)?.info;
  return {
    snapshots: page.map(({ info, targets }) => snapshotJson(info, targets)),
    next: rows.length > page.length && last !== undefined ? cursorOf(`${last.timeMs} ${last.id}`) : null,
    unavailable: closed.map((one) => ({ target: one.target.name, ...errorJson(one.error) })),
    damaged: damaged.map(({ target: on, id, error }) => ({ target: on, id, ...errorJson(error) })),
  };
}

/** As `listAllSnapshots`; where no repository has been made yet there are none, and it says so. */
async function listing(session: Session, filter: SnapshotFilter, signal: AbortSignal): Promise<SnapshotListing> {
  try {
    return await listAllSnapshots(session, filter, signal);
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== "repository_missing") throw error;
    const { closed } = await session.stores(filter.target === undefined ? undefined : [filter.target]);
    return { snapshots: [], closed, damaged: [] };
  }
}

export function isWithin(info: SnapshotInfo, { sinceMs, untilMs, atMs }: SnapshotQuery): boolean {
  return (
    (sinceMs === undefined || info.timeMs >= sinceMs) &&
    (untilMs === undefined || info.timeMs < untilMs) &&
    (atMs === undefined || info.timeMs <= atMs)
  );
}

/** Everything one snapshot says of itself. */
export async function describeSnapshot(session: Session, selector: SnapshotSelector, signal: AbortSignal): Promise<Document> {
  return detailsOf(await selectSnapshot(session, selector, signal));
}

export function detailsOf({ info, targets }: SnapshotRow): Document {
  return {
    ...snapshotJson(info, targets),
    durationMs: Math.max(0, info.endMs - info.timeMs),
    ratio: info.storedBytes === 0 ? null : Math.round((info.newBytes / info.storedBytes) * 10) / 10,
    unreadableEntries: info.unreadable,
    facts: info.facts,
  };
}

/** What is at `path`: the entry itself, and of a folder its entries by raw name. Rejects with `path_missing`. */
export async function pageOfEntries(
  session: Session,
  selector: SnapshotSelector,
  path: Uint8Array,
  { limit, cursor }: Page,
  signal: AbortSignal,
): Promise<Document> {
  const after = cursor === undefined ? undefined : bytesOf(cursor);
  const { info, store } = await selectSnapshot(session, selector, signal);
  const top = await entryAt(store, info, path, signal);
  const entries: Document[] = [];
  let last: Uint8Array | undefined;
  let isMore = false;
  if (top.entry.type === "directory")
    reading: for await (const batch of store.list(top, signal))
      for (const entry of batch) {
        if (after !== undefined && Buffer.compare(entry.entry.name, after) <= 0) continue;
        if (entries.length >= limit) {
          isMore = true;
          break reading;
        }
        entries.push({ name: pathText(entry.entry.name), ...entryJson(entry) });
        last = entry.entry.name;
      }
  return {
    snapshot: info.id,
    path: pathText(path),
    entry: entryJson(top),
    entries,
    next: isMore && last !== undefined ? cursorOf(last) : null,
  };
}

interface PlaceInList {
  readonly timeMs: number;
  readonly id: string;
}

/** By time; equal times by id, so that a page ends at one place. */
function compare(a: PlaceInList, b: PlaceInList): number {
  return a.timeMs - b.timeMs || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

function placeOf(cursor: string): PlaceInList {
  const found = /^(-?\d{1,16}) ([0-9a-f]{32})$/.exec(bytesOf(cursor).toString("latin1"));
  if (found === null) throw noCursor();
  return { timeMs: Number(found[1]), id: found[2] as string };
}

function cursorOf(place: string | Uint8Array): string {
  return Buffer.from(place as string).toString("base64url");
}

function bytesOf(cursor: string): Buffer {
  const bytes = Buffer.from(cursor, "base64url");
  if (bytes.length === 0 || bytes.toString("base64url") !== cursor) throw noCursor();
  return bytes;
}

function noCursor(): HoldfastError {
  return new HoldfastError("usage", "The cursor is not one that a page has given", {
    hint: "Take `next` of the page before, as it is.",
  });
}
