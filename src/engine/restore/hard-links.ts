import type { Entry } from "../../sources/source.ts";

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
  claim(entry: Entry, path: string, waiting: Waiting): string | typeof WAIT | undefined {
    const key = keyOf(entry);
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
  kept(entry: Entry, path: string): readonly Waiting[] {
    const key = keyOf(entry);
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
  restored(entry: Entry, path: string): LinkWork<Waiting> {
    const key = keyOf(entry);
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
  failed(entry: Entry, path: string, pathOf: (waiting: Waiting) => string): Waiting | undefined {
    const key = keyOf(entry);
    const group = key === undefined ? undefined : this.#groups.get(key);
    if (key === undefined || group === undefined || group.underWay !== path) return undefined;
    const next = group.waiting.shift();
    group.underWay = next === undefined ? undefined : pathOf(next);
    if (next === undefined && group.first === undefined) this.#groups.delete(key);
    return next;
  }

  #forget(key: string, group: Group<Waiting>, entry: Entry): void {
    if (group.seen >= entry.meta.links && group.waiting.length === 0 && group.underWay === undefined) this.#groups.delete(key);
  }
}

function keyOf({ type, meta }: Entry): string | undefined {
  return type !== "directory" && meta.links > 1 ? `${meta.device}:${meta.inode}` : undefined;
}
