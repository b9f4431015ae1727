import { parentPort } from "node:worker_threads";
import { asHoldfastError } from "../../../base/errors.ts";
import { KeySet } from "../keys/key-set.ts";
import { systemRandom } from "../../../codec/system-random.ts";
import { lowerPriority } from "../../../posix/priority.ts";
import { ContentReader, type CutBatch } from "./content-reader.ts";
import { FrameBuilder, transferOf } from "./frame-builder.ts";
import { FILE_PART, type FromCpu, type SealingSetup, type ToCpu } from "./messages.ts";

// A CPU thread of a backup: reads, cuts and hashes batches, and turns the chunks that the main thread claims into frames.

const port = parentPort;
if (port === null) throw new Error("cpu-thread runs as a worker");

let reader: ContentReader | undefined;
let frames: FrameBuilder | undefined;
const waiting = new Map<number, CutBatch>();

function setup(sealing: SealingSetup, profile: number): void {
  const keys = sealing.repositories[0];
  if (keys === undefined) throw new Error("no repository");
  reader = new ContentReader(new KeySet(keys), profile, () => Date.now());
  frames = new FrameBuilder(1, sealing, systemRandom);
  post({ type: "ready" });
}

function hold(cut: CutBatch): void {
  waiting.set(cut.batch, cut);
  if (cut.next !== undefined) post({ type: "continue", batch: cut.batch, segment: cut.next });
  // The ids are cloned, not transferred: they are needed again when the claims come.
  post({ type: "results", results: cut.results, lengths: cut.lengths });
}

function store(batch: number, masks: Uint8Array): void {
  const cut = waiting.get(batch);
  if (cut === undefined || reader === undefined || frames === undefined) throw new Error(`batch ${batch} is not waiting`);
  waiting.delete(batch);
  const { results } = cut;
  let chunk = 0;
  for (let item = 0; item < results.files.length; item++) {
    for (let i = results.chunkCounts[item] as number; i > 0; i--, chunk++) {
      const mask = masks[chunk] as number;
      if (mask === 0) continue;
      const offset = cut.offsets[chunk] as number;
      frames.add(
        cut.arena.subarray(offset, offset + (cut.lengths[chunk] as number)),
        results.ids.subarray(chunk * 32, chunk * 32 + 32),
        mask,
        cut.uids[item] as number,
      );
    }
    if (((results.status[item] as number) & 15) !== FILE_PART) frames.endFile();
  }
  sendFrames();
  if (cut.arena.length > 0) reader.release(cut);
  post({ type: "batchStored", batch });
}

function sendFrames(): void {
  const ready = frames?.take() ?? [];
  if (ready.length > 0) port?.postMessage({ type: "frames", frames: ready } satisfies FromCpu, transferOf(ready));
}

function post(message: FromCpu): void {
  port?.postMessage(message);
}

port.on("message", (message: ToCpu) => {
  try {
    switch (message.type) {
      case "setup":
        lowerPriority(message.nice);
        setup(message.sealing, message.profile);
        break;
      case "batch":
        if (reader !== undefined) hold(reader.read(message.batch));
        break;
      case "stream":
        if (reader !== undefined) hold(reader.readStream(message.batch, message.file, message.uid, message.bytes));
        break;
      case "claims":
        store(message.batch, message.masks);
        break;
      case "flush":
        frames?.flush();
        sendFrames();
        post({ type: "flushed" });
        break;
      case "stop":
        port.close();
        break;
    }
  } catch (error) {
    post({ type: "failed", error: asHoldfastError(error).toWire() });
  }
});
