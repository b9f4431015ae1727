import { workerData, type MessagePort } from "node:worker_threads";
import { createTarget, type TargetSpec } from "../registry.ts";
import { refuseTarget, serveTarget } from "./target-host.ts";

// The I/O thread of one target: makes it from its spec and serves it until the client closes the port.

const { spec, port } = workerData as { readonly spec: TargetSpec; readonly port: MessagePort };

try {
  serveTarget(port, await createTarget(spec), { own: true });
} catch (error) {
  refuseTarget(port, error);
}
