/** What every route of snapshots, restores, upkeep and reports has in common, and what all of them refuse. */
import type { FastifyInstance, RouteOptions } from "fastify";
import { expect, test } from "vitest";
import { createApi } from "../../src/api/server.ts";
import { fakeControl, type FakeControl } from "./fake-control.ts";

const GROUPS = ["snapshots", "restores", "verify", "prune", "stats", "targets", "schedules", "analytics", "outbox"];
const isOurs = (url: string): boolean => {
  const [, , , group = "", second] = url.split("/");
  return GROUPS.includes(group) || (group === "config" && second !== "reload") || (group === "operations" && second !== "backup");
};

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
  return { app, routes: routes.filter(({ url, schema }) => isOurs(url) && schema?.operationId !== undefined) };
}

const methodOf = ({ method }: RouteOptions): "GET" | "POST" | "PATCH" | "DELETE" => method as "GET";

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
    const { operationId, summary, tags, response, querystring, body, params } = (route.schema ?? {}) as Record<string, Schema>;
    expect([name, route.config?.role]).toEqual([name, expect.stringMatching(/^(viewer|operator|admin)$/)]);
    expect([name, operationId, summary, tags]).toEqual([
      name,
      expect.stringMatching(/^[a-z]+([A-Z][a-z]+)*$/),
      expect.stringMatching(/^[A-Z].{10,}[^.]$/),
      [expect.stringMatching(/^[a-z]+$/)],
    ]);
    expect([name, Object.keys(response ?? {})]).toEqual([name, expect.arrayContaining(["4xx", "5xx"])]);
    for (const schema of [querystring, body, params]) {
      if (schema === undefined) continue;
      expect([name, schema.additionalProperties, unbounded("", schema)]).toEqual([name, false, []]);
    }
    expect([name, route.url.includes(":")]).toEqual([name, params !== undefined]);
    // What changes something is no viewer's.
    if (methodOf(route) !== "GET") expect([name, route.config?.role]).not.toEqual([name, "viewer"]);
  }
  const ids = routes.map(({ schema }) => schema?.operationId);
  expect(new Set(ids).size).toBe(ids.length);
});

test("every route refuses what it does not know, in its query and its body, before anything is done", async () => {
  const control = fakeControl();
  const { app, routes } = await withRoutes(control);
  await using _ = app;
  for (const route of routes) {
    const method = methodOf(route);
    const url = route.url
      .replace(/:(id|run|slot)\b/g, "ab")
      .replace(":target", "disk")
      .replace(":event", "ab");
    const name = `${method} ${url}`;
    const schema = (route.schema ?? {}) as Record<string, Schema>;
    if (schema["querystring"] !== undefined) {
      const answer = await app.inject({ method, url: `${url}?colour=red` });
      expect([name, answer.statusCode, answer.json().code]).toEqual([name, 400, "usage"]);
    }
    if (schema["body"] !== undefined)
      for (const [payload, status] of [
        ['{"colour":"red"}', 400],
        ['{"__proto__":{"confirm":true}}', 400],
        ['{"constructor":{"prototype":{"confirm":true}}}', 400],
        ["[]", 400],
        ['"text"', 400],
        ["{", 400],
        [`{"label":"${"x".repeat(17 * 2 ** 20)}"}`, 413],
      ] as const) {
        const headers = { "content-type": "application/json" };
        const answer = await app.inject({ method, url, headers, payload });
        expect([name, payload.slice(0, 40), answer.statusCode]).toEqual([name, payload.slice(0, 40), status]);
        expect(answer.headers["content-type"]).toMatch(/^application\/problem\+json/);
      }
    for (const id of ["..%2f..%2fetc%2fpasswd", "%00", "a".repeat(101), "__proto__"]) {
      if (!route.url.includes(":")) continue;
      const answer = await app.inject({ method, url: route.url.replace(/:\w+/, id).replace(/:\w+/, "ab") });
      // A name of a target may be anything; whether there is one is for the daemon to say.
      if (route.url.includes(":target") && (id.startsWith("..") || id === "%00" || id === "__proto__")) continue;
      expect([name, id, answer.statusCode]).toEqual([name, id, expect.toBeOneOf([400, 404, 414])]);
    }
  }
  expect(control.asked.filter((one) => !/^(keys|addKey|removeKey) /.test(one))).toEqual([]);
});
