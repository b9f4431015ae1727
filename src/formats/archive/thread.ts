import { Worker, type MessagePort } from "node:worker_threads";
import { asHoldfastError, HoldfastError } from "../../base/errors.ts";
import type { FromArchive, ToArchive } from "./messages.ts";

/** The archive thread, as the main thread holds it. Disposing stops it at once. */
export class ArchiveThread implements AsyncDisposable {
  readonly #worker: Worker;
  #ended = false;

  /** `onFailure` hears of what `onMessage` throws and of the thread's death. */
  constructor(onMessage: (message: FromArchive) => void, onFailure: (error: HoldfastError) => void) {
    const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
    this.#worker = new Worker(new URL(`./archive-thread.${extension}`, import.meta.url), {
      name: "archive-thread",
      trackUnmanagedFds: false,
    });
    const died = (how: string, cause?: unknown): void => {
      if (!this.#ended) onFailure(new HoldfastError("internal", `The archive thread ${how}`, { cause }));
    };
    this.#worker.on("message", (message: FromArchive) => {
      if (this.#ended) return;
      try {
        onMessage(message);
      } catch (error) {
        onFailure(asHoldfastError(error));
      }
    });
    this.#worker.on("error", (error) => died(`stopped: ${error instanceof Error ? error.message : String(error)}`, error));
    this.#worker.on("exit", (code) => died(`ended with code ${code} before its work was done`));
  }

  post(message: ToArchive, transfer: readonly (ArrayBuffer | MessagePort)[] = []): void {
    this.#worker.postMessage(message, [...transfer]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#worker.terminate();
  }
}
