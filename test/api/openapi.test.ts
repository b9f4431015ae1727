import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020 } from "ajv/dist/2020.js";
import { expect, test } from "vitest";
import { createApi } from "../../src/api/server.ts";
import { fakeControl, RUN } from "./fake-control.ts";
import { allRoutes, bearer, networkLab } from "./network-lab.ts";

interface Operation {
  readonly summary?: string;
  readonly tags?: readonly string[];
  readonly operationId?: string;
  readonly description?: string;
  readonly "x-role"?: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly requestBody?: unknown;
  readonly responses: Readonly<
    Record<string, { readonly $ref?: string; readonly content?: Readonly<Record<string, { readonly schema?: object }>> }>
  >;
}

interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly security: unknown;
}

async function documentOf(): Promise<Document> {
  await using app = createApi(fakeControl());
  return (await app.inject("/api/v1/openapi.json")).json();
}

test("the description is valid OpenAPI 3.1, and any viewer may read it", async () => {
  await using lab = await networkLab();
  const answer = await lab.app.inject({ url: "/api/v1/openapi.json", headers: { host: "localhost", ...bearer("viewer") } });
  const document: Document = answer.json();
  expect(document.openapi).toBe("3.1.0");
  expect(await new Validator().validate(structuredClone(document) as unknown as Record<string, unknown>)).toMatchObject({
    valid: true,
  });
  expect(document.components).toMatchObject({
    securitySchemes: { token: { type: "http", scheme: "bearer" } },
    responses: { Problem: { content: { "application/problem+json": {} } } },
  });
  expect(document.security).toEqual([{ token: [] }]);
});

test("it describes every route, and none that is not there", async () => {
  const { paths } = await documentOf();
  const described = Object.entries(paths).flatMap(([url, operations]) =>
    Object.keys(operations).map((method) => `${method} ${url}`),
  );
  const there = (await allRoutes())
    .flatMap(({ method, url }) => [method].flat().map((one) => `${one.toLowerCase()} ${url.replaceAll(/:([A-Za-z]+)/g, "{$1}")}`))
    .filter((route) => !route.startsWith("head "));
  expect(described.toSorted()).toEqual(there.toSorted());
});

test("every operation has a name of its own, a summary, a group, a role, its parameters and its answers", async () => {
  const { paths } = await documentOf();
  const ids = new Set<string>();
  for (const [url, operations] of Object.entries(paths))
    for (const [method, operation] of Object.entries(operations)) {
      const what = `${method} ${url}`;
      expect(operation.summary, what).toMatch(/^[A-Z].{5,}[^.]$/);
      expect(operation.tags, what).toHaveLength(1);
      expect(operation.operationId, what).toMatch(/^[a-z][A-Za-z]+$/);
      expect(ids.has(operation.operationId!), `${what}: ${operation.operationId} is taken`).toBe(false);
      ids.add(operation.operationId!);
      expect(operation["x-role"], what).toMatch(/^(?:viewer|operator|admin)$/);
      expect(operation.description, what).toContain(`Role: ${operation["x-role"]}.`);
      const inPath = (operation.parameters ?? []).filter((one) => one.in === "path").map(({ name }) => name);
      expect(inPath, what).toEqual([...url.matchAll(/\{([A-Za-z]+)\}/g)].map(([, name]) => name));
      expect(operation.responses["default"], what).toEqual({ $ref: "#/components/responses/Problem" });
      const good = Object.entries(operation.responses).filter(([status]) => /^2\d\d$/.test(status));
      expect(good.length, what).toBeGreaterThan(0);
      for (const [status, { content }] of good)
        for (const { schema } of Object.values(content ?? {}))
          expect(Object.keys(schema ?? {}).length, `${what} ${status} has a schema`).toBeGreaterThan(0);
    }
});

test("answers are as they are described", async () => {
  const control = fakeControl();
  await using app = createApi(control);
  const document: Document = (await app.inject("/api/v1/openapi.json")).json();
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  const described = async (method: "GET" | "POST", url: string, template = url.split("?")[0]!): Promise<void> => {
    const answer = await app.inject({ method, url });
    const response = document.paths[template]![method.toLowerCase()]!.responses[answer.statusCode];
    const schema = response?.content?.["application/json"]?.schema;
    expect(schema, `${method} ${url}: ${answer.statusCode}`).toBeDefined();
    const validate = ajv.compile(schema!);
    expect(validate(answer.json()), `${method} ${url}: ${ajv.errorsText(validate.errors)}`).toBe(true);
  };
  await described("GET", "/api/v1/status");
  await described("GET", "/api/v1/daemon");
  await described("GET", "/api/v1/jobs");
  await described("GET", "/api/v1/jobs/docs", "/api/v1/jobs/{job}");
  await described("GET", "/api/v1/runs");
  await described("GET", `/api/v1/runs/${RUN}`, "/api/v1/runs/{id}");
  await described("GET", `/api/v1/runs/${RUN}/log?level=info`, "/api/v1/runs/{id}/log");
  await described("POST", "/api/v1/jobs/docs/run", "/api/v1/jobs/{job}/run");
  await described("POST", "/api/v1/jobs/docs/pause", "/api/v1/jobs/{job}/pause");
  await described("POST", "/api/v1/jobs/docs/resume", "/api/v1/jobs/{job}/resume");
  await described("POST", "/api/v1/runs/docs/cancel", "/api/v1/runs/{id}/cancel");
  await described("POST", "/api/v1/config/reload");
  // Whatever it has more than that is not dropped.
  const { targets, config } = (await app.inject("/api/v1/status")).json() as Record<string, unknown>;
  expect([targets, config]).toEqual([[], "/c.yaml"]);
});
