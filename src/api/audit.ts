/**
 * Every request that changes something is in the audit log, and so is every one that was refused for who sent it: by hooks around
 * all routes, so that no route can forget it. What a request has in its body is recorded only where a line here says so.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import {
  asHoldfastError,
  EDITED_SECTIONS,
  endOf,
  OPERATION_DEEDS,
  type ApplyRequest,
  type AuditEntry,
  type AuditLog,
  type BackupRequest,
  type Deed,
  type PruneRequest,
  type RestoreOperation,
  type RollbackRequest,
} from "../index.ts";

/** Refusals of one caller that are recorded at once, and how often one more after that: nobody fills the log with them. */
const REFUSALS_AT_ONCE = 20;
const REFUSAL_MS = 30_000;
/** Callers whose refusals are counted apart. */
const MAX_CALLERS = 100;
const READS = new Set(["GET", "HEAD", "OPTIONS"]);
const MAX_SUBJECT_PART = 128;

type DeedOf = (request: FastifyRequest) => Deed;
const body = <T>({ body: given }: FastifyRequest): T => given as T;

/** By method and route, below the prefix. A route that is not here is recorded by its path, without its body. */
const DEEDS: Readonly<Record<string, DeedOf>> = {
  "POST /jobs/:job/run": (request) => ({
    ...named("job.run", request),
    detail: { mode: body<{ mode?: string } | null>(request)?.mode },
  }),
  "POST /jobs/:job/pause": (request) => named("job.pause", request),
  "POST /jobs/:job/resume": (request) => named("job.resume", request),
  "POST /runs/:id/cancel": (request) => named("run.cancel", request),
  "POST /config/reload": () => ({ action: "config.reload", subject: "", detail: undefined }),
  "POST /operations/backup": (request) => OPERATION_DEEDS.backup(body<BackupRequest>(request)),
  "POST /operations/apply": (request) => OPERATION_DEEDS.apply(body<ApplyRequest>(request)),
  "POST /operations/restore": (request) => OPERATION_DEEDS.restore(body<RestoreOperation>(request)),
  "POST /operations/rollback": (request) => OPERATION_DEEDS.rollback(body<RollbackRequest>(request)),
  "POST /operations/prune": (request) => OPERATION_DEEDS.prune(body<PruneRequest>(request)),
  ...Object.fromEntries(
    EDITED_SECTIONS.flatMap((section) => [
      [`PUT /config/${section}/:name`, configItem("config.write", section)],
      [`DELETE /config/${section}/:name`, configItem("config.delete", section)],
    ]),
  ),
  "POST /operations/:id/cancel": (request) => named("operation.cancel", request),
};

/** What a handler says of its request, besides its name. Nothing secret. */
const facts = new WeakMap<FastifyRequest, Readonly<Record<string, unknown>>>();

/** Adds facts to the record of a request: ids, digests, counts. */
export function auditFacts(request: FastifyRequest, more: Readonly<Record<string, unknown>>): void {
  facts.set(request, { ...facts.get(request), ...more });
}

export class RequestAudit {
  readonly #log: AuditLog;
  readonly #prefix: string;
  readonly #nowMs: () => number;
  readonly #codes = new WeakMap<FastifyRequest, string>();
  readonly #attached = new WeakSet<FastifyRequest>();
  readonly #refusals = new Map<string, { left: number; sinceMs: number; suppressed: number }>();

  constructor(log: AuditLog, prefix: string, nowMs: () => number = () => performance.now()) {
    this.#log = log;
    this.#prefix = prefix;
    this.#nowMs = nowMs;
  }

  /** To be called before the routes are registered. */
  register(app: FastifyInstance): void {
    app.addHook("onError", async (request, _reply, error) => {
      this.#codes.set(request, error.validation === undefined ? asHoldfastError(error).code : "usage");
    });
    // Before the answer goes out: who has been told that it is done finds it in the log.
    app.addHook("onSend", async (request, reply) => this.#answered(request, reply));
    app.addHook("onClose", async () => {
      for (const [name, { suppressed }] of this.#refusals) if (suppressed > 0) this.#suppressed(name, suppressed);
    });
  }

  /** What stays attached to what it started is recorded when it begins and when it ends. */
  begun(request: FastifyRequest): void {
    this.#attached.add(request);
    this.#record(request, { ...this.#deed(request), outcome: "begun" });
  }

  ended(request: FastifyRequest, end: { readonly result: unknown } | { readonly thrown: unknown }): void {
    const deed = this.#deed(request);
    if ("thrown" in end) {
      this.#record(request, { ...deed, outcome: "failed", code: asHoldfastError(end.thrown).code });
      return;
    }
    const { outcome, code, detail } = endOf(end.result);
    this.#record(request, { ...deed, outcome, code, detail: { ...deed.detail, ...detail } });
  }

  #answered(request: FastifyRequest, reply: FastifyReply): void {
    const { statusCode } = reply;
    const isDenied = statusCode === 401 || statusCode === 403;
    if (this.#attached.has(request)) return;
    if (!isDenied && (READS.has(request.method) || request.is404)) return;
    // The answer to an earlier request, given again: nothing was done.
    if (reply.getHeader("idempotency-replayed") !== undefined) return;
    const outcome = statusCode < 400 ? "accepted" : statusCode < 500 ? "refused" : "failed";
    const code = outcome === "accepted" ? undefined : (this.#codes.get(request) ?? String(statusCode));
    const deed = isDenied && READS.has(request.method) ? this.#read(request) : this.#deed(request);
    const detail = { ...deed.detail, ...facts.get(request) };
    if (outcome !== "refused") return this.#record(request, { ...deed, outcome, code, detail });
    const suppressed = this.#mayRefuse(request);
    if (suppressed === undefined) return;
    this.#record(request, { ...deed, outcome, code, detail: { ...detail, ...(suppressed > 0 && { notRecorded: suppressed }) } });
  }

  #record(request: FastifyRequest, entry: Omit<AuditEntry, "actor" | "from">): void {
    const { name, from } = whoIs(request);
    const given = Object.entries(entry.detail ?? {}).filter(([, value]) => value !== undefined);
    this.#log.record({ ...entry, detail: given.length === 0 ? undefined : Object.fromEntries(given), actor: name, from });
  }

  #deed(request: FastifyRequest): Deed {
    const path = this.#path(request);
    const known = DEEDS[`${request.method} ${path}`];
    try {
      if (known !== undefined) return known(request);
    } catch {
      // A body that was refused has not the shape that it should have.
    }
    const words = path.split("/").filter((part) => part !== "" && !part.startsWith(":"));
    const verb = request.method === "POST" ? [] : [request.method.toLowerCase()];
    return named([...words, ...verb].join(".") || "unknown", request);
  }

  #read(request: FastifyRequest): Deed {
    return { action: "read", subject: request.url.split("?")[0]?.slice(0, MAX_SUBJECT_PART) ?? "", detail: undefined };
  }

  #path(request: FastifyRequest): string {
    const url = request.routeOptions.url ?? "";
    return url.startsWith(this.#prefix) ? url.slice(this.#prefix.length) : url;
  }

  /** How many refusals of this caller were left out before this one; undefined when this one is left out too. */
  #mayRefuse(request: FastifyRequest): number | undefined {
    const { name } = whoIs(request);
    const nowMs = this.#nowMs();
    let bucket = this.#refusals.get(name);
    if (bucket === undefined) {
      const oldest = this.#refusals.size >= MAX_CALLERS ? this.#refusals.entries().next().value : undefined;
      if (oldest !== undefined) {
        this.#refusals.delete(oldest[0]);
        if (oldest[1].suppressed > 0) this.#suppressed(oldest[0], oldest[1].suppressed);
      }
      bucket = { left: REFUSALS_AT_ONCE, sinceMs: nowMs, suppressed: 0 };
      this.#refusals.set(name, bucket);
    }
    const more = Math.floor((nowMs - bucket.sinceMs) / REFUSAL_MS);
    if (more > 0) {
      bucket.left = Math.min(REFUSALS_AT_ONCE, bucket.left + more);
      bucket.sinceMs += more * REFUSAL_MS;
    }
    if (bucket.left === 0) {
      bucket.suppressed++;
      return undefined;
    }
    bucket.left--;
    const { suppressed } = bucket;
    bucket.suppressed = 0;
    return suppressed;
  }

  #suppressed(name: string, count: number): void {
    this.#log.record({
      actor: name,
      from: "",
      action: "refusals",
      subject: "",
      outcome: "refused",
      detail: { notRecorded: count },
    });
  }
}

/** A request whose sender is not known has no caller. */
function whoIs(request: FastifyRequest): { readonly name: string; readonly from: string } {
  const caller = request.caller as FastifyRequest["caller"] | undefined;
  return caller ?? { name: "unknown", from: request.ip || "unknown" };
}

function configItem(action: string, section: string): DeedOf {
  return (request) => ({ action, subject: `${section}.${named(action, request).subject}`, detail: undefined });
}

/** A deed about what the path names. */
function named(action: string, { params }: FastifyRequest): Deed {
  const parts = typeof params === "object" && params !== null ? Object.values(params) : [];
  const subject = parts.map((part) => String(part).slice(0, MAX_SUBJECT_PART)).join(" ");
  return { action, subject, detail: undefined };
}
