import { workerData, type MessagePort } from "node:worker_threads";
import { serveTarget } from "../../../src/targets/thread/target-host.ts";
import { FaultyTarget } from "../../support/faulty-target.ts";
import { MemoryTarget } from "../../support/memory-target.ts";

// Run by target-thread.test.ts: a thread that dies in the middle of a get.

const { port } = workerData as { readonly port: MessagePort };
const target = new FaultyTarget(new MemoryTarget(), [{ verb: "get", kind: "hang" }]);
serveTarget(port, target);
const poll = setInterval(() => {
  if (target.fired === 0) return;
  clearInterval(poll);
  throw new Error("the thread dies");
}, 1);
