import { HoldfastError } from "../../../base/errors.ts";
import { asPackId, isHexId, type PackId } from "../../../base/ids.ts";
import type { ObjectStat } from "../../../targets/target.ts";
import { toPackRecord, type PackRecord } from "../objects/index-object.ts";
import { readDirectory } from "../objects/pack-directory.ts";
import { inParallel, type Repository } from "../repository.ts";

/** Packs whose absence is checked one by one at a time, where a listing may lag behind. */
const CHECKS = 8;

/**
 * Looks at what is really there before a backup builds on it. Packs that the index names and the target has lost, or holds in
 * another size, count as damaged from here on, so that their chunks are stored again. Takes over packs that no index names: what an interrupted backup had already put. Their directories are read and
 * authenticated; a pack that fails is left alone (a prune condemns it in time), and condemned ones are never used again.
 * The index must be loaded. Returns how many were adopted.
 */
export async function adoptUnindexedPacks(
  repository: Repository,
  adopted: (record: PackRecord) => void,
  signal: AbortSignal,
): Promise<number> {
  const before = repository.index.packCount;
  const sizes = new Map<PackId, number>();
  const unknown: { id: PackId; stat: ObjectStat }[] = [];
  for (const stat of await repository.target.list("packs/", { signal })) {
    const text = stat.name.slice("packs/xx/".length);
    if (!isHexId(text, 32) || stat.name !== `packs/${text.slice(0, 2)}/${text}`) continue;
    const id = asPackId(text);
    sizes.set(id, stat.sizeBytes);
    if (repository.index.packState(id) === undefined && repository.condemnation(id) === undefined) unknown.push({ id, stat });
  }
  await markMissing(repository, sizes, before, signal);
  let count = 0;
  await inParallel(unknown, 8, async ({ id, stat }) => {
    try {
      const directory = await readDirectory(repository.sealer, stat.sizeBytes, (offset, length) =>
        repository.target.get(stat.name, { range: { offset, length }, signal }),
      );
      const record = toPackRecord(id, stat.sizeBytes, directory);
      repository.index.addPack(record);
      adopted(record);
      count++;
    } catch (error) {
      if (signal.aborted || !(error instanceof HoldfastError) || error.transient) throw error;
    }
  });
  return count;
}

/** Only packs known `before` the listing began: what another run of this process stored meanwhile need not be in it. */
async function markMissing(
  repository: Repository,
  sizes: ReadonlyMap<PackId, number>,
  before: number,
  signal: AbortSignal,
): Promise<void> {
  const { index, target } = repository;
  const gone: { id: PackId; sizeBytes: number }[] = [];
  let number = 0;
  for (const pack of index.packs()) {
    if (number++ >= before) break;
    if (pack.state === "ok" && sizes.get(pack.id) !== pack.sizeBytes) gone.push(pack);
  }
  await inParallel(gone, CHECKS, async ({ id, sizeBytes }) => {
    if (target.capabilities.listing !== "strong") {
      const stat = await target.stat(`packs/${id.slice(0, 2)}/${id}`, { signal });
      if (stat?.sizeBytes === sizeBytes) return;
    }
    index.setPackState(id, "damaged");
  });
}
