import type { FastifyInstance } from "fastify";
import { HoldfastError, renderCsv, type DaemonControl, type LogLevel, type RunQuery, type RunRecord } from "../../index.ts";
import {
  answer,
  closed,
  ISO_TIME,
  list,
  NAME,
  NO_BODY,
  NOTHING,
  orNull,
  RUN,
  RUN_ID,
  RUN_KINDS,
  RUN_STATUSES,
} from "../schemas.ts";

const ID = closed({ id: RUN_ID }, ["id"]);
const NAME_OR_RUN = closed({ id: { ...NAME, pattern: "^[a-z0-9][a-z0-9_-]*$", description: "A run, or the name of a job." } }, [
  "id",
]);
const LIMIT = { type: "string", pattern: "^[1-9][0-9]{0,4}$", description: "At most so many." };
const TIME = { type: "string", maxLength: 40, description: "As 2026-11-20T02:30:00Z." };
const LEVELS = ["debug", "info", "warn", "error"] as const;
const DEFAULT_LIMIT = 100;
const COLUMNS = ["id", "kind", "subject", "status", "startTime", "endTime", "durationMs", "reason", "targets", "error"] as const;

interface Times {
  readonly limit?: string;
  readonly since?: string;
  readonly until?: string;
}

interface ListQuery extends Times {
  readonly job?: string;
  readonly kind?: RunRecord["kind"];
  readonly status?: NonNullable<RunRecord["status"]>;
  readonly cursor?: string;
  readonly format?: "json" | "csv";
}

interface LogQuery extends Times {
  readonly level?: LogLevel;
  readonly grep?: string;
}

export function runRoutes(app: FastifyInstance, control: DaemonControl): void {
  app.get<{ Querystring: ListQuery }>(
    "/runs",
    {
      config: { role: "viewer" },
      schema: {
        summary: "Runs, the newest first",
        description: "`next` is the `cursor` of what follows; null at the end. As CSV it is in the header `link`.",
        tags: ["runs"],
        operationId: "listRuns",
        querystring: closed({
          limit: { ...LIMIT, description: "At most so many; 100 when it is not said." },
          cursor: { type: "string", pattern: "^[0-9]{1,16}-[0-9a-f]{32}$", description: "`next` of an earlier answer." },
          job: { type: "string", maxLength: 63 },
          kind: { enum: RUN_KINDS },
          status: { enum: RUN_STATUSES },
          since: TIME,
          until: TIME,
          format: { enum: ["json", "csv"], description: "In place of `Accept: text/csv`." },
        }),
        response: {
          200: {
            description: "A page of them.",
            content: {
              "application/json": { schema: answer("", { runs: list(RUN), next: orNull({ type: "string" }) }) },
              "text/csv": { schema: { type: "string" } },
            },
          },
        },
      },
    },
    async ({ query: { job, kind, status, cursor, format, ...times }, headers, routeOptions }, reply) => {
      const limit = Number(times.limit ?? DEFAULT_LIMIT);
      const records = control.runs({
        ...numbers(times),
        limit: limit + 1,
        ...(job !== undefined && { job }),
        ...(kind && { kind }),
        ...(status && { status }),
        ...(cursor !== undefined && { after: afterOf(cursor) }),
      });
      const last = records.length > limit ? records[limit - 1] : undefined;
      const next = last === undefined ? null : `${last.startedMs}-${last.id}`;
      const runs = records.slice(0, limit).map(runBody);
      if (format === "json" || (format === undefined && !/\btext\/csv\b/.test(headers.accept ?? ""))) return { runs, next };
      if (next !== null) {
        const query = new URLSearchParams({ ...times, ...(job && { job }), ...(kind && { kind }), ...(status && { status }) });
        query.set("cursor", next);
        query.set("format", "csv");
        void reply.header("link", `<${routeOptions.url}?${query.toString()}>; rel="next"`);
      }
      const rows = runs.map((run) => COLUMNS.map((column) => run[column]));
      return await reply.type("text/csv; charset=utf-8; header=present").send(renderCsv(COLUMNS, rows));
    },
  );
  app.get<{ Params: { id: string } }>(
    "/runs/:id",
    {
      config: { role: "viewer" },
      schema: {
        summary: "One run",
        tags: ["runs"],
        operationId: "getRun",
        params: ID,
        querystring: NOTHING,
        response: { 200: RUN },
      },
    },
    async ({ params }) => runBody(control.run(params.id)),
  );
  app.get<{ Params: { id: string }; Querystring: LogQuery }>(
    "/runs/:id/log",
    {
      config: { role: "viewer" },
      schema: {
        summary: "What a run has said",
        tags: ["runs"],
        operationId: "getRunLog",
        params: ID,
        querystring: closed({
          limit: { ...LIMIT, description: "The newest so many; 10,000 when it is not said." },
          since: TIME,
          until: TIME,
          level: { enum: LEVELS, description: "Lines of this level and above." },
          grep: {
            type: "string",
            minLength: 1,
            maxLength: 200,
            description: "Lines with this text, upper and lower case alike.",
          },
        }),
        response: {
          200: answer("In the order of time.", {
            logs: list(
              answer("A line.", { time: ISO_TIME, run: { type: "string" }, level: { enum: LEVELS }, text: { type: "string" } }),
            ),
          }),
        },
      },
    },
    async ({ params, query: { level, grep, ...times } }) => ({
      logs: control
        .logs(params.id, {
          ...numbers(times),
          ...(level !== undefined && { levels: LEVELS.slice(LEVELS.indexOf(level)) }),
          // Plain text: no pattern of others is run here.
          ...(grep !== undefined && { grep: new RegExp(grep.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&"), "i") }),
        })
        .map(({ run, timeMs, level: of, text }) => ({ time: new Date(timeMs).toISOString(), run, level: of, text })),
    }),
  );
  app.post<{ Params: { id: string } }>(
    "/runs/:id/cancel",
    {
      config: { role: "operator" },
      schema: {
        summary: "End a run, or all that runs and waits for a job",
        tags: ["runs"],
        operationId: "cancelRun",
        params: NAME_OR_RUN,
        querystring: NOTHING,
        body: NO_BODY,
        response: { 200: answer("What was told to end, for people.", { cancelled: list({ type: "string" }) }) },
      },
    },
    async ({ params }) => control.cancel(params.id),
  );
}

function afterOf(cursor: string): NonNullable<RunQuery["after"]> {
  const [startedMs = "", id = ""] = cursor.split("-");
  return { startedMs: Number(startedMs), id: id as RunRecord["id"] };
}

function runBody(run: RunRecord): Readonly<Record<string, unknown>> {
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

function numbers(query: Times): { limit?: number; since?: number; until?: number } {
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
