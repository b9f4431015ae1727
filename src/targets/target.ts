/**
 * The Target contract: a place that keeps immutable, whole objects under slash-separated names
 * (`packs/ab/abcd…`). It knows nothing of snapshots. `test/conformance/target.ts` proves every driver and wrapper.
 *
 * Names match `[a-z0-9._-]+(/[a-z0-9._-]+)*`, no component is `.` or `..`, and the first is not `tmp` (it belongs to
 * the drivers); anything else is a programmer fault, see `names.ts`.
 * Bytes have one owner: parts of a put are only read, and must not change until it settles; what get returns is the
 * caller's own, shared with nobody, so it may be transferred to another thread.
 * Every call may take long, fail with a HoldfastError whose `transient` says whether a retry can help, and
 * rejects with `signal.reason` soon after the signal fires. Calls may overlap freely.
 */
export interface Target extends AsyncDisposable {
  readonly capabilities: TargetCapabilities;

  /**
   * Stores `parts` (concatenated) under `name`, whole or not at all: no reader ever sees a partial object, and when
   * the promise resolves the bytes survive a power loss as far as the medium allows. Never replaces: an existing
   * object is `target_exists` (or success, when the driver can tell that it holds the same bytes).
   */
  put(name: string, parts: readonly Uint8Array[], options?: CallOptions): Promise<void>;

  /**
   * Begins an object whose name is known only when all of it has been written, so that it need not wait in memory.
   * Only drivers have it that can write first and name last; nothing that fails in it can be tried again from within.
   */
  begin?(options?: CallOptions): Promise<UnnamedObject>;

  /** The bytes of an object, or `range` of it. Rejects with `target_missing_object`; a range past the end is `object_damaged`. */
  get(name: string, options?: GetOptions): Promise<Uint8Array>;

  /** Size and time of an object, or undefined when there is none. */
  stat(name: string, options?: CallOptions): Promise<ObjectStat | undefined>;

  /**
   * Every object whose name begins with `prefix` (a folder with its trailing slash, or empty for all), in any order.
   * A missing folder is an empty list. A listing that cannot be completed rejects; it is never cut short silently.
   * Temporary files of unfinished puts are not listed.
   */
  list(prefix: string, options?: CallOptions): Promise<ObjectStat[]>;

  /** Removes an object. Removing what is not there succeeds. */
  delete(name: string, options?: CallOptions): Promise<void>;

  /** Space on the medium, where it can be told. */
  capacity(options?: CallOptions): Promise<TargetCapacity | undefined>;

  /** Removes left-overs of this driver's own unfinished puts that are older than `olderThanMs`; returns how many. */
  cleanUp(olderThanMs: number, options?: CallOptions): Promise<number>;
}

/** An object being written; invisible until it is finished. Disposing of it before leaves nothing. Calls must not overlap. */
export interface UnnamedObject extends AsyncDisposable {
  /** Adds bytes, which may be reused once the promise resolves. */
  append(parts: readonly Uint8Array[]): Promise<void>;
  /** Makes it durable and gives it its name, as `put` would have; an object of that name that holds the same bytes is as good. */
  finish(name: string): Promise<void>;
}

export interface TargetCapabilities {
  /** `strong`: a list begun after a put returned shows it. */
  readonly listing: "strong" | "eventual";
  /** Whether `ObjectStat.modifiedMs` comes from the target's own clock. */
  readonly objectTimes: boolean;
  /** Deleted or replaced objects can be recovered from the target itself. */
  readonly versions: boolean;
  /** Objects cannot be deleted before a time. */
  readonly immutability: boolean;
  /** How many calls in flight make sense. */
  readonly concurrency: number;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface GetOptions extends CallOptions {
  /** Byte offset and length, both within the object. */
  readonly range?: { readonly offset: number; readonly length: number } | undefined;
  /** Ask the target itself, whatever was kept of it: for whoever proves that it still holds the object. */
  readonly fresh?: boolean | undefined;
}

export interface ObjectStat {
  readonly name: string;
  readonly sizeBytes: number;
  /** Milliseconds since 1970 by the target's clock, where `objectTimes`. */
  readonly modifiedMs: number | undefined;
}

export interface TargetCapacity {
  readonly totalBytes: number | undefined;
  readonly freeBytes: number | undefined;
}
