import { Worker, type MessagePort } from "node:worker_threads";
import { asHoldfastError, HoldfastError } from "../../../base/errors.ts";

/** How long a thread that was asked to stop may take before it is stopped where it stands. */
const STOP_MS = { "cpu-thread": 60_000, "tree-thread": 60_000, "pack-thread": 1000 } as const;

export type ThreadModule = keyof typeof STOP_MS;

/** Workers that were started ahead, in the order of their start. */
const warm: { readonly module: ThreadModule; readonly worker: Worker }[] = [];

function startWorker(module: ThreadModule): Worker {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  return new Worker(new URL(`./${module}.${extension}`, import.meta.url), {
    name: module,
    // The tree thread opens folders through the C library, unknown to Node.
    trackUnmanagedFds: module !== "tree-thread",
    resourceLimits: { maxYoungGenerationSizeMb: 16 },
  });
}

/**
 * Starts workers for the next threads of these modules: they take some 60 ms to begin, in which the caller may open what it
 * needs. Disposing ends those that nobody took. One that fails before it is taken is forgotten; where one cannot even be
 * started none is kept, and whoever needs one then learns why.
 */
export function warmUp(modules: readonly ThreadModule[]): Disposable {
  const started: (typeof warm)[0][] = [];
  const end = (): void => {
    for (const one of started) {
      const at = warm.indexOf(one);
      if (at < 0) continue;
      warm.splice(at, 1);
      void one.worker.terminate();
    }
  };
  try {
    for (const module of modules) {
      const one = { module, worker: startWorker(module) };
      const forget = (): void => {
        if (warm.includes(one)) warm.splice(warm.indexOf(one), 1);
      };
      one.worker.on("error", forget).on("exit", forget).unref();
      warm.push(one);
      started.push(one);
    }
  } catch {
    end();
  }
  return { [Symbol.dispose]: end };
}

function takeWorker(module: ThreadModule): Worker {
  const at = warm.findIndex((one) => one.module === module);
  if (at < 0) return startWorker(module);
  const [taken] = warm.splice(at, 1) as [(typeof warm)[0]];
  taken.worker.ref();
  return taken.worker;
}

/**
 * A worker thread with typed messages. A crash of the thread arrives as `onFailure`. It is ended by asking: one that is stopped
 * while it begins to compress aborts the whole process (Node 26: "close before init" of a zlib stream), and its last step is
 * short. Only a pack thread may wait for long, for its target, and then it does nothing else.
 */
export class Thread<To, From> {
  readonly #worker: Worker;
  readonly #module: ThreadModule;
  #ended = false;
  #exited = false;

  constructor(module: ThreadModule, onMessage: (message: From) => void, onFailure: (error: HoldfastError) => void) {
    this.#module = module;
    this.#worker = takeWorker(module);
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
      this.#exited = true;
      if (!this.#ended)
        onFailure(new HoldfastError("internal", `The ${module} ended with code ${code} before its work was done`));
    });
  }

  post(message: To, transfer: readonly (ArrayBuffer | MessagePort)[] = []): void {
    this.#worker.postMessage(message, [...transfer]);
  }

  /** Asks the thread to end by itself, and stops it when it does not. */
  async stop(message: To): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#exited) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#worker.once("exit", () => resolve());
    const timer = setTimeout(resolve, STOP_MS[this.#module]);
    this.post(message);
    await promise;
    clearTimeout(timer);
    await this.#worker.terminate();
  }
}
