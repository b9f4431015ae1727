/**
 * The Format contract: how snapshots are kept on a target. Commands, retention, restore and the page speak only to
 * this and never ask which format it is; what a format cannot do it says in `capabilities`.
 * `test/conformance/format.ts` proves the repository and the archive.
 */
import type { ErrorWire, HoldfastError } from "../base/errors.ts";
import type { Progress, RunStatus } from "../base/events.ts";
import type { Clock } from "../base/clock.ts";
import type { RepositoryId, RunId, SnapshotId } from "../base/ids.ts";
import type { Randomness } from "../base/random.ts";
import type { Secret } from "../base/secret.ts";
import type { TargetAccess } from "../targets/access.ts";
import type { TargetCapacity } from "../targets/target.ts";
import type { ChunkProfile, Entry, EntryStream, Extent } from "../sources/source.ts";

export type SnapshotMode = "full" | "incremental" | "differential";

export interface UnreadableEntry {
  /** Path for people; bytes that are not UTF-8 are shown as `\xNN`. */
  readonly path: string;
  readonly reason: string;
  readonly message: string;
}

/** Everything a snapshot says of itself. */
export interface SnapshotInfo {
  readonly id: SnapshotId;
  readonly run: RunId;
  readonly host: string;
  readonly job: string;
  readonly source: string;
  /** Type of the source: `files`, `command`, … */
  readonly sourceType: string;
  /** Start of the reading, milliseconds since 1970. */
  readonly timeMs: number;
  readonly endMs: number;
  readonly mode: SnapshotMode;
  /** The snapshot that change detection used. */
  readonly baseline: SnapshotId | undefined;
  /** The newest snapshot of the same host, job and source when this one was taken. */
  readonly previous: SnapshotId | undefined;
  readonly status: Extract<RunStatus, "success" | "partial">;
  /** Logical bytes of all files. */
  readonly sourceBytes: number;
  /** Raw bytes of chunks that the target did not hold. */
  readonly newBytes: number;
  /** Bytes this snapshot added to the target. */
  readonly storedBytes: number;
  readonly files: number;
  readonly directories: number;
  readonly others: number;
  /** The first 1,000 entries that could not be read, and how many there were. */
  readonly unreadable: readonly UnreadableEntry[];
  readonly unreadableCount: number;
  /** Files that changed twice while they were read. */
  readonly changedWhileRead: number;
  readonly toolVersion: string;
  readonly configDigest: string | undefined;
  readonly gitCommit: string | undefined;
  readonly description: string;
  readonly tags: readonly string[];
  /** Held until this time (ms), for ever (`true`), or not (`false`). */
  readonly hold: number | boolean;
  readonly facts: Readonly<Record<string, unknown>>;
  /** The target's own time of the snapshot object, where it has one. */
  readonly objectTimeMs: number | undefined;
  /** Root tree id, hex; empty for formats without trees. */
  readonly root: string;
}

export interface FormatCapabilities {
  readonly incremental: boolean;
  readonly randomAccess: boolean;
  readonly annotate: boolean;
  readonly prune: boolean;
}

/** What a writer may take from the machine; undefined is unbounded. */
export interface WriteLimits {
  readonly cpuThreads: number | undefined;
  /** Content of the source. */
  readonly readBytesPerSecond: number | undefined;
  /** 0 to 19, as of nice(2). */
  readonly nice: number;
}

/** What a backup hands to a format. */
export interface WriteRequest {
  /** The id of the snapshot that is copied: equal on every target. Default: a new one. */
  readonly id?: SnapshotId | undefined;
  readonly run: RunId;
  readonly host: string;
  readonly job: string;
  readonly source: string;
  readonly sourceType: string;
  readonly profile: ChunkProfile;
  readonly mode: SnapshotMode;
  readonly baseline: SnapshotInfo | undefined;
  readonly previous: SnapshotId | undefined;
  readonly stream: EntryStream;
  /** Called when the last byte was read; its rejection aborts the commit. */
  readonly finishSource: () => Promise<Readonly<Record<string, unknown>>>;
  readonly compression: { readonly type: "none" | "zstd" | "gzip"; readonly level: number };
  readonly grouping: "frame" | "file";
  /** What a repository's writer may take from the machine. Default: all it can use. */
  readonly limits?: WriteLimits | undefined;
  /** What the snapshot that is read back could not read itself; counted into the new one. */
  readonly inherited?: Pick<SnapshotInfo, "unreadable" | "unreadableCount" | "changedWhileRead"> | undefined;
  readonly description: string;
  readonly tags: readonly string[];
  readonly configDigest: string | undefined;
  readonly gitCommit: string | undefined;
  readonly toolVersion: string;
  readonly dryRun: boolean;
  readonly onProgress: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

/** What became of a write on one store. */
export type WriteResult =
  | { readonly store: string; readonly snapshot: SnapshotInfo }
  | { readonly store: string; readonly error: HoldfastError };

/** One entry of a snapshot as a reader gives it. */
export interface SnapshotEntry {
  /** Raw path bytes from the root, `/` between components, beginning with `/`; the root itself is `/`. */
  readonly path: Uint8Array;
  /** `entry.content` is never set here; content is read through the store. */
  readonly entry: Entry;
  /** Data extents of a sparse file; undefined for a file without holes. */
  readonly extents: readonly Extent[] | undefined;
  readonly changedWhileRead: boolean;
  /** The format's own handle for the content; serialisable, opaque to everyone else. Equal handles mean equal content. */
  readonly ref: unknown;
  /** A stable text that is equal for two entries exactly when their content is (files) or whole subtree is (directories). */
  readonly contentKey: string;
}

/**
 * Content of many files on its way to threads. The main thread runs `batches`, which fetches stored bytes and never decodes
 * them; a thread imports `decoderModule`, calls its `createDecoder(decoderSetup): ContentDecoder` once, and feeds it.
 */
export interface ContentFeed {
  /** URL of a module that exports `createDecoder`. */
  readonly decoderModule: string;
  readonly decoderSetup: unknown;
  /** Stored bytes for the files, in their order. A file that cannot be read is reported through `problem` and left out. */
  batches(files: readonly SnapshotEntry[]): AsyncIterable<ContentBatch>;
}

export interface ContentBatch {
  /** Structured-cloneable; `transfer` lists its buffers. */
  readonly payload: unknown;
  readonly transfer: readonly ArrayBuffer[];
  /** Files (positions in the list given to `batches`) of which this batch holds content, in order. */
  readonly files: readonly { readonly file: number; readonly first: boolean; readonly last: boolean }[];
  /** Raw bytes in it. */
  readonly rawBytes: number;
  /** Files that cannot be delivered, found while fetching. */
  readonly failed: readonly { readonly file: number; readonly error: ErrorWire }[];
}

/** A piece of a file's content; `offset` is the place in the file itself (holes counted). `bytes` is valid until the next piece. */
export interface ContentPiece {
  readonly file: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface ContentDecoder {
  /** Decodes and verifies a batch. A file whose content is damaged yields an `error` instead of its pieces. */
  decode(payload: unknown): Iterable<ContentPiece | { readonly file: number; readonly error: HoldfastError }>;
}

export interface VerifyOptions {
  /** Empty: all snapshots. */
  readonly snapshots: readonly SnapshotId[];
  /** Part of the packs whose every byte is read: 0 to 1. */
  readonly readData: number;
  readonly onProgress: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

/** One line of a verification. */
export interface VerifyCheck {
  readonly name: string;
  readonly checked: number;
  readonly failed: number;
  /** What was not done, and why; undefined when it was done whole. */
  readonly note?: string | undefined;
}

export interface VerifyDamage {
  /** `pack`, `index`, `snapshot`, `tree`, `chunk`, … and its id. */
  readonly kind: string;
  readonly id: string;
  readonly message: string;
  /** Snapshots and paths that depend on it; the first 100 paths. */
  readonly snapshots: readonly SnapshotId[];
  readonly paths: readonly string[];
}

export interface VerifyReport {
  readonly ok: boolean;
  readonly checks: readonly VerifyCheck[];
  readonly damage: readonly VerifyDamage[];
  readonly snapshots: number;
  readonly bytesRead: number;
  /** `structure`, `data`, or the part of the data that was read: `data 0.1`. */
  readonly level: string;
}

export interface PruneOptions {
  readonly dryRun: boolean;
  /** Delete what this prune condemns at once; needs strong listing and no other lease. */
  readonly immediate: boolean;
  /** Milliseconds a condemned pack stays. */
  readonly graceMs: number;
  /** Part of the stored bytes that may stay unused without rewriting: 0.05. */
  readonly maxUnused: number;
  /** Store anew also what is sealed under a key epoch before the newest. Rejects with `unsupported` where there is one epoch only. */
  readonly oldEpochs?: boolean | undefined;
  readonly compression: { readonly type: "none" | "zstd" | "gzip"; readonly level: number };
  readonly onProgress: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

export interface PruneReport {
  readonly packsBefore: number;
  readonly bytesBefore: number;
  readonly liveBytes: number;
  readonly packsKept: number;
  readonly packsRepacked: number;
  readonly bytesWritten: number;
  readonly packsCondemned: number;
  readonly bytesCondemned: number;
  readonly packsDeleted: number;
  readonly bytesDeleted: number;
  readonly indexObjectsReplaced: number;
  /** Snapshots and notes that were stored once more under the newest key epoch. */
  readonly objectsCopied: number;
  readonly notes: readonly string[];
}

export interface RepairOptions {
  /** Rebuild the index even when nothing seems wrong with it. */
  readonly index: boolean;
  /** Read every pack, and mark those that cannot be read. */
  readonly readData: boolean;
  readonly onProgress: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

export interface RepairReport {
  /** What was done and found, for people; empty when nothing was wrong. */
  readonly actions: readonly string[];
  readonly indexRebuilt: boolean;
  /** Packs newly marked as damaged. */
  readonly packsMarked: readonly string[];
  readonly packsRead: number;
}

export interface KeySlot {
  /** 32 hex digits. */
  readonly id: string;
  readonly label: string;
  readonly created: string;
  /** `argon2id`, `scrypt`, `pbkdf2`, `keyfile`; undefined for a slot that cannot be read. */
  readonly function: string | undefined;
  readonly problem: string | undefined;
  /** True for the slot that opened this store. */
  readonly inUse: boolean;
}

/** The ways into an encrypted store. Every change writes first, opens with what it wrote, and only then deletes. */
export interface KeySlots {
  list(signal?: AbortSignal): Promise<KeySlot[]>;
  /** Adds a way in and returns its id. */
  add(unlocking: Unlocking, kdf: KdfChoice | undefined, label: string, signal?: AbortSignal): Promise<string>;
  /** Removes one, after `proof` has opened another. Rejects with `key_last` for the only one. */
  remove(id: string, proof: Unlocking, signal?: AbortSignal): Promise<void>;
  /** A new master key for everything written from now on. */
  newEpoch(signal?: AbortSignal): Promise<number>;
  /** One printable page. `where` says where the target is. */
  recoveryKit(options: {
    readonly slot?: string | undefined;
    readonly where: string;
    readonly signal?: AbortSignal | undefined;
  }): Promise<string>;
}

/** A change to what is said of a snapshot. */
export interface Annotation {
  readonly addTags?: readonly string[];
  readonly removeTags?: readonly string[];
  /** Milliseconds since 1970, for ever, or none. */
  readonly hold?: number | boolean;
  readonly description?: string;
}

/** Notes of one store, the newest of each. */
export interface StoreObservations {
  readonly verifications: ReadonlyMap<string, { readonly timeMs: number; readonly ok: boolean }>;
  readonly policies: ReadonlyMap<string, { readonly timeMs: number; readonly policy: unknown }>;
  readonly lastPruneMs: number | undefined;
  /** Target time minus local time, where the target tells one. */
  readonly clockSkewMs: number | undefined;
}

/** What opening or creating a store needs. */
export interface StoreOptions {
  /** The target's name. */
  readonly name: string;
  readonly access: TargetAccess;
  readonly clock: Clock;
  readonly random: Randomness;
  readonly host: string;
  readonly appendOnly: boolean;
  readonly packBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A way to keep snapshots; `formats/registry.ts` has them by name. */
export interface Format {
  readonly kind: "repository" | "archive";
  /** True when the target holds something of this format. Rejects with `object_foreign` when it holds something else. */
  exists(options: StoreOptions): Promise<boolean>;
  /** Rejects with `repository_missing` or `key_wrong`. The first of `unlockings` that fits opens it. */
  open(options: StoreOptions, unlockings: readonly Unlocking[]): Promise<Store>;
  /** Makes an empty one. `kin` are stores of the same configuration, whose lineage is shared. */
  create(
    options: StoreOptions,
    unlocking: Unlocking | undefined,
    kdf: KdfChoice | undefined,
    kin: readonly Store[],
  ): Promise<Store>;
  /**
   * Starts the threads of the next `write` while its caller still opens stores; disposing ends those that were not needed.
   * Fewer where a baseline is expected: most of them may then have nothing to do.
   */
  warmUp?(limits: WriteLimits | undefined, expectsBaseline: boolean): Disposable;
  /** Writes one entry stream to stores of this format; one outcome a store, in their order. */
  write(stores: readonly Store[], request: WriteRequest): Promise<WriteResult[]>;
}

/** A way into an encrypted store: a password or the content of a key file. */
export interface Unlocking {
  readonly kind: "password" | "keyfile";
  readonly secret: Secret;
}

/** How a new key slot derives its key from a password. */
export type KdfChoice =
  | { readonly function: "argon2id"; readonly memoryKiB: number; readonly passes: number; readonly parallelism: number }
  | { readonly function: "scrypt"; readonly logN: number; readonly r: number; readonly p: number }
  | { readonly function: "pbkdf2"; readonly hash: "sha512"; readonly iterations: number; readonly saltBytes?: number };

/** A format opened on one target. Disposing releases the target and threads; nothing on the target depends on it. */
export interface Store extends AsyncDisposable {
  /** The target's name. */
  readonly name: string;
  readonly format: "repository" | "archive";
  readonly capabilities: FormatCapabilities;

  /**
   * What a pin compares: the repository's id, its keyring's fingerprint and generation. A target that comes back with
   * another id, or an older generation, is not the one that was there. Undefined where the format has none.
   */
  readonly identity: { readonly repository: RepositoryId; readonly keyring: string; readonly generation: number } | undefined;

  /** What was noted on the target about what was done to it. */
  observations(signal?: AbortSignal): Promise<StoreObservations>;

  /** Notes the retention that was applied to a job: any JSON value. */
  notePolicy(job: string, policy: unknown, signal?: AbortSignal): Promise<void>;

  /** Notes the result of a verification of a job's snapshots. */
  noteVerification(
    jobs: readonly string[],
    snapshots: readonly SnapshotId[],
    report: VerifyReport,
    signal?: AbortSignal,
  ): Promise<void>;

  /** All snapshots that are not deleted, oldest first, with their annotations applied. A damaged one is reported through `onDamaged`. */
  snapshots(options?: {
    readonly signal?: AbortSignal;
    readonly onDamaged?: (id: string, error: HoldfastError) => void;
  }): Promise<SnapshotInfo[]>;

  /** One entry by its path, or undefined. */
  lookup(snapshot: SnapshotInfo, path: Uint8Array, signal?: AbortSignal): Promise<SnapshotEntry | undefined>;

  /** The entries of a directory (an entry of this store), sorted by raw name, in batches. */
  list(directory: SnapshotEntry, signal?: AbortSignal): AsyncIterable<readonly SnapshotEntry[]>;

  /** A file's content in order, holes as zeros. Rejects with `object_damaged` or `chunk_missing`. */
  read(file: SnapshotEntry, options?: { readonly signal?: AbortSignal }): AsyncIterable<Uint8Array>;

  /** Content for threads. */
  content(signal: AbortSignal): ContentFeed;

  /** Forgets snapshots. Refuses held ones. Space is freed by `prune`. */
  delete(snapshots: readonly SnapshotInfo[], options: { readonly reason: string; readonly signal?: AbortSignal }): Promise<void>;

  annotate(snapshot: SnapshotInfo, annotation: Annotation, signal?: AbortSignal): Promise<void>;

  verify(options: VerifyOptions): Promise<VerifyReport>;

  prune(options: PruneOptions): Promise<PruneReport>;

  /** Mends what can be mended without the source. Rejects with `unsupported` where there is nothing to mend. */
  repair(options: RepairOptions): Promise<RepairReport>;

  /** Its key slots; undefined where it is not encrypted. */
  readonly keySlots: KeySlots | undefined;

  /** Space on the target's medium, where it can be told; cheap. */
  space(signal?: AbortSignal): Promise<TargetCapacity | undefined>;

  /** What the store takes, counted object by object. */
  capacity(
    signal?: AbortSignal,
  ): Promise<{ readonly storedBytes: number; readonly objects: number; readonly freeBytes: number | undefined }>;
}
