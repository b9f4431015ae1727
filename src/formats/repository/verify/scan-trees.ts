import { throwIfAborted } from "../../../base/abort.ts";
import { asHoldfastError, HoldfastError } from "../../../base/errors.ts";
import type { Repository } from "../repository.ts";
import { TREE_ID_BYTES } from "../objects/tree-node.ts";
import { Bitmap } from "./bitmap.ts";
import type { NodesReply } from "./messages.ts";
import { packName, type RepositoryView } from "./repository-view.ts";
import type { VerifyPool } from "./verify-pool.ts";

/** Entries of `waiting` hold a chunk number and what the chunk is: 0 a directory, else a list of that depth. */
const ROLES = 8;

/** A chunk by its kind and the first 16 bytes of its id (32 where known), in hex. */
export interface ChunkProblem {
  readonly kind: 1 | 2;
  readonly id: string;
  readonly message: string;
}

export interface TreeScan {
  /** Chunk numbers of the view's index: the preferred copy of every data and tree chunk that was reached. */
  readonly live: Bitmap;
  /** Tree chunks reached, those that failed included. */
  readonly trees: number;
  readonly entries: number;
  /** Chunks that lie in no pack, by kind and id. */
  readonly missing: readonly ChunkProblem[];
  /** Tree chunks of which no copy can be read. */
  readonly unreadable: readonly ChunkProblem[];
  /** Files whose chunks do not sum up to their data; which, a walk with paths tells. */
  readonly wrongSizes: number;
  readonly bytesRead: number;
}

export interface ScanOptions {
  readonly repository: Repository;
  readonly view: RepositoryView;
  readonly pool: VerifyPool;
  /** Root tree ids, 32 bytes each. */
  readonly roots: readonly Uint8Array[];
  /** Whether file sizes are compared with their chunks. */
  readonly sizes: boolean;
  /** Throw at the first chunk that is missing or unreadable, instead of collecting. */
  readonly strict: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (entries: number, bytesRead: number) => void;
}

/**
 * Reaches every tree and data chunk below the roots, each tree once, whoever names it. Frames are fetched and opened in
 * threads, a few at a time; here only ids are looked up. Rejects when the target fails for another reason than damage.
 */
export async function scanTrees(options: ScanOptions): Promise<TreeScan> {
  return await new Scanner(options).run();
}

interface PendingFile {
  readonly dataBytes: number;
  readonly depth: number;
  readonly ids: Uint8Array;
}

class Scanner {
  readonly #options: ScanOptions;
  readonly #live: Bitmap;
  /** Frame → numbers of wanted chunks in it. */
  readonly #waiting = new Map<number, number[]>();
  readonly #busy = new Set<number>();
  /** Preferred copy → how many copies have failed. */
  readonly #failures = new Map<number, number>();
  readonly #missing = new Map<string, ChunkProblem>();
  readonly #unreadable: ChunkProblem[] = [];
  /** Lists of depth 1, by preferred copy, and the sum of what they name; lists above, and their ids. */
  readonly #listBytes = new Map<number, number>();
  readonly #outerLists = new Map<number, Uint8Array>();
  readonly #indirect: PendingFile[] = [];
  #trees = 0;
  #entries = 0;
  #wrongSizes = 0;
  #bytesRead = 0;
  #lastFrame = Number.POSITIVE_INFINITY;

  constructor(options: ScanOptions) {
    this.#options = options;
    this.#live = new Bitmap(options.view.index.chunkCount);
  }

  async run(): Promise<TreeScan> {
    for (const root of this.#options.roots) this.#want(root, 0, 0);
    let failure: { error: unknown } | undefined;
    const jobs = new Set<Promise<void>>();
    const width = this.#options.pool.size + 1;
    while ((this.#waiting.size > 0 && failure === undefined) || jobs.size > 0) {
      while (jobs.size < width && failure === undefined) {
        const frame = this.#nextFrame();
        if (frame === undefined) break;
        const job: Promise<void> = this.#readFrame(frame)
          .catch((error: unknown) => {
            failure ??= { error };
          })
          .finally(() => {
            this.#busy.delete(frame);
            jobs.delete(job);
          });
        jobs.add(job);
      }
      await Promise.race(jobs);
    }
    if (failure !== undefined) throw failure.error;
    if (this.#options.sizes) this.#checkIndirect();
    return {
      live: this.#live,
      trees: this.#trees,
      entries: this.#entries,
      missing: [...this.#missing.values()],
      unreadable: this.#unreadable,
      wrongSizes: this.#wrongSizes,
      bytesRead: this.#bytesRead,
    };
  }

  /** Backwards through a pack, because children were written before their parents; then wherever something waits. */
  #nextFrame(): number | undefined {
    let below = -1;
    let highest = -1;
    for (const frame of this.#waiting.keys()) {
      if (this.#busy.has(frame)) continue;
      if (frame <= this.#lastFrame && frame > below) below = frame;
      if (frame > highest) highest = frame;
    }
    const next = below >= 0 ? below : highest;
    if (next < 0) return undefined;
    this.#lastFrame = next;
    this.#busy.add(next);
    return next;
  }

  /** Notes that the tree chunk at `ids[offset…]` is reached. */
  #want(ids: Uint8Array, offset: number, role: number): void {
    const found = this.#options.view.index.find(2, ids, offset);
    if (found === undefined) {
      this.#miss(2, ids.subarray(offset, offset + TREE_ID_BYTES));
      return;
    }
    if (this.#live.has(found.chunk)) return;
    this.#live.add(found.chunk);
    this.#queue(found.frame, found.chunk, role);
  }

  #queue(frame: number, chunk: number, role: number): void {
    const numbers = this.#waiting.get(frame);
    if (numbers === undefined) this.#waiting.set(frame, [chunk * ROLES + role]);
    else numbers.push(chunk * ROLES + role);
  }

  async #readFrame(number: number): Promise<void> {
    const { view, repository, pool, signal } = this.#options;
    throwIfAborted(signal);
    const wanted = this.#waiting.get(number) ?? [];
    this.#waiting.delete(number);
    const frame = view.index.frame(number);
    const { chunkIds, chunkLengths, firstChunk } = frame;
    const seen = new Uint8Array(frame.chunkCount);
    for (let i = 0; i < frame.chunkCount; i++) {
      const preferred = view.index.find(2, chunkIds, i * 16);
      if (preferred !== undefined && this.#live.has(preferred.chunk)) seen[i] = 1;
    }
    const positions = wanted.map((item) => Math.floor(item / ROLES) - firstChunk);
    const roles = wanted.map((item) => item % ROLES);
    let reply: NodesReply;
    try {
      const stored = await repository.target.get(packName(frame.packId), {
        range: { offset: frame.offset, length: frame.storedLength },
        signal,
      });
      this.#bytesRead += stored.length;
      reply = await pool.nodes({
        type: "nodes",
        codec: frame.codec,
        rawLength: frame.rawLength,
        row: frame.row,
        stored,
        chunkIds,
        chunkLengths,
        seen,
        wanted: Uint32Array.from(positions),
        roles: Uint8Array.from(roles),
      });
    } catch (error) {
      throwIfAborted(signal);
      const known = asHoldfastError(error);
      if (known.transient || !(known.code.startsWith("object_") || known.code === "target_missing_object")) throw error;
      positions.forEach((position, i) => this.#failed(chunkIds, position, roles[i] as number, known.message));
      return;
    }
    this.#take(reply, chunkIds);
    for (const { position, role, message } of reply.failed) this.#failed(chunkIds, position, role, message);
    this.#options.onProgress(this.#entries, this.#bytesRead);
  }

  #take(reply: NodesReply, chunkIds: Uint8Array): void {
    const { index } = this.#options.view;
    this.#entries += reply.entries;
    this.#trees += reply.done.length;
    for (const position of reply.done) {
      const preferred = index.find(2, chunkIds, position * 16);
      if (preferred !== undefined) this.#live.add(preferred.chunk);
    }
    let at = 0;
    for (let file = 0; file < reply.fileCounts.length; file++) {
      const sum = this.#reach(reply.dataIds, at, reply.fileCounts[file] as number);
      at += (reply.fileCounts[file] as number) * TREE_ID_BYTES;
      if (sum !== undefined && sum !== reply.fileLengths[file]) this.#wrongSizes++;
    }
    for (let list = 0; list < reply.listCounts.length; list++) {
      const sum = this.#reach(reply.dataIds, at, reply.listCounts[list] as number);
      at += (reply.listCounts[list] as number) * TREE_ID_BYTES;
      const preferred = index.find(2, chunkIds, (reply.listNodes[list] as number) * 16);
      if (this.#options.sizes && preferred !== undefined && sum !== undefined) this.#listBytes.set(preferred.chunk, sum);
    }
    if (this.#options.sizes) {
      for (const file of reply.indirect) this.#indirect.push(file);
      for (const { position, ids } of reply.outerLists) {
        const preferred = index.find(2, chunkIds, position * 16);
        if (preferred !== undefined) this.#outerLists.set(preferred.chunk, ids);
      }
    }
    for (let i = 0; i < reply.treeRoles.length; i++) this.#want(reply.treeIds, i * TREE_ID_BYTES, reply.treeRoles[i] as number);
  }

  /** Marks data chunks; the sum of their lengths, or undefined when one is missing. */
  #reach(ids: Uint8Array, start: number, count: number): number | undefined {
    const { index } = this.#options.view;
    let sum: number | undefined = 0;
    for (let i = 0; i < count; i++) {
      const found = index.find(1, ids, start + i * TREE_ID_BYTES);
      if (found === undefined) {
        this.#miss(1, ids.subarray(start + i * TREE_ID_BYTES, start + (i + 1) * TREE_ID_BYTES));
        sum = undefined;
        continue;
      }
      this.#live.add(found.chunk);
      if (sum !== undefined) sum += found.length;
    }
    return sum;
  }

  /** Another copy is tried; when none is left the chunk is unreadable. */
  #failed(chunkIds: Uint8Array, position: number, role: number, message: string): void {
    const { view, repository } = this.#options;
    const id = chunkIds.subarray(position * 16, position * 16 + 16);
    const copies = view.index.locations(2, id);
    const preferred = copies[0];
    if (preferred === undefined) return;
    this.#live.add(preferred.chunk);
    const failures = (this.#failures.get(preferred.chunk) ?? 0) + 1;
    this.#failures.set(preferred.chunk, failures);
    const pack = view.index.frame(preferred.frame).packId;
    if (this.#options.strict)
      throw new HoldfastError(
        "object_damaged",
        `Tree chunk ${hexOf(id)} in pack ${pack} on target ${repository.name} cannot be read: ${message}`,
        {
          hint: "Nothing was changed. Run `holdfast verify` to see which snapshots need it, then `holdfast repair`; a snapshot that stays unreadable can be deleted.",
          data: { chunk: hexOf(id), pack },
        },
      );
    const next = copies[failures];
    if (next !== undefined) this.#queue(next.frame, next.chunk, role);
    else this.#unreadable.push({ kind: 2, id: hexOf(id), message });
  }

  #miss(kind: 1 | 2, id: Uint8Array): void {
    const key = `${kind}${hexOf(id)}`;
    if (this.#missing.has(key)) return;
    const what = `${kind === 1 ? "Data" : "Tree"} chunk ${hexOf(id).slice(0, 32)}`;
    if (this.#options.strict)
      throw new HoldfastError(
        "chunk_missing",
        `${what} is in no pack of target ${this.#options.repository.name}, but a snapshot needs it`,
        {
          hint: "Nothing was changed. Run `holdfast repair --index`; if it stays missing, `holdfast verify` names the snapshots that need it.",
          data: { chunk: hexOf(id), kind },
        },
      );
    this.#missing.set(key, { kind, id: hexOf(id), message: "it is in no pack" });
  }

  #checkIndirect(): void {
    for (const { dataBytes, depth, ids } of this.#indirect) {
      const sum = this.#listSum(ids, depth);
      if (sum !== undefined && sum !== dataBytes) this.#wrongSizes++;
    }
  }

  #listSum(ids: Uint8Array, depth: number): number | undefined {
    let sum = 0;
    for (let at = 0; at < ids.length; at += TREE_ID_BYTES) {
      const chunk = this.#options.view.index.find(2, ids, at)?.chunk;
      if (chunk === undefined) return undefined;
      const below = this.#outerLists.get(chunk);
      const part: number | undefined =
        this.#listBytes.get(chunk) ?? (depth === 1 || below === undefined ? undefined : this.#listSum(below, depth - 1));
      if (part === undefined) return undefined;
      // Each list is summed up once: lists that name each other over and over would take for ever.
      this.#listBytes.set(chunk, part);
      sum += part;
    }
    return sum;
  }
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
