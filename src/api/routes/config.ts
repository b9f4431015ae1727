import type { FastifyInstance } from "fastify";
import type { DaemonControl } from "../../index.ts";
import { NO_BODY, NOTHING, RELOAD } from "../schemas.ts";

export function configRoutes(app: FastifyInstance, control: DaemonControl): void {
  app.post(
    "/config/reload",
    {
      config: { role: "admin" },
      schema: {
        summary: "Have the configuration read at once",
        description: "An answer of 200 says that it was read, and `result` what came of it.",
        tags: ["config"],
        operationId: "reloadConfig",
        querystring: NOTHING,
        body: NO_BODY,
        response: { 200: RELOAD },
      },
    },
    async () => control.reload(),
  );
}
