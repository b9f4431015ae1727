import type { TargetCapacity } from "../../targets/target.ts";
import { HoldfastError } from "../../base/errors.ts";
import type { RepositoryId, SnapshotId } from "../../base/ids.ts";
import { WorkerRun } from "../../posix/workers.ts";
import type {
  Annotation,
  ContentFeed,
  PruneOptions,
  PruneReport,
  RepairOptions,
  RepairReport,
  SnapshotEntry,
  SnapshotInfo,
  Store,
  StoreObservations,
  StoreOptions,
  VerifyOptions,
  VerifyReport,
} from "../format.ts";
import { inParallel, listArchives, readManifest } from "./archive-list.ts";
import { observationsOf, putNote, readNotes, verificationMembers } from "./archive-notes.ts";
import { ArchiveReader } from "./archive-reader.ts";
import { createContentFeed } from "./content-feed.ts";
import { pruneLeftOvers } from "./left-overs.ts";
import type { FromArchive, ToArchive } from "./messages.ts";
import { folderOf, manifestName } from "./object-names.ts";
import { ARCHIVE_THREAD } from "./thread.ts";

/** Manifests read at a time. */
const READS = 16;

/** Archives on one target as a Store. */
export class ArchiveStore implements Store {
  readonly format = "archive";
  readonly capabilities = { incremental: false, randomAccess: true, annotate: false, prune: false };
  /** Nothing is encrypted. */
  readonly keySlots = undefined;
  readonly id: RepositoryId;
  readonly options: StoreOptions;
  readonly #reader: ArchiveReader;
  /** Manifests never change, so what they said is kept while they are listed. */
  #known = new Map<SnapshotId, SnapshotInfo>();
  #disposed: PromiseLike<void> | undefined;

  constructor(id: RepositoryId, options: StoreOptions) {
    this.id = id;
    this.options = options;
    this.#reader = new ArchiveReader(options.access.target);
  }

  get name(): string {
    return this.options.name;
  }

  get identity(): { repository: RepositoryId; keyring: string; generation: number } {
    return { repository: this.id, keyring: "", generation: 0 };
  }

  async snapshots(
    options: { readonly signal?: AbortSignal; readonly onDamaged?: (id: string, error: HoldfastError) => void } = {},
  ): Promise<SnapshotInfo[]> {
    const { signal, onDamaged } = options;
    const { target } = this.options.access;
    const known = new Map<SnapshotId, SnapshotInfo>();
    const finished = (await listArchives(target, signal)).filter(({ manifest }) => manifest !== undefined);
    await inParallel(finished, Math.min(READS, target.capabilities.concurrency), async (archive) => {
      try {
        const info = this.#known.get(archive.uid) ?? (await readManifest(target, archive, signal))?.info;
        if (info !== undefined) known.set(archive.uid, info);
      } catch (error) {
        if (!(error instanceof HoldfastError) || !error.code.startsWith("object_")) throw error;
        onDamaged?.(archive.uid, error);
      }
    });
    this.#known = known;
    return [...known.values()].toSorted((a, b) => a.timeMs - b.timeMs || (a.id < b.id ? -1 : 1));
  }

  async lookup(snapshot: SnapshotInfo, path: Uint8Array, signal?: AbortSignal): Promise<SnapshotEntry | undefined> {
    return await this.#reader.lookup(snapshot.id, path, signal);
  }

  async *list(directory: SnapshotEntry, signal?: AbortSignal): AsyncIterable<readonly SnapshotEntry[]> {
    yield* this.#reader.list(directory, signal);
  }

  async *read(file: SnapshotEntry, options: { readonly signal?: AbortSignal } = {}): AsyncIterable<Uint8Array> {
    yield* this.#reader.read(file, options.signal);
  }

  content(signal: AbortSignal): ContentFeed {
    return createContentFeed(this.#reader, signal);
  }

  /** Manifest first: from there on the archive does not exist. What a crash leaves behind is `prune`'s. */
  async delete(
    snapshots: readonly SnapshotInfo[],
    options: { readonly reason: string; readonly signal?: AbortSignal },
  ): Promise<void> {
    const { access, appendOnly, name } = this.options;
    const { signal } = options;
    if (appendOnly)
      throw new HoldfastError("unsupported", `Target ${name} is append-only: this host deletes no archives there`, {
        hint: "Delete it with a configuration whose target is not append-only.",
      });
    for (const { id } of snapshots)
      if ((await access.target.stat(manifestName(id), { signal })) === undefined)
        throw new HoldfastError("snapshot_missing", `There is no archive ${id} on target ${name}`, {
          hint: "Nothing was deleted. `holdfast snapshots` lists what is there.",
          data: { snapshot: id },
        });
    for (const { id } of snapshots) {
      await access.target.delete(manifestName(id), { signal });
      this.#reader.close(id);
      this.#known.delete(id);
      for (const object of await access.target.list(folderOf(id), { signal }))
        await access.target.delete(object.name, { signal });
    }
  }

  async annotate(_snapshot: SnapshotInfo, _annotation: Annotation, _signal?: AbortSignal): Promise<void> {
    throw new HoldfastError(
      "unsupported",
      `Target ${this.name} keeps archives, which cannot be tagged, held or described afterwards`,
      {
        hint: "Give tags and description when the backup is made, or keep it in a target of format repository.",
      },
    );
  }

  async observations(signal?: AbortSignal): Promise<StoreObservations> {
    return observationsOf(await readNotes(this.options.access.target, () => undefined, signal));
  }

  async notePolicy(job: string, policy: unknown, signal?: AbortSignal): Promise<void> {
    await putNote(this.options, "policy", { job, policy }, signal);
  }

  async noteVerification(
    jobs: readonly string[],
    snapshots: readonly SnapshotId[],
    report: VerifyReport,
    signal?: AbortSignal,
  ): Promise<void> {
    await putNote(this.options, "verification", verificationMembers(jobs, snapshots, report), signal);
  }

  async verify({ snapshots, readData, onProgress, signal }: VerifyOptions): Promise<VerifyReport> {
    signal.throwIfAborted();
    const verified = Promise.withResolvers<VerifyReport>();
    const abort = (): void => verified.reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      await using thread = new WorkerRun<ToArchive, FromArchive>(
        ARCHIVE_THREAD,
        0,
        (message) => {
          if (message.type === "verified") verified.resolve(message.report);
          else if (message.type === "failed") verified.reject(HoldfastError.fromWire(message.error));
          else if (message.type === "progress") onProgress(message.progress);
        },
        verified.reject,
      );
      const { spec, transfer } = this.options.access.forThread();
      thread.post({ type: "verify", target: spec, name: this.name, snapshots, readData }, transfer);
      const report = await verified.promise;
      await thread.stop({ type: "stop" });
      return report;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  async prune(options: PruneOptions): Promise<PruneReport> {
    return await pruneLeftOvers(this.options, options);
  }

  async repair(_options: RepairOptions): Promise<RepairReport> {
    throw new HoldfastError("unsupported", `Target ${this.name} keeps archives, and a damaged archive cannot be mended`, {
      hint: "Delete it and make a new backup, or replicate it from another target.",
    });
  }

  async space(signal?: AbortSignal): Promise<TargetCapacity | undefined> {
    return await this.options.access.target.capacity({ signal });
  }

  async capacity(signal?: AbortSignal): Promise<{ storedBytes: number; objects: number; freeBytes: number | undefined }> {
    const { target } = this.options.access;
    const [stats, space] = await Promise.all([target.list("", { signal }), target.capacity({ signal })]);
    return {
      storedBytes: stats.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      objects: stats.length,
      freeBytes: space?.freeBytes,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (this.#disposed ??= this.options.access[Symbol.asyncDispose]());
  }
}
