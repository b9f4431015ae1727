/** When a message that could not be delivered is tried again, and when no more. Pure. */
import type { Randomness } from "../base/random.ts";

const HOUR_MS = 3_600_000;
const FIRST_MS = 5000;
const LONGEST_MS = 3 * HOUR_MS;
/** What a receiver may ask for. */
const LONGEST_ASKED_MS = 6 * HOUR_MS;
const TRIED_FOR_MS = 72 * HOUR_MS;
/** In three days these waits leave room for about 34 attempts. */
const MOST_ATTEMPTS = 40;
/** A clock that jumped ahead, or a daemon that was off for days, must not end what was hardly tried. */
const FEWEST_ATTEMPTS = 12;

/** Milliseconds until the next attempt after `attempts` that failed: 5 s, doubled each time up to 3 h, a quarter more or less. */
export function retryDelayMs(attempts: number, random: Randomness): number {
  const delay = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(30, attempts - 1));
  const part = Buffer.from(random.bytes(4)).readUInt32LE() / 2 ** 32;
  return Math.round(delay * (0.75 + part / 2));
}

/** True when a delivery that has failed so often, and for so long, is dead. */
export function isOver(attempts: number, sinceMs: number, nowMs: number): boolean {
  return attempts >= MOST_ATTEMPTS || (attempts >= FEWEST_ATTEMPTS && nowMs - sinceMs >= TRIED_FOR_MS);
}

/** How long a `Retry-After` header (seconds, or a date) asks to wait, at most 6 h; undefined when it says nothing of use. */
export function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  const asked = /^\d{1,10}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
  return Number.isNaN(asked) ? undefined : Math.min(LONGEST_ASKED_MS, Math.max(0, asked));
}
