/** The server beside the control socket: opened, moved and closed as the configuration says, and never a reason to stop. */
import { once } from "node:events";
import { lstatSync, readFileSync, writeFileSync } from "node:fs";
import { request as plain, type IncomingMessage } from "node:http";
import { request as secure } from "node:https";
import { createServer, type AddressInfo, type Server } from "node:net";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { expect, test } from "vitest";
import { serveControl } from "../../src/api/server.ts";
import { Secret } from "../../src/base/secret.ts";
import type { ControlConfig, ListenConfig } from "../../src/config/config.ts";
import { CERTIFICATE, CERTIFICATE_KEY } from "../support/certificate.ts";
import { temporaryTree } from "../support/tree-literal.ts";
import { fakeControl, NO_SETTINGS, TOKENS, type FakeControl } from "./fake-control.ts";
import { CONFIGURED } from "./network-lab.ts";
import { freePort } from "../support/free-port.ts";

interface Stage extends AsyncDisposable {
  readonly control: FakeControl;
  readonly path: string;
  readonly port: number;
  /** Has the configuration changed and read, and resolves when the server says how it is. */
  set(changes: Partial<ControlConfig>): Promise<void>;
  stop(): Promise<void>;
}

async function stage(changes: (port: number, path: string) => Partial<ControlConfig>): Promise<Stage> {
  const folder = temporaryTree({ state: {}, "tls.crt": CERTIFICATE, "tls.key": CERTIFICATE_KEY });
  const port = await freePort();
  const control = fakeControl();
  control.settings = { ...NO_SETTINGS, tokens: CONFIGURED, ...changes(port, folder.path) };
  const reported: (() => void)[] = [];
  control.access.report = (status) => {
    control.served.push(status);
    reported.shift()?.();
  };
  const first = new Promise<void>((resolve) => reported.push(resolve));
  const served = await serveControl(control, join(folder.path, "state"));
  await first;
  return {
    control,
    path: folder.path,
    port,
    set: async (next) => {
      control.settings = { ...control.settings, ...next };
      const said = new Promise<void>((resolve) => reported.push(resolve));
      control.read();
      await said;
    },
    stop: async () => {
      await served[Symbol.asyncDispose]();
    },
    [Symbol.asyncDispose]: async () => {
      await served[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

const tcp = (port: number): ListenConfig => ({ kind: "tcp", host: "127.0.0.1", port });

interface Answer {
  readonly status: number | undefined;
  readonly certificate: string | undefined;
}

/** Rejects with an errno when nobody is there. */
async function ask(
  to: { readonly port: number } | { readonly socketPath: string },
  options: { tls?: boolean; token?: string } = {},
): Promise<Answer> {
  const { tls = false, token = TOKENS.viewer } = options;
  const asked = (tls ? secure : plain)({
    ...("port" in to && { host: "127.0.0.1" }),
    ...to,
    path: "/api/v1/jobs",
    headers: { host: "localhost", authorization: `Bearer ${token}` },
    agent: false,
    ...(tls && { ca: CERTIFICATE }),
  });
  asked.end();
  const [answer] = (await once(asked, "response")) as [IncomingMessage];
  const certificate = tls ? (answer.socket as TLSSocket).getPeerCertificate().fingerprint256 : undefined;
  answer.resume();
  await once(answer, "close");
  return { status: answer.statusCode, certificate };
}

test("nothing is opened when nothing is said, and what is said later is opened, moved and closed at once", async () => {
  await using on = await stage(() => ({}));
  expect(on.control.served).toEqual([undefined]);
  await on.set({ listen: tcp(on.port) });
  expect((await ask(on)).status).toBe(200);
  const other = await freePort();
  await on.set({ listen: tcp(other) });
  expect((await ask({ port: other })).status).toBe(200);
  await expect(ask(on)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  await on.set({ listen: undefined });
  await expect(ask({ port: other })).rejects.toMatchObject({ code: "ECONNREFUSED" });
  expect(on.control.served.map((one) => one?.open)).toEqual([undefined, true, true, undefined]);
  expect(on.control.lines).toEqual([
    `info the API is served at http://127.0.0.1:${on.port}`,
    `info the API is served at http://127.0.0.1:${other}`,
    `info the API is no longer served at http://127.0.0.1:${other}`,
  ]);
});

test("tokens change without a connection being lost", async () => {
  await using on = await stage((port) => ({ listen: tcp(port) }));
  on.control.secrets.set("viewer", "n".repeat(32));
  await on.set({});
  expect((await ask(on)).status).toBe(401);
  expect((await ask(on, { token: "n".repeat(32) })).status).toBe(200);
  await on.set({ tokens: CONFIGURED.slice(1) });
  expect((await ask(on, { token: "n".repeat(32) })).status).toBe(401);
  expect((await ask(on, { token: TOKENS.operator })).status).toBe(200);
  expect(on.control.lines).toHaveLength(1);
});

test("without a token that is accepted nothing is open, loudly", async () => {
  await using on = await stage((port) => ({ listen: tcp(port) }));
  for (const role of ["viewer", "operator", "admin"]) on.control.secrets.delete(role);
  await on.set({});
  await expect(ask(on)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  expect(on.control.served.at(-1)).toMatchObject({ open: false, error: { code: "api_unavailable" } });
  expect(on.control.lines.at(-1)).toBe(
    `error The API at http://127.0.0.1:${on.port} is not opened: it has no token that is accepted`,
  );
  on.control.secrets.set("viewer", TOKENS.viewer);
  await on.set({});
  expect((await ask(on)).status).toBe(200);
});

test("a port that is taken is an error in log and status, and the control socket goes on", async () => {
  const taken: Server = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
  await using on = await stage(() => ({ listen: tcp(port) }));
  expect(on.control.served).toEqual([
    expect.objectContaining({
      listen: `127.0.0.1:${port}`,
      open: false,
      error: expect.objectContaining({ code: "api_unavailable", hint: expect.stringContaining("Another program listens there") }),
    }),
  ]);
  expect(on.control.lines).toEqual([`error The API cannot be served at http://127.0.0.1:${port} (EADDRINUSE)`]);
  expect((await ask({ socketPath: join(on.path, "state/control.sock") })).status).toBe(200);
  // It is said once, and opened when it can be.
  await on.set({});
  expect(on.control.lines).toHaveLength(1);
  taken.close();
  await once(taken, "close");
  await on.set({});
  expect((await ask({ port })).status).toBe(200);
});

test("TLS: only over it, with a certificate that is taken over when it changes, and kept when it cannot be read", async () => {
  await using on = await stage((port, path) => ({
    listen: tcp(port),
    tls: { cert: join(path, "tls.crt"), key: join(path, "tls.key") },
  }));
  const first = await ask(on, { tls: true });
  expect(first.status).toBe(200);
  await expect(ask(on)).rejects.toMatchObject({ code: expect.stringMatching(/ECONNRESET|HPE_INVALID_CONSTANT|EPIPE/) });
  writeFileSync(join(on.path, "tls.crt"), "no certificate");
  await on.set({});
  expect(on.control.lines.at(-1)).toMatch(
    /^error The certificate .*tls.crt and the key .*tls.key cannot be used .*; the one before is kept$/,
  );
  expect(on.control.lines.join()).not.toContain(CERTIFICATE_KEY.slice(40, 60));
  expect(on.control.served.at(-1)).toMatchObject({ open: true, tls: true, error: { code: "api_unavailable" } });
  expect((await ask(on, { tls: true })).certificate).toBe(first.certificate);
  // The same with another end is another file, and the same certificate.
  writeFileSync(join(on.path, "tls.crt"), `${CERTIFICATE}\n`);
  await on.set({});
  expect(on.control.lines.at(-1)).toBe("info the API has a new certificate");
  expect((await ask(on, { tls: true })).status).toBe(200);
  expect(on.control.served.at(-1)).toMatchObject({ open: true, tls: true });
  // Without TLS it is never served where TLS was asked for.
  const other = await freePort();
  await on.set({ listen: tcp(other), tls: { cert: "/nowhere/tls.crt", key: "/nowhere/tls.key" } });
  await expect(ask({ port: other })).rejects.toMatchObject({ code: "ECONNREFUSED" });
  expect(on.control.served.at(-1)).toMatchObject({ open: false });
});

test("a Unix socket: with tokens too, replaced when it is dead, and never when it is another's", async () => {
  await using on = await stage((_, path) => ({ listen: { kind: "unix", path: join(path, "api.sock") } }));
  const socketPath = join(on.path, "api.sock");
  expect((lstatSync(socketPath).mode & 0o777).toString(8)).toBe("660");
  expect((await ask({ socketPath })).status).toBe(200);
  expect((await ask({ socketPath }, { token: "x".repeat(32) })).status).toBe(401);
  const other = await stage(() => ({ listen: { kind: "unix", path: socketPath } }));
  expect(other.control.served[0]).toMatchObject({
    open: false,
    error: { message: expect.stringContaining("another program listens there") },
  });
  await other[Symbol.asyncDispose]();
  expect((await ask({ socketPath })).status).toBe(200);
  await on.stop();
  expect(lstatSync(socketPath, { throwIfNoEntry: false })).toBeUndefined();
  writeFileSync(socketPath, "precious");
  await using third = await stage(() => ({ listen: { kind: "unix", path: socketPath } }));
  expect(third.control.served[0]).toMatchObject({
    open: false,
    error: { message: expect.stringContaining("there is something else") },
  });
  expect(readFileSync(socketPath, "utf8")).toBe("precious");
});

test("who is attached to an operation is not cut off when the server moves", async () => {
  await using on = await stage((port) => ({ listen: tcp(port) }));
  const begun = Promise.withResolvers<void>();
  const end = Promise.withResolvers<void>();
  on.control.work = async ({ signal }) => {
    begun.resolve();
    await end.promise;
    return { aborted: signal.aborted };
  };
  const asked = plain({
    host: "127.0.0.1",
    port: on.port,
    method: "POST",
    path: "/api/v1/operations/backup",
    headers: { authorization: `Bearer ${TOKENS.operator}`, "content-type": "application/json" },
  });
  asked.end('{"job":"docs"}');
  const [answer] = (await once(asked, "response")) as [IncomingMessage];
  await begun.promise;
  const other = await freePort();
  await on.set({ listen: tcp(other) });
  await expect(ask(on)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  expect((await ask({ port: other })).status).toBe(200);
  end.resolve();
  let text = "";
  for await (const chunk of answer) text += String(chunk);
  expect(text).toContain('"result":{"aborted":false}');
});

test("a token that takes long to be had holds nothing up: neither the start, nor the stop", async () => {
  using folder = temporaryTree({ state: {} });
  const control = fakeControl();
  control.settings = { ...NO_SETTINGS, listen: tcp(await freePort()), tokens: CONFIGURED };
  const secret = Promise.withResolvers<Secret>();
  control.access.secret = () => secret.promise;
  const served = await serveControl(control, join(folder.path, "state"));
  expect((await ask({ socketPath: join(folder.path, "state/control.sock") })).status).toBe(200);
  await served[Symbol.asyncDispose]();
  secret.resolve(new Secret(TOKENS.viewer));
  await new Promise(setImmediate);
  expect([control.served, control.lines.filter((line) => line.startsWith("info"))]).toEqual([[], []]);
});
