import type { SnapshotEntry } from "../../formats/format.ts";

/** Another name of the file is under way. */
export const WAIT: unique symbol = Symbol("wait");

interface Group<Waiting> {
  /** Path of a name that is there and right. */
  first: string | undefined;
  /** Path of the name that is being restored by itself. */
  underWay: string | undefined;
  readonly waiting: Waiting[];
  seen: number;
}

/** What follows from a name being there. */
export interface LinkWork<Waiting> {
  /** Names that waited for it. */
  readonly waiting: readonly Waiting[];
  /** Another name was there first: this one, restored by itself meanwhile, is to become a link to it. */
  readonly linkTo: string | undefined;
}

/**
 * Which entries of a restore are names of one file. The first name met is restored by itself; the others wait for it and
 * become links. A group is forgotten when all its names have come, so memory is that of the groups under way.
 */
export class HardLinks<Waiting> {
  readonly #groups = new Map<string, Group<Waiting>>();

  /** The path to link to; `WAIT` when another name is under way (`waiting` is kept); undefined: restore it by itself. */
  claim(entry: SnapshotEntry, path: string, waiting: Waiting): string | typeof WAIT | undefined {
    const key = linkKey(entry);
    if (key === undefined) return undefined;
    const group = this.#groups.get(key);
    if (group === undefined) {
      this.#groups.set(key, { first: undefined, underWay: path, waiting: [], seen: 1 });
      return undefined;
    }
    group.seen++;
    const { first } = group;
    if (first !== undefined) {
      this.#forget(key, group, entry);
      return first;
    }
    group.waiting.push(waiting);
    return WAIT;
  }

  /** A name exists that was right before. */
  kept(entry: SnapshotEntry, path: string): readonly Waiting[] {
    const key = linkKey(entry);
    if (key === undefined) return [];
    let group = this.#groups.get(key);
    if (group === undefined) this.#groups.set(key, (group = { first: undefined, underWay: undefined, waiting: [], seen: 0 }));
    group.seen++;
    group.first ??= path;
    const waiting = group.waiting.splice(0);
    this.#forget(key, group, entry);
    return waiting;
  }

  /** The name that was restored by itself is there. */
  restored(entry: SnapshotEntry, path: string): LinkWork<Waiting> {
    const key = linkKey(entry);
    const group = key === undefined ? undefined : this.#groups.get(key);
    if (key === undefined || group === undefined || group.underWay !== path) return { waiting: [], linkTo: undefined };
    group.underWay = undefined;
    const linkTo = group.first;
    group.first ??= path;
    const waiting = group.waiting.splice(0);
    this.#forget(key, group, entry);
    return { waiting, linkTo };
  }

  /** The name that was restored by itself could not be: the next one takes its place. */
  failed(entry: SnapshotEntry, path: string, pathOf: (waiting: Waiting) => string): Waiting | undefined {
    const key = linkKey(entry);
    const group = key === undefined ? undefined : this.#groups.get(key);
    if (key === undefined || group === undefined || group.underWay !== path) return undefined;
    const next = group.waiting.shift();
    group.underWay = next === undefined ? undefined : pathOf(next);
    if (next === undefined && group.first === undefined) this.#groups.delete(key);
    return next;
  }

  #forget(key: string, group: Group<Waiting>, entry: SnapshotEntry): void {
    if (group.seen >= entry.entry.meta.links && group.waiting.length === 0 && group.underWay === undefined)
      this.#groups.delete(key);
  }
}

/** What equal entries have that are one file. Names whose recorded content differs are files of their own. */
export function linkKey({ entry: { type, meta }, contentKey }: SnapshotEntry): string | undefined {
  return type !== "directory" && meta.links > 1 ? `${meta.device}:${meta.inode}:${type}:${contentKey}` : undefined;
}
