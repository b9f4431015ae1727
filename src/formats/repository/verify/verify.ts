import { HoldfastError } from "../../../base/errors.ts";
import type { SnapshotId } from "../../../base/ids.ts";
import type { SnapshotInfo, VerifyOptions, VerifyReport } from "../../format.ts";
import { ChunkReader } from "../read/chunk-reader.ts";
import type { Repository } from "../repository.ts";
import { missingPredecessors, readSnapshots } from "../snapshots/snapshot-list.ts";
import { checkSmallObjects, Findings } from "./check-objects.ts";
import { checkDirectories, checkPresence, PackHealth } from "./check-packs.ts";
import { findDependents, type DependentsFound } from "./dependents.ts";
import { readPacks } from "./read-packs.ts";
import { loadView, rankOf, PACK_RANK, type RepositoryView, type ViewPack } from "./repository-view.ts";
import { scanTrees, type TreeScan } from "./scan-trees.ts";
import { VerifyPool } from "./verify-pool.ts";

/** Damage in words kept in the note of a verification. */

/**
 * Proves that snapshots can be read, and names what cannot: every small object by its hash and tag, packs by presence,
 * size and directory, trees by walking them, and with `readData` that part of the packs byte by byte. Damage is a result,
 * not an error; it rejects when the target or the machine fails. The result is kept as a note. Needs no lease: what a prune
 * deletes meanwhile is needed by no snapshot.
 */
export async function verifyRepository(repository: Repository, options: VerifyOptions): Promise<VerifyReport> {
  await using stack = new AsyncDisposableStack();
  const pool = stack.use(await VerifyPool.start(repository.keys.material));
  return await new Verification(repository, options, pool).run();
}

class Verification {
  readonly #repository: Repository;
  readonly #options: VerifyOptions;
  readonly #pool: VerifyPool;
  readonly #findings = new Findings();
  #bytesRead = 0;

  constructor(repository: Repository, options: VerifyOptions, pool: VerifyPool) {
    this.#repository = repository;
    this.#options = options;
    this.#pool = pool;
  }

  async run(): Promise<VerifyReport> {
    const { signal, readData } = this.#options;
    this.#progress("objects", 0, undefined);
    await checkSmallObjects(this.#repository, this.#findings, signal);
    const snapshots = await this.#checkSnapshots();
    const view = await loadView(this.#repository, { signal, withAbsent: true, fresh: true });
    this.#checkIndex(view);
    const health = new PackHealth(view);
    this.#findings.check("packs", view.packs.size, checkPresence(view, health), unindexedNote(view));
    const scan = await this.#checkTrees(view, snapshots);
    const readable = [...view.packs.values()].filter((pack) => pack.listed !== undefined);
    const chosen = this.#choose(readable, view, scan);
    const chosenIds = new Set(chosen.map(({ id }) => id));
    const recordOf = (id: ViewPack["id"]): ReturnType<typeof view.index.record> => view.index.record(id);
    const unread = readable.filter(({ id }) => !chosenIds.has(id));
    const badDirectories = await checkDirectories(this.#repository, unread, recordOf, health, signal);
    this.#findings.check(
      "pack directories",
      unread.length,
      badDirectories,
      chosen.length > 0 ? "those read whole are counted there" : undefined,
    );
    let badPacks = 0;
    this.#bytesRead += await readPacks({
      repository: this.#repository,
      pool: this.#pool,
      packs: chosen.map(({ id, listed }) => ({ id, sizeBytes: listed?.sizeBytes ?? 0 })),
      recordOf,
      onPack: (id, { problems, badFrames }) => {
        if (problems.length > 0) badPacks++;
        for (const problem of problems) health.problem(id, problem);
        health.proven(id, badFrames);
      },
      onProgress: (packs) => this.#progress("data", packs, chosen.length),
      signal,
    });
    const part =
      readData >= 1
        ? undefined
        : readData > 0
          ? `${chosen.length} of ${readable.length} packs, chosen at random`
          : "not asked for";
    this.#findings.check("pack content", chosen.length, badPacks, part);
    await this.#nameDamage(view, health, scan, snapshots);
    const { checks, damage } = this.#findings;
    const report: VerifyReport = {
      ok: damage.length === 0,
      checks,
      damage,
      snapshots: snapshots.length,
      bytesRead: this.#bytesRead,
      level: readData >= 1 ? "data" : readData > 0 ? `data ${readData}` : "structure",
    };
    return report;
  }

  async #checkSnapshots(): Promise<SnapshotInfo[]> {
    const failed = { snapshots: 0, notes: 0 };
    const { snapshots, deleted, notes, listed } = await readSnapshots(this.#repository, {
      signal: this.#options.signal,
      fresh: true,
      onDamaged: (name, error) => {
        const [folder, id] = name.split("/") as ["snapshots" | "notes", string];
        failed[folder]++;
        this.#findings.add({ kind: folder === "snapshots" ? "snapshot" : "note", id, message: error.message });
      },
    });
    const holes = missingPredecessors(snapshots, deleted);
    const note =
      holes.length === 0
        ? undefined
        : `${holes.length} name a predecessor that is not here: the list of snapshots was rolled back, or copied in part`;
    this.#findings.check("snapshots", listed.length, failed.snapshots, note);
    this.#findings.check("notes", notes.length + failed.notes, failed.notes);
    const wanted = this.#options.snapshots;
    for (const id of wanted)
      if (!snapshots.some((snapshot) => snapshot.id === id))
        throw new HoldfastError("snapshot_missing", `There is no snapshot ${id} on target ${this.#repository.name}`, {
          hint: "`holdfast snapshots` lists what is there. If it should be there, verify without naming it.",
        });
    return wanted.length === 0 ? snapshots : snapshots.filter(({ id }) => wanted.includes(id));
  }

  #checkIndex(view: RepositoryView): void {
    for (const [id, error] of view.damagedIndex) this.#findings.add({ kind: "index", id, message: error.message });
    for (const [id, error] of view.damagedCondemned) this.#findings.add({ kind: "condemned", id, message: error.message });
    const readable = new Set([...view.activeIndex.map(({ id }) => id), ...view.supersededIndex.keys()]);
    const objects = new Set([...readable, ...view.damagedIndex.keys()]).size;
    this.#findings.check("index", objects, view.damagedIndex.size);
    this.#findings.check("condemned", view.condemned.length + view.damagedCondemned.size, view.damagedCondemned.size);
  }

  async #checkTrees(view: RepositoryView, snapshots: readonly SnapshotInfo[]): Promise<TreeScan> {
    const scan = await scanTrees({
      repository: this.#repository,
      view,
      pool: this.#pool,
      roots: snapshots.map(({ root }) => Buffer.from(root, "hex")),
      sizes: true,
      strict: false,
      signal: this.#options.signal,
      onProgress: (entries) => this.#progress("trees", entries, undefined),
    });
    this.#bytesRead += scan.bytesRead;
    const missingTrees = scan.missing.filter(({ kind }) => kind === 2).length;
    this.#findings.check("trees", scan.trees + scan.unreadable.length + missingTrees, scan.unreadable.length + missingTrees);
    this.#findings.check("files", scan.entries, scan.wrongSizes + scan.missing.length - missingTrees);
    return scan;
  }

  /** The packs to read whole: all, or of a selection those it needs; a random part of them. */
  #choose(readable: readonly ViewPack[], view: RepositoryView, scan: TreeScan): ViewPack[] {
    const { readData, snapshots } = this.#options;
    if (readData <= 0) return [];
    const candidates = snapshots.length === 0 ? [...readable] : readable.filter(({ id }) => isUsed(view, scan, id));
    const count = Math.min(candidates.length, Math.ceil(candidates.length * Math.min(1, readData)));
    const random = this.#repository.options.random;
    for (let i = 0; i < count; i++) {
      const bytes = Buffer.from(random.bytes(6));
      const other = i + (bytes.readUIntLE(0, 6) % (candidates.length - i));
      [candidates[i], candidates[other]] = [candidates[other] as ViewPack, candidates[i] as ViewPack];
    }
    return candidates.slice(0, count);
  }

  async #nameDamage(view: RepositoryView, health: PackHealth, scan: TreeScan, snapshots: readonly SnapshotInfo[]): Promise<void> {
    const lost = new Map<string, string>();
    const packOf = (kind: 1 | 2, id: Uint8Array): string =>
      `pack ${view.index.packOfFrame(view.index.locations(kind, id)[0]?.frame ?? 0)}`;
    health.lostChunks(scan.live, (kind, id) => lost.set(shortKey(kind, id), packOf(kind, id)));
    for (const { kind, id } of scan.unreadable) {
      const bytes = Buffer.from(id, "hex");
      lost.set(shortKey(kind, bytes), packOf(kind, bytes));
    }
    for (const { kind, id } of scan.missing) lost.set(shortKey(kind, Buffer.from(id, "hex")), `chunk ${id}`);
    let found: DependentsFound = { byDamage: new Map(), wrongSizes: new Map() };
    if (lost.size > 0 || scan.wrongSizes > 0) {
      this.#progress("names", 0, undefined);
      await this.#repository.loadIndex(() => undefined, this.#options.signal);
      found = await findDependents({
        snapshots,
        reader: new ChunkReader(this.#repository, { signal: this.#options.signal }),
        damageOf: (kind, id) => lost.get(shortKey(kind, id)),
        lengthOf: (id) => view.index.find(1, id)?.length,
        signal: this.#options.signal,
      });
    }
    const named = new Set<string>();
    for (const { id, message } of scan.unreadable) {
      const key = packOf(2, Buffer.from(id, "hex"));
      const pack = view.packs.get(key.slice("pack ".length) as ViewPack["id"]);
      if (pack !== undefined && !health.problems.has(pack.id))
        health.problem(pack.id, `tree chunk ${id} cannot be read: ${message}`);
    }
    for (const [id, problems] of health.problems) {
      const key = `pack ${id}`;
      named.add(key);
      const dependents = found.byDamage.get(key);
      // Known to be bad already and needed by nobody: a prune removes it.
      const known = rankOfKnown(view.packs.get(id));
      if (dependents === undefined && known && ![...lost.values()].includes(key)) continue;
      this.#findings.add({ kind: "pack", id, message: problems.join("; "), ...listed(dependents) });
    }
    for (const { kind, id, message } of scan.missing) {
      named.add(`chunk ${id}`);
      this.#findings.add({
        kind: "chunk",
        id,
        message: `${kind === 1 ? "Data" : "Tree"} chunk: ${message}`,
        ...listed(found.byDamage.get(`chunk ${id}`)),
      });
    }
    for (const [key, dependents] of found.byDamage) {
      if (named.has(key)) continue;
      const [kind, id] = key.split(" ") as [string, string];
      this.#findings.add({ kind, id, message: "it cannot be read", ...listed(dependents) });
    }
    for (const [path, holders] of found.wrongSizes)
      this.#findings.add({
        kind: "file",
        id: path,
        message: "its chunks do not add up to its size",
        snapshots: [...holders],
        paths: [path],
      });
  }

  #progress(phase: string, done: number, total: number | undefined): void {
    this.#options.onProgress({
      phase,
      filesDone: done,
      filesTotal: total,
      bytesDone: this.#bytesRead,
      bytesTotal: undefined,
      storedBytes: 0,
      current: undefined,
    });
  }
}

function unindexedNote(view: RepositoryView): string | undefined {
  const count = [...view.packs.values()].filter((pack) => pack.indexed === undefined).length;
  return count === 0
    ? undefined
    : `${count} packs are in no index: of a backup that runs or was interrupted; a prune removes them in time`;
}

function isUsed(view: RepositoryView, scan: TreeScan, id: ViewPack["id"]): boolean {
  const pack = view.index.pack(id);
  if (pack === undefined) return false;
  for (let frame = pack.firstFrame; frame < pack.firstFrame + pack.frameCount; frame++)
    for (const { chunk } of view.index.chunksOf(frame)) if (scan.live.has(chunk)) return true;
  return false;
}

function rankOfKnown(pack: ViewPack | undefined): boolean {
  if (pack === undefined) return false;
  return pack.damaged || pack.condemned.length > 0 || rankOf(pack) === PACK_RANK.damaged;
}

function shortKey(kind: 1 | 2, id: Uint8Array): string {
  return `${kind}${Buffer.from(id.buffer, id.byteOffset, 16).toString("latin1")}`;
}

function listed(dependents: { readonly snapshots: ReadonlySet<SnapshotId>; readonly paths: ReadonlySet<string> } | undefined): {
  snapshots: SnapshotId[];
  paths: string[];
} {
  return { snapshots: [...(dependents?.snapshots ?? [])], paths: [...(dependents?.paths ?? [])] };
}
