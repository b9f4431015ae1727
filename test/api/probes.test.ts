/** The plain listener: what it answers, what it does not tell, and what it bears. */
import { once } from "node:events";
import { request } from "node:http";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { createProbes, serveProbes } from "../../src/api/probes.ts";
import { HoldfastError } from "../../src/base/errors.ts";
import type { HealthComponent } from "../../src/daemon/health.ts";
import type { DaemonMonitor } from "../../src/daemon/monitor.ts";
import { temporaryTree } from "../support/tree-literal.ts";

const PAGE = { contentType: "text/plain; version=0.0.4; charset=utf-8", text: "holdfast_build_info 1\n" };
const component = (status: HealthComponent["status"], kind: HealthComponent["component"] = "job"): HealthComponent => ({
  component: kind,
  name: "secret-name",
  status,
  sinceMs: 0,
  summary: "/secret/path",
  recommendation: "do it",
});

function monitor(changes: Partial<DaemonMonitor> = {}): DaemonMonitor {
  return {
    isAlive: () => true,
    unready: () => undefined,
    health: () => ({
      timeMs: 0,
      status: "warning",
      components: [component("ok"), component("warning"), component("ok", "state")],
    }),
    metrics: async () => PAGE,
    ...changes,
  };
}

const get = async (on: DaemonMonitor, url: string, metrics = true): Promise<[number, string]> => {
  await using app = createProbes(on, { metrics });
  const { statusCode, payload } = await app.inject({ method: "GET", url });
  return [statusCode, payload];
};

test("each page says what it is asked, and how many components are how, but not which", async () => {
  expect(await get(monitor(), "/livez")).toEqual([200, "ok\n"]);
  expect(await get(monitor(), "/readyz")).toEqual([200, "ok\n"]);
  expect(await get(monitor(), "/metrics")).toEqual([200, PAGE.text]);
  const [status, text] = await get(monitor(), "/healthz");
  expect([status, JSON.parse(text)]).toEqual([
    200,
    { status: "warning", components: { job: { ok: 1, warning: 1, critical: 0 }, state: { ok: 1, warning: 0, critical: 0 } } },
  ]);
  expect(text).not.toContain("secret");
});

test("critical health is 503 on /healthz, and nowhere else", async () => {
  const critical = monitor({ health: () => ({ timeMs: 0, status: "critical", components: [component("critical")] }) });
  expect((await get(critical, "/healthz"))[0]).toBe(503);
  expect((await get(critical, "/livez"))[0]).toBe(200);
  expect((await get(critical, "/readyz"))[0]).toBe(200);
});

test("a loop that does not turn fails /livez, and what keeps from work /readyz", async () => {
  expect(await get(monitor({ isAlive: () => false }), "/livez")).toEqual([503, "stuck\n"]);
  expect(await get(monitor({ unready: () => "the daemon is stopping" }), "/readyz")).toEqual([503, "the daemon is stopping\n"]);
});

test("a failure is told without its message, which may name a path", async () => {
  const failing = monitor({
    metrics: async () => {
      throw new HoldfastError("state_unusable", "The state folder /secret cannot be used");
    },
  });
  expect(await get(failing, "/metrics")).toEqual([503, "failed\n"]);
});

test("there is nothing else: other paths, methods, bodies, and metrics where they are declined", async () => {
  await using app = createProbes(monitor(), { metrics: false });
  for (const url of ["/metrics", "/", "/api/v1/status", "/livez/", "/livez/x", "//livez"])
    expect([url, (await app.inject({ method: "GET", url })).statusCode]).toEqual([url, 404]);
  for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"] as const)
    expect([method, (await app.inject({ method, url: "/livez" })).statusCode]).toEqual([method, 404]);
  const large = await app.inject({
    method: "POST",
    url: "/livez",
    payload: "x".repeat(100),
    headers: { "content-type": "text/plain" },
  });
  expect(large.statusCode).toBeGreaterThanOrEqual(400);
});

const overSocket = (path: string): Promise<number> =>
  new Promise((resolve, reject) => {
    request({ socketPath: path, path: "/livez", agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    })
      .on("error", reject)
      .end();
  });

test("a socket that a dead process left is replaced; one that is used, and what is no socket, never", async () => {
  using folder = temporaryTree({ file: "mine" });
  const path = join(folder.path, "probes.sock");
  const probes = { listen: { kind: "unix", path }, metrics: true } as const;
  // Whoever is killed leaves its socket behind.
  spawnSync(process.execPath, [
    "-e",
    `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`,
  ]);
  expect(statSync(path).isSocket()).toBe(true);
  const served = await serveProbes(monitor(), probes);
  expect(await overSocket(path)).toBe(200);
  expect((statSync(path).mode & 0o777).toString(8)).toBe("666");
  await expect(serveProbes(monitor(), probes)).rejects.toMatchObject({ message: "it cannot listen there (EADDRINUSE)" });
  expect(await overSocket(path)).toBe(200);
  await served[Symbol.asyncDispose]();
  expect(existsSync(path)).toBe(false);
  const file = join(folder.path, "file");
  await expect(serveProbes(monitor(), { listen: { kind: "unix", path: file }, metrics: true })).rejects.toThrow("cannot listen");
  expect(statSync(file).isFile()).toBe(true);
});

test("a port that is taken is an error with what to do", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  const listen = { kind: "tcp", host: "127.0.0.1", port } as const;
  await expect(serveProbes(monitor(), { listen, metrics: true })).rejects.toMatchObject({
    message: "it cannot listen there (EADDRINUSE)",
    hint: "Something else listens there: give `probes.listen` another port, or stop it.",
  });
  other.close();
});

test("one address has at most 32 connections, and the rest is cut, so that others still get theirs", async () => {
  using folder = temporaryTree({});
  await using app = createProbes(monitor(), { metrics: true });
  const path = join(folder.path, "s");
  await app.listen({ path });
  const sockets: Socket[] = [];
  for (let i = 0; i < 40; i++) {
    const socket = connect(path);
    socket.on("error", () => undefined);
    sockets.push(socket);
    await once(socket, "connect");
  }
  const cut = sockets.slice(32);
  await Promise.all(
    cut.map(async (socket) => {
      if (!socket.destroyed) await once(socket.resume(), "close");
    }),
  );
  expect(sockets.filter(({ destroyed }) => !destroyed)).toHaveLength(32);
  for (const socket of sockets) socket.destroy();
});

test("headers that are too long are refused", async () => {
  using folder = temporaryTree({});
  await using app = createProbes(monitor(), { metrics: true });
  const path = join(folder.path, "s");
  await app.listen({ path });
  const socket = connect(path);
  let answer = "";
  socket.setEncoding("utf8").on("data", (text: string) => (answer += text));
  socket.write(`GET /livez HTTP/1.1\r\nhost: x\r\nx-long: ${"x".repeat(9000)}\r\n\r\n`);
  await once(socket, "close");
  expect(answer).toMatch(/^HTTP\/1\.1 431 /);
});
