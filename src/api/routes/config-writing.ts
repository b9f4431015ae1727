/** The configuration's files, and changes of single items in them: /config/source and /config/{jobs,schedules,retention}/NAME. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import {
  EDITED_SECTIONS,
  HoldfastError,
  type ConfigEdit,
  type ConfigWriteResult,
  type DaemonControl,
  type EditedSection,
} from "../../index.ts";
import { auditFacts } from "../audit.ts";

const PARAMS = {
  type: "object",
  properties: { name: { type: "string", pattern: "^[a-z0-9][a-z0-9_-]{0,62}$" } },
  required: ["name"],
};
const QUERY = { type: "object", additionalProperties: false, properties: {} };
const HEADERS = {
  type: "object",
  properties: {
    "if-match": {
      type: "string",
      maxLength: 200,
      description:
        "The `ETag` of /config/source that the change was made for. Required; 428 without it, 412 when the files have changed since.",
    },
  },
};
/** As in the file; what is wrong in it is answered with its place, by the check of the whole configuration. */
const ITEMS: Readonly<Record<EditedSection, { readonly what: string; readonly body: object }>> = {
  jobs: { what: "job", body: { type: "object", description: "The job as it would stand in the file." } },
  schedules: {
    what: "schedule",
    body: {
      anyOf: [{ type: "string", minLength: 1, maxLength: 1000 }, { type: "object" }],
      description: "Cron, or the schedule as it would stand in the file.",
    },
  },
  retention: { what: "retention", body: { type: "object", description: "The retention as it would stand in the file." } },
};
const PROBLEMS = { type: "array", items: { type: "object", additionalProperties: true } };
const WRITTEN = {
  description: "It is written, and the daemon has read it: `reload` says what came of it, `pending` what waits for an approval.",
  type: "object",
  required: ["section", "name", "file", "changed", "created", "previousDigest", "digest", "warnings", "commit", "reload"],
  properties: {
    section: { enum: EDITED_SECTIONS },
    name: { type: "string" },
    file: { type: "string" },
    changed: { type: "boolean" },
    created: { type: "boolean" },
    previousDigest: { type: "string" },
    digest: { type: "string" },
    warnings: PROBLEMS,
    commit: {
      type: ["object", "null"],
      properties: {
        committed: { type: "boolean" },
        commit: { type: ["string", "null"] },
        reason: { type: ["string", "null"] },
      },
    },
    reload: { type: "object", additionalProperties: true },
    planned: { type: "boolean" },
    pending: { type: "array", items: { type: "object", additionalProperties: true } },
  },
};

interface Item {
  Params: { name: string };
}

export function configWritingRoutes(app: FastifyInstance, { configWriting }: DaemonControl): void {
  app.get(
    "/config/source",
    {
      config: { role: "admin" },
      schema: {
        summary:
          "The text of the configuration's files, with secrets in them masked; the ETag is what a change names as If-Match",
        tags: ["config"],
        operationId: "getConfigSource",
        querystring: QUERY,
        response: {
          200: {
            description: "The main file comes first.",
            type: "object",
            required: ["digest", "files", "problems"],
            properties: {
              digest: { type: "string" },
              files: {
                type: "array",
                items: {
                  type: "object",
                  required: ["path", "text"],
                  properties: { path: { type: "string" }, text: { type: "string" } },
                },
              },
              problems: PROBLEMS,
            },
          },
        },
      },
    },
    async (_request, reply) => {
      const source = configWriting.source();
      void reply.header("etag", `"${source.digest}"`);
      return source;
    },
  );

  const write = async (request: FastifyRequest, reply: FastifyReply, edit: ConfigEdit): Promise<Record<string, unknown>> => {
    const result = await configWriting.write({ edit, match: matchOf(request.headers["if-match"]), author: request.caller.name });
    auditFacts(request, factsOf(result));
    void reply.code(result.created ? 201 : 200).header("etag", `"${result.digest}"`);
    const { commit } = result;
    return {
      section: edit.section,
      name: edit.name,
      ...result,
      commit: commit === undefined ? null : { ...commit, commit: commit.commit ?? null, reason: commit.reason ?? null },
    };
  };
  for (const section of EDITED_SECTIONS) {
    const { what, body } = ITEMS[section];
    const noun = what.charAt(0).toUpperCase() + what.slice(1);
    app.put<Item & { Body: ConfigEdit["value"] }>(
      `/config/${section}/:name`,
      {
        config: { role: "admin" },
        schema: {
          summary: `Write a ${what} into the configuration's file, where that is allowed`,
          tags: ["config"],
          operationId: `put${noun}`,
          params: PARAMS,
          querystring: QUERY,
          headers: HEADERS,
          body,
          response: { 200: WRITTEN, 201: WRITTEN },
        },
      },
      (request, reply) => write(request, reply, { section, name: request.params.name, value: request.body }),
    );
    app.delete<Item>(
      `/config/${section}/:name`,
      {
        config: { role: "admin" },
        schema: {
          summary: `Take a ${what} out of the configuration's file, where that is allowed`,
          tags: ["config"],
          operationId: `delete${noun}`,
          params: PARAMS,
          querystring: QUERY,
          headers: HEADERS,
          response: { 200: WRITTEN },
        },
      },
      (request, reply) => write(request, reply, { section, name: request.params.name, value: undefined }),
    );
  }
}

/** The digest of one strong or weak tag; nothing else can be answered for. */
function matchOf(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const match = /^(?:W\/)?"([0-9a-f]{64})"$/.exec(header.trim());
  if (match !== null) return match[1];
  throw new HoldfastError("config_match_missing", "If-Match does not name one configuration", {
    hint: "Send the ETag of /api/v1/config/source as it is. Nothing was changed.",
  });
}

function factsOf({ file, changed, previousDigest, digest, commit, reload }: ConfigWriteResult): Record<string, unknown> {
  return { file, changed, previousDigest, digest, commit: commit?.commit ?? commit?.reason, reload: reload.result };
}
