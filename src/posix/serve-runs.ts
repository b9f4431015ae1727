/** The thread's side of workers.ts. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { parentPort, type MessagePort } from "node:worker_threads";

/** How a run speaks to whoever started it. Closing it ends the run: nothing it says is heard after that. */
export type RunPort = Pick<MessagePort, "postMessage" | "close">;

/** What a worker is sent: a run's port, or that it may have to wait for the next. */
export type ToWorker = MessagePort | "rest";

/**
 * Serves runs, one at a time, for as long as the worker lives. `begin` makes a run's state and returns what takes its messages.
 * Whatever `begin` made is garbage when the run has closed its port, so nothing of a run may be kept by the module.
 */
export function serveRuns<To>(begin: (port: RunPort) => (message: To) => void): void {
  if (parentPort === null) throw new Error("This module runs as a worker");
  parentPort.on("message", (message: ToWorker) => {
    if (message === "rest") collectGarbage();
    else message.on("message", begin(message));
  });
}

let collect: (() => void) | undefined;

/** A thread that waits collects nothing by itself, and would keep all that its last run needed. */
function collectGarbage(): void {
  if (collect === undefined) {
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as () => void;
  }
  collect();
}
