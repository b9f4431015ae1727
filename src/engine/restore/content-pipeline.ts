import { availableParallelism } from "node:os";
import { HoldfastError } from "../../base/errors.ts";
import type { ContentBatch, ContentFeed, SnapshotEntry, Store } from "../../formats/format.ts";
import { workerModule, WorkerRun, type WorkerKind } from "../../posix/workers.ts";
import type { Extent, Xattr } from "../../sources/source.ts";
import type { BatchResults, FileTasks, FromThread, ThreadMode, ToThread } from "./messages.ts";

const RESTORE_THREAD: WorkerKind = {
  name: "restore-thread",
  module: workerModule(import.meta.url, "restore-thread"),
  // Descriptors come from openat, which Node does not see.
  trackUnmanagedFds: false,
  // A batch is short-lived.
  youngGenerationMb: 16,
  // It removes what is unfinished, which a disk may make slow.
  stopMs: 60_000,
};
const MAX_THREADS = 8;
/** Batches a thread has at a time: one in work, the others on the way. */
const PER_THREAD = 3;

/** A file on its way through the threads. */
export interface PipelineFile {
  readonly entry: SnapshotEntry;
  /** Latin1 path of its folder below the destination. */
  readonly folder: string;
  readonly name: string;
  readonly mustCreate: boolean;
}

/** Each file ends in exactly one of the first three. */
export interface PipelineEvents<File extends PipelineFile> {
  readonly finished: (file: File) => void;
  /** The fast way could not get its content; `Store.read` may. Nothing of it was left behind. */
  readonly damaged: (file: File, error: HoldfastError) => void;
  readonly problem: (file: File, error: HoldfastError) => void;
  readonly loss: (file: File, what: string, reason: string) => void;
  readonly bytes: (count: number) => void;
}

export interface PipelineSetup {
  readonly store: Store;
  readonly mode: ThreadMode;
  /** Absolute path; it exists. */
  readonly destination: Uint8Array;
  /** An open descriptor of it that outlives the pipeline; undefined: it is opened by its path. */
  readonly top: number | undefined;
  /** Random text for the names of temporary files. */
  readonly token: string;
  readonly uid: number;
  readonly umask: number;
  readonly signal: AbortSignal;
}

interface Lane {
  readonly run: WorkerRun<ToThread, FromThread>;
  outstanding: number;
}

interface Round<File> {
  readonly base: number;
  readonly files: readonly File[];
  readonly batches: AsyncIterator<ContentBatch>;
  /** Already under way, so that nothing stands still between two rounds. */
  readonly first: Promise<IteratorResult<ContentBatch>>;
}

/**
 * Brings the content of files from a store to threads: fetched here, decoded and written there. Files are given in
 * rounds, in walk order; a large file goes to one thread, part by part. Disposing removes what is unfinished.
 */
export class ContentPipeline<File extends PipelineFile> implements AsyncDisposable {
  readonly #setup: PipelineSetup;
  readonly #events: PipelineEvents<File>;
  readonly #feed: ContentFeed;
  readonly #stop = new AbortController();
  readonly #lanes: Lane[] = [];
  #isSetUp = false;
  readonly #rounds: Round<File>[] = [];
  /** Files that have not ended, by number. */
  readonly #files = new Map<number, File>();
  /** Large files under way, and the thread that has them. */
  readonly #owners = new Map<number, Lane>();
  #waiting: (() => void)[] = [];
  #nextFile = 0;
  #nextBatch = 0;
  #failure: Error | undefined;
  #feeding: Promise<void> | undefined;
  readonly #onAbort: () => void;

  constructor(setup: PipelineSetup, events: PipelineEvents<File>) {
    this.#setup = setup;
    this.#events = events;
    this.#feed = setup.store.content(this.#stop.signal);
    this.#onAbort = () => this.#fail(setup.signal.reason as Error);
    if (setup.signal.aborted) this.#onAbort();
    setup.signal.addEventListener("abort", this.#onAbort, { once: true });
    // A thread takes some 60 ms to begin, in which the caller finds its first files.
    this.#startThreads();
  }

  /** Takes files; resolves when the next round is welcome. Rejects with what ended the restore. */
  async submit(files: readonly File[]): Promise<void> {
    this.#throwIfFailed();
    if (files.length === 0) return;
    if (!this.#isSetUp) this.#setUp();
    const base = this.#nextFile;
    this.#nextFile += files.length;
    for (const [i, file] of files.entries()) this.#files.set(base + i, file);
    const batches = this.#feed.batches(files.map((file) => file.entry))[Symbol.asyncIterator]();
    const first = batches.next();
    first.catch(() => undefined);
    this.#rounds.push({ base, files, batches, first });
    this.#feeding ??= this.#feedRounds().finally(() => (this.#feeding = undefined));
    await this.#until(() => this.#rounds.length <= 1);
  }

  /** Resolves when every file has ended. */
  async drain(): Promise<void> {
    await this.#until(
      () => this.#rounds.length === 0 && this.#files.size === 0 && this.#lanes.every((lane) => lane.outstanding === 0),
    );
  }

  async #feedRounds(): Promise<void> {
    try {
      for (let round = this.#rounds[0]; round !== undefined; round = this.#rounds[0]) {
        for (let next = await round.first; next.done !== true; next = await round.batches.next())
          await this.#send(round, next.value);
        this.#rounds.shift();
        this.#wake();
      }
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  async #send(round: Round<File>, batch: ContentBatch): Promise<void> {
    for (const { file, error } of batch.failed) this.#feedFailed(round.base + file, HoldfastError.fromWire(error));
    const head = batch.files[0];
    if (head === undefined) return;
    // What began in a thread goes on there: the file is open in it.
    const owner = head.first ? undefined : this.#owners.get(round.base + head.file);
    let lane = owner ?? this.#freest();
    await this.#until(() => (lane = owner ?? this.#freest()).outstanding < PER_THREAD);
    for (const { file, last } of batch.files) {
      if (last) this.#owners.delete(round.base + file);
      else this.#owners.set(round.base + file, lane);
    }
    const starting = batch.files.filter(({ first }) => first).map(({ file }) => round.files[file] as File);
    const message: ToThread = {
      type: "content",
      batch: this.#nextBatch++,
      base: round.base,
      payload: batch.payload,
      files: Float64Array.from(batch.files, ({ file }) => file),
      parts: Uint8Array.from(batch.files, ({ first, last }) => (first ? 1 : 0) + (last ? 2 : 0)),
      tasks: fileTasks(starting),
    };
    lane.outstanding++;
    lane.run.post(message, batch.transfer);
  }

  #feedFailed(number: number, error: HoldfastError): void {
    const file = this.#files.get(number);
    if (file === undefined) return;
    this.#files.delete(number);
    this.#owners.get(number)?.run.post({ type: "drop", file: number });
    this.#owners.delete(number);
    this.#events.damaged(file, error);
  }

  #startThreads(): void {
    const count = Math.min(Math.max(availableParallelism(), 1), MAX_THREADS);
    for (let i = 0; i < count; i++) {
      const lane: Lane = {
        run: new WorkerRun(
          RESTORE_THREAD,
          0,
          (message) => this.#receive(lane, message),
          (error) => this.#fail(error),
        ),
        outstanding: 0,
      };
      this.#lanes.push(lane);
    }
  }

  /** Tells the threads their work; the destination exists now. */
  #setUp(): void {
    this.#isSetUp = true;
    const { mode, destination, top, token, uid, umask } = this.#setup;
    const { decoderModule, decoderSetup } = this.#feed;
    for (const [i, { run }] of this.#lanes.entries())
      run.post({
        type: "setup",
        mode,
        destination,
        top,
        decoderModule,
        decoderSetup,
        token: `${token}${i}`,
        uid,
        umask,
      });
  }

  #receive(lane: Lane, message: FromThread): void {
    if (message.type === "fatal") {
      this.#fail(HoldfastError.fromWire(message.error));
      return;
    }
    lane.outstanding--;
    try {
      this.#take(message.results);
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
    this.#wake();
  }

  #take(results: BatchResults): void {
    const { finished, damaged, problems, losses, bytes } = results;
    const end = (number: number, act: (file: File) => void): void => {
      const file = this.#files.get(number);
      if (!this.#files.delete(number) || file === undefined) return;
      act(file);
    };
    for (const { file, what, reason } of losses) {
      const lost = this.#files.get(file);
      if (lost !== undefined) this.#events.loss(lost, what, reason);
    }
    for (const number of finished) end(number, this.#events.finished);
    for (const { file, error } of damaged) end(file, (each) => this.#events.damaged(each, HoldfastError.fromWire(error)));
    for (const { file, error } of problems) end(file, (each) => this.#events.problem(each, HoldfastError.fromWire(error)));
    this.#events.bytes(bytes);
  }

  #freest(): Lane {
    return this.#lanes.reduce((best, lane) => (lane.outstanding < best.outstanding ? lane : best));
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#stop.abort(this.#failure);
    this.#wake();
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  async #until(done: () => boolean): Promise<void> {
    for (;;) {
      this.#throwIfFailed();
      if (done()) return;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#setup.signal.removeEventListener("abort", this.#onAbort);
    this.#fail(new HoldfastError("cancelled", "The restore was ended"));
    await this.#feeding;
    for (const round of this.#rounds.splice(0)) await round.batches.return?.();
    await Promise.all(this.#lanes.splice(0).map((lane) => lane.run.stop({ type: "stop" })));
  }
}

function fileTasks(files: readonly PipelineFile[]): FileTasks {
  const folders = new Map<string, number>();
  const tasks = {
    folder: new Uint32Array(files.length),
    modes: new Uint32Array(files.length),
    uids: new Uint32Array(files.length),
    gids: new Uint32Array(files.length),
    mtimes: new BigInt64Array(files.length),
    sizes: new Float64Array(files.length),
    flags: new Uint8Array(files.length),
  };
  const xattrs: [number, readonly Xattr[]][] = [];
  const extents: [number, readonly Extent[]][] = [];
  for (const [i, file] of files.entries()) {
    const { meta, size } = file.entry.entry;
    let folder = folders.get(file.folder);
    if (folder === undefined) folders.set(file.folder, (folder = folders.size));
    tasks.folder[i] = folder;
    tasks.modes[i] = meta.mode;
    tasks.uids[i] = meta.uid;
    tasks.gids[i] = meta.gid;
    tasks.mtimes[i] = meta.mtimeNs;
    tasks.sizes[i] = size;
    tasks.flags[i] = file.mustCreate ? 1 : 0;
    if (meta.xattrs.length > 0) xattrs.push([i, meta.xattrs]);
    if (file.entry.extents !== undefined) extents.push([i, file.entry.extents]);
  }
  return { ...tasks, folders: [...folders.keys()], names: files.map((file) => file.name).join("\0"), xattrs, extents };
}
