import { HoldfastError } from "../../../base/errors.ts";
import { isHexId } from "../../../base/ids.ts";

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** UTF-8 JSON of an object's content. Members that are undefined are left out. */
export function encodeJson(value: object): Buffer {
  return Buffer.from(JSON.stringify(value), "utf8");
}

/** Milliseconds since 1970 as the ISO 8601 text that objects hold. */
export function isoTime(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

/** Milliseconds since 1970 of a time that was read from an object. */
export function timeOf(iso: string): number {
  return Date.parse(iso);
}

/** Parses an object's content into checked access to its members. Throws `object_malformed` unless it is one JSON object in UTF-8. */
export function decodeJson(content: Uint8Array, subject: string): JsonMembers {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content));
  } catch (cause) {
    throw new HoldfastError("object_malformed", `${subject} is malformed: it is not JSON in UTF-8`, { cause });
  }
  return new JsonMembers(value, subject);
}

/**
 * Members of a JSON object of unknown origin, each checked for its type when taken. Unknown members are ignored; `null` is
 * the same as absent. Every wrong member throws `object_malformed` with its name.
 */
export class JsonMembers {
  readonly #members: Readonly<Record<string, unknown>>;
  readonly #subject: string;

  constructor(value: unknown, subject: string) {
    this.#subject = subject;
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw this.malformed("it is not a JSON object");
    this.#members = value as Record<string, unknown>;
  }

  has(name: string): boolean {
    return this.#get(name) !== undefined;
  }

  text(name: string, maxLength = 65_536): string {
    const value = this.#get(name);
    if (typeof value !== "string" || value.length > maxLength)
      throw this.#wrong(name, `a text of at most ${maxLength} characters`);
    return value;
  }

  optionalText(name: string, maxLength?: number): string | undefined {
    return this.has(name) ? this.text(name, maxLength) : undefined;
  }

  hex(name: string, bytes: number): string {
    const value = this.#get(name);
    if (typeof value !== "string" || !isHexId(value, bytes)) throw this.#wrong(name, `${bytes * 2} hex digits`);
    return value;
  }

  optionalHex(name: string, bytes: number): string | undefined {
    return this.has(name) ? this.hex(name, bytes) : undefined;
  }

  /** Base64 in its one canonical spelling, of a length within bounds. */
  base64(name: string, minBytes: number, maxBytes: number): Buffer {
    const value = this.text(name);
    const bytes = Buffer.from(value, "base64");
    if (bytes.toString("base64") !== value || bytes.length < minBytes || bytes.length > maxBytes)
      throw this.#wrong(
        name,
        minBytes === maxBytes ? `${minBytes} bytes in base64` : `${minBytes} to ${maxBytes} bytes in base64`,
      );
    return bytes;
  }

  /** ISO 8601 in UTC with milliseconds, of a date that exists. */
  time(name: string): string {
    const value = this.#get(name);
    if (typeof value !== "string" || !TIME.test(value) || !isTime(value))
      throw this.#wrong(name, "an ISO 8601 time in UTC with milliseconds");
    return value;
  }

  integer(name: string, min: number, max = Number.MAX_SAFE_INTEGER): number {
    const value = this.#get(name);
    if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max)
      throw this.#wrong(name, `an integer from ${min} to ${max}`);
    return value;
  }

  flag(name: string, absent: boolean): boolean {
    const value = this.#get(name) ?? absent;
    if (typeof value !== "boolean") throw this.#wrong(name, "true or false");
    return value;
  }

  oneOf<Choice extends string>(name: string, choices: readonly Choice[]): Choice {
    const value = this.#get(name);
    const choice = choices.find((candidate) => candidate === value);
    if (choice === undefined) throw this.#wrong(name, `one of ${choices.join(", ")}`);
    return choice;
  }

  object(name: string): JsonMembers {
    return new JsonMembers(this.#get(name), `${this.#subject}, in \`${name}\`,`);
  }

  /** A JSON object whose members the format does not fix. */
  record(name: string): Readonly<Record<string, unknown>> {
    return new JsonMembers(this.#get(name), `${this.#subject}, in \`${name}\`,`).#members;
  }

  list<Item>(name: string, maxItems: number, read: (item: JsonItem) => Item): Item[] {
    const value = this.#get(name);
    if (!Array.isArray(value) || value.length > maxItems) throw this.#wrong(name, `a list of at most ${maxItems} items`);
    return value.map((item: unknown) => read(new JsonMembers({ item }, `${this.#subject}, in \`${name}\`,`)));
  }

  texts(name: string, maxItems: number): string[] {
    return this.list(name, maxItems, (item) => item.text("item"));
  }

  hexes(name: string, bytes: number, maxItems: number): string[] {
    return this.list(name, maxItems, (item) => item.hex("item", bytes));
  }

  /** A member as it is, unchecked. */
  unknown(name: string): unknown {
    return this.#get(name);
  }

  /** Members other than `names`. */
  rest(names: readonly string[]): Readonly<Record<string, unknown>> {
    return Object.fromEntries(Object.entries(this.#members).filter(([name]) => !names.includes(name)));
  }

  malformed(what: string): HoldfastError {
    return new HoldfastError("object_malformed", `${this.#subject} is malformed: ${what}`);
  }

  #get(name: string): unknown {
    return Object.hasOwn(this.#members, name) ? (this.#members[name] ?? undefined) : undefined;
  }

  #wrong(name: string, expected: string): HoldfastError {
    return this.malformed(`\`${name}\` is not ${expected}`);
  }
}

/** One item of a list, reached as its member `item`. */
export type JsonItem = JsonMembers;

function isTime(text: string): boolean {
  const timeMs = Date.parse(text);
  return !Number.isNaN(timeMs) && new Date(timeMs).toISOString() === text;
}
