import { createHash } from "node:crypto";
import { HoldfastError } from "../../../base/errors.ts";
import type { ObjectId } from "../../../base/ids.ts";
import { randomHex } from "../../../base/random.ts";
import { chooseKeyring, encodeKeyring, withNewEpoch, type Keyring } from "../keys/keyring.ts";
import {
  createSlot,
  KEYFILE_KDF,
  MAX_SLOTS,
  openSlot,
  parseSlot,
  kdfParameters,
  saltBytes,
  SLOT_NONCE_BYTES,
  type KdfParameters,
  type SlotDerivation,
} from "../keys/slot.ts";
import { isoTime } from "../objects/json-object.ts";
import { acquireMaintenance } from "../prune/maintenance.ts";
import type { Repository, Unlocking } from "../repository.ts";

/** One key slot as a list shows it. */
export interface SlotInfo {
  /** 32 hex digits. */
  readonly id: string;
  readonly label: string;
  readonly created: string;
  /** Undefined for a slot that cannot be read; `problem` says why. */
  readonly kdf: KdfParameters | undefined;
  readonly problem: string | undefined;
  /** True for the slot that opened the repository. */
  readonly inUse: boolean;
}

/** Every key slot, oldest first; those that cannot be read at the end. */
export async function listSlots(repository: Repository, signal?: AbortSignal): Promise<SlotInfo[]> {
  const slots: SlotInfo[] = [];
  for (const id of await slotIds(repository, signal)) {
    const inUse = id === repository.openedBy;
    try {
      const { label, created, kdf } = parseSlot(await repository.target.get(slotName(id), { signal }));
      slots.push({ id, label, created, kdf, problem: undefined, inUse });
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.transient) throw error;
      if (error.code === "target_missing_object") continue;
      slots.push({ id, label: "", created: "", kdf: undefined, problem: error.message, inUse });
    }
  }
  const key = ({ created, id }: SlotInfo): string => `${created === "" ? "~" : created}${id}`;
  return slots.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}

/**
 * Writes a slot for a new secret and proves that it opens: it is read back from the target and unwrapped. Returns its id.
 * Rejects with `unsupported` beyond 64 slots, `key_wrong` for an unusable secret; a slot that does not open is removed again.
 */
export async function addSlot(
  repository: Repository,
  unlocking: Unlocking,
  options: { readonly kdf: SlotDerivation; readonly label: string; readonly signal?: AbortSignal | undefined },
): Promise<string> {
  const { signal } = options;
  const { random, clock } = repository.options;
  const count = (await slotIds(repository, signal)).length;
  if (count >= MAX_SLOTS)
    throw new HoldfastError(
      "unsupported",
      `The repository on target ${repository.name} has ${count} key slots; more are not allowed`,
      {
        hint: "Remove one that is not needed any more: holdfast key list, then holdfast key remove.",
      },
    );
  const id = randomHex(random, 16);
  const root = repository.keys.material.root;
  const bytes = await createSlot(
    root,
    unlocking.secret,
    unlocking.kind === "keyfile" ? KEYFILE_KDF : kdfParameters(options.kdf),
    {
      id,
      salt: random.bytes(saltBytes(options.kdf)),
      nonce: random.bytes(SLOT_NONCE_BYTES),
      label: options.label,
      created: isoTime(clock.now()),
      repositoryId: Buffer.from(repository.id, "hex"),
    },
  );
  await repository.target.put(slotName(id), [bytes], { signal });
  if (await opens(repository, id, unlocking, signal)) return id;
  await repository.target.delete(slotName(id), { signal });
  throw new HoldfastError(
    "write_verification_failed",
    `The new key slot on target ${repository.name} does not open with its own secret`,
    {
      hint: "It was removed again; the other slots are as they were. Test this machine's memory and the target.",
    },
  );
}

/**
 * Removes a slot after `proof` has opened another one. Rejects with `key_last` for the last slot, `key_wrong` when `proof`
 * opens no other slot, `unsupported` on an append-only target, `repository_locked` beside another maintainer; nothing is
 * removed then. Alone with the maintenance lease, because two who each remove the slot that the other has proven would leave none.
 */
export async function removeSlot(
  repository: Repository,
  id: string,
  proof: Unlocking,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const { signal } = options;
  if (repository.options.appendOnly === true)
    throw new HoldfastError("unsupported", `Target ${repository.name} is append-only: a key slot there cannot be removed`, {
      hint: "Remove it from a machine that may delete.",
    });
  await using maintenance = await acquireMaintenance(repository, { signal });
  const ids = await slotIds(repository, signal);
  if (!ids.includes(id))
    throw new HoldfastError("name_unknown", `There is no key slot ${id} on target ${repository.name}`, {
      hint: "`holdfast key list` shows them.",
    });
  const others = ids.filter((other) => other !== id);
  if (others.length === 0)
    throw new HoldfastError("key_last", `Key slot ${id} is the last one of the repository on target ${repository.name}`, {
      hint: "Add another first: without a slot nobody can ever read this repository again.",
    });
  for (const other of others) {
    if (!(await opens(repository, other, proof, signal))) continue;
    maintenance.assertHeld();
    await repository.target.delete(slotName(id), { signal });
    return;
  }
  throw new HoldfastError("key_wrong", `The secret given opens no key slot on target ${repository.name} other than ${id}`, {
    hint: "Nothing was removed. Give the secret of a slot that shall stay.",
  });
}

/**
 * Changes a secret: writes the new slot, proves it, then removes the old one. A crash in between leaves both, never none.
 * Returns the new slot's id.
 */
export async function rotateSlot(
  repository: Repository,
  oldId: string,
  unlocking: Unlocking,
  options: { readonly kdf: SlotDerivation; readonly label: string; readonly signal?: AbortSignal | undefined },
): Promise<string> {
  const id = await addSlot(repository, unlocking, options);
  await removeSlot(repository, oldId, unlocking, { signal: options.signal });
  return id;
}

/**
 * Starts a new epoch: a new master key for everything written from now on by whoever opens the repository afterwards. The
 * new keyring is read back and must be the one that counts. Old data stays under its old key. The caller reopens the repository.
 */
export async function newEpoch(
  repository: Repository,
  signal?: AbortSignal,
): Promise<{ readonly keyring: Keyring; readonly id: ObjectId }> {
  await using maintenance = await acquireMaintenance(repository, { signal });
  const { random, clock } = repository.options;
  const known = await keyrings(repository, signal);
  const current = chooseKeyring(known);
  if (current === undefined || current.keyring.generation < repository.keyring.generation)
    throw new HoldfastError(
      "repository_changed",
      `The keyring of target ${repository.name} is older than the one that was opened`,
      {
        hint: "Someone rolled the target back. Nothing was changed.",
      },
    );
  const next = withNewEpoch(current.keyring, { master: random.bytes(32), created: isoTime(clock.now()) });
  maintenance.assertHeld();
  const id = await repository.putObject("keyring", encodeKeyring(next), signal);
  const chosen = chooseKeyring(await keyrings(repository, signal));
  if (chosen?.id !== id)
    throw new HoldfastError("repository_changed", `Another keyring was written to target ${repository.name} at the same time`, {
      hint: "The other one counts, and nothing is lost. Try again.",
    });
  return { keyring: chosen.keyring, id };
}

/** The slot's own bytes, for a recovery kit. Rejects with `name_unknown` or `object_malformed`. */
export async function readSlotText(
  repository: Repository,
  id: string,
  signal?: AbortSignal,
): Promise<{ text: string; sha256: string }> {
  if (!(await slotIds(repository, signal)).includes(id))
    throw new HoldfastError("name_unknown", `There is no key slot ${id} on target ${repository.name}`, {
      hint: "`holdfast key list` shows them.",
    });
  const bytes = await repository.target.get(slotName(id), { signal });
  parseSlot(bytes);
  return { text: Buffer.from(bytes).toString("utf8").trimEnd(), sha256: createHash("sha256").update(bytes).digest("hex") };
}

async function keyrings(repository: Repository, signal: AbortSignal | undefined): Promise<{ id: ObjectId; keyring: Keyring }[]> {
  const all: { id: ObjectId; keyring: Keyring }[] = [];
  for (const { id } of await repository.listObjects("keyring", signal)) {
    const keyring = await repository.readKeyring(id, signal, true);
    if (keyring !== undefined) all.push({ id, keyring });
  }
  return all;
}

async function opens(
  repository: Repository,
  id: string,
  unlocking: Unlocking,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  try {
    const bytes = await repository.target.get(slotName(id), { signal });
    const root = await openSlot(bytes, unlocking.secret, unlocking.kind, Buffer.from(repository.id, "hex"));
    return root !== undefined && Buffer.compare(root, repository.keys.material.root) === 0;
  } catch (error) {
    signal?.throwIfAborted();
    // A damaged slot proves nothing; another may.
    if (error instanceof HoldfastError && /^object_|^target_missing_object$/.test(error.code)) return false;
    throw error;
  }
}

async function slotIds(repository: Repository, signal: AbortSignal | undefined): Promise<string[]> {
  const stats = await repository.target.list("keys/", { signal });
  return stats.flatMap(({ name }) => /^keys\/([0-9a-f]{32})$/.exec(name)?.[1] ?? []);
}

function slotName(id: string): string {
  return `keys/${id}`;
}
