import type { FastifyInstance } from "fastify";
import type { DaemonControl } from "../../index.ts";

export function statusRoutes(app: FastifyInstance, control: DaemonControl): void {
  app.get("/status", async () => control.status());
  app.get("/daemon", async () => control.info());
}
