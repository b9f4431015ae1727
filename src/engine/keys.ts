/** Key slots of one target, for those who name it: shown, added, removed. Secrets go in, and never come out. */
import { HoldfastError } from "../base/errors.ts";
import type { KdfChoice, KeySlots, Unlocking } from "../formats/format.ts";
import { kdfChoice, unlockings } from "./encryption.ts";
import type { Session } from "./session.ts";

/** For targets whose own way in is a key file, which says nothing of passwords. */
export const DEFAULT_KDF: KdfChoice = { function: "argon2id", memoryKiB: 65_536, passes: 3, parallelism: 4 };

export async function listKeySlots(session: Session, target: string, signal: AbortSignal): Promise<Record<string, unknown>[]> {
  const slots = await (await slotsOf(session, target)).list(signal);
  return slots.map((slot) => ({ target, ...slot, function: slot.function ?? null, problem: slot.problem ?? null }));
}

/** Returns the id of the new slot. */
export async function addKeySlot(
  session: Session,
  target: string,
  unlocking: Unlocking,
  label: string,
  signal: AbortSignal,
): Promise<string> {
  const slots = await slotsOf(session, target);
  const { encryption } = session.target(target);
  const own = encryption === undefined ? undefined : kdfChoice(encryption);
  return await slots.add(unlocking, unlocking.kind === "keyfile" ? undefined : (own ?? DEFAULT_KDF), label, signal);
}

/** Removes the slot that `id` begins the id of. Rejects with `confirmation_required` unless `confirm` is the whole id. */
export async function removeKeySlot(
  session: Session,
  target: string,
  id: string,
  confirm: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const slots = await slotsOf(session, target);
  const fitting = (await slots.list(signal)).filter((slot) => slot.id.startsWith(id));
  const [only] = fitting;
  if (only === undefined)
    throw new HoldfastError("name_unknown", `No key slot of target ${target} begins with ${id}`, {
      hint: "List them first.",
    });
  if (fitting.length > 1)
    throw new HoldfastError("selector_ambiguous", `${id} fits ${fitting.length} key slots of target ${target}`, {
      hint: "Give more digits.",
    });
  if (confirm !== only.id)
    throw new HoldfastError("confirmation_required", `A confirmation is needed to remove slot ${only.id} of target ${target}`, {
      hint: `Its password or key file opens the target no more. Repeat the request with confirm=${only.id}. Nothing was changed.`,
      data: { target, slot: only.id },
    });
  const [proof] = await unlockings(session.target(target).encryption, session.surroundings);
  if (proof === undefined) throw unencrypted(target);
  await slots.remove(only.id, proof, signal);
  return only.id;
}

async function slotsOf(session: Session, target: string): Promise<KeySlots> {
  const { keySlots } = await session.store(target);
  if (keySlots === undefined) throw unencrypted(target);
  return keySlots;
}

function unencrypted(target: string): HoldfastError {
  return new HoldfastError("unsupported", `Target ${target} is not encrypted and has no keys`);
}
