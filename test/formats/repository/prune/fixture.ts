import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { buildTree } from "../objects/build-tree.ts";
import { asRunId, asSnapshotId, type PackId, type SnapshotId } from "../../../../src/base/ids.ts";
import { Secret } from "../../../../src/base/secret.ts";
import { randomHex } from "../../../../src/base/random.ts";
import { systemRandom } from "../../../../src/codec/system-random.ts";
import type { PruneOptions, SnapshotInfo, VerifyOptions } from "../../../../src/formats/format.ts";
import { HeldLease } from "../../../../src/formats/repository/leases/leases.ts";
import { toPackRecord } from "../../../../src/formats/repository/objects/index-object.ts";
import { finishPack, type PackFrame } from "../../../../src/formats/repository/objects/pack-directory.ts";
import type { SnapshotObject } from "../../../../src/formats/repository/objects/snapshot-object.ts";
import {
  buildChunkList,
  decodeNode,
  encodedEntry,
  type TreeEntry,
} from "../../../../src/formats/repository/objects/tree-node.ts";
import { ChunkReader } from "../../../../src/formats/repository/read/chunk-reader.ts";
import { Repository, type RepositoryOptions } from "../../../../src/formats/repository/repository.ts";
import { listSnapshots } from "../../../../src/formats/repository/snapshots/snapshot-list.ts";
import { commit, PendingIndex } from "../../../../src/formats/repository/write/commit.ts";
import { FrameBuilder } from "../../../../src/formats/repository/write/frame-builder.ts";
import { accessByPort } from "../../../../src/targets/access.ts";
import type { Target } from "../../../../src/targets/target.ts";
import { FakeClock } from "../../../support/fake-clock.ts";
import { MemoryTarget, type MemoryTargetOptions } from "../../../support/memory-target.ts";

export type Files = ReadonlyMap<string, Buffer>;

export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;
export const GRACE = 72 * HOUR;
const CHUNK = 8 * 1024;
export const UNLOCK = { kind: "keyfile", secret: new Secret("ab".repeat(32)) } as const;

/** A repository in memory whose time the test owns, and a small writer with the real commit. */
export class World {
  readonly clock = new FakeClock("2026-03-01T00:00:00Z");
  readonly memory: MemoryTarget;
  readonly packBytes: number;
  #backups = 0;

  constructor(options: MemoryTargetOptions & { readonly packBytes?: number } = {}) {
    this.memory = new MemoryTarget({ now: () => this.clock.now(), ...options });
    this.packBytes = options.packBytes ?? 64 * 1024;
  }

  options(target: Target = this.memory, extra: Partial<RepositoryOptions> = {}): RepositoryOptions {
    return {
      name: "nas",
      access: accessByPort(target),
      clock: this.clock,
      random: systemRandom,
      host: "host-a",
      packBytes: this.packBytes,
      ...extra,
    };
  }

  async create(): Promise<Repository> {
    const created = await Repository.create(this.options(), UNLOCK, { function: "keyfile" }, undefined);
    await created.loadIndex(fail);
    return created;
  }

  async open(target?: Target, extra?: Partial<RepositoryOptions>): Promise<Repository> {
    const opened = await Repository.open(this.options(target, extra), [UNLOCK]);
    await opened.loadIndex(fail);
    return opened;
  }

  /** Backs files up as one snapshot; `beforeCommit` runs when all packs are put. */
  async backup(repository: Repository, files: Files, options: BackupOptions = {}): Promise<SnapshotId> {
    this.#backups++;
    return await backup(repository, files, { number: this.#backups, ...options });
  }
}

export function pruneOptions(options: Partial<PruneOptions> = {}): PruneOptions {
  return {
    dryRun: false,
    immediate: false,
    graceMs: GRACE,
    maxUnused: 0.05,
    compression: { type: "zstd", level: 3 },
    onProgress: () => undefined,
    signal: new AbortController().signal,
    ...options,
  };
}

export function verifyOptions(options: Partial<VerifyOptions> = {}): VerifyOptions {
  return { snapshots: [], readData: 1, onProgress: () => undefined, signal: new AbortController().signal, ...options };
}

export interface BackupOptions {
  readonly number?: number;
  readonly source?: string;
  readonly uidOf?: (path: string) => number;
  readonly previous?: SnapshotId;
  readonly beforeCommit?: () => Promise<void>;
}

function fail(id: string, error: unknown): never {
  throw new Error(`index object ${id} is damaged`, { cause: error });
}

async function backup(
  repository: Repository,
  files: Files,
  options: BackupOptions & { readonly number: number },
): Promise<SnapshotId> {
  await using lease = await HeldLease.acquire(repository, "write");
  await repository.loadIndex(() => undefined);
  const writer = new Packs(repository);
  const root = await writeTree(writer, files, options.uidOf ?? (() => 1000));
  await writer.flush();
  await options.beforeCommit?.();
  const { clock, host } = repository.options;
  const uid = asSnapshotId(randomHex(systemRandom, 16));
  const time = new Date(clock.now()).toISOString();
  const snapshot: SnapshotObject = {
    uid,
    run: asRunId(randomHex(systemRandom, 16)),
    host,
    job: "home",
    source: options.source ?? "files",
    sourceType: "files",
    time,
    end: time,
    mode: "incremental",
    previous: options.previous,
    root: Buffer.from(root).toString("hex"),
    status: "success",
    counts: { files: files.size, directories: 0, others: 0 },
    bytes: { source: 0, new: 0, stored: 0 },
    unreadable: [],
    unreadableCount: 0,
    changedWhileRead: 0,
    tool: "test",
    description: `backup ${options.number}`,
    tags: [],
    facts: {},
  };
  await commit({
    repository,
    lease,
    pending: writer.pending,
    snapshot,
    usedPacks: writer.used,
    copyOut: async (packs) => await writer.copyOut(packs),
    claimed: () => repository.index.pendingCount,
    signal: new AbortController().signal,
  });
  return uid;
}

/** Claims, groups and packs chunks as a backup does, in this thread. */
class Packs {
  readonly pending: PendingIndex;
  readonly used = new Set<PackId>();
  readonly #repository: Repository;
  readonly #builders: readonly [FrameBuilder, FrameBuilder];
  readonly #open = new Map<1 | 2, { parts: Uint8Array[]; frames: PackFrame[]; bytes: number }>();

  constructor(repository: Repository) {
    this.#repository = repository;
    this.pending = new PendingIndex(repository);
    const setup = {
      repositories: [repository.keys.material],
      codec: "zstd" as const,
      level: 3,
      frameBytes: 32 * 1024,
      grouping: "frame" as const,
    };
    this.#builders = [new FrameBuilder(1, setup, systemRandom), new FrameBuilder(2, setup, systemRandom)];
  }

  async add(kind: 1 | 2, bytes: Buffer, owner: number): Promise<Buffer> {
    const { index, keys } = this.#repository;
    const id = keys.chunkId(kind, bytes);
    const found = index.find(kind, id);
    if (found !== undefined) this.used.add(index.packOfFrame(found.frame));
    else if (index.claim(kind, id, 0, bytes.length)) {
      this.#builders[kind - 1].add(bytes, id, 1, owner);
      await this.#drain(kind);
    }
    return id;
  }

  idOf(kind: 1 | 2, bytes: Uint8Array): Buffer {
    return this.#repository.keys.chunkId(kind, bytes);
  }

  async flush(): Promise<void> {
    for (const kind of [1, 2] as const) {
      this.#builders[kind - 1].flush();
      await this.#drain(kind);
      await this.#finish(kind);
    }
  }

  async copyOut(packs: readonly PackId[]): Promise<void> {
    const { index } = this.#repository;
    const reader = new ChunkReader(this.#repository);
    for (const pack of packs) {
      const record = index.record(pack);
      assert(record !== undefined);
      for (const frame of record.frames)
        for (let i = 0; i < frame.chunkLengths.length; i++) {
          const short = frame.chunkIds.subarray(i * 16, i * 16 + 16);
          if (index.find(record.kind, short) === undefined)
            await this.add(record.kind, Buffer.from(await reader.chunk(record.kind, short)), 1);
        }
    }
    await this.flush();
  }

  async #drain(kind: 1 | 2): Promise<void> {
    for (const { codec, rawLength, chunkIds, chunkLengths, sealed } of this.#builders[kind - 1].take()) {
      const bytes = sealed[0] as Uint8Array;
      const pack = this.#open.get(kind) ?? { parts: [], frames: [], bytes: 0 };
      this.#open.set(kind, pack);
      pack.parts.push(bytes);
      pack.frames.push({ codec, row: 0, storedLength: bytes.length, rawLength, chunkIds, chunkLengths });
      pack.bytes += bytes.length;
      if (pack.bytes >= (this.#repository.options.packBytes ?? Infinity)) await this.#finish(kind);
    }
  }

  async #finish(kind: 1 | 2): Promise<void> {
    const pack = this.#open.get(kind);
    this.#open.delete(kind);
    if (pack === undefined) return;
    const { sealer, target, index } = this.#repository;
    const directory = { kind, rows: [sealer.currentRow()], frames: pack.frames };
    const bytes = Buffer.concat([...pack.parts, ...finishPack(sealer, directory, pack.bytes)]);
    const id = createHash("sha256").update(bytes).digest("hex") as PackId;
    await target.put(`packs/${id.slice(0, 2)}/${id}`, [bytes]);
    const record = toPackRecord(id, bytes.length, directory);
    index.addPack(record);
    this.used.add(id);
    this.pending.add(record);
  }
}

/** Where `writeTree` puts chunks. */
export interface ChunkSink {
  /** Returns the chunk's id. */
  add(kind: 1 | 2, bytes: Buffer, owner: number): Promise<Buffer>;
  idOf(kind: 1 | 2, bytes: Uint8Array): Buffer;
}

/** Stores the files' chunks and trees; returns the root's id. */
export async function writeTree(
  packs: ChunkSink,
  files: Files,
  uidOf: (path: string) => number,
  prefix = "",
): Promise<Uint8Array> {
  const names = new Map<string, "file" | "directory">();
  for (const path of files.keys()) {
    if (!path.startsWith(prefix)) continue;
    const [name, ...rest] = path.slice(prefix.length).split("/") as [string, ...string[]];
    names.set(name, rest.length > 0 ? "directory" : "file");
  }
  const entries: { name: Uint8Array; encoded: Uint8Array }[] = [];
  const emitted: Buffer[] = [];
  const emit = (node: Buffer): Uint8Array => {
    emitted.push(Buffer.from(node));
    return packs.idOf(2, node);
  };
  for (const [name, type] of [...names].toSorted(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
    const path = `${prefix}${name}`;
    if (type === "directory") {
      const tree = await writeTree(packs, files, uidOf, `${path}/`);
      entries.push({ name: Buffer.from(name), encoded: encodedEntry(entryOf(name, { type, tree, uid: uidOf(path) })) });
      continue;
    }
    const content = files.get(path) as Buffer;
    const ids: Buffer[] = [];
    for (let at = 0; at < content.length; at += CHUNK)
      ids.push(await packs.add(1, content.subarray(at, at + CHUNK), uidOf(path)));
    const list = buildChunkList(Buffer.concat(ids), emit);
    entries.push({
      name: Buffer.from(name),
      encoded: encodedEntry(entryOf(name, { type, size: content.length, uid: uidOf(path), ...list })),
    });
  }
  const root = buildTree(entries, emit);
  for (const node of emitted) await packs.add(2, node, 0);
  return root;
}

function entryOf(name: string, part: Partial<TreeEntry> & { readonly uid: number }): TreeEntry {
  const { uid, ...rest } = part;
  return {
    name: Buffer.from(name),
    type: "file",
    flags: 0,
    meta: {
      mode: 0o644,
      uid,
      gid: 1000,
      user: "u",
      group: "g",
      mtimeNs: 1n,
      ctimeNs: 1n,
      inode: 1n,
      links: 1,
      device: rest.type === "directory" ? 0n : 1n,
      xattrs: [],
    },
    size: 0,
    profile: rest.size === undefined || rest.size === 0 ? 0 : 2,
    depth: 0,
    ids: new Uint8Array(),
    extents: [],
    linkTarget: undefined,
    rdev: undefined,
    tree: undefined,
    ...rest,
  };
}

/** Everything a snapshot holds, read with keys and target alone. */
export async function restore(repository: Repository, snapshot: SnapshotInfo): Promise<Map<string, Buffer>> {
  const reader = new ChunkReader(repository);
  const files = new Map<string, Buffer>();
  const walk = async (id: Uint8Array, prefix: string): Promise<void> => {
    const node = decodeNode(await reader.chunk(2, id));
    assert(node.type !== "list");
    if (node.type === "inner") for (const child of node.children) await walk(child.id, prefix);
    else
      for (const entry of node.entries) {
        const path = `${prefix}${Buffer.from(entry.name).toString()}`;
        if (entry.tree !== undefined) await walk(entry.tree, `${path}/`);
        else files.set(path, Buffer.concat(await content(entry.ids, entry.depth)));
      }
  };
  const content = async (ids: Uint8Array, depth: number): Promise<Buffer[]> => {
    const parts: Buffer[] = [];
    for (let at = 0; at < ids.length; at += 32) {
      const chunk = await reader.chunk(depth === 0 ? 1 : 2, ids.subarray(at, at + 32));
      if (depth === 0) parts.push(Buffer.from(chunk));
      else {
        const node = decodeNode(chunk);
        assert(node.type === "list");
        parts.push(...(await content(node.ids, depth - 1)));
      }
    }
    return parts;
  };
  await walk(Buffer.from(snapshot.root, "hex"), "");
  return files;
}

/** Every snapshot that should be there is, and holds exactly its files. */
export async function expectKept(world: World, expected: ReadonlyMap<SnapshotId, Files>): Promise<void> {
  const repository = await world.open();
  const snapshots = await listSnapshots(repository);
  assert.deepEqual(new Set(snapshots.map(({ id }) => id)), new Set(expected.keys()));
  for (const snapshot of snapshots) {
    const files = await restore(repository, snapshot);
    const wanted = expected.get(snapshot.id) as Files;
    assert.deepEqual([...files.keys()].toSorted(), [...wanted.keys()].toSorted());
    for (const [path, bytes] of files) assert.ok(bytes.equals(wanted.get(path) as Buffer), `${path} is as it was`);
  }
}

/** Bytes that do not compress and depend on the seed alone. */
export function noise(seed: number, length: number): Buffer {
  const blocks: Buffer[] = [];
  for (let i = 0; i * 64 < length; i++) blocks.push(createHash("sha512").update(`${seed}/${i}`).digest());
  return Buffer.concat(blocks).subarray(0, length);
}

export function names(world: World, folder: string): string[] {
  return [...world.memory.objects.keys()].filter((name) => name.startsWith(`${folder}/`));
}

export function bytesIn(world: World, folder: string): number {
  return names(world, folder).reduce((sum, name) => sum + (world.memory.objects.get(name)?.bytes.length ?? 0), 0);
}
