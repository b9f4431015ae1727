import type { PackId } from "../../../base/ids.ts";
import type { WriteRequest } from "../../format.ts";
import { ChunkReader } from "../read/chunk-reader.ts";
import { FrameBuilder } from "./frame-builder.ts";
import type { Lane } from "./lane.ts";
import { FRAME_BYTES } from "./writer.ts";

/**
 * Stores the chunks of condemned packs once more, elsewhere: a prune condemned them while this run relied on them, and
 * condemnation is final. All chunks without another good copy are taken, which is never less than what the run uses.
 * Rejects when one cannot be read, and nothing is committed then.
 */
export async function copyOutPacks(
  lane: Lane,
  packs: readonly PackId[],
  request: Pick<WriteRequest, "compression" | "grouping" | "signal">,
): Promise<void> {
  const { repository } = lane;
  const { index } = repository;
  const reader = new ChunkReader(repository, { signal: request.signal });
  const setup = {
    repositories: [repository.keys.material],
    codec: request.compression.type,
    level: request.compression.level,
    frameBytes: FRAME_BYTES,
    grouping: request.grouping,
  };
  for (const pack of packs) {
    const record = index.record(pack);
    if (record === undefined) continue;
    const builder = new FrameBuilder(record.kind, setup, repository.options.random);
    for (const [number, frame] of record.frames.entries()) {
      for (let i = 0; i < frame.chunkLengths.length; i++) {
        const short = frame.chunkIds.subarray(i * 16, i * 16 + 16);
        if (
          index.find(record.kind, short, 0) !== undefined ||
          !lane.claim(record.kind, short, 0, frame.chunkLengths[i] as number)
        )
          continue;
        const bytes = await reader.chunk(record.kind, short);
        builder.add(bytes, repository.keys.chunkId(record.kind, bytes), 1, number);
        await sendFrames(lane, builder);
      }
      // A frame never mixes owners, and the old frames are the record of who owned what.
      builder.flush();
    }
    await sendFrames(lane, builder);
  }
  await lane.flush();
  if (lane.error !== undefined) throw lane.error;
}

async function sendFrames(lane: Lane, builder: FrameBuilder): Promise<void> {
  const frames = builder.take();
  if (frames.length === 0) return;
  lane.send(frames, 0, true);
  // A prune may have condemned hundreds of packs; they must not wait in memory all at once.
  await lane.room();
}
