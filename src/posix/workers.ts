/**
 * Worker threads that serve one run after the other. A worker's module calls `serveRuns` (serve-runs.ts) and keeps what a run
 * needs with the run, never with the module; so a worker whose run has ended is as good as a fresh one.
 *
 * A daemon keeps such workers (`keepWorkers`): koffi frees nothing of what it holds for a thread when that thread ends (3.3.4:
 * some 60 kB and three memory mappings), and a process may have 65,530 mappings. But each costs 10 MB while it waits, so one
 * that has waited for long ends after all, and each time that happens the next are given twice as long: however long the
 * process lives, and whatever its rhythm is, few threads end. Whoever runs once lets them end at once.
 */
import { MessageChannel, Worker, type MessagePort } from "node:worker_threads";
import { asHoldfastError, HoldfastError } from "../base/errors.ts";
import type { ToWorker } from "./serve-runs.ts";

/** What a worker is made of. One object a kind: workers are told apart by it. */
export interface WorkerKind {
  readonly name: string;
  /** The module that calls `serveRuns`. */
  readonly module: URL;
  /** False where descriptors are opened through the C library, unknown to Node. */
  readonly trackUnmanagedFds: boolean;
  /** Where set, smaller than Node's default: for threads of short-lived buffers a larger nursery is only memory. */
  readonly youngGenerationMb?: number;
  /** How long a run that was asked to end may take before its worker is stopped where it stands. */
  readonly stopMs: number;
}

/** The URL of a worker's module beside `base` (an `import.meta.url`), source or built. */
export function workerModule(base: string, name: string): URL {
  return new URL(`./${name}.${base.endsWith(".ts") ? "ts" : "js"}`, base);
}

type Ended = (how: string, cause?: unknown) => void;

class KnownWorker {
  readonly kind: WorkerKind;
  readonly worker: Worker;
  /** How far its thread stands back by now, which cannot be taken back. */
  nice = 0;
  ended = false;
  /** Since when it waits for another run, by `performance.now()`; undefined where it has had none. */
  keptSinceMs: number | undefined;
  /** Whom its end is told. */
  onEnd: Ended | undefined;

  constructor(kind: WorkerKind) {
    this.kind = kind;
    this.worker = new Worker(kind.module, {
      name: kind.name,
      trackUnmanagedFds: kind.trackUnmanagedFds,
      resourceLimits: kind.youngGenerationMb === undefined ? {} : { maxYoungGenerationSizeMb: kind.youngGenerationMb },
    });
    this.worker.on("error", (error) => this.#end(`stopped: ${error instanceof Error ? error.message : String(error)}`, error));
    this.worker.on("exit", (code) => this.#end(`ended with code ${code} before its work was done`));
  }

  #end(...how: Parameters<Ended>): void {
    this.ended = true;
    const tell = this.onEnd;
    this.onEnd = undefined;
    tell?.(...how);
  }

  async terminate(): Promise<void> {
    this.onEnd = undefined;
    await this.worker.terminate();
  }
}

/** Workers without a run, started ahead or kept; the one that waits longest is first. */
const idle = new Set<KnownWorker>();
let keepers = 0;

const FIRST_PATIENCE_MS = 60_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** How long a kept worker may wait for its next run. */
let patienceMs = FIRST_PATIENCE_MS;
let looking: NodeJS.Timeout | undefined;

function setIdle(worker: KnownWorker): void {
  worker.onEnd = () => void idle.delete(worker);
  worker.worker.unref();
  idle.add(worker);
}

function keep(worker: KnownWorker): void {
  setIdle(worker);
  worker.worker.postMessage("rest" satisfies ToWorker);
  worker.keptSinceMs = performance.now();
  looking ??= setTimeout(lookAtKept, patienceMs).unref();
}

function lookAtKept(): void {
  const waiting = [...idle].filter(({ keptSinceMs }) => keptSinceMs !== undefined);
  const waitedMs = ({ keptSinceMs }: KnownWorker): number => performance.now() - (keptSinceMs as number);
  const late = waiting.filter((worker) => waitedMs(worker) >= patienceMs);
  const first = waiting[late.length];
  if (late.length > 0) patienceMs = Math.min(patienceMs * 2, LONGEST_TIMER_MS);
  void endIdle(late);
  looking = first && setTimeout(lookAtKept, Math.max(1, patienceMs - waitedMs(first))).unref();
}

async function endIdle(workers: Iterable<KnownWorker>): Promise<void> {
  const ending = [...workers].filter((worker) => idle.delete(worker));
  await Promise.all(ending.map((worker) => worker.terminate()));
}

/**
 * From now on a worker whose run has ended well waits for the next one, until the last of those who want it so has disposed:
 * then they all end. There are never more of a kind than had runs at one time.
 */
export function keepWorkers(): AsyncDisposable {
  keepers++;
  let kept = true;
  return {
    [Symbol.asyncDispose]: async () => {
      if (!kept) return;
      kept = false;
      if (--keepers > 0) return;
      clearTimeout(looking);
      looking = undefined;
      patienceMs = FIRST_PATIENCE_MS;
      await endIdle(idle);
    },
  };
}

/**
 * Sees to it that so many workers are there for the next runs of these kinds: one takes some 60 ms to begin, in which the
 * caller may open what it needs. Disposing ends those that were started here and that nobody took. One that fails before it
 * is taken is forgotten; where one cannot even be started none is kept, and whoever needs one then learns why.
 */
export function warmUp(kinds: readonly WorkerKind[]): Disposable {
  const started = new Set<KnownWorker>();
  const there = new Set(idle);
  // One that was taken and has come back is kept, and not ours to end any more.
  const end = (): void => void endIdle([...started].filter(({ keptSinceMs }) => keptSinceMs === undefined));
  try {
    for (const kind of kinds) {
      const ready = [...there].find((worker) => worker.kind === kind && worker.nice === 0);
      if (ready !== undefined) {
        there.delete(ready);
        continue;
      }
      const worker = new KnownWorker(kind);
      setIdle(worker);
      started.add(worker);
    }
  } catch {
    end();
  }
  return { [Symbol.dispose]: end };
}

/** Of the idle ones the one that stands back furthest without standing back too far, and came last; else a new one. */
function take(kind: WorkerKind, nice: number): KnownWorker {
  let best: KnownWorker | undefined;
  for (const worker of idle)
    if (worker.kind === kind && worker.nice <= nice && (best === undefined || worker.nice >= best.nice)) best = worker;
  if (best === undefined) return new KnownWorker(kind);
  idle.delete(best);
  best.keptSinceMs = undefined;
  best.worker.ref();
  return best;
}

/**
 * One run of a worker, with typed messages either way. It is ended by asking (`stop`): a thread that is stopped while it begins
 * to compress aborts the whole process (Node 26: "close before init" of a zlib stream). Disposing one that was not asked stops
 * its worker where it stands.
 */
export class WorkerRun<To, From> implements AsyncDisposable {
  readonly #worker: KnownWorker;
  readonly #port: MessagePort;
  /** The run closed its side: it has ended, and all it had to say was said. */
  readonly #closed: Promise<void>;
  readonly #died = Promise.withResolvers<void>();
  #ended = false;

  /**
   * Takes an idle worker, or starts one; throws where the system refuses that. `nice` is how far the run will stand back
   * (`lowerPriority`). `onFailure` hears of the thread's death, of what `onMessage` throws, and of messages that were lost.
   */
  constructor(kind: WorkerKind, nice: number, onMessage: (message: From) => void, onFailure: (error: HoldfastError) => void) {
    this.#worker = take(kind, nice);
    this.#worker.nice = nice;
    const { port1: near, port2: far } = new MessageChannel();
    this.#port = near;
    this.#closed = new Promise((resolve) => near.once("close", resolve));
    near.on("message", (message: From) => {
      if (this.#ended) return;
      try {
        onMessage(message);
      } catch (error) {
        onFailure(asHoldfastError(error));
      }
    });
    const fail = (what: string, cause: unknown): void => {
      if (!this.#ended) onFailure(new HoldfastError("internal", what, { cause }));
    };
    near.on("messageerror", (error) => fail(`A message of the ${kind.name} was lost: ${error.message}`, error));
    this.#worker.onEnd = (how, cause) => {
      this.#died.resolve();
      fail(`The ${kind.name} ${how}`, cause);
    };
    this.#worker.worker.postMessage(far satisfies ToWorker, [far]);
  }

  post(message: To, transfer: readonly (ArrayBuffer | MessagePort)[] = []): void {
    this.#port.postMessage(message, [...transfer]);
  }

  /** Asks the run to end, which it does by closing its port; where that takes too long, its worker is stopped where it stands. */
  async stop(message: To): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#worker.ended) return;
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, this.#worker.kind.stopMs);
    this.post(message);
    const done = await Promise.race([
      this.#closed.then(() => true),
      this.#died.promise.then(() => false),
      late.then(() => false),
    ]);
    clearTimeout(timer);
    this.#port.close();
    if (done && keepers > 0 && !this.#worker.ended) keep(this.#worker);
    else await this.#worker.terminate();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.#port.close();
    await this.#worker.terminate();
  }
}
