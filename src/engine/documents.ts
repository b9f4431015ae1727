/** Snapshots, entries, actions and errors as JSON shows them, on the command line and over the API: what scripts may rely on. */
import type { ErrorWire, HoldfastError } from "../base/errors.ts";
import { pathText } from "../base/path-text.ts";
import type { SnapshotEntry, SnapshotInfo } from "../formats/format.ts";
import type { Action } from "../plan/plan.ts";
import type { DeliveryRecord } from "../state/outbox.ts";
import type { TargetStats } from "./holdfast.ts";

export const iso = (timeMs: number): string => new Date(timeMs).toISOString();

/** A snapshot in `--json`: what scripts may rely on. Times are ISO 8601 in UTC, sizes bytes. */
export function snapshotJson(info: SnapshotInfo, targets: readonly string[]): Record<string, unknown> {
  return {
    id: info.id,
    time: iso(info.timeMs),
    endTime: iso(info.endMs),
    host: info.host,
    job: info.job,
    source: info.source,
    sourceType: info.sourceType,
    mode: info.mode,
    status: info.status,
    targets,
    sourceBytes: info.sourceBytes,
    newBytes: info.newBytes,
    storedBytes: info.storedBytes,
    files: info.files,
    directories: info.directories,
    others: info.others,
    unreadable: info.unreadableCount,
    changedWhileRead: info.changedWhileRead,
    tags: info.tags,
    description: info.description,
    hold: typeof info.hold === "number" ? iso(info.hold) : info.hold,
    run: info.run,
    baseline: info.baseline ?? null,
    previous: info.previous ?? null,
    toolVersion: info.toolVersion,
    configDigest: info.configDigest ?? null,
    gitCommit: info.gitCommit ?? null,
  };
}

/** `path` shows bytes that are not UTF-8 as `\xNN`; `pathBase64` has them as they are. */
export function entryJson({ path, entry, changedWhileRead }: SnapshotEntry): Record<string, unknown> {
  const { meta } = entry;
  return {
    path: pathText(path),
    pathBase64: Buffer.from(path).toString("base64"),
    type: entry.type,
    size: entry.size,
    mode: `0${meta.mode.toString(8).padStart(3, "0")}`,
    uid: meta.uid,
    gid: meta.gid,
    user: meta.user,
    group: meta.group,
    mtime: new Date(Number(meta.mtimeNs / 1_000_000n)).toISOString(),
    mtimeNs: String(meta.mtimeNs),
    links: meta.links,
    ...(entry.linkTarget !== undefined && { linkTarget: pathText(entry.linkTarget) }),
    ...(entry.unreadable === true && { unreadable: true }),
    ...(changedWhileRead && { changedWhileRead: true }),
  };
}

/** An action in `--json`: its members, with snapshots by their ids. */
export function actionJson(action: Action): Record<string, unknown> {
  if (action.kind !== "retention")
    return {
      ...action,
      ...(action.kind === "backup" && { slotMs: undefined, slot: action.slotMs === undefined ? null : iso(action.slotMs) }),
    };
  const short = ({
    id,
    source,
    timeMs,
    storedBytes,
  }: {
    id: string;
    source: string;
    timeMs: number;
    storedBytes: number;
  }): Record<string, unknown> => ({ id, source, time: iso(timeMs), storedBytes });
  return {
    ...action,
    remove: action.remove.map(({ snapshot, reason }) => ({ ...short(snapshot), reason })),
    keep: action.keep.map(({ snapshot, reasons }) => ({ ...short(snapshot), reasons })),
  };
}

/** Sizes of a target, with the ratio. */
export function statsJson({ error, freeBytes, ...rest }: TargetStats): Record<string, unknown> {
  return {
    ...rest,
    freeBytes: freeBytes ?? null,
    ratio: ratioOf({ ...rest, error, freeBytes }),
    ...(error !== undefined && { error: errorJson(error) }),
  };
}

/** How many times larger all snapshots together are than what is stored for them. */
export function ratioOf({ totalSourceBytes, storedBytes }: TargetStats): number | null {
  return storedBytes === 0 || totalSourceBytes === 0 ? null : Math.round((totalSourceBytes / storedBytes) * 10) / 10;
}

/** The members of an error that `--json` shows. */
export function errorJson(error: HoldfastError | ErrorWire): Record<string, unknown> {
  return {
    code: error.code,
    message: error.message,
    ...(error.hint !== undefined && { hint: error.hint }),
    ...(error.data !== undefined && { data: error.data }),
  };
}

/** A message to a receiver. */
export function deliveryJson(record: DeliveryRecord): Record<string, unknown> {
  return {
    event: record.event,
    type: record.type,
    time: iso(record.timeMs),
    receiver: record.receiver,
    state: record.state,
    attempts: record.attempts,
    nextTime: record.dueMs === undefined ? null : iso(record.dueMs),
    endTime: record.endedMs === undefined ? null : iso(record.endedMs),
    error: record.error ?? null,
  };
}
