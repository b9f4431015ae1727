import { throwIfAborted } from "../../../base/abort.ts";
import { HoldfastError } from "../../../base/errors.ts";
import type { PackId } from "../../../base/ids.ts";
import type { PackRecord } from "../objects/index-object.ts";
import { inParallel, type Repository } from "../repository.ts";
import type { PackReply } from "./messages.ts";
import { packName } from "./repository-view.ts";
import type { VerifyPool } from "./verify-pool.ts";

/** Bytes of whole packs in memory at a time, decoding not counted. */
const MAX_BYTES_IN_FLIGHT = 80 * 2 ** 20;

export interface PackToRead {
  readonly id: PackId;
  readonly sizeBytes: number;
}

export interface ReadPacksOptions {
  readonly repository: Repository;
  readonly pool: VerifyPool;
  readonly packs: readonly PackToRead[];
  /** What the index says of a pack. */
  readonly recordOf: (id: PackId) => PackRecord | undefined;
  /** Told of every pack, good or not. */
  readonly onPack: (id: PackId, reply: PackReply) => void;
  readonly onProgress: (packs: number, bytes: number) => void;
  readonly signal: AbortSignal;
}

/**
 * Reads whole packs and has every byte checked in threads, a few in flight. A pack that is gone or cannot be read whole is
 * reported with all its frames bad; other failures of the target reject. Returns the bytes read.
 */
export async function readPacks(options: ReadPacksOptions): Promise<number> {
  const { repository, pool, packs, signal } = options;
  const largest = packs.reduce((max, { sizeBytes }) => Math.max(max, sizeBytes), 1);
  const width = Math.max(1, Math.min(pool.size + 1, Math.floor(MAX_BYTES_IN_FLIGHT / largest)));
  let bytesRead = 0;
  let done = 0;
  await inParallel(packs, width, async ({ id }) => {
    throwIfAborted(signal);
    const record = options.recordOf(id);
    let reply: PackReply;
    try {
      const bytes = await repository.target.get(packName(id), { signal });
      bytesRead += bytes.length;
      reply = await pool.pack({ type: "pack", id, bytes, record });
    } catch (error) {
      throwIfAborted(signal);
      if (
        !(error instanceof HoldfastError) ||
        (error.code !== "target_missing_object" && error.code !== "object_damaged" && error.code !== "target_io")
      )
        throw error;
      reply = { type: "pack", problems: [error.message], badFrames: (record?.frames ?? []).map((_, number) => number) };
    }
    options.onPack(id, reply);
    options.onProgress(++done, bytesRead);
  });
  return bytesRead;
}
