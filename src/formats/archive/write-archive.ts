import { asHoldfastError, HoldfastError } from "../../base/errors.ts";
import { asSnapshotId, type SnapshotId } from "../../base/ids.ts";
import { pathText } from "../../base/path-text.ts";
import { randomHex } from "../../base/random.ts";
import type { Progress } from "../../base/events.ts";
import { TAR_BLOCK_BYTES } from "../../codec/tar-header.ts";
import { WorkerRun } from "../../posix/workers.ts";
import type { WalkEvent } from "../../sources/source.ts";
import type { SnapshotInfo, StoreOptions, UnreadableEntry, WriteRequest, WriteResult } from "../format.ts";
import { encodeManifest, totalBytes, type Manifest } from "./manifest.ts";
import type { FromArchive, ToArchive } from "./messages.ts";
import { folderOf, manifestName } from "./object-names.ts";
import { ARCHIVE_THREAD } from "./thread.ts";

/** 32 MiB: large enough that a put's fixed cost vanishes; the thread holds three at most. */
const DEFAULT_PART_BYTES = 32 * 2 ** 20;
const MIN_PART_BYTES = 8 * TAR_BLOCK_BYTES;
const MAX_LISTED = 1000;
/** Bytes of a once-stream on their way to the thread. */
const STREAM_WINDOW_BYTES = 4 * 2 ** 20;
const STREAM_PIECE_BYTES = 2 ** 20;

/** An archive store as the writer needs it. */
export interface ArchiveDestination {
  readonly id: string;
  readonly options: StoreOptions;
}

type Written = Extract<FromArchive, { type: "written" }>;

/**
 * Writes one archive to several targets: the source is read once, by a thread that puts the parts. A target that fails
 * drops out. Rejects when the source fails or the run is cancelled; what was put is removed then, and nothing is committed.
 */
export async function writeArchive(destinations: readonly ArchiveDestination[], request: WriteRequest): Promise<WriteResult[]> {
  request.signal.throwIfAborted();
  const writer = new ArchiveWriter(destinations, request);
  try {
    return await writer.run();
  } catch (error) {
    await writer.removeParts(destinations);
    throw error;
  }
}

class ArchiveWriter {
  readonly #destinations: readonly ArchiveDestination[];
  readonly #request: WriteRequest;
  readonly #uid: SnapshotId;
  readonly #startMs: number;
  readonly #written = Promise.withResolvers<Written>();
  readonly #errors = new Map<number, HoldfastError>();
  readonly #unreadable: UnreadableEntry[];
  #unreadableCount: number;
  #thread: WorkerRun<ToArchive, FromArchive> | undefined;
  #events: AsyncIterator<readonly WalkEvent[]> | undefined;
  #streamedBytes = 0;
  #streamWake: (() => void) | undefined;
  readonly #sent: number[] = [];
  #stopped = false;

  constructor(destinations: readonly ArchiveDestination[], request: WriteRequest) {
    const first = destinations[0];
    if (first === undefined) throw new HoldfastError("internal", "No target to write to");
    this.#destinations = destinations;
    this.#request = request;
    this.#unreadable = [...(request.inherited?.unreadable ?? [])];
    this.#unreadableCount = request.inherited?.unreadableCount ?? 0;
    this.#uid = request.id ?? asSnapshotId(randomHex(first.options.random, 16));
    this.#startMs = first.options.clock.now();
    this.#written.promise.catch(() => undefined);
  }

  async run(): Promise<WriteResult[]> {
    const { signal } = this.#request;
    const abort = (): void => this.#written.reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    let written: Written;
    try {
      await using thread = new WorkerRun<ToArchive, FromArchive>(
        ARCHIVE_THREAD,
        0,
        (message) => this.#receive(message),
        (error) => this.#written.reject(error),
      );
      this.#start(thread);
      written = await this.#written.promise;
      await thread.stop({ type: "stop" });
    } finally {
      signal.removeEventListener("abort", abort);
      this.#stopped = true;
      this.#streamWake?.();
      // A stream that hangs must not keep a cancelled run from ending.
      void Promise.resolve(this.#events?.return?.()).catch(() => undefined);
    }
    const facts = await this.#request.finishSource();
    signal.throwIfAborted();
    const results = await Promise.all(
      this.#destinations.map((destination, i) => this.#commit(destination, this.#errors.get(i), written, facts)),
    );
    await this.removeParts(this.#destinations.filter((_, i) => "error" in (results[i] as WriteResult)));
    return results;
  }

  /** Removes what was put, as far as that works; `prune` removes the rest. */
  async removeParts(destinations: readonly ArchiveDestination[]): Promise<void> {
    if (this.#request.dryRun) return;
    for (const { options } of destinations) {
      if (options.appendOnly) continue;
      const { target } = options.access;
      try {
        const objects = await target.list(folderOf(this.#uid));
        // A manifest that was put after all, by a call that seemed to fail, makes the archive a good one.
        if (objects.some(({ name }) => name === manifestName(this.#uid))) continue;
        for (const { name } of objects) await target.delete(name);
      } catch {
        // The failure that led here is the one to report.
      }
    }
  }

  #start(thread: WorkerRun<ToArchive, FromArchive>): void {
    const { stream, dryRun } = this.#request;
    this.#thread = thread;
    if (stream.kind === "events") this.#events = stream.events[Symbol.asyncIterator]();
    const reached = dryRun ? [] : this.#destinations.map(({ options }) => options.access.forThread());
    const wanted = this.#destinations[0]?.options.packBytes ?? DEFAULT_PART_BYTES;
    thread.post(
      {
        type: "write",
        uid: this.#uid,
        targets: reached.map(({ spec }) => spec),
        // Whole blocks, so that no header is divided.
        partBytes: Math.max(MIN_PART_BYTES, wanted - (wanted % TAR_BLOCK_BYTES)),
        walk: stream.kind === "files" ? stream.options : undefined,
      },
      reached.flatMap(({ transfer }) => transfer),
    );
  }

  #receive(message: FromArchive): void {
    const failed = (error: unknown): void => this.#written.reject(error);
    switch (message.type) {
      case "wantEvents":
        this.#sendEvents().catch(failed);
        break;
      case "wantStream":
        this.#sendStream(message.once).catch(failed);
        break;
      case "taken":
        this.#streamedBytes -= this.#sent.shift() ?? 0;
        this.#streamWake?.();
        break;
      case "problems":
        for (const { path, reason, message: text } of message.problems) {
          this.#unreadableCount++;
          if (this.#unreadable.length < MAX_LISTED) this.#unreadable.push({ path: pathText(path), reason, message: text });
        }
        break;
      case "progress":
        this.#request.onProgress(message.progress satisfies Progress);
        break;
      case "lost":
        this.#errors.set(message.target, HoldfastError.fromWire(message.error));
        if (this.#errors.size === this.#destinations.length) failed(this.#errors.get(0));
        break;
      case "written":
        this.#written.resolve(message);
        break;
      case "failed":
        failed(HoldfastError.fromWire(message.error));
        break;
      case "verified":
        throw new HoldfastError("internal", "The archive thread verified instead of writing");
    }
  }

  async #sendEvents(): Promise<void> {
    const next = await this.#events?.next();
    if (this.#stopped) return;
    const isLast = next === undefined || next.done === true;
    this.#thread?.post({ type: "events", events: isLast ? [] : next.value, last: isLast });
  }

  async #sendStream(once: number): Promise<void> {
    const { stream } = this.#request;
    if (stream.kind !== "events") throw new HoldfastError("internal", "A walked source has no streams");
    for await (const bytes of stream.openOnce(once)) {
      for (let at = 0; at < bytes.length; at += STREAM_PIECE_BYTES) {
        const piece = new Uint8Array(bytes.subarray(at, at + STREAM_PIECE_BYTES));
        while (this.#streamedBytes >= STREAM_WINDOW_BYTES && !this.#stopped)
          await new Promise<void>((resolve) => (this.#streamWake = resolve));
        if (this.#stopped) return;
        this.#streamedBytes += piece.length;
        this.#sent.push(piece.length);
        this.#thread?.post({ type: "bytes", bytes: piece }, [piece.buffer]);
      }
    }
    if (!this.#stopped) this.#thread?.post({ type: "bytes", bytes: undefined });
  }

  async #commit(
    { id, options }: ArchiveDestination,
    error: HoldfastError | undefined,
    written: Written,
    facts: SnapshotInfo["facts"],
  ): Promise<WriteResult> {
    const store = options.name;
    if (error !== undefined) return { store, error };
    const { tar, entries, root } = written;
    const manifest: Manifest = { store: id, info: this.#info(options, written, facts), tar, entries, root };
    if (this.#request.dryRun) return { store, snapshot: manifest.info };
    try {
      await options.access.target.put(manifestName(this.#uid), [encodeManifest(manifest)], { signal: this.#request.signal });
      return { store, snapshot: manifest.info };
    } catch (failure) {
      return { store, error: asHoldfastError(failure) };
    }
  }

  #info({ clock }: StoreOptions, { counts, tar, entries }: Written, facts: SnapshotInfo["facts"]): SnapshotInfo {
    const { run, host, job, source, sourceType, previous, toolVersion, configDigest, gitCommit, description, tags } =
      this.#request;
    return {
      id: this.#uid,
      run,
      host,
      job,
      source,
      sourceType,
      timeMs: this.#startMs,
      endMs: clock.now(),
      mode: "full",
      baseline: undefined,
      previous,
      status: this.#unreadableCount > 0 ? "partial" : "success",
      sourceBytes: counts.sourceBytes,
      newBytes: counts.sourceBytes,
      storedBytes: totalBytes(tar) + totalBytes(entries),
      files: counts.files,
      directories: counts.directories,
      others: counts.others,
      unreadable: this.#unreadable,
      unreadableCount: this.#unreadableCount,
      changedWhileRead: counts.changedWhileRead + (this.#request.inherited?.changedWhileRead ?? 0),
      toolVersion,
      configDigest,
      gitCommit,
      description,
      tags: [...tags],
      hold: false,
      facts,
      objectTimeMs: undefined,
      root: "",
    };
  }
}
