import { HoldfastError } from "../../../base/errors.ts";
import type { ObjectId, PackId } from "../../../base/ids.ts";
import type { HeldLease } from "../leases/leases.ts";
import type { PackRecord } from "../objects/index-object.ts";
import { encodeNote } from "../objects/note-object.ts";
import { encodeSnapshot, type SnapshotObject } from "../objects/snapshot-object.ts";
import { chunksOf, inParallel, type Repository } from "../repository.ts";
import { noteBase } from "../snapshots/notes.ts";
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
    this.#chunks += chunksOf(record);
  }

  /** True when an index object should be written now. */
  due(): boolean {
    return (
      this.#chunks >= INDEX_CHUNKS ||
      (this.#packs.length > 0 && this.#repository.options.clock.now() - this.#lastMs >= INDEX_INTERVAL_MS)
    );
  }

  /** Writes what is pending; does nothing when nothing is. */
  async write(signal?: AbortSignal): Promise<void> {
    this.#lastMs = this.#repository.options.clock.now();
    const packs = this.#packs;
    this.#packs = [];
    this.#chunks = 0;
    for (const group of groupsOf(packs)) await this.#repository.putIndexObject(group, [], signal);
  }
}

/** Splits packs so that no group has more chunks than an index object holds; a pack is never split. */
function* groupsOf(packs: Iterable<PackRecord>): Generator<PackRecord[], void, undefined> {
  let group: PackRecord[] = [];
  let chunks = 0;
  for (const pack of packs) {
    const more = chunksOf(pack);
    if (group.length > 0 && chunks + more > INDEX_CHUNKS) {
      yield group;
      group = [];
      chunks = 0;
    }
    group.push(pack);
    chunks += more;
  }
  if (group.length > 0) yield group;
}

/**
 * Merges many small index objects into few; the replaced ones stay until a prune removes them. Large ones stay as they are:
 * to write them again would gain nothing. So does one that is larger than all the others together, so that what is written
 * again in the life of a repository grows with its index times the logarithm, not with the square. Objects that name a condemned or damaged pack are left alone, too: such a pack may
 * be deleted soon, and a merged object must not outlive its tombstone.
 */
export async function mergeIndexObjects(repository: Repository, signal?: AbortSignal): Promise<void> {
  const small = repository
    .activeIndexObjects()
    .filter(({ packs, chunks }) => chunks < INDEX_CHUNKS / 2 && packs.every((pack) => repository.index.packState(pack) === "ok"));
  if (small.length <= MERGE_AT) return;
  small.sort((a, b) => b.chunks - a.chunks);
  let others = small.reduce((sum, { chunks }) => sum + chunks, 0);
  while (small.length > 2) {
    const { chunks } = small[0] as (typeof small)[0];
    others -= chunks;
    if (chunks <= others) break;
    small.shift();
  }
  const records: PackRecord[] = [];
  for (const pack of new Set(small.flatMap(({ packs }) => packs))) {
    const record = repository.index.record(pack);
    if (record === undefined) return;
    records.push(record);
  }
  const groups = [...groupsOf(records)];
  // The object that replaces is written last: until then the old ones still count, and nothing is ever missing.
  for (let i = groups.length - 1; i >= 0; i--)
    await repository.putIndexObject(groups[i] as PackRecord[], i === 0 ? small.map(({ id }) => id) : [], signal);
}

export interface CommitInput {
  readonly repository: Repository;
  readonly lease: HeldLease;
  readonly pending: PendingIndex;
  readonly snapshot: SnapshotObject;
  /** Packs in which chunks of this snapshot lie. */
  readonly usedPacks: ReadonlySet<PackId>;
  /** Chunks that this run has claimed and not stored. */
  readonly claimed: () => number;
  /** Stores the chunks of these packs once more, elsewhere; returns when they are put and in the index. */
  readonly copyOut: (packs: readonly PackId[]) => Promise<void>;
  readonly signal: AbortSignal;
}

/**
 * The commit: all packs are put → index → a lease is put, and read back while `condemned/` is listed again → chunks that
 * were condemned meanwhile are copied out → the snapshot is put. Only the snapshot commits. A rejection before that leaves
 * nothing but unused packs; `snapshot_withdrawn` says that the snapshot was taken back. Nothing else rejects after it.
 */
export async function commit(input: CommitInput): Promise<ObjectId> {
  const { repository, lease, pending, signal } = input;
  const passed = async (name: CommitBoundary): Promise<void> => {
    await repository.options.onCommitBoundary?.(name);
  };
  await pending.write(signal);
  await indexUsedPacks(input);
  await passed("after index");
  const lapsedBefore = lease.everLapsed();
  const confirmed = lease.confirm(signal, () => repository.refreshCondemned(signal));
  // Read as it begins: what lapses while it is under way comes after what it looks at.
  const lapses = lease.lapses;
  await confirmed;
  await passed("after lease confirm");
  const condemned = [...input.usedPacks].filter((pack) => repository.index.packState(pack) !== "ok");
  if (condemned.length > 0) {
    await input.copyOut(condemned);
    await passed("after copy out");
    await pending.write(signal);
  }
  if (input.claimed() > 0)
    throw new HoldfastError("internal", `${input.claimed()} chunks were claimed for target ${repository.name} and never stored`, {
      hint: "Nothing was committed. Please report this with the log of the run.",
    });
  if (lapsedBefore) await checkPacksExist(input);
  await passed("before snapshot put");
  const relied = [...input.usedPacks].filter((pack) => repository.index.packState(pack) === "ok");
  const id = await repository.putObject("snapshots", encodeSnapshot(input.snapshot), signal);
  await passed("after snapshot put");
  // The process may have been frozen between the check and the put: whoever pruned meanwhile believed this lease dead. A
  // renewal that came first, when it went on, does not change that.
  if (lease.lapsedSince(lapses)) {
    try {
      // Those condemned since may be about to go: a prune that marked before the put knows nothing of this snapshot.
      await repository.refreshCondemned(signal);
      await checkPacksExist(input);
      const condemned = relied.find((pack) => repository.index.packState(pack) !== "ok");
      if (condemned !== undefined)
        throw new HoldfastError("chunk_missing", `Pack ${condemned} on target ${repository.name} was condemned meanwhile`, {
          hint: "The process stood still for longer than its lease while another host pruned. Run the backup again.",
        });
    } catch (error) {
      await withdraw(input, id);
      throw new HoldfastError(
        "snapshot_withdrawn",
        `The snapshot on target ${repository.name} was withdrawn: this process stood still for longer than its lease, and packs it needs are gone or condemned`,
        {
          hint: "Run the backup again; nothing else was touched.",
          cause: error,
        },
      );
    }
  }
  try {
    await mergeIndexObjects(repository, signal);
  } catch {
    // The snapshot is committed, and what is not merged today is merged by the next run.
  }
  await passed("after commit");
  return id;
}

/**
 * Packs that an earlier run of this process stored before it failed are known to the index in memory and named by no object:
 * whoever reads this snapshot elsewhere must find them, too.
 */
async function indexUsedPacks({ repository, usedPacks, signal }: CommitInput): Promise<void> {
  const named = new Set<PackId>();
  for (const { packs } of repository.activeIndexObjects()) for (const pack of packs) named.add(pack);
  const missing: PackRecord[] = [];
  for (const pack of usedPacks) {
    if (named.has(pack) || repository.index.packState(pack) !== "ok") continue;
    const record = repository.index.record(pack);
    if (record !== undefined) missing.push(record);
  }
  for (const group of groupsOf(missing)) await repository.putIndexObject(group, [], signal);
}

/** Takes a snapshot back. Nothing is deleted from an append-only target; there, and where deleting fails, a tombstone says it. */
async function withdraw({ repository, snapshot }: CommitInput, id: ObjectId): Promise<void> {
  if (repository.options.appendOnly !== true) {
    try {
      await repository.target.delete(`snapshots/${id}`);
      return;
    } catch {
      // The tombstone follows.
    }
  }
  const { uid, time, job, source, host } = snapshot;
  await repository.putObject(
    "notes",
    encodeNote({ ...noteBase(repository), type: "deletion", snapshots: [{ uid, object: id, time, job, source, host }] }),
  );
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
