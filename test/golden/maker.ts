/**
 * Writes golden repositories with the encoders, in this thread and with fixed randomness: the same bytes every time, as long
 * as compressors give the same, and everything the format can hold, whether or not this machine's files can.
 */
import { createHash } from "node:crypto";
import { asPackId, asRunId, asSnapshotId, type ObjectId, type PackId, type SnapshotId } from "../../src/base/ids.ts";
import { pathText } from "../../src/base/path-text.ts";
import { randomHex } from "../../src/base/random.ts";
import { Secret } from "../../src/base/secret.ts";
import { nextCut } from "../../src/chunker/cut.ts";
import { PROFILES, type ProfileName } from "../../src/chunker/profile.ts";
import type { CodecName } from "../../src/codec/compress.ts";
import type { Unlocking } from "../../src/formats/format.ts";
import { KeySet } from "../../src/formats/repository/keys/key-set.ts";
import { encodeKeyring, withNewEpoch } from "../../src/formats/repository/keys/keyring.ts";
import { Sealer, type KeyRow } from "../../src/formats/repository/keys/sealer.ts";
import type { KdfParameters } from "../../src/formats/repository/keys/slot.ts";
import { encodeCondemned, type CondemnedReason } from "../../src/formats/repository/objects/condemned-object.ts";
import { toPackRecord, type PackRecord } from "../../src/formats/repository/objects/index-object.ts";
import { encodeNote, type NoteObject } from "../../src/formats/repository/objects/note-object.ts";
import { finishPack, type PackFrame } from "../../src/formats/repository/objects/pack-directory.ts";
import { encodeSnapshot, type SnapshotObject } from "../../src/formats/repository/objects/snapshot-object.ts";
import { buildChunkList, encodedEntry, ENTRY_FLAG, TreeSplitter } from "../../src/formats/repository/objects/tree-node.ts";
import { Repository, type RepositoryOptions } from "../../src/formats/repository/repository.ts";
import { FrameBuilder } from "../../src/formats/repository/write/frame-builder.ts";
import type { EntryMeta, EntryType, Extent } from "../../src/sources/source.ts";
import { accessBySpec } from "../../src/targets/access.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { metaText, summed, type Described } from "./described.ts";
import { FixedRandom, sha256 } from "./fixed.ts";
import type { ExpectedSnapshot } from "./manifest.ts";

/** An entry to be written; what is left out has the simplest value. */
export interface Spec {
  /** One character a byte. */
  readonly name: string;
  readonly type?: EntryType;
  readonly meta?: Partial<EntryMeta>;
  /** Data of a file, its extents joined. */
  readonly data?: Buffer;
  /** Of a sparse file, and then its size. */
  readonly extents?: readonly Extent[];
  readonly size?: number;
  readonly profile?: ProfileName;
  readonly target?: string;
  readonly rdev?: bigint;
  readonly children?: readonly Spec[];
  readonly racy?: boolean;
  readonly changedWhileRead?: boolean;
  readonly unreadable?: boolean;
}

const NO_META: EntryMeta = {
  mode: 0o644,
  uid: 1000,
  gid: 1000,
  user: "anna",
  group: "users",
  mtimeNs: 1_767_000_000_123_456_789n,
  ctimeNs: 1_767_000_001_987_654_321n,
  inode: 0n,
  links: 1,
  device: 2049n,
  xattrs: [],
};

export interface PackPlan {
  readonly codec: CodecName;
  /** Raw bytes after which a frame of small chunks is closed. */
  readonly frameBytes?: number;
  readonly packBytes?: number;
}

type OpenPack = { parts: Uint8Array[]; frames: PackFrame[]; bytes: number };

export class Maker {
  readonly clock: FakeClock;
  readonly random: FixedRandom;
  repository!: Repository;
  readonly snapshots: ExpectedSnapshot[] = [];
  readonly #folder: string;
  readonly #unlocking: Unlocking;
  readonly #stored = new Set<string>();
  readonly #unindexed: PackRecord[] = [];
  #inode = 1000n;

  private constructor(folder: string, seed: string, unlocking: Unlocking) {
    this.#folder = folder;
    this.#unlocking = unlocking;
    this.random = new FixedRandom(seed);
    this.clock = new FakeClock("2026-01-05T10:00:00Z");
  }

  static async create(folder: string, seed: string, unlocking: Unlocking, kdf: KdfParameters): Promise<Maker> {
    const maker = new Maker(folder, seed, unlocking);
    maker.repository = await Repository.create(await maker.#options(), unlocking, kdf, undefined);
    return maker;
  }

  async #options(): Promise<RepositoryOptions> {
    const access = await accessBySpec({ driver: "local", path: this.#folder, create: true });
    return { name: "golden", access, clock: this.clock, random: this.random, host: "golden-host" };
  }

  /** New data goes under a new master key from here on. */
  async newEpoch(): Promise<void> {
    const created = this.#now();
    const keyring = withNewEpoch(this.repository.keyring, { master: this.random.bytes(32), created });
    await this.repository.putObject("keyring", encodeKeyring(keyring));
    await this.repository[Symbol.asyncDispose]();
    this.repository = await Repository.open(await this.#options(), [this.#unlocking]);
  }

  // -------------------------------------------------------------------------------------------------------------- packs

  /** Puts packs of these chunks, and returns their ids. `epochs` seals every other frame under an older one, as a prune leaves them. */
  async storeChunks(kind: 1 | 2, chunks: readonly Uint8Array[], plan: PackPlan, olderEpoch?: number): Promise<PackId[]> {
    const { material } = this.repository.keys;
    const rows = new Map<number, KeyRow>();
    const packs: PackId[] = [];
    let open: OpenPack = { parts: [], frames: [], bytes: 0 };
    const finish = async (): Promise<void> => {
      if (open.frames.length > 0) packs.push(await this.#putPack(kind, [...rows.values()], open));
      rows.clear();
      open = { parts: [], frames: [], bytes: 0 };
    };
    const builderOf = (epoch: number | undefined): { builder: FrameBuilder; row: KeyRow } => {
      const keys = epoch === undefined ? material : { ...material, epochs: material.epochs.filter((one) => one.epoch <= epoch) };
      const setup = {
        repositories: [keys],
        codec: plan.codec,
        level: 3,
        frameBytes: plan.frameBytes ?? 2 ** 20,
        grouping: "frame" as const,
      };
      return { builder: new FrameBuilder(kind, setup, this.random), row: new Sealer(new KeySet(keys), this.random).currentRow() };
    };
    const builders = [builderOf(undefined), ...(olderEpoch === undefined ? [] : [builderOf(olderEpoch)])];
    const take = async ({ builder, row }: (typeof builders)[number]): Promise<void> => {
      for (const { codec, rawLength, chunkIds, chunkLengths, sealed } of builder.take()) {
        const bytes = sealed[0] as Uint8Array;
        rows.set(row.epoch, row);
        const number = [...rows.keys()].indexOf(row.epoch);
        open.parts.push(bytes);
        open.frames.push({ codec, row: number, storedLength: bytes.length, rawLength, chunkIds, chunkLengths });
        open.bytes += bytes.length;
        if (open.bytes >= (plan.packBytes ?? Infinity)) await finish();
      }
    };
    for (const [i, chunk] of chunks.entries()) {
      const one = builders[i % builders.length] as (typeof builders)[number];
      const id = this.repository.keys.chunkId(kind, chunk);
      this.#stored.add(`${kind}${id.toString("hex")}`);
      one.builder.add(Buffer.from(chunk), id, 1, 1000);
      await take(one);
    }
    for (const one of builders) {
      one.builder.flush();
      await take(one);
    }
    await finish();
    return packs;
  }

  async #putPack(kind: 1 | 2, rows: readonly KeyRow[], { parts, frames, bytes }: OpenPack): Promise<PackId> {
    const { sealer, target } = this.repository;
    const directory = { kind, rows, frames };
    const pack = Buffer.concat([...parts, ...finishPack(sealer, directory, bytes)]);
    const id = asPackId(sha256(pack));
    await target.put(`packs/${id.slice(0, 2)}/${id}`, [pack]);
    this.#unindexed.push(toPackRecord(id, pack.length, directory));
    return id;
  }

  /** Chunks of these packs are stored again when they are met. */
  forget(kind: 1 | 2, chunks: readonly Uint8Array[]): void {
    for (const chunk of chunks) this.#stored.delete(`${kind}${this.repository.keys.chunkId(kind, chunk).toString("hex")}`);
  }

  /** Writes an index object of all packs that are in none, and of `also`. */
  async index(
    supersedes: readonly ObjectId[] = [],
    also: readonly PackRecord[] = [],
  ): Promise<{ id: ObjectId; packs: PackRecord[] }> {
    const packs = [...also, ...this.#unindexed.splice(0)];
    return { id: await this.repository.putIndexObject(packs, supersedes), packs };
  }

  // ---------------------------------------------------------------------------------------------------------- snapshots

  /** Backs up `tree`, the entries of `/`, and indexes what it stored. */
  async snapshot(
    tree: readonly Spec[],
    plan: PackPlan,
    info: Partial<SnapshotObject> & { readonly summed?: readonly string[] } = {},
  ): Promise<{ uid: SnapshotId; object: ObjectId }> {
    const { summed: folders = [], ...members } = info;
    const data = new Map<string, Buffer>();
    const trees = new Map<string, Buffer>();
    const entries: Described[] = [];
    const root = this.#tree(tree, Buffer.from("/"), { data, trees, entries });
    const missing = (kind: 1 | 2, chunks: ReadonlyMap<string, Buffer>): Buffer[] =>
      [...chunks].filter(([id]) => !this.#stored.has(`${kind}${id}`)).map(([, bytes]) => bytes);
    const before = this.#unindexed.length;
    await this.storeChunks(1, missing(1, data), plan);
    await this.storeChunks(2, missing(2, trees), plan);
    const stored = this.#unindexed.slice(before);
    if (this.#unindexed.length > 0) await this.index();
    const files = entries.filter(({ type }) => type === "file");
    const directories = entries.filter(({ type }) => type === "directory").length + 1;
    const snapshot: SnapshotObject = {
      uid: asSnapshotId(randomHex(this.random, 16)),
      run: asRunId(randomHex(this.random, 16)),
      host: "golden-host",
      job: "golden",
      source: "files",
      sourceType: "files",
      time: this.#now(),
      end: this.#now(30_000),
      mode: "full",
      root: Buffer.from(root).toString("hex"),
      status: "success",
      counts: { files: files.length, directories, others: entries.length - files.length - directories + 1 },
      bytes: {
        source: files.reduce((sum, { size }) => sum + (size ?? 0), 0),
        new: [...data.values()].reduce((sum, chunk) => sum + chunk.length, 0),
        stored: stored.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      },
      unreadable: [],
      unreadableCount: 0,
      changedWhileRead: files.filter(({ changedWhileRead }) => changedWhileRead).length,
      tool: "0.1.0",
      description: "",
      tags: [],
      facts: {},
      ...members,
    };
    const object = await this.repository.putObject("snapshots", encodeSnapshot(snapshot));
    const { uid, job, time, mode, status, tags, description, unreadable } = snapshot;
    const paths = unreadable.map(({ path }) => path);
    this.snapshots.push({
      id: uid,
      job,
      time,
      mode,
      status,
      tags,
      description,
      hold: false,
      unreadable: paths,
      ...summed(entries, folders),
    });
    await this.clock.advance(24 * 3_600_000);
    return { uid, object };
  }

  async note(note: NoteObject): Promise<void> {
    await this.repository.putObject("notes", encodeNote(note));
  }

  async condemn(reason: CondemnedReason, packs: readonly PackId[]): Promise<void> {
    const owner = randomHex(this.random, 16);
    await this.repository.putObject("condemned", encodeCondemned({ reason, time: this.#now(), packs, owner }));
  }

  get noteBase(): { readonly time: string; readonly host: string } {
    return { time: this.#now(), host: "golden-host" };
  }

  /** The chunks of content as a backup cuts it. */
  cut(profile: ProfileName, data: Buffer): Buffer[] {
    const chunks: Buffer[] = [];
    const { gear } = this.repository.keys.lineage;
    for (let at = 0; at < data.length;) {
      const length = nextCut(gear, PROFILES[profile], data, at, data.length);
      chunks.push(data.subarray(at, at + length));
      at += length;
    }
    return chunks;
  }

  #now(later = 0): string {
    return new Date(this.clock.now() + later).toISOString();
  }

  #tree(
    specs: readonly Spec[],
    path: Buffer,
    into: { data: Map<string, Buffer>; trees: Map<string, Buffer>; entries: Described[] },
  ): Uint8Array {
    const { keys } = this.repository;
    const emit = (node: Buffer): Uint8Array => {
      const id = keys.chunkId(2, node);
      into.trees.set(id.toString("hex"), Buffer.from(node));
      return id;
    };
    const splitter = new TreeSplitter(emit);
    const raw = (text: string): Buffer => Buffer.from(text, "latin1");
    for (const spec of specs.toSorted((a, b) => Buffer.compare(raw(a.name), raw(b.name)))) {
      const {
        type = spec.children === undefined ? "file" : "directory",
        data = Buffer.alloc(0),
        profile = "files",
        extents = [],
      } = spec;
      const isDirectory = type === "directory";
      const meta: EntryMeta = {
        ...NO_META,
        inode: this.#inode++,
        ...(isDirectory && { mode: 0o755, links: 2 }),
        ...spec.meta,
        ...(isDirectory && { device: 0n }),
      };
      const size = type === "file" ? (spec.size ?? data.length) : 0;
      const below = Buffer.concat([path, ...(path.length === 1 ? [] : [Buffer.from("/")]), raw(spec.name)]);
      into.entries.push(described(spec, { type, meta, size, data, path: below }));
      const chunks = this.cut(profile, data);
      const ids = chunks.map((chunk) => {
        const id = keys.chunkId(1, chunk);
        into.data.set(id.toString("hex"), chunk);
        return id;
      });
      const list = buildChunkList(Buffer.concat(ids), emit);
      const flags =
        (spec.racy === true ? ENTRY_FLAG.racy : 0) |
        (spec.changedWhileRead === true ? ENTRY_FLAG.changedWhileRead : 0) |
        (spec.unreadable === true ? ENTRY_FLAG.unreadable : 0) |
        (type === "file" && spec.size !== undefined ? ENTRY_FLAG.sparse : 0);
      splitter.add(
        raw(spec.name),
        encodedEntry({
          name: raw(spec.name),
          type,
          flags,
          meta,
          size,
          profile: chunks.length === 0 ? 0 : PROFILES[profile].number,
          ...list,
          extents,
          linkTarget: spec.target === undefined ? undefined : raw(spec.target),
          rdev: spec.rdev,
          tree: isDirectory ? this.#tree(spec.children ?? [], below, into) : undefined,
        }),
      );
    }
    return splitter.finish();
  }
}

function described(
  spec: Spec,
  { type, meta, size, data, path }: { type: EntryType; meta: EntryMeta; size: number; data: Buffer; path: Buffer },
): Described {
  const sparse = type === "file" && spec.size !== undefined;
  const hash = createHash("sha256");
  if (!sparse) hash.update(data);
  else {
    const whole = Buffer.alloc(size);
    let at = 0;
    for (const { offset, length } of spec.extents ?? []) {
      data.copy(whole, offset, at, at + length);
      at += length;
    }
    hash.update(whole);
  }
  return {
    path: pathText(path),
    type,
    ...metaText(meta),
    ...(type === "file" && { size, sha256: hash.digest("hex") }),
    ...(sparse && { extents: (spec.extents ?? []).map(({ offset, length }) => [offset, length] as const) }),
    ...(spec.target !== undefined && { target: pathText(Buffer.from(spec.target, "latin1")) }),
    ...(spec.rdev !== undefined && { rdev: `${spec.rdev}` }),
    ...(spec.changedWhileRead === true && { changedWhileRead: true }),
    ...(spec.unreadable === true && { unreadable: true }),
  };
}

export function password(text: string): Unlocking {
  return { kind: "password", secret: new Secret(text) };
}

export function keyFile(hexDigits: string): Unlocking {
  return { kind: "keyfile", secret: new Secret(hexDigits) };
}
