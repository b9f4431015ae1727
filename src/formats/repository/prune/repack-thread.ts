import { parentPort } from "node:worker_threads";
import { asHoldfastError } from "../../../base/errors.ts";
import { systemRandom } from "../../../codec/system-random.ts";
import { createTarget } from "../../../targets/registry.ts";
import { KeySet } from "../keys/key-set.ts";
import { Sealer } from "../keys/sealer.ts";
import type { JobAnswer, JobMessage } from "../verify/job-thread.ts";
import type { RepackReply, RepackRequest } from "./repack-messages.ts";
import { Repacker } from "./repacker.ts";

// Reads old packs and writes new ones for a prune, with a connection to the target of its own.

const port = parentPort;
if (port === null) throw new Error("repack-thread runs as a worker");

let repacker: Repacker | undefined;

async function perform(request: RepackRequest): Promise<RepackReply> {
  if (request.type === "setup") {
    const { packBytes, codec, level, reseal } = request;
    const target = await createTarget(request.target);
    repacker = new Repacker({
      target,
      sealer: new Sealer(new KeySet(request.keys), systemRandom),
      random: systemRandom,
      packBytes,
      codec,
      level,
      reseal,
    });
    return { packed: [] };
  }
  if (repacker === undefined) throw new Error("not set up");
  if (request.type === "copy") await repacker.copy(request.pack, request.frames);
  else if (request.type === "regroup") await repacker.regroup(request.kind, request.chunks);
  else await repacker.flush();
  return { packed: repacker.take() };
}

// One after the other: frames keep their order.
let queue: Promise<void> = Promise.resolve();
port.on("message", ({ job, request }: JobMessage<RepackRequest>) => {
  queue = queue.then(async () => {
    try {
      port.postMessage({ job, reply: await perform(request) } satisfies JobAnswer<RepackReply>);
    } catch (error) {
      port.postMessage({ job, error: asHoldfastError(error).toWire() } satisfies JobAnswer<RepackReply>);
    }
  });
});
