/** What the configuration and the state say: schedules, analytics, the outbox, the configuration and its plan; and tasks. */
import type { FastifyInstance } from "fastify";
import { HoldfastError, type DaemonControl, type DeliveryState } from "../../index.ts";
import {
  ANY,
  COUNT,
  countOf,
  CUT,
  document,
  INTEGER,
  listed,
  NAME,
  object,
  orNull,
  RUN_ID,
  STRING,
  TASK,
  TIME,
  timeOf,
} from "../query-schemas.ts";
import { answerLongQuery, answerTask, taskBody } from "../task-answer.ts";

const EVENT = object({ event: { type: "string", pattern: "^(evt_)?[0-9a-f]{1,32}$" } }, ["event"]);
/** What is looked back at: runs are kept for 400 days. */
const MAX_RANGE_MS = 400 * 86_400_000;
const SUMMARY = {
  runs: INTEGER,
  success: INTEGER,
  partial: INTEGER,
  failed: INTEGER,
  interrupted: INTEGER,
  cancelled: INTEGER,
  skipped: INTEGER,
  successRate: orNull("number"),
  durationMs: { type: ["object", "null"], additionalProperties: true },
  sourceBytes: orNull("number"),
  newBytes: { type: "number" },
  storedBytes: { type: "number" },
  ratio: orNull("number"),
};

export function reportRoutes(app: FastifyInstance, control: DaemonControl): void {
  const { reports, tasks } = control;

  app.get<{ Querystring: { job?: string; count?: string } }>(
    "/schedules",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "listSchedules",
        summary: "Schedules with the next runs of each job",
        tags: ["schedules"],
        querystring: object({ job: NAME, count: COUNT }),
        response: {
          200: document({
            timezone: STRING,
            time: STRING,
            jobs: listed(document({ job: STRING, next: listed(document({ time: STRING, mode: STRING })) })),
            maintenance: ANY,
          }),
        },
      },
    },
    ({ query }) => reports.schedules(query.job, countOf("count", query.count, 5, 20)),
  );

  app.get<{ Querystring: { job?: string; since?: string; until?: string; bucket?: "day" | "week" | "month" } }>(
    "/analytics",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "analyse",
        summary: "Success rates, durations, sizes, ratios and growth, of each job and over time",
        description: "From the history: the last 30 days unless said otherwise, at most 400, and the newest 20,000 backups.",
        tags: ["analytics"],
        querystring: object({ job: NAME, since: TIME, until: TIME, bucket: { enum: ["day", "week", "month"] } }),
        response: {
          200: document({
            since: STRING,
            until: STRING,
            bucket: STRING,
            timezone: STRING,
            runs: INTEGER,
            cut: CUT,
            all: document(SUMMARY),
            jobs: listed(
              document({
                job: STRING,
                ...SUMMARY,
                growthBytesPerDay: orNull("number"),
                series: listed(document({ start: STRING, ...SUMMARY })),
              }),
            ),
          }),
        },
      },
    },
    ({ query: { job, bucket = "day", ...range } }) => {
      const [sinceMs, untilMs] = [timeOf("since", range.since), timeOf("until", range.until)];
      if (sinceMs !== undefined && (untilMs ?? control.status().timeMs) - sinceMs > MAX_RANGE_MS)
        throw new HoldfastError("usage", "since is more than 400 days before the end", { hint: "History is kept for 400 days." });
      return reports.analytics({ job, bucket, sinceMs, untilMs });
    },
  );

  app.get<{ Querystring: { state?: DeliveryState; limit?: string } }>(
    "/outbox",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "listOutbox",
        summary: "What was to be told to receivers, the newest first",
        tags: ["outbox"],
        querystring: object({ state: { enum: ["pending", "delivered", "dead"] }, limit: COUNT }),
        response: {
          200: document({
            notifications: listed(document({ event: STRING, type: STRING, time: STRING, receiver: STRING, state: STRING })),
          }),
        },
      },
    },
    async ({ query: { state, limit } }) =>
      reports.outbox({ limit: countOf("limit", limit, 100, 10_000), ...(state && { state }) }),
  );

  app.post(
    "/outbox/resend",
    {
      config: { role: "operator" },
      schema: {
        operationId: "resendDead",
        summary: "Queue again everything that could not be delivered",
        tags: ["outbox"],
        response: { 200: document({ queued: INTEGER }) },
      },
    },
    async () => ({ queued: reports.resend(undefined) }),
  );

  app.post<{ Params: { event: string } }>(
    "/outbox/:event/resend",
    {
      config: { role: "operator" },
      schema: {
        operationId: "resendEvent",
        summary: "Queue again what has ended of one event",
        tags: ["outbox"],
        params: EVENT,
        response: { 200: document({ queued: INTEGER }) },
      },
    },
    async ({ params }) => ({ queued: reports.resend(params.event) }),
  );

  app.delete<{ Params: { event: string } }>(
    "/outbox/:event",
    {
      config: { role: "operator" },
      schema: {
        operationId: "discardEvent",
        summary: "Give up what still waits of one event",
        tags: ["outbox"],
        params: EVENT,
        response: { 200: document({ discarded: INTEGER }) },
      },
    },
    async ({ params, caller }) => ({ discarded: reports.discard(params.event, caller.name) }),
  );

  app.get(
    "/config",
    {
      config: { role: "operator" },
      schema: {
        operationId: "getConfig",
        summary: "The configuration in force: no secrets, and of commands only the program",
        tags: ["config"],
        response: { 200: ANY },
      },
    },
    async () => reports.config(),
  );

  app.get(
    "/config/plan",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "planConfig",
        summary: "What would be done now, and what is held",
        tags: ["config"],
        response: {
          200: document({
            id: orNull("string"),
            time: STRING,
            approved: { type: "boolean" },
            held: INTEGER,
            actions: listed(ANY),
            notes: listed(ANY),
            next: ANY,
          }),
          202: TASK,
        },
      },
    },
    (request, reply) =>
      answerLongQuery(control, request, reply, { kind: "plan", subject: "the configuration" }, (hooks) =>
        control.query(hooks.signal, (queries) => queries.plan()),
      ),
  );

  app.get(
    "/config/pending",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "listPending",
        summary: "Plans that wait for an approval",
        tags: ["config"],
        response: { 200: document({ pending: listed(document({ plan: STRING, since: STRING, why: listed(STRING) })) }) },
      },
    },
    async () => reports.pending(),
  );

  app.post<{ Body: { plan: string } }>(
    "/config/approve",
    {
      config: { role: "admin" },
      schema: {
        operationId: "approvePlan",
        summary: "Approve a plan that waits, and apply it",
        tags: ["config"],
        body: object({ plan: { type: "string", pattern: "^[0-9a-f]{12}$" } }, ["plan"]),
        response: { 200: TASK, 202: TASK },
      },
    },
    (request, reply) => {
      const { plan } = request.body;
      reports.assertPending(plan);
      return answerTask(control, request, reply, { kind: "apply", subject: `plan ${plan}` }, (hooks) =>
        control.operate(hooks, (operations, own) => operations.apply({ approve: [plan], allowRecreate: false }, own)),
      );
    },
  );

  app.get(
    "/operations",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "listOperations",
        summary: "What was asked for over the API and nobody stayed for, the newest first; remembered while the daemon lives",
        tags: ["operations"],
        response: { 200: document({ operations: listed(TASK) }) },
      },
    },
    async () => ({ operations: tasks.list().map((task) => ({ ...taskBody(task), result: null, parts: [] })) }),
  );

  app.get<{ Params: { id: string } }>(
    "/operations/:id",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "getOperation",
        summary: "One of them, with its result",
        tags: ["operations"],
        params: object({ id: RUN_ID }, ["id"]),
        response: { 200: TASK },
      },
    },
    async ({ params }) => {
      const task = tasks.get(params.id);
      if (task !== undefined) return taskBody(task);
      throw new HoldfastError("name_unknown", `There is no operation ${params.id}`, { hint: "It may be forgotten by now." });
    },
  );
}
