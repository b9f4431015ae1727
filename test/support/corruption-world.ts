/** A small store of either format on a local target, with every class of object in it, to be damaged object by object. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { asPackId, asRunId } from "../../src/base/ids.ts";
import { Secret } from "../../src/base/secret.ts";
import { systemRandom } from "../../src/codec/system-random.ts";
import type { Format, SnapshotInfo, Store, StoreOptions, Unlocking, WriteRequest } from "../../src/formats/format.ts";
import { formatOf } from "../../src/formats/registry.ts";
import { encodeCondemned } from "../../src/formats/repository/objects/condemned-object.ts";
import { encodeLease } from "../../src/formats/repository/objects/lease-object.ts";
import { decodeTrailer, TRAILER_SIZE } from "../../src/formats/repository/objects/pack-directory.ts";
import { RepositoryStore } from "../../src/formats/repository/repository-format.ts";
import { createFilesSource } from "../../src/sources/files/files-source.ts";
import type { ChunkProfile } from "../../src/sources/source.ts";
import { createSystemClock } from "../../src/state/system-clock.ts";
import { accessBySpec } from "../../src/targets/access.ts";
import { takeManifest, type Manifest } from "./campaign-manifest.ts";
import { SeededNumbers } from "./changing-tree.ts";
import { hardLink, symlink, writeTree, type TreeLiteral } from "./tree-literal.ts";

/** A snapshot and what its tree was; `root` is the path of that tree in it. */
export interface KnownSnapshot {
  readonly info: SnapshotInfo;
  readonly root: string;
  readonly manifest: Manifest;
}

/** A stored object, and the bytes of it that count for its class: packs are divided into what they consist of. */
export interface Victim {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

const KEY = "ab".repeat(32);
export const KEY_FILE: Unlocking = { kind: "keyfile", secret: new Secret(KEY) };
export const PASSWORD: Unlocking = { kind: "password", secret: new Secret("correct horse") };
const CHEAP_KDF = { function: "pbkdf2", hash: "sha512", iterations: 1000 } as const;
const signal = new AbortController().signal;

/** Bytes that nothing compresses, from a seed. */
export function noise(numbers: SeededNumbers, length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, () => numbers.below(256)));
}

export class CorruptionWorld {
  readonly folder: string;
  /** Where the objects are. */
  readonly target: string;
  readonly keyFile: string;
  readonly snapshots: KnownSnapshot[] = [];
  readonly #format: Format;

  private constructor(folder: string, format: Format) {
    this.folder = folder;
    this.target = join(folder, "target");
    this.keyFile = join(folder, "key");
    this.#format = format;
  }

  get kind(): Format["kind"] {
    return this.#format.kind;
  }

  /** Makes the store, its snapshots and everything else that such a target can hold. */
  static async create(folder: string, kind: Format["kind"], seed: string): Promise<CorruptionWorld> {
    const world = new CorruptionWorld(folder, await formatOf(kind));
    mkdirSync(folder, { recursive: true });
    writeFileSync(world.keyFile, KEY);
    const numbers = new SeededNumbers(`corruption ${seed}`);
    const [tree, paged] = [join(folder, "tree"), join(folder, "paged")];
    writeTree(tree, firstTree(numbers));
    truncateSync(join(tree, "holes"), 3_000_000);
    const isRepository = kind === "repository";
    // More pages than an entry has room for: the list of this file's chunks is a tree chunk of its own.
    writeTree(paged, { "pages.db": pages(isRepository ? 300 : 20), note: "beside the pages" });
    {
      await using store = await world.#format.create(await world.#options(), isRepository ? KEY_FILE : undefined, undefined, []);
      if (isRepository) await store.keySlots?.add(PASSWORD, CHEAP_KDF, "a password");
      const dropped = await world.#backUp(store, tree, "files");
      await store.delete([dropped.info], { reason: "for its tombstone" });
      await world.#keep(store, tree, "files");
      if (isRepository) await store.keySlots?.newEpoch();
    }
    // Opened anew, so that what follows is sealed under the new epoch.
    await using store = await world.open();
    writeTree(tree, { late: noise(numbers, 9_000), docs: { "one.txt": "changed\n" } });
    rmSync(join(tree, "docs/two.txt"));
    await world.#keep(store, tree, "files");
    await world.#keep(store, paged, "pages16");
    const [first] = world.snapshots as [KnownSnapshot];
    if (store.capabilities.annotate) await store.annotate(first.info, { addTags: ["kept"], description: "the first" });
    const report = { ok: true, checks: [], damage: [], snapshots: 1, bytesRead: 0, level: "data" };
    await store.noteVerification(["job"], [first.info.id], report);
    await store.notePolicy("job", { keepLast: 3 });
    if (store instanceof RepositoryStore) await addBookkeeping(store);
    return world;
  }

  async #options(): Promise<StoreOptions> {
    const access = await accessBySpec({ driver: "local", path: this.target, create: true });
    return {
      name: "disk",
      access,
      clock: createSystemClock(),
      random: systemRandom,
      host: "host",
      appendOnly: false,
      packBytes: 200_000,
    };
  }

  /** Opens the store with the first of `unlockings` that fits. */
  async open(unlockings: readonly Unlocking[] = [KEY_FILE]): Promise<Store> {
    const options = await this.#options();
    try {
      return await this.#format.open(options, unlockings);
    } catch (error) {
      await options.access[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #keep(store: Store, tree: string, profile: ChunkProfile): Promise<void> {
    this.snapshots.push(await this.#backUp(store, tree, profile));
  }

  /** Takes one more snapshot of the tree of the first. */
  async backUp(store: Store): Promise<KnownSnapshot> {
    return await this.#backUp(store, join(this.folder, "tree"), "files");
  }

  async #backUp(store: Store, tree: string, profile: ChunkProfile): Promise<KnownSnapshot> {
    const source = createFilesSource({ paths: [tree] });
    await using open = await source.open({ signal });
    const previous = this.snapshots.at(-1)?.info.id;
    const request: WriteRequest = {
      run: asRunId("00".repeat(16)),
      host: "host",
      job: "job",
      source: "source",
      sourceType: source.type,
      profile,
      mode: "full",
      baseline: undefined,
      previous,
      stream: open.stream,
      finishSource: async () => ({}),
      compression: { type: "zstd", level: 3 },
      grouping: "frame",
      description: "",
      tags: [],
      configDigest: undefined,
      gitCommit: undefined,
      toolVersion: "0.0.0",
      dryRun: false,
      onProgress: () => undefined,
      signal,
    };
    const [result] = await this.#format.write([store], request);
    if (result === undefined || "error" in result) throw result?.error ?? new Error("no outcome");
    return { info: result.snapshot, root: tree, manifest: takeManifest(tree) };
  }

  /** Names of all objects, sorted. */
  objects(): string[] {
    return readdirSync(this.target, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(this.target.length + 1))
      .toSorted();
  }

  read(name: string): Buffer {
    return readFileSync(join(this.target, name));
  }

  /** Puts other bytes in an object's place, as a disk or an intruder would; undefined removes it. */
  overwrite(name: string, bytes: Uint8Array | undefined): void {
    const path = join(this.target, name);
    rmSync(path, { force: true });
    if (bytes === undefined) return;
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
    chmodSync(path, 0o400);
  }

  /** Every class of object with its objects, and the parts of packs. */
  classes(): Map<string, Victim[]> {
    const classes = new Map<string, Victim[]>();
    const add = (className: string, name: string, from: number, to: number): void => {
      classes.set(className, [...(classes.get(className) ?? []), { name, from, to }]);
    };
    for (const name of this.objects()) {
      const bytes = this.read(name);
      const [folder = ""] = name.split("/");
      if (folder !== "packs") {
        const className = CLASS_OF_FOLDER[folder] ?? name.slice(name.lastIndexOf(".") + 1);
        add(name.endsWith("manifest.json") ? "manifest" : className, name, 0, bytes.length);
        continue;
      }
      const { directorySize, kind } = decodeTrailer(bytes);
      const pack = kind === 1 ? "data pack" : "tree pack";
      const trailer = bytes.length - TRAILER_SIZE;
      add(`${pack}: frames`, name, 0, trailer - directorySize);
      add(`${pack}: directory`, name, trailer - directorySize, trailer);
      add(`${pack}: trailer`, name, trailer, bytes.length);
    }
    return classes;
  }
}

const CLASS_OF_FOLDER: Readonly<Record<string, string>> = {
  "holdfast.json": "repository file",
  "holdfast-archive.json": "store file",
  keys: "key slot",
  keyring: "keyring",
  index: "index",
  snapshots: "snapshot",
  leases: "lease",
  condemned: "condemned",
  notes: "note",
};

/** A lease that a killed process left, and a condemnation of a pack that is long gone. */
async function addBookkeeping({ repository }: RepositoryStore): Promise<void> {
  const time = new Date().toISOString();
  const lease = { purpose: "write", sequence: 1, start: time, time, ttlMs: 7_200_000, host: "elsewhere", pid: 1 } as const;
  const unknown = { processStart: "", bootId: "", pidNamespace: "", released: false };
  await repository.putObject("leases", encodeLease({ ...lease, ...unknown, owner: "cd".repeat(16) }));
  const packs = [asPackId("ef".repeat(32))];
  await repository.putObject("condemned", encodeCondemned({ reason: "prune", time, packs, owner: "cd".repeat(16) }));
}

function firstTree(numbers: SeededNumbers): TreeLiteral {
  const text = (lines: number): string =>
    Array.from({ length: lines }, (_, i) => `line ${i} of ${numbers.below(1e6)}\n`).join("");
  const texts = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`${i}.txt`, text(40)]));
  return {
    docs: { "one.txt": "first\n", "two.txt": text(200), deep: { er: { still: text(10) } }, many: texts },
    media: { a: noise(numbers, 90_000), b: noise(numbers, 150_000), c: noise(numbers, 700_000) },
    holes: noise(numbers, 5_000),
    empty: "",
    "no files": {},
    link: symlink("docs/one.txt"),
    again: hardLink("media/a"),
  };
}

/** Pages that differ, and of which each compresses well. */
function pages(count: number): Buffer {
  const all = Buffer.alloc(count * 16_384);
  for (let page = 0; page < count; page++) all.fill(`page ${page}\n`, page * 16_384, (page + 1) * 16_384);
  return all;
}
