import { HoldfastError } from "../../../base/errors.ts";
import type { ObjectId, PackId } from "../../../base/ids.ts";
import type { HeldLease } from "../leases/leases.ts";
import type { PackRecord } from "../objects/index-object.ts";
import { encodeSnapshot, type SnapshotObject } from "../objects/snapshot-object.ts";
import { inParallel, type Repository } from "../repository.ts";
import type { CommitBoundary } from "./commit-boundaries.ts";

/** An index object holds at most so many chunks, so that readers can bound what they load at once. */
const INDEX_CHUNKS = 65_536;
/** How long new packs may stay unindexed while a backup runs. */
export const INDEX_INTERVAL_MS = 5 * 60_000;
/** Small index objects beyond which a writer merges them. */
const MERGE_AT = 64;

/** Packs that were put and not yet named by an index object. Written in order, so that no index names what is not there. */
export class PendingIndex {
  readonly #repository: Repository;
  #packs: PackRecord[] = [];
  #chunks = 0;
  #lastMs: number;

  constructor(repository: Repository) {
    this.#repository = repository;
    this.#lastMs = repository.options.clock.now();
  }

  add(record: PackRecord): void {
    this.#packs.push(record);
    for (const frame of record.frames) this.#chunks += frame.chunkLengths.length;
  }

  /** True when an index object should be written now. */
  due(): boolean {
    return this.#chunks >= INDEX_CHUNKS || (this.#packs.length > 0 && this.#repository.options.clock.now() - this.#lastMs >= INDEX_INTERVAL_MS);
  }

  /** Writes what is pending; does nothing when nothing is. Returns the bytes written. */
  async write(signal?: AbortSignal): Promise<void> {
    this.#lastMs = this.#repository.options.clock.now();
    const packs = this.#packs;
    this.#packs = [];
    this.#chunks = 0;
    for (let start = 0; start < packs.length; ) {
      let end = start;
      let chunks = 0;
      while (end < packs.length && (end === start || chunks < INDEX_CHUNKS)) {
        for (const frame of (packs[end] as PackRecord).frames) chunks += frame.chunkLengths.length;
        end++;
      }
      await this.#repository.putIndexObject(packs.slice(start, end), [], signal);
      start = end;
    }
  }
}

/**
 * Merges many small index objects into few; the replaced ones stay until a prune removes them. Objects that name a
 * condemned pack are left alone: such a pack may be deleted soon, and a merged object must not outlive its tombstone.
 */
export async function mergeIndexObjects(repository: Repository, signal?: AbortSignal): Promise<void> {
  const active = repository.activeIndexObjects();
  if (active.length <= MERGE_AT) return;
  const mergeable = active.filter(({ packs }) => packs.every((pack) => repository.index.packState(pack) !== "condemned"));
  if (mergeable.length < 2) return;
  const groups: PackRecord[][] = [[]];
  let chunks = 0;
  for (const pack of new Set(mergeable.flatMap(({ packs }) => packs))) {
    const record = repository.index.record(pack);
    if (record === undefined) return;
    if (chunks >= INDEX_CHUNKS) {
      groups.push([]);
      chunks = 0;
    }
    groups.at(-1)?.push(record);
    for (const frame of record.frames) chunks += frame.chunkLengths.length;
  }
  // The object that replaces is written last: until then the old ones still count, and nothing is ever missing.
  for (let i = groups.length - 1; i >= 0; i--)
    await repository.putIndexObject(groups[i] as PackRecord[], i === 0 ? mergeable.map(({ id }) => id) : [], signal);
}

export interface CommitInput {
  readonly repository: Repository;
  readonly lease: HeldLease;
  readonly pending: PendingIndex;
  readonly snapshot: SnapshotObject;
  /** Packs in which chunks of this snapshot lie. */
  readonly usedPacks: ReadonlySet<PackId>;
  /** Stores the chunks of these packs once more, elsewhere; returns when they are put and in the index. */
  readonly copyOut: (packs: readonly PackId[]) => Promise<void>;
  readonly signal: AbortSignal;
}

/**
 * The commit: all packs are put → index → a lease is put and read back → `condemned/` is listed again, and chunks that
 * were condemned meanwhile are copied out → the snapshot is put. Only the snapshot commits. Throws before that leave
 * nothing but unused packs; a throw after it withdraws the snapshot.
 */
export async function commit(input: CommitInput): Promise<ObjectId> {
  const { repository, lease, pending, signal } = input;
  const passed = async (name: CommitBoundary): Promise<void> => {
    await repository.options.onCommitBoundary?.(name);
  };
  await pending.write(signal);
  await passed("after index");
  const lapsedBefore = lease.lapsed();
  await lease.confirm(signal);
  await passed("after lease confirm");
  await repository.refreshCondemned(signal);
  const condemned = [...input.usedPacks].filter((pack) => repository.index.packState(pack) !== "ok");
  if (condemned.length > 0) {
    await input.copyOut(condemned);
    await passed("after copy out");
    await pending.write(signal);
  }
  if (repository.index.pendingCount > 0)
    throw new HoldfastError("internal", `${repository.index.pendingCount} chunks were claimed for target ${repository.name} and never stored`, {
      hint: "Nothing was committed. Please report this with the log of the run.",
    });
  if (lapsedBefore) await checkPacksExist(input);
  await passed("before snapshot put");
  const id = await repository.putObject("snapshots", encodeSnapshot(input.snapshot), signal);
  await passed("after snapshot put");
  // The process may have been frozen between the check and the put: whoever pruned meanwhile believed this lease dead.
  if (lease.lapsed()) {
    try {
      await checkPacksExist(input);
    } catch (error) {
      await repository.target.delete(`snapshots/${id}`);
      throw new HoldfastError("snapshot_withdrawn", `The snapshot on target ${repository.name} was withdrawn: this process stood still for longer than its lease, and packs it needs are gone`, {
        hint: "Run the backup again; nothing else was touched.",
        cause: error,
      });
    }
  }
  await mergeIndexObjects(repository, signal);
  await passed("after commit");
  return id;
}

/** After a pause longer than a lease a prune may have removed what this run relied on. */
async function checkPacksExist(input: CommitInput): Promise<void> {
  await inParallel([...input.usedPacks], 16, async (pack) => {
    if (input.repository.index.packState(pack) !== "ok") return;
    const stat = await input.repository.target.stat(`packs/${pack.slice(0, 2)}/${pack}`, { signal: input.signal });
    if (stat === undefined)
      throw new HoldfastError("chunk_missing", `Pack ${pack} on target ${input.repository.name} is gone; this run relied on it`, {
        hint: "The process stood still for longer than its lease while another host pruned. Run the backup again.",
      });
  });
}
