import { HoldfastError } from "../../../base/errors.ts";
import type { PruneOptions, SnapshotInfo } from "../../format.ts";
import type { PackRecord } from "../objects/index-object.ts";
import { readDirectory } from "../objects/pack-directory.ts";
import { ChunkReader } from "../read/chunk-reader.ts";
import { DEFAULT_PACK_BYTES, inParallel, type Repository } from "../repository.ts";
import type { Bitmap } from "../verify/bitmap.ts";
import { differenceOf } from "../verify/check-pack.ts";
import { JobThread, threadModule } from "../verify/job-thread.ts";
import { packName, type RepositoryView } from "../verify/repository-view.ts";
import { COPY, REGROUP, type Rewrite } from "./plan.ts";
import type { ChunkMove, RepackReply, RepackRequest } from "./repack-messages.ts";
import { orderByWalk } from "./walk-order.ts";

/** Chunks asked for in one message. */
const MOVES = 2000;

export interface RepackOptions {
  readonly repository: Repository;
  readonly view: RepositoryView;
  readonly live: Bitmap;
  readonly snapshots: readonly SnapshotInfo[];
  readonly rewrites: readonly Rewrite[];
  readonly compression: PruneOptions["compression"];
  readonly grouping: "frame" | "file";
  /** Nothing taken over stays under an older epoch. */
  readonly reseal: boolean;
  readonly signal: AbortSignal;
  readonly onPacked: (record: PackRecord) => void;
}

/** Stores what lives in the packs of `rewrites` in new packs, told one by one as they are put. Rejects at the first failure. */
export async function repack(options: RepackOptions): Promise<void> {
  const { repository, rewrites, compression, signal } = options;
  if (rewrites.length === 0) return;
  const moves = await planMoves(options);
  await using thread = new JobThread<RepackRequest, RepackReply>(threadModule(import.meta.url, "repack-thread"), "repack thread");
  const { spec, transfer } = repository.options.access.forThread();
  const run = async (request: RepackRequest, ports: readonly (typeof transfer)[number][] = []): Promise<void> => {
    signal.throwIfAborted();
    for (const record of (await thread.run(request, ports)).packed) options.onPacked(record);
  };
  await run(
    {
      type: "setup",
      target: spec,
      keys: repository.keys.material,
      packBytes: repository.options.packBytes ?? DEFAULT_PACK_BYTES,
      codec: compression.type,
      level: compression.level,
      reseal: options.reseal,
    },
    transfer,
  );
  for (const { pack, sizeBytes, frames } of rewrites) {
    const copied = [...frames.keys()].filter((number) => frames[number] === COPY);
    if (copied.length > 0) await run({ type: "copy", pack: { id: pack, sizeBytes }, frames: copied });
  }
  for (const { kind, chunks } of moves)
    for (let at = 0; at < chunks.length; at += MOVES) await run({ type: "regroup", kind, chunks: chunks.slice(at, at + MOVES) });
  await run({ type: "flush" });
}

async function planMoves(options: RepackOptions): Promise<{ kind: 1 | 2; chunks: ChunkMove[] }[]> {
  const { repository, view, live, rewrites, snapshots, signal } = options;
  const { index } = view;
  const wanted: number[] = [];
  for (const { pack, frames } of rewrites) {
    const first = index.pack(pack)?.firstFrame ?? 0;
    for (const [number, action] of frames.entries())
      if (action === REGROUP) for (const { chunk } of index.chunksOf(first + number)) if (live.has(chunk)) wanted.push(chunk);
  }
  if (wanted.length === 0) return [];
  const order = await orderByWalk({ view, wanted, snapshots, reader: new ChunkReader(repository, { signal }), signal });
  const sources = new Map(rewrites.map(({ pack, sizeBytes }) => [pack, { id: pack, sizeBytes }]));
  const moves: { kind: 1 | 2; chunks: ChunkMove[] }[] = [
    { kind: 1, chunks: [] },
    { kind: 2, chunks: [] },
  ];
  for (const chunk of order.chunks) {
    const { frame: number } = index.chunk(chunk);
    const frame = index.frame(number);
    const pack = sources.get(frame.packId);
    const firstFrame = index.pack(frame.packId)?.firstFrame ?? 0;
    if (pack === undefined) throw new HoldfastError("internal", `Pack ${frame.packId} is not rewritten`);
    // Without grouping, the old frames alone tell which chunks may share one.
    const owner = options.grouping === "file" ? number : order.ownerOf(number);
    moves[frame.kind - 1]?.chunks.push({ pack, frame: number - firstFrame, position: chunk - frame.firstChunk, owner });
  }
  return moves;
}

/**
 * Looks at new packs once more before anything may rely on them: the target must show each with its size, and its
 * directory must open and say what was put. A target that answered success and lost or cut one is found here.
 */
export async function readBackPacks(repository: Repository, records: readonly PackRecord[], signal: AbortSignal): Promise<void> {
  await inParallel(records, Math.min(8, repository.target.capabilities.concurrency), async (record) => {
    const name = packName(record.id);
    const stat = await repository.target.stat(name, { signal });
    const problem =
      stat === undefined
        ? "it is missing"
        : stat.sizeBytes !== record.sizeBytes
          ? `it has ${stat.sizeBytes} bytes instead of ${record.sizeBytes}`
          : differenceOf(
              record,
              await readDirectory(repository.sealer, record.sizeBytes, (offset, length) =>
                repository.target.get(name, { range: { offset, length }, signal }),
              ),
            );
    if (problem === undefined) return;
    throw new HoldfastError(
      "target_lied",
      `Target ${repository.name} said that it stored ${name}, but reading it back failed: ${problem}`,
      {
        hint: "Nothing was condemned or deleted. Test the target with `holdfast doctor` before you trust its backups.",
        data: { object: name },
      },
    );
  });
}
