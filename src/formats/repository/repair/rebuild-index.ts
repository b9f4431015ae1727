import { HoldfastError } from "../../../base/errors.ts";
import type { ObjectId, PackId } from "../../../base/ids.ts";
import { decodeIndexObject, toPackRecord, type PackRecord } from "../objects/index-object.ts";
import { readDirectory } from "../objects/pack-directory.ts";
import { inParallel, type Repository } from "../repository.ts";
import { putIndex } from "../prune/index-rewrite.ts";
import { listedPacks, packName } from "../verify/repository-view.ts";

const FETCHES = 8;

export interface RebuildReport {
  /** Packs named by the new index. */
  readonly packs: number;
  readonly indexObjects: number;
  /** Index objects replaced, readable or not. */
  readonly replaced: number;
  /** Packs whose directory cannot be read. An old index object that names one still serves for it. */
  readonly unreadable: readonly { readonly id: PackId; readonly message: string; readonly kept: boolean }[];
}

/**
 * Makes the index anew from the directories of all packs, replacing every index object there is. The result names what
 * the packs themselves say; for a pack whose directory is damaged, what a readable old index object said. Nothing is
 * deleted: the replaced objects go with the next prune. The caller holds a maintenance lease.
 */
export async function rebuildIndex(repository: Repository, options: { readonly signal: AbortSignal }): Promise<RebuildReport> {
  const { signal } = options;
  const { target } = repository;
  // Index objects first: one that appears later, and the packs it names, are another's and stay.
  const old = (await repository.listObjects("index", signal)).map(({ id }) => id);
  const stats: PackStat[] = listedPacks(await target.list("packs/", { signal }));
  if (target.capabilities.listing !== "strong") stats.push(...(await unlistedPacks(repository, old, stats, signal)));
  const records = new Map<PackId, PackRecord>();
  const unreadable = new Map<PackId, string>();
  await inParallel(stats, Math.min(FETCHES, target.capabilities.concurrency), async ({ id, name, sizeBytes }) => {
    try {
      const directory = await readDirectory(repository.sealer, sizeBytes, (offset, length) =>
        target.get(name, { range: { offset, length }, signal }),
      );
      records.set(id, toPackRecord(id, sizeBytes, directory));
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof HoldfastError) || error.transient) throw error;
      if (error.code === "target_missing_object") return;
      if (!error.code.startsWith("object_")) throw error;
      unreadable.set(id, error.message);
    }
  });
  const kept = unreadable.size === 0 ? new Set<PackId>() : await keepOld(repository, old, unreadable, records, signal);
  const ordered = [...records.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const written = await putIndex(repository, ordered, old, signal);
  for (const record of ordered) repository.index.addPack(record);
  await repository.refreshCondemned(signal);
  return {
    packs: ordered.length,
    indexObjects: written.length,
    replaced: old.length,
    unreadable: [...unreadable].map(([id, message]) => ({ id, message, kept: kept.has(id) })),
  };
}

type PackStat = ReturnType<typeof listedPacks>[number];

/** Packs that an old index object names and a late listing does not show yet, but which are there. */
async function unlistedPacks(
  repository: Repository,
  old: readonly ObjectId[],
  listed: readonly PackStat[],
  signal: AbortSignal,
): Promise<PackStat[]> {
  const known = new Set(listed.map(({ id }) => id));
  const named = new Set<PackId>();
  await inParallel(old, FETCHES, async (id) => {
    try {
      for (const pack of decodeIndexObject(await repository.readObject("index", id, signal)).packs)
        if (!known.has(pack.id)) named.add(pack.id);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof HoldfastError) || error.transient) throw error;
    }
  });
  const found: PackStat[] = [];
  await inParallel([...named], FETCHES, async (id) => {
    const stat = await repository.target.stat(packName(id), { signal });
    if (stat !== undefined) found.push({ ...stat, id });
  });
  return found;
}

/** Takes over what readable index objects say of packs whose own directory does not open. */
async function keepOld(
  repository: Repository,
  old: readonly ObjectId[],
  unreadable: ReadonlyMap<PackId, string>,
  records: Map<PackId, PackRecord>,
  signal: AbortSignal,
): Promise<Set<PackId>> {
  const kept = new Set<PackId>();
  for (const id of old) {
    try {
      for (const pack of decodeIndexObject(await repository.readObject("index", id, signal)).packs) {
        if (!unreadable.has(pack.id) || records.has(pack.id)) continue;
        records.set(pack.id, pack);
        kept.add(pack.id);
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof HoldfastError) || error.transient) throw error;
    }
  }
  return kept;
}
