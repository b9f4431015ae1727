import type { FastifyInstance } from "fastify";
import type { DaemonControl, HealthReport } from "../../index.ts";
import "../caller.ts";

const NOTHING = { type: "object", additionalProperties: false, properties: {} };
const STATUS = { type: "string", enum: ["ok", "warning", "critical"] };
const TEXT_OR_NULL = { type: ["string", "null"] };

const HEALTH = {
  type: "object",
  description: "How the daemon and what it protects are, part by part.",
  required: ["time", "status", "components"],
  properties: {
    time: { type: "string", format: "date-time" },
    status: { ...STATUS, description: "That of the worst component." },
    components: {
      type: "array",
      items: {
        type: "object",
        required: ["component", "name", "status", "since", "summary", "recommendation"],
        properties: {
          component: {
            type: "string",
            enum: ["config", "state", "scheduler", "target", "job", "objective", "outbox", "approval"],
          },
          name: { ...TEXT_OR_NULL, description: "The job or target." },
          status: STATUS,
          since: { ...TEXT_OR_NULL, format: "date-time", description: "Since when it is so, where that is known." },
          summary: { type: "string" },
          recommendation: { ...TEXT_OR_NULL, description: "What to do." },
        },
      },
    },
  },
};

/** Health in full: it names jobs, targets and paths, and so is not for probes. */
export function healthRoutes(app: FastifyInstance, { monitor }: DaemonControl): void {
  app.get(
    "/health",
    {
      config: { role: "viewer" },
      schema: {
        summary: "Health of every component, with what to do",
        tags: ["monitoring"],
        operationId: "getHealth",
        querystring: NOTHING,
        response: { 200: HEALTH },
      },
    },
    async () => healthJson(monitor.health()),
  );
  app.get(
    "/health/ready",
    {
      config: { role: "viewer" },
      schema: {
        summary: "Whether the daemon lives and can work, however backups fare",
        tags: ["monitoring"],
        operationId: "getReadiness",
        querystring: NOTHING,
        response: {
          200: {
            type: "object",
            required: ["alive", "ready", "reason"],
            properties: {
              alive: { type: "boolean" },
              ready: { type: "boolean" },
              reason: { ...TEXT_OR_NULL, description: "Why not." },
            },
          },
        },
      },
    },
    async () => {
      const reason = monitor.unready();
      return { alive: monitor.isAlive(), ready: reason === undefined, reason: reason ?? null };
    },
  );
}

/** `/metrics`, as scrapers expect it: beside the API, not below its prefix. */
export function metricsRoute(app: FastifyInstance, { monitor }: DaemonControl): void {
  app.get(
    "/metrics",
    {
      config: { role: "viewer" },
      schema: {
        summary: "Metrics in the text format of Prometheus",
        tags: ["monitoring"],
        operationId: "getMetrics",
        querystring: NOTHING,
        response: { 200: { type: "string" } },
      },
    },
    async (_request, reply) => {
      const { contentType, text } = await monitor.metrics();
      return await reply.type(contentType).send(text);
    },
  );
}

function healthJson({ timeMs, status, components }: HealthReport): unknown {
  return {
    time: new Date(timeMs).toISOString(),
    status,
    components: components.map(({ component, name, status: own, sinceMs, summary, recommendation }) => ({
      component,
      name: name ?? null,
      status: own,
      since: sinceMs === undefined ? null : new Date(sinceMs).toISOString(),
      summary,
      recommendation: recommendation ?? null,
    })),
  };
}
