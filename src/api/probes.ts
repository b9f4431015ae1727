/**
 * The listener for scrapers and container platforms: plain HTTP, no token, four pages, and on them no secret, path, name of a file
 * or error message. Who may connect may ask, so it is bounded in everything: connections, also of one address, time, sizes; and
 * what it costs to find out is spent once a second at most (`daemon/monitor.ts`).
 */
import { chmodSync, lstatSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import { connect, type Socket } from "node:net";
import { fastify, type FastifyInstance, type FastifyReply } from "fastify";
import { errnoOf, HoldfastError, type DaemonMonitor, type HealthStatus, type ProbesConfig } from "../index.ts";

const MAX_CONNECTIONS = 64;
/** So that one that leaks connections takes not all of them. */
const MAX_OF_ONE_ADDRESS = 32;
const REQUEST_MS = 10_000;
const IDLE_MS = 30_000;
const MAX_HEADER_BYTES = 8 * 1024;
const TEXT = "text/plain; charset=utf-8";

/** The pages, ready to listen or to be injected into. */
export function createProbes(monitor: DaemonMonitor, { metrics }: Pick<ProbesConfig, "metrics">): FastifyInstance {
  const app = fastify({
    bodyLimit: 1,
    requestTimeout: REQUEST_MS,
    keepAliveTimeout: IDLE_MS,
    connectionTimeout: IDLE_MS,
    forceCloseConnections: true,
    exposeHeadRoutes: false,
    http: { headersTimeout: REQUEST_MS, maxHeaderSize: MAX_HEADER_BYTES },
  });
  app.server.maxConnections = MAX_CONNECTIONS;
  boundByAddress(app.server);
  app.addHook("onRequest", async (_request, reply) => {
    void reply.header("cache-control", "no-store").header("x-content-type-options", "nosniff");
  });
  const plain = (reply: FastifyReply, status: number, text: string): FastifyReply =>
    reply.code(status).type(TEXT).send(`${text}\n`);
  app.setNotFoundHandler((_request, reply) => plain(reply, 404, "not found"));
  // What went wrong is for the log and the API: here it could name a path.
  app.setErrorHandler((error, _request, reply) => plain(reply, statusOf(error), "failed"));
  app.get("/livez", async (_request, reply) => (monitor.isAlive() ? plain(reply, 200, "ok") : plain(reply, 503, "stuck")));
  app.get("/readyz", async (_request, reply) => {
    const reason = monitor.unready();
    return reason === undefined ? plain(reply, 200, "ok") : plain(reply, 503, reason);
  });
  app.get("/healthz", async (_request, reply) => {
    const { status, components } = monitor.health();
    return await reply.code(status === "critical" ? 503 : 200).send({ status, components: partsOf(components) });
  });
  if (metrics)
    app.get("/metrics", async (_request, reply) => {
      const { contentType, text } = await monitor.metrics();
      return await reply.type(contentType).send(text);
    });
  return app;
}

/** Of each kind of component how many are how: names and reasons are for those with a token. */
function partsOf(
  components: readonly { readonly component: string; readonly status: HealthStatus }[],
): Record<string, Record<HealthStatus, number>> {
  const parts: Record<string, Record<HealthStatus, number>> = {};
  for (const { component, status } of components) (parts[component] ??= { ok: 0, warning: 0, critical: 0 })[status]++;
  return parts;
}

function statusOf(error: unknown): number {
  const status = (error as { readonly statusCode?: unknown }).statusCode;
  return typeof status === "number" && status >= 400 && status < 500 ? status : 503;
}

function boundByAddress(server: Server): void {
  const open = new Map<string, number>();
  server.on("connection", (socket: Socket) => {
    const from = socket.remoteAddress ?? "";
    const count = (open.get(from) ?? 0) + 1;
    open.set(from, count);
    socket.once("close", () => {
      const left = (open.get(from) ?? 1) - 1;
      if (left === 0) open.delete(from);
      else open.set(from, left);
    });
    if (count > MAX_OF_ONE_ADDRESS) socket.destroy();
  });
}

/** Listens until what it returns is disposed of. Rejects with `usage` when it cannot listen there. */
export async function serveProbes(monitor: DaemonMonitor, probes: ProbesConfig): Promise<AsyncDisposable> {
  const app = createProbes(monitor, probes);
  const { listen } = probes;
  try {
    if (listen.kind === "tcp") await app.listen({ host: listen.host, port: listen.port });
    else {
      await removeDeadSocket(listen.path);
      await app.listen({ path: listen.path });
      // As open as an address: who may enter the folder may ask.
      chmodSync(listen.path, 0o666);
    }
  } catch (error) {
    await app.close();
    throw cannotListen(error, listen.kind === "unix");
  }
  return { [Symbol.asyncDispose]: () => app.close() };
}

function cannotListen(error: unknown, isSocket: boolean): HoldfastError {
  const errno = errnoOf(error);
  const hints: Readonly<Record<string, string>> = {
    EADDRINUSE: "Something else listens there: give `probes.listen` another port, or stop it.",
    EADDRNOTAVAIL: "This machine does not have that address (yet).",
    EACCES: isSocket ? "This user may not make a socket there." : "Ports below 1024 are root's: take a higher one.",
    ENOENT: "The folder of the socket does not exist.",
    ENOTFOUND: "That name has no address.",
  };
  return new HoldfastError(
    "usage",
    `it cannot listen there (${errno ?? (error instanceof Error ? error.message : "unknown error")})`,
    {
      hint: hints[errno ?? ""] ?? "Correct `probes.listen`.",
      cause: error,
    },
  );
}

/** Removes the socket that a dead process left, and nothing else. */
async function removeDeadSocket(path: string): Promise<void> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  const isDead = await new Promise<boolean>((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(false);
    });
    socket.on("error", (error) => resolve(errnoOf(error) === "ECONNREFUSED"));
  });
  if (isDead) rmSync(path);
}
