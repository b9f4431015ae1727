import { asHoldfastError, HoldfastError } from "../../../base/errors.ts";
import { asSnapshotId, type PackId } from "../../../base/ids.ts";
import { Pacer } from "../../../base/pacer.ts";
import { pathText } from "../../../base/path-text.ts";
import { randomHex } from "../../../base/random.ts";
import { profileNumber } from "../../../chunker/profile.ts";
import { WorkerRun } from "../../../posix/workers.ts";
import type { UnreadableEntry, WriteLimits, WriteRequest } from "../../format.ts";
import type { WalkEvent } from "../../../sources/source.ts";
import type { ChunkLocation } from "../index/chunk-index.ts";
import type { SnapshotObject } from "../objects/snapshot-object.ts";
import type { Repository } from "../repository.ts";
import { commit } from "./commit.ts";
import { CpuPool } from "./cpu-pool.ts";
import { copyOutPacks } from "./copy-out.ts";
import { Lane } from "./lane.ts";
import {
  FILE_PART,
  type FileResults,
  type FromTree,
  type SealedFrame,
  type SealingSetup,
  type ToTree,
  type TreeCounts,
} from "./messages.ts";
import { adoptUnindexedPacks } from "./resume.ts";
import { TREE_THREAD } from "./threads.ts";

/** Raw bytes of a frame: measured against 1 MiB it stores 2 % less, and a single file still needs only one such frame. */
export const FRAME_BYTES = 2 * 2 ** 20;
/** Batches that may wait beside those the CPU threads have: none stands still, and little has to be remembered. */
const AHEAD_BATCHES = 4;
const PROGRESS_MS = 200;
const MAX_LISTED = 1000;

/** What became of one target. */
export type WriteOutcome =
  | { readonly repository: Repository; readonly snapshot: SnapshotObject; readonly error?: undefined }
  | { readonly repository: Repository; readonly snapshot?: undefined; readonly error: HoldfastError };

/**
 * Writes one entry stream to repositories of one lineage: read, cut and compressed once, encrypted for each. The index
 * of each must be loaded. A target that fails drops out and the others go on; rejects only when nothing can be committed
 * anywhere (the source failed, the run was cancelled, every target failed in which case the outcomes say why).
 */
export async function writeSnapshot(repositories: readonly Repository[], request: WriteRequest): Promise<WriteOutcome[]> {
  await using stack = new AsyncDisposableStack();
  const writer = new SnapshotWriter(repositories, request);
  stack.use(writer);
  return await writer.run();
}

class SnapshotWriter implements AsyncDisposable {
  readonly #request: WriteRequest;
  readonly #lanes: readonly Lane[];
  readonly #uid: string;
  readonly #startMs: number;
  readonly #pool: CpuPool;
  readonly #limits: WriteLimits;
  /** Bytes of content a second. */
  readonly #reading: Pacer;
  #isPausing = false;
  /** Fires when the run is over, however it ended. */
  readonly #over = new AbortController();
  readonly #untilOver: AbortSignal;
  #tree: WorkerRun<ToTree, FromTree> | undefined;
  #ended: { root: Uint8Array; counts: TreeCounts } | undefined;
  #failure: HoldfastError | undefined;
  #wake: (() => void) | undefined;
  readonly #unreadable: UnreadableEntry[];
  #unreadableCount: number;
  #walked = { files: 0, bytes: 0, done: false };
  #done = { files: 0, bytes: 0 };
  #current: string | undefined;
  #lastProgressMs = 0;
  #events: AsyncIterator<readonly WalkEvent[]> | undefined;
  #feeding: Promise<void> = Promise.resolve();

  constructor(repositories: readonly Repository[], request: WriteRequest) {
    const first = repositories[0];
    if (first === undefined) throw new HoldfastError("internal", "No target to write to");
    this.#request = request;
    this.#unreadable = [...(request.inherited?.unreadable ?? [])];
    this.#unreadableCount = request.inherited?.unreadableCount ?? 0;
    this.#lanes = repositories.map((repository) => new Lane(repository, () => this.#changed()));
    this.#uid = request.id ?? randomHex(first.options.random, 16);
    this.#startMs = first.options.clock.now();
    this.#limits = request.limits ?? { cpuThreads: undefined, readBytesPerSecond: undefined, nice: 0 };
    this.#untilOver = AbortSignal.any([request.signal, this.#over.signal]);
    this.#reading = new Pacer(first.options.clock, this.#limits.readBytesPerSecond);
    this.#pool = new CpuPool({
      onResults: (batch, results, lengths) => this.#onResults(batch, results, lengths),
      onFrames: (frames) => this.#onFrames(frames),
      onFailure: (error) => this.#fail(error),
      hasRoom: () => this.#reading.debtMs <= 0 && this.#lanes.every((lane) => lane.hasRoom),
      onRead: (bytes) => this.#read(bytes),
      onChange: () => this.#wake?.(),
    });
  }

  async run(): Promise<WriteOutcome[]> {
    const { signal } = this.#request;
    const abort = (): void =>
      this.#fail(signal.reason instanceof Error ? signal.reason : new HoldfastError("cancelled", "The backup was cancelled"));
    signal.addEventListener("abort", abort, { once: true });
    try {
      if (signal.aborted) abort();
      const sealing = this.#sealing();
      this.#pool.start(sealing, profileNumber(this.#request.profile), this.#limits, this.#expectsMuch);
      await Promise.all(this.#lanes.map((lane) => this.#startLane(lane)));
      this.#throwIfNoneAlive();
      this.#startTree(sealing);
      await this.#until(() => this.#ended !== undefined && this.#pool.idle);
      // Whoever finishes the source may judge it by its size.
      this.#progress("reading", true);
      const facts = await this.#request.finishSource();
      this.#pool.flush();
      await this.#until(() => this.#pool.flushed);
      if (this.#request.dryRun) return this.#lanes.map((lane) => this.#outcome(lane, facts));
      await Promise.all(this.#lanes.map((lane) => lane.flush()));
      await Promise.all(this.#lanes.map((lane) => lane.passed("after flush")));
      this.#throwIfFailed();
      this.#progress("commit", true);
      const outcomes = await Promise.all(this.#lanes.map((lane) => this.#commit(lane, facts)));
      if (outcomes.every(({ snapshot }) => snapshot === undefined)) this.#throwIfFailed();
      return outcomes;
    } catch (error) {
      if (this.#failure !== undefined || this.#lanes.some((lane) => lane.alive)) throw error;
      return this.#lanes.map((lane) => ({ repository: lane.repository, error: lane.error as HoldfastError }));
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  async #startLane(lane: Lane): Promise<void> {
    try {
      // Looking needs no lease: what is condemned before the commit is copied out then.
      const adopting = adoptUnindexedPacks(lane.repository, (record) => lane.pending.add(record), this.#request.signal);
      adopting.catch(() => undefined);
      if (!this.#request.dryRun) await lane.start(this.#request.signal, this.#limits.nice, this.#expectsMuch);
      await adopting;
      await lane.passed("after resume");
    } catch (error) {
      lane.fail(asHoldfastError(error));
    }
  }

  /** Where there is nothing to compare with, everything is read. */
  get #expectsMuch(): boolean {
    return this.#request.baseline === undefined;
  }

  #sealing(): SealingSetup {
    const { compression, grouping } = this.#request;
    return {
      repositories: this.#lanes.map((lane) => lane.repository.keys.material),
      codec: compression.type,
      level: compression.level,
      frameBytes: FRAME_BYTES,
      grouping,
    };
  }

  #startTree(sealing: SealingSetup): void {
    const { stream, baseline } = this.#request;
    const tree = new WorkerRun<ToTree, FromTree>(
      TREE_THREAD,
      this.#limits.nice,
      (message) => this.#onTree(message),
      (error) => this.#fail(error),
    );
    this.#tree = tree;
    if (stream.kind === "events") this.#events = stream.events[Symbol.asyncIterator]();
    tree.post({
      type: "setup",
      sealing,
      profile: profileNumber(this.#request.profile),
      nice: this.#limits.nice,
      ahead: this.#pool.capacity + AHEAD_BATCHES,
      walk: stream.kind === "files" ? stream.options : undefined,
      baseline: baseline === undefined || baseline.root === "" ? undefined : { root: Buffer.from(baseline.root, "hex") },
    });
  }

  #onTree(message: FromTree): void {
    switch (message.type) {
      case "files":
        this.#pool.enqueue(message.batch);
        break;
      case "stream":
        // One after the other: each is read in entry order, and a CPU thread cuts one at a time.
        this.#feeding = this.#feeding
          .then(() => this.#feedStream(message.file, message.once, message.uid))
          .catch((error: unknown) => this.#fail(asHoldfastError(error)));
        break;
      case "claims": {
        const masks = this.#claim(2, message.ids, message.lengths);
        this.#tree?.post({ type: "claims", batch: message.batch, masks }, [masks.buffer]);
        break;
      }
      case "check": {
        const missing = this.#check(message.ids, message.counts, message.listIds);
        this.#tree?.post({ type: "checked", check: message.check, missing }, [missing.buffer]);
        break;
      }
      case "fetch":
        this.#fetchFrame(message.request, message.id).catch((error: unknown) => this.#fail(asHoldfastError(error)));
        break;
      case "frames":
        this.#onFrames(message.frames);
        break;
      case "problem":
        for (const problem of message.problems) {
          this.#unreadableCount++;
          if (this.#unreadable.length < MAX_LISTED)
            this.#unreadable.push({ path: pathText(problem.path), reason: problem.reason, message: problem.message });
        }
        break;
      case "wantEvents":
        this.#sendEvents().catch((error: unknown) => this.#fail(asHoldfastError(error)));
        break;
      case "walked":
        this.#walked = { files: message.files, bytes: message.bytes, done: message.done };
        if (message.current !== undefined) this.#current = pathText(message.current);
        this.#progress("reading", message.done);
        break;
      case "ended":
        this.#ended = { root: message.root, counts: message.counts };
        this.#changed();
        break;
      case "failed":
        this.#fail(HoldfastError.fromWire(message.error));
        break;
    }
  }

  /** Which of these chunks must be stored, and on which lanes. New ones are claimed for whoever asked. */
  #claim(kind: 1 | 2, ids: Uint8Array, lengths: Uint32Array): Uint8Array<ArrayBuffer> {
    const masks = new Uint8Array(lengths.length);
    this.#lanes.forEach((lane, position) => {
      if (!lane.alive) return;
      const { index } = lane.repository;
      for (let i = 0; i < lengths.length; i++) {
        const found = index.find(kind, ids, i * 32);
        if (found !== undefined) this.#use(lane, found);
        else if (lane.claim(kind, ids, i * 32, lengths[i] as number)) {
          masks[i] = (masks[i] as number) | (1 << position);
          lane.newBytes += lengths[i] as number;
        }
      }
    });
    return this.#request.dryRun ? new Uint8Array(lengths.length) : masks;
  }

  #use(lane: Lane, location: ChunkLocation): void {
    lane.usedPacks.add(lane.repository.index.packOfFrame(location.frame));
  }

  /** 1 for each file of which a chunk is not usable on some lane. */
  #check(ids: Uint8Array, counts: Uint32Array, listIds: Uint8Array): Uint8Array<ArrayBuffer> {
    const missing = new Uint8Array(counts.length);
    for (const lane of this.#lanes) {
      if (!lane.alive) continue;
      const { index } = lane.repository;
      let chunk = 0;
      for (let file = 0; file < counts.length; file++) {
        for (let i = counts[file] as number; i > 0; i--, chunk++) {
          const found = index.find(1, ids, chunk * 32);
          if (found === undefined) missing[file] = 1;
          else this.#use(lane, found);
        }
      }
      for (let at = 0; at < listIds.length; at += 32) {
        const found = index.find(2, listIds, at);
        // Lists are not told apart by file here: one that is missing sends all of them to be read.
        if (found === undefined) missing.fill(1);
        else this.#use(lane, found);
      }
    }
    for (const bad of missing) if (bad === 0) this.#done.files++;
    this.#progress("reading", false);
    return missing;
  }

  async #fetchFrame(request: number, id: Uint8Array): Promise<void> {
    for (const [position, lane] of this.#lanes.entries()) {
      if (!lane.alive) continue;
      for (const location of lane.repository.index.locations(2, id)) {
        const frame = lane.repository.index.frame(location.frame);
        try {
          const stored = await lane.repository.target.get(`packs/${frame.packId.slice(0, 2)}/${frame.packId}`, {
            range: { offset: frame.offset, length: frame.storedLength },
            signal: this.#request.signal,
          });
          this.#tree?.post({
            type: "frame",
            request,
            frame: {
              kind: frame.kind,
              codec: frame.codec,
              rawLength: frame.rawLength,
              suite: frame.row.suite,
              epoch: frame.row.epoch,
              keyId: frame.row.keyId,
              sealedKey: frame.row.sealedKey,
              stored,
              chunkIds: frame.chunkIds,
              chunkLengths: frame.chunkLengths,
              repository: position,
            },
          });
          return;
        } catch (error) {
          if (this.#request.signal.aborted) throw error;
        }
      }
    }
    // A baseline that cannot be read only means that its files are read again.
    this.#tree?.post({ type: "frame", request, frame: undefined });
  }

  async #sendEvents(): Promise<void> {
    const next = await this.#events?.next();
    if (next === undefined || next.done === true) this.#tree?.post({ type: "events", events: [], last: true });
    else this.#tree?.post({ type: "events", events: next.value, last: false });
  }

  async #feedStream(file: number, once: number, uid: number): Promise<void> {
    const { stream } = this.#request;
    if (stream.kind !== "events") throw new HoldfastError("internal", "A walked source has no streams");
    this.#throwIfFailed();
    const feed = this.#pool.openStream(file, uid);
    for await (const bytes of stream.openOnce(once)) {
      this.#throwIfFailed();
      await feed.write(bytes);
      this.#done.bytes += bytes.length;
      this.#progress("reading", false);
    }
    await feed.end();
  }

  #onResults(batch: number, results: FileResults, lengths: Uint32Array): void {
    const masks = this.#claim(1, results.ids, lengths);
    this.#pool.answer(batch, masks);
    for (let item = 0; item < results.files.length; item++) {
      if (((results.status[item] as number) & 15) !== FILE_PART) this.#done.files++;
      if (this.#request.stream.kind === "files") this.#done.bytes += results.bytes[item] as number;
    }
    this.#tree?.post({ type: "results", results });
    this.#progress("reading", false);
  }

  /** Pays for what is read; while the pace is exceeded nothing more is handed out. */
  #read(bytes: number): void {
    this.#reading.pay(bytes);
    if (this.#isPausing || this.#reading.debtMs <= 0) return;
    this.#isPausing = true;
    this.#pause()
      // The run is over, or is about to be.
      .catch(() => undefined)
      .finally(() => this.#changed());
  }

  async #pause(): Promise<void> {
    const { clock } = (this.#lanes[0] as Lane).repository.options;
    try {
      for (let waitMs = this.#reading.debtMs; waitMs > 0; waitMs = this.#reading.debtMs)
        await clock.sleep(waitMs, this.#untilOver);
    } finally {
      // At once: what is paid from here on, even before the promise settles, begins a pause of its own.
      this.#isPausing = false;
    }
  }

  #onFrames(frames: readonly SealedFrame[]): void {
    const alive = this.#lanes.filter((lane) => lane.alive);
    const last = alive.at(-1);
    this.#lanes.forEach((lane, position) => lane.send(frames, position, lane === last));
  }

  #progress(phase: string, force: boolean): void {
    const now = performance.now();
    if (!force && now - this.#lastProgressMs < PROGRESS_MS) return;
    this.#lastProgressMs = now;
    this.#request.onProgress({
      phase,
      filesDone: this.#done.files,
      filesTotal: this.#walked.done ? this.#walked.files : undefined,
      bytesDone: this.#done.bytes,
      bytesTotal: this.#walked.done ? this.#walked.bytes : undefined,
      storedBytes: this.#lanes.reduce((sum, lane) => sum + lane.storedBytes, 0),
      current: this.#current,
    });
  }

  async #commit(lane: Lane, facts: Readonly<Record<string, unknown>>): Promise<WriteOutcome> {
    if (lane.error !== undefined) return { repository: lane.repository, error: lane.error };
    try {
      const outcome = this.#outcome(lane, facts);
      if (outcome.snapshot === undefined) return outcome;
      await commit({
        repository: lane.repository,
        lease: lane.lease,
        pending: lane.pending,
        snapshot: outcome.snapshot,
        usedPacks: lane.usedPacks,
        claimed: () => lane.claimed,
        copyOut: (packs: readonly PackId[]) => copyOutPacks(lane, packs, this.#request),
        signal: this.#request.signal,
      });
      return outcome;
    } catch (error) {
      return { repository: lane.repository, error: asHoldfastError(error) };
    }
  }

  #outcome(lane: Lane, facts: Readonly<Record<string, unknown>>): WriteOutcome {
    if (lane.error !== undefined) return { repository: lane.repository, error: lane.error };
    const ended = this.#ended;
    if (ended === undefined) throw new HoldfastError("internal", "The trees are not complete");
    const request = this.#request;
    const snapshot: SnapshotObject = {
      uid: asSnapshotId(this.#uid),
      run: request.run,
      host: request.host,
      job: request.job,
      source: request.source,
      sourceType: request.sourceType,
      time: new Date(this.#startMs).toISOString(),
      end: new Date(lane.repository.options.clock.now()).toISOString(),
      mode: request.mode,
      baseline: request.baseline?.id,
      previous: request.previous,
      root: Buffer.from(ended.root).toString("hex"),
      status: this.#unreadableCount > 0 ? "partial" : "success",
      counts: { files: ended.counts.files, directories: ended.counts.directories, others: ended.counts.others },
      bytes: { source: ended.counts.sourceBytes, new: lane.newBytes, stored: lane.storedBytes },
      unreadable: this.#unreadable,
      unreadableCount: this.#unreadableCount,
      changedWhileRead: ended.counts.changedWhileRead + (request.inherited?.changedWhileRead ?? 0),
      tool: request.toolVersion,
      configDigest: request.configDigest,
      gitCommit: request.gitCommit,
      description: request.description,
      tags: [...request.tags],
      facts: { ...facts, unchangedFiles: ended.counts.unchangedFiles },
    };
    return { repository: lane.repository, snapshot };
  }

  #fail(error: Error): void {
    this.#failure ??= asHoldfastError(error);
    this.#changed();
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  #throwIfNoneAlive(): void {
    this.#throwIfFailed();
    if (!this.#lanes.some((lane) => lane.alive)) throw this.#lanes[0]?.error as HoldfastError;
  }

  #changed(): void {
    this.#pool.dispatch();
    this.#wake?.();
  }

  /** Waits until `done`, or throws what stopped the run. */
  async #until(done: () => boolean): Promise<void> {
    for (;;) {
      this.#throwIfNoneAlive();
      if (done()) return;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    await Promise.allSettled([this.#pool[Symbol.asyncDispose](), this.#tree?.stop({ type: "stop" })]);
    // Whatever goes wrong from here on must not hide what became of the run.
    // Not waited for: a generator that hangs in its own read would never answer. It ends with its source.
    this.#events?.return?.().catch(() => undefined);
    await Promise.allSettled(this.#lanes.map((lane) => lane[Symbol.asyncDispose]()));
  }
}
