/**
 * The Source contract: something to protect, as a stream of entries in tree order. Everything here is serialisable
 * (structured clone), because entries cross threads. `test/conformance/source.ts` proves every source.
 */

/** Name of a chunking profile; see `docs/format.md`. */
export type ChunkProfile = "files" | "stream" | "pages64" | "pages16";

export type EntryType = "file" | "directory" | "symlink" | "chardev" | "blockdev" | "fifo" | "socket";

/** Extended attribute; ACLs are those named `system.posix_acl_access` and `system.posix_acl_default`. */
export interface Xattr {
  /** Raw name bytes without NUL. */
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

/** What a snapshot keeps of an entry besides its content. */
export interface EntryMeta {
  /** Permission bits with setuid, setgid and sticky: `mode & 0o7777`. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Owner names as the system knows them, or empty. */
  readonly user: string;
  readonly group: string;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly inode: bigint;
  /** Link count. */
  readonly links: number;
  /** Device number the entry lies on, for telling hard links. */
  readonly device: bigint;
  /** Sorted by name, bytewise. */
  readonly xattrs: readonly Xattr[];
}

/** A run of data in a sparse file; bytes between extents are holes. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

export interface Entry {
  /** Raw bytes of the last path component. */
  readonly name: Uint8Array;
  readonly type: EntryType;
  readonly meta: EntryMeta;
  /** Logical size of a file, bytes; 0 for everything else. */
  readonly size: number;
  /** Raw bytes of a symlink's target. */
  readonly linkTarget?: Uint8Array;
  /** Device number of a character or block device. */
  readonly rdev?: bigint;
  /**
   * Where a file's content comes from. `open`: a worker opens the path, and reads the file's xattrs from it, too.
   * `once`: the stream of this number, read once; its length need not be known before, so `size` may be 0 here and
   * the true size is what reading it to the end gives.
   */
  readonly content?: { readonly open: Uint8Array; readonly sparse: boolean } | { readonly once: number };
  /** A directory that could not be listed: kept with its metadata, without content. */
  readonly unreadable?: boolean;
}

/** One step of a walk. A directory is entered, its entries follow sorted by raw name, then it is left. */
export type WalkEvent =
  | { readonly step: "enter"; readonly entry: Entry }
  | { readonly step: "leaf"; readonly entry: Entry }
  | { readonly step: "leave" };

/** Something a source could not read. Ends up in the snapshot, and makes the run `partial`. */
export interface SourceProblem {
  /** Raw path bytes. */
  readonly path: Uint8Array;
  /** errno name or a short stable word. */
  readonly reason: string;
  readonly message: string;
}

/** What is at `path` is read at `at`: in a snapshot of its file system, or, below one, where it really lies. Raw bytes, absolute. */
export interface View {
  readonly path: Uint8Array;
  readonly at: Uint8Array;
}

/** Options of a files source as the walker needs them; plain values only. */
export interface FilesWalkOptions {
  /** Absolute paths, raw bytes. */
  readonly paths: readonly Uint8Array[];
  /** gitignore rules in order, relative to each of `paths`; a later rule wins; `!` re-includes. */
  readonly exclude: readonly string[];
  readonly excludeIfPresent: readonly string[];
  readonly excludeLargerThanBytes: number | undefined;
  readonly oneFileSystem: boolean;
  readonly minimumEntries: number;
  /** None: everything is read where it is. */
  readonly views?: readonly View[] | undefined;
}

/** How the entries come: walked by the tree thread itself, or sent to it. */
export type EntryStream =
  | { readonly kind: "files"; readonly options: FilesWalkOptions }
  | {
      readonly kind: "events";
      readonly events: AsyncIterable<readonly WalkEvent[]>;
      /** Content of `{ once: n }` entries; each is opened at most once, in entry order. */
      readonly openOnce: (n: number) => AsyncIterable<Uint8Array>;
    };

/** A source at its consistency point. Disposing it releases whatever the point held. */
export interface OpenSource extends AsyncDisposable {
  readonly stream: EntryStream;
  /** What changes from now on is not seen any more: whoever was held still for it may go on. */
  readonly isFrozen?: boolean;
  /** Facts for the snapshot: tool versions, row counts. Complete once the stream has ended. */
  facts(): Readonly<Record<string, unknown>>;
  /**
   * Called after the last byte was read. Rejects when the source knows that what it yielded is not good
   * (a command that exited with 1): nothing is committed then.
   */
  finish(): Promise<void>;
}

export interface Source {
  readonly type: string;
  readonly profile: ChunkProfile;
  /** Establishes the consistency point. Rejects with `source_unavailable` or `command_failed`. */
  open(options: { readonly signal: AbortSignal }): Promise<OpenSource>;
}
