import type { TimeWindow } from "../config/config.ts";
import { fromWall, toWall, wallParts } from "./zone.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 1440 * MINUTE_MS;

/**
 * When the windows that cover `timeMs` end, adjoining and overlapping ones joined; undefined when none covers it. Bounds are wall times in
 * `timezone`, the start inside, the end outside. Windows that cover the whole week end nowhere: Infinity.
 */
export function windowEnd(windows: readonly TimeWindow[], timeMs: number, timezone: string): number | undefined {
  let end: number | undefined;
  let wall = toWall(timeMs, timezone);
  const start = wall;
  for (let next = coveredUntil(windows, wall); next !== undefined; next = coveredUntil(windows, wall)) {
    if (next - start > 8 * DAY_MS) return Infinity;
    wall = next;
    end = Math.max(fromWall(next, timezone), timeMs + 1);
  }
  return end;
}

function coveredUntil(windows: readonly TimeWindow[], wall: number): number | undefined {
  const midnight = Math.floor(wall / DAY_MS) * DAY_MS;
  let latest: number | undefined;
  for (const { days, startMinute, endMinute } of windows) {
    const length = endMinute > startMinute ? endMinute - startMinute : endMinute + 1440 - startMinute;
    for (const day of [midnight, midnight - DAY_MS]) {
      const from = day + startMinute * MINUTE_MS;
      const until = from + length * MINUTE_MS;
      if (days.includes(wallParts(day).weekday) && from <= wall && wall < until) latest = Math.max(latest ?? 0, until);
    }
  }
  return latest;
}
