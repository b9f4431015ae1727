/** Calendar arithmetic in an IANA time zone, from the zone data that comes with the runtime. */

const SECOND_MS = 1000;
const DAY_MS = 86_400_000;

/** A date and time of day as a clock on the wall shows it. */
export interface WallTime {
  readonly year: number;
  /** 1–12. */
  readonly month: number;
  /** 1–31. */
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
  /** 0 = Sunday … 6 = Saturday. */
  readonly weekday: number;
}

const formatters = new Map<string, Intl.DateTimeFormat>();

function formatterOf(timezone: string): Intl.DateTimeFormat {
  let formatter = formatters.get(timezone);
  if (!formatter) {
    formatter = new Intl.DateTimeFormat("en-US", {
      timeZone: timezone,
      calendar: "gregory",
      numberingSystem: "latn",
      hourCycle: "h23",
      era: "narrow",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
    formatters.set(timezone, formatter);
  }
  return formatter;
}

/**
 * Milliseconds that the wall in `timezone` is ahead of UTC at an instant, whole seconds.
 * Throws a RangeError when the zone is unknown.
 */
export function zoneOffset(timeMs: number, timezone: string): number {
  const whole = Math.floor(timeMs / SECOND_MS) * SECOND_MS;
  const parts: Record<string, number> = {};
  let beforeChrist = false;
  for (const { type, value } of formatterOf(timezone).formatToParts(whole)) {
    if (type === "era") beforeChrist = value.startsWith("B");
    else if (type !== "literal") parts[type] = Number(value);
  }
  const wall = new Date(0);
  wall.setUTCFullYear(beforeChrist ? 1 - parts["year"] : parts["year"], parts["month"] - 1, parts["day"]);
  wall.setUTCHours(parts["hour"], parts["minute"], parts["second"]);
  return wall.getTime() - whole;
}

/** What the wall shows at an instant, as if it were UTC: a number to do calendar arithmetic with. */
export function toWall(timeMs: number, timezone: string): number {
  return timeMs + zoneOffset(timeMs, timezone);
}

/** The parts of a number from `toWall`. */
export function wallParts(wallMs: number): WallTime {
  const date = new Date(wallMs);
  return {
    year: date.getUTCFullYear(),
    month: date.getUTCMonth() + 1,
    day: date.getUTCDate(),
    hour: date.getUTCHours(),
    minute: date.getUTCMinutes(),
    second: date.getUTCSeconds(),
    weekday: date.getUTCDay(),
  };
}

/**
 * The one instant at which something planned for a wall time happens: the first of two where the hour is repeated, the
 * end of the gap where the hour is missing. Never decreases as the wall time grows.
 */
export function fromWall(wallMs: number, timezone: string): number {
  const before = zoneOffset(wallMs - DAY_MS, timezone);
  const after = zoneOffset(wallMs + DAY_MS, timezone);
  if (zoneOffset(wallMs - before, timezone) === before) return wallMs - before;
  if (zoneOffset(wallMs - after, timezone) === after) return wallMs - after;
  let low = Math.floor((wallMs - DAY_MS) / SECOND_MS);
  let high = Math.ceil((wallMs + DAY_MS) / SECOND_MS);
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (zoneOffset(middle * SECOND_MS, timezone) === before) low = middle;
    else high = middle;
  }
  return high * SECOND_MS;
}

/** ISO 8601 week of a wall date, `2026-W01`; weeks begin on Monday and belong to the year of their Thursday. */
export function isoWeek(wall: WallTime): string {
  const date = Date.UTC(wall.year, wall.month - 1, wall.day);
  const thursday = date + (4 - (wall.weekday === 0 ? 7 : wall.weekday)) * DAY_MS;
  const year = new Date(thursday).getUTCFullYear();
  const week = Math.floor((thursday - Date.UTC(year, 0, 1)) / (7 * DAY_MS)) + 1;
  return `${year}-W${String(week).padStart(2, "0")}`;
}

/** `2026-11-20 02:30` on the wall of `timezone`, with seconds where there are any: when something was to happen. */
export function formatSlot(timeMs: number, timezone: string): string {
  const second = Math.floor(timeMs / 1000) % 60;
  return `${formatWall(timeMs, timezone)}${second === 0 ? "" : `:${String(second).padStart(2, "0")}`}`;
}

/** `2026-11-20 02:30` on the wall of `timezone`, for people. */
export function formatWall(timeMs: number, timezone: string): string {
  const wall = wallParts(toWall(timeMs, timezone));
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${wall.year}-${two(wall.month)}-${two(wall.day)} ${two(wall.hour)}:${two(wall.minute)}`;
}
