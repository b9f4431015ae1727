/** Pieces of the schemas of requests and answers, and what they mean as values. */
import type {} from "@fastify/swagger";
import { HoldfastError, type SnapshotQuery } from "../index.ts";

type Schema = Readonly<Record<string, unknown>>;

export const TEXT: Schema = { type: "string", maxLength: 4096 };
export const NAME: Schema = { type: "string", pattern: "^[a-z0-9][a-z0-9_-]{0,62}$" };
/** Longer ones no URL can hold. */
export const PATH: Schema = {
  type: "string",
  minLength: 1,
  maxLength: 16_384,
  description: "Absolute; bytes that are not UTF-8 as \\xNN",
};
export const RUN_ID: Schema = { type: "string", pattern: "^[0-9a-f]{1,32}$" };
export const SNAPSHOT_ID: Schema = {
  type: "string",
  pattern: "^([0-9a-f]{1,32}|latest)$",
  description: "An id, a unique prefix of one, or latest",
};
export const TIME: Schema = { type: "string", maxLength: 40, description: "2026-11-20T02:30:00Z" };
export const CURSOR: Schema = { type: "string", minLength: 1, maxLength: 8192, description: "next of the page before" };
/** In a query everything is text. */
export const FLAG: Schema = { enum: ["true", "false"] };
export const COUNT: Schema = { type: "string", pattern: "^[1-9][0-9]{0,4}$" };

export const object = (properties: Record<string, Schema>, required: readonly string[] = []): Schema => ({
  type: "object",
  additionalProperties: false,
  properties,
  ...(required.length > 0 && { required }),
});

/** One that may be given several times. */
export const several = (item: Schema, maxItems: number): Schema => ({ anyOf: [item, { type: "array", items: item, maxItems }] });

/** How a snapshot is narrowed down that is named `latest`. */
export const NARROW: Record<string, Schema> = { job: TEXT, source: TEXT, host: TEXT, target: TEXT, at: TIME };

export interface Narrow {
  readonly job?: string;
  readonly source?: string;
  readonly host?: string;
  readonly target?: string;
  readonly at?: string;
}

export interface Filter extends Narrow {
  readonly tag?: string | readonly string[];
  readonly since?: string;
  readonly until?: string;
}

export const FILTER: Record<string, Schema> = { ...NARROW, tag: several(TEXT, 100), since: TIME, until: TIME };

export function filterOf({ job, source, host, target, tag, at, since, until }: Filter): SnapshotQuery {
  return {
    job,
    source,
    host,
    target,
    tags: listOf(tag),
    atMs: timeOf("at", at),
    sinceMs: timeOf("since", since),
    untilMs: timeOf("until", until),
  };
}

export function selectorOf(id: string, { job, source, host, target, at }: Narrow): SnapshotSelectorText {
  if (at !== undefined && id !== "latest")
    throw new HoldfastError("usage", "at goes with latest, not with an id", { hint: "Leave it out, or ask for latest." });
  return { id, job, source, host, target, atMs: timeOf("at", at) };
}

interface SnapshotSelectorText extends Omit<Narrow, "at"> {
  readonly id: string;
  readonly job: string | undefined;
  readonly source: string | undefined;
  readonly host: string | undefined;
  readonly target: string | undefined;
  readonly atMs: number | undefined;
}

export function listOf(value: string | readonly string[] | undefined): readonly string[] {
  return value === undefined ? [] : typeof value === "string" ? [value] : value;
}

export function timeOf(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const timeMs = Date.parse(text);
  if (/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(text) && Number.isFinite(timeMs)) return timeMs;
  throw new HoldfastError("usage", `${name} is not a time: ${JSON.stringify(text)}`, {
    hint: "Write it as 2026-11-20T02:30:00Z.",
  });
}

/** Throws `usage` above `max`. */
export function countOf(name: string, text: string | undefined, fallback: number, max: number): number {
  const count = text === undefined ? fallback : Number(text);
  if (count <= max) return count;
  throw new HoldfastError("usage", `${name} is at most ${max}`, { hint: "Take it in pages, or narrow it down." });
}

/** An object that is answered; it may have more members than are named. */
export const document = (properties: Record<string, Schema>): Schema => ({
  type: "object",
  additionalProperties: true,
  properties,
});
export const listed = (items: Schema): Schema => ({ type: "array", items });
export const orNull = (type: string): Schema => ({ type: [type, "null"] });

export const ANY: Schema = { type: "object", additionalProperties: true };
export const STRING: Schema = { type: "string" };
export const INTEGER: Schema = { type: "integer" };
/** Bytes and milliseconds: beyond 32 bits. */
export const NUMBER: Schema = { type: "number" };
export const BOOLEAN: Schema = { type: "boolean" };

export const SNAPSHOT: Schema = document({
  id: STRING,
  time: STRING,
  endTime: STRING,
  host: STRING,
  job: STRING,
  source: STRING,
  mode: STRING,
  status: STRING,
  targets: listed(STRING),
  sourceBytes: NUMBER,
  newBytes: NUMBER,
  storedBytes: NUMBER,
  files: NUMBER,
  tags: listed(STRING),
  description: STRING,
  hold: { type: ["boolean", "string"] },
});
export const ENTRY: Schema = document({
  path: STRING,
  pathBase64: STRING,
  type: STRING,
  size: NUMBER,
  mode: STRING,
  mtime: STRING,
});
export const UNAVAILABLE: Schema = listed(document({ target: STRING, code: STRING, message: STRING }));
export const CUT: Schema = { type: ["string", "null"], enum: ["limit", "time", null], description: "Why it is not whole" };

export const TASK: Schema = document({
  operation: STRING,
  kind: STRING,
  subject: STRING,
  by: STRING,
  state: { enum: ["waiting", "running", "ended"] },
  startTime: STRING,
  endTime: orNull("string"),
  run: orNull("string"),
  runs: listed(STRING),
  notices: listed(STRING),
  parts: listed(ANY),
});
