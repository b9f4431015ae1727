import type { FastifyInstance } from "fastify";
import { formatAuditHead, HoldfastError, parseAuditHead, type AuditRecord, type DaemonControl } from "../../index.ts";

const LIMIT = { type: "string", pattern: "^[1-9][0-9]{0,3}$", description: "At most so many, up to 9999; default 100." };
const TEXT = { type: "string", maxLength: 128 };
const HEAD = { type: "string", description: "`SEQUENCE:HASH`: to be noted elsewhere." };
const RECORD = {
  type: "object",
  required: ["sequence", "time", "actor", "from", "action", "subject", "outcome", "code", "detail", "previous", "hash"],
  properties: {
    sequence: { type: "integer" },
    time: { type: "string", format: "date-time" },
    actor: { type: "string" },
    from: { type: "string" },
    action: { type: "string" },
    subject: { type: "string" },
    outcome: { enum: ["begun", "accepted", "refused", "failed"] },
    code: { type: ["string", "null"] },
    detail: { type: "string", description: "JSON, cut when it was long; empty when there is none." },
    previous: { type: "string" },
    hash: { type: "string" },
  },
};

interface ListQuery {
  readonly limit?: string;
  readonly before?: string;
  readonly since?: string;
  readonly until?: string;
  readonly actor?: string;
  readonly action?: string;
}

export function auditRoutes(app: FastifyInstance, { audit }: DaemonControl): void {
  app.get<{ Querystring: ListQuery }>(
    "/audit",
    {
      config: { role: "admin" },
      schema: {
        summary: "Who changed what, from where, and what came of it: the newest first",
        tags: ["audit"],
        operationId: "listAudit",
        querystring: {
          type: "object",
          additionalProperties: false,
          properties: {
            limit: LIMIT,
            before: {
              type: "string",
              pattern: "^[1-9][0-9]{0,14}$",
              description: "Only records before this sequence: the next page.",
            },
            since: { type: "string", maxLength: 40 },
            until: { type: "string", maxLength: 40 },
            actor: TEXT,
            action: TEXT,
          },
        },
        response: {
          200: {
            description: "The records.",
            type: "object",
            required: ["head", "records"],
            properties: { head: HEAD, records: { type: "array", items: RECORD } },
          },
        },
      },
    },
    async ({ query: { limit, before, since, until, ...named } }) => ({
      head: formatAuditHead(audit.head()),
      records: audit
        .records({
          ...named,
          ...(limit !== undefined && { limit: Number(limit) }),
          ...(before !== undefined && { before: Number(before) }),
          ...(since !== undefined && { since: timeOf("since", since) }),
          ...(until !== undefined && { until: timeOf("until", until) }),
        })
        .map(recordBody),
    }),
  );
  app.get<{ Querystring: { head?: string } }>(
    "/audit/verify",
    {
      config: { role: "admin" },
      schema: {
        summary: "Look at every record, and at a head that was noted",
        tags: ["audit"],
        operationId: "verifyAudit",
        querystring: {
          type: "object",
          additionalProperties: false,
          properties: { head: { type: "string", maxLength: 100, description: "`SEQUENCE:HASH` as it was noted." } },
        },
        response: {
          200: {
            description: "`intact` is false when a record was changed, taken out or moved.",
            type: "object",
            required: ["intact", "head", "records", "first", "problems"],
            properties: {
              intact: { type: "boolean" },
              head: HEAD,
              records: { type: "integer" },
              first: { type: "integer" },
              problems: { type: "array", items: { type: "string" } },
            },
          },
        },
      },
    },
    async ({ query }) => {
      const verdict = await audit.verify(query.head === undefined ? undefined : parseAuditHead(query.head));
      return { ...verdict, head: formatAuditHead(verdict.head) };
    },
  );
}

function recordBody({ timeMs, code, ...record }: AuditRecord): Record<string, unknown> {
  return { ...record, time: new Date(timeMs).toISOString(), code: code ?? null };
}

function timeOf(name: string, text: string): number {
  const timeMs = Date.parse(text);
  if (/^\d{4}-\d\d-\d\dT/.test(text) && Number.isFinite(timeMs)) return timeMs;
  throw new HoldfastError("usage", `${name} is not a time: ${JSON.stringify(text)}`, {
    hint: "Write it as 2026-11-20T02:30:00Z.",
  });
}
