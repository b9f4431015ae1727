/** What stands before the routes when others than the owner may connect: host, origin, token, role, and limits of each. */
import helmet from "@fastify/helmet";
import rateLimit from "@fastify/rate-limit";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { isIP } from "node:net";
import { HoldfastError, type ControlConfig } from "../index.ts";
import { mayDo } from "./caller.ts";
import type { Tokens } from "./tokens.ts";

/** Of one token within a minute. A page that looks every second, and a scraper, stay far below. */
const READS_A_MINUTE = 30_000;
const ACTIONS_A_MINUTE = 600;
/** Wrong tokens of one address within a minute, before it is told to wait. */
const FAILURES_A_MINUTE = 10;
const MINUTE_MS = 60_000;
/** A longer URL is none of ours. */
const MAX_URL = 8192;
const READS = new Set(["GET", "HEAD", "OPTIONS"]);
const PREFLIGHT_SECONDS = 600;

export interface NetworkOptions {
  readonly tokens: Tokens;
  /** As the configuration in force says. */
  readonly config: () => ControlConfig;
  /** Over TLS. */
  readonly isSecure: boolean;
  /** Over a Unix socket, where there are no addresses. */
  readonly isUnix: boolean;
}

export function guard(app: FastifyInstance, options: NetworkOptions): void {
  const { tokens, config, isSecure, isUnix } = options;
  const from = (request: FastifyRequest): string => (isUnix ? "unix" : request.ip);
  app.register(helmet, {
    contentSecurityPolicy: { useDefaults: false, directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } },
    crossOriginResourcePolicy: { policy: "same-origin" },
    strictTransportSecurity: isSecure,
    xFrameOptions: { action: "deny" },
  });
  app.addHook("onRequest", async (request, reply) => {
    void reply.header("cache-control", "no-store");
    checkUrl(request);
    checkHost(request, config());
    const origin = checkOrigin(request, config(), isSecure);
    if (origin !== undefined) allowOrigin(reply, origin);
    if (origin !== undefined && request.method === "OPTIONS" && "access-control-request-method" in request.headers)
      return await answerPreflight(reply);
    await authenticate(request, reply);
    checkRole(request);
    return undefined;
  });
  // After the hook above: it counts by who asks.
  app.register(rateLimit, {
    global: true,
    max: (request) => (READS.has(request.method) ? READS_A_MINUTE : ACTIONS_A_MINUTE),
    timeWindow: MINUTE_MS,
    keyGenerator: ({ caller, method }) => `${caller.name} ${READS.has(method) ? "reads" : "acts"}`,
    enableDraftSpec: true,
    errorResponseBuilder: (_request, { max, ttl }) => tooMany(`More than ${max} requests within a minute`, ttl),
  });
  let failures: ReturnType<FastifyInstance["createRateLimit"]> | undefined;
  app.after(() => {
    failures = app.createRateLimit({
      max: FAILURES_A_MINUTE,
      timeWindow: MINUTE_MS,
      keyGenerator: (request) => `! ${request.ip}`,
    });
  });

  async function authenticate(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { authorization } = request.headers;
    const token = /^Bearer +([A-Za-z0-9._~+/=-]{1,1024}) *$/i.exec(authorization ?? "")?.[1];
    const caller = token === undefined ? undefined : tokens.authenticate(token, from(request));
    if (caller !== undefined) {
      request.caller = caller;
      return;
    }
    // A body that nobody is going to read is not waited for.
    void reply.header("connection", "close");
    // The right token is let through whatever others sent from its address: it is far too long to be guessed, and nobody
    // shall be able to lock out whoever shares an address with him.
    const limit = authorization === undefined ? undefined : await failures?.(request);
    if (limit !== undefined && !limit.isAllowed && limit.isExceeded) {
      void reply.header("retry-after", limit.ttlInSeconds);
      throw tooMany("Too many wrong tokens from this address", limit.ttl);
    }
    const challenge = 'Bearer realm="holdfast"';
    void reply.header("www-authenticate", authorization === undefined ? challenge : `${challenge}, error="invalid_token"`);
    throw new HoldfastError(
      "unauthenticated",
      authorization === undefined ? "This needs a token" : "The token is not one of this daemon's",
      { hint: "Send it as `Authorization: Bearer TOKEN`; `control.tokens` in the configuration says which there are." },
    );
  }
}

function checkUrl({ url }: FastifyRequest): void {
  if (url.length > MAX_URL) throw Object.assign(new Error("The URL is too long"), { statusCode: 414 });
  if (!url.startsWith("/")) throw Object.assign(new Error("The URL must begin with /"), { statusCode: 400 });
}

/** A name that is not ours leads here only when somebody has turned it around (DNS rebinding), or forgot `allowedHosts`. */
function checkHost(request: FastifyRequest, { allowedHosts, listen }: ControlConfig): void {
  const host = hostOf(request.headers.host);
  const isOurs =
    host !== undefined &&
    (isIP(host) !== 0 ||
      host === "localhost" ||
      allowedHosts.includes(host) ||
      (listen?.kind === "tcp" && listen.host.toLowerCase() === host));
  if (isOurs) return;
  throw new HoldfastError("forbidden", `This daemon is not called ${JSON.stringify(request.headers.host ?? "")}`, {
    hint: "Ask it by its address, or add the name to `control.allowedHosts`.",
  });
}

/** `name:port` or `[address]:port`, without the port and brackets, in lower case; undefined for what is neither. */
function hostOf(header: string | undefined): string | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?$/.exec((header ?? "").toLowerCase());
  return match?.[1] ?? match?.[2];
}

/** The origin of the page that sends it, when it is one of others that may. Throws for any that may not. */
function checkOrigin(request: FastifyRequest, { allowedOrigins }: ControlConfig, isSecure: boolean): string | undefined {
  const { origin, host } = request.headers;
  if (origin === undefined || origin === `${isSecure ? "https" : "http"}://${host}`) return undefined;
  // Behind a proxy that has the TLS its own pages are of https.
  if (!isSecure && origin === `https://${host}`) return undefined;
  if (allowedOrigins.includes(origin)) return origin;
  throw new HoldfastError("forbidden", `Pages of ${JSON.stringify(origin)} may not use this daemon`, {
    hint: "Add the origin to `control.allowedOrigins` when they should.",
  });
}

function allowOrigin(reply: FastifyReply, origin: string): void {
  // On the bare answer, so that streams carry it too.
  reply.raw.setHeader("access-control-allow-origin", origin);
  reply.raw.setHeader("vary", "origin");
  reply.raw.setHeader("access-control-expose-headers", "content-disposition, idempotency-replayed, retry-after");
  reply.raw.setHeader("cross-origin-resource-policy", "cross-origin");
}

async function answerPreflight(reply: FastifyReply): Promise<FastifyReply> {
  return await reply
    .code(204)
    .header("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
    .header("access-control-allow-headers", "authorization, content-type, idempotency-key, last-event-id")
    .header("access-control-max-age", PREFLIGHT_SECONDS)
    .send();
}

function checkRole({ caller, routeOptions: { config } }: FastifyRequest): void {
  const { role, socketOnly } = config;
  if (socketOnly === true)
    throw new HoldfastError("forbidden", "This can be done over the control socket alone", {
      hint: "Use the command line beside the daemon. To restore over the network, use /api/v1/restores.",
    });
  if (role === undefined || mayDo(caller.role, role)) return;
  throw new HoldfastError("forbidden", `This takes the role ${role}, and ${caller.name} has the role ${caller.role}`, {
    hint: "`control.tokens` in the configuration says who has which role.",
  });
}

function tooMany(what: string, ttlMs: number): HoldfastError {
  return new HoldfastError("rate_limited", what, {
    hint: `Try again in ${Math.max(1, Math.ceil(ttlMs / 1000))} s.`,
    transient: true,
  });
}
