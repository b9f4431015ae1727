/** Values as the command line shows them. Pure. */
import {
  errorJson,
  escapeControl,
  formatSize,
  formatWall,
  toWall,
  wallParts,
  type RunRecord,
  type SnapshotInfo,
} from "../index.ts";

export { errorJson, snapshotJson } from "../index.ts";

/** Digits of an id that people see and type. */
export const SHORT_ID = 8;

export const shortId = (id: string): string => id.slice(0, SHORT_ID);

/** Text from a snapshot, a target or the system: control and direction characters cannot steer the terminal. */
export const safe = (text: string): string => escapeControl(text);

export const iso = (timeMs: number): string => new Date(timeMs).toISOString();

/** `2026-11-20 02:30:05` on the wall of a zone. */
export function wallSeconds(timeMs: number, timezone: string): string {
  const { second } = wallParts(toWall(timeMs, timezone));
  return `${formatWall(timeMs, timezone)}:${String(second).padStart(2, "0")}`;
}

/** `78,579`. */
export const count = (value: number): string => value.toLocaleString("en-US");

/** `1 file`, `3 files`. */
export const plural = (value: number, one: string, many = `${one}s`): string => `${count(value)} ${value === 1 ? one : many}`;

export const size = formatSize;

/** A hold for people: empty, `held`, `held until …`. */
export function holdText(hold: SnapshotInfo["hold"], timezone: string): string {
  return hold === false ? "" : hold === true ? "held" : `held until ${formatWall(hold, timezone)}`;
}

/** A run in `--json`. */
export function runJson(run: RunRecord): Record<string, unknown> {
  return {
    id: run.id,
    kind: run.kind,
    subject: run.subject,
    status: run.status ?? "running",
    startTime: iso(run.startedMs),
    endTime: run.endedMs === undefined ? null : iso(run.endedMs),
    durationMs: run.endedMs === undefined ? null : run.endedMs - run.startedMs,
    reason: run.reason ?? null,
    targets: run.targets ?? null,
    error: run.error === undefined ? null : errorJson(run.error),
    statistics: run.statistics ?? null,
  };
}
