import { availableParallelism } from "node:os";
import { asHoldfastError, HoldfastError } from "../../../base/errors.ts";
import { WorkerRun } from "../../../posix/workers.ts";
import type { FileBatch, FileResults, FromCpu, SealedFrame, SealingSetup, Segment, ToCpu } from "./messages.ts";
import type { WriteLimits } from "../../format.ts";
import { SEGMENT_BYTES } from "./content-reader.ts";
import { CPU_THREAD } from "./threads.ts";

/** Batches a CPU thread has at a time: one in work, one whose claims are on the way. */
const PER_THREAD = 2;
const MAX_THREADS = 8;
/** A stream is handed over in pieces of this size. */
const STREAM_PIECE = 2 ** 20;

export interface CpuPoolEvents {
  readonly onResults: (batch: number, results: FileResults, lengths: Uint32Array) => void;
  readonly onFrames: (frames: readonly SealedFrame[]) => void;
  readonly onFailure: (error: HoldfastError) => void;
  /** False while the targets have enough waiting, or as much was read as may be. */
  readonly hasRoom: () => boolean;
  /** So many bytes of content are about to be read. */
  readonly onRead: (bytes: number) => void;
  /** Something moved: a batch was stored, a thread was flushed. */
  readonly onChange: () => void;
}

interface Cpu {
  thread: WorkerRun<ToCpu, FromCpu> | undefined;
  outstanding: number;
  flushed: boolean;
}

/** How many CPU threads a backup has. */
export function cpuThreads(limits: Pick<WriteLimits, "cpuThreads"> | undefined): number {
  return limits?.cpuThreads ?? Math.min(Math.max(availableParallelism(), 1), MAX_THREADS);
}

/** The CPU threads of a backup and the batches on their way through them. */
export class CpuPool implements AsyncDisposable {
  readonly #events: CpuPoolEvents;
  #cpus: Cpu[] = [];
  #setup: ToCpu | undefined;
  #nice = 0;
  readonly #queue: FileBatch[] = [];
  readonly #owner = new Map<number, { cpu: Cpu; batch: FileBatch | undefined }>();
  #nextBatch = 0;
  #streams = 0;
  #notify: (() => void)[] = [];
  #flushing = false;
  #disposed = false;

  constructor(events: CpuPoolEvents) {
    this.#events = events;
  }

  /**
   * Gets the threads ready. They start now when much is `expected`, and else each with its first batch: where little has
   * changed, one or none is needed, and a thread costs 30 MB and 50 ms of a core.
   */
  start(sealing: SealingSetup, profile: number, limits: Pick<WriteLimits, "cpuThreads" | "nice">, expected: boolean): void {
    this.#nice = limits.nice;
    this.#setup = { type: "setup", sealing, profile, nice: limits.nice };
    for (let i = cpuThreads(limits); i > 0; i--) this.#cpus.push({ thread: undefined, outstanding: 0, flushed: false });
    if (expected) for (const cpu of this.#cpus) this.#post(cpu);
  }

  /** Sends to a thread, which is started when it has not been. One that the system refuses ends the run: see `onFailure`. */
  #post(cpu: Cpu, message?: ToCpu, transfer?: ArrayBuffer[]): void {
    try {
      cpu.thread ??= this.#begin(cpu);
    } catch (error) {
      this.#events.onFailure(asHoldfastError(error));
      return;
    }
    if (message !== undefined) cpu.thread.post(message, transfer);
  }

  #begin(cpu: Cpu): WorkerRun<ToCpu, FromCpu> {
    const thread = new WorkerRun<ToCpu, FromCpu>(
      CPU_THREAD,
      this.#nice,
      (answer) => this.#onMessage(cpu, answer),
      (error) => this.#events.onFailure(error),
    );
    thread.post(this.#setup as ToCpu);
    return thread;
  }

  /** True when nothing waits and nothing is under way. */
  get idle(): boolean {
    return this.#queue.length === 0 && this.#owner.size === 0 && this.#streams === 0;
  }

  /** Batches that the threads have at a time. */
  get capacity(): number {
    return this.#cpus.length * PER_THREAD;
  }

  get flushed(): boolean {
    return this.#cpus.every((cpu) => cpu.flushed || cpu.thread === undefined);
  }

  enqueue(batch: FileBatch): void {
    this.#queue.push(batch);
    this.dispatch();
  }

  /** Hands out what can be handed out. */
  dispatch(): void {
    while (this.#queue.length > 0 && this.#events.hasRoom()) {
      const cpu = this.#freest();
      if (cpu === undefined || cpu.outstanding >= PER_THREAD) break;
      const batch = this.#queue.shift() as FileBatch;
      const number = this.#nextBatch++;
      this.#owner.set(number, { cpu, batch });
      cpu.outstanding++;
      this.#events.onRead(contentBytes(batch));
      this.#post(cpu, { type: "batch", batch: { ...batch, batch: number } });
    }
    const waiting = this.#notify;
    this.#notify = [];
    for (const wake of waiting) wake();
  }

  answer(batch: number, masks: Uint8Array<ArrayBuffer>): void {
    this.#owner.get(batch)?.cpu.thread?.post({ type: "claims", batch, masks }, [masks.buffer]);
  }

  /** A once-stream goes to one thread, piece by piece, in order. */
  openStream(file: number, uid: number): { write(bytes: Uint8Array): Promise<void>; end(): Promise<void> } {
    const cpu = this.#freest();
    if (cpu === undefined) throw new HoldfastError("internal", "The CPU threads have not started");
    this.#streams++;
    const send = async (bytes: Uint8Array<ArrayBuffer> | undefined): Promise<void> => {
      while (!this.#disposed && (cpu.outstanding >= PER_THREAD * 2 || !this.#events.hasRoom()))
        await new Promise<void>((resolve) => this.#notify.push(resolve));
      if (this.#disposed) throw new HoldfastError("cancelled", "The backup has ended before its stream");
      const number = this.#nextBatch++;
      this.#owner.set(number, { cpu, batch: undefined });
      cpu.outstanding++;
      this.#events.onRead(bytes?.length ?? 0);
      this.#post(cpu, { type: "stream", batch: number, file, uid, bytes }, bytes === undefined ? [] : [bytes.buffer]);
    };
    return {
      write: async (bytes) => {
        for (let at = 0; at < bytes.length; at += STREAM_PIECE) await send(new Uint8Array(bytes.subarray(at, at + STREAM_PIECE)));
      },
      end: async () => {
        await send(undefined);
        this.#streams--;
      },
    };
  }

  /** Tells every thread to hand over its open frames; `flushed` turns true once all have. */
  flush(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    for (const cpu of this.#cpus) cpu.thread?.post({ type: "flush" });
  }

  #freest(): Cpu | undefined {
    let best: Cpu | undefined;
    for (const cpu of this.#cpus) if (best === undefined || cpu.outstanding < best.outstanding) best = cpu;
    return best;
  }

  #onMessage(cpu: Cpu, message: FromCpu): void {
    switch (message.type) {
      case "results":
        this.#events.onResults(message.results.batch, message.results, message.lengths);
        break;
      case "continue":
        this.#continue(message.batch, message.segment);
        break;
      case "frames":
        this.#events.onFrames(message.frames);
        break;
      case "batchStored":
        cpu.outstanding--;
        this.#owner.delete(message.batch);
        this.dispatch();
        break;
      case "flushed":
        cpu.flushed = true;
        break;
      case "failed":
        this.#events.onFailure(HoldfastError.fromWire(message.error));
        break;
      case "ready":
        break;
    }
    this.#events.onChange();
  }

  /** The next part of a large file goes first: its reader's cache is warm, and the file ends sooner. */
  #continue(batch: number, segment: Segment): void {
    const known = this.#owner.get(batch)?.batch;
    if (known === undefined) throw new HoldfastError("internal", `batch ${batch} has no file to go on with`);
    this.#queue.unshift({ ...known, segment });
    this.dispatch();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const cpus = this.#cpus;
    this.#cpus = [];
    this.#disposed = true;
    for (const wake of this.#notify.splice(0)) wake();
    await Promise.allSettled(cpus.flatMap((cpu) => cpu.thread?.stop({ type: "stop" }) ?? []));
  }
}

/** What reading a batch takes from the source: its files, or one part of a large one. */
function contentBytes({ sizes, segment }: FileBatch): number {
  const bytes =
    segment === undefined
      ? sizes.reduce((sum, size) => sum + size, 0)
      : segment.extents.reduce((sum, { length }) => sum + length, 0) - segment.position;
  return Math.min(bytes, SEGMENT_BYTES);
}
