import { asHoldfastError, HoldfastError } from "../../base/errors.ts";
import { warmUp, type WorkerKind } from "../../posix/workers.ts";
import type { RepositoryId, SnapshotId } from "../../base/ids.ts";
import type {
  Annotation,
  ContentFeed,
  Format,
  KdfChoice,
  KeySlots,
  PruneOptions,
  PruneReport,
  RepairOptions,
  RepairReport,
  SnapshotEntry,
  SnapshotInfo,
  Store,
  StoreObservations,
  StoreOptions,
  Unlocking,
  VerifyOptions,
  VerifyReport,
  WriteRequest,
  WriteResult,
} from "../format.ts";
import type { TargetCapacity } from "../../targets/target.ts";
import { DEFAULT_PASSWORD_KDF, KEYFILE_KDF } from "./keys/kdf.ts";
import { SnapshotReader } from "./read/snapshot-reader.ts";
import { readRepositoryId, Repository } from "./repository.ts";
import { deleteSnapshots } from "./snapshots/delete-snapshots.ts";
import { annotateSnapshot, putPolicyNote, putVerificationNote, readNotes } from "./snapshots/notes.ts";
import { listSnapshots, toInfo } from "./snapshots/snapshot-list.ts";
import { cpuThreads } from "./write/cpu-pool.ts";
import { CPU_THREAD, PACK_THREAD, TREE_THREAD } from "./write/threads.ts";
import { writeSnapshot } from "./write/writer.ts";

/** Damaged objects that a note names. */
const NOTED_DAMAGE = 20;

/** The deduplicated, encrypted repository as a Format. */
export const repositoryFormat: Format = {
  kind: "repository",

  async exists(options) {
    const { access, name, signal } = options;
    if ((await readRepositoryId(access.target, name, signal)) !== undefined) return true;
    if ((await access.target.stat("holdfast-archive.json", { signal })) !== undefined)
      throw new HoldfastError("object_foreign", `Target ${name} holds archives, not a repository`, {
        hint: "Declare it with `archive:`, or point this target at another, empty folder.",
      });
    return false;
  },

  async open(options, unlockings) {
    return new RepositoryStore(await Repository.open(options, unlockings, options.signal));
  },

  async create(options: StoreOptions, unlocking: Unlocking | undefined, kdf: KdfChoice | undefined, kin: readonly Store[]) {
    if (unlocking === undefined)
      throw new HoldfastError("config_invalid", `Target ${options.name} is a repository without encryption`, {
        hint: "A repository is always encrypted; name an `encryption`. A key file needs no password to remember.",
      });
    const relative = kin.find((store) => store instanceof RepositoryStore);
    const lineage = relative?.repository.keyring.lineageSecret;
    return new RepositoryStore(await Repository.create(options, unlocking, kdf ?? DEFAULT_PASSWORD_KDF, lineage, options.signal));
  },

  warmUp(limits, expectsBaseline) {
    // What is needed first is started first; what may not be needed at all is not started ahead.
    if (expectsBaseline) return warmUp([TREE_THREAD]);
    return warmUp([TREE_THREAD, ...Array<WorkerKind>(cpuThreads(limits)).fill(CPU_THREAD), PACK_THREAD]);
  },

  async write(stores, request) {
    // One cut and one id serve all repositories of a lineage; another lineage is read and cut for itself.
    const groups = new Map<string, RepositoryStore[]>();
    for (const store of stores) {
      if (!(store instanceof RepositoryStore)) throw new HoldfastError("internal", `${store.name} is not a repository`);
      const lineage = Buffer.from(store.repository.keys.lineage.id).toString("hex");
      groups.set(lineage, [...(groups.get(lineage) ?? []), store]);
    }
    if (groups.size > 1 && request.stream.kind !== "files")
      throw new HoldfastError(
        "unsupported",
        "A source that can be read only once cannot go to repositories of different lineages",
        {
          hint: "Its targets were created by different configurations. Give each its own job.",
        },
      );
    const results = new Map<string, WriteResult>();
    for (const group of groups.values()) for (const result of await writeGroup(group, request)) results.set(result.store, result);
    return stores.map((store) => results.get(store.name) as WriteResult);
  },
};

async function writeGroup(stores: readonly RepositoryStore[], request: WriteRequest): Promise<WriteResult[]> {
  const ready: RepositoryStore[] = [];
  const results: WriteResult[] = [];
  await Promise.all(
    stores.map(async (store) => {
      try {
        await Promise.all([store.loadIndex(request.signal), store.repository.checkStillThere(request.signal)]);
        store.repository.checkCondemned();
        ready.push(store);
      } catch (error) {
        request.signal.throwIfAborted();
        results.push({ store: store.name, error: asHoldfastError(error) });
      }
    }),
  );
  if (ready.length === 0) return results;
  const outcomes = await writeSnapshot(
    ready.map(({ repository }) => repository),
    request,
  );
  for (const { repository, snapshot, error } of outcomes) {
    if (snapshot === undefined) results.push({ store: repository.name, error });
    else {
      // The object's name does not matter to anyone here; `snapshots()` reads it anew.
      const { object: _, ...info } = toInfo(repository.keyringId, undefined, snapshot);
      results.push({ store: repository.name, snapshot: info });
    }
  }
  return results;
}

/** One repository as a Store. */
export class RepositoryStore implements Store {
  readonly repository: Repository;
  readonly format = "repository";
  readonly capabilities = { incremental: true, randomAccess: true, annotate: true, prune: true };
  #reader: SnapshotReader | undefined;
  #indexLoaded: Promise<void> | undefined;

  constructor(repository: Repository) {
    this.repository = repository;
  }

  get name(): string {
    return this.repository.name;
  }

  get identity(): { repository: RepositoryId; keyring: string; generation: number } {
    const { id, keyringId, keyring } = this.repository;
    return { repository: id, keyring: keyringId, generation: keyring.generation };
  }

  /** Loads what is new of the index; the first call loads it whole. */
  async loadIndex(signal?: AbortSignal): Promise<void> {
    await this.repository.loadIndex(() => undefined, signal);
  }

  async snapshots(
    options: { readonly signal?: AbortSignal; readonly onDamaged?: (id: string, error: HoldfastError) => void } = {},
  ): Promise<SnapshotInfo[]> {
    const stored = await listSnapshots(this.repository, { onDamaged: () => undefined, ...options });
    return stored.map((one) => {
      const { object: _, ...info } = one;
      return info;
    });
  }

  async lookup(snapshot: SnapshotInfo, path: Uint8Array, signal?: AbortSignal): Promise<SnapshotEntry | undefined> {
    return await (await this.#read(signal)).lookup(snapshot, path, signal);
  }

  async *list(directory: SnapshotEntry, signal?: AbortSignal): AsyncIterable<readonly SnapshotEntry[]> {
    yield* (await this.#read(signal)).list(directory, signal);
  }

  async *read(file: SnapshotEntry, options: { readonly signal?: AbortSignal } = {}): AsyncIterable<Uint8Array> {
    yield* (await this.#read(options.signal)).read(file, options);
  }

  content(signal: AbortSignal): ContentFeed {
    if (this.#reader === undefined) throw new HoldfastError("internal", "Content is asked for before any entry was read");
    return this.#reader.content(signal);
  }

  async delete(
    snapshots: readonly SnapshotInfo[],
    options: { readonly reason: string; readonly signal?: AbortSignal },
  ): Promise<void> {
    await deleteSnapshots(
      this.repository,
      snapshots.map(({ id }) => id),
      options,
    );
  }

  async annotate(snapshot: SnapshotInfo, annotation: Annotation, signal?: AbortSignal): Promise<void> {
    await annotateSnapshot(this.repository, snapshot, annotation, signal);
  }

  async observations(signal?: AbortSignal): Promise<StoreObservations> {
    const verifications = new Map<string, { timeMs: number; ok: boolean }>();
    const policies = new Map<string, { timeMs: number; policy: unknown }>();
    let lastPruneMs: number | undefined;
    // In order of time: the last one counts.
    for (const { note } of await readNotes(this.repository, { signal, onDamaged: () => undefined })) {
      const timeMs = Date.parse(note.time);
      if (note.type === "policy") {
        const { kind, job, rules } = note.policy as { kind?: unknown; job?: unknown; rules?: unknown };
        if (kind === "prune") lastPruneMs = timeMs;
        else if (kind === "retention" && typeof job === "string") policies.set(job, { timeMs, policy: rules });
      } else if (note.type === "verification") {
        const jobs: unknown = note.details["jobs"];
        if (Array.isArray(jobs))
          for (const job of jobs) if (typeof job === "string") verifications.set(job, { timeMs, ok: note.result === "ok" });
      }
    }
    return { verifications, policies, lastPruneMs, clockSkewMs: undefined };
  }

  async notePolicy(job: string, policy: unknown, signal?: AbortSignal): Promise<void> {
    await putPolicyNote(this.repository, { kind: "retention", job, rules: policy }, signal);
  }

  async noteVerification(
    jobs: readonly string[],
    snapshots: readonly SnapshotId[],
    report: VerifyReport,
    signal?: AbortSignal,
  ): Promise<void> {
    const details = {
      jobs,
      checks: report.checks,
      damage: report.damage.slice(0, NOTED_DAMAGE).map(({ kind, id, message }) => ({ kind, id, message })),
      damageCount: report.damage.length,
      bytesRead: report.bytesRead,
    };
    await putVerificationNote(
      this.repository,
      { snapshots, level: report.level, result: report.ok ? "ok" : "damaged", details },
      signal,
    );
  }

  async verify(options: VerifyOptions): Promise<VerifyReport> {
    const { verifyRepository } = await import("./verify/verify.ts");
    return await verifyRepository(this.repository, options);
  }

  async prune(options: PruneOptions): Promise<PruneReport> {
    const { pruneRepository } = await import("./prune/prune.ts");
    const report = await pruneRepository(this.repository, options);
    if (!options.dryRun) await putPolicyNote(this.repository, { kind: "prune" }, options.signal);
    return report;
  }

  async repair(options: RepairOptions): Promise<RepairReport> {
    const { repairRepository } = await import("./repair/repair.ts");
    const { index, readData, onProgress, signal } = options;
    const report = await repairRepository(this.repository, { index, packs: readData ? "all" : [], onProgress, signal });
    const { rebuilt, reasons, marked, packsRead } = report;
    const actions: string[] = [];
    if (rebuilt !== undefined) {
      actions.push(`rebuilt the index of ${rebuilt.packs} packs (${reasons.join("; ")})`);
      for (const { id, message } of rebuilt.unreadable) actions.push(`the directory of pack ${id} cannot be read: ${message}`);
    }
    for (const { id, problems } of marked) actions.push(`marked pack ${id} as damaged: ${problems.join("; ")}`);
    return { actions, indexRebuilt: rebuilt !== undefined, packsMarked: marked.map(({ id }) => id), packsRead };
  }

  get keySlots(): KeySlots {
    const { repository } = this;
    return {
      async list(signal) {
        const { listSlots } = await import("./keyslots/keyslots.ts");
        return (await listSlots(repository, signal)).map(({ kdf, ...slot }) => ({ ...slot, function: kdf?.function }));
      },
      async add(unlocking, kdf, label, signal) {
        const { addSlot } = await import("./keyslots/keyslots.ts");
        return await addSlot(repository, unlocking, {
          kdf: unlocking.kind === "keyfile" ? KEYFILE_KDF : (kdf ?? DEFAULT_PASSWORD_KDF),
          label,
          signal,
        });
      },
      async remove(id, proof, signal) {
        const { removeSlot } = await import("./keyslots/keyslots.ts");
        await removeSlot(repository, id, proof, { signal });
      },
      async newEpoch(signal) {
        const { newEpoch } = await import("./keyslots/keyslots.ts");
        return Math.max(...(await newEpoch(repository, signal)).keyring.epochs.map(({ epoch }) => epoch));
      },
      async recoveryKit(options) {
        const { recoveryKit } = await import("./keyslots/recovery-kit.ts");
        return await recoveryKit(repository, options);
      },
    };
  }

  async space(signal?: AbortSignal): Promise<TargetCapacity | undefined> {
    return await this.repository.target.capacity({ signal });
  }

  async capacity(signal?: AbortSignal): Promise<{ storedBytes: number; objects: number; freeBytes: number | undefined }> {
    const stats = await this.repository.target.list("", { signal });
    const space = await this.repository.target.capacity({ signal });
    return {
      storedBytes: stats.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      objects: stats.length,
      freeBytes: space?.freeBytes,
    };
  }

  async #read(signal?: AbortSignal): Promise<SnapshotReader> {
    this.#indexLoaded ??= this.loadIndex(signal).catch((error: unknown) => {
      this.#indexLoaded = undefined;
      throw error;
    });
    await this.#indexLoaded;
    return (this.#reader ??= new SnapshotReader(this.repository));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.repository[Symbol.asyncDispose]();
  }
}
