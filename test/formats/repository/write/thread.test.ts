import { once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import type * as threads from "node:worker_threads";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Thread, warmUp } from "../../../../src/formats/repository/write/thread.ts";
import type { FromCpu, ToCpu } from "../../../../src/formats/repository/write/messages.ts";

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

function thread(): Thread<ToCpu, FromCpu> {
  return new Thread<ToCpu, FromCpu>(
    "cpu-thread",
    () => undefined,
    (error) => {
      throw error;
    },
  );
}

test("a thread takes a worker that was started ahead, of its own module only, and starts one where there is none", async () => {
  using _threads = warmUp(["tree-thread", "cpu-thread"]);
  await turn();
  expect(started).toHaveLength(2);
  const first = thread();
  await turn();
  expect(started).toHaveLength(2);
  const second = thread();
  await turn();
  expect(started).toHaveLength(3);
  await Promise.all([first.stop({ type: "stop" }), second.stop({ type: "stop" })]);
});

test("workers that nobody took end, and are not handed out any more", async () => {
  const threads = warmUp(["cpu-thread"]);
  await turn();
  const ended = once(started[0] as threads.Worker, "exit");
  threads[Symbol.dispose]();
  await ended;
  const late = thread();
  await turn();
  expect(started).toHaveLength(2);
  await late.stop({ type: "stop" });
});

test("a worker that ends before it is taken is forgotten", async () => {
  using _threads = warmUp(["cpu-thread"]);
  await turn();
  await (started[0] as threads.Worker).terminate();
  const fresh = thread();
  await turn();
  expect(started).toHaveLength(2);
  await fresh.stop({ type: "stop" });
});

test("where the system gives too few threads none is kept ahead, and whoever needs one learns why", async () => {
  allowance.left = 2;
  using _threads = warmUp(["tree-thread", "cpu-thread", "cpu-thread", "pack-thread"]);
  await turn();
  expect(started).toHaveLength(2);
  await Promise.all(started.map((worker) => once(worker, "exit")));
  expect(thread).toThrow("no more threads");
});
