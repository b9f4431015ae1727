import type { FastifyInstance } from "fastify";
import {
  HoldfastError,
  pathText,
  snapshotPath,
  type DaemonControl,
  type OverwritePolicy,
  type RestoreOperation,
  type RunRecord,
} from "../../index.ts";
import {
  ANY,
  BOOLEAN,
  countOf,
  COUNT,
  CUT,
  document,
  INTEGER,
  listed,
  NARROW,
  object,
  orNull,
  PATH,
  RUN_ID,
  selectorOf,
  SNAPSHOT_ID,
  STRING,
  TASK,
  TEXT,
  type Narrow,
} from "../query-schemas.ts";
import { answerLongQuery, answerTask } from "../task-answer.ts";

const MAX_RULES = 1000;
const RULES = { type: "array", items: TEXT, maxItems: MAX_RULES };
/** Steps and conflicts that a preview names. */
const MAX_STEPS = 10_000;
const PREFIX = "/api/v1";

const RESTORE = {
  snapshot: SNAPSHOT_ID,
  ...NARROW,
  path: PATH,
  to: {
    oneOf: [{ const: "in-place" }, object({ folder: { type: "string", pattern: "^/", maxLength: 16_384 } }, ["folder"])],
  },
  include: RULES,
  exclude: RULES,
  overwrite: { enum: ["never", "if-changed", "if-newer", "always"] },
  delete: { type: "boolean" },
};

interface RestoreBody extends Narrow {
  readonly snapshot: string;
  readonly path?: string;
  readonly to: "in-place" | { readonly folder: string };
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly overwrite?: OverwritePolicy;
  readonly delete?: boolean;
}

interface StartBody extends RestoreBody {
  readonly verifyFirst?: boolean;
  readonly verify?: boolean;
  readonly safetySnapshot?: boolean;
  readonly confirm?: boolean;
}

interface ByRun {
  readonly Params: { readonly run: string };
}

const ONE = object({ run: RUN_ID }, ["run"]);
const RUN = document({
  id: STRING,
  subject: STRING,
  status: STRING,
  startTime: STRING,
  endTime: orNull("string"),
  durationMs: orNull("number"),
  canRollBack: BOOLEAN,
  progress: { type: ["object", "null"], additionalProperties: true },
  statistics: { type: ["object", "null"], additionalProperties: true },
  error: { type: ["object", "null"], additionalProperties: true },
});

/** Restores into the folders that `control.restoreRoots` declares, and nowhere else. */
export function restoreRoutes(app: FastifyInstance, control: DaemonControl): void {
  const tags = ["restores"];

  app.post<{ Body: RestoreBody & { limit?: number } }>(
    "/restores/preview",
    {
      config: { role: "operator" },
      schema: {
        operationId: "previewRestore",
        summary: "What a restore would create, replace, leave and delete, and what is in its way; changes nothing",
        tags,
        body: object({ ...RESTORE, limit: { type: "integer", minimum: 1, maximum: MAX_STEPS } }, ["snapshot", "to"]),
        response: {
          200: document({
            snapshot: STRING,
            target: STRING,
            to: {},
            counts: document({
              create: INTEGER,
              replace: INTEGER,
              metadata: INTEGER,
              keep: INTEGER,
              delete: INTEGER,
              conflicts: INTEGER,
              directories: INTEGER,
              files: INTEGER,
              bytes: { type: "number" },
            }),
            steps: listed(document({ action: STRING, path: STRING, type: orNull("string") })),
            conflicts: listed(document({ path: STRING, code: STRING, message: STRING })),
            cut: CUT,
          }),
          202: TASK,
        },
      },
    },
    (request, reply) => {
      const { limit = 1000, ...body } = request.body;
      const options = { ...operationOf(control, body), confirmedLive: true };
      const what = { kind: "restore preview", subject: body.snapshot };
      return answerLongQuery(control, request, reply, what, (hooks) =>
        control.query(hooks.signal, (queries) => queries.previewRestore(options, limit)),
      );
    },
  );

  app.post<{ Body: StartBody }>(
    "/restores",
    {
      config: { role: "operator" },
      schema: {
        operationId: "startRestore",
        summary: "Start a restore",
        description: "Over live data, `confirm: true` is needed, and what is there is kept in a safety snapshot first.",
        tags,
        body: object(
          {
            ...RESTORE,
            verifyFirst: { type: "boolean" },
            verify: { type: "boolean" },
            safetySnapshot: { type: "boolean" },
            confirm: { type: "boolean" },
          },
          ["snapshot", "to"],
        ),
        response: { 200: TASK, 202: TASK },
      },
    },
    (request, reply) => {
      const { verifyFirst = false, verify = false, safetySnapshot = true, confirm = false, ...body } = request.body;
      const operation = operationOf(control, body);
      const isLive = operation.to === "in-place" || operation.to.folder === "/";
      if (isLive && !confirm)
        throw new HoldfastError("confirmation_required", `A confirmation is needed to restore ${operation.path} over live data`, {
          hint: `${safetySnapshot ? "What is there now is kept in a safety snapshot first" : "What is there now is NOT kept"}. Repeat the request with "confirm": true. Nothing was changed.`,
        });
      const whole = { ...operation, verifyFirst, verify, safetySnapshot, confirmedLive: isLive };
      return answerTask(control, request, reply, { kind: "restore", subject: body.snapshot, runs: "restores" }, (hooks) =>
        control.operate(hooks, (operations, own) => operations.restore(whole, own)),
      );
    },
  );

  app.get<{ Querystring: { limit?: string } }>(
    "/restores",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "listRestores",
        summary: "Restores, the newest first",
        tags,
        querystring: object({ limit: COUNT }),
        response: { 200: document({ restores: listed(RUN) }) },
      },
    },
    async ({ query }) => ({
      restores: control
        .runs({ kind: "restore", limit: countOf("limit", query.limit, 100, 1000) })
        .map((run) => bodyOf(control, run)),
    }),
  );

  app.get<ByRun>(
    "/restores/:run",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "getRestore",
        summary: "How a restore goes, or went",
        tags,
        params: ONE,
        response: { 200: RUN },
      },
    },
    async ({ params }) => bodyOf(control, restoreOf(control, params.run)),
  );

  app.post<ByRun>(
    "/restores/:run/cancel",
    {
      config: { role: "operator" },
      schema: {
        operationId: "cancelRestore",
        summary: "Cancel a restore; what was restored so far stays",
        tags,
        params: ONE,
        response: { 200: document({ cancelled: listed(STRING) }) },
      },
    },
    async ({ params }) => control.cancel(restoreOf(control, params.run).id),
  );

  app.post<ByRun & { Body: { confirm?: boolean; verify?: boolean } }>(
    "/restores/:run/rollback",
    {
      config: { role: "operator" },
      schema: {
        operationId: "rollBackRestore",
        summary: "Return to what was there before a restore over live data",
        tags,
        params: ONE,
        body: object({ confirm: { type: "boolean" }, verify: { type: "boolean" } }),
        response: { 200: TASK, 202: TASK, 404: ANY },
      },
    },
    (request, reply) => {
      const { confirm = false, verify = false } = request.body;
      const run = restoreOf(control, request.params.run);
      const path = run.statistics?.["path"];
      // What it undoes may have been restored by the owner, to anywhere.
      if (typeof path === "string") control.confineRestore("in-place", path);
      if (!confirm)
        throw new HoldfastError("confirmation_required", "A confirmation is needed to return to what was there before", {
          hint: 'Repeat the request with "confirm": true. Nothing was changed.',
        });
      const undo = { run: run.id, verify, confirmedLive: true };
      return answerTask(control, request, reply, { kind: "rollback", subject: run.id, runs: "restores" }, (hooks) =>
        control.operate(hooks, (operations, own) => operations.rollback(undo, own)),
      );
    },
  );
}

/** What is asked for, kept inside the declared folders. */
function operationOf(control: DaemonControl, body: RestoreBody): Omit<RestoreOperation, "confirmedLive"> {
  const { snapshot, to, include = [], exclude = [], overwrite = "if-changed" } = body;
  const path = pathText(snapshotPath(body.path ?? "/"));
  const place = control.confineRestore(to, path);
  return {
    selector: selectorOf(snapshot, body),
    path,
    ...place,
    include,
    exclude,
    overwrite,
    delete: body.delete === true,
    verifyFirst: false,
    verify: false,
    safetySnapshot: true,
  };
}

function restoreOf(control: DaemonControl, id: string): RunRecord {
  const run = control.run(id);
  if (run.kind === "restore") return run;
  throw new HoldfastError("name_unknown", `Run ${run.id.slice(0, 8)} is a ${run.kind}, not a restore`, {
    hint: `Look at it as a run: GET ${PREFIX}/runs/${run.id}.`,
  });
}

function bodyOf(control: DaemonControl, run: RunRecord): Record<string, unknown> {
  const active = control.status().running.find((one) => one.run === run.id);
  return {
    id: run.id,
    subject: run.subject,
    status: run.status ?? "running",
    startTime: new Date(run.startedMs).toISOString(),
    endTime: run.endedMs === undefined ? null : new Date(run.endedMs).toISOString(),
    durationMs: run.endedMs === undefined ? null : run.endedMs - run.startedMs,
    canRollBack: run.endedMs !== undefined && typeof run.statistics?.["safetySnapshot"] === "string",
    progress: active?.progress ?? null,
    statistics: run.statistics ?? null,
    error: run.error ?? null,
  };
}
