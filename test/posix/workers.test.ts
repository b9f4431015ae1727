import { once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import type * as threads from "node:worker_threads";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { HoldfastError } from "../../src/base/errors.ts";
import { keepWorkers, warmUp, WorkerRun, type WorkerKind } from "../../src/posix/workers.ts";

/** How many workers the system still gives. */
const allowance = vi.hoisted(() => ({ left: Infinity }));
vi.mock("node:worker_threads", async (original) => {
  const real = await original<typeof threads>();
  class LimitedWorker extends real.Worker {
    constructor(...args: ConstructorParameters<typeof threads.Worker>) {
      if (allowance.left-- <= 0) throw new Error("no more threads");
      super(...args);
    }
  }
  return { ...real, Worker: LimitedWorker };
});

const started: threads.Worker[] = [];
const note = (worker: threads.Worker): number => started.push(worker);
beforeEach(() => void process.on("worker", note));
afterEach(() => {
  process.off("worker", note);
  started.length = 0;
  allowance.left = Infinity;
});

/** Counts the messages of its run, answers with how many came, and does as it is told. */
function kind(name: string): WorkerKind {
  const text = `
    import { serveRuns } from ${JSON.stringify(new URL("../../src/posix/serve-runs.ts", import.meta.url).href)};
    serveRuns((port) => {
      let count = 0;
      return (message) => {
        if (message === "crash") setImmediate(() => { throw new Error("it broke"); });
        else if (message === "hang") for (;;);
        else if (message === "stop") port.close();
        else port.postMessage(++count);
      };
    });`;
  const module = new URL(`data:text/javascript,${encodeURIComponent(text)}`);
  return { name, module, trackUnmanagedFds: true, stopMs: 200 };
}
const ANT = kind("ant");
const BEE = kind("bee");

class Recorded {
  readonly heard: unknown[] = [];
  readonly failures: HoldfastError[] = [];
  readonly run: WorkerRun<string, number>;
  #wake: (() => void) | undefined;

  constructor(of: WorkerKind = ANT, nice = 0) {
    this.run = new WorkerRun<string, number>(
      of,
      nice,
      (message) => {
        this.heard.push(message);
        this.#wake?.();
      },
      (error) => {
        this.failures.push(error);
        this.#wake?.();
      },
    );
  }

  async ask(message: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    this.run.post(message);
    await promise;
  }

  stop(): Promise<void> {
    return this.run.stop("stop");
  }
}

test("a run takes a worker that was started ahead, of its own kind only, and starts one where there is none", async () => {
  using _warm = warmUp([BEE, ANT]);
  await turn();
  expect(started).toHaveLength(2);
  const first = new Recorded();
  await turn();
  expect(started).toHaveLength(2);
  const second = new Recorded();
  await turn();
  expect(started).toHaveLength(3);
  await Promise.all([first.stop(), second.stop()]);
});

test("workers that nobody took end, and are not handed out any more", async () => {
  const warm = warmUp([ANT]);
  await turn();
  const ended = once(started[0] as threads.Worker, "exit");
  warm[Symbol.dispose]();
  await ended;
  const late = new Recorded();
  await turn();
  expect(started).toHaveLength(2);
  await late.stop();
});

test("a worker that ends before it is taken is forgotten", async () => {
  using _warm = warmUp([ANT]);
  await turn();
  await (started[0] as threads.Worker).terminate();
  const fresh = new Recorded();
  await turn();
  expect(started).toHaveLength(2);
  await fresh.stop();
});

test("where the system gives too few threads none is kept ahead, and whoever needs one learns why", async () => {
  allowance.left = 2;
  using _warm = warmUp([BEE, ANT, ANT, ANT]);
  await turn();
  expect(started).toHaveLength(2);
  await Promise.all(started.map((worker) => once(worker, "exit")));
  expect(() => new Recorded()).toThrow("no more threads");
});

test("a worker whose run has ended goes with it, unless somebody keeps workers", async () => {
  const alone = new Recorded();
  await alone.ask("hello");
  const ended = once(started[0] as threads.Worker, "exit");
  await alone.stop();
  await ended;
  expect(alone.failures).toEqual([]);
});

test("a kept worker serves run after run, each from its own beginning, until nobody keeps it", async () => {
  const keeping = keepWorkers();
  const alsoKeeping = keepWorkers();
  for (let i = 0; i < 3; i++) {
    const run = new Recorded();
    await run.ask("hello");
    await run.ask("again");
    expect(run.heard).toEqual([1, 2]);
    await run.stop();
    expect(run.failures).toEqual([]);
  }
  expect(started).toHaveLength(1);
  const ended = once(started[0] as threads.Worker, "exit");
  await keeping[Symbol.asyncDispose]();
  await keeping[Symbol.asyncDispose]();
  const last = new Recorded();
  await last.stop();
  expect(started).toHaveLength(1);
  await alsoKeeping[Symbol.asyncDispose]();
  await ended;
});

test("warming up counts the workers that are kept, and ends none of them", async () => {
  await using _keeping = keepWorkers();
  const first = new Recorded();
  await first.stop();
  const warm = warmUp([ANT, ANT]);
  await turn();
  expect(started).toHaveLength(2);
  const ended = once(started[1] as threads.Worker, "exit");
  warm[Symbol.dispose]();
  await ended;
  const second = new Recorded();
  await second.ask("hello");
  expect(started).toHaveLength(2);
  await second.stop();
});

test("a worker that stands back serves no run that should not", async () => {
  await using _keeping = keepWorkers();
  for (const nice of [10, 0, 5, 10, 5, 0]) await new Recorded(ANT, nice).stop();
  await turn();
  // 10, then 0, which goes on as 5, then 0 again.
  expect(started).toHaveLength(3);
});

test("a worker that broke is not kept, and its run hears of it once", async () => {
  await using _keeping = keepWorkers();
  const broken = new Recorded();
  await broken.ask("crash");
  expect(broken.failures.map(({ message }) => message)).toEqual(["The ant stopped: it broke"]);
  await broken.stop();
  const next = new Recorded();
  await next.ask("hello");
  expect(started).toHaveLength(2);
  expect(broken.failures).toHaveLength(1);
  await next.stop();
});

test("a run that does not end when it is asked is ended with its worker", async () => {
  await using _keeping = keepWorkers();
  const hanging = new Recorded();
  await hanging.ask("hello");
  hanging.run.post("hang");
  const ended = once(started[0] as threads.Worker, "exit");
  await hanging.stop();
  await ended;
  expect(hanging.failures).toEqual([]);
  const next = new Recorded();
  await turn();
  expect(started).toHaveLength(2);
  await next.stop();
});

test("disposing a run that was not asked to end stops its worker where it stands", async () => {
  await using _keeping = keepWorkers();
  {
    await using run = new Recorded().run;
    run.post("hang");
  }
  await using _next = new Recorded().run;
  await turn();
  expect(started).toHaveLength(2);
});

test("a kept worker that waits too long ends, and the next one may wait twice as long", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  try {
    await using _keeping = keepWorkers();
    for (const [position, patienceMs] of [60_000, 120_000, 240_000].entries()) {
      await new Recorded().stop();
      vi.advanceTimersByTime(patienceMs - 1);
      await new Recorded().stop();
      await turn();
      expect(started).toHaveLength(position + 1);
      const ended = once(started[position] as threads.Worker, "exit");
      vi.advanceTimersByTime(patienceMs);
      await ended;
    }
  } finally {
    vi.useRealTimers();
  }
});

test("a worker that was started ahead, taken and kept is not ended by whoever started it", async () => {
  await using _keeping = keepWorkers();
  {
    using _warm = warmUp([ANT]);
    await new Recorded().stop();
  }
  const run = new Recorded();
  await run.ask("hello");
  expect(started).toHaveLength(1);
  await run.stop();
});
