import { Worker, type MessagePort } from "node:worker_threads";
import { asHoldfastError, HoldfastError } from "../../../base/errors.ts";

const STOP_MS = 1000;

/** A worker thread with typed messages. A crash of the thread arrives as `onFailure`. */
export class Thread<To, From> implements AsyncDisposable {
  readonly #worker: Worker;
  #ended = false;

  constructor(
    module: "cpu-thread" | "tree-thread" | "pack-thread",
    onMessage: (message: From) => void,
    onFailure: (error: HoldfastError) => void,
  ) {
    // A thread may be stopped between opening a file and closing it; then Node closes it. Not so in the tree thread, which opens
    // folders through the C library, unknown to Node: it is asked to stop instead.
    const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
    this.#worker = new Worker(new URL(`./${module}.${extension}`, import.meta.url), {
      name: module,
      trackUnmanagedFds: module !== "tree-thread",
      resourceLimits: { maxYoungGenerationSizeMb: 16 },
    });
    this.#worker.on("message", (message: From) => {
      if (this.#ended) return;
      try {
        onMessage(message);
      } catch (error) {
        onFailure(asHoldfastError(error));
      }
    });
    this.#worker.on("error", (error) => {
      if (!this.#ended)
        onFailure(
          new HoldfastError("internal", `The ${module} stopped: ${error instanceof Error ? error.message : String(error)}`, {
            cause: error,
          }),
        );
    });
    this.#worker.on("messageerror", (error) => {
      if (!this.#ended)
        onFailure(new HoldfastError("internal", `A message of the ${module} was lost: ${error.message}`, { cause: error }));
    });
    this.#worker.on("exit", (code) => {
      if (!this.#ended)
        onFailure(new HoldfastError("internal", `The ${module} ended with code ${code} before its work was done`));
    });
  }

  post(message: To, transfer: readonly (ArrayBuffer | MessagePort)[] = []): void {
    this.#worker.postMessage(message, [...transfer]);
  }

  /** Asks the thread to end by itself; stops it when it does not within a second. */
  async stop(message: To): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#worker.once("exit", () => resolve());
    const timer = setTimeout(resolve, STOP_MS);
    this.post(message);
    await promise;
    clearTimeout(timer);
    await this.#worker.terminate();
  }

  /** Stops the thread at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#worker.terminate();
  }
}
