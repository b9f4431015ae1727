/**
 * `Idempotency-Key` on actions: who repeats a request with the same key, because its answer got lost, gets the answer that was
 * given, and nothing is done twice. Answers are kept in this process for a day; of each caller the newest thousand.
 */
import { createHash } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { HoldfastError } from "../index.ts";

const KEPT_MS = 24 * 3_600_000;
const KEPT_KEYS = 1000;
/** A longer answer is not kept: a repetition is told that it was done. */
const MAX_ANSWER_BYTES = 64 * 1024;
const KEY = /^[\u0021-\u007e]{1,200}$/;
const READS = new Set(["GET", "HEAD", "OPTIONS"]);

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

interface Entry {
  /** Of method, URL and body. */
  readonly request: string;
  readonly atMs: number;
  /** Undefined while it is being done; null when it was done and its answer is not kept. */
  answer: Answer | null | undefined;
}

export class Idempotency {
  readonly #now: () => number;
  /** By caller, then by key; both in the order of their first use. */
  readonly #entries = new Map<string, Map<string, Entry>>();
  readonly #begun = new WeakMap<FastifyRequest, Entry>();

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  register(app: FastifyInstance): void {
    // After authentication and validation: what is refused there was never begun.
    app.addHook("preHandler", async (request, reply) => {
      const key = request.headers["idempotency-key"];
      if (key === undefined || READS.has(request.method)) return undefined;
      const answer = this.#begin(request, String(key));
      if (answer !== undefined)
        return await reply.code(answer.status).type(answer.type).header("idempotency-replayed", "true").send(answer.body);
      // A stream of lines is not kept, and neither is an answer whose reader has gone before its end.
      reply.raw.once("close", () => {
        if (reply.sent) this.#end(request, null);
      });
      return undefined;
    });
    app.addHook("onSend", async (request, reply, payload) => {
      const { statusCode: status } = reply;
      // Nothing was done: it may be tried again under the same key.
      if (status >= 400 && status < 500) this.#forget(request);
      else if (typeof payload === "string" && Buffer.byteLength(payload) <= MAX_ANSWER_BYTES)
        this.#end(request, { status, type: String(reply.getHeader("content-type") ?? "application/json"), body: payload });
      else this.#end(request, null);
      return payload;
    });
  }

  #begin(request: FastifyRequest, key: string): Answer | undefined {
    if (!KEY.test(key))
      throw new HoldfastError("usage", "Idempotency-Key must be 1 to 200 printable characters without spaces", {
        hint: "Use a random one, such as a UUID.",
      });
    const entries = this.#of(request.caller.name);
    const text = JSON.stringify([request.method, request.url, request.body ?? null]);
    const digest = createHash("sha256").update(text).digest("hex");
    const known = entries.get(key);
    if (known === undefined) {
      makeRoom(entries);
      const entry: Entry = { request: digest, atMs: this.#now(), answer: undefined };
      entries.set(key, entry);
      this.#begun.set(request, entry);
      return undefined;
    }
    if (known.request !== digest)
      throw new HoldfastError("key_mismatch", "This Idempotency-Key was used for another request", {
        hint: "Use a new key for each thing to do.",
      });
    if (known.answer === undefined)
      throw new HoldfastError("key_in_use", "The request with this Idempotency-Key is still being done", {
        hint: "Repeat it in a moment to get its answer.",
        transient: true,
      });
    if (known.answer === null)
      throw new HoldfastError("key_in_use", "The request with this Idempotency-Key was done, and its answer is not kept", {
        hint: "`GET /api/v1/runs` says what became of it. To do it once more, use a new key.",
      });
    return known.answer;
  }

  #of(caller: string): Map<string, Entry> {
    const entries = this.#entries.get(caller) ?? new Map<string, Entry>();
    this.#entries.set(caller, entries);
    const oldestMs = this.#now() - KEPT_MS;
    for (const [key, { atMs, answer }] of entries) {
      if (atMs >= oldestMs) break;
      if (answer !== undefined) entries.delete(key);
    }
    return entries;
  }

  #end(request: FastifyRequest, answer: Answer | null): void {
    const entry = this.#begun.get(request);
    if (entry !== undefined && entry.answer === undefined) entry.answer = answer;
  }

  #forget(request: FastifyRequest): void {
    const entry = this.#begun.get(request);
    if (entry === undefined || entry.answer !== undefined) return;
    const entries = this.#entries.get(request.caller.name);
    for (const [key, one] of entries ?? []) if (one === entry) entries?.delete(key);
  }
}

/** Forgets the oldest that is done, where there are too many. */
function makeRoom(entries: Map<string, Entry>): void {
  if (entries.size < KEPT_KEYS) return;
  for (const [key, { answer }] of entries) if (answer !== undefined) return void entries.delete(key);
  throw new HoldfastError("rate_limited", `${KEPT_KEYS} requests with an Idempotency-Key are being done already`);
}
