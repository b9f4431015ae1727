/** What every route has in common; what all of them refuse is in `table.test.ts`. */
import type { FastifyInstance, RouteOptions } from "fastify";
import { expect, test } from "vitest";
import { createApi } from "../../src/api/server.ts";
import { fakeControl, type FakeControl } from "./fake-control.ts";

interface Schema {
  readonly additionalProperties?: boolean;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly type?: unknown;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly maximum?: number;
  readonly pattern?: string;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
}

async function withRoutes(control: FakeControl): Promise<{ app: FastifyInstance; routes: readonly RouteOptions[] }> {
  const app = createApi(control);
  const routes: RouteOptions[] = [];
  app.addHook("onRoute", (route) => void routes.push(route));
  await app.ready();
  return { app, routes: routes.filter(({ method, schema }) => method !== "HEAD" && schema?.operationId !== undefined) };
}

const methodOf = ({ method }: RouteOptions): "GET" | "POST" | "PUT" | "PATCH" | "DELETE" => method as "GET";

/** Every text and list in what is asked has a bound. */
function unbounded(name: string, schema: Schema): string[] {
  if (schema.anyOf !== undefined) return schema.anyOf.flatMap((one) => unbounded(name, one));
  const inner = Object.entries(schema.properties ?? {}).flatMap(([key, one]) => unbounded(`${name}.${key}`, one));
  if (schema.type === "string" && schema.maxLength === undefined && schema.pattern === undefined) return [name, ...inner];
  if (schema.type === "array" && schema.maxItems === undefined) return [name, ...inner];
  return inner;
}

test("every route says who may, what it is, what it takes and what it answers, all of it bounded", async () => {
  const { app, routes } = await withRoutes(fakeControl());
  await using _ = app;
  expect(routes.length).toBeGreaterThanOrEqual(35);
  for (const route of routes) {
    const name = `${methodOf(route)} ${route.url}`;
    const { operationId, summary, tags, querystring, body, params } = (route.schema ?? {}) as Record<string, Schema>;
    expect([name, route.config?.role]).toEqual([name, expect.stringMatching(/^(viewer|operator|admin)$/)]);
    expect([name, operationId, summary, tags]).toEqual([
      name,
      expect.stringMatching(/^[a-z]+([A-Z][a-z]+)*$/),
      expect.stringMatching(/^[A-Z].{5,}[^.]$/),
      [expect.stringMatching(/^[a-z]+$/)],
    ]);
    // An item of the configuration is judged by the configuration's own schema.
    const isItem = route.url.startsWith("/api/v1/config/") && methodOf(route) === "PUT";
    for (const schema of [querystring, isItem ? undefined : body])
      if (schema !== undefined) expect([name, schema.additionalProperties]).toEqual([name, false]);
    for (const schema of [querystring, body, params])
      if (schema !== undefined) expect([name, unbounded("", schema)]).toEqual([name, []]);
    expect([name, route.url.includes(":")]).toEqual([name, params !== undefined]);
    // What changes something is no viewer's.
    if (methodOf(route) !== "GET") expect([name, route.config?.role]).not.toEqual([name, "viewer"]);
  }
  const ids = routes.map(({ schema }) => schema?.operationId);
  expect(new Set(ids).size).toBe(ids.length);
});
