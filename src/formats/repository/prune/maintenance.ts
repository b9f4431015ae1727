import { HoldfastError } from "../../../base/errors.ts";
import { HeldLease, listLeases, lockedError, type SeenLease } from "../leases/leases.ts";
import type { Repository } from "../repository.ts";

/** How often, and how long at a time, the winner of two that began at once waits for the other to withdraw. */
const WITHDRAWAL_POLLS = 20;
const WITHDRAWAL_POLL_MS = 250;

/** The right to maintain a repository, held until disposed. */
export interface Maintenance extends AsyncDisposable {
  readonly lease: HeldLease;
  /** Leases of others that are live now. */
  others(signal?: AbortSignal): Promise<SeenLease[]>;
  /** Throws when this process stood still for longer than its lease: another may maintain by now. Before every step that others must not repeat. */
  assertHeld(): void;
}

/**
 * Takes the one maintenance lease. Put first, then looked: whoever proceeds has listed the leases after its own was there
 * and seen no other maintainer, so two can never both proceed where listing is strong. Of two that see each other the
 * larger owner id withdraws and the smaller waits for that. `exclusive` refuses writers too. Rejects with `repository_locked`.
 */
export async function acquireMaintenance(
  repository: Repository,
  options: { readonly exclusive?: boolean; readonly signal?: AbortSignal | undefined } = {},
): Promise<Maintenance> {
  const { exclusive = false, signal } = options;
  const blocking = (leases: readonly SeenLease[], own: string | undefined): SeenLease[] =>
    leases.filter(({ state, purpose, owner }) => state === "live" && owner !== own && (exclusive || purpose === "maintain"));
  // Without a look first, every refused attempt would make the one at work wait or wonder. The target's time is not known yet;
  // the local one is nearer to it than what the other's clock may have said.
  const { target, options: surroundings } = repository;
  const nowMs = target.capabilities.objectTimes ? surroundings.clock.now() : undefined;
  const [early] = blocking(await listLeases(repository, nowMs, signal), undefined);
  if (early !== undefined) throw lockedError(repository, early);
  const lease = await HeldLease.acquire(repository, "maintain", signal);
  try {
    for (let poll = 0; ; poll++) {
      const rivals = blocking(await listLeases(repository, lease.targetNowMs(), signal), lease.owner);
      const [first] = rivals;
      if (first === undefined) break;
      const mayWait = rivals.every(({ purpose, owner }) => purpose === "maintain" && lease.owner < owner);
      if (!mayWait || poll === WITHDRAWAL_POLLS) throw lockedError(repository, first);
      await repository.options.clock.sleep(WITHDRAWAL_POLL_MS, signal);
    }
  } catch (error) {
    await lease[Symbol.asyncDispose]();
    throw error;
  }
  return {
    lease,
    others: async (listSignal) =>
      (await listLeases(repository, lease.targetNowMs(), listSignal)).filter(({ owner }) => owner !== lease.owner),
    assertHeld: () => {
      // One that was renewed late counts, too: another may have begun in between.
      if (!lease.everLapsed()) return;
      throw new HoldfastError(
        "repository_locked",
        `The maintenance lease on target ${repository.name} has lapsed: this process stood still, or could not renew it`,
        {
          hint: "What was done so far is safe, and the next prune goes on from there.",
          cause: lease.refreshError,
        },
      );
    },
    [Symbol.asyncDispose]: () => lease[Symbol.asyncDispose](),
  };
}
