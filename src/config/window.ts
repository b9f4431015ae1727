import type { TimeWindow } from "./config.ts";

const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

function parseDays(text: string): number[] | undefined {
  const days = new Set<number>();
  for (const part of text.split(",")) {
    const [first, last, ...more] = part.split("-").map((day) => DAYS.indexOf(day.toLowerCase()));
    if (first === undefined || first < 0 || more.length > 0 || (last !== undefined && last < 0)) return undefined;
    for (let day = first; ; day = (day + 1) % 7) {
      days.add(day);
      if (day === (last ?? first)) break;
    }
  }
  return [...days].toSorted((a, b) => a - b);
}

/** `Mon-Fri 08:00-18:00`, `Sat,Sun 00:00-24:00`, `22:00-06:00` (every day); undefined when it is not a window. */
export function parseWindow(text: string): TimeWindow | undefined {
  const match = /^(?:(\S+)\s+)?([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)$/.exec(text.trim());
  if (!match) return undefined;
  const days = match[1] === undefined ? [0, 1, 2, 3, 4, 5, 6] : parseDays(match[1]);
  const startMinute = Number(match[2]) * 60 + Number(match[3]);
  const endMinute = Number(match[4]) * 60 + Number(match[5]);
  if (days === undefined || endMinute > 1440 || startMinute === endMinute) return undefined;
  return { text, days, startMinute, endMinute };
}
