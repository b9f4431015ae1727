/**
 * The Format contract: how snapshots are kept on a target. Commands, retention, restore and the page speak only to
 * this and never ask which format it is; what a format cannot do it says in `capabilities`.
 * `test/conformance/format.ts` proves the repository and the archive.
 */
import type { Progress, RunStatus } from "../base/events.ts";
import type { RunId, SnapshotId } from "../base/ids.ts";
import type { ChunkProfile, Entry, EntryStream } from "../sources/source.ts";

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

/** What a backup hands to a format. */
export interface WriteRequest {
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
  readonly description: string;
  readonly tags: readonly string[];
  readonly configDigest: string | undefined;
  readonly gitCommit: string | undefined;
  readonly toolVersion: string;
  readonly dryRun: boolean;
  readonly onProgress: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

/** One entry of a snapshot as a reader gives it. */
export interface SnapshotEntry {
  /** Raw path bytes from the root, `/` between components, beginning with `/`. */
  readonly path: Uint8Array;
  readonly entry: Entry;
  /** Opaque address of the content for `read`. */
  readonly ref: unknown;
  readonly changedWhileRead: boolean;
}
