/** The API's description: OpenAPI 3.1, made of the schemas of its routes. */
import swagger from "@fastify/swagger";
import type { FastifyInstance } from "fastify";
import type { Role } from "./caller.ts";

const PROBLEM = {
  type: "object",
  description: "A failure (RFC 9457). `code` is stable; docs/errors.md has them all.",
  required: ["type", "title", "status", "detail", "code"],
  properties: {
    type: { type: "string" },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string" },
    code: { type: "string" },
    hint: { type: "string" },
    data: { type: "object" },
    errors: {
      type: "array",
      items: { type: "object", properties: { pointer: { type: "string" }, detail: { type: "string" } } },
    },
  },
} as const;

const IDEMPOTENCY_KEY = {
  name: "Idempotency-Key",
  in: "header",
  required: false,
  description: "A repetition of the request with the same key within a day gets the same answer, and does nothing again.",
  schema: { type: "string", pattern: "^[!-~]{1,200}$" },
} as const;

const WORDS: Readonly<Record<Role, string>> = {
  viewer: "Role: viewer.",
  operator: "Role: operator.",
  admin: "Role: admin.",
};

type Operation = Record<string, unknown> & { responses?: Record<string, unknown>; parameters?: unknown[] };

/** To be called before the routes are registered. */
export function describeApi(app: FastifyInstance, version: string): void {
  app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "Holdfast",
        version,
        description: "The control API of a Holdfast daemon. docs/api.md says how to turn it on.",
        license: { name: "Apache-2.0", identifier: "Apache-2.0" },
      },
      servers: [{ url: "/" }],
      components: { securitySchemes: { token: { type: "http", scheme: "bearer" } } },
      security: [{ token: [] }],
    },
    stripBasePath: false,
    convertConstToEnum: false,
    transform: ({ schema, url, route }) => {
      const { role, socketOnly } = route.config ?? {};
      const words = [
        (schema as { description?: string } | undefined)?.description,
        role && WORDS[role],
        socketOnly === true ? "Over the control socket alone." : undefined,
      ];
      const all = { ...schema, description: words.filter((word) => word !== undefined).join(" "), "x-role": role };
      return { schema: all, url };
    },
    transformObject: (documents) => {
      if (!("openapiObject" in documents)) return documents.swaggerObject;
      const { openapiObject } = documents;
      const components = { ...openapiObject.components, schemas: { ...openapiObject.components?.schemas, Problem: PROBLEM } };
      const described = {
        ...components,
        responses: {
          Problem: {
            description: "It was refused, or failed.",
            content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
          },
        },
      };
      for (const path of Object.values(openapiObject.paths ?? {}))
        for (const [method, operation] of Object.entries(path as Record<string, Operation>)) {
          operation.responses = { ...operation.responses, default: { $ref: "#/components/responses/Problem" } };
          if (method !== "get") operation.parameters = [...(operation.parameters ?? []), IDEMPOTENCY_KEY];
        }
      return { ...openapiObject, components: described } as unknown as typeof openapiObject;
    },
  });
}
