import type { FastifyInstance } from "fastify";
import { HoldfastError, type DaemonControl, type RunRecord } from "../../index.ts";

const RUN = { type: "object", properties: { id: { type: "string", pattern: "^[0-9a-f]{1,32}$" } }, required: ["id"] };
const NAME_OR_RUN = {
  type: "object",
  properties: { id: { type: "string", minLength: 1, maxLength: 63 } },
  required: ["id"],
};
const LIMIT = { type: "string", pattern: "^[1-9][0-9]{0,4}$" };
const TIME = { type: "string", maxLength: 40 };
const STATUSES = ["success", "partial", "failed", "cancelled", "skipped", "interrupted"];
const KINDS = ["backup", "restore", "verify", "prune", "repair", "apply"];

interface ListQuery {
  readonly limit?: string;
  readonly job?: string;
  readonly kind?: RunRecord["kind"];
  readonly status?: NonNullable<RunRecord["status"]>;
  readonly since?: string;
  readonly until?: string;
}

interface LogQuery {
  readonly limit?: string;
  readonly since?: string;
  readonly until?: string;
}

export function runRoutes(app: FastifyInstance, control: DaemonControl): void {
  app.get<{ Querystring: ListQuery }>(
    "/runs",
    {
      schema: {
        querystring: {
          type: "object",
          additionalProperties: false,
          properties: {
            limit: LIMIT,
            job: { type: "string", maxLength: 63 },
            kind: { enum: KINDS },
            status: { enum: STATUSES },
            since: TIME,
            until: TIME,
          },
        },
      },
    },
    async ({ query: { job, kind, status, ...rest } }) => ({
      runs: control
        .runs({ ...numbers(rest), ...(job !== undefined && { job }), ...(kind && { kind }), ...(status && { status }) })
        .map(runBody),
    }),
  );
  app.get<{ Params: { id: string } }>("/runs/:id", { schema: { params: RUN } }, async ({ params }) =>
    runBody(control.run(params.id)),
  );
  app.get<{ Params: { id: string }; Querystring: LogQuery }>(
    "/runs/:id/log",
    {
      schema: {
        params: RUN,
        querystring: { type: "object", additionalProperties: false, properties: { limit: LIMIT, since: TIME, until: TIME } },
      },
    },
    async ({ params, query }) => ({
      logs: control
        .logs(params.id, numbers(query))
        .map(({ run, timeMs, level, text }) => ({ time: new Date(timeMs).toISOString(), run, level, text })),
    }),
  );
  app.post<{ Params: { id: string } }>("/runs/:id/cancel", { schema: { params: NAME_OR_RUN } }, async ({ params }) =>
    control.cancel(params.id),
  );
}

function runBody(run: RunRecord): Record<string, unknown> {
  return {
    id: run.id,
    kind: run.kind,
    subject: run.subject,
    status: run.status ?? "running",
    startTime: new Date(run.startedMs).toISOString(),
    endTime: run.endedMs === undefined ? null : new Date(run.endedMs).toISOString(),
    durationMs: run.endedMs === undefined ? null : run.endedMs - run.startedMs,
    reason: run.reason ?? null,
    targets: run.targets ?? null,
    error: run.error ?? null,
    statistics: run.statistics ?? null,
  };
}

function numbers(query: LogQuery): { limit?: number; since?: number; until?: number } {
  return {
    ...(query.limit !== undefined && { limit: Number(query.limit) }),
    ...(query.since !== undefined && { since: timeOf("since", query.since) }),
    ...(query.until !== undefined && { until: timeOf("until", query.until) }),
  };
}

function timeOf(name: string, text: string): number {
  const timeMs = Date.parse(text);
  if (/^\d{4}-\d\d-\d\dT/.test(text) && Number.isFinite(timeMs)) return timeMs;
  throw new HoldfastError("usage", `${name} is not a time: ${JSON.stringify(text)}`, {
    hint: "Write it as 2026-11-20T02:30:00Z.",
  });
}
