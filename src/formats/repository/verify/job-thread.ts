import { Worker, type MessagePort } from "node:worker_threads";
import { HoldfastError, type ErrorWire } from "../../../base/errors.ts";

/** What a thread of jobs is asked, and how it answers. */
export interface JobMessage<Request> {
  readonly job: number;
  readonly request: Request;
}

export type JobAnswer<Reply> =
  | { readonly job: number; readonly reply: Reply; readonly error?: undefined }
  | { readonly job: number; readonly reply?: undefined; readonly error: ErrorWire };

/** These threads hold buffers, not objects; the default lets each grow by 48 MiB first (measured: 40 MB less at the peak of a verify). */
const YOUNG_MB = 8;

interface Waiting<Reply> {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: unknown) => void;
}

/** A worker thread that answers requests one after the other. A crash rejects what waits, and everything asked later. */
export class JobThread<Request, Reply> implements AsyncDisposable {
  readonly #worker: Worker;
  readonly #name: string;
  readonly #waiting = new Map<number, Waiting<Reply>>();
  #next = 0;
  #drained: (() => void) | undefined;
  #failure: HoldfastError | undefined;

  constructor(module: URL, name: string) {
    this.#name = name;
    this.#worker = new Worker(module, { name, resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB } });
    this.#worker.on("message", (answer: JobAnswer<Reply>) => {
      const waiting = this.#waiting.get(answer.job);
      this.#waiting.delete(answer.job);
      if (answer.error === undefined) waiting?.resolve(answer.reply);
      else waiting?.reject(HoldfastError.fromWire(answer.error));
      if (this.#waiting.size === 0) this.#drained?.();
    });
    this.#worker.on("error", (error) => this.#fail(error instanceof Error ? error.message : String(error), error));
    this.#worker.on("exit", (code) => this.#fail(`it ended with code ${code}`, undefined));
  }

  /** Jobs under way. */
  get load(): number {
    return this.#waiting.size;
  }

  run(request: Request, transfer: readonly (ArrayBuffer | MessagePort)[] = []): Promise<Reply> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const job = this.#next++;
    return new Promise<Reply>((resolve, reject) => {
      this.#waiting.set(job, { resolve, reject });
      this.#worker.postMessage({ job, request } satisfies JobMessage<Request>, [...transfer]);
    });
  }

  #fail(why: string, cause: unknown): void {
    this.#failure ??= new HoldfastError("internal", `The ${this.#name} stopped: ${why}`, { cause });
    for (const waiting of this.#waiting.values()) waiting.reject(this.#failure);
    this.#waiting.clear();
    this.#drained?.();
  }

  /** Stops the thread when it has answered what it was asked: in the middle of decoding, that would abort the whole process. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#failure ??= new HoldfastError("cancelled", `The ${this.#name} was stopped`);
    if (this.#waiting.size > 0) await new Promise<void>((resolve) => (this.#drained = resolve));
    await this.#worker.terminate();
  }
}

/** The URL of a thread's module beside `base`, source or built. */
export function threadModule(base: string, name: string): URL {
  return new URL(`./${name}.${base.endsWith(".ts") ? "ts" : "js"}`, base);
}
