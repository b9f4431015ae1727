/**
 * A backup in the order of `writer.ts`, in one thread: index, lease and left-over packs, chunks, packs, then the real commit.
 * Reading, cutting and the threads are left out; what they hand over is made here from files in memory.
 */
import { createHash } from "node:crypto";
import { asRunId, asSnapshotId, type PackId, type SnapshotId } from "../../src/base/ids.ts";
import type { HoldfastError } from "../../src/base/errors.ts";
import { randomHex } from "../../src/base/random.ts";
import { PendingChunks } from "../../src/formats/repository/index/pending-chunks.ts";
import { HeldLease } from "../../src/formats/repository/leases/leases.ts";
import { toPackRecord, type PackRecord } from "../../src/formats/repository/objects/index-object.ts";
import { finishPack, type PackFrame } from "../../src/formats/repository/objects/pack-directory.ts";
import { idStride } from "../../src/formats/repository/objects/pack-frames.ts";
import type { Repository } from "../../src/formats/repository/repository.ts";
import { commit, PendingIndex } from "../../src/formats/repository/write/commit.ts";
import { copyOutPacks } from "../../src/formats/repository/write/copy-out.ts";
import { FrameBuilder } from "../../src/formats/repository/write/frame-builder.ts";
import type { Lane } from "../../src/formats/repository/write/lane.ts";
import type { SealedFrame } from "../../src/formats/repository/write/messages.ts";
import { adoptUnindexedPacks } from "../../src/formats/repository/write/resume.ts";
import { writeTree, type ChunkSink, type Files } from "../formats/repository/prune/fixture.ts";

export interface SimulatedBackupOptions {
  readonly source: string;
  readonly previous: SnapshotId | undefined;
  /** Told the snapshot's id before anything is written. */
  readonly onId: (id: SnapshotId) => void;
  readonly onLease: (lease: HeldLease) => void;
  readonly onAdopted: () => void;
}

const signal = new AbortController().signal;

/** Resolves with the snapshot's id when it is committed; rejects as a backup does. */
export async function simulatedBackup(
  repository: Repository,
  files: Files,
  options: SimulatedBackupOptions,
): Promise<SnapshotId> {
  const { clock, host, random } = repository.options;
  const uid = asSnapshotId(randomHex(random, 16));
  options.onId(uid);
  await repository.checkStillThere(signal);
  await repository.loadIndex(() => undefined, signal);
  const lane = new LaneHere(repository);
  const time = new Date(clock.now()).toISOString();
  const adopting = adoptUnindexedPacks(
    repository,
    (record) => {
      options.onAdopted();
      lane.pending.add(record);
    },
    signal,
  );
  adopting.catch(() => undefined);
  await using lease = await HeldLease.acquire(repository, "write", signal);
  options.onLease(lease);
  await adopting;
  const root = await writeTree(lane, files, () => 1000);
  await lane.close();
  await commit({
    repository,
    lease,
    pending: lane.pending,
    snapshot: {
      uid,
      run: asRunId(randomHex(random, 16)),
      host,
      job: "home",
      source: options.source,
      sourceType: "files",
      time,
      end: new Date(clock.now()).toISOString(),
      mode: "incremental",
      previous: options.previous,
      root: Buffer.from(root).toString("hex"),
      status: "success",
      counts: { files: files.size, directories: 0, others: 0 },
      bytes: { source: 0, new: 0, stored: 0 },
      unreadable: [],
      unreadableCount: 0,
      changedWhileRead: 0,
      tool: "test",
      description: "",
      tags: [],
      facts: {},
    },
    usedPacks: lane.usedPacks,
    claimed: () => lane.claimed,
    copyOut: (packs) =>
      copyOutPacks(lane as unknown as Lane, packs, {
        compression: { type: "zstd", level: 1 },
        grouping: "frame",
        signal,
      }),
    signal,
  });
  return uid;
}

/** What a `Lane` is to its callers, with the pack thread's work done here. */
class LaneHere implements ChunkSink {
  readonly repository: Repository;
  readonly usedPacks = new Set<PackId>();
  readonly pending: PendingIndex;
  readonly error: HoldfastError | undefined = undefined;
  readonly #claims: readonly [PendingChunks, PendingChunks] = [new PendingChunks(), new PendingChunks()];
  readonly #builders: readonly [FrameBuilder, FrameBuilder];
  readonly #open = new Map<1 | 2, { parts: Uint8Array[]; frames: PackFrame[]; bytes: number }>();

  constructor(repository: Repository) {
    this.repository = repository;
    this.pending = new PendingIndex(repository);
    const setup = {
      repositories: [repository.keys.material],
      codec: "zstd" as const,
      level: 1,
      frameBytes: 16 * 1024,
      grouping: "frame" as const,
    };
    const { random } = repository.options;
    this.#builders = [new FrameBuilder(1, setup, random), new FrameBuilder(2, setup, random)];
  }

  get claimed(): number {
    return this.#claims[0].count + this.#claims[1].count;
  }

  claim(kind: 1 | 2, ids: Uint8Array, offset: number, length: number): boolean {
    return this.#claims[kind - 1]?.add(ids, offset, length) ?? false;
  }

  idOf(kind: 1 | 2, bytes: Uint8Array): Buffer {
    return this.repository.keys.chunkId(kind, bytes);
  }

  async add(kind: 1 | 2, bytes: Buffer, owner: number): Promise<Buffer> {
    const { index } = this.repository;
    const id = this.idOf(kind, bytes);
    const found = index.find(kind, id);
    if (found !== undefined) this.usedPacks.add(index.packOfFrame(found.frame));
    else if (this.claim(kind, id, 0, bytes.length)) {
      const builder = this.#builders[kind - 1] as FrameBuilder;
      builder.add(bytes, id, 1, owner);
      this.send(builder.take());
      await this.room();
    }
    return id;
  }

  send(frames: readonly SealedFrame[]): void {
    for (const { kind, codec, rawLength, chunkIds, chunkLengths, sealed } of frames) {
      const bytes = sealed[0] as Uint8Array;
      const pack = this.#open.get(kind) ?? { parts: [], frames: [], bytes: 0 };
      this.#open.set(kind, pack);
      pack.parts.push(bytes);
      pack.frames.push({ codec, row: 0, storedLength: bytes.length, rawLength, chunkIds, chunkLengths });
      pack.bytes += bytes.length;
    }
  }

  async room(): Promise<void> {
    for (const [kind, { bytes }] of this.#open)
      if (bytes >= (this.repository.options.packBytes ?? Infinity)) await this.#finish(kind);
  }

  async flush(): Promise<void> {
    for (const kind of [1, 2] as const) await this.#finish(kind);
    if (this.pending.due()) await this.pending.write(signal);
  }

  /** All that was added is put. */
  async close(): Promise<void> {
    for (const builder of this.#builders) {
      builder.flush();
      this.send(builder.take());
    }
    await this.flush();
  }

  async #finish(kind: 1 | 2): Promise<void> {
    const pack = this.#open.get(kind);
    this.#open.delete(kind);
    if (pack === undefined) return;
    const { sealer, target, index } = this.repository;
    const directory = { kind, rows: [sealer.currentRow()], frames: pack.frames };
    const bytes = Buffer.concat([...pack.parts, ...finishPack(sealer, directory, pack.bytes)]);
    const id = createHash("sha256").update(bytes).digest("hex") as PackId;
    await target.put(`packs/${id.slice(0, 2)}/${id}`, [bytes]);
    const record: PackRecord = toPackRecord(id, bytes.length, directory);
    index.addPack(record);
    this.usedPacks.add(id);
    const claims = this.#claims[kind - 1] as PendingChunks;
    for (const frame of record.frames)
      for (let i = 0; i < frame.chunkLengths.length; i++) claims.delete(frame.chunkIds, i * idStride(frame));
    this.pending.add(record);
  }
}
