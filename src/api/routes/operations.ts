/** Operations that a person starts and stays attached to: the answer is NDJSON, and who goes away cancels. */
import type { FastifyInstance } from "fastify";
import type { ApplyRequest, BackupRequest, DaemonControl, PruneRequest, RestoreOperation, RollbackRequest } from "../../index.ts";
import type { Attachments } from "../attach.ts";
import { answer, closed, LINES, NO_BODY, NOTHING } from "../schemas.ts";

const TEXT = { type: "string", maxLength: 4096 };
const NAME = { type: "string", minLength: 1, maxLength: 63 };
const ID = { type: "string", pattern: "^[0-9a-f]{1,32}$" };
const FLAG = { type: "boolean" };
const texts = (maxItems: number): object => ({ type: "array", items: TEXT, maxItems });
/** A prune may name every snapshot it was shown. */
const MAX_PRUNE_BYTES = 16 * 2 ** 20;

const body = (properties: Record<string, object>, required: readonly string[]): object => ({
  type: "object",
  additionalProperties: false,
  properties,
  required,
});

const BACKUP = body(
  {
    job: NAME,
    mode: { enum: ["full", "incremental", "differential"] },
    baseline: TEXT,
    description: TEXT,
    tags: texts(100),
    dryRun: FLAG,
    verify: FLAG,
  },
  ["job"],
);
const APPLY = body({ approve: texts(100), allowRecreate: FLAG }, ["approve", "allowRecreate"]);
const SELECTOR = body(
  {
    id: TEXT,
    job: TEXT,
    source: TEXT,
    host: TEXT,
    target: TEXT,
    tags: texts(100),
    limit: { type: "integer", minimum: 1 },
    atMs: { type: "number" },
  },
  ["id"],
);
const RESTORE = body(
  {
    selector: SELECTOR,
    path: { type: "string", maxLength: 65536 },
    to: { oneOf: [{ const: "in-place" }, body({ folder: { type: "string", pattern: "^/", maxLength: 65536 } }, ["folder"])] },
    include: texts(10_000),
    exclude: texts(10_000),
    overwrite: { enum: ["never", "if-changed", "if-newer", "always"] },
    delete: FLAG,
    verifyFirst: FLAG,
    verify: FLAG,
    safetySnapshot: FLAG,
    confirmedLive: FLAG,
  },
  [
    "selector",
    "path",
    "to",
    "include",
    "exclude",
    "overwrite",
    "delete",
    "verifyFirst",
    "verify",
    "safetySnapshot",
    "confirmedLive",
  ],
);
const ROLLBACK = body({ run: TEXT, verify: FLAG, confirmedLive: FLAG }, ["run", "verify", "confirmedLive"]);
const PRUNE = body(
  {
    job: NAME,
    keepLast: { type: "integer", minimum: 1 },
    dryRun: FLAG,
    immediate: FLAG,
    only: { type: "array", items: ID, maxItems: 400_000 },
  },
  ["dryRun", "immediate"],
);

/** What every operation says of itself. */
const described = (summary: string, operationId: string, requestBody: object): Readonly<Record<string, unknown>> => ({
  summary,
  description: "Whoever goes away cancels it.",
  tags: ["operations"],
  operationId,
  querystring: NOTHING,
  body: requestBody,
  response: { 200: LINES },
});

export function operationRoutes(app: FastifyInstance, control: DaemonControl, attachments: Attachments): void {
  app.post<{ Body: BackupRequest }>(
    "/operations/backup",
    { config: { role: "operator" }, schema: described("Back up a job, and stay attached", "backup", BACKUP) },
    (request, reply) =>
      attachments.attach(reply, (hooks) => control.operate(hooks, (operations, own) => operations.backup(request.body, own))),
  );
  app.post<{ Body: ApplyRequest }>(
    "/operations/apply",
    { config: { role: "admin" }, schema: described("Carry out the plan, and stay attached", "apply", APPLY) },
    (request, reply) =>
      attachments.attach(reply, (hooks) => control.operate(hooks, (operations, own) => operations.apply(request.body, own))),
  );
  // Wherever its owner likes: over the network only `restores` writes, and only below the roots that the configuration names.
  app.post<{ Body: RestoreOperation }>(
    "/operations/restore",
    {
      config: { role: "admin", socketOnly: true },
      schema: described("Restore anywhere, and stay attached", "restore", RESTORE),
      bodyLimit: MAX_PRUNE_BYTES,
    },
    (request, reply) =>
      attachments.attach(reply, (hooks) => control.operate(hooks, (operations, own) => operations.restore(request.body, own))),
  );
  app.post<{ Body: RollbackRequest }>(
    "/operations/rollback",
    {
      config: { role: "admin", socketOnly: true },
      schema: described("Undo a restore, and stay attached", "rollback", ROLLBACK),
    },
    (request, reply) =>
      attachments.attach(reply, (hooks) => control.operate(hooks, (operations, own) => operations.rollback(request.body, own))),
  );
  app.post<{ Body: PruneRequest }>(
    "/operations/prune",
    {
      config: { role: "operator" },
      schema: described("Apply retention and free space, and stay attached", "prune", PRUNE),
      bodyLimit: MAX_PRUNE_BYTES,
    },
    (request, reply) =>
      attachments.attach(reply, (hooks) => control.operate(hooks, (operations, own) => operations.prune(request.body, own))),
  );
  app.post<{ Params: { id: string } }>(
    "/operations/:id/cancel",
    {
      config: { role: "operator" },
      schema: {
        summary: "Cancel an operation by the id that it said first",
        tags: ["operations"],
        operationId: "cancelOperation",
        params: closed({ id: ID }, ["id"]),
        querystring: NOTHING,
        body: NO_BODY,
        response: { 200: answer("It was told to end.", { cancelled: { const: true } }) },
      },
    },
    async ({ params }) => {
      if (!control.tasks.cancel(params.id)) attachments.cancel(params.id);
      return { cancelled: true };
    },
  );
}
