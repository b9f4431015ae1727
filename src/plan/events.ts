/** Config + what happened → a message, and who gets it when. A message is fixed when it is stored: retries send the same bytes. */
import { createHash } from "node:crypto";
import type { EventType } from "../base/events.ts";
import type { RunId } from "../base/ids.ts";
import type { Config, EventFilter } from "../config/config.ts";
import { fromWall, toWall } from "./zone.ts";

/** Bytes that a payload stays below: chat services and queues take that much. */
const PAYLOAD_BYTES = 20_000;
const TEXT_LENGTH = 2000;
const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;

export const EMAIL = "email";
export const DIGEST = "email.digest";
const WEBHOOKS = "webhooks.";

export const webhookReceiver = (name: string): string => `${WEBHOOKS}${name}`;
/** The name of the webhook that a receiver is; undefined for mail. */
export const webhookOf = (receiver: string): string | undefined =>
  receiver.startsWith(WEBHOOKS) ? receiver.slice(WEBHOOKS.length) : undefined;

/** Something that happened. */
export interface EventDescription {
  readonly type: EventType;
  readonly timeMs: number;
  /** One line for people. Never a secret. */
  readonly summary: string;
  /** What it is about: receivers may ask for some jobs or targets only. */
  readonly jobs: readonly string[];
  readonly targets: readonly string[];
  readonly run?: RunId | undefined;
  /** More for programs, as JSON. Never a secret; long lists are cut. */
  readonly details?: Readonly<Record<string, unknown>> | undefined;
}

/** An event as the outbox keeps it. */
export interface StoredEvent {
  /** `evt_` and 32 hex digits: what receivers tell repetitions by. */
  readonly id: string;
  readonly type: EventType;
  readonly timeMs: number;
  readonly run: RunId | undefined;
  /** JSON, below 20 kB. */
  readonly payload: string;
  readonly deliveries: readonly { readonly receiver: string; readonly dueMs: number }[];
}

/** What a payload holds, as `docs/operations.md` describes it. */
export interface Payload {
  readonly id: string;
  readonly type: string;
  /** ISO 8601, UTC. */
  readonly timestamp: string;
  readonly data: {
    readonly summary: string;
    readonly host: string;
    readonly jobs: readonly string[];
    readonly targets: readonly string[];
    readonly [detail: string]: unknown;
  };
}

/** The same for the same event of a run, so that storing it twice stores it once. */
export function eventIdOf(run: RunId, type: EventType): string {
  return `evt_${createHash("sha256").update(`${type} ${run}`).digest("hex").slice(0, 32)}`;
}

/** The same for the same change of a condition, which is known by since when it was as it was. */
export function conditionEventId(type: EventType, key: string, sinceMs: number): string {
  return `evt_${createHash("sha256").update(`${type} ${key} ${sinceMs}`).digest("hex").slice(0, 32)}`;
}

export function makeEvent(config: Config, id: string, event: EventDescription): StoredEvent {
  const { type, timeMs, run } = event;
  return { id, type, timeMs, run, payload: payloadOf(config, id, event), deliveries: receiversOf(config, event) };
}

/** Who gets an event, and from when on. */
export function receiversOf(
  config: Config,
  event: Pick<EventDescription, "type" | "timeMs" | "jobs" | "targets">,
): StoredEvent["deliveries"] {
  const { webhooks, email } = config;
  const found = [...webhooks.values()]
    .filter((webhook) => isAbout(webhook, event) && webhook.events.includes(event.type))
    .map(({ name }) => ({ receiver: webhookReceiver(name), dueMs: event.timeMs }));
  if (email === undefined || !isAbout(email, event)) return found;
  if (email.events.includes(event.type)) found.push({ receiver: EMAIL, dueMs: event.timeMs });
  // A beginning says nothing that its end does not.
  if (email.digestMinute !== undefined && event.type !== "backup_started")
    found.push({ receiver: DIGEST, dueMs: nextTime(event.timeMs, email.digestMinute, config.daemon.timezone) });
  return found;
}

function isAbout(filter: EventFilter, event: Pick<EventDescription, "jobs" | "targets">): boolean {
  const fits = (wanted: readonly string[] | undefined, given: readonly string[]): boolean =>
    wanted === undefined || given.some((name) => wanted.includes(name));
  return fits(filter.jobs, event.jobs) && fits(filter.targets, event.targets);
}

/** The next time the clock on the wall shows `minute` of the day, after `timeMs`. */
function nextTime(timeMs: number, minute: number, timezone: string): number {
  const midnight = Math.floor(toWall(timeMs, timezone) / DAY_MS) * DAY_MS;
  for (let day = 0; ; day++) {
    const time = fromWall(midnight + day * DAY_MS + minute * MINUTE_MS, timezone);
    if (time > timeMs) return time;
  }
}

function payloadOf(config: Config, id: string, event: EventDescription): string {
  const { type, timeMs, summary, jobs, targets, details } = event;
  const all = { summary, host: config.host, jobs, targets, ...details };
  const text = (data: Readonly<Record<string, unknown>>): string =>
    JSON.stringify({ id, type, timestamp: new Date(timeMs).toISOString(), data });
  for (let [items, length] = [1024, TEXT_LENGTH]; items >= 1; items = Math.floor(items / 2)) {
    const truncated: Record<string, number> = {};
    const data = shortened(all, "", items, length, truncated) as Record<string, unknown>;
    const payload = text(Object.keys(truncated).length === 0 ? data : { ...data, truncated });
    if (Buffer.byteLength(payload) < PAYLOAD_BYTES) return payload;
    // Lists first, then texts as well.
    if (items <= 16) length = Math.max(64, Math.floor(length / 2));
  }
  return text({ summary: cut(summary, TEXT_LENGTH), host: config.host, jobs: [], targets: [], truncated: { details: 1 } });
}

/** Lists of at most `items`, texts of at most `length`; `truncated` notes how many items a cut list had. */
function shortened(value: unknown, path: string, items: number, length: number, truncated: Record<string, number>): unknown {
  if (typeof value === "string") return cut(value, length);
  if (Array.isArray(value)) {
    if (value.length > items) truncated[path] = Math.max(truncated[path] ?? 0, value.length);
    return value.slice(0, items).map((item) => shortened(item, path, items, length, truncated));
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      shortened(item, path === "" ? key : `${path}.${key}`, items, length, truncated),
    ]),
  );
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1).toWellFormed()}…`;
}
