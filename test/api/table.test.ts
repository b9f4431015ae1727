/**
 * Every route × every way in which it can be asked wrongly. The routes are those that the API registers: a new one is in the table
 * by itself. `HOLDFAST_API_TABLE=1` prints it.
 */
import type { InjectOptions, RouteOptions } from "fastify";
import { afterAll, expect, test } from "vitest";
import type { Role } from "../../src/api/caller.ts";
import { buildApi } from "../../src/api/server.ts";
import type { FakeControl } from "./fake-control.ts";
import { allRoutes, bearer, networkLab } from "./network-lab.ts";

type Ask = Pick<InjectOptions, "headers" | "payload"> & { readonly url?: string };

interface Case {
  readonly name: string;
  /** What is sent instead of what is right; undefined when it makes no sense for a route. */
  readonly ask: (route: Route) => Ask | undefined;
  readonly statuses: readonly number[];
  readonly headers?: Readonly<Record<string, RegExp>>;
}

interface Route {
  readonly method: string;
  readonly url: string;
  readonly role: Role;
  readonly socketOnly: boolean;
  readonly bodyLimit: number;
  /** Its body is a part of the configuration, whose own schema judges it later. */
  readonly isOpen: boolean;
}

const BODY_LIMIT = 256 * 1024;
const JSON_TYPE = "application/json";
const admin = bearer("admin");
const takesBody = ({ method }: Route): boolean => !["GET", "HEAD", "DELETE"].includes(method);
const body =
  (payload: string, type = JSON_TYPE) =>
  (route: Route): Ask | undefined =>
    takesBody(route) ? { headers: { ...admin, "content-type": type }, payload } : undefined;
const parameter =
  (text: string) =>
  (route: Route): Ask | undefined =>
    route.url.includes(":") || route.url.includes("*")
      ? { headers: admin, url: route.url.replaceAll(/:[A-Za-z]+|\*/g, text) }
      : undefined;
/** What fits most parameters, and names nothing. */
const plain = (url: string): string => url.replaceAll(/:[A-Za-z]+|\*/g, "0123");

const CASES: readonly Case[] = [
  { name: "no token", ask: () => ({}), statuses: [401], headers: { "www-authenticate": /^Bearer realm="holdfast"$/ } },
  {
    name: "wrong token",
    ask: () => ({ headers: { authorization: `Bearer ${"x".repeat(32)}` } }),
    statuses: [401],
    headers: { "www-authenticate": /invalid_token/ },
  },
  { name: "another scheme", ask: () => ({ headers: { authorization: "Basic dXNlcjpwYXNz" } }), statuses: [401] },
  {
    name: "viewer",
    ask: ({ role }) => (role === "viewer" ? undefined : { headers: bearer("viewer") }),
    statuses: [403],
  },
  {
    name: "operator",
    ask: ({ role }) => (role === "admin" ? { headers: bearer("operator") } : undefined),
    statuses: [403],
  },
  {
    name: "socket only",
    ask: ({ socketOnly }) => (socketOnly ? { headers: admin } : undefined),
    statuses: [403],
  },
  { name: "rebound host", ask: () => ({ headers: { ...admin, host: "evil.example.com" } }), statuses: [403] },
  { name: "foreign origin", ask: () => ({ headers: { ...admin, origin: "https://evil.example.com" } }), statuses: [403] },
  { name: "no origin", ask: () => ({ headers: { ...admin, origin: "null" } }), statuses: [403] },
  { name: "unknown query", ask: (route) => ({ headers: admin, url: `${plain(route.url)}?colour=red` }), statuses: [400] },
  { name: "prototype query", ask: (route) => ({ headers: admin, url: `${plain(route.url)}?__proto__=1` }), statuses: [400] },
  { name: "long URL", ask: (route) => ({ headers: admin, url: `${plain(route.url)}?${"x".repeat(9000)}` }), statuses: [414] },
  { name: "malformed JSON", ask: body("{"), statuses: [400] },
  { name: "a list", ask: body("[]"), statuses: [400] },
  { name: "unknown member", ask: (route) => (route.isOpen ? undefined : body('{"colour":"red"}')(route)), statuses: [400] },
  { name: "__proto__", ask: body('{"__proto__":{"role":"admin"}}'), statuses: [400] },
  { name: "constructor", ask: body('{"constructor":{"prototype":{"role":"admin"}}}'), statuses: [400] },
  {
    name: "oversized body",
    ask: (route) => body(JSON.stringify({ x: "x".repeat(route.bodyLimit) }))(route),
    statuses: [413],
  },
  { name: "text", ask: body("docs", "text/plain"), statuses: [415] },
  { name: "form", ask: body("job=docs", "application/x-www-form-urlencoded"), statuses: [415] },
  { name: "climbing", ask: parameter("..%2f..%2f..%2fetc%2fpasswd"), statuses: [400, 404] },
  { name: "climbing twice encoded", ask: parameter("..%252f..%252fetc"), statuses: [400, 404] },
  { name: "NUL", ask: parameter("docs%00.json"), statuses: [400, 404] },
  { name: "not UTF-8", ask: parameter("%ff%fe"), statuses: [400, 404] },
  { name: "bad escape", ask: parameter("%zz"), statuses: [400, 404] },
  { name: "endless", ask: parameter("x".repeat(4000)), statuses: [400, 404, 414] },
  { name: "__proto__ as name", ask: parameter("__proto__"), statuses: [400, 404] },
];

const routes: Route[] = (await allRoutes()).flatMap(({ method, url, config, bodyLimit, schema }: RouteOptions) =>
  [method].flat().map((one) => ({
    method: one,
    url,
    role: config!.role!,
    socketOnly: config!.socketOnly === true,
    bodyLimit: bodyLimit ?? BODY_LIMIT,
    isOpen: one === "PUT" && url.startsWith("/api/v1/config/") && (schema?.body as object | undefined) !== undefined,
  })),
);
const rows: string[] = [];

test("there are routes of every role", () => {
  expect(new Set(routes.map(({ role }) => role))).toEqual(new Set(["viewer", "operator", "admin"]));
  expect(routes.length).toBeGreaterThan(20);
});

test.each(routes.map((route) => [`${route.method} ${route.url}`, route] as const))(
  "%s refuses what is wrong",
  async (name, route) => {
    await using lab = await networkLab();
    // What may be done over the control socket alone is refused earlier: its own checks are seen there.
    await using socket = buildApi(lab.control).app;
    const cells: string[] = [];
    for (const { name: what, ask, statuses, headers = {} } of CASES) {
      const wrong = ask(route);
      if (wrong === undefined) {
        cells.push("-");
        continue;
      }
      const isAboutRequest = statuses.some((status) => ![401, 403, 414].includes(status));
      const app = route.socketOnly && isAboutRequest ? socket : lab.app;
      const answer = await app.inject({
        method: route.method as "GET",
        url: plain(route.url),
        ...wrong,
        headers: { host: "localhost", ...wrong.headers },
      });
      expect({ what, status: answer.statusCode, body: answer.payload }).toMatchObject({
        what,
        status: expect.toSatisfy((status: number) => statuses.includes(status)),
      });
      expect(String(answer.headers["content-type"])).toMatch(/^application\/problem\+json/);
      if (route.method !== "HEAD")
        expect(JSON.parse(answer.payload)).toMatchObject({ status: answer.statusCode, code: expect.any(String) });
      for (const [header, value] of Object.entries(headers)) expect(String(answer.headers[header])).toMatch(value);
      expect(answer.headers["access-control-allow-origin"]).toBeUndefined();
      cells.push(String(answer.statusCode));
    }
    expect(doneBy(lab.control), "nothing was done").toEqual([]);
    rows.push(`${name.padEnd(44)} ${route.role.padEnd(9)} ${cells.map((cell) => cell.padStart(4)).join("")}`);
  },
);

afterAll(() => {
  if (process.env["HOLDFAST_API_TABLE"] !== "1") return;
  const titles = CASES.map(({ name }, index) => `${String(index + 1).padStart(3)} ${name}`);
  process.stdout.write(
    `${titles.join("\n")}\n\n${" ".repeat(54)} ${CASES.map((_, index) => String(index + 1).padStart(4)).join("")}\n${rows.join("\n")}\n`,
  );
});

/** What was asked of the daemon that changes something. */
function doneBy({ asked }: FakeControl): string[] {
  return asked.filter((one) => !one.startsWith("runs "));
}

test("a route that says no role does not start", async () => {
  const { app } = buildApi((await networkLab()).control);
  app.register(async (scope) => {
    scope.get("/forgotten", async () => "secret");
  });
  await expect(app.ready()).rejects.toThrow("The route GET /forgotten says no role");
});
