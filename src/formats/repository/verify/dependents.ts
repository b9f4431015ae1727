import { setImmediate as turn } from "node:timers/promises";
import { throwIfAborted } from "../../../base/abort.ts";
import { asHoldfastError, HoldfastError } from "../../../base/errors.ts";
import type { SnapshotId } from "../../../base/ids.ts";
import { LONGEST_PATH_BYTES, pathText } from "../../../base/path-text.ts";
import type { SnapshotInfo } from "../../format.ts";
import type { ChunkReader } from "../read/chunk-reader.ts";
import { dataLength, decodeNode, TREE_ID_BYTES, type TreeEntry } from "../objects/tree-node.ts";

/** Paths kept for one damage. */
const MAX_PATHS = 100;

/** Whose damage: a pack or a chunk, by the key the caller chose. */
export type DamageKey = string;

/** Everything that depends on one damage. */
export interface Dependents {
  readonly snapshots: Set<SnapshotId>;
  readonly paths: Set<string>;
}

export interface FindDependentsOptions {
  readonly snapshots: readonly SnapshotInfo[];
  readonly reader: ChunkReader;
  /** The damage a chunk (32 bytes of id) belongs to, or undefined for a good one. */
  readonly damageOf: (kind: 1 | 2, id: Uint8Array) => DamageKey | undefined;
  /** Length of a data chunk, or undefined when unknown. */
  readonly lengthOf: (id: Uint8Array) => number | undefined;
  readonly signal: AbortSignal;
}

export interface DependentsFound {
  readonly byDamage: ReadonlyMap<DamageKey, Dependents>;
  /** Files whose chunks do not sum up to their size, with the snapshots that hold them. */
  readonly wrongSizes: ReadonlyMap<string, Set<SnapshotId>>;
}

/**
 * Walks the trees of snapshots with their paths and names what needs damaged chunks. A directory whose tree cannot be read
 * is named itself. Subtrees without damage are walked once, whatever number of snapshots share them.
 */
export async function findDependents(options: FindDependentsOptions): Promise<DependentsFound> {
  const walk = new DependentsWalk(options);
  for (const snapshot of options.snapshots) await walk.snapshot(snapshot);
  return walk;
}

class DependentsWalk implements DependentsFound {
  readonly byDamage = new Map<DamageKey, Dependents>();
  readonly wrongSizes = new Map<string, Set<SnapshotId>>();
  readonly #options: FindDependentsOptions;
  /** Trees with nothing damaged below. */
  readonly #clean = new Set<string>();

  constructor(options: FindDependentsOptions) {
    this.#options = options;
  }

  async snapshot(snapshot: SnapshotInfo): Promise<void> {
    await this.#tree(snapshot.id, Buffer.from(snapshot.root, "hex"), Buffer.from("/"));
  }

  /** True when nothing below is damaged. */
  async #tree(snapshot: SnapshotId, id: Uint8Array, path: Buffer): Promise<boolean> {
    const key = Buffer.from(id).toString("latin1");
    if (this.#clean.has(key)) return true;
    throwIfAborted(this.#options.signal);
    const bytes = await this.#treeChunk(snapshot, id, path);
    if (bytes === undefined) return false;
    await turn();
    const node = decodeNode(bytes);
    let clean = true;
    if (node.type === "inner") for (const child of node.children) clean = (await this.#tree(snapshot, child.id, path)) && clean;
    if (node.type === "leaf") for (const entry of node.entries) clean = (await this.#entry(snapshot, entry, path)) && clean;
    if (clean) this.#clean.add(key);
    return clean;
  }

  async #entry(snapshot: SnapshotId, entry: TreeEntry, folder: Buffer): Promise<boolean> {
    if (entry.tree === undefined && entry.ids.length === 0) return true;
    // Deeper than any backup goes, the last path that can be named stands for what lies below.
    const path =
      folder.length > LONGEST_PATH_BYTES
        ? folder
        : Buffer.concat([folder, Buffer.from(folder.length > 1 ? "/" : ""), entry.name]);
    if (entry.tree !== undefined) return await this.#tree(snapshot, entry.tree, path);
    const ids = await this.#dataIds(snapshot, entry.ids, entry.depth, path);
    if (ids === undefined) return false;
    let clean = true;
    let sum: number | undefined = 0;
    for (let at = 0; at < ids.length; at += TREE_ID_BYTES) {
      const id = ids.subarray(at, at + TREE_ID_BYTES);
      const damage = this.#options.damageOf(1, id);
      if (damage !== undefined) {
        this.#note(damage, snapshot, path);
        clean = false;
      }
      const length = this.#options.lengthOf(id);
      sum = sum === undefined || length === undefined ? undefined : sum + length;
    }
    if (sum === undefined || sum === dataLength(entry)) return clean;
    const text = pathText(path);
    const holders = this.wrongSizes.get(text) ?? new Set();
    this.wrongSizes.set(text, holders.add(snapshot));
    return false;
  }

  async #dataIds(snapshot: SnapshotId, ids: Uint8Array, depth: number, path: Buffer): Promise<Uint8Array | undefined> {
    if (depth === 0) return ids;
    const below: Uint8Array[] = [];
    for (let at = 0; at < ids.length; at += TREE_ID_BYTES) {
      const bytes = await this.#treeChunk(snapshot, ids.subarray(at, at + TREE_ID_BYTES), path);
      if (bytes === undefined) return undefined;
      const node = decodeNode(bytes);
      if (node.type === "list") below.push(node.ids);
    }
    return await this.#dataIds(snapshot, Buffer.concat(below), depth - 1, path);
  }

  /** A tree chunk, or undefined when it is damaged: then its path is noted. */
  async #treeChunk(snapshot: SnapshotId, id: Uint8Array, path: Buffer): Promise<Buffer | undefined> {
    const damage = this.#options.damageOf(2, id);
    try {
      const bytes = await this.#options.reader.chunk(2, id);
      decodeNode(bytes);
      return bytes;
    } catch (error) {
      throwIfAborted(this.#options.signal);
      if (!(error instanceof HoldfastError)) throw asHoldfastError(error);
      if (error.transient || !/^(object_|chunk_missing)/.test(error.code)) throw error;
      this.#note(damage ?? `tree ${Buffer.from(id).toString("hex")}`, snapshot, path);
      return undefined;
    }
  }

  #note(damage: DamageKey, snapshot: SnapshotId, path: Buffer): void {
    const known = this.byDamage.get(damage) ?? { snapshots: new Set(), paths: new Set() };
    this.byDamage.set(damage, known);
    known.snapshots.add(snapshot);
    if (known.paths.size < MAX_PATHS) known.paths.add(pathText(path));
  }
}
