/**
 * What the threads of a backup say to each other. All messages carry batches; bulk bytes are transferred, never cloned.
 *
 *   tree thread ──FileBatch──► main ──► CPU threads ──FileResults──► main ──► tree thread
 *   CPU and tree threads ──ClaimQuestion──► main ──ClaimAnswer──►      (which chunks must be stored, per target)
 *   CPU and tree threads ──SealedFrames──► main ──► pack thread of each target ──Packed──► main
 */
import type { ErrorWire } from "../../../base/errors.ts";
import type { FileStat } from "../../../sources/files/read-file.ts";
import type { Extent, SourceProblem, WalkEvent, FilesWalkOptions, Xattr } from "../../../sources/source.ts";
import type { CodecName } from "../../../codec/compress.ts";
import type { KeyMaterial } from "../keys/key-set.ts";
import type { TargetSpec } from "../../../targets/registry.ts";
import type { PackRecord } from "../objects/index-object.ts";

/** What every thread that makes frames needs to know. One element of `repositories` a target; bit i of a mask is element i. */
export interface SealingSetup {
  readonly repositories: readonly KeyMaterial[];
  readonly codec: CodecName;
  readonly level: number;
  /** Raw bytes after which a frame of small chunks is closed. */
  readonly frameBytes: number;
  /** `file`: no frame holds chunks of two files. */
  readonly grouping: "frame" | "file";
}

/** Files to read, as columns; item i is file `first + i` of the walk. */
export interface FileBatch {
  readonly batch: number;
  /** Number of each file, the tree thread's handle for it. */
  readonly files: Uint32Array<ArrayBuffer>;
  /** Paths joined; path i ends at `pathEnds[i]`. */
  readonly paths: Uint8Array<ArrayBuffer>;
  readonly pathEnds: Uint32Array<ArrayBuffer>;
  readonly sizes: Float64Array<ArrayBuffer>;
  readonly mtimes: BigInt64Array<ArrayBuffer>;
  readonly ctimes: BigInt64Array<ArrayBuffer>;
  readonly inodes: BigUint64Array<ArrayBuffer>;
  readonly uids: Uint32Array<ArrayBuffer>;
  /** Bit 0: may be sparse. Bit 1: second attempt after a change. */
  readonly flags: Uint8Array<ArrayBuffer>;
  /** Set when the batch is one part of one large file. */
  readonly segment?: Segment;
}

/** Part of a large file: cutting goes on where the last part ended, so parts are handed from thread to thread. */
export interface Segment {
  readonly number: number;
  /** Position in the joined data extents. */
  readonly position: number;
  readonly extents: readonly Extent[];
  readonly sparse: boolean;
  readonly stat: FileStat;
}

export const FILE_OK = 0;
export const FILE_UNREADABLE = 1;
export const FILE_VANISHED = 2;
/** A part of a large file that is not its last. */
export const FILE_PART = 3;
/** Bits beside the status. */
export const FILE_RACY = 16;
export const FILE_CHANGED = 32;

/** What reading gave, column i for item i of the batch. */
export interface FileResults {
  readonly batch: number;
  readonly files: Uint32Array<ArrayBuffer>;
  readonly status: Uint8Array<ArrayBuffer>;
  readonly chunkCounts: Uint32Array<ArrayBuffer>;
  /** 32 bytes a chunk, all files joined. */
  readonly ids: Uint8Array<ArrayBuffer>;
  /** Bytes read of each file (of this part). */
  readonly bytes: Float64Array<ArrayBuffer>;
  /** Only for files where there is something to say. */
  readonly extras: readonly FileExtra[];
  /** Number of the part, when the batch was one. */
  readonly segment?: number;
}

export interface FileExtra {
  readonly item: number;
  readonly stat?: FileStat;
  readonly xattrs?: readonly Xattr[];
  readonly extents?: readonly Extent[];
  readonly problem?: { readonly reason: string; readonly message: string };
}

export interface SealedFrame {
  readonly kind: 1 | 2;
  readonly codec: number;
  readonly rawLength: number;
  /** 32 bytes a chunk. */
  readonly chunkIds: Uint8Array<ArrayBuffer>;
  readonly chunkLengths: Uint32Array<ArrayBuffer>;
  /** Sealed bytes; undefined for a repository that does not need the frame. */
  readonly sealed: readonly (Uint8Array<ArrayBuffer> | undefined)[];
}

/** Main thread → CPU thread. */
export type ToCpu =
  | { readonly type: "setup"; readonly sealing: SealingSetup; readonly profile: number; readonly nice: number }
  | { readonly type: "batch"; readonly batch: FileBatch }
  | {
      readonly type: "stream";
      readonly file: number;
      readonly uid: number;
      readonly bytes: Uint8Array<ArrayBuffer> | undefined;
      readonly batch: number;
    }
  | { readonly type: "claims"; readonly batch: number; readonly masks: Uint8Array<ArrayBuffer> }
  | { readonly type: "flush" }
  | { readonly type: "stop" };

/** CPU thread → main thread. */
export type FromCpu =
  | { readonly type: "ready" }
  | { readonly type: "results"; readonly results: FileResults; readonly lengths: Uint32Array<ArrayBuffer> }
  | { readonly type: "continue"; readonly batch: number; readonly segment: Segment }
  | { readonly type: "frames"; readonly frames: readonly SealedFrame[] }
  | { readonly type: "batchStored"; readonly batch: number }
  | { readonly type: "flushed" }
  | { readonly type: "failed"; readonly error: ErrorWire };

/** What the baseline offers: the root tree chunk of the snapshot. */
export interface BaselineRoot {
  readonly root: Uint8Array;
}

/** Main thread → tree thread. */
export type ToTree =
  | {
      readonly type: "setup";
      readonly sealing: SealingSetup;
      readonly profile: number;
      readonly nice: number;
      /** Batches and checks out at a time. */
      readonly ahead: number;
      readonly walk: FilesWalkOptions | undefined;
      readonly baseline: BaselineRoot | undefined;
    }
  | { readonly type: "events"; readonly events: readonly WalkEvent[]; readonly last: boolean }
  | { readonly type: "results"; readonly results: FileResults }
  | { readonly type: "claims"; readonly batch: number; readonly masks: Uint8Array<ArrayBuffer> }
  | { readonly type: "checked"; readonly check: number; readonly missing: Uint8Array<ArrayBuffer> }
  | { readonly type: "frame"; readonly request: number; readonly frame: FetchedFrame | undefined }
  | { readonly type: "stop" };

/** A stored frame with what is needed to open it. */
export interface FetchedFrame {
  readonly kind: 1 | 2;
  readonly codec: number;
  readonly rawLength: number;
  readonly suite: number;
  readonly epoch: number;
  readonly keyId: Uint8Array;
  readonly sealedKey: Uint8Array;
  readonly stored: Uint8Array;
  /** First 16 bytes of each chunk id, and lengths. */
  readonly chunkIds: Uint8Array;
  readonly chunkLengths: Uint32Array;
  /** Which repository's keys open it. */
  readonly repository: number;
}

export interface TreeCounts {
  readonly files: number;
  readonly directories: number;
  readonly others: number;
  readonly sourceBytes: number;
  readonly changedWhileRead: number;
  readonly vanished: number;
  readonly unchangedFiles: number;
}

/** Tree thread → main thread. */
export type FromTree =
  | { readonly type: "files"; readonly batch: FileBatch }
  /** The next file is a once-stream. */
  | { readonly type: "stream"; readonly file: number; readonly once: number; readonly uid: number }
  | {
      readonly type: "claims";
      readonly batch: number;
      readonly ids: Uint8Array<ArrayBuffer>;
      readonly lengths: Uint32Array<ArrayBuffer>;
    }
  /** Are all these chunks (data) usable everywhere? Column `counts` says how many belong to each file. */
  | {
      readonly type: "check";
      readonly check: number;
      readonly ids: Uint8Array<ArrayBuffer>;
      readonly counts: Uint32Array<ArrayBuffer>;
      readonly listIds: Uint8Array<ArrayBuffer>;
    }
  | { readonly type: "fetch"; readonly request: number; readonly id: Uint8Array }
  | { readonly type: "frames"; readonly frames: readonly SealedFrame[] }
  | { readonly type: "problem"; readonly problems: readonly SourceProblem[] }
  | { readonly type: "wantEvents" }
  | {
      readonly type: "walked";
      readonly files: number;
      readonly bytes: number;
      readonly current: Uint8Array | undefined;
      readonly done: boolean;
    }
  | { readonly type: "ended"; readonly root: Uint8Array; readonly counts: TreeCounts }
  | { readonly type: "failed"; readonly error: ErrorWire };

/** Main thread → pack thread. */
export type ToPack =
  | {
      readonly type: "setup";
      readonly target: TargetSpec;
      readonly keys: KeyMaterial;
      readonly packBytes: number;
      readonly nice: number;
    }
  | { readonly type: "frames"; readonly frames: readonly PackFrameBytes[] }
  | { readonly type: "flush" }
  | { readonly type: "abort" };

export interface PackFrameBytes {
  readonly kind: 1 | 2;
  readonly codec: number;
  readonly rawLength: number;
  readonly chunkIds: Uint8Array<ArrayBuffer>;
  readonly chunkLengths: Uint32Array<ArrayBuffer>;
  readonly sealed: Uint8Array<ArrayBuffer>;
}

/** Pack thread → main thread. */
export type FromPack =
  | { readonly type: "ready" }
  /** Frames that left memory; for back pressure. */
  | { readonly type: "accepted"; readonly bytes: number }
  | { readonly type: "packed"; readonly record: PackRecord }
  | { readonly type: "flushed" }
  | { readonly type: "failed"; readonly error: ErrorWire };
