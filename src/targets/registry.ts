import type { MessagePort } from "node:worker_threads";
import type { LocalTargetSpec } from "./local/local-target.ts";
import type { SftpTargetSpec } from "./sftp/sftp-target.ts";
import type { Target } from "./target.ts";

export type { LocalTargetSpec } from "./local/local-target.ts";
export type { SftpTargetSpec } from "./sftp/sftp-target.ts";

/** A target that lives elsewhere, behind a port that `serveTarget` answers. The port must be transferred with the spec. */
export interface PortTargetSpec {
  readonly driver: "port";
  readonly port: MessagePort;
  /** See `PortTargetOptions`. */
  readonly transfer?: boolean | undefined;
}

/** A target as plain values that structured clone can carry to the thread that makes it. */
export type TargetSpec = LocalTargetSpec | SftpTargetSpec | PortTargetSpec;

type Makers = { readonly [Driver in TargetSpec["driver"]]: (spec: Extract<TargetSpec, { driver: Driver }>) => Promise<Target> };

/** Drivers are imported on first use, so that their clients cost nothing until then. */
const MAKERS: Makers = {
  local: async (spec) => new (await import("./local/local-target.ts")).LocalTarget(spec),
  sftp: async (spec) => new (await import("./sftp/sftp-target.ts")).SftpTarget(spec),
  port: async (spec) => (await import("./thread/port-target.ts")).PortTarget.connect(spec.port, { transfer: spec.transfer }),
};

/** Makes the target of a spec in this thread. Touches neither medium nor network where the driver can put it off. */
export function createTarget(spec: TargetSpec): Promise<Target> {
  const make = MAKERS[spec.driver] as (spec: TargetSpec) => Promise<Target>;
  return make(spec);
}

/** The ports inside a spec: the transfer list of the message that carries it. */
export function targetPorts(spec: TargetSpec): MessagePort[] {
  return spec.driver === "port" ? [spec.port] : [];
}
