import { asHoldfastError, HoldfastError } from "../../../base/errors.ts";
import { WorkerRun } from "../../../posix/workers.ts";
import type { PackId } from "../../../base/ids.ts";
import { PendingChunks } from "../index/pending-chunks.ts";
import { HeldLease } from "../leases/leases.ts";
import type { PackRecord } from "../objects/index-object.ts";
import { idStride } from "../objects/pack-frames.ts";
import type { Repository } from "../repository.ts";
import { DEFAULT_PACK_BYTES } from "../repository.ts";
import { PendingIndex } from "./commit.ts";
import type { CommitBoundary } from "./commit-boundaries.ts";
import type { FromPack, PackFrameBytes, SealedFrame, ToPack } from "./messages.ts";
import { PACK_THREAD } from "./threads.ts";

/** Sealed bytes that may wait for one target, in packs: two open ones (data, trees), and one being put. */
const MAX_IN_FLIGHT_PACKS = 3;

/** One target of a backup: its repository, lease, pack thread and what it has taken so far. A failure here ends this lane only. */
export class Lane implements AsyncDisposable {
  readonly repository: Repository;
  readonly usedPacks = new Set<PackId>();
  readonly pending: PendingIndex;
  newBytes = 0;
  storedBytes = 0;
  error: HoldfastError | undefined;
  #lease: HeldLease | undefined;
  #thread: WorkerRun<ToPack, FromPack> | undefined;
  #nice: number | undefined;
  #inFlight = 0;
  #flushed: (() => void) | undefined;
  #indexing: Promise<void> = Promise.resolve();
  #signal: AbortSignal | undefined;
  /**
   * Chunks this run has to store, and has not yet. They belong to the run and not to the index, which outlives it: a run
   * that is dry or fails must leave nothing claimed, and one that goes on beside it must not wait for it.
   */
  readonly #claims: readonly [PendingChunks, PendingChunks] = [new PendingChunks(), new PendingChunks()];
  #waitingForRoom: (() => void)[] = [];
  readonly #changed: () => void;

  constructor(repository: Repository, changed: () => void) {
    this.repository = repository;
    this.pending = new PendingIndex(repository);
    this.#changed = changed;
  }

  /** Takes the lease. The pack thread starts now when much is `expected`, and else with the first frame: often there is none. */
  async start(signal: AbortSignal, nice: number, expected: boolean): Promise<void> {
    this.#signal = signal;
    this.#lease = await HeldLease.acquire(this.repository, "write", signal);
    await this.passed("after lease");
    this.#nice = nice;
    if (expected) this.#packThread();
  }

  /** The pack thread, started when it has not been; undefined before the lease and after the end. One that the system refuses fails the lane. */
  #packThread(): WorkerRun<ToPack, FromPack> | undefined {
    if (this.#thread !== undefined || this.#nice === undefined) return this.#thread;
    try {
      this.#thread = this.#begin(this.#nice);
    } catch (error) {
      this.fail(asHoldfastError(error));
    }
    return this.#thread;
  }

  #begin(nice: number): WorkerRun<ToPack, FromPack> {
    const { spec, transfer } = this.repository.options.access.forThread();
    const thread = new WorkerRun<ToPack, FromPack>(
      PACK_THREAD,
      nice,
      (message) => this.#onMessage(message),
      (error) => this.fail(error),
    );
    thread.post({ type: "setup", target: spec, keys: this.repository.keys.material, packBytes: this.packBytes, nice }, transfer);
    return thread;
  }

  get packBytes(): number {
    return this.repository.options.packBytes ?? DEFAULT_PACK_BYTES;
  }

  get lease(): HeldLease {
    if (this.#lease === undefined) throw new HoldfastError("internal", "The lane has not started");
    return this.#lease;
  }

  get alive(): boolean {
    return this.error === undefined;
  }

  /** False while more waits for the target than memory should hold. */
  get hasRoom(): boolean {
    return !this.alive || this.#inFlight < MAX_IN_FLIGHT_PACKS * this.packBytes;
  }

  /** Resolves when there is room, or the lane has failed. */
  async room(): Promise<void> {
    while (!this.hasRoom) await new Promise<void>((resolve) => this.#waitingForRoom.push(resolve));
  }

  /** Claims a chunk that no usable pack holds. True when it was not claimed before: whoever asked must store it. */
  claim(kind: 1 | 2, ids: Uint8Array, offset: number, length: number): boolean {
    return this.#claims[kind - 1]?.add(ids, offset, length) ?? false;
  }

  /** Chunks that were claimed and lie in no pack yet. */
  get claimed(): number {
    return this.#claims[0].count + this.#claims[1].count;
  }

  /** Tells whoever watches this repository that a boundary was passed. */
  async passed(name: CommitBoundary): Promise<void> {
    await this.repository.options.onCommitBoundary?.(name);
  }

  fail(error: HoldfastError): void {
    this.error ??= error;
    this.#flushed?.();
    this.#roomMade();
    this.#changed();
  }

  /** Hands frames over; `position` is this lane's place in the masks. The frames' buffers are given away when `last`. */
  send(frames: readonly SealedFrame[], position: number, last: boolean): void {
    if (!this.alive) return;
    const mine: PackFrameBytes[] = [];
    const transfer: ArrayBuffer[] = [];
    for (const frame of frames) {
      const sealed = frame.sealed[position];
      if (sealed === undefined) continue;
      const chunkIds = last ? frame.chunkIds : Uint8Array.from(frame.chunkIds);
      const chunkLengths = last ? frame.chunkLengths : Uint32Array.from(frame.chunkLengths);
      mine.push({ kind: frame.kind, codec: frame.codec, rawLength: frame.rawLength, chunkIds, chunkLengths, sealed });
      transfer.push(chunkIds.buffer, chunkLengths.buffer, sealed.buffer);
      this.#inFlight += sealed.length;
    }
    if (mine.length > 0) this.#packThread()?.post({ type: "frames", frames: mine }, transfer);
  }

  /** Resolves when every frame handed over lies in a pack on the target, or the lane has failed. Rejects when the run is cancelled. */
  async flush(): Promise<void> {
    if (!this.alive) return;
    const signal = this.#signal;
    signal?.throwIfAborted();
    if (this.#thread === undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#flushed = resolve;
    signal?.addEventListener("abort", () => resolve(), { once: true });
    this.#thread.post({ type: "flush" });
    await promise;
    signal?.throwIfAborted();
    await this.#indexing;
  }

  #roomMade(): void {
    for (const resolve of this.#waitingForRoom.splice(0)) resolve();
  }

  #onMessage(message: FromPack): void {
    switch (message.type) {
      case "packed":
        this.#packed(message.record);
        break;
      case "accepted":
        this.#inFlight -= message.bytes;
        this.#roomMade();
        this.#changed();
        break;
      case "flushed":
        this.#flushed?.();
        break;
      case "failed":
        this.fail(HoldfastError.fromWire(message.error));
        break;
      case "ready":
        break;
    }
  }

  #packed(record: PackRecord): void {
    this.repository.index.addPack(record);
    this.usedPacks.add(record.id);
    const claims = this.#claims[record.kind - 1] as PendingChunks;
    for (const frame of record.frames) {
      const stride = idStride(frame);
      for (let i = 0; i < frame.chunkLengths.length; i++) claims.delete(frame.chunkIds, i * stride);
    }
    this.pending.add(record);
    this.storedBytes += record.sizeBytes;
    this.passed("after pack put").catch((error: unknown) => this.fail(asHoldfastError(error)));
    if (this.pending.due())
      this.#indexing = this.#indexing
        .then(() => this.pending.write(this.#signal))
        .catch((error: unknown) => this.fail(asHoldfastError(error)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const thread = this.#thread;
    this.#thread = undefined;
    this.#nice = undefined;
    // Asked, so that it removes what it has begun to write.
    await thread?.stop({ type: "abort" });
    await this.#lease?.[Symbol.asyncDispose]();
  }
}
