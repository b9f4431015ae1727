import { setImmediate as turn } from "node:timers/promises";
import { HoldfastError } from "../../../base/errors.ts";
import { asPackId, isHexId, type ObjectId, type PackId } from "../../../base/ids.ts";
import type { ObjectStat } from "../../../targets/target.ts";
import { ChunkIndex } from "../index/chunk-index.ts";
import { decodeCondemned } from "../objects/condemned-object.ts";
import { decodeIndexObject, type PackRecord } from "../objects/index-object.ts";
import { inParallel, type CondemnedRecord, type Repository } from "../repository.ts";

const FETCHES = 16;

/** A pack as listing, index and condemned objects know it together. */
export interface ViewPack {
  readonly id: PackId;
  /** Undefined when no index object names it. */
  readonly indexed: { readonly kind: 1 | 2; readonly sizeBytes: number } | undefined;
  /** Undefined when the target does not list it. */
  readonly listed: { readonly sizeBytes: number; readonly modifiedMs: number | undefined } | undefined;
  /** Records with reason `prune` or `unindexed`, the earliest first. */
  readonly condemned: readonly CondemnedRecord[];
  /** Some record has reason `damaged`. */
  readonly damaged: boolean;
}

export interface ViewIndexObject {
  readonly id: ObjectId;
  readonly supersedes: readonly ObjectId[];
  readonly packs: readonly PackId[];
  readonly chunks: number;
}

/**
 * A repository as its target holds it at one moment, read anew and shared with nobody. In `index` packs come in the order
 * in which their copies of a chunk are preferred: good ones by id, then condemned, then damaged, then those that are
 * absent or cut short. So `index.find` gives the one copy that counts, and every reader of the same target agrees on it.
 */
export interface RepositoryView {
  readonly index: ChunkIndex;
  readonly packs: ReadonlyMap<PackId, ViewPack>;
  /** Index objects that no other replaces. */
  readonly activeIndex: readonly ViewIndexObject[];
  /** Readable or not: index objects that another, readable one replaces, with what they replace themselves. */
  readonly supersededIndex: ReadonlyMap<ObjectId, readonly ObjectId[]>;
  /** Unreadable index objects, those that another replaces included. */
  readonly damagedIndex: ReadonlyMap<ObjectId, HoldfastError>;
  /** Bytes of index objects. */
  readonly indexBytes: number;
  readonly condemned: readonly CondemnedRecord[];
  readonly damagedCondemned: ReadonlyMap<ObjectId, HoldfastError>;
}

/** How a pack's copies of chunks rank. */
export const PACK_RANK = { good: 0, condemned: 1, damaged: 2, absent: 3 } as const;

/** True when the target lists the pack with the size that the index knows. */
export function isWhole(pack: ViewPack): boolean {
  return pack.listed !== undefined && (pack.indexed === undefined || pack.indexed.sizeBytes === pack.listed.sizeBytes);
}

export function rankOf(pack: ViewPack): number {
  if (!isWhole(pack)) return PACK_RANK.absent;
  if (pack.damaged) return PACK_RANK.damaged;
  return pack.condemned.length > 0 ? PACK_RANK.condemned : PACK_RANK.good;
}

export interface LoadViewOptions {
  readonly signal?: AbortSignal | undefined;
  /** Whether packs that are absent or cut short are in `index`, to tell what is lost with them. */
  readonly withAbsent: boolean;
  /** Read from the target, past any cache: what is damaged there must show. */
  readonly fresh?: boolean | undefined;
}

/** Reads index/, condemned/ and the list of packs/. Rejects when a listing or a read fails for another reason than damage. */
export async function loadView(repository: Repository, options: LoadViewOptions): Promise<RepositoryView> {
  const { signal, fresh } = options;
  const { target } = repository;
  const width = Math.min(FETCHES, target.capabilities.concurrency);
  // Index before packs: a writer puts packs first, so whatever an index object seen here names was put before.
  const indexStats = await repository.listObjects("index", signal);
  const read = new Map<ObjectId, { supersedes: readonly ObjectId[]; packs: readonly PackRecord[] }>();
  const unreadable = new Map<ObjectId, HoldfastError>();
  await inParallel(indexStats, width, async ({ id }) => {
    const content = await readOrNote(
      () => repository.readObject("index", id, signal, fresh),
      decodeIndexObject,
      (error) => unreadable.set(id, error),
    );
    if (content !== undefined) read.set(id, content);
  });
  const replaced = new Set([...read.values()].flatMap(({ supersedes }) => supersedes));
  const condemned: CondemnedRecord[] = [];
  const damagedCondemned = new Map<ObjectId, HoldfastError>();
  await inParallel(await repository.listObjects("condemned", signal), width, async ({ id, modifiedMs }) => {
    const content = await readOrNote(
      () => repository.readObject("condemned", id, signal, fresh),
      decodeCondemned,
      (error) => damagedCondemned.set(id, error),
    );
    if (content !== undefined) condemned.push({ ...content, id, objectTimeMs: modifiedMs });
  });
  condemned.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : a.id < b.id ? -1 : 1));
  const listed = new Map(listedPacks(await target.list("packs/", { signal })).map((stat) => [stat.id, stat]));
  const records = new Map<PackId, PackRecord>();
  for (const [id, { packs }] of read) if (!replaced.has(id)) for (const pack of packs) records.set(pack.id, pack);
  const packs = assemble(records, listed, condemned);
  return {
    index: await orderedIndex(records, packs, options.withAbsent),
    packs,
    activeIndex: [...read].filter(([id]) => !replaced.has(id)).map(([id, object]) => toViewObject(id, object)),
    supersededIndex: new Map(
      indexStats.filter(({ id }) => replaced.has(id)).map(({ id }) => [id, read.get(id)?.supersedes ?? []]),
    ),
    damagedIndex: unreadable,
    indexBytes: indexStats.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    condemned,
    damagedCondemned,
  };
}

/** Objects of packs/ whose names are those of packs; anything else there is not ours. */
export function listedPacks(stats: readonly ObjectStat[]): (ObjectStat & { readonly id: PackId })[] {
  return stats
    .map((stat) => ({ ...stat, id: asPackId(stat.name.slice("packs/xx/".length)) }))
    .filter(({ id, name }) => isHexId(id, 32) && name === packName(id));
}

export function packName(id: PackId): string {
  return `packs/${id.slice(0, 2)}/${id}`;
}

/** The decoded content; undefined for what vanished meanwhile, and for damage, which goes to `onDamaged`. */
async function readOrNote<Content>(
  read: () => Promise<Uint8Array>,
  decode: (content: Uint8Array) => Content,
  onDamaged: (error: HoldfastError) => void,
): Promise<Content | undefined> {
  try {
    return decode(await read());
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    if (error.code === "target_missing_object") return undefined;
    if (!error.code.startsWith("object_")) throw error;
    onDamaged(error);
    return undefined;
  }
}

function assemble(
  records: ReadonlyMap<PackId, PackRecord>,
  listed: ReadonlyMap<PackId, ObjectStat>,
  condemned: readonly CondemnedRecord[],
): Map<PackId, ViewPack> {
  const condemnations = new Map<PackId, CondemnedRecord[]>();
  const damaged = new Set<PackId>();
  for (const record of condemned)
    for (const id of record.packs) {
      if (record.reason === "damaged") damaged.add(id);
      else condemnations.set(id, [...(condemnations.get(id) ?? []), record]);
    }
  const packs = new Map<PackId, ViewPack>();
  for (const id of [...new Set([...records.keys(), ...listed.keys()])].toSorted()) {
    const record = records.get(id);
    const stat = listed.get(id);
    packs.set(id, {
      id,
      indexed: record === undefined ? undefined : { kind: record.kind, sizeBytes: record.sizeBytes },
      listed: stat === undefined ? undefined : { sizeBytes: stat.sizeBytes, modifiedMs: stat.modifiedMs },
      condemned: condemnations.get(id) ?? [],
      damaged: damaged.has(id),
    });
  }
  return packs;
}

async function orderedIndex(
  records: Map<PackId, PackRecord>,
  packs: ReadonlyMap<PackId, ViewPack>,
  withAbsent: boolean,
): Promise<ChunkIndex> {
  const index = new ChunkIndex();
  const ordered = [...packs.values()]
    .filter((pack) => pack.indexed !== undefined && (withAbsent || isWhole(pack)))
    .map((pack) => ({ id: pack.id, rank: rankOf(pack) }))
    .toSorted((a, b) => a.rank - b.rank || (a.id < b.id ? -1 : 1));
  let chunks = 0;
  for (const { id } of ordered) {
    index.addPack(records.get(id) as PackRecord);
    records.delete(id);
    // The main thread is shared with the control API.
    if (index.chunkCount - chunks > 20_000) {
      chunks = index.chunkCount;
      await turn();
    }
  }
  return index;
}

function toViewObject(
  id: ObjectId,
  object: { readonly supersedes: readonly ObjectId[]; readonly packs: readonly PackRecord[] },
): ViewIndexObject {
  let chunks = 0;
  for (const pack of object.packs) for (const frame of pack.frames) chunks += frame.chunkLengths.length;
  return { id, supersedes: object.supersedes, packs: object.packs.map((pack) => pack.id), chunks };
}
