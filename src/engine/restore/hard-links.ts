import type { Entry } from "../../sources/source.ts";

interface Group<Waiting> {
  /** Path of the name that is restored; undefined while the first is under way. */
  first: string | undefined;
  readonly waiting: Waiting[];
  seen: number;
}

/**
 * Which entries of a restore are names of one file. The first name met is restored by itself; the others wait for it and
 * become links. A group is forgotten when all its names have come, so memory is that of the groups under way.
 */
export class HardLinks<Waiting> {
  readonly #groups = new Map<string, Group<Waiting>>();

  /** The path to link to; `wait` when the first name is under way (`waiting` is kept); undefined: restore it by itself. */
  claim(entry: Entry, waiting: Waiting): string | "wait" | undefined {
    const key = keyOf(entry);
    if (key === undefined) return undefined;
    const group = this.#groups.get(key);
    if (group === undefined) {
      this.#groups.set(key, { first: undefined, waiting: [], seen: 1 });
      return undefined;
    }
    group.seen++;
    const { first } = group;
    if (first === undefined) {
      group.waiting.push(waiting);
      return "wait";
    }
    this.#forget(key, group, entry);
    return first;
  }

  /** A name is there, restored or kept: those that waited may be linked to it. */
  restored(entry: Entry, path: string): Waiting[] {
    const key = keyOf(entry);
    if (key === undefined) return [];
    let group = this.#groups.get(key);
    if (group === undefined) this.#groups.set(key, (group = { first: undefined, waiting: [], seen: 1 }));
    group.first ??= path;
    const waiting = group.waiting.splice(0);
    this.#forget(key, group, entry);
    return waiting;
  }

  /** The first name could not be restored: the next one takes its place. */
  failed(entry: Entry, path: string): Waiting | undefined {
    const key = keyOf(entry);
    const group = key === undefined ? undefined : this.#groups.get(key);
    if (key === undefined || group === undefined || (group.first !== undefined && group.first !== path)) return undefined;
    const next = group.waiting.shift();
    if (next === undefined) this.#groups.delete(key);
    return next;
  }

  #forget(key: string, group: Group<Waiting>, entry: Entry): void {
    if (group.seen >= entry.meta.links && group.waiting.length === 0) this.#groups.delete(key);
  }
}

function keyOf({ type, meta }: Entry): string | undefined {
  return type !== "directory" && meta.links > 1 ? `${meta.device}:${meta.inode}` : undefined;
}
