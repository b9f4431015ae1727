import { strict as assert } from "node:assert";
import { HoldfastError } from "../../../base/errors.ts";
import type { ObjectId } from "../../../base/ids.ts";
import { decodeJson, encodeJson, type JsonMembers } from "../objects/json-object.ts";
import type { KeyMaterial } from "./key-set.ts";

const KEY_BYTES = 32;
const MAX_EPOCHS = 1024;
const MAX_FEATURES = 256;
const MEMBERS = ["generation", "features", "epochs", "lineage"];

/** Members of later versions, kept when a new generation is written. */
type UnknownMembers = Readonly<Record<string, unknown>>;

export interface KeyringEpoch {
  readonly epoch: number;
  /** 32 bytes, secret. */
  readonly master: Uint8Array;
  readonly created: string;
  readonly unknownMembers?: UnknownMembers | undefined;
}

export interface KeyringFeatures {
  /** An unknown one is ignored. */
  readonly compatible: readonly string[];
  /** An unknown one refuses writing and pruning. */
  readonly readOnly: readonly string[];
  /** An unknown one refuses everything. */
  readonly incompatible: readonly string[];
  readonly unknownMembers?: UnknownMembers | undefined;
}

/** The repository's keys and features, as a keyring object holds them. Secret. */
export interface Keyring {
  readonly generation: number;
  readonly features: KeyringFeatures;
  readonly epochs: readonly KeyringEpoch[];
  /** 32 bytes, secret. */
  readonly lineageSecret: Uint8Array;
  /** Those of `lineage`. */
  readonly unknownLineageMembers?: UnknownMembers | undefined;
  /** Those of the keyring object itself. */
  readonly unknownMembers?: UnknownMembers | undefined;
}

/** Features this version understands, of both kinds that matter. None so far. */
const KNOWN_FEATURES: ReadonlySet<string> = new Set();

/** The first keyring of a repository: 32 fresh bytes of master key, and the lineage secret, fresh or of the lineage to join. */
export function newKeyring(options: {
  readonly master: Uint8Array;
  readonly lineageSecret: Uint8Array;
  /** ISO 8601 in UTC with milliseconds. */
  readonly created: string;
}): Keyring {
  const { master, lineageSecret, created } = options;
  return {
    generation: 1,
    features: { compatible: [], readOnly: [], incompatible: [] },
    epochs: [{ epoch: 1, master, created }],
    lineageSecret,
  };
}

/** The next generation of a keyring, with a new epoch for new data under 32 fresh bytes of master key. */
export function withNewEpoch(keyring: Keyring, options: { readonly master: Uint8Array; readonly created: string }): Keyring {
  const epoch = 1 + Math.max(...keyring.epochs.map((each) => each.epoch));
  return { ...keyring, generation: keyring.generation + 1, epochs: [...keyring.epochs, { epoch, ...options }] };
}

export function encodeKeyring(keyring: Keyring): Buffer {
  assert(keyring.lineageSecret.length === KEY_BYTES, "a lineage secret has 32 bytes");
  const { unknownMembers: unknownFeatureMembers, ...features } = keyring.features;
  return encodeJson({
    ...keyring.unknownMembers,
    generation: keyring.generation,
    features: { ...unknownFeatureMembers, ...features },
    epochs: keyring.epochs.map(({ epoch, master, created, unknownMembers }) => ({
      ...unknownMembers,
      epoch,
      master: Buffer.from(master).toString("base64"),
      created,
    })),
    lineage: { ...keyring.unknownLineageMembers, secret: Buffer.from(keyring.lineageSecret).toString("base64") },
  });
}

/** Reads a keyring's content. Throws `object_malformed` naming the member that is missing or of another type. */
export function decodeKeyring(content: Uint8Array): Keyring {
  const members = decodeJson(content, "The keyring");
  const features = members.object("features");
  const lineage = members.object("lineage");
  const epochs = members.list("epochs", MAX_EPOCHS, (item): KeyringEpoch => {
    const epoch = item.object("item");
    return {
      epoch: epoch.integer("epoch", 1, 0xffff_ffff),
      master: epoch.base64("master", KEY_BYTES, KEY_BYTES),
      created: epoch.time("created"),
      unknownMembers: unknownIn(epoch, ["epoch", "master", "created"]),
    };
  });
  if (epochs.length === 0) throw members.malformed("it has no epoch");
  if (new Set(epochs.map((each) => each.epoch)).size !== epochs.length) throw members.malformed("an epoch occurs twice");
  return {
    generation: members.integer("generation", 1),
    features: {
      compatible: features.texts("compatible", MAX_FEATURES),
      readOnly: features.texts("readOnly", MAX_FEATURES),
      incompatible: features.texts("incompatible", MAX_FEATURES),
      unknownMembers: unknownIn(features, ["compatible", "readOnly", "incompatible"]),
    },
    epochs,
    lineageSecret: lineage.base64("secret", KEY_BYTES, KEY_BYTES),
    unknownLineageMembers: unknownIn(lineage, ["secret"]),
    unknownMembers: unknownIn(members, MEMBERS),
  };
}

function unknownIn(members: JsonMembers, known: readonly string[]): UnknownMembers | undefined {
  const rest = members.rest(known);
  return Object.keys(rest).length > 0 ? rest : undefined;
}

/** The keyring that counts: the highest generation, of equal ones the smaller object id. Undefined for none. */
export function chooseKeyring<Candidate extends { readonly id: ObjectId; readonly keyring: Keyring }>(
  candidates: readonly Candidate[],
): Candidate | undefined {
  return candidates.toSorted((a, b) => b.keyring.generation - a.keyring.generation || (a.id < b.id ? -1 : 1))[0];
}

/** Throws `repository_feature` when the keyring names a feature, unknown here, that forbids reading or writing. */
export function checkFeatures(features: KeyringFeatures, use: "read" | "write"): void {
  const unknown = (names: readonly string[]): string[] => names.filter((name) => !KNOWN_FEATURES.has(name));
  const blocking = [...unknown(features.incompatible), ...(use === "write" ? unknown(features.readOnly) : [])];
  if (blocking.length === 0) return;
  throw new HoldfastError("repository_feature", `The repository uses ${blocking.join(", ")}, which this version does not know`, {
    hint: `Use the version of Holdfast that made it, or a later one, to ${use === "write" ? "write to it" : "read it"}.`,
    data: { features: blocking },
  });
}

/** Everything a KeySet needs. */
export function keyMaterial(repositoryId: Uint8Array, root: Uint8Array, keyring: Keyring): KeyMaterial {
  const epochs = keyring.epochs.map(({ epoch, master }) => ({ epoch, master }));
  return { repositoryId, root, epochs, lineageSecret: keyring.lineageSecret };
}

/** What opens the keyring itself: the root key alone. */
export function rootMaterial(repositoryId: Uint8Array, root: Uint8Array): KeyMaterial {
  return { repositoryId, root, epochs: [], lineageSecret: new Uint8Array() };
}
