import * as crypto from "node:crypto";
import { strict as assert } from "node:assert";
import { HoldfastError } from "../../../base/errors.ts";

/** What a thread needs to make a KeySet; plain values only, so that it survives structured clone. Secret throughout. */
export interface KeyMaterial {
  /** 16 bytes. */
  readonly repositoryId: Uint8Array;
  /** 32 bytes. */
  readonly root: Uint8Array;
  /** Empty until the keyring is open. */
  readonly epochs: readonly { readonly epoch: number; readonly master: Uint8Array }[];
  /** 32 bytes, or empty until the keyring is open. */
  readonly lineageSecret: Uint8Array;
}

export type KeyPurpose = "data" | "tree" | "index" | "snapshot" | "notes" | "salt" | "keyring";

const EPOCH_PURPOSES: readonly KeyPurpose[] = ["data", "tree", "index", "snapshot", "notes", "salt"];
const ROOT_PURPOSES: readonly KeyPurpose[] = ["keyring", "salt"];
const GEAR_ENTRIES = 256;

/** The keys derived from one master key. Derivation happens once, at construction. */
export class EpochKeys {
  readonly epoch: number;
  /** 16 bytes that name the master key without telling it. */
  readonly keyId: Buffer;
  readonly #keys: ReadonlyMap<KeyPurpose, Buffer>;

  constructor(repositoryId: Uint8Array, epoch: number, master: Uint8Array) {
    assert(master.length === 32, "a master key has 32 bytes");
    this.epoch = epoch;
    this.keyId = hkdf(master, repositoryId, `holdfast/v1/key-id/${epoch}`, 16);
    const purposes = epoch === 0 ? ROOT_PURPOSES : EPOCH_PURPOSES;
    this.#keys = new Map(
      purposes.map((purpose) => [purpose, hkdf(master, repositoryId, `holdfast/v1/${purpose}/${epoch}`, 32)] as const),
    );
  }

  /** The 32-byte key of a purpose. Asking the root key for a purpose of an epoch, or the reverse, is a programmer fault. */
  key(purpose: KeyPurpose): Buffer {
    const key = this.#keys.get(purpose);
    assert(key !== undefined, `epoch ${this.epoch} has no key for ${purpose}`);
    return key;
  }
}

/** What repositories of one lineage share: equal content gives equal cuts and equal chunk ids. */
export interface Lineage {
  /** 16 bytes that name the lineage. */
  readonly id: Buffer;
  /** 256 numbers for `nextCut`. */
  readonly gear: Uint32Array;
}

interface LineageKeys {
  readonly public: Lineage;
  readonly dataId: crypto.KeyObject;
  readonly treeId: crypto.KeyObject;
}

/**
 * All keys of one open repository, derived and cached. Before the keyring is open it knows the root key only:
 * `current`, `lineage` and `chunkId` are then programmer faults.
 */
export class KeySet {
  readonly material: KeyMaterial;
  readonly repositoryId: Uint8Array;
  /** The root key as a master key of epoch 0: opens and seals keyrings. */
  readonly rootKeys: EpochKeys;
  readonly #epochs: readonly EpochKeys[];
  #lineage: LineageKeys | undefined;

  constructor(material: KeyMaterial) {
    assert(material.repositoryId.length === 16, "a repository id has 16 bytes");
    this.material = material;
    this.repositoryId = material.repositoryId;
    this.rootKeys = new EpochKeys(material.repositoryId, 0, material.root);
    this.#epochs = material.epochs
      .map(({ epoch, master }) => {
        assert(epoch > 0, "epoch 0 is the root key's");
        return new EpochKeys(material.repositoryId, epoch, master);
      })
      .toSorted((a, b) => b.epoch - a.epoch);
  }

  /** The newest epoch: new data is sealed under it. */
  get current(): EpochKeys {
    const newest = this.#epochs[0];
    assert(newest !== undefined, "the keyring is not open");
    return newest;
  }

  /** The epoch a key id names, or undefined for a key this repository does not hold. The root key is not among them. */
  epochByKeyId(keyId: Uint8Array): EpochKeys | undefined {
    return this.#epochs.find((keys) => keys.keyId.equals(keyId));
  }

  get lineage(): Lineage {
    return this.#openLineage().public;
  }

  /** The 32-byte id of a chunk: HMAC-SHA256 under the lineage key of its kind (1 data, 2 trees and chunk lists). */
  chunkId(kind: 1 | 2, bytes: Uint8Array): Buffer {
    const lineage = this.#openLineage();
    return crypto
      .createHmac("sha256", kind === 1 ? lineage.dataId : lineage.treeId)
      .update(bytes)
      .digest();
  }

  /** Throws `object_damaged` when `bytes` are not the chunk of `id`, whose first 16 or all 32 bytes are given. */
  checkChunk(kind: 1 | 2, bytes: Uint8Array, id: Uint8Array): void {
    const actual = this.chunkId(kind, bytes);
    if (!actual.subarray(0, id.length).equals(id))
      throw new HoldfastError("object_damaged", `Chunk ${Buffer.from(id).toString("hex")} has other content than its id says`, {
        hint: "Run `holdfast verify` to learn which snapshots are concerned.",
      });
  }

  #openLineage(): LineageKeys {
    if (this.#lineage !== undefined) return this.#lineage;
    const secret = this.material.lineageSecret;
    assert(secret.length === 32, "a lineage secret has 32 bytes; the keyring is not open");
    const derive = (name: string, length: number): Buffer =>
      hkdf(secret, new Uint8Array(), `holdfast/v1/lineage/${name}`, length);
    const table = derive("gear", GEAR_ENTRIES * 4);
    this.#lineage = {
      public: {
        id: derive("id", 16),
        gear: Uint32Array.from({ length: GEAR_ENTRIES }, (_, i) => table.readUInt32LE(i * 4)),
      },
      dataId: crypto.createSecretKey(derive("data-id", 32)),
      treeId: crypto.createSecretKey(derive("tree-id", 32)),
    };
    return this.#lineage;
  }
}

function hkdf(secret: Uint8Array, salt: Uint8Array, info: string, length: number): Buffer {
  return Buffer.from(crypto.hkdfSync("sha256", secret, salt, Buffer.from(info, "ascii"), length));
}
