import { HoldfastError } from "../../../base/errors.ts";
import { asPackId, isHexId } from "../../../base/ids.ts";
import { toPackRecord, type PackRecord } from "../objects/index-object.ts";
import { readDirectory } from "../objects/pack-directory.ts";
import { inParallel, type Repository } from "../repository.ts";

/**
 * Takes over packs that no index names: what an interrupted backup had already put. Their directories are read and
 * authenticated; a pack that fails is left alone (a prune condemns it in time), and condemned ones are never used again.
 * Returns how many were adopted.
 */
export async function adoptUnindexedPacks(repository: Repository, adopted: (record: PackRecord) => void, signal: AbortSignal): Promise<number> {
  const unknown = (await repository.target.list("packs/", { signal })).filter((stat) => {
    const id = stat.name.slice("packs/xx/".length);
    return isHexId(id, 32) && stat.name === `packs/${id.slice(0, 2)}/${id}` && repository.index.packState(asPackId(id)) === undefined;
  });
  let count = 0;
  await inParallel(unknown, 8, async (stat) => {
    const id = asPackId(stat.name.slice("packs/xx/".length));
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
