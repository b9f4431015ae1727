/** A request that stays attached to what it started: its lines go out as they come, and it may be cancelled by its id. */
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { FastifyReply } from "fastify";
import { asHoldfastError, HoldfastError, randomHex, systemRandom, type AttachedHooks } from "../index.ts";
import type { RequestAudit } from "./audit.ts";
import { LineStream } from "./ndjson.ts";

export class Attachments {
  readonly #open = new Map<string, AbortController>();
  readonly #answers = new Set<ServerResponse>();
  readonly #audit: RequestAudit;

  constructor(audit: RequestAudit) {
    this.#audit = audit;
  }

  /**
   * Answers with the lines of `act` and its result. A client that goes away gives it up: what that means is the affair of
   * `act`, whose signal fires.
   */
  async attach(reply: FastifyReply, act: (hooks: AttachedHooks) => Promise<unknown>): Promise<void> {
    reply.hijack();
    const id = randomHex(systemRandom, 16);
    const abort = new AbortController();
    const lines = new LineStream(reply.raw);
    this.#answers.add(reply.raw);
    const gone = (): void => {
      this.#answers.delete(reply.raw);
      abort.abort(new HoldfastError("cancelled", "Who asked for it has gone"));
    };
    reply.raw.on("close", gone);
    reply.raw.on("error", gone);
    this.#open.set(id, abort);
    lines.line({ type: "attached", operation: id });
    this.#audit.begun(reply.request);
    try {
      const result = await act({
        onEvent: (event) => lines.event(event),
        onWarning: (text) => lines.line({ type: "warning", text }),
        onNotice: (text) => lines.line({ type: "notice", text }),
        onPart: (part) => lines.line({ type: "part", part: plain(part) }),
        signal: abort.signal,
      });
      this.#audit.ended(reply.request, { result });
      lines.result(plain(result));
    } catch (thrown) {
      this.#audit.ended(reply.request, { thrown });
      lines.problem(asHoldfastError(thrown));
    } finally {
      this.#open.delete(id);
    }
  }

  /** Resolves when nothing goes on any more. */
  async idle(): Promise<void> {
    while (this.#answers.size > 0) await Promise.all([...this.#answers].map((answer) => once(answer, "close")));
  }

  /** Resolves when every answer that has its end is with its reader, or after `withinMs`. */
  async delivered(withinMs: number): Promise<void> {
    const ended = [...this.#answers].filter(({ writableEnded, destroyed }) => writableEnded && !destroyed);
    const over = new AbortController();
    await Promise.race([
      Promise.all(ended.map((answer) => once(answer, "close"))),
      sleep(withinMs, undefined, { signal: over.signal }).catch(() => undefined),
    ]);
    over.abort();
  }

  cancel(id: string): void {
    const abort = this.#open.get(id);
    if (abort === undefined)
      throw new HoldfastError("name_unknown", `There is no operation ${id}`, { hint: "It may have ended." });
    abort.abort(new HoldfastError("cancelled", "The operation was cancelled"));
  }
}

/** The value with every HoldfastError in it as its wire form. */
export function plain(value: unknown): unknown {
  if (value instanceof HoldfastError) return value.toWire();
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plain(member)]));
}
