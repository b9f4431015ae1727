import { setImmediate as nextTurn } from "node:timers/promises";
import { throwIfAborted } from "../../base/abort.ts";
import type { SnapshotEntry, SnapshotInfo, Store } from "../../formats/format.ts";
import { entryAt } from "./entries.ts";

/** `modified`: other content. `type`: another type of entry. `metadata`: only mode, owner, times or attributes. */
export type ChangeKind = "added" | "removed" | "modified" | "metadata" | "type";

export interface Change {
  readonly kind: ChangeKind;
  /** Raw path bytes below what is compared. */
  readonly path: Uint8Array;
  readonly before: SnapshotEntry | undefined;
  readonly after: SnapshotEntry | undefined;
}

export interface DiffSide {
  readonly store: Store;
  readonly snapshot: SnapshotInfo;
  readonly path: Uint8Array;
}

/**
 * What changed from `before` to `after`, in tree order. Folders of one store whose whole subtree is equal are not read.
 * Two stores may be compared; then content counts as equal when sizes and mtimes are. An entry that only changed its
 * ctime, inode or link count has not changed. Rejects with `path_missing`.
 */
export async function* diffSnapshots(
  before: DiffSide,
  after: DiffSide,
  signal: AbortSignal,
): AsyncGenerator<readonly Change[], void, undefined> {
  const [a, b] = await Promise.all([
    entryAt(before.store, before.snapshot, before.path, signal),
    entryAt(after.store, after.snapshot, after.path, signal),
  ]);
  const diff = new Diff(before.store, after.store, signal);
  if (a.entry.type === "directory" && b.entry.type === "directory") yield* diff.folders(a, b);
  else {
    const changes = [...diff.compare(a, b)];
    if (changes.length > 0) yield changes;
  }
}

interface Pair {
  readonly before: SnapshotEntry | undefined;
  readonly after: SnapshotEntry | undefined;
}

interface Level {
  readonly before: Cursor | undefined;
  readonly after: Cursor | undefined;
}

const BATCH = 512;
/** Entries that are compared in one turn of the event loop, where all of them are in memory. */
const PAIRS_A_TURN = 4096;

class Diff {
  readonly #before: Store;
  readonly #after: Store;
  readonly #signal: AbortSignal;

  constructor(before: Store, after: Store, signal: AbortSignal) {
    this.#before = before;
    this.#after = after;
    this.#signal = signal;
  }

  async *folders(a: SnapshotEntry, b: SnapshotEntry): AsyncGenerator<readonly Change[], void, undefined> {
    if (this.#same(a, b)) return;
    const stack: Level[] = [this.#level(a, b)];
    let changes: Change[] = [];
    let pairs = 0;
    for (let level = stack.at(-1); level !== undefined; level = stack.at(-1)) {
      if (++pairs % PAIRS_A_TURN === 0) {
        await nextTurn();
        throwIfAborted(this.#signal);
      }
      const pair = await nextPair(level);
      if (pair === undefined) {
        stack.pop();
        continue;
      }
      changes.push(...this.compare(pair.before, pair.after));
      const [x, y] = [folderOf(pair.before), folderOf(pair.after)];
      const skip = x !== undefined && y !== undefined && this.#same(x, y);
      if (!skip && (x !== undefined || y !== undefined)) stack.push(this.#level(x, y));
      if (changes.length < BATCH) continue;
      yield changes;
      changes = [];
    }
    if (changes.length > 0) yield changes;
  }

  *compare(before: SnapshotEntry | undefined, after: SnapshotEntry | undefined): Generator<Change, void, undefined> {
    const path = (after ?? before)?.path ?? new Uint8Array();
    if (before === undefined || after === undefined)
      yield { kind: before === undefined ? "added" : "removed", path, before, after };
    else if (before.entry.type !== after.entry.type) yield { kind: "type", path, before, after };
    else if (before.entry.type !== "directory" && !this.#same(before, after)) yield { kind: "modified", path, before, after };
    else if (!sameMetadata(before, after)) yield { kind: "metadata", path, before, after };
  }

  #same(a: SnapshotEntry, b: SnapshotEntry): boolean {
    if (a.contentKey === b.contentKey) return true;
    // Keys of two stores need not be of one kind.
    if (this.#before === this.#after || a.entry.type !== "file") return false;
    return a.entry.size === b.entry.size && a.entry.meta.mtimeNs === b.entry.meta.mtimeNs;
  }

  #level(a: SnapshotEntry | undefined, b: SnapshotEntry | undefined): Level {
    return {
      before: a === undefined ? undefined : new Cursor(this.#before.list(a, this.#signal)),
      after: b === undefined ? undefined : new Cursor(this.#after.list(b, this.#signal)),
    };
  }
}

/** Reads a listing one entry at a time. */
class Cursor {
  readonly #batches: AsyncIterator<readonly SnapshotEntry[]>;
  #batch: readonly SnapshotEntry[] = [];
  #next = 0;

  constructor(batches: AsyncIterable<readonly SnapshotEntry[]>) {
    this.#batches = batches[Symbol.asyncIterator]();
  }

  async peek(): Promise<SnapshotEntry | undefined> {
    while (this.#next >= this.#batch.length) {
      const next = await this.#batches.next();
      if (next.done === true) return undefined;
      this.#batch = next.value;
      this.#next = 0;
    }
    return this.#batch[this.#next];
  }

  skip(): void {
    this.#next++;
  }
}

async function nextPair({ before, after }: Level): Promise<Pair | undefined> {
  const [a, b] = [await before?.peek(), await after?.peek()];
  if (a === undefined && b === undefined) return undefined;
  const order = a === undefined ? 1 : b === undefined ? -1 : Buffer.compare(a.entry.name, b.entry.name);
  if (order <= 0) before?.skip();
  if (order >= 0) after?.skip();
  return { before: order <= 0 ? a : undefined, after: order >= 0 ? b : undefined };
}

function folderOf(entry: SnapshotEntry | undefined): SnapshotEntry | undefined {
  return entry?.entry.type === "directory" ? entry : undefined;
}

function sameMetadata({ entry: { meta: a } }: SnapshotEntry, { entry: { meta: b } }: SnapshotEntry): boolean {
  return (
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.mtimeNs === b.mtimeNs &&
    a.xattrs.length === b.xattrs.length &&
    a.xattrs.every((xattr, i) => {
      const other = b.xattrs[i];
      return (
        other !== undefined && Buffer.compare(xattr.name, other.name) === 0 && Buffer.compare(xattr.value, other.value) === 0
      );
    })
  );
}
