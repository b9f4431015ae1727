import { MessageChannel, Worker } from "node:worker_threads";
import { targetPorts, type TargetSpec } from "../registry.ts";
import { PortTarget, type PortTargetOptions } from "./port-target.ts";

/** A target in an I/O thread of its own. Disposing it disposes the target there and ends the thread. */
export interface TargetThread extends PortTarget {
  /** Resolves when the thread has ended, with what killed it, if anything did. */
  readonly ended: Promise<Error | undefined>;
}

/**
 * Starts a thread that makes the target of `spec` and serves it. Rejects with the failure of making it. The ports of the
 * spec are transferred. The thread keeps the process alive only while calls are in flight.
 */
export async function spawnTargetThread(spec: TargetSpec, options: PortTargetOptions = {}): Promise<TargetThread> {
  const { port1: near, port2: far } = new MessageChannel();
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const worker = new Worker(new URL(`./target-worker.${extension}`, import.meta.url), {
    name: "target",
    workerData: { spec, port: far },
    transferList: [far, ...targetPorts(spec)],
  });
  let failure: Error | undefined;
  const died = new Promise<never>((_, reject) => {
    worker.once("error", (error: Error) => {
      failure = error;
      reject(error);
    });
  });
  // Once started, the closing of the port tells the calls, and `ended` tells why.
  died.catch(() => undefined);
  const ended = new Promise<Error | undefined>((resolve) => worker.once("exit", () => resolve(failure)));
  const target = await Promise.race([PortTarget.connect(near, options), died]);
  worker.unref();
  const end = async (): Promise<void> => {
    try {
      await PortTarget.prototype[Symbol.asyncDispose].call(target);
    } finally {
      await worker.terminate();
    }
  };
  let ending: Promise<void> | undefined;
  return Object.assign(target, {
    ended,
    [Symbol.asyncDispose]: (): Promise<void> => {
      ending ??= end();
      return ending;
    },
  });
}
