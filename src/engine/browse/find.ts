import { setImmediate as nextTurn } from "node:timers/promises";
import { throwIfAborted } from "../../base/abort.ts";
import type { EntryType } from "../../sources/source.ts";
import { nameText } from "../../sources/files/exclude.ts";
import { compileGlobText } from "./glob.ts";
import type { SnapshotEntry, SnapshotInfo, Store } from "../../formats/format.ts";

/** Folders of which the result is remembered; beyond that the oldest are searched again when they are met again. */
const REMEMBERED = 100_000;
/** Folders that are looked at in one turn of the event loop, where all of them are in memory. */
const FOLDERS_A_TURN = 64;

export interface FindQuery {
  /** A glob: `*` and `?` within a name, `**` across folders, `[a-z]`. With a slash it matches whole paths, else names. */
  readonly pattern: string;
  readonly ignoreCase: boolean;
  /** Only entries of this type. */
  readonly type: EntryType | undefined;
  /** Search below this path. */
  readonly path: Uint8Array;
}

export interface Found {
  readonly snapshot: SnapshotInfo;
  readonly entry: SnapshotEntry;
}

/**
 * Finds entries in one or many snapshots of a store. A folder that is equal in several snapshots, and lies at the same
 * path, is read once; folders without a match are remembered as such. A path that a snapshot lacks finds nothing in it.
 */
export async function* findEntries(
  store: Store,
  snapshots: readonly SnapshotInfo[],
  query: FindQuery,
  signal: AbortSignal,
): AsyncGenerator<Found, void, undefined> {
  const matches = compileGlob(query.pattern, query.ignoreCase);
  const search = new Search(
    store,
    signal,
    (entry) => (query.type === undefined || entry.entry.type === query.type) && matches(entry),
  );
  for (const snapshot of snapshots) {
    const start = await store.lookup(snapshot, query.path, signal);
    if (start === undefined) continue;
    if (start.entry.type !== "directory") {
      if (search.matches(start)) yield { snapshot, entry: start };
      continue;
    }
    for await (const entry of search.below(start)) yield { snapshot, entry };
  }
}

/** What is known of a folder: its matches, and the folders in it that have some or are not known. */
interface Known {
  readonly hits: readonly SnapshotEntry[];
  readonly folders: readonly SnapshotEntry[];
}

class Search {
  readonly #store: Store;
  readonly #signal: AbortSignal;
  readonly matches: (entry: SnapshotEntry) => boolean;
  /** By path and tree: where a pattern with slashes matches depends on both. */
  readonly #known = new Map<string, Known>();
  #looked = 0;

  constructor(store: Store, signal: AbortSignal, matches: (entry: SnapshotEntry) => boolean) {
    this.#store = store;
    this.#signal = signal;
    this.matches = matches;
  }

  async *below(start: SnapshotEntry): AsyncGenerator<SnapshotEntry, void, undefined> {
    const stack = [start];
    for (let folder = stack.pop(); folder !== undefined; folder = stack.pop()) {
      if (++this.#looked % FOLDERS_A_TURN === 0) {
        await nextTurn();
        throwIfAborted(this.#signal);
      }
      const known = await this.#look(folder);
      yield* known.hits;
      for (let i = known.folders.length - 1; i >= 0; i--) stack.push(known.folders[i] as SnapshotEntry);
    }
  }

  async #look(folder: SnapshotEntry): Promise<Known> {
    const key = `${folder.contentKey} ${Buffer.from(folder.path).toString("latin1")}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const hits: SnapshotEntry[] = [];
    const folders: SnapshotEntry[] = [];
    for await (const entries of this.#store.list(folder, this.#signal))
      for (const entry of entries) {
        if (this.matches(entry)) hits.push(entry);
        if (entry.entry.type === "directory") folders.push(entry);
      }
    if (this.#known.size >= REMEMBERED)
      for (const oldest of this.#known.keys()) {
        this.#known.delete(oldest);
        break;
      }
    const found = { hits, folders };
    this.#known.set(key, found);
    return found;
  }
}

/** A test for entries from a glob. Names that are not UTF-8 are matched one character a byte. */
export function compileGlob(pattern: string, ignoreCase: boolean): (entry: SnapshotEntry) => boolean {
  const fits = compileGlobText(pattern, ignoreCase);
  if (!pattern.includes("/")) return (entry) => fits(textOf(entry.entry.name));
  return (entry) => fits(textOf(entry.path).replace(/^(?!\/)/, "/"));
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1").split("/").map(nameText).join("/");
}
