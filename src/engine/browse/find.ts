import type { EntryType } from "../../sources/source.ts";
import { nameText } from "../../sources/files/exclude.ts";
import type { SnapshotEntry, SnapshotInfo, Store } from "../../formats/format.ts";

/** Folders of which the result is remembered; beyond that the oldest are searched again when they are met again. */
const REMEMBERED = 100_000;

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

  constructor(store: Store, signal: AbortSignal, matches: (entry: SnapshotEntry) => boolean) {
    this.#store = store;
    this.#signal = signal;
    this.matches = matches;
  }

  async *below(start: SnapshotEntry): AsyncGenerator<SnapshotEntry, void, undefined> {
    const stack = [start];
    for (let folder = stack.pop(); folder !== undefined; folder = stack.pop()) {
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
  const expression = new RegExp(`^${globSource(pattern)}$`, ignoreCase ? "isu" : "su");
  if (!pattern.includes("/")) return (entry) => expression.test(textOf(entry.entry.name));
  return (entry) => expression.test(textOf(entry.path).replace(/^(?!\/)/, "/"));
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1").split("/").map(nameText).join("/");
}

function globSource(pattern: string): string {
  // A path pattern that does not begin at the root may begin at any folder.
  const whole = pattern.includes("/") && !pattern.startsWith("/") ? `/**/${pattern.replace(/^\*\*\//, "")}` : pattern;
  let source = "";
  for (let i = 0; i < whole.length;) {
    const rest = whole.slice(i);
    const set = /^\[([!^]?)(\]?[^\]]*)\]/.exec(rest);
    if (rest.startsWith("/**/")) {
      source += "/(?:.*/)?";
      i += 4;
    } else if (rest === "/**") {
      source += "/.*";
      i += 3;
    } else if (rest.startsWith("**")) {
      source += ".*";
      i += 2;
    } else if (rest.startsWith("*")) {
      source += "[^/]*";
      i++;
    } else if (rest.startsWith("?")) {
      source += "[^/]";
      i++;
    } else if (set !== null && set[2] !== "") {
      source += `(?!/)[${set[1] === "" ? "" : "^"}${setSource(set[2] as string)}]`;
      i += set[0].length;
    } else {
      const at = rest.startsWith("\\") && rest.length > 1 ? 1 : 0;
      const char = String.fromCodePoint(rest.codePointAt(at) as number);
      source += char.replace(/[\\^$.*+?()[\]{}|/]/, "\\$&");
      i += at + char.length;
    }
  }
  return source;
}

/** A range that runs backwards is its three characters. */
function setSource(set: string): string {
  const escaped = (char: string): string => char.replace(/[\\\]^[\-&~|()/{}.]/, "\\$&");
  const chars = Array.from(set);
  let source = "";
  for (let i = 0; i < chars.length; i++) {
    const [from, dash, to] = [chars[i] as string, chars[i + 1], chars[i + 2]];
    if (dash === "-" && to !== undefined && (from.codePointAt(0) as number) <= (to.codePointAt(0) as number)) {
      source += `${escaped(from)}-${escaped(to)}`;
      i += 2;
    } else source += escaped(from);
  }
  return source;
}
