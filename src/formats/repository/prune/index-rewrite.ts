import { HoldfastError } from "../../../base/errors.ts";
import type { ObjectId, PackId } from "../../../base/ids.ts";
import { decodeIndexObject, type PackRecord } from "../objects/index-object.ts";
import type { Repository } from "../repository.ts";
import type { RepositoryView } from "../verify/repository-view.ts";

/** As a writer makes them. */
const INDEX_CHUNKS = 65_536;
/** Index objects below a quarter of that are merged when there are so many. */
const MERGE_FROM = 8;

/** Puts index objects naming `packs`; the last one replaces `supersedes`, so that until then nothing is missing. Each is read back. */
export async function putIndex(
  repository: Repository,
  packs: readonly PackRecord[],
  supersedes: readonly ObjectId[],
  signal?: AbortSignal,
): Promise<ObjectId[]> {
  const groups: PackRecord[][] = [];
  let chunks = INDEX_CHUNKS;
  for (const pack of packs) {
    if (chunks >= INDEX_CHUNKS) {
      groups.push([]);
      chunks = 0;
    }
    groups.at(-1)?.push(pack);
    for (const frame of pack.frames) chunks += frame.chunkLengths.length;
  }
  if (groups.length === 0 && supersedes.length > 0) groups.push([]);
  const ids: ObjectId[] = [];
  for (const [number, group] of groups.entries()) {
    const id = await repository.putIndexObject(group, number === groups.length - 1 ? supersedes : [], signal);
    const stored = decodeIndexObject(await repository.readObject("index", id, signal));
    if (stored.packs.length !== group.length)
      throw new HoldfastError(
        "write_verification_failed",
        `Index object ${id} on target ${repository.name} names ${stored.packs.length} packs instead of ${group.length}`,
        {
          hint: "This points to a fault of memory or CPU. Nothing was condemned or deleted.",
        },
      );
    ids.push(id);
  }
  return ids;
}

/** Index objects to write anew so that none names a pack that is gone or goes now, and `old` ones too. Undefined: nothing to do. */
export function planIndexRewrite(
  view: RepositoryView,
  without: ReadonlySet<PackId>,
  old: ReadonlySet<ObjectId> = new Set(),
): { readonly replaced: readonly ObjectId[]; readonly packs: readonly PackId[] } | undefined {
  const stays = (id: PackId): boolean => !without.has(id) && view.packs.get(id)?.listed !== undefined;
  const affected = view.activeIndex.filter(({ id, packs }) => old.has(id) || packs.some((pack) => !stays(pack)));
  const small = view.activeIndex.filter((object) => object.chunks < INDEX_CHUNKS / 4 && !affected.includes(object));
  // An empty object is left behind when all it named went; the next rewrite takes it along.
  const merged =
    affected.length + small.length >= MERGE_FROM
      ? small
      : affected.length > 0
        ? small.filter(({ packs }) => packs.length === 0)
        : [];
  const chosen = [...affected, ...merged];
  if (chosen.length === 0) return undefined;
  const packs = [...new Set(chosen.flatMap((object) => object.packs))].filter(stays);
  // What these replaced must stay replaced when they are gone.
  return { replaced: [...chosen.map(({ id }) => id), ...view.supersededIndex.keys()], packs };
}

/**
 * The order in which replaced index objects may be deleted: one that replaces others goes after them, or they would count
 * again.
 */
export function deletionOrder(replaced: ReadonlyMap<ObjectId, readonly ObjectId[]>): ObjectId[] {
  const order: ObjectId[] = [];
  const placed = new Set<ObjectId>();
  const place = (id: ObjectId): void => {
    if (placed.has(id)) return;
    placed.add(id);
    for (const older of replaced.get(id) ?? []) if (replaced.has(older)) place(older);
    order.push(id);
  };
  for (const id of replaced.keys()) place(id);
  return order;
}
