/**
 * What the main thread and the restore threads say to each other. The main thread plans and hands out batches; a thread
 * writes, compares or only decodes them. One message a batch in either direction.
 */
import type { ErrorWire } from "../../base/errors.ts";
import type { Extent, Xattr } from "../../sources/source.ts";

/** `write` makes files, `compare` reads them and compares, `check` only decodes what the store has. */
export type ThreadMode = "write" | "compare" | "check";

/** Files that begin in a batch, column i for file i of the batch that is first in it. */
export interface FileTasks {
  /** Distinct folders, latin1 paths below the destination. */
  readonly folders: readonly string[];
  /** Position in `folders`. */
  readonly folder: Uint32Array<ArrayBuffer>;
  /** Names, latin1, joined by NUL. */
  readonly names: string;
  readonly modes: Uint32Array<ArrayBuffer>;
  readonly uids: Uint32Array<ArrayBuffer>;
  readonly gids: Uint32Array<ArrayBuffer>;
  readonly mtimes: BigInt64Array<ArrayBuffer>;
  readonly sizes: Float64Array<ArrayBuffer>;
  /** 1: must not replace anything. */
  readonly flags: Uint8Array<ArrayBuffer>;
  /** Only for those that have some. */
  readonly xattrs: readonly (readonly [item: number, xattrs: readonly Xattr[]])[];
  /** Data of sparse files. */
  readonly extents: readonly (readonly [item: number, extents: readonly Extent[]])[];
}

export interface ContentMessage {
  readonly type: "content";
  readonly batch: number;
  /** Number of the run's file that is file 0 of the feed's list. */
  readonly base: number;
  readonly payload: unknown;
  /** Positions in the feed's list, in order. */
  readonly files: Float64Array<ArrayBuffer>;
  /** 1: first part of the file, 2: last part. */
  readonly parts: Uint8Array<ArrayBuffer>;
  readonly tasks: FileTasks;
}

export type ToThread =
  | {
      readonly type: "setup";
      readonly mode: ThreadMode;
      readonly destination: Uint8Array;
      /** Descriptor of the destination, which all threads of a process share: opened by its path it might be another one. */
      readonly top: number | undefined;
      readonly decoderModule: string;
      readonly decoderSetup: unknown;
      /** Begins the names of temporary files; unique to the thread. */
      readonly token: string;
      readonly uid: number;
      readonly umask: number;
    }
  | ContentMessage
  /** A file of which the rest will not come. */
  | { readonly type: "drop"; readonly file: number }
  /** Remove what is unfinished; nothing else will come. */
  | { readonly type: "stop" };

export type FromThread =
  | { readonly type: "done"; readonly batch: number; readonly results: BatchResults }
  /** Nothing can go on: no space, a read-only file system. */
  | { readonly type: "fatal"; readonly error: ErrorWire };

export interface BatchResults {
  /** Numbers of files that are finished. */
  readonly finished: readonly number[];
  /** Files whose stored content could not be decoded; nothing of them was left behind. */
  readonly damaged: readonly { readonly file: number; readonly error: ErrorWire }[];
  /** Files that could not be written, or that differ. */
  readonly problems: readonly { readonly file: number; readonly error: ErrorWire }[];
  readonly losses: readonly { readonly file: number; readonly what: string; readonly reason: string }[];
  readonly bytes: number;
}
