import { once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Thread, warmUp } from "../../../../src/formats/repository/write/thread.ts";
import type { FromCpu, ToCpu } from "../../../../src/formats/repository/write/messages.ts";

const started: Worker[] = [];
const note = (worker: Worker): number => started.push(worker);
beforeEach(() => void process.on("worker", note));
afterEach(() => {
  process.off("worker", note);
  started.length = 0;
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
  const ended = once(started[0] as Worker, "exit");
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
  await (started[0] as Worker).terminate();
  const fresh = thread();
  await turn();
  expect(started).toHaveLength(2);
  await fresh.stop({ type: "stop" });
});
