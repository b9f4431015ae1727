import { createHash } from "node:crypto";
import { HoldfastError } from "../../base/errors.ts";
import { isHexId } from "../../base/ids.ts";

const SEAL = /,"sha256":"([0-9a-f]{64})"\}\n$/;

/**
 * UTF-8 JSON whose last member, `sha256`, is the hash of all bytes before it (up to the comma): readable by everyone, and a
 * changed byte anywhere shows. It tells damage, not forgery.
 */
export function encodeSealed(value: Readonly<Record<string, unknown>>): Buffer {
  const head = Buffer.from(JSON.stringify(value).slice(0, -1));
  return Buffer.concat([head, Buffer.from(`,"sha256":"${sha256(head)}"}\n`)]);
}

/** The members of a sealed JSON object. Throws `object_malformed` when it is none, `object_damaged` when its bytes changed. */
export function decodeSealed(bytes: Uint8Array, subject: string): Members {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const seal = SEAL.exec(view.subarray(-80).toString("latin1"));
  if (seal === null) throw malformed(subject, "it does not end with its SHA-256");
  const head = view.subarray(0, view.length - seal[0].length);
  if (sha256(head) !== seal[1])
    throw new HoldfastError("object_damaged", `${subject} is damaged: its bytes do not have the SHA-256 it names`, {
      hint: "`holdfast verify` lists what is damaged; restore from another target's copy.",
    });
  let value: unknown;
  try {
    value = JSON.parse(`${new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(head)}}`);
  } catch {
    throw malformed(subject, "it is not JSON in UTF-8");
  }
  return new Members(value, subject);
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function malformed(subject: string, what: string): HoldfastError {
  return new HoldfastError("object_malformed", `${subject} is malformed: ${what}`);
}

/** Members of a JSON object nobody vouches for, each checked when taken; a wrong one throws `object_malformed` with its name. */
export class Members {
  readonly #members: Readonly<Record<string, unknown>>;
  readonly #subject: string;

  constructor(value: unknown, subject: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed(subject, "it is not a JSON object");
    this.#members = value as Readonly<Record<string, unknown>>;
    this.#subject = subject;
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#members, name) && this.#members[name] !== null;
  }

  value(name: string): unknown {
    return this.has(name) ? this.#members[name] : undefined;
  }

  text(name: string, maxLength = 65_536): string {
    const value = this.value(name);
    if (typeof value !== "string" || value.length > maxLength)
      throw this.wrong(name, `a text of at most ${maxLength} characters`);
    return value;
  }

  hex(name: string, bytes: number): string {
    const value = this.value(name);
    if (typeof value !== "string" || !isHexId(value, bytes)) throw this.wrong(name, `${bytes * 2} hex digits`);
    return value;
  }

  integer(name: string, min: number, max = Number.MAX_SAFE_INTEGER): number {
    const value = this.value(name);
    if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max)
      throw this.wrong(name, `an integer from ${min} to ${max}`);
    return value;
  }

  flag(name: string): boolean {
    const value = this.value(name);
    if (typeof value !== "boolean") throw this.wrong(name, "true or false");
    return value;
  }

  oneOf<Choice extends string>(name: string, choices: readonly Choice[]): Choice {
    const found = choices.find((choice) => choice === this.value(name));
    if (found === undefined) throw this.wrong(name, `one of ${choices.join(", ")}`);
    return found;
  }

  object(name: string): Members {
    return new Members(this.value(name), `${this.#subject}, in \`${name}\`,`);
  }

  /** A JSON object whose members are not fixed. */
  record(name: string): Readonly<Record<string, unknown>> {
    return this.object(name).#members;
  }

  list<Item>(name: string, maxItems: number, read: (item: Members) => Item): Item[] {
    return this.#items(name, maxItems).map((item) => read(new Members(item, `${this.#subject}, in \`${name}\`,`)));
  }

  texts(name: string, maxItems: number): string[] {
    return this.#items(name, maxItems).map((item) => new Members({ item }, `${this.#subject}, in \`${name}\`,`).text("item"));
  }

  wrong(name: string, expected: string): HoldfastError {
    return malformed(this.#subject, `\`${name}\` is not ${expected}`);
  }

  #items(name: string, maxItems: number): readonly unknown[] {
    const value = this.value(name);
    if (!Array.isArray(value) || value.length > maxItems) throw this.wrong(name, `a list of at most ${maxItems} items`);
    return value as readonly unknown[];
  }
}
