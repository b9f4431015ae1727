import type { FastifyInstance } from "fastify";
import type { DaemonControl } from "../../index.ts";
import { answer, DAEMON, NOTHING, STATUS } from "../schemas.ts";

export function statusRoutes(app: FastifyInstance, control: DaemonControl): void {
  app.get(
    "/status",
    {
      config: { role: "viewer" },
      schema: {
        summary: "How jobs and targets stand, what runs, what waits",
        tags: ["status"],
        operationId: "getStatus",
        querystring: NOTHING,
        response: { 200: STATUS },
      },
    },
    async () => control.status(),
  );
  app.get(
    "/daemon",
    {
      config: { role: "viewer" },
      schema: {
        summary: "The daemon itself",
        tags: ["status"],
        operationId: "getDaemon",
        querystring: NOTHING,
        response: { 200: DAEMON },
      },
    },
    async () => control.info(),
  );
  app.get(
    "/openapi.json",
    {
      config: { role: "viewer" },
      schema: {
        summary: "This description",
        tags: ["status"],
        operationId: "getOpenApi",
        querystring: NOTHING,
        response: { 200: answer("OpenAPI 3.1.", { openapi: { type: "string" }, paths: { type: "object" } }) },
      },
    },
    async () => app.swagger(),
  );
}
