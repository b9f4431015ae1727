import { parentPort } from "node:worker_threads";
import { asHoldfastError } from "../../../base/errors.ts";
import { systemRandom } from "../../../codec/system-random.ts";
import { KeySet } from "../keys/key-set.ts";
import { Sealer } from "../keys/sealer.ts";
import { checkPack } from "./check-pack.ts";
import type { JobAnswer, JobMessage } from "./job-thread.ts";
import type { NodesReply, VerifyReply, VerifyRequest } from "./messages.ts";
import { readNodes } from "./read-nodes.ts";
import { release } from "./release.ts";

// Decrypts, decompresses and checks for verify, repair and the mark of a prune; holds no state but the keys.

const port = parentPort;
if (port === null) throw new Error("verify-thread runs as a worker");

let sealer: Sealer | undefined;

function answer(request: VerifyRequest): VerifyReply {
  if (request.type === "setup") {
    sealer = new Sealer(new KeySet(request.keys), systemRandom);
    return { type: "ready" };
  }
  if (sealer === undefined) throw new Error("not set up");
  return request.type === "nodes" ? readNodes(sealer, request) : checkPack(sealer, request);
}

function transferOf(reply: NodesReply): ArrayBuffer[] {
  return [reply.treeIds.buffer, reply.dataIds.buffer] as ArrayBuffer[];
}

port.on("message", ({ job, request }: JobMessage<VerifyRequest>) => {
  try {
    const reply = answer(request);
    if (request.type === "pack") release(request.bytes);
    port.postMessage({ job, reply } satisfies JobAnswer<VerifyReply>, reply.type === "nodes" ? transferOf(reply) : []);
  } catch (error) {
    port.postMessage({ job, error: asHoldfastError(error).toWire() } satisfies JobAnswer<VerifyReply>);
  }
});
