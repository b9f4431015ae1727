/** Arguments that name snapshots, paths, times and numbers, as values. Pure: the clock is passed in. */
import { fromWall, HoldfastError, parseDuration, snapshotPath, type SnapshotSelector } from "../index.ts";

export { snapshotPath } from "../index.ts";

export interface NarrowFlags {
  readonly job?: string;
  readonly source?: string;
  readonly host?: string;
  readonly target?: string;
  readonly at?: string;
}

export interface When {
  readonly nowMs: number;
  readonly timezone: string;
}

/** A Date reaches this far from 1970, to either side. */
const MAX_DATE_MS = 8.64e15;

/** `3f2a` → a selector; narrowed by flags. */
export function parseSelector(text: string, flags: NarrowFlags, when: When): SnapshotSelector {
  const { job, source, host, target } = flags;
  if (flags.at !== undefined && text !== "latest")
    throw new HoldfastError("usage", "--at goes with latest, not with an id", {
      hint: "Write `latest --at TIME`, or leave --at out.",
    });
  return { id: text, job, source, host, target, atMs: flags.at === undefined ? undefined : parseTime(flags.at, when) };
}

export interface PathSelector {
  readonly selector: SnapshotSelector;
  /** Absolute raw path in the snapshot, without a final slash; undefined where none was given. */
  readonly path: Buffer | undefined;
}

/** `3f2a:/srv/x` → a selector and a path. */
export function parsePathSelector(text: string, flags: NarrowFlags, when: When): PathSelector {
  const colon = text.indexOf(":");
  if (colon < 0) return { selector: parseSelector(text, flags, when), path: undefined };
  return { selector: parseSelector(text.slice(0, colon), flags, when), path: snapshotPath(text.slice(colon + 1)) };
}

/**
 * A time: `2026-11-20`, `2026-11-20 14:30[:05]` on the wall of the zone, ISO 8601 with an offset, or a duration ago (`2h`, `30d`).
 * Milliseconds since 1970.
 */
export function parseTime(text: string, when: When): number {
  const trimmed = text.trim();
  const ago = parseDuration(trimmed);
  // Beyond what a date can say, every message about it would fail.
  if (ago !== undefined && when.nowMs - ago >= -MAX_DATE_MS) return when.nowMs - ago;
  const wall = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?)?$/.exec(trimmed);
  if (wall !== null) {
    const [year, month, day, hour, minute, second] = wall.slice(1).map((part) => Number(part ?? 0)) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
    if (
      date.getUTCMonth() === month - 1 &&
      date.getUTCDate() === day &&
      date.getUTCHours() === hour &&
      date.getUTCMinutes() === minute
    )
      return fromWall(date.getTime(), when.timezone);
  } else if (/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$/.test(trimmed)) {
    const at = Date.parse(trimmed);
    if (!Number.isNaN(at)) return at;
  }
  throw new HoldfastError("usage", `${JSON.stringify(text)} is not a time`, {
    hint: 'Write 2026-11-20, "2026-11-20 14:30", 2026-11-20T14:30:00Z, or how long ago: 2h, 3d.',
  });
}

/** `10%`, `0.1` is refused: a fraction from 0 to 1. */
export function parsePercent(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*%$/.exec(text.trim());
  const value = match === null ? Number.NaN : Number(match[1]) / 100;
  if (value > 0 && value <= 1) return value;
  throw new HoldfastError("usage", `${option}: ${JSON.stringify(text)} is not a part of the data`, {
    hint: `Write ${option} for all of it, or ${option}=10%.`,
  });
}

/** A whole number of at least 1. */
export function parseCount(text: string, option: string): number {
  if (/^\d{1,9}$/.test(text) && Number(text) > 0) return Number(text);
  throw new HoldfastError("usage", `${option}: ${JSON.stringify(text)} is not a number of at least 1`, {
    hint: `Write ${option} 5.`,
  });
}
