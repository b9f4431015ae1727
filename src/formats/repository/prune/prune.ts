import { throwIfAborted } from "../../../base/abort.ts";
import { HoldfastError } from "../../../base/errors.ts";
import type { PackId } from "../../../base/ids.ts";
import { randomHex } from "../../../base/random.ts";
import type { PruneOptions, PruneReport, SnapshotInfo } from "../../format.ts";
import { checkFeatures } from "../keys/keyring.ts";
import type { SeenLease } from "../leases/leases.ts";
import { listLeases } from "../leases/leases.ts";
import { encodeCondemned, type CondemnedReason } from "../objects/condemned-object.ts";
import { isoTime } from "../objects/json-object.ts";
import type { PackRecord } from "../objects/index-object.ts";
import { DEFAULT_PACK_BYTES, type Repository } from "../repository.ts";
import { missingPredecessors, readSnapshots } from "../snapshots/snapshot-list.ts";
import type { Bitmap } from "../verify/bitmap.ts";
import { loadView, packName, type RepositoryView } from "../verify/repository-view.ts";
import { scanTrees } from "../verify/scan-trees.ts";
import { VerifyPool } from "../verify/verify-pool.ts";
import { deletionOrder, planIndexRewrite, putIndex } from "./index-rewrite.ts";
import { acquireMaintenance, type Maintenance } from "./maintenance.ts";
import { copyOldObjects, deleteOutdated, oldIndexObjects, refuseOlderKeyring, type RewriteBoundary } from "./old-epochs.ts";
import { bytesOf, condemnedBy, liveStored, planPrune, type PrunePlan, type Rewrite } from "./plan.ts";
import { isDeleted, refuseDamage, refuseDamagedPacks, refuseOneEpoch, refuseSkew } from "./refusals.ts";
import { readBackPacks, repack } from "./repack.ts";

/** Left-overs of a driver's own unfinished puts, and of ended leases, are this old at least: nothing takes longer. */
const LEFTOVER_MS = 24 * 3_600_000;
/** Packs named by one condemned object. */
const CONDEMNED_PACKS = 100_000;
/** Packs rewritten for their epoch alone go in groups of so many bytes: a crash repeats at most one. */
const GROUP_BYTES = 2 ** 31;

/** The steps between which a crash must lose nothing, in order. A run passes those that its plan needs. */
export const PRUNE_BOUNDARIES = [
  "after lease",
  "after mark",
  "before tombstones",
  "after tombstones",
  "after sweep index",
  "mid old index deletion",
  "after old index deletion",
  "mid pack deletion",
  "after pack deletion",
  "after repack",
  "after index",
  "before condemn",
  "mid condemn",
  "after condemn",
  "before release",
] as const;

export type PruneBoundary = (typeof PRUNE_BOUNDARIES)[number];

/** What callers inside the format may set beside the options of the contract. */
export interface PruneInternals {
  /** Called at every boundary; what it throws ends the prune there. */
  readonly onBoundary?: (name: PruneBoundary | RewriteBoundary) => void | Promise<void>;
  /** As the jobs of this repository write: `file` keeps frames of single files apart. Default `frame`. */
  readonly grouping?: "frame" | "file";
  /** Default 2 GiB. */
  readonly groupBytes?: number;
}

/** Everything that a plan is made from, at one moment. */
interface Mark {
  readonly view: RepositoryView;
  readonly live: Bitmap;
  readonly snapshots: readonly SnapshotInfo[];
  readonly warnings: readonly string[];
}

/**
 * Frees the space of what no snapshot needs, in the two steps of the format: packs without live chunks, and wasteful ones
 * whose live chunks have been stored anew, are condemned; packs condemned for longer than the grace time are marked afresh
 * and deleted. Rejects with `repository_locked` beside another maintainer, `clock_unreliable`, `listing_incomplete`, or
 * with what is damaged when a snapshot, a tree or a live chunk cannot be found: then nothing is changed. A crash at any
 * moment loses nothing, and the next prune goes on. A dry run makes the same plan and changes nothing.
 */
export async function pruneRepository(
  repository: Repository,
  options: PruneOptions,
  internals: PruneInternals = {},
): Promise<PruneReport> {
  checkFeatures(repository.keyring.features, "write");
  if (options.oldEpochs === true) refuseOneEpoch(repository);
  if (options.immediate && repository.target.capabilities.listing !== "strong")
    throw new HoldfastError(
      "unsupported",
      `Target ${repository.name} may list objects late, so nothing there can be deleted at once`,
      {
        hint: "Prune without --immediate: packs are then deleted after the grace time.",
      },
    );
  await using stack = new AsyncDisposableStack();
  const pool = stack.use(await VerifyPool.start(repository.keys.material));
  if (options.dryRun || repository.options.appendOnly === true) {
    const prune = new Prune(repository, options, internals, pool, undefined);
    return await prune.dryRun();
  }
  const maintenance = stack.use(await acquireMaintenance(repository, { exclusive: options.immediate, signal: options.signal }));
  const report = await new Prune(repository, options, internals, pool, maintenance).run();
  await internals.onBoundary?.("before release");
  return report;
}

class Prune {
  readonly #repository: Repository;
  readonly #options: PruneOptions;
  readonly #internals: PruneInternals;
  readonly #pool: VerifyPool;
  readonly #maintenance: Maintenance | undefined;
  readonly #notes = new Set<string>();
  #condemned = { packs: 0, bytes: 0 };
  #deleted = { packs: 0, bytes: 0 };
  #bytesWritten = 0;
  #indexReplaced = 0;
  #objectsCopied = 0;
  #packed = 0;

  constructor(
    repository: Repository,
    options: PruneOptions,
    internals: PruneInternals,
    pool: VerifyPool,
    maintenance: Maintenance | undefined,
  ) {
    this.#repository = repository;
    this.#options = options;
    this.#internals = internals;
    this.#pool = pool;
    this.#maintenance = maintenance;
  }

  async dryRun(): Promise<PruneReport> {
    const leases = await listLeases(this.#repository, undefined, this.#options.signal);
    const mark = await this.#mark();
    const plan = this.#plan(mark, leases, this.#options.immediate, true);
    if (this.#repository.options.appendOnly === true) {
      this.#notes.add(
        `Target ${this.#repository.name} is append-only: nothing is rewritten, condemned or deleted there. Prune from a machine that may delete.`,
      );
      return this.#report({ ...plan, dead: [], unindexed: [], rewrites: [], oldEpochs: [], sweep: [] });
    }
    const { view } = mark;
    const condemned = condemnedBy(plan);
    this.#condemned = { packs: condemned.length, bytes: bytesOf(view, condemned) };
    const deleted = this.#options.immediate ? [...new Set([...plan.sweep, ...condemned])] : plan.sweep;
    this.#deleted = { packs: deleted.length, bytes: bytesOf(view, deleted) };
    this.#indexReplaced = planIndexRewrite(view, new Set(deleted))?.replaced.length ?? 0;
    for (const { frames, pack } of [...plan.rewrites, ...plan.oldEpochs])
      this.#bytesWritten += liveStored(view, mark.live, pack, frames);
    return this.#report(plan);
  }

  async run(): Promise<PruneReport> {
    const { signal, graceMs, immediate } = this.#options;
    await this.#boundary("after lease");
    refuseSkew(this.#repository, this.#maintenance?.lease.targetSkewMs);
    if (this.#options.oldEpochs === true) await refuseOlderKeyring(this.#repository, signal);
    await this.#repository.target.cleanUp(Math.max(graceMs, LEFTOVER_MS), { signal });
    // Leases before the mark: a writer that has given its lease back by then has put its snapshot, and the mark sees it.
    const leases = await this.#others();
    const mark = await this.#mark();
    await this.#boundary("after mark");
    const plan = this.#plan(mark, leases, immediate, true);
    // What was condemned long ago goes first: on a full target this makes the room to write in.
    await this.#sweep(mark, plan);
    if (this.#options.oldEpochs === true) await this.#copyObjects();
    await this.#store(mark, plan);
    if (immediate) await this.#sweepAtOnce();
    return this.#report(plan);
  }

  /** A fresh listing and a walk of every snapshot. Refuses when anything cannot be found. */
  async #mark(): Promise<Mark> {
    const { signal } = this.#options;
    this.#progress("mark", 0);
    const before = await this.#snapshots();
    const newest = before.snapshots.at(-1);
    const now = this.#repository.options.clock.now();
    if (newest !== undefined && now < newest.timeMs)
      throw new HoldfastError(
        "clock_unreliable",
        `This machine's time (${isoTime(now)}) lies before the newest snapshot on target ${this.#repository.name} (${isoTime(newest.timeMs)})`,
        {
          hint: "Nothing was changed. Correct the clock of this machine, or of the one that took that snapshot.",
        },
      );
    const view = await loadView(this.#repository, { signal, withAbsent: false });
    refuseDamage(this.#repository, view);
    await this.#refuseIncompletePacks(view);
    const { live } = await scanTrees({
      repository: this.#repository,
      view,
      pool: this.#pool,
      roots: before.snapshots.map(({ root }) => Buffer.from(root, "hex")),
      sizes: false,
      strict: true,
      signal,
      onProgress: (entries) => this.#progress("mark", entries),
    });
    // Asked twice, because a listing that leaves a snapshot out would make its chunks look dead.
    const after = await this.#snapshots();
    const seen = new Set(before.listed);
    const still = new Set(after.listed);
    const lost = before.listed.filter((id) => !still.has(id) && !isDeleted(id, after));
    const added = after.snapshots.filter(({ object }) => !seen.has(object));
    if (lost.length > 0 || added.some(({ objectTimeMs, endMs }) => (objectTimeMs ?? endMs) < this.#startedMs() - LEFTOVER_MS))
      throw new HoldfastError(
        "listing_incomplete",
        `Two listings of the snapshots on target ${this.#repository.name} differ by objects that are old`,
        {
          hint: "Nothing was changed. The target shows incomplete listings; prune again later, and test it with `holdfast doctor`.",
          data: { missing: lost },
        },
      );
    const holes = missingPredecessors(before.snapshots, before.deleted);
    const warnings =
      holes.length === 0
        ? []
        : [
            `${holes.length} snapshots name a predecessor that is not on target ${this.#repository.name}: its list of snapshots was rolled back, or copied in part`,
          ];
    return { view, live, snapshots: before.snapshots, warnings };
  }

  #startedMs(): number {
    return this.#maintenance?.lease.startMs ?? this.#repository.options.clock.now();
  }

  #snapshots(): ReturnType<typeof readSnapshots> {
    // Without onDamaged: a snapshot or note that cannot be read refuses the prune.
    return readSnapshots(this.#repository, { signal: this.#options.signal });
  }

  async #refuseIncompletePacks(view: RepositoryView): Promise<void> {
    for (const { id, indexed, listed } of view.packs.values()) {
      if (indexed === undefined || listed !== undefined) continue;
      if ((await this.#repository.target.stat(packName(id), { signal: this.#options.signal })) === undefined) continue;
      throw new HoldfastError("listing_incomplete", `Target ${this.#repository.name} does not list pack ${id}, which is there`, {
        hint: "Nothing was changed. The target shows incomplete listings; prune again later, and test it with `holdfast doctor`.",
        data: { pack: id },
      });
    }
  }

  #plan(mark: Mark, leases: readonly SeenLease[], immediate: boolean, rewrite: boolean): PrunePlan {
    const { clock, packBytes = DEFAULT_PACK_BYTES } = this.#repository.options;
    const plan = planPrune({
      view: mark.view,
      live: mark.live,
      leases,
      nowMs: clock.now(),
      targetNowMs: this.#maintenance?.lease.targetNowMs(),
      graceMs: this.#options.graceMs,
      immediate,
      maxUnused: this.#options.maxUnused,
      packBytes,
      rewrite,
      grouping: this.#internals.grouping ?? "frame",
      sinceEpoch: this.#options.oldEpochs === true ? this.#repository.keys.current.epoch : undefined,
    });
    if (this.#options.oldEpochs === true) refuseDamagedPacks(this.#repository, plan.damagedKept);
    for (const note of [...mark.warnings, ...plan.notes]) this.#notes.add(note);
    return plan;
  }

  /** Deletes what was condemned long enough: tombstones anew, new index, old index objects, packs. */
  async #sweep({ view }: Mark, plan: PrunePlan): Promise<void> {
    const { signal } = this.#options;
    const repository = this.#repository;
    const gone = new Set(plan.sweep);
    const ids = view.activeIndex.map(({ id }) => id);
    const old = this.#options.oldEpochs === true ? await oldIndexObjects(repository, ids, signal) : undefined;
    const rewrite = planIndexRewrite(view, gone, old);
    const replaced = new Map(view.supersededIndex);
    if (gone.size > 0) {
      await this.#boundary("before tombstones");
      // Dated now, so that the tombstone outlives the pack by its full time.
      await this.#full("renewing tombstones", () => this.#condemn("prune", plan.sweep));
      await this.#boundary("after tombstones");
    }
    if (rewrite !== undefined) {
      const records = rewrite.packs.flatMap((id) => view.index.record(id) ?? []);
      const written = await this.#full("writing the index", () => putIndex(repository, records, rewrite.replaced, signal));
      if (written !== undefined)
        for (const { id, supersedes } of view.activeIndex) if (rewrite.replaced.includes(id)) replaced.set(id, supersedes);
    }
    await this.#boundary("after sweep index");
    for (const id of deletionOrder(replaced)) {
      await this.#delete(`index/${id}`);
      this.#indexReplaced++;
      await this.#boundary("mid old index deletion");
    }
    await this.#boundary("after old index deletion");
    for (const id of plan.sweep) {
      await this.#delete(packName(id));
      this.#deleted.packs++;
      this.#deleted.bytes += view.packs.get(id)?.listed?.sizeBytes ?? 0;
      await this.#boundary("mid pack deletion");
    }
    await this.#boundary("after pack deletion");
    for (const id of plan.tombstones) await this.#delete(`condemned/${id}`);
    await deleteOutdated(repository, {
      graceMs: this.#options.graceMs,
      immediate: this.#options.immediate,
      targetNowMs: this.#maintenance?.lease.targetNowMs(),
      signal,
      remove: (name) => this.#delete(name),
      onBoundary: (name) => this.#boundary(name),
    });
    for (const { state, time, objects } of await this.#others())
      if (state !== "live" && this.#repository.options.clock.now() - Date.parse(time) > LEFTOVER_MS)
        for (const id of objects) await this.#delete(`leases/${id}`);
  }

  async #copyObjects(): Promise<void> {
    this.#progress("copy objects", 0);
    this.#objectsCopied = await copyOldObjects(this.#repository, {
      signal: this.#options.signal,
      onCopied: (copied) => {
        this.#assertHeld();
        this.#progress("copy objects", copied);
      },
      onBoundary: (name) => this.#boundary(name),
    });
  }

  /** Stores live chunks of wasteful packs anew, and condemns what is not needed any more. */
  async #store(mark: Mark, plan: PrunePlan): Promise<void> {
    this.#progress("repack", 0);
    await this.#repository.loadIndex(() => undefined, this.#options.signal);
    await this.#replace(mark, plan.rewrites, plan.dead, plan.unindexed);
    const groupBytes = this.#internals.groupBytes ?? GROUP_BYTES;
    let group: Rewrite[] = [];
    let bytes = 0;
    for (const rewrite of plan.oldEpochs) {
      group.push(rewrite);
      bytes += rewrite.sizeBytes;
      if (bytes < groupBytes) continue;
      await this.#replace(mark, group);
      group = [];
      bytes = 0;
    }
    if (group.length > 0) await this.#replace(mark, group);
  }

  /** Stores what lives in `rewrites` anew, indexes it, and only then condemns them and the others. */
  async #replace(
    mark: Mark,
    rewrites: readonly Rewrite[],
    dead: readonly PackId[] = [],
    unindexed: readonly PackId[] = [],
  ): Promise<void> {
    const { signal, compression } = this.#options;
    const repository = this.#repository;
    const records: PackRecord[] = [];
    const done = await this.#full("storing live data anew", async () => {
      await repack({
        repository,
        view: mark.view,
        live: mark.live,
        snapshots: mark.snapshots,
        rewrites,
        compression,
        grouping: this.#internals.grouping ?? "frame",
        reseal: this.#options.oldEpochs === true,
        signal,
        onPacked: (record) => {
          records.push(record);
          this.#bytesWritten += record.sizeBytes;
          this.#progress("repack", ++this.#packed);
        },
      });
      return true;
    });
    await this.#boundary("after repack");
    await readBackPacks(repository, records, signal);
    const indexed = await this.#full("indexing new packs", () => putIndex(repository, records, [], signal));
    if (indexed !== undefined) for (const record of records) repository.index.addPack(record);
    await this.#boundary("after index");
    const stored = done === true && indexed !== undefined;
    const known = [...dead, ...(stored ? rewrites.filter(({ condemn }) => condemn).map(({ pack }) => pack) : [])];
    const condemned = [...known, ...unindexed];
    if (condemned.length === 0) return;
    await this.#boundary("before condemn");
    await this.#condemn("prune", known);
    await this.#boundary("mid condemn");
    await this.#condemn("unindexed", unindexed);
    await repository.refreshCondemned(signal);
    this.#condemned.packs += condemned.length;
    this.#condemned.bytes += bytesOf(mark.view, condemned);
    await this.#boundary("after condemn");
  }

  /** The second mark of `--immediate`: everything is listed and walked again, and no other lease may have appeared. */
  async #sweepAtOnce(): Promise<void> {
    await this.#maintenance?.lease.confirm(this.#options.signal);
    // A writer that takes a lease after this look finds everything condemned when it commits.
    const leases = await this.#others();
    const mark = await this.#mark();
    const plan = this.#plan(mark, leases, true, false);
    await this.#sweep(mark, plan);
  }

  async #condemn(reason: CondemnedReason, packs: readonly PackId[]): Promise<void> {
    this.#assertHeld();
    const owner = this.#maintenance?.lease.owner ?? randomHex(this.#repository.options.random, 16);
    for (let at = 0; at < packs.length; at += CONDEMNED_PACKS) {
      const content = encodeCondemned({
        reason,
        time: isoTime(this.#repository.options.clock.now()),
        packs: packs.slice(at, at + CONDEMNED_PACKS),
        owner,
      });
      const id = await this.#repository.putObject("condemned", content, this.#options.signal);
      await this.#repository.readObject("condemned", id, this.#options.signal, true);
    }
  }

  async #delete(name: string): Promise<void> {
    throwIfAborted(this.#options.signal);
    this.#assertHeld();
    try {
      await this.#repository.target.delete(name, { signal: this.#options.signal });
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== "target_denied") throw error;
      throw new HoldfastError("target_denied", `Target ${this.#repository.name} refuses to delete ${name}`, {
        hint: "Backups go on. Allow deletion to the account that prunes, or declare the target append-only.",
        cause: error,
      });
    }
  }

  /**
   * Performs a step that writes. On a full target it gives undefined, and the prune goes on with what needs no space:
   * condemned packs are already avoided by everyone, so they may be deleted before an index says so.
   */
  async #full<Result>(what: string, step: () => Promise<Result>): Promise<Result | undefined> {
    this.#assertHeld();
    try {
      return await step();
    } catch (error) {
      // A rewrite that did not fit is not done, and must not look so.
      if (!(error instanceof HoldfastError) || error.code !== "target_full" || this.#options.oldEpochs === true) throw error;
      this.#notes.add(
        `Target ${this.#repository.name} was full while ${what}: only packs without any live data were condemned or deleted. ` +
          "Prune with --immediate while no backup runs to delete those at once, or free a little space by other means; then prune again.",
      );
      return undefined;
    }
  }

  async #others(): Promise<SeenLease[]> {
    return (await this.#maintenance?.others(this.#options.signal)) ?? [];
  }

  #assertHeld(): void {
    this.#maintenance?.assertHeld();
  }

  async #boundary(name: PruneBoundary | RewriteBoundary): Promise<void> {
    await this.#internals.onBoundary?.(name);
  }

  #report(plan: PrunePlan): PruneReport {
    const repacked = plan.rewrites.length + plan.oldEpochs.length;
    return {
      packsBefore: plan.packsBefore,
      bytesBefore: plan.bytesBefore,
      liveBytes: Math.round(plan.liveBytes),
      packsKept: plan.packsBefore - plan.sweep.length - this.#condemned.packs,
      packsRepacked: repacked,
      bytesWritten: Math.round(this.#bytesWritten),
      packsCondemned: this.#condemned.packs,
      bytesCondemned: this.#condemned.bytes,
      packsDeleted: this.#deleted.packs,
      bytesDeleted: this.#deleted.bytes,
      indexObjectsReplaced: this.#indexReplaced,
      objectsCopied: this.#objectsCopied,
      notes: [...this.#notes],
    };
  }

  #progress(phase: string, done: number): void {
    this.#options.onProgress({
      phase,
      filesDone: done,
      filesTotal: undefined,
      bytesDone: 0,
      bytesTotal: undefined,
      storedBytes: this.#bytesWritten,
      current: undefined,
    });
  }
}
