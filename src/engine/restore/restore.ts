/** What a restore is asked for and what it says of itself. */
import type { ErrorCode, HoldfastError } from "../../base/errors.ts";
import type { Progress } from "../../base/events.ts";
import type { SnapshotEntry, SnapshotInfo, Store } from "../../formats/format.ts";

/** Which existing files give way: never; those of another type, size or mtime; those older than the snapshot's; all. */
export type OverwritePolicy = "never" | "if-changed" | "if-newer" | "always";

export interface RestoreRequest {
  readonly store: Store;
  readonly snapshot: SnapshotInfo;
  /** Absolute raw path inside the snapshot; `/` for all of it. */
  readonly path: Uint8Array;
  /**
   * `folder`: with path `/`, absolute paths are made anew below it; else the content of the folder at `path`, or the one
   * entry at `path`, goes into it. Its own path may lead through symlinks. `live`: where it came from.
   */
  readonly destination: { readonly kind: "folder"; readonly path: Uint8Array } | { readonly kind: "live" };
  /** gitignore rules against paths from the snapshot's root. Empty: everything is included. */
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  readonly overwrite: OverwritePolicy;
  /** Remove what the snapshot does not have, inside restored folders only. */
  readonly delete: boolean;
  /** The user agreed to a restore over live data; needed for `live` and for a folder that is `/`. */
  readonly confirmedLive: boolean;
  /**
   * The source's configured paths. Folders above them are only the way: what exists of them is neither changed nor cleaned.
   * Undefined: unknown, and `delete` on live data is refused.
   */
  readonly roots: readonly Uint8Array[] | undefined;
  /** Real paths of folders; the destination, once it is open, must lie inside one. Undefined: anywhere. */
  readonly within?: readonly Uint8Array[] | undefined;
  /** Absolute live paths that are never deleted or replaced: targets, the state folder. */
  readonly protect: readonly Uint8Array[];
}

/**
 * One step of a restore. `path` is relative to the destination, one character a byte (latin1), without slashes at the
 * ends; empty for the destination itself.
 */
export type RestoreAction =
  | EnterAction
  | EntryAction
  /** A folder has no more steps. */
  | { readonly act: "exit"; readonly path: string }
  | { readonly act: "delete"; readonly path: string; readonly directory: boolean }
  /** Something else is there and stays; for a folder, everything below is left out. */
  | { readonly act: "conflict"; readonly path: string; readonly error: HoldfastError }
  /** A folder of the snapshot cannot be read. */
  | { readonly act: "damaged"; readonly path: string; readonly error: HoldfastError };

/** A folder comes; steps inside it follow. */
export interface EnterAction {
  readonly act: "enter";
  readonly path: string;
  /** Undefined for a destination that is no folder of the snapshot. */
  readonly entry: SnapshotEntry | undefined;
  readonly exists: boolean;
  /** What stands in its place and is removed first is no folder. */
  readonly replaces: boolean;
  /** Its metadata is restored at the end. */
  readonly settle: boolean;
  /** It only leads to what is restored. */
  readonly way: boolean;
}

/** Anything but a folder. `metadata`: its content is right already. */
export interface EntryAction {
  readonly act: "create" | "replace" | "metadata" | "keep";
  readonly path: string;
  readonly entry: SnapshotEntry;
  /** What exists has the snapshot's content. */
  readonly equal: boolean;
  /** A folder stands in its place and is removed first. */
  readonly removesFolder: boolean;
}

/** Something that was not restored. */
export interface RestoreProblem {
  /** Live path for people. */
  readonly path: string;
  readonly code: ErrorCode;
  /** Names the path already. */
  readonly message: string;
  readonly hint: string | undefined;
}

/** Metadata that could not be set: the entry is there, but not exactly as it was. */
export interface RestoreLoss {
  readonly path: string;
  /** `owner`, `mode`, `times`, `hard link`, or the name of an attribute. */
  readonly what: string;
  /** errno name. */
  readonly reason: string;
}

export interface RestoreReport {
  /**
   * `partial` when anything was not restored, lost metadata, or was found to differ. Folders that only lead to what is
   * restored do not count: a user's own files lie below folders of root.
   */
  readonly status: "success" | "partial";
  readonly created: number;
  readonly replaced: number;
  /** Entries of which only metadata was set; folders are not counted. */
  readonly metadata: number;
  readonly kept: number;
  readonly deleted: number;
  readonly directories: number;
  /** Files whose content was written, and its bytes without holes. */
  readonly files: number;
  readonly bytes: number;
  /** The first 1,000, and how many there were. */
  readonly problems: readonly RestoreProblem[];
  readonly problemCount: number;
  readonly losses: readonly RestoreLoss[];
  readonly lossCount: number;
  /** Files read back and compared, when that was asked for. */
  readonly verifiedFiles: number;
}

export interface PerformOptions {
  /** Read everything that is needed before anything is touched. */
  readonly verifyFirst: boolean;
  /** Read the restored files back and compare them. */
  readonly verify: boolean;
  readonly onProgress: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

/** How many problems and losses a report lists. */
export const MAX_LISTED = 1000;
