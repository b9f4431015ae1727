/** The tokens that are accepted: only a keyed hash of each is kept, under a key of this process. */
import { hash, randomBytes, timingSafeEqual } from "node:crypto";
import { API_TOKEN, asHoldfastError, HoldfastError, type ApiAccess, type ApiTokenConfig } from "../index.ts";
import type { Caller, Role } from "./caller.ts";

interface Entry {
  readonly name: string;
  readonly role: Role;
  readonly digest: Buffer;
}

export class Tokens {
  readonly #key = randomBytes(32);
  #entries: readonly Entry[] = [];
  readonly #entryOf = new WeakMap<Caller, Entry>();

  /** Replaces what is accepted. What cannot be read, or could be guessed, is not accepted, and said. Never rejects. */
  async read(configured: readonly ApiTokenConfig[], access: Pick<ApiAccess, "secret" | "log">): Promise<void> {
    const entries: Entry[] = [];
    const read = await Promise.allSettled(configured.map(async ({ token }) => await access.secret(token)));
    for (const [index, { name, role }] of configured.entries()) {
      try {
        const secret = read[index]!;
        if (secret.status === "rejected") throw secret.reason;
        const digest = this.#digestOf(textOf(name, secret.value.reveal()));
        const same = entries.find((entry) => timingSafeEqual(entry.digest, digest));
        if (same !== undefined)
          throw new HoldfastError("usage", `The tokens ${same.name} and ${name} are the same`, {
            hint: "Give each a token of its own, so that it is known who asks.",
          });
        const known = this.#entries.find((entry) => entry.name === name && entry.role === role && entry.digest.equals(digest));
        entries.push(known ?? { name, role, digest });
      } catch (thrown) {
        const { message, hint } = asHoldfastError(thrown);
        access.log.error(`the API token ${name} is not accepted: ${message}`, { hint });
      }
    }
    this.#entries = entries;
  }

  get count(): number {
    return this.#entries.length;
  }

  /** Whose token it is. Compares with every one, in the same time whichever it is. */
  authenticate(token: string, from: string): Caller | undefined {
    const digest = this.#digestOf(token);
    let found: Entry | undefined;
    for (const entry of this.#entries) if (timingSafeEqual(entry.digest, digest)) found = entry;
    if (found === undefined) return undefined;
    const caller = { name: found.name, role: found.role, from };
    this.#entryOf.set(caller, found);
    return caller;
  }

  /** Whether the token that a caller came with is still accepted, for the same role. */
  isValid(caller: Caller): boolean {
    const entry = this.#entryOf.get(caller);
    return entry !== undefined && this.#entries.includes(entry);
  }

  /** No digest leaves the process, so that a key in front is as good as an HMAC, at a fifth of its cost. */
  #digestOf(token: string): Buffer {
    return hash("sha256", Buffer.concat([this.#key, Buffer.from(token)]), "buffer");
  }
}

function textOf(name: string, secret: Buffer): string {
  const text = secret.toString("utf8");
  if (API_TOKEN.test(text)) return text;
  throw new HoldfastError("usage", `The token ${name} is too short, or has characters that a token cannot have`, {
    hint: "It needs 32 to 1024 letters, digits and -._~+/=: make one with `openssl rand -hex 32`.",
  });
}
