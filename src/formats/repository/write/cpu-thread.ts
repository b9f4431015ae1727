import { asHoldfastError } from "../../../base/errors.ts";
import { KeySet } from "../keys/key-set.ts";
import { systemRandom } from "../../../codec/system-random.ts";
import { lowerPriority } from "../../../posix/priority.ts";
import { serveRuns, type RunPort } from "../../../posix/serve-runs.ts";
import { ContentReader, type CutBatch } from "./content-reader.ts";
import { FrameBuilder, transferOf } from "./frame-builder.ts";
import { FILE_PART, type FromCpu, type SealingSetup, type ToCpu } from "./messages.ts";

// A CPU thread of a backup: reads, cuts and hashes batches, and turns the chunks that the main thread claims into frames.

/** One backup. */
class CpuRun {
  readonly #port: RunPort;
  #reader: ContentReader | undefined;
  #frames: FrameBuilder | undefined;
  readonly #waiting = new Map<number, CutBatch>();

  constructor(port: RunPort) {
    this.#port = port;
  }

  #setup(sealing: SealingSetup, profile: number): void {
    const keys = sealing.repositories[0];
    if (keys === undefined) throw new Error("no repository");
    this.#reader = new ContentReader(new KeySet(keys), profile, () => Date.now());
    this.#frames = new FrameBuilder(1, sealing, systemRandom);
    this.#post({ type: "ready" });
  }

  #hold(cut: CutBatch): void {
    this.#waiting.set(cut.batch, cut);
    if (cut.next !== undefined) this.#post({ type: "continue", batch: cut.batch, segment: cut.next });
    // The ids are cloned, not transferred: they are needed again when the claims come.
    this.#post({ type: "results", results: cut.results, lengths: cut.lengths });
  }

  #store(batch: number, masks: Uint8Array): void {
    const cut = this.#waiting.get(batch);
    if (cut === undefined || this.#reader === undefined || this.#frames === undefined)
      throw new Error(`batch ${batch} is not waiting`);
    this.#waiting.delete(batch);
    const { results } = cut;
    let chunk = 0;
    for (let item = 0; item < results.files.length; item++) {
      for (let i = results.chunkCounts[item] as number; i > 0; i--, chunk++) {
        const mask = masks[chunk] as number;
        if (mask === 0) continue;
        const offset = cut.offsets[chunk] as number;
        this.#frames.add(
          cut.arena.subarray(offset, offset + (cut.lengths[chunk] as number)),
          results.ids.subarray(chunk * 32, chunk * 32 + 32),
          mask,
          cut.uids[item] as number,
        );
      }
      if (((results.status[item] as number) & 15) !== FILE_PART) this.#frames.endFile();
    }
    this.#sendFrames();
    if (cut.arena.length > 0) this.#reader.release(cut);
    this.#post({ type: "batchStored", batch });
  }

  #sendFrames(): void {
    const ready = this.#frames?.take() ?? [];
    if (ready.length > 0) this.#port.postMessage({ type: "frames", frames: ready } satisfies FromCpu, transferOf(ready));
  }

  #post(message: FromCpu): void {
    this.#port.postMessage(message);
  }

  receive(message: ToCpu): void {
    try {
      switch (message.type) {
        case "setup":
          lowerPriority(message.nice);
          this.#setup(message.sealing, message.profile);
          break;
        case "batch":
          if (this.#reader !== undefined) this.#hold(this.#reader.read(message.batch));
          break;
        case "stream":
          if (this.#reader !== undefined)
            this.#hold(this.#reader.readStream(message.batch, message.file, message.uid, message.bytes));
          break;
        case "claims":
          this.#store(message.batch, message.masks);
          break;
        case "flush":
          this.#frames?.flush();
          this.#sendFrames();
          this.#post({ type: "flushed" });
          break;
        case "stop":
          this.#port.close();
          break;
      }
    } catch (error) {
      this.#post({ type: "failed", error: asHoldfastError(error).toWire() });
    }
  }
}

serveRuns<ToCpu>((port) => {
  const run = new CpuRun(port);
  return (message) => run.receive(message);
});
