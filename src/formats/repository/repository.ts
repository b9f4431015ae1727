// Longer than other files because opening, creating and reading check the same things in the same order, and a check that
// one of them left out would not be seen anywhere else.

import { createHash } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import { HoldfastError } from "../../base/errors.ts";
import { asObjectId, asRepositoryId, isHexId, type ObjectId, type PackId, type RepositoryId } from "../../base/ids.ts";
import { randomHex, type Randomness } from "../../base/random.ts";
import type { Secret } from "../../base/secret.ts";
import { decodeSealHeader, KIND } from "../../codec/seal.ts";
import type { TargetAccess } from "../../targets/access.ts";
import type { GetOptions, ObjectStat, Target } from "../../targets/target.ts";
import { ChunkIndex } from "./index/chunk-index.ts";
import { KeySet } from "./keys/key-set.ts";
import {
  checkFeatures,
  chooseKeyring,
  decodeKeyring,
  encodeKeyring,
  keyMaterial,
  newKeyring,
  rootMaterial,
  type Keyring,
} from "./keys/keyring.ts";
import { Sealer } from "./keys/sealer.ts";
import {
  createSlot,
  KEYFILE_KDF,
  kdfParameters,
  MAX_SLOTS,
  openSlot,
  parseSlot,
  saltBytes,
  SLOT_NONCE_BYTES,
  type SlotDerivation,
} from "./keys/slot.ts";
import { decodeCondemned, type CondemnedObject } from "./objects/condemned-object.ts";
import { decodeIndexObject, encodeIndexObject, type PackRecord } from "./objects/index-object.ts";
import type { CommitBoundary } from "./write/commit-boundaries.ts";

/** A way into a repository: a password or the content of a key file. */
export interface Unlocking {
  readonly kind: "password" | "keyfile";
  readonly secret: Secret;
}

export interface RepositoryOptions {
  /** The target's name, for messages. */
  readonly name: string;
  readonly access: TargetAccess;
  readonly clock: Clock;
  readonly random: Randomness;
  readonly host: string;
  /** Never delete on this target. */
  readonly appendOnly?: boolean;
  /** Bytes after which a pack is closed. */
  readonly packBytes?: number;
  /** For tests: called at every boundary of a backup. What it throws fails the run there; it may end the process. */
  readonly onCommitBoundary?: (name: CommitBoundary) => void | Promise<void>;
}

/** 32 MiB: large enough that a put's fixed cost vanishes, small enough that a few fit into memory. */
export const DEFAULT_PACK_BYTES = 32 * 2 ** 20;
const CONFIG_NAME = "holdfast.json";
/** Objects fetched at a time. */
const FETCHES = 16;

/** Folder and kind of each class of sealed object. */
export const OBJECT_KINDS = {
  keyring: KIND.keyring,
  index: KIND.index,
  snapshots: KIND.snapshot,
  leases: KIND.lease,
  condemned: KIND.condemned,
  notes: KIND.note,
} as const;
export type ObjectFolder = keyof typeof OBJECT_KINDS;

/** A condemned object with its own id and age. */
export interface CondemnedRecord extends CondemnedObject {
  readonly id: ObjectId;
  readonly objectTimeMs: number | undefined;
}

/**
 * An open repository: its keys, the objects of its target, and the chunk index once loaded. Holds no lock; leases and
 * the commit are elsewhere. Nothing here deletes.
 */
export class Repository implements AsyncDisposable {
  readonly name: string;
  readonly id: RepositoryId;
  readonly keys: KeySet;
  readonly sealer: Sealer;
  readonly keyring: Keyring;
  readonly keyringId: ObjectId;
  readonly index = new ChunkIndex();
  readonly options: RepositoryOptions;
  /** The slot that opened it, 32 hex digits. */
  readonly openedBy: string;
  readonly #loadedIndex = new Map<ObjectId, { readonly packs: readonly PackId[]; readonly chunks: number }>();
  readonly #supersededIndex = new Set<string>();
  readonly #loadedCondemned = new Map<string, CondemnedRecord>();
  readonly #condemnedPacks = new Map<PackId, "condemned" | "damaged">();
  /** Condemned objects that could not be read when the index was loaded. */
  #damagedCondemned = new Map<ObjectId, HoldfastError>();

  private constructor(
    options: RepositoryOptions,
    id: RepositoryId,
    keys: KeySet,
    keyring: { readonly keyring: Keyring; readonly id: ObjectId },
    openedBy: string,
  ) {
    this.options = options;
    this.name = options.name;
    this.id = id;
    this.keys = keys;
    this.keyring = keyring.keyring;
    this.keyringId = keyring.id;
    this.sealer = new Sealer(keys, options.random);
    this.openedBy = openedBy;
  }

  get target(): Target {
    return this.options.access.target;
  }

  /**
   * Opens a repository with the first of `unlockings` that fits a slot.
   * Rejects with `repository_missing`, `key_wrong`, `object_malformed`, `repository_feature`, or what the target says.
   */
  static async open(options: RepositoryOptions, unlockings: readonly Unlocking[], signal?: AbortSignal): Promise<Repository> {
    const { target } = options.access;
    // Three requests at once: on a far target every round trip counts, and none of them needs the other's answer.
    const [id, slots, keyrings] = await allOrFirst([
      readRepositoryId(target, options.name, signal),
      readSlots(target, options.name, signal),
      readKeyrings(target, options.name, signal),
    ]);
    if (id === undefined) throw missing(options.name);
    const idBytes = Buffer.from(id, "hex");
    const root = await openRoot(slots, options.name, idBytes, unlockings);
    const rootSealer = new Sealer(new KeySet(rootMaterial(idBytes, root.key)), options.random);
    const chosen = chooseKeyring(
      keyrings.flatMap(({ id: stored, bytes }) => {
        const keyring = ownKeyring(() =>
          naming(`keyring/${stored}`, options.name, () => rootSealer.openObject(KIND.keyring, bytes)),
        );
        return keyring === undefined ? [] : [{ id: stored, keyring }];
      }),
    );
    if (chosen === undefined)
      throw new HoldfastError("object_malformed", `The repository on target ${options.name} has no keyring`, {
        hint: "Its folder keyring/ is empty: the repository was never finished, or part of it was deleted. Restore that folder from a copy of the target.",
      });
    checkFeatures(chosen.keyring.features, "read");
    const keys = new KeySet(keyMaterial(idBytes, root.key, chosen.keyring));
    return new Repository(options, id, keys, chosen, root.slot);
  }

  /**
   * Makes a new repository. Slot and keyring are written before `holdfast.json`, so that an interrupted creation is
   * either not there or whole. `lineageSecret` (32 bytes) is given when the targets of a configuration share one.
   */
  static async create(
    options: RepositoryOptions,
    unlocking: Unlocking,
    kdf: SlotDerivation,
    lineageSecret: Uint8Array | undefined,
    signal?: AbortSignal,
  ): Promise<Repository> {
    const { target } = options.access;
    const { random, clock } = options;
    if ((await readRepositoryId(target, options.name, signal)) !== undefined)
      throw new HoldfastError("repository_exists", `Target ${options.name} already holds a repository`, {
        hint: "Nothing was changed. Open it with its own key, or point the target at another, empty folder.",
      });
    const id = asRepositoryId(randomHex(random, 16));
    const idBytes = Buffer.from(id, "hex");
    const root = random.bytes(32);
    const created = new Date(clock.now()).toISOString();
    const keyring = newKeyring({ master: random.bytes(32), lineageSecret: lineageSecret ?? random.bytes(32), created });
    const slotId = randomHex(random, 16);
    const slot = await createSlot(root, unlocking.secret, unlocking.kind === "keyfile" ? KEYFILE_KDF : kdfParameters(kdf), {
      id: slotId,
      salt: random.bytes(saltBytes(kdf)),
      nonce: random.bytes(SLOT_NONCE_BYTES),
      label: `created on ${options.host}`,
      created,
      repositoryId: idBytes,
    });
    const keys = new KeySet(keyMaterial(idBytes, root, keyring));
    const sealed = new Sealer(keys, random).sealProven(KIND.keyring, encodeKeyring(keyring));
    const keyringId = objectIdOf(sealed);
    await allOrFirst([
      target.put(`keys/${slotId}`, [slot], { signal }),
      target.put(`keyring/${keyringId}`, [sealed], { signal }),
    ]);
    await target.put(CONFIG_NAME, [Buffer.from(configText(id))], { signal });
    // Two creators at once: the first holdfast.json stays, because a put never replaces; the other learns it here.
    if ((await readRepositoryId(target, options.name, signal)) !== id)
      throw new HoldfastError(
        "repository_exists",
        `Another process created a repository on target ${options.name} at the same time`,
        {
          hint: "Run the command again; it opens the repository that is there now.",
        },
      );
    return new Repository(options, id, keys, { keyring, id: keyringId }, slotId);
  }

  /** Seals `content` and puts it under its SHA-256. `onId` learns the name before the put begins, for whoever must clean up after it. */
  async putObject(
    folder: ObjectFolder,
    content: Uint8Array,
    signal?: AbortSignal,
    onId?: (id: ObjectId) => void,
  ): Promise<ObjectId> {
    const bytes = this.sealer.sealProven(OBJECT_KINDS[folder], content);
    const id = objectIdOf(bytes);
    onId?.(id);
    await this.target.put(`${folder}/${id}`, [bytes], { signal });
    return id;
  }

  /** The content of an object, after its hash, its key and its tag have been checked; with `fresh` of what the target holds now. */
  async readObject(folder: ObjectFolder, id: ObjectId, signal?: AbortSignal, fresh = false): Promise<Buffer> {
    return (await this.readSealed(folder, id, signal, fresh)).content;
  }

  /** The same, with the epoch that the object is sealed under. */
  async readSealed(
    folder: ObjectFolder,
    id: ObjectId,
    signal?: AbortSignal,
    fresh = false,
  ): Promise<{ readonly content: Buffer; readonly epoch: number }> {
    const name = `${folder}/${id}`;
    const bytes = await getVerified(this.target, name, id, this.name, { signal, fresh });
    const content = naming(name, this.name, () => this.sealer.openObject(OBJECT_KINDS[folder], bytes));
    return { content, epoch: decodeSealHeader(bytes).header.epoch };
  }

  /** A keyring object; undefined for one under another root key, which an interrupted creation left behind. */
  async readKeyring(id: ObjectId, signal?: AbortSignal, fresh = false): Promise<Keyring | undefined> {
    const bytes = await getVerified(this.target, `keyring/${id}`, id, this.name, { signal, fresh });
    return ownKeyring(() => naming(`keyring/${id}`, this.name, () => this.sealer.openObject(KIND.keyring, bytes)));
  }

  /** Objects of a folder whose names are SHA-256 ids; anything else there is not ours. */
  async listObjects(folder: ObjectFolder, signal?: AbortSignal): Promise<(ObjectStat & { readonly id: ObjectId })[]> {
    const stats = await this.target.list(`${folder}/`, { signal });
    return stats
      .map((stat) => ({ ...stat, id: asObjectId(stat.name.slice(folder.length + 1)) }))
      .filter((stat) => isHexId(stat.id, 32));
  }

  /**
   * Reads every index object that is not loaded yet, and the condemned ones. An index object that is damaged is
   * reported through `onDamaged`; the packs it named are found again from their directories. A condemned object that is
   * damaged hinders no reader; whoever writes asks `checkCondemned`.
   */
  async loadIndex(onDamaged: (id: ObjectId, error: unknown) => void, signal?: AbortSignal): Promise<void> {
    // The condemned ones are listed last in effect: what they name is marked once every pack is known.
    const damaged = new Map<ObjectId, HoldfastError>();
    const condemned = this.#readCondemned(signal, (id, error) => damaged.set(id, error));
    condemned.catch(() => undefined);
    const listed = await this.listObjects("index", signal);
    if (this.target.capabilities.listing === "strong") {
      // What a prune removed elsewhere must not come back with a merge.
      const present = new Set(listed.map(({ id }) => id));
      for (const id of this.#loadedIndex.keys()) if (!present.has(id)) this.#loadedIndex.delete(id);
    }
    const wanted = listed.filter((stat) => !this.#loadedIndex.has(stat.id));
    const objects: { id: ObjectId; supersedes: readonly ObjectId[]; packs: readonly PackRecord[] }[] = [];
    await inParallel(wanted, this.#fetches(), async ({ id }) => {
      try {
        objects.push({ id, ...decodeIndexObject(await this.readObject("index", id, signal)) });
      } catch (error) {
        if (error instanceof HoldfastError && error.code === "target_missing_object") return;
        if (!(error instanceof HoldfastError) || !error.code.startsWith("object_")) throw error;
        onDamaged(id, error);
      }
    });
    for (const object of objects) for (const old of object.supersedes) this.#supersededIndex.add(old);
    for (const object of objects) {
      this.#noteIndexObject(object.id, object.packs);
      if (this.#supersededIndex.has(object.id)) continue;
      for (const pack of object.packs) this.index.addPack(pack);
    }
    await condemned;
    this.#damagedCondemned = damaged;
    this.#markCondemned();
  }

  /** Throws what was wrong with a condemned object when the index was loaded: nobody may build on packs that it may name. */
  checkCondemned(): void {
    for (const error of this.#damagedCondemned.values()) throw error;
  }

  /** The index objects that count (loaded and not replaced by another), with the packs each names and how many chunks these hold. */
  activeIndexObjects(): { readonly id: ObjectId; readonly packs: readonly PackId[]; readonly chunks: number }[] {
    return [...this.#loadedIndex].filter(([id]) => !this.#supersededIndex.has(id)).map(([id, object]) => ({ id, ...object }));
  }

  #noteIndexObject(id: ObjectId, packs: readonly PackRecord[]): void {
    this.#loadedIndex.set(id, {
      packs: packs.map((pack) => pack.id),
      chunks: packs.reduce((sum, pack) => sum + chunksOf(pack), 0),
    });
  }

  /** Writes an index object naming `packs`, which must be on the target already. */
  async putIndexObject(packs: readonly PackRecord[], supersedes: readonly ObjectId[], signal?: AbortSignal): Promise<ObjectId> {
    const id = await this.putObject("index", encodeIndexObject({ supersedes, packs }), signal);
    this.#noteIndexObject(id, packs);
    // It counts as loaded from here on, even when what it replaces was never loaded and is deleted next.
    for (const pack of packs) this.index.addPack(pack);
    for (const old of supersedes) this.#supersededIndex.add(old);
    return id;
  }

  /**
   * Rejects with `repository_changed` when the target no longer holds this repository: a disk was swapped or emptied while
   * the process ran, and what the index in memory says is not true there.
   */
  async checkStillThere(signal?: AbortSignal): Promise<void> {
    const id = await readRepositoryId(this.target, this.name, signal);
    if (id === this.id) return;
    throw new HoldfastError(
      "repository_changed",
      `Target ${this.name} holds ${id === undefined ? "no repository any more" : "another repository"} since it was opened`,
      {
        hint: "Check that the right disk is mounted at the right place. Nothing was written.",
        data: { target: this.name },
      },
    );
  }

  /** Throws `repository_feature` when the keyring asks for something this version does not know and must not write beside. */
  checkWritable(): void {
    checkFeatures(this.keyring.features, "write");
  }

  /** Lists condemned/ anew, marks what it names in the index, and returns all records. Rejects when one of them is damaged. */
  async refreshCondemned(signal?: AbortSignal): Promise<CondemnedRecord[]> {
    await this.#readCondemned(signal);
    this.#markCondemned();
    return [...this.#loadedCondemned.values()];
  }

  /** What the condemned objects read so far say of a pack, whether the index knows it or not. */
  condemnation(pack: PackId): "condemned" | "damaged" | undefined {
    return this.#condemnedPacks.get(pack);
  }

  async #readCondemned(signal?: AbortSignal, onDamaged?: (id: ObjectId, error: HoldfastError) => void): Promise<void> {
    const wanted = (await this.listObjects("condemned", signal)).filter((stat) => !this.#loadedCondemned.has(stat.id));
    const missing = new Map<ObjectId, HoldfastError>();
    await inParallel(wanted, this.#fetches(), async ({ id, modifiedMs }) => {
      let record: CondemnedObject;
      try {
        record = decodeCondemned(await this.readObject("condemned", id, signal));
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        if (error.code === "target_missing_object") missing.set(id, error);
        else if (onDamaged !== undefined && error.code.startsWith("object_")) onDamaged(id, error);
        else throw error;
        return;
      }
      this.#loadedCondemned.set(id, { ...record, id, objectTimeMs: modifiedMs });
      for (const pack of record.packs)
        if (record.reason === "damaged") this.#condemnedPacks.set(pack, "damaged");
        else if (!this.#condemnedPacks.has(pack)) this.#condemnedPacks.set(pack, "condemned");
    });
    // Tombstones whose time was over. Where listings lag they are shown for a while yet; elsewhere one that is still shown is
    // there, and a target that says otherwise would have writers build on packs that are about to go.
    if (missing.size > 0 && this.target.capabilities.listing === "strong")
      for (const { id } of await this.listObjects("condemned", signal)) {
        const error = missing.get(id);
        if (error !== undefined) throw error;
      }
  }

  /** Again each time, because packs may have become known since. */
  #markCondemned(): void {
    for (const [pack, state] of this.#condemnedPacks) this.index.setPackState(pack, state);
  }

  #fetches(): number {
    return Math.min(FETCHES, this.target.capabilities.concurrency);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.options.access[Symbol.asyncDispose]();
  }
}

/** The id in `holdfast.json`, or undefined when there is none. Rejects with `object_foreign` or `repository_feature`. */
export async function readRepositoryId(target: Target, name: string, signal?: AbortSignal): Promise<RepositoryId | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await target.get(CONFIG_NAME, { signal });
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "target_missing_object") return undefined;
    throw error;
  }
  const foreign = (why: string): HoldfastError =>
    new HoldfastError("object_foreign", `${CONFIG_NAME} on target ${name} is not one of Holdfast's: ${why}`, {
      hint: "The folder may belong to another program, or the file is damaged. Point the target elsewhere, or restore the file from a copy.",
    });
  if (bytes.length > 4096) throw foreign("it is too long");
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    throw foreign("it is not JSON");
  }
  if (typeof parsed !== "object" || parsed === null || !("format" in parsed) || parsed.format !== "holdfast-repository")
    throw foreign("its format has another name");
  if (!("version" in parsed) || !Number.isInteger(parsed.version)) throw foreign("its version is malformed");
  if (parsed.version !== 1)
    throw new HoldfastError(
      "repository_feature",
      `${CONFIG_NAME} on target ${name} says that the repository has format version ${String(parsed.version)}; this program knows version 1`,
      {
        hint: "Use the Holdfast version that wrote it, or a newer one. If there is none, the file is damaged: restore it from a copy.",
      },
    );
  if (!("id" in parsed) || typeof parsed.id !== "string" || !isHexId(parsed.id, 16)) throw foreign("its id is malformed");
  const id = asRepositoryId(parsed.id);
  // Nothing authenticates this file, so that every byte of it is fixed.
  if (Buffer.from(bytes).toString("utf8") !== configText(id)) throw foreign("its text is not exactly what Holdfast writes");
  return id;
}

function configText(id: RepositoryId): string {
  return `${JSON.stringify({ format: "holdfast-repository", version: 1, id })}\n`;
}

interface ReadSlots {
  readonly count: number;
  readonly contents: readonly { readonly id: string; readonly bytes: Uint8Array }[];
  /** Why the last one could not be read. */
  readonly unreadable: unknown;
}

async function readSlots(target: Target, name: string, signal: AbortSignal | undefined): Promise<ReadSlots> {
  const slots = (await target.list("keys/", { signal })).filter((stat) => isHexId(stat.name.slice(5), 16));
  if (slots.length > MAX_SLOTS)
    throw new HoldfastError(
      "object_malformed",
      `The repository on target ${name} has ${slots.length} key slots; at most ${MAX_SLOTS} are tried`,
      {
        hint: "Someone put files into its folder keys/. Remove those that are not yours.",
      },
    );
  let unreadable: unknown;
  const contents: { id: string; bytes: Uint8Array }[] = [];
  await inParallel(slots, Math.min(FETCHES, target.capabilities.concurrency), async (slot) => {
    try {
      contents.push({ id: slot.name.slice(5), bytes: await target.get(slot.name, { signal }) });
    } catch (error) {
      signal?.throwIfAborted();
      unreadable = error;
    }
  });
  return { count: slots.length, contents: contents.toSorted((a, b) => (a.id < b.id ? -1 : 1)), unreadable };
}

/** What `open` gives; what it throws of damage names the object, because whoever opens bytes does not know where they lay. */
function naming(object: string, targetName: string, open: () => Buffer): Buffer {
  try {
    return open();
  } catch (error) {
    if (!(error instanceof HoldfastError) || !error.code.startsWith("object_")) throw error;
    throw new HoldfastError(error.code, `${object} on target ${targetName} cannot be used: ${error.message}`, {
      hint: error.hint ?? "Run `holdfast verify` to see what depends on it.",
      data: { ...error.data, object, target: targetName },
      cause: error,
    });
  }
}

/** The keyring that `open` gives; undefined when it is sealed under a root key that is not this repository's. */
function ownKeyring(open: () => Buffer): Keyring | undefined {
  try {
    return decodeKeyring(open());
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "object_foreign") return undefined;
    throw error;
  }
}

/** Every object in keyring/, checked against its name and not opened yet. */
async function readKeyrings(
  target: Target,
  name: string,
  signal: AbortSignal | undefined,
): Promise<{ id: ObjectId; bytes: Uint8Array }[]> {
  const stats = (await target.list("keyring/", { signal })).filter((stat) => isHexId(stat.name.slice("keyring/".length), 32));
  const found: { id: ObjectId; bytes: Uint8Array }[] = [];
  await inParallel(stats, Math.min(FETCHES, target.capabilities.concurrency), async (stat) => {
    const id = asObjectId(stat.name.slice("keyring/".length));
    found.push({ id, bytes: await getVerified(target, stat.name, id, name, { signal }) });
  });
  return found;
}

/** Waits for all; the first rejection in their order is thrown, whichever came first. */
async function allOrFirst<T extends readonly unknown[]>(promises: { readonly [K in keyof T]: Promise<T[K]> }): Promise<T> {
  const settled = await Promise.allSettled(promises);
  for (const one of settled) if (one.status === "rejected") throw one.reason;
  return settled.map((one) => (one as PromiseFulfilledResult<unknown>).value) as unknown as T;
}

async function openRoot(
  slots: ReadSlots,
  name: string,
  repositoryId: Buffer,
  unlockings: readonly Unlocking[],
): Promise<{ key: Buffer; slot: string }> {
  let { unreadable } = slots;
  for (const unlocking of unlockings) {
    for (const { id, bytes } of slots.contents) {
      try {
        if (parseSlot(bytes).id !== id)
          throw new HoldfastError("object_malformed", `keys/${id} on target ${name} says that it is another slot`);
        const key = await openSlot(bytes, unlocking.secret, unlocking.kind, repositoryId);
        if (key !== undefined) return { key, slot: id };
      } catch (error) {
        unreadable = error;
      }
    }
  }
  const what = unlockings.some(({ kind }) => kind === "keyfile") ? "key file" : "password";
  throw new HoldfastError(
    "key_wrong",
    `The ${what} opens none of the ${slots.count} key slots of the repository on target ${name}`,
    {
      hint:
        unreadable === undefined
          ? `Check that the ${what} is the one this repository was made with, or was changed to (holdfast key list). Nothing was changed.`
          : `At least one slot could not be read (${unreadable instanceof Error ? unreadable.message : "unknown error"}). If the ${what} is right, restore the folder keys/ and the file ${CONFIG_NAME} from a copy of the target.`,
      cause: unreadable,
    },
  );
}

function missing(name: string): HoldfastError {
  return new HoldfastError("repository_missing", `Target ${name} holds no repository`, {
    hint: "If it should: check the path, and that the disk is mounted. If it is new: `holdfast apply` creates it.",
  });
}

/** Gets an object and checks that its SHA-256 is its name. */
export async function getVerified(
  target: Target,
  name: string,
  id: ObjectId,
  targetName: string,
  options: Omit<GetOptions, "range"> = {},
): Promise<Uint8Array> {
  const bytes = await target.get(name, options);
  if (objectIdOf(bytes) !== id)
    throw new HoldfastError("object_damaged", `${name} on target ${targetName} is damaged: its SHA-256 is not its name`, {
      hint: "Run `holdfast verify` to see what depends on it, and `holdfast repair`.",
      data: { object: name, target: targetName },
    });
  return bytes;
}

export function objectIdOf(bytes: Uint8Array): ObjectId {
  return asObjectId(createHash("sha256").update(bytes).digest("hex"));
}

/** Chunks in all frames of a pack. */
export function chunksOf(pack: PackRecord): number {
  let chunks = 0;
  for (const frame of pack.frames) chunks += frame.chunkLengths.length;
  return chunks;
}

/** Runs `act` over `items`, at most `width` at a time; the first rejection stops new ones and is thrown after those under way. */
export async function inParallel<T>(items: readonly T[], width: number, act: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  let failure: { error: unknown } | undefined;
  const lane = async (): Promise<void> => {
    while (next < items.length && failure === undefined) {
      const item = items[next++] as T;
      try {
        await act(item);
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane));
  if (failure !== undefined) throw failure.error;
}
