/** Operations that a person starts and stays attached to: the answer is NDJSON, and who goes away cancels. */
import type { FastifyInstance } from "fastify";
import type { ApplyRequest, BackupRequest, DaemonControl, PruneRequest, RestoreOperation, RollbackRequest } from "../../index.ts";
import type { Attachments } from "../attach.ts";

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

export function operationRoutes(app: FastifyInstance, control: DaemonControl, attachments: Attachments): void {
  app.post<{ Body: BackupRequest }>("/operations/backup", { schema: { body: BACKUP } }, (request, reply) =>
    attachments.attach(reply, (hooks) => control.operate(hooks, (operations, own) => operations.backup(request.body, own))),
  );
  app.post<{ Body: ApplyRequest }>("/operations/apply", { schema: { body: APPLY } }, (request, reply) =>
    attachments.attach(reply, (hooks) => control.operate(hooks, (operations, own) => operations.apply(request.body, own))),
  );
  app.post<{ Body: RestoreOperation }>(
    "/operations/restore",
    { schema: { body: RESTORE }, bodyLimit: MAX_PRUNE_BYTES },
    (request, reply) =>
      attachments.attach(reply, (hooks) => control.operate(hooks, (operations, own) => operations.restore(request.body, own))),
  );
  app.post<{ Body: RollbackRequest }>("/operations/rollback", { schema: { body: ROLLBACK } }, (request, reply) =>
    attachments.attach(reply, (hooks) => control.operate(hooks, (operations, own) => operations.rollback(request.body, own))),
  );
  app.post<{ Body: PruneRequest }>(
    "/operations/prune",
    { schema: { body: PRUNE }, bodyLimit: MAX_PRUNE_BYTES },
    (request, reply) =>
      attachments.attach(reply, (hooks) => control.operate(hooks, (operations, own) => operations.prune(request.body, own))),
  );
  app.post<{ Params: { id: string } }>(
    "/operations/:id/cancel",
    { schema: { params: { type: "object", properties: { id: ID }, required: ["id"] } } },
    async ({ params }) => {
      attachments.cancel(params.id);
      return { cancelled: true };
    },
  );
}
