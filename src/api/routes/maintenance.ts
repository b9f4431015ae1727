/** Verifications, prunes and sizes; targets and their keys. */
import type { FastifyInstance } from "fastify";
import { HoldfastError, Secret, type DaemonControl, type PruneRequest, type Unlocking } from "../../index.ts";
import { document, listed, NAME, NUMBER, object, orNull, RUN_ID, STRING, TASK, TEXT } from "../query-schemas.ts";
import { answerLongQuery, answerTask, UNTIL_ENDED } from "../task-answer.ts";

/** A prune may name every snapshot it was shown. */
const MAX_PRUNE_BYTES = 16 * 2 ** 20;
const SIZES = document({
  targets: listed(
    document({
      target: STRING,
      snapshots: NUMBER,
      objects: NUMBER,
      storedBytes: NUMBER,
      freeBytes: orNull("number"),
      sourceBytes: NUMBER,
      totalSourceBytes: NUMBER,
      ratio: orNull("number"),
    }),
  ),
});
const TARGETS = document({ targets: listed(document({ target: STRING, type: STRING, path: STRING, status: STRING })) });
const ONE_TARGET = object({ target: NAME }, ["target"]);
const SECRET = { type: "string", minLength: 1, maxLength: 65_536 };
/** A change that was asked for is finished, whoever still waits for the answer. */
const NEVER = new AbortController().signal;

interface PruneBody extends Partial<PruneRequest> {
  readonly confirm?: boolean;
}

interface KeyBody {
  readonly password?: string;
  readonly keyFile?: string;
  readonly label?: string;
}

export function maintenanceRoutes(app: FastifyInstance, control: DaemonControl): void {
  app.post<{ Body: { snapshots?: readonly string[]; target?: string; readData?: number } }>(
    "/verify",
    {
      config: { role: "operator" },
      schema: {
        operationId: "verify",
        summary: "Verify everything, a target, or some snapshots",
        tags: ["maintenance"],
        body: object({
          snapshots: { type: "array", items: RUN_ID, maxItems: 1000 },
          target: NAME,
          readData: { type: "number", minimum: 0, maximum: 1 },
        }),
        response: { 200: TASK, 202: TASK },
      },
    },
    (request, reply) => {
      const { snapshots = [], target, readData = 0 } = request.body;
      const subject = snapshots.join(", ") || (target ?? "all targets");
      return answerTask(control, request, reply, { kind: "verify", subject }, (hooks) =>
        control.operate(hooks, (operations, own) => operations.verify({ snapshots, target, readData }, own)),
      );
    },
  );

  app.post<{ Body: PruneBody }>(
    "/prune",
    {
      config: { role: "operator" },
      bodyLimit: MAX_PRUNE_BYTES,
      schema: {
        operationId: "startPrune",
        summary: "Apply retention and free space, or say what that would do",
        description: "With `keepLast`, `confirm: true` is needed. A dry run answers when it has ended, or where to look.",
        tags: ["maintenance"],
        body: object({
          job: NAME,
          keepLast: { type: "integer", minimum: 1 },
          dryRun: { type: "boolean" },
          immediate: { type: "boolean" },
          only: { type: "array", items: RUN_ID, maxItems: 400_000 },
          confirm: { type: "boolean" },
        }),
        response: { 200: TASK, 202: TASK },
      },
    },
    (request, reply) => {
      const { confirm = false, dryRun = false, immediate = false, ...rest } = request.body;
      if (rest.keepLast !== undefined && !dryRun && !confirm)
        throw new HoldfastError("confirmation_required", `A confirmation is needed to delete all but the last ${rest.keepLast}`, {
          hint: 'Ask with "dryRun": true what would go, then repeat the request with "confirm": true. Nothing was changed.',
        });
      const what = { kind: dryRun ? "prune (dry run)" : "prune", subject: rest.job ?? "all jobs" };
      return answerTask(
        control,
        request,
        reply,
        what,
        (hooks) => control.operate(hooks, (operations, own) => operations.prune({ ...rest, dryRun, immediate }, own)),
        dryRun ? UNTIL_ENDED : undefined,
      );
    },
  );

  app.get(
    "/stats",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "measureTargets",
        summary: "What each target holds, counted object by object",
        tags: ["targets"],
        response: { 200: SIZES, 202: TASK },
      },
    },
    (request, reply) =>
      answerLongQuery(control, request, reply, { kind: "stats", subject: "all targets" }, (hooks) =>
        control.query(hooks.signal, (queries) => queries.sizes()),
      ),
  );

  app.get(
    "/targets",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "listTargets",
        summary: "Targets as they were seen last; none is asked",
        tags: ["targets"],
        response: { 200: TARGETS },
      },
    },
    async () => control.reports.targets(),
  );

  app.post(
    "/targets/refresh",
    {
      config: { role: "operator" },
      schema: {
        operationId: "refreshTargets",
        summary: "Look at every target now",
        tags: ["targets"],
        response: { 200: TARGETS, 202: TASK },
      },
    },
    (request, reply) =>
      answerLongQuery(control, request, reply, { kind: "refresh", subject: "all targets" }, (hooks) =>
        control.query(hooks.signal, (queries) => queries.targets()),
      ),
  );

  app.get<{ Params: { target: string } }>(
    "/targets/:target/keys",
    {
      config: { role: "admin" },
      schema: {
        operationId: "listKeys",
        summary: "Key slots of a target",
        tags: ["keys"],
        params: ONE_TARGET,
        response: {
          200: document({
            slots: listed(
              document({
                target: STRING,
                id: STRING,
                label: STRING,
                created: STRING,
                function: orNull("string"),
                problem: orNull("string"),
                inUse: { type: "boolean" },
              }),
            ),
          }),
        },
      },
    },
    ({ params }) => control.query(NEVER, (queries) => queries.keys(params.target)),
  );

  app.post<{ Params: { target: string }; Body: KeyBody }>(
    "/targets/:target/keys",
    {
      config: { role: "admin" },
      schema: {
        operationId: "addKey",
        summary: "Add a way into a target: a password, or the 64 hex digits of a key file",
        tags: ["keys"],
        params: ONE_TARGET,
        body: object({ password: SECRET, keyFile: SECRET, label: TEXT }),
        response: { 201: document({ target: STRING, slot: STRING }) },
      },
    },
    async ({ params, body }, reply) => {
      const unlocking = unlockingOf(body);
      const added = await control.query(NEVER, (queries) => queries.addKey(params.target, unlocking, body.label ?? ""));
      return await reply.code(201).send(added);
    },
  );

  app.delete<{ Params: { target: string; slot: string }; Querystring: { confirm?: string } }>(
    "/targets/:target/keys/:slot",
    {
      config: { role: "admin" },
      schema: {
        operationId: "removeKey",
        summary: "Remove a way into a target; the last one stays",
        description: "`confirm` must be the whole id of the slot.",
        tags: ["keys"],
        params: object({ target: NAME, slot: RUN_ID }, ["target", "slot"]),
        querystring: object({ confirm: RUN_ID }),
        response: { 200: document({ target: STRING, removed: STRING }) },
      },
    },
    ({ params: { target, slot }, query }) => control.query(NEVER, (queries) => queries.removeKey(target, slot, query.confirm)),
  );
}

/** The secret is in no message. */
function unlockingOf({ password, keyFile }: KeyBody): Unlocking {
  if ((password === undefined) === (keyFile === undefined))
    throw new HoldfastError("usage", "A slot is opened by a password or by a key file", { hint: "Give one of the two." });
  if (password !== undefined) return { kind: "password", secret: new Secret(password) };
  const text = keyFile?.trim().toLowerCase() ?? "";
  if (/^[0-9a-f]{64}$/.test(text)) return { kind: "keyfile", secret: new Secret(text) };
  throw new HoldfastError("usage", "keyFile does not hold 64 hex digits", { hint: "Give the content of the key file." });
}
