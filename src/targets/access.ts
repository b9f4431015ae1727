import { MessageChannel, type MessagePort } from "node:worker_threads";
import { createTarget, type TargetSpec } from "./registry.ts";
import type { Target } from "./target.ts";
import { serveTarget } from "./thread/target-host.ts";
import { RetryTarget, type RetryOptions } from "./wrap/retry.ts";

/** A target as the main thread holds it, and the way for other threads to reach the same one. */
export interface TargetAccess extends AsyncDisposable {
  readonly target: Target;
  /** A spec for a thread of its own, with what must be transferred along. */
  forThread(): { readonly spec: TargetSpec; readonly transfer: readonly MessagePort[] };
}

/** Access to a target that every thread can open by itself from its spec. With `retry`, transient failures are tried again. */
export async function accessBySpec(spec: TargetSpec, retry?: RetryOptions): Promise<TargetAccess> {
  const driver = await createTarget(spec);
  const target = retry === undefined ? driver : new RetryTarget(driver, retry);
  return {
    target,
    forThread: () => ({ spec, transfer: [] }),
    [Symbol.asyncDispose]: () => target[Symbol.asyncDispose](),
  };
}

/** Access to a target that lives in this thread only; other threads reach it through ports. Disposing leaves the target alone. */
export function accessByPort(target: Target): TargetAccess {
  const served: MessagePort[] = [];
  return {
    target,
    forThread: () => {
      const { port1, port2 } = new MessageChannel();
      serveTarget(port1, target);
      served.push(port1);
      return { spec: { driver: "port", port: port2 }, transfer: [port2] };
    },
    [Symbol.asyncDispose]: async () => {
      for (const port of served) port.close();
    },
  };
}
