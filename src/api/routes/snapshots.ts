import type { FastifyInstance, FastifyReply } from "fastify";
import { asHoldfastError, HoldfastError, snapshotPath, type DaemonControl, type EntryType, type Queries } from "../../index.ts";
import { deliver } from "../deliver.ts";
import {
  countOf,
  COUNT,
  CURSOR,
  CUT,
  document,
  ENTRY,
  FILTER,
  filterOf,
  FLAG,
  INTEGER,
  listed,
  listOf,
  NARROW,
  NUMBER,
  object,
  orNull,
  PATH,
  RUN_ID,
  selectorOf,
  several,
  SNAPSHOT,
  SNAPSHOT_ID,
  STRING,
  TASK,
  TEXT,
  TIME,
  timeOf,
  UNAVAILABLE,
  type Filter,
  type Narrow,
} from "../query-schemas.ts";
import { answerTask, whileConnected } from "../task-answer.ts";

/** How long a search or a comparison may take; what it has by then is the answer. */
const ANSWER_MS = 15_000;
const TYPES = ["file", "directory", "symlink", "chardev", "blockdev", "fifo", "socket"];
const MAX_ENTRIES = 10_000;
const MAX_SNAPSHOTS = 1000;
const MAX_FOUND = 10_000;
/** Downloads at the same time. */
const MAX_DOWNLOADS = 8;
const BINARY = { schema: { type: "string", format: "binary" } };
const DOWNLOAD = {
  description: "The bytes",
  content: { "application/octet-stream": BINARY, "application/zip": BINARY, "application/x-tar": BINARY },
};
const ONE = object({ id: SNAPSHOT_ID }, ["id"]);

interface ById {
  readonly Params: { readonly id: string };
}

interface Paged {
  readonly limit?: string;
  readonly cursor?: string;
}

interface Annotating {
  readonly addTags?: readonly string[];
  readonly removeTags?: readonly string[];
  readonly hold?: boolean | string;
  readonly description?: string;
}

interface SearchText extends Filter {
  readonly pattern: string;
  readonly snapshot?: string | readonly string[];
  readonly path?: string;
  readonly type?: EntryType;
  readonly ignoreCase?: "true" | "false";
  readonly limit?: string;
}

export function snapshotRoutes(app: FastifyInstance, control: DaemonControl): void {
  const tags = ["snapshots"];
  const ask = <T>(reply: FastifyReply, act: (queries: Queries, signal: AbortSignal) => Promise<T>): Promise<T> =>
    control.query(whileConnected(reply, gone), act);
  let downloads = 0;

  app.get<{ Querystring: Filter & Paged }>(
    "/snapshots",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "listSnapshots",
        summary: "Snapshots of all targets, the newest first",
        tags,
        querystring: object({ ...FILTER, limit: COUNT, cursor: CURSOR }),
        response: {
          200: document({
            snapshots: listed(SNAPSHOT),
            next: orNull("string"),
            unavailable: UNAVAILABLE,
            damaged: listed(document({ target: STRING, id: STRING, code: STRING, message: STRING })),
          }),
        },
      },
    },
    ({ query }, reply) => {
      const page = { limit: countOf("limit", query.limit, 100, MAX_SNAPSHOTS), cursor: query.cursor };
      return control.listSnapshots(filterOf(query), page, whileConnected(reply, gone));
    },
  );

  app.get<{ Querystring: SearchText }>(
    "/snapshots/search",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "searchSnapshots",
        summary: "Entries whose name or path fits a glob, in one or several snapshots",
        tags,
        querystring: object(
          {
            pattern: { type: "string", minLength: 1, maxLength: 1024 },
            snapshot: several(RUN_ID, 100),
            path: PATH,
            type: { enum: TYPES },
            ignoreCase: FLAG,
            limit: COUNT,
            ...FILTER,
          },
          ["pattern"],
        ),
        response: {
          200: document({
            pattern: STRING,
            found: listed(ENTRY),
            cut: CUT,
            searched: INTEGER,
            snapshots: INTEGER,
            unavailable: UNAVAILABLE,
          }),
        },
      },
    },
    ({ query }, reply) => {
      const { pattern, type, ignoreCase } = query;
      const path = snapshotPath(query.path ?? "/");
      const bounds = { limit: countOf("limit", query.limit, 100, MAX_FOUND), withinMs: ANSWER_MS };
      const wanted = { ...filterOf(query), pattern, type, path, ignoreCase: ignoreCase === "true" };
      return ask(reply, (queries) => queries.search({ ...wanted, snapshots: listOf(query.snapshot) }, bounds));
    },
  );

  app.get<{ Querystring: { before: string; after: string; path?: string; limit?: string } }>(
    "/snapshots/diff",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "diffSnapshots",
        summary: "What changed from one snapshot to another",
        tags,
        querystring: object({ before: RUN_ID, after: RUN_ID, path: PATH, limit: COUNT }, ["before", "after"]),
        response: {
          200: document({
            before: STRING,
            after: STRING,
            path: STRING,
            changes: listed(
              document({
                kind: STRING,
                path: STRING,
                pathBase64: STRING,
                type: STRING,
                sizeBefore: orNull("number"),
                sizeAfter: orNull("number"),
              }),
            ),
            totals: document({ added: INTEGER, removed: INTEGER, modified: INTEGER, type: INTEGER, metadata: INTEGER }),
            bytes: NUMBER,
            cut: CUT,
          }),
        },
      },
    },
    ({ query: { before, after, path = "/", limit } }, reply) => {
      const bounds = { limit: countOf("limit", limit, 1000, MAX_FOUND), withinMs: ANSWER_MS };
      const wanted = { before: { id: before }, after: { id: after }, path: snapshotPath(path) };
      return ask(reply, (queries) => queries.compare(wanted, bounds));
    },
  );

  app.get<ById & { Querystring: Narrow }>(
    "/snapshots/:id",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "getSnapshot",
        summary: "One snapshot with its statistics",
        tags,
        params: ONE,
        querystring: object(NARROW),
        response: { 200: SNAPSHOT },
      },
    },
    ({ params, query }, reply) => {
      const selector = selectorOf(params.id, query);
      return ask(reply, (queries) => queries.snapshot(selector));
    },
  );

  app.get<ById & { Querystring: Narrow & Paged & { path?: string } }>(
    "/snapshots/:id/entries",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "browseSnapshot",
        summary: "The entries of one folder in a snapshot",
        tags,
        params: ONE,
        querystring: object({ ...NARROW, path: PATH, limit: COUNT, cursor: CURSOR }),
        response: {
          200: document({ snapshot: STRING, path: STRING, entry: ENTRY, entries: listed(ENTRY), next: orNull("string") }),
        },
      },
    },
    ({ params, query }, reply) => {
      const selector = selectorOf(params.id, query);
      const path = snapshotPath(query.path ?? "/");
      const page = { limit: countOf("limit", query.limit, 1000, MAX_ENTRIES), cursor: query.cursor };
      return ask(reply, (queries) => queries.entries(selector, path, page));
    },
  );

  app.get<ById & { Querystring: Narrow & { path: string; as?: "file" | "zip" | "tar" } }>(
    "/snapshots/:id/content",
    {
      config: { role: "operator" },
      schema: {
        operationId: "downloadFromSnapshot",
        summary: "A file as it is, or anything as a zip or tar archive",
        description:
          "A file has its length. When something cannot be read midway, the connection is cut: what came is then not whole. The trailer Holdfast-Left-Out of an archive counts entries it cannot hold.",
        tags,
        params: ONE,
        querystring: object({ ...NARROW, path: PATH, as: { enum: ["file", "zip", "tar"] } }, ["path"]),
        response: { 200: DOWNLOAD },
      },
    },
    async ({ params, query }, reply) => {
      const selector = selectorOf(params.id, query);
      const path = snapshotPath(query.path);
      const as = query.as === "file" ? undefined : query.as;
      if (downloads >= MAX_DOWNLOADS)
        throw new HoldfastError("state_busy", `${MAX_DOWNLOADS} downloads go on already`, { hint: "Try again in a moment." });
      downloads++;
      const signal = whileConnected(reply, gone);
      try {
        await control.query(signal, (queries, own) =>
          queries.download({ selector, path, as }, (download) => deliver(reply, download, own)),
        );
      } catch (error) {
        // Once the head has gone, the cut connection says it.
        if (!reply.sent) throw error;
        control.complain(`a download of ${query.path} from snapshot ${params.id} ended: ${asHoldfastError(error).message}`);
      } finally {
        downloads--;
      }
      return reply;
    },
  );

  app.patch<ById & { Body: Annotating }>(
    "/snapshots/:id",
    {
      config: { role: "operator" },
      schema: {
        operationId: "annotateSnapshot",
        summary: "Tags, description and hold of a snapshot, on every target that has it",
        tags,
        params: object({ id: RUN_ID }, ["id"]),
        body: {
          ...object({
            addTags: { type: "array", items: { ...TEXT, minLength: 1 }, maxItems: 100 },
            removeTags: { type: "array", items: TEXT, maxItems: 100 },
            hold: { anyOf: [{ type: "boolean" }, TIME], description: "true for ever, false not, or until a time" },
            description: TEXT,
          }),
          minProperties: 1,
        },
        response: { 200: SNAPSHOT },
      },
    },
    ({ params, body }, reply) => {
      const { addTags, removeTags, description } = body;
      const both = addTags?.find((tag) => removeTags?.includes(tag) === true);
      if (both !== undefined) throw new HoldfastError("usage", `The tag ${both} is both added and removed`);
      const hold = holdOf(body.hold, control.status().timeMs);
      const annotation = {
        ...(addTags && { addTags }),
        ...(removeTags && { removeTags }),
        ...(hold !== undefined && { hold }),
        ...(description !== undefined && { description }),
      };
      return ask(reply, (queries) => queries.annotate({ id: params.id }, annotation));
    },
  );

  app.delete<ById & { Querystring: { confirm?: string } }>(
    "/snapshots/:id",
    {
      config: { role: "admin" },
      schema: {
        operationId: "deleteSnapshot",
        summary: "Delete a snapshot from every target that has it",
        description: "`confirm` must be the whole id; without it the answer says what would be deleted. A held snapshot stays.",
        tags,
        params: object({ id: RUN_ID }, ["id"]),
        querystring: object({ confirm: RUN_ID }),
        response: { 200: document({ deleted: SNAPSHOT }) },
      },
    },
    // Who goes away meanwhile has asked for it all the same: it is not left half done.
    ({ params, query }) => control.query(NEVER, (queries) => queries.deleteSnapshot(params.id, query.confirm)),
  );

  app.post<ById & { Body: { readData?: number; target?: string } | null }>(
    "/snapshots/:id/verify",
    {
      config: { role: "operator" },
      schema: {
        operationId: "verifySnapshot",
        summary: "Verify one snapshot on every target that has it, or one",
        tags,
        params: object({ id: RUN_ID }, ["id"]),
        body: { ...object({ readData: { type: "number", minimum: 0, maximum: 1 }, target: TEXT }), type: ["object", "null"] },
        response: { 200: TASK, 202: TASK },
      },
    },
    (request, reply) => {
      const { id } = request.params;
      const { readData = 0, target } = request.body ?? {};
      return answerTask(control, request, reply, { kind: "verify", subject: id }, (hooks) =>
        control.operate(hooks, (operations, own) => operations.verify({ snapshots: [id], target, readData }, own)),
      );
    },
  );
}

/** A change that was asked for is finished, whoever still waits for the answer. */
const NEVER = new AbortController().signal;

function gone(): HoldfastError {
  return new HoldfastError("cancelled", "Who asked for it has gone");
}

function holdOf(hold: boolean | string | undefined, nowMs: number): number | boolean | undefined {
  if (typeof hold !== "string") return hold;
  const untilMs = timeOf("hold", hold);
  if (untilMs === undefined || untilMs > nowMs) return untilMs;
  throw new HoldfastError("usage", `hold is in the past: ${JSON.stringify(hold)}`, {
    hint: "Write a time to come, true, or false.",
  });
}
