/**
 * The control API: routes under /api/v1 over a `DaemonControl`. Who connects to the control socket is the owner of the state, so
 * there is no further question of who asks; over the network `guard` stands before the routes.
 */
import { fastify, type FastifyError, type FastifyInstance, type FastifyReply, type RouteOptions } from "fastify";
import type { Socket } from "node:net";
import { asHoldfastError, HoldfastError, type DaemonControl } from "../index.ts";
import { Attachments } from "./attach.ts";
import { RequestAudit } from "./audit.ts";
import { OWNER } from "./caller.ts";
import { EventStreams } from "./event-streams.ts";
import { Idempotency } from "./idempotency.ts";
import { Listener } from "./listener.ts";
import { guard, type NetworkOptions } from "./network.ts";
import { describeApi } from "./openapi.ts";
import { problemOf, PROBLEM_TYPE, type ProblemDetails } from "./problem.ts";
import { auditRoutes } from "./routes/audit.ts";
import { configWritingRoutes } from "./routes/config-writing.ts";
import { configRoutes } from "./routes/config.ts";
import { eventRoutes } from "./routes/events.ts";
import { jobRoutes } from "./routes/jobs.ts";
import { maintenanceRoutes } from "./routes/maintenance.ts";
import { healthRoutes, metricsRoute } from "./routes/monitoring.ts";
import { operationRoutes } from "./routes/operations.ts";
import { reportRoutes } from "./routes/reports.ts";
import { restoreRoutes } from "./routes/restores.ts";
import { runRoutes } from "./routes/runs.ts";
import { snapshotRoutes } from "./routes/snapshots.ts";
import { statusRoutes } from "./routes/status.ts";
import { NO_BODY, NOTHING } from "./schemas.ts";
import { bindSocket } from "./socket.ts";

export const PREFIX = "/api/v1";
/** Of most requests; a list of ids has a bound of its own. */
const MAX_BODY_BYTES = 256 * 1024;
const MAX_HEADER_BYTES = 16 * 1024;
/** Longer parts of a path are none of ours. */
const MAX_PARAMETER = 4096;
/** A request must have come in whole within this time, its headers sooner. */
const REQUEST_MS = 30_000;
const HEADERS_MS = 10_000;
/** How often it is looked who is too slow. */
const CHECK_MS = 2000;
/** A connection on which nothing has moved for so long is cut. Streams say that they are alive far more often. */
const IDLE_MS = 10 * 60_000;
const KEEP_ALIVE_MS = 30_000;
const MAX_CONNECTIONS = 256;
/** How long the last lines may take to their readers when the server closes. */
const DELIVERY_MS = 2000;

export interface ApiOptions {
  /** Undefined: over the control socket, where everybody is the owner. */
  readonly network?: NetworkOptions & { readonly tls?: { readonly cert: string; readonly key: string } | undefined };
  /** Told of each route. */
  readonly onRoute?: (route: RouteOptions) => void;
  /** In milliseconds, in place of the usual ones. */
  readonly limits?: { readonly requestMs: number; readonly headersMs: number; readonly checkMs: number };
}

export interface Api {
  readonly app: FastifyInstance;
  readonly streams: EventStreams;
  /** Resolves when nobody is attached to an operation any more. */
  readonly idle: () => Promise<void>;
}

/** The routes, ready to listen or to be injected into. */
export function createApi(control: DaemonControl, options: ApiOptions = {}): FastifyInstance {
  return buildApi(control, options).app;
}

export function buildApi(control: DaemonControl, { network, onRoute, limits }: ApiOptions = {}): Api {
  const server = {
    requestTimeout: limits?.requestMs ?? REQUEST_MS,
    headersTimeout: limits?.headersMs ?? HEADERS_MS,
    connectionsCheckingInterval: limits?.checkMs ?? CHECK_MS,
    maxHeaderSize: MAX_HEADER_BYTES,
    keepAliveTimeout: KEEP_ALIVE_MS,
  };
  const tls = network?.tls;
  const app = fastify({
    ...(tls === undefined ? { http: server } : { https: { ...server, ...tls, minVersion: "TLSv1.2" as const } }),
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: server.requestTimeout,
    keepAliveTimeout: KEEP_ALIVE_MS,
    ...(network !== undefined && { connectionTimeout: IDLE_MS }),
    routerOptions: { maxParamLength: MAX_PARAMETER },
    forceCloseConnections: true,
    onProtoPoisoning: "error",
    onConstructorPoisoning: "error",
    exposeHeadRoutes: true,
    clientErrorHandler: answerUnreadable,
    frameworkErrors: (error, _request, reply) => {
      const problem = explained(error);
      (reply as FastifyReply).code(problem.status).type(PROBLEM_TYPE).send(JSON.stringify(problem));
    },
    // A member that is not known is a mistake of the caller, and no value is made of another.
    ajv: {
      customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false, allErrors: false, allowUnionTypes: true },
    },
  }) as unknown as FastifyInstance;
  const audit = new RequestAudit(control.audit, PREFIX);
  const attachments = new Attachments(audit);
  const streams = new EventStreams(control.feed);
  app.server.maxConnections = MAX_CONNECTIONS;
  app.removeContentTypeParser("text/plain");
  // Answers are written whole: a schema describes them, and drops nothing of them.
  app.setSerializerCompiler(() => (value) => JSON.stringify(value));
  app.decorateRequest("caller");
  app.addHook("onRoute", (route) => {
    // Nobody shall be let in because somebody forgot to say who may.
    if (route.config?.role === undefined) throw new Error(`The route ${String(route.method)} ${route.url} says no role`);
    // Where nothing may stand nobody has to say so.
    const takesBody = [route.method].flat().some((method) => method === "POST" || method === "PUT" || method === "PATCH");
    route.schema = { querystring: NOTHING, ...(takesBody && { body: NO_BODY }), ...route.schema };
    onRoute?.(route);
  });
  audit.register(app);
  if (network === undefined)
    app.addHook("onRequest", async (request) => {
      request.caller = OWNER;
    });
  else guard(app, network);
  app.setErrorHandler<FastifyError>((error, _request, reply) => {
    const problem = explained(error);
    void reply.code(problem.status).type(PROBLEM_TYPE).send(JSON.stringify(problem));
  });
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split("?")[0] ?? "";
    const methods = METHODS.filter((method) => app.findRoute({ url: path, method }) !== null);
    if (methods.length > 0) void reply.header("allow", [...methods, "OPTIONS"].join(", "));
    if (methods.length > 0 && request.method === "OPTIONS") return void reply.code(204).send();
    const problem = noRoute(request.method, path, methods);
    return void reply.code(problem.status).type(PROBLEM_TYPE).send(JSON.stringify(problem));
  });
  new Idempotency().register(app);
  // What has ended is told to the end, before connections are cut.
  app.addHook("preClose", async () => {
    streams.close();
    await attachments.delivered(DELIVERY_MS);
  });
  describeApi(app, control.info().version);
  app.register(async (scope) => metricsRoute(scope, control));
  app.register(
    async (scope) => {
      statusRoutes(scope, control);
      healthRoutes(scope, control);
      runRoutes(scope, control);
      jobRoutes(scope, control, attachments);
      configRoutes(scope, control);
      operationRoutes(scope, control, attachments);
      eventRoutes(scope, streams);
      auditRoutes(scope, control);
      configWritingRoutes(scope, control);
      snapshotRoutes(scope, control);
      restoreRoutes(scope, control);
      maintenanceRoutes(scope, control);
      reportRoutes(scope, control);
    },
    { prefix: PREFIX },
  );
  return { app, streams, idle: () => attachments.idle() };
}

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] as const;

/**
 * Serves `control` on the socket of a state folder, and where the configuration says else, until it is disposed of; open answers
 * are cut then. Rejects when the socket cannot be bound; what the configuration asks for is tried again and again.
 */
export async function serveControl(control: DaemonControl, stateDir: string): Promise<AsyncDisposable> {
  const app = createApi(control);
  await using stack = new AsyncDisposableStack();
  const listener = stack.use(new Listener(control, (network) => buildApi(control, { network })));
  stack.defer(() => app.close());
  stack.use(
    await bindSocket(stateDir, async (path) => {
      await app.listen({ path });
    }),
  );
  // Not waited for: a command that prints a token may take its time, and nothing else needs it.
  void listener.refresh();
  const kept = stack.move();
  return { [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** What a failed request is answered. */
function explained(error: FastifyError): ProblemDetails {
  if (error instanceof HoldfastError) return problemOf(error);
  const status = error.statusCode ?? 500;
  if (error.validation !== undefined) {
    const [first] = error.validation;
    const where = `${error.validationContext ?? "body"}${(first?.instancePath ?? "").replaceAll("/", ".")}`;
    const unknown = first?.params["additionalProperty"];
    const what =
      typeof unknown === "string" ? `${where} has an unknown member ${JSON.stringify(unknown)}` : `${where} ${first?.message}`;
    const problem = problemOf(new HoldfastError("usage", `The request is not valid: ${what}`), 400);
    return { ...problem, errors: [{ pointer: first?.instancePath ?? "", detail: what }] };
  }
  if (status < 500) return problemOf(new HoldfastError("usage", `The request is not valid: ${error.message}`), status);
  return problemOf(asHoldfastError(error), status);
}

function noRoute(method: string, path: string, methods: readonly string[]): ProblemDetails {
  const all = methods.filter((one) => one !== "HEAD");
  if (methods.length > 0) return problemOf(new HoldfastError("usage", `${path} takes ${all.join(", ")}, not ${method}`), 405);
  return problemOf(new HoldfastError("usage", `There is nothing at ${path}`), 404);
}

const UNREADABLE: Readonly<Record<string, readonly [number, string, string]>> = {
  HPE_HEADER_OVERFLOW: [431, "Request Header Fields Too Large", "Its headers are too large"],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "Request Timeout", "It took too long"],
};

/** Answers what is no request, or took too long, and ends the connection. */
function answerUnreadable(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === "ECONNRESET" || socket.destroyed) return;
  const [status, reason, what] = UNREADABLE[error.code ?? ""] ?? [400, "Bad Request", "It is not HTTP"];
  const body = JSON.stringify(problemOf(new HoldfastError("usage", `The request is not valid: ${what}`), status));
  if (socket.writable)
    socket.write(
      `HTTP/1.1 ${status} ${reason}\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    );
  socket.destroySoon();
}
