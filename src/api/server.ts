/**
 * The control API: routes under /api/v1 over a `DaemonControl`. Who connects to the control socket is the owner of the state, so
 * there is no further question of who asks.
 */
import { fastify, type FastifyError, type FastifyInstance } from "fastify";
import { asHoldfastError, HoldfastError, type DaemonControl } from "../index.ts";
import { Attachments } from "./attach.ts";
import { problemOf, PROBLEM_TYPE, type ProblemDetails } from "./problem.ts";
import { configRoutes } from "./routes/config.ts";
import { jobRoutes } from "./routes/jobs.ts";
import { operationRoutes } from "./routes/operations.ts";
import { runRoutes } from "./routes/runs.ts";
import { statusRoutes } from "./routes/status.ts";
import { bindSocket } from "./socket.ts";

export const PREFIX = "/api/v1";
/** Of most requests; a list of ids has a bound of its own. */
const MAX_BODY_BYTES = 256 * 1024;
/** A request must have come in whole within this time. */
const REQUEST_MS = 30_000;
const MAX_CONNECTIONS = 256;
/** How long the last lines may take to their readers when the server closes. */
const DELIVERY_MS = 2000;

/** The routes, ready to listen or to be injected into. */
export function createApi(control: DaemonControl): FastifyInstance {
  const app = fastify({
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: REQUEST_MS,
    forceCloseConnections: true,
    onProtoPoisoning: "error",
    onConstructorPoisoning: "error",
    exposeHeadRoutes: false,
    // A member that is not known is a mistake of the caller, and no value is made of another.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false, allErrors: false } },
    http: { headersTimeout: REQUEST_MS },
  });
  const attachments = new Attachments();
  app.server.maxConnections = MAX_CONNECTIONS;
  app.removeContentTypeParser("text/plain");
  app.setErrorHandler<FastifyError>((error, _request, reply) => {
    const problem = explained(error);
    void reply.code(problem.status).type(PROBLEM_TYPE).send(JSON.stringify(problem));
  });
  app.setNotFoundHandler((request, reply) => {
    const methods = METHODS.filter((method) => app.findRoute({ url: request.url.split("?")[0] ?? "", method }) !== null);
    const problem = noRoute(request.method, request.url, methods);
    if (methods.length > 0) void reply.header("allow", methods.join(", "));
    void reply.code(problem.status).type(PROBLEM_TYPE).send(JSON.stringify(problem));
  });
  // What has ended is told to the end, before connections are cut.
  app.addHook("preClose", () => attachments.delivered(DELIVERY_MS));
  app.register(
    async (scope) => {
      statusRoutes(scope, control);
      runRoutes(scope, control);
      jobRoutes(scope, control, attachments);
      configRoutes(scope, control);
      operationRoutes(scope, control, attachments);
    },
    { prefix: PREFIX },
  );
  return app;
}

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;

/** Serves `control` on the socket of a state folder until it is disposed of; open answers are cut then. */
export async function serveControl(control: DaemonControl, stateDir: string): Promise<AsyncDisposable> {
  const app = createApi(control);
  await using stack = new AsyncDisposableStack();
  stack.defer(() => app.close());
  stack.use(
    await bindSocket(stateDir, async (path) => {
      await app.listen({ path });
    }),
  );
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

function noRoute(method: string, url: string, methods: readonly string[]): ProblemDetails {
  const path = url.split("?")[0] ?? "";
  if (methods.length > 0) return problemOf(new HoldfastError("usage", `${path} takes ${methods.join(", ")}, not ${method}`), 405);
  return problemOf(new HoldfastError("usage", `There is nothing at ${path}`), 404);
}
