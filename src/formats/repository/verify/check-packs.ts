import { throwIfAborted } from "../../../base/abort.ts";
import { HoldfastError } from "../../../base/errors.ts";
import type { PackId } from "../../../base/ids.ts";
import type { PackRecord } from "../objects/index-object.ts";
import { readDirectory } from "../objects/pack-directory.ts";
import { inParallel, type Repository } from "../repository.ts";
import { Bitmap } from "./bitmap.ts";
import { differenceOf } from "./check-pack.ts";
import { PACK_RANK, packName, rankOf, type RepositoryView, type ViewPack } from "./repository-view.ts";

const FETCHES = 8;

/** What is known to be wrong with packs, and the chunk locations that must not be counted on. */
export class PackHealth {
  readonly problems = new Map<PackId, string[]>();
  readonly #view: RepositoryView;
  readonly #bad: Bitmap;

  /** Packs that are absent, cut short or marked damaged are bad until reading proves their frames. */
  constructor(view: RepositoryView) {
    this.#view = view;
    this.#bad = new Bitmap(view.index.chunkCount);
    for (const pack of view.packs.values()) {
      if (pack.indexed === undefined || rankOf(pack) < PACK_RANK.damaged) continue;
      this.#setAll(pack.id, true);
      if (pack.damaged) this.problem(pack.id, "it is marked as damaged");
    }
  }

  problem(pack: PackId, message: string): void {
    const known = this.problems.get(pack);
    if (known === undefined) this.problems.set(pack, [message]);
    else known.push(message);
  }

  /** What reading a whole pack gave: only these frames are bad. */
  proven(pack: PackId, badFrames: readonly number[]): void {
    this.#setAll(pack, false);
    const info = this.#view.index.pack(pack);
    if (info === undefined) return;
    for (const frame of badFrames)
      for (const { chunk } of this.#view.index.chunksOf(info.firstFrame + frame)) this.#bad.add(chunk);
  }

  /** True when no copy of the chunk can be counted on. */
  isLost(kind: 1 | 2, id: Uint8Array): boolean {
    const copies = this.#view.index.locations(kind, id);
    return copies.length > 0 && copies.every(({ chunk }) => this.#bad.has(chunk));
  }

  /** Live chunks of which no copy can be counted on: `visit` gets the first 16 bytes of each id. */
  lostChunks(live: Bitmap, visit: (kind: 1 | 2, id: Uint8Array) => void): void {
    const { index } = this.#view;
    const id = new Uint8Array(16);
    for (const { kind, firstFrame, frameCount } of index.packs())
      for (let frame = firstFrame; frame < firstFrame + frameCount; frame++)
        for (const { chunk } of index.chunksOf(frame)) {
          if (!live.has(chunk) || !this.#bad.has(chunk)) continue;
          index.copyChunkId(chunk, id, 0);
          if (this.isLost(kind, id)) visit(kind, id);
        }
  }

  #setAll(id: PackId, bad: boolean): void {
    const pack = this.#view.index.pack(id);
    if (pack === undefined) return;
    for (let frame = pack.firstFrame; frame < pack.firstFrame + pack.frameCount; frame++)
      for (const { chunk } of this.#view.index.chunksOf(frame)) {
        if (bad) this.#bad.add(chunk);
        else this.#bad.delete(chunk);
      }
  }
}

/** Packs the index names are there with the right size. Returns how many are not. */
export function checkPresence(view: RepositoryView, health: PackHealth): number {
  let failed = 0;
  for (const pack of view.packs.values()) {
    const problem = presenceProblem(pack);
    if (problem === undefined) continue;
    failed++;
    health.problem(pack.id, problem);
  }
  return failed;
}

function presenceProblem({ indexed, listed, condemned }: ViewPack): string | undefined {
  if (indexed === undefined) return undefined;
  // A prune that has deleted a pack keeps its tombstone; index objects of others may still name it.
  if (listed === undefined) return condemned.length > 0 ? undefined : "it is missing";
  return listed.sizeBytes === indexed.sizeBytes ? undefined : `it has ${listed.sizeBytes} bytes instead of ${indexed.sizeBytes}`;
}

/** Reads the directory of each pack by its tail and compares it with the index. Returns how many fail. */
export async function checkDirectories(
  repository: Repository,
  packs: readonly ViewPack[],
  recordOf: (id: PackId) => PackRecord | undefined,
  health: PackHealth,
  signal: AbortSignal,
): Promise<number> {
  let failed = 0;
  await inParallel(packs, Math.min(FETCHES, repository.target.capabilities.concurrency), async ({ id, listed }) => {
    throwIfAborted(signal);
    if (listed === undefined) return;
    const name = packName(id);
    try {
      const directory = await readDirectory(repository.sealer, listed.sizeBytes, (offset, length) =>
        repository.target.get(name, { range: { offset, length }, signal }),
      );
      const record = recordOf(id);
      const difference = record === undefined ? undefined : differenceOf(record, directory);
      if (difference === undefined) return;
      health.problem(id, `its directory and the index differ in ${difference}`);
    } catch (error) {
      throwIfAborted(signal);
      if (!(error instanceof HoldfastError) || error.transient) throw error;
      if (error.code !== "target_missing_object" && !error.code.startsWith("object_")) throw error;
      health.problem(id, `its directory cannot be read: ${error.message}`);
    }
    failed++;
  });
  return failed;
}
