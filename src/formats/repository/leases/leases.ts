import { HoldfastError } from "../../../base/errors.ts";
import type { ObjectId } from "../../../base/ids.ts";
import { randomHex } from "../../../base/random.ts";
import { isProvablyDead, processIdentity } from "../../../state/process-identity.ts";
import { decodeLease, encodeLease, type LeaseObject } from "../objects/lease-object.ts";
import { inParallel, type Repository } from "../repository.ts";

/** How long a lease counts after its last object. */
export const LEASE_TTL_MS = 2 * 3_600_000;
/** How often it is renewed: four chances before it lapses. */
export const LEASE_REFRESH_MS = 30 * 60_000;

/** The newest lease object of one owner, as seen by this process. */
export interface SeenLease extends LeaseObject {
  readonly objects: readonly ObjectId[];
  /** The target's time of the newest object, where it has one. */
  readonly objectTimeMs: number | undefined;
  /** When the owner began at the latest: by its own clock or, where that is earlier, by the target's time of its first object. */
  readonly startMs: number;
  readonly state: "live" | "released" | "expired" | "dead" | "clock-fault";
}

/**
 * Every lease on a repository with its state. `targetNowMs` is the target's own time, where known: age is measured by it.
 * A lease dated beyond now + 2 ttl is a `clock-fault`: reported, but not obeyed. A lease is `dead` only when its process provably is.
 */
export async function listLeases(
  repository: Repository,
  targetNowMs: number | undefined,
  signal?: AbortSignal,
): Promise<SeenLease[]> {
  const newest = new Map<
    string,
    { lease: LeaseObject; objectTimeMs: number | undefined; firstMs: number; objects: ObjectId[] }
  >();
  const stats = await repository.listObjects("leases", signal);
  await inParallel(stats, 8, async ({ id, modifiedMs }) => {
    let lease: LeaseObject;
    try {
      lease = decodeLease(await repository.readObject("leases", id, signal));
    } catch (error) {
      if (error instanceof HoldfastError && error.code === "target_missing_object") return;
      throw error;
    }
    const known = newest.get(lease.owner);
    const objects = [...(known?.objects ?? []), id];
    const firstMs = Math.min(known?.firstMs ?? Number.POSITIVE_INFINITY, modifiedMs ?? Number.POSITIVE_INFINITY);
    if (known === undefined || lease.sequence > known.lease.sequence)
      newest.set(lease.owner, { lease, objectTimeMs: modifiedMs, firstMs, objects });
    else newest.set(lease.owner, { ...known, firstMs, objects });
  });
  const now = repository.options.clock.now();
  return [...newest.values()].map(({ lease, objectTimeMs, firstMs, objects }) => ({
    ...lease,
    objects,
    objectTimeMs,
    startMs: Math.min(Date.parse(lease.start), firstMs),
    state: stateOf(lease, objectTimeMs, now, targetNowMs),
  }));
}

function stateOf(
  lease: LeaseObject,
  objectTimeMs: number | undefined,
  nowMs: number,
  targetNowMs: number | undefined,
): SeenLease["state"] {
  if (lease.released) return "released";
  if (isProvablyDead(lease)) return "dead";
  // A ttl that another process claims is not obeyed beyond twice our own.
  const ttlMs = Math.min(lease.ttlMs, 2 * LEASE_TTL_MS);
  if (objectTimeMs !== undefined && targetNowMs !== undefined) {
    if (objectTimeMs > targetNowMs + 2 * LEASE_TTL_MS) return "clock-fault";
    return targetNowMs - objectTimeMs < ttlMs ? "live" : "expired";
  }
  const time = Date.parse(lease.time);
  if (time > nowMs + 2 * LEASE_TTL_MS) return "clock-fault";
  return nowMs - time < ttlMs ? "live" : "expired";
}

/**
 * A lease this process holds. Each refresh puts a new object; nothing is overwritten. `confirm` puts one and reads it
 * back, and tells the target's time. Disposing marks it released, and removes its objects unless the target is append-only.
 */
export class HeldLease implements AsyncDisposable {
  readonly owner: string;
  readonly startMs: number;
  readonly #repository: Repository;
  readonly #purpose: "write" | "maintain";
  #sequence = 0;
  #objects: ObjectId[] = [];
  #confirmedWallMs = 0;
  #confirmedMonotonicMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #released = false;
  #refreshing: Promise<void> = Promise.resolve();
  #lapses = 0;
  #skew: { readonly ms: number; readonly wallMs: number; readonly monotonicMs: number } | undefined;
  /** Why refreshing failed last, for the commit to see. */
  refreshError: unknown;

  private constructor(repository: Repository, purpose: "write" | "maintain") {
    this.#repository = repository;
    this.#purpose = purpose;
    this.owner = randomHex(repository.options.random, 16);
    this.startMs = repository.options.clock.now();
  }

  static async acquire(repository: Repository, purpose: "write" | "maintain", signal?: AbortSignal): Promise<HeldLease> {
    repository.checkWritable();
    const lease = new HeldLease(repository, purpose);
    try {
      await lease.confirm(signal);
    } catch (error) {
      await lease[Symbol.asyncDispose]();
      throw error;
    }
    lease.#timer = setInterval(() => {
      lease.#refreshing = lease.confirm().catch((error: unknown) => {
        lease.refreshError = error;
      });
    }, LEASE_REFRESH_MS);
    lease.#timer.unref();
    return lease;
  }

  /**
   * Puts a new lease object and reads it back. Rejects when the target does not hold what was put. `beside` is done once
   * it was put, together with the reading: whatever looks from then on is looked at by someone who can see this lease.
   */
  async confirm(signal?: AbortSignal, beside?: () => Promise<unknown>): Promise<void> {
    const { clock } = this.#repository.options;
    const wall = clock.now();
    const monotonic = clock.monotonic();
    if (this.#confirmedWallMs > 0 && this.lapsed()) this.#lapses++;
    const id = await this.#put(false, signal);
    const done = await Promise.allSettled([
      this.#repository.readObject("leases", id, signal),
      this.#repository.target.stat(`leases/${id}`, { signal }),
      beside?.(),
    ]);
    for (const one of done) if (one.status === "rejected") throw one.reason;
    const stat = done[1].status === "fulfilled" ? done[1].value : undefined;
    if (stat?.modifiedMs !== undefined && this.#repository.target.capabilities.objectTimes)
      this.#skew = { ms: stat.modifiedMs - clock.now(), wallMs: clock.now(), monotonicMs: clock.monotonic() };
    this.#confirmedWallMs = wall;
    this.#confirmedMonotonicMs = monotonic;
    this.refreshError = undefined;
  }

  /** True when a whole lifetime has passed since the last confirmation, by whichever clock says so. */
  lapsed(): boolean {
    const { clock } = this.#repository.options;
    const wall = clock.now() - this.#confirmedWallMs;
    return wall >= LEASE_TTL_MS || wall < -60_000 || clock.monotonic() - this.#confirmedMonotonicMs >= LEASE_TTL_MS;
  }

  /** True when that was ever so, even if the lease was renewed since: for that while nobody had to respect it. */
  everLapsed(): boolean {
    return this.lapsedSince(0);
  }

  /** How many lapses renewals have met. */
  get lapses(): number {
    return this.#lapses;
  }

  /** True when it has lapsed since `lapses` was read, or is lapsed now. */
  lapsedSince(lapses: number): boolean {
    return this.#lapses > lapses || this.lapsed();
  }

  /** Target time minus local time at the last confirmation; undefined where the target tells no time. */
  get targetSkewMs(): number | undefined {
    return this.#skew?.ms;
  }

  /** The target's time now, where it tells one. A local date that was set ahead since the last confirmation does not count. */
  targetNowMs(): number | undefined {
    if (this.#skew === undefined) return undefined;
    const { clock } = this.#repository.options;
    const now = clock.now();
    const ahead = now - this.#skew.wallMs - (clock.monotonic() - this.#skew.monotonicMs);
    return now + this.#skew.ms - Math.max(0, ahead);
  }

  async #put(released: boolean, signal?: AbortSignal): Promise<ObjectId> {
    const identity = processIdentity();
    const lease: LeaseObject = {
      owner: this.owner,
      purpose: this.#purpose,
      sequence: this.#sequence++,
      start: new Date(this.startMs).toISOString(),
      time: new Date(this.#repository.options.clock.now()).toISOString(),
      ttlMs: LEASE_TTL_MS,
      host: this.#repository.options.host,
      ...identity,
      released,
    };
    // Noted before it is put: one whose put was cancelled may be there all the same.
    return await this.#repository.putObject("leases", encodeLease(lease), signal, (id) => this.#objects.push(id));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    clearInterval(this.#timer);
    // A renewal under way would leave an object behind that nobody removes.
    await this.#refreshing;
    // Best effort: a lease that cannot be removed lapses by itself.
    try {
      if (this.#repository.options.appendOnly === true) await this.#put(true);
      // The newest object goes last: were it gone first, an older one would speak for this owner again.
      else {
        const newest = this.#objects.at(-1);
        await inParallel(this.#objects.slice(0, -1), 8, (id) => this.#repository.target.delete(`leases/${id}`));
        if (newest !== undefined) await this.#repository.target.delete(`leases/${newest}`);
      }
    } catch (error) {
      this.refreshError = error;
    }
  }
}

/** `repository_locked` naming who holds a lease. */
export function lockedError(repository: Repository, lease: SeenLease): HoldfastError {
  return new HoldfastError(
    "repository_locked",
    `The repository on target ${repository.name} is in use: ${lease.purpose === "maintain" ? "maintenance" : "a backup"} by process ${lease.pid} on ${lease.host}, since ${lease.start}`,
    {
      hint: `Wait until it has ended. If that process is gone, its lease lapses at ${new Date(Date.parse(lease.time) + lease.ttlMs).toISOString()}.`,
      data: { owner: lease.owner, host: lease.host, pid: lease.pid },
    },
  );
}
