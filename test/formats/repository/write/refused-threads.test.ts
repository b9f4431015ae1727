import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type * as threads from "node:worker_threads";
import { afterEach, expect, test, vi } from "vitest";
import { MemoryTarget } from "../../../support/memory-target.ts";
import { temporaryTree } from "../../../support/tree-literal.ts";
import { backUp, backUpTo, contentsOf, createStore, noise } from "./fixture.ts";

/** Threads by name that the system refuses. */
const refused = vi.hoisted(() => new Set<string>());
vi.mock("node:worker_threads", async (original) => {
  const real = await original<typeof threads>();
  class LimitedWorker extends real.Worker {
    constructor(...args: ConstructorParameters<typeof threads.Worker>) {
      if (refused.has(args[1]?.name ?? "")) throw new Error(`no more threads for a ${args[1]?.name}`);
      super(...args);
    }
  }
  return { ...real, Worker: LimitedWorker };
});
afterEach(() => refused.clear());

// Where a baseline is there threads are started late, in the middle of messages of others.
test.each(["cpu-thread", "pack-thread"])(
  "a %s that is refused when it is first needed fails the backup, and nothing else",
  async (name) => {
    using source = temporaryTree({ a: noise(100_000, 1), b: "b" });
    const target = new MemoryTarget();
    await using store = await createStore(target);
    const baseline = await backUp(store, [source.path]);
    writeFileSync(join(source.path, "a"), noise(100_000, 2));
    refused.add(name);
    const failed = await backUpTo([store], [source.path], { baseline }).then(
      ([result]) => result !== undefined && "error" in result && result.error?.message,
      (error: unknown) => (error as Error).message,
    );
    expect(failed).toContain(`no more threads for a ${name}`);
    refused.clear();
    const again = await backUp(store, [source.path], { baseline });
    expect((await contentsOf(target, again, source.path))["a"]).toBe(noise(100_000, 2).toString("latin1"));
  },
);
