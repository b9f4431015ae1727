/** Who is let in over the network, and how much of it: over injected requests, and over real sockets where these matter. */
import { once } from "node:events";
import { connect, type AddressInfo, type Socket } from "node:net";
import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { bearer, networkLab, type Lab } from "./network-lab.ts";
import { TOKENS } from "./fake-control.ts";

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: { readonly code?: string; readonly detail?: string; readonly hint?: string } & Record<string, unknown>;
}

async function ask(
  { app }: Lab,
  headers: Readonly<Record<string, string>>,
  method: "GET" | "POST" | "OPTIONS" | "HEAD" | "DELETE" = "GET",
  url = "/api/v1/jobs",
): Promise<Answer> {
  const { statusCode, headers: given, payload } = await app.inject({ method, url, headers: { host: "localhost", ...headers } });
  return { status: statusCode, headers: given, body: payload === "" ? {} : JSON.parse(payload) };
}

describe("a token", () => {
  test("opens what its role may do, and who has it is known", async () => {
    await using lab = await networkLab();
    for (const role of ["viewer", "operator", "admin"] as const) expect((await ask(lab, bearer(role))).status).toBe(200);
    expect((await ask(lab, { authorization: `bearer  ${TOKENS.viewer} ` })).status).toBe(200);
    expect((await ask(lab, bearer("viewer"), "POST", "/api/v1/jobs/docs/pause")).status).toBe(403);
    expect((await ask(lab, bearer("operator"), "POST", "/api/v1/jobs/docs/pause")).status).toBe(200);
    expect((await ask(lab, bearer("operator"), "POST", "/api/v1/config/reload")).body).toMatchObject({
      code: "forbidden",
      detail: "This takes the role admin, and the-operator has the role operator",
    });
    expect((await ask(lab, bearer("admin"), "POST", "/api/v1/config/reload")).status).toBe(200);
    expect(lab.tokens.authenticate(TOKENS.admin, "10.0.0.1")).toEqual({ name: "the-admin", role: "admin", from: "10.0.0.1" });
  });

  test.each([
    "",
    "Bearer",
    `Bearer ${TOKENS.admin.slice(1)}`,
    `Bearer ${TOKENS.admin}a`,
    `Bearer ${TOKENS.admin} ${TOKENS.viewer}`,
    `Bearer ${"a".repeat(5000)}`,
    `Token ${TOKENS.admin}`,
    TOKENS.admin,
  ])("that is none opens nothing: %s", async (authorization) => {
    await using lab = await networkLab();
    const { status, headers, body } = await ask(lab, { authorization });
    expect([status, body.code, headers["www-authenticate"]]).toEqual([401, "unauthenticated", expect.stringMatching(/^Bearer/)]);
    expect(JSON.stringify(body)).not.toContain(TOKENS.admin.slice(1));
  });

  test("is needed to learn what there is", async () => {
    await using lab = await networkLab();
    expect((await ask(lab, {}, "GET", "/api/v1/nothing")).status).toBe(401);
    expect((await ask(lab, {}, "GET", "/")).status).toBe(401);
    expect((await ask(lab, {}, "OPTIONS", "/api/v1/jobs")).status).toBe(401);
    expect((await ask(lab, bearer("viewer"), "GET", "/api/v1/nothing")).status).toBe(404);
  });

  test("takes effect and loses it at once, and is kept nowhere", async () => {
    await using lab = await networkLab();
    const { control, tokens } = lab;
    const caller = tokens.authenticate(TOKENS.viewer, "x")!;
    expect(tokens.isValid(caller)).toBe(true);
    await tokens.read(control.settings.tokens, control.access);
    expect(tokens.isValid(caller), "read again, and the same").toBe(true);
    control.secrets.set("viewer", "n".repeat(32));
    await tokens.read(control.settings.tokens, control.access);
    expect((await ask(lab, bearer("viewer"))).status).toBe(401);
    expect((await ask(lab, { authorization: `Bearer ${"n".repeat(32)}` })).status).toBe(200);
    expect(tokens.isValid(caller)).toBe(false);
    expect(inspect(tokens, { depth: 9, showHidden: true })).not.toContain("nnnnnnnn");
  });

  test("that could be guessed, cannot be read or is another's is not accepted, and the others are", async () => {
    await using lab = await networkLab();
    const { control, tokens } = lab;
    control.secrets.set("viewer", "short-canary");
    control.secrets.set("operator", TOKENS.admin);
    const missing = { name: "gone", role: "viewer", token: { file: "gone" } } as const;
    const [viewer, operator, admin] = control.settings.tokens;
    await tokens.read([viewer!, admin!, operator!, missing], control.access);
    expect(control.lines).toEqual([
      "error the API token the-viewer is not accepted: The token the-viewer is too short, or has characters that a token cannot have",
      "error the API token the-operator is not accepted: The tokens the-admin and the-operator are the same",
      "error the API token gone is not accepted: The secret cannot be read",
    ]);
    expect(tokens.count).toBe(1);
    expect(tokens.authenticate(TOKENS.admin, "x")).toMatchObject({ name: "the-admin" });
    expect(tokens.authenticate("short-canary", "x")).toBeUndefined();
  });
});

describe("a name or a page that is not ours", () => {
  test.each([
    ["localhost", 200],
    ["LocalHost:9480", 200],
    ["127.0.0.1:9480", 200],
    ["[::1]:9480", 200],
    ["192.168.1.5", 200],
    ["backup.example.com:443", 200],
    ["evil.example.com", 403],
    ["backup.example.com.evil.org", 403],
    ["localhost.evil.org", 403],
    ["127.0.0.1.nip.io", 403],
    ["127.0.0.1@evil.org", 403],
  ])("host %s: %i", async (host, status) => {
    await using lab = await networkLab();
    lab.control.settings = { ...lab.control.settings, allowedHosts: ["backup.example.com"] };
    const answer = await ask(lab, { ...bearer("viewer"), host });
    expect(answer.status).toBe(status);
    if (status === 403) expect(answer.body.hint).toContain("control.allowedHosts");
  });

  test("the host of `listen` is ours", async () => {
    await using lab = await networkLab();
    lab.control.settings = { ...lab.control.settings, listen: { kind: "tcp", host: "Backup.lan", port: 1 } };
    expect((await ask(lab, { ...bearer("viewer"), host: "backup.lan:1" })).status).toBe(200);
  });

  test.each([
    ["http://localhost", 200],
    ["https://localhost", 200],
    ["https://grafana.example.com", 200],
    ["http://grafana.example.com", 403],
    ["http://localhost:8080", 403],
    ["null", 403],
    ["https://evil.org", 403],
  ])("origin %s: %i", async (origin, status) => {
    await using lab = await networkLab();
    lab.control.settings = { ...lab.control.settings, allowedOrigins: ["https://grafana.example.com"] };
    const { status: given, headers } = await ask(lab, { ...bearer("viewer"), origin });
    expect(given).toBe(status);
    expect(headers["access-control-allow-origin"]).toBe(origin.startsWith("https://grafana") ? origin : undefined);
  });

  test("a page that may is answered what it asks beforehand, without a token; another is not", async () => {
    await using lab = await networkLab();
    lab.control.settings = { ...lab.control.settings, allowedOrigins: ["https://grafana.example.com"] };
    const preflight = { "access-control-request-method": "POST", "access-control-request-headers": "authorization" };
    const good = await ask(lab, { origin: "https://grafana.example.com", ...preflight }, "OPTIONS");
    expect([good.status, good.headers["access-control-allow-origin"]]).toEqual([204, "https://grafana.example.com"]);
    expect(good.headers["access-control-allow-headers"]).toContain("authorization");
    const bad = await ask(lab, { origin: "https://evil.org", ...preflight }, "OPTIONS");
    expect([bad.status, bad.headers["access-control-allow-origin"]]).toEqual([403, undefined]);
    expect((await ask(lab, preflight, "OPTIONS")).status).toBe(401);
  });
});

describe("what is plain HTTP", () => {
  test("HEAD is GET without its body, OPTIONS says what there is, and another method is 405", async () => {
    await using lab = await networkLab();
    const [get, head] = [await ask(lab, bearer("viewer")), await ask(lab, bearer("viewer"), "HEAD")];
    expect([head.status, head.body, head.headers["content-length"]]).toEqual([200, {}, get.headers["content-length"]]);
    const options = await ask(lab, bearer("viewer"), "OPTIONS");
    expect([options.status, options.headers["allow"]]).toEqual([204, "GET, HEAD, OPTIONS"]);
    const other = await ask(lab, bearer("admin"), "DELETE");
    expect([other.status, other.headers["allow"]]).toEqual([405, "GET, HEAD, OPTIONS"]);
    expect((await ask(lab, bearer("viewer"), "HEAD", "/api/v1/events")).status).toBe(405);
  });

  test("answers say that nothing may be kept, framed, sniffed or run", async () => {
    await using lab = await networkLab();
    for (const { headers } of [await ask(lab, bearer("viewer")), await ask(lab, {})])
      expect(headers).toMatchObject({
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none';frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
      });
  });
});

describe("too much", () => {
  test("wrong tokens are told to wait, and the right one is let through all the same", async () => {
    await using lab = await networkLab();
    const wrong = { authorization: `Bearer ${"x".repeat(40)}` };
    const statuses: number[] = [];
    for (let index = 0; index < 14; index++) statuses.push((await ask(lab, wrong)).status);
    expect(statuses).toEqual([...Array.from({ length: 10 }, () => 401), 429, 429, 429, 429]);
    const { headers, body } = await ask(lab, wrong);
    expect([Number(headers["retry-after"]) > 0, body.code]).toEqual([true, "rate_limited"]);
    expect((await ask(lab, bearer("viewer"))).status).toBe(200);
  });

  test("actions of one token are counted apart from its reads, and from those of others", async () => {
    await using lab = await networkLab();
    const pause = (role: "operator" | "admin"): Promise<Answer> => ask(lab, bearer(role), "POST", "/api/v1/jobs/docs/pause");
    for (let index = 0; index < 600; index++) expect((await pause("operator")).status).toBe(200);
    expect(await pause("operator")).toMatchObject({ status: 429, body: { code: "rate_limited" } });
    expect((await pause("admin")).status).toBe(200);
    expect((await ask(lab, bearer("operator"))).status).toBe(200);
  });
});

async function listening(lab: Lab): Promise<() => Socket> {
  await lab.app.listen({ port: 0, host: "127.0.0.1" });
  const { port } = lab.app.server.address() as AddressInfo;
  return () => connect(port, "127.0.0.1");
}

async function answerOn(socket: Socket): Promise<string> {
  let text = "";
  socket.on("error", () => undefined);
  for await (const chunk of socket) text += String(chunk);
  return text;
}

describe("over a real socket", () => {
  const limits = { requestMs: 400, headersMs: 200, checkMs: 50 };
  const head = `POST /api/v1/jobs/docs/pause HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${TOKENS.operator}\r\n`;

  test("who is slow with the headers, or with the body, is cut with a 408, and others are answered meanwhile", async () => {
    await using lab = await networkLab({ limits });
    const open = await listening(lab);
    const [slowHead, slowBody, silent] = [open(), open(), open()];
    slowHead.write(head);
    slowBody.write(`${head}content-type: application/json\r\ncontent-length: 1000\r\n\r\n{`);
    const drip = setInterval(() => slowBody.write(" "), 20);
    const quick = open();
    quick.write(`${head}connection: close\r\n\r\n`);
    expect(await answerOn(quick)).toMatch(/^HTTP\/1.1 200 /);
    expect(await answerOn(slowHead)).toMatch(/^HTTP\/1.1 408 [^]*"code":"usage"/);
    expect(await answerOn(slowBody)).toMatch(/^(?:HTTP\/1.1 408 |$)/);
    clearInterval(drip);
    expect(await answerOn(silent)).toMatch(/^(?:HTTP\/1.1 408 |$)/);
    expect(lab.control.asked).toEqual(["pause docs"]);
  });

  test.each([
    ["no HTTP", "hello\r\n\r\n", 400],
    ["headers without end", `${head}${Array.from({ length: 40 }, (_, i) => `x-${i}: ${"y".repeat(900)}\r\n`).join("")}\r\n`, 431],
    ["no host", `GET /api/v1/jobs HTTP/1.1\r\nauthorization: Bearer ${TOKENS.viewer}\r\n\r\n`, 400],
    ["no host in HTTP/1.0", `GET /api/v1/jobs HTTP/1.0\r\nauthorization: Bearer ${TOKENS.viewer}\r\n\r\n`, 403],
    ["two lengths", `${head}content-length: 2\r\ncontent-length: 3\r\n\r\n{}`, 400],
    ["a length and chunks", `${head}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    [
      "a proxy request",
      `GET http://evil.example.com/api/v1/jobs HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${TOKENS.viewer}\r\nconnection: close\r\n\r\n`,
      400,
    ],
  ])("%s is refused", async (_name, text, status) => {
    await using lab = await networkLab();
    const open = await listening(lab);
    const socket = open();
    socket.write(text);
    expect(await answerOn(socket)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(lab.control.asked).toEqual([]);
  });

  test("a body is not waited for from who has no token", async () => {
    await using lab = await networkLab();
    const open = await listening(lab);
    const socket = open();
    socket.write(
      "POST /api/v1/jobs/docs/pause HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 200000\r\n\r\n{",
    );
    expect(await answerOn(socket)).toMatch(/^HTTP\/1.1 401 [^]*connection: close/i);
  });

  test("more than so many connections are refused, and those before are answered", async () => {
    await using lab = await networkLab();
    lab.app.server.maxConnections = 2;
    const open = await listening(lab);
    const [first, second] = [open(), open()];
    await Promise.all([once(first, "connect"), once(second, "connect")]);
    const third = open();
    expect(await answerOn(third)).toBe("");
    first.write(`${head}connection: close\r\n\r\n`);
    expect(await answerOn(first)).toMatch(/^HTTP\/1.1 200 /);
    second.destroy();
  });
});
