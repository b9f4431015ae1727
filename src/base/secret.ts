import { inspect } from "node:util";

/** A value that prints as `***` wherever it is turned into text by accident. `reveal()` is the only way to it. */
export class Secret {
  readonly #bytes: Buffer;

  constructor(value: string | Uint8Array) {
    this.#bytes = Buffer.from(value as Uint8Array);
  }

  /** The secret's bytes. The caller must not log, throw or store them. */
  reveal(): Buffer {
    return this.#bytes;
  }

  toString(): string {
    return "***";
  }

  toJSON(): string {
    return "***";
  }

  [inspect.custom](): string {
    return "***";
  }
}
