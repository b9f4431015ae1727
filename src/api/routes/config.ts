import type { FastifyInstance } from "fastify";
import type { DaemonControl } from "../../index.ts";

export function configRoutes(app: FastifyInstance, control: DaemonControl): void {
  app.post("/config/reload", async () => control.reload());
}
