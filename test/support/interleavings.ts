/**
 * Two writers and a maintainer at one repository, interleaved at every target call by a seed, with clocks that differ, leases
 * that lapse, processes that freeze and die. What must hold is judged after each run, and whenever a prune or a backup ends.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { SnapshotId } from "../../src/base/ids.ts";
import type { Randomness } from "../../src/base/random.ts";
import { KIND } from "../../src/codec/seal.ts";
import type { HeldLease } from "../../src/formats/repository/leases/leases.ts";
import { decodeCondemned } from "../../src/formats/repository/objects/condemned-object.ts";
import { pruneRepository } from "../../src/formats/repository/prune/prune.ts";
import { repairRepository } from "../../src/formats/repository/repair/repair.ts";
import { Repository, type RepositoryOptions } from "../../src/formats/repository/repository.ts";
import { deleteSnapshots } from "../../src/formats/repository/snapshots/delete-snapshots.ts";
import { listSnapshots } from "../../src/formats/repository/snapshots/snapshot-list.ts";
import { verifyRepository } from "../../src/formats/repository/verify/verify.ts";
import {
  DAY,
  GRACE,
  HOUR,
  noise,
  pruneOptions,
  restore,
  UNLOCK,
  verifyOptions,
  type Files,
} from "../formats/repository/prune/fixture.ts";
import { simulatedBackup } from "./simulated-backup.ts";
import { gatedTarget, SimulatedStore } from "./simulated-target.ts";
import { MAINTAINER_TRAPS, traps, WRITER_TRAPS } from "./interleaving-traps.ts";
import { Actor, codeOf, Simulation } from "./simulation.ts";
import { accessHere } from "./threads-here.ts";

const MINUTE = 60_000;
/** Listings lag by up to this; the format's margin for leases is an hour. */
const LAG_MS = 25 * MINUTE;
const MAX_STEPS = 60_000;
const PACK_BYTES = 24 * 1024;

/** What may end a backup that was too late, or that began while a prune was deleting. */
const LATE = ["snapshot_withdrawn", "chunk_missing", "object_damaged", "target_missing_object"];
/** What may refuse maintenance: another one at work, a clock, a listing. Nothing is deleted then. */
const REFUSED = ["repository_locked", "clock_unreliable", "listing_incomplete"];

const EVERYWHERE = [
  "commits",
  "commits after a lapse",
  "leases lapsed",
  "backup: snapshot_withdrawn",
  "copy-outs",
  "packs taken over",
  "retentions",
  "condemnations",
  "repacks",
  "sweeps",
  "refused sweeps",
  "prune: repository_locked",
  "prune: clock_unreliable",
  "rebuilds",
  "killed writer",
  "killed maintainer",
  "freeze",
  "hold",
  "jump",
];

/** Events that a full run must have seen. */
export const EVENTS = {
  strong: [...EVERYWHERE, "sweeps at once", "steals"],
  eventual: [...EVERYWHERE, "prune: chunk_missing", "prune: listing_incomplete"],
} as const;

interface Attempt {
  readonly files: Files;
  readonly writer: string;
  /** `deleting`: a deletion began, and nobody can tell how far it came. */
  state: "running" | "failed" | "committed" | "deleting" | "deleted";
}

export interface InterleavingOptions {
  readonly seed: string;
  readonly listing: "strong" | "eventual";
}

/** Runs one; returns how often what happened, and the log. Rejects with the seed and the end of the log when a promise did not hold. */
export async function interleave(
  options: InterleavingOptions,
): Promise<{ readonly counts: ReadonlyMap<string, number>; readonly log: readonly string[] }> {
  const run = new Interleaving(options);
  try {
    await run.run();
    const { counts, log } = run.simulation;
    return { counts, log };
  } catch (error) {
    throw new Error(
      `Listing ${options.listing}, seed ${options.seed}: ${error instanceof Error ? error.message : String(error)}\n  ${run.simulation.log.slice(-60).join("\n  ")}`,
      { cause: error },
    );
  }
}

class Interleaving {
  readonly simulation: Simulation;
  readonly #options: InterleavingOptions;
  readonly #store: SimulatedStore;
  readonly #random: Randomness;
  readonly #attempts = new Map<SnapshotId, Attempt>();
  readonly #kept = new Map<Actor, Repository>();
  /** Target time at which each pack was condemned first. */
  readonly #condemnedMs = new Map<string, number>();
  /** Actors between taking and giving back a maintenance lease. */
  readonly #maintaining = new Set<Actor>();
  /** True while some actor prunes at once, without a grace time. */
  #immediate = 0;
  #observer: Repository | undefined;
  #unseenDeletions = 0;
  #violation: Error | undefined;

  constructor(options: InterleavingOptions) {
    this.#options = options;
    this.simulation = new Simulation(`${options.listing} ${options.seed}`);
    const { numbers } = this.simulation;
    this.#random = seededRandom(`random ${options.seed}`);
    this.#store = new SimulatedStore({
      listing: options.listing,
      now: () => this.simulation.nowMs,
      lagMs: () => (numbers.below(3) === 0 ? 0 : numbers.below(LAG_MS)),
      onChange: (verb, name, bytes) => this.#onChange(verb, name, bytes),
    });
    this.simulation.switching = numbers.pick([0.02, 0.1, 0.3, 1]);
    this.simulation.passing = numbers.pick([0, 0.003, 0.02]);
  }

  async run(): Promise<void> {
    const { numbers } = this.simulation;
    await Repository.create(this.#repositoryOptions(undefined), UNLOCK, { function: "keyfile" }, undefined);
    this.#observer = await this.#openTrue();
    this.simulation.nowMs += LAG_MS;
    const offsets = [0, 0, 9 * MINUTE, HOUR, 5 * HOUR, -HOUR, -5 * HOUR, -30 * HOUR];
    for (const name of ["writer-a", "writer-b"]) this.#spawnWriter(name, numbers.pick(offsets), 3);
    this.#spawnMaintainer("maintainer", 4);
    // Where listings lag there is one maintainer by configuration.
    if (this.#options.listing === "strong" && numbers.below(3) === 0) this.#spawnMaintainer("second-maintainer", 3);
    await this.simulation.run(MAX_STEPS);
    if (this.#violation !== undefined) throw this.#violation;
    await this.#finale();
  }

  // --- Actors

  #spawnWriter(name: string, offsetMs: number, rounds: number): void {
    const { simulation } = this;
    const { numbers } = simulation;
    const actor = this.#actor(name, offsetMs);
    actor.traps = traps(numbers, WRITER_TRAPS, simulation.chance(0.7) ? 1 + numbers.below(2) : 0);
    actor.onKilled = () => {
      simulation.count(`killed ${name.slice(0, 6)}`);
      if (rounds > 1) this.#spawnWriter(`${name}'`, offsetMs, rounds - 1);
    };
    simulation.spawn(actor, async () => {
      const { clock } = this.#repositoryOptions(actor);
      let previous: SnapshotId | undefined;
      for (let round = 0; round < rounds; round++) {
        await clock.sleep(numbers.pick([0, 0, 20 * MINUTE, 3 * HOUR, 26 * HOUR, 74 * HOUR]));
        previous = (await this.#backup(actor)) ?? previous;
      }
    });
  }

  async #backup(actor: Actor): Promise<SnapshotId | undefined> {
    const { simulation } = this;
    const files = filesOf(simulation);
    let attempt: Attempt | undefined;
    let id: SnapshotId | undefined;
    let held: HeldLease | undefined;
    try {
      const repository = await this.#repositoryOf(actor);
      await simulatedBackup(repository, files, {
        source: actor.name.slice(0, 8),
        previous: undefined,
        onId: (uid) => {
          id = uid;
          attempt = { files, writer: actor.name.slice(0, 8), state: "running" };
          this.#attempts.set(uid, attempt);
        },
        onLease: (lease) => (held = lease),
        onAdopted: () => simulation.count("packs taken over"),
      });
      simulation.note(`${actor.name}: committed ${id?.slice(0, 8)}`);
      simulation.count("commits");
      if (held?.everLapsed() === true) simulation.count("commits after a lapse");
      (attempt as Attempt | undefined as Attempt).state = "committed";
      await this.#look(`after ${actor.name} committed`);
      return id;
    } catch (error) {
      if (attempt !== undefined) attempt.state = "failed";
      const code = codeOf(error);
      simulation.note(`${actor.name}: backup failed, ${code}`);
      simulation.count(`backup: ${code}`);
      if (!LATE.includes(code)) throw error;
      return undefined;
    } finally {
      if (held?.everLapsed() === true) simulation.count("leases lapsed");
    }
  }

  #spawnMaintainer(name: string, rounds: number): void {
    const { simulation } = this;
    const { numbers } = simulation;
    const actor = this.#actor(name, numbers.pick([0, 0, 0, 4 * MINUTE, -4 * MINUTE, HOUR, -6 * HOUR]));
    actor.traps = traps(numbers, MAINTAINER_TRAPS, simulation.chance(0.7) ? 1 + numbers.below(2) : 0);
    let left = rounds;
    actor.onKilled = () => {
      simulation.count("killed maintainer");
      this.#maintaining.delete(actor);
      if (left > 0) this.#spawnMaintainer(`${name}'`, left);
    };
    simulation.spawn(actor, async () => {
      const { clock } = this.#repositoryOptions(actor);
      for (; left > 0; left--) {
        await clock.sleep(numbers.pick([0, 10 * MINUTE, 2 * HOUR, 20 * HOUR, 73 * HOUR, 80 * HOUR, 80 * HOUR, 31 * DAY]));
        const repository = await this.#repositoryOf(actor);
        if (simulation.chance(0.6)) await this.#retain(actor, repository);
        if (simulation.chance(0.15)) await this.#maintain(actor, "repair", () => this.#repair(actor, repository));
        else await this.#maintain(actor, "prune", () => this.#prune(actor, repository));
        await this.#look(`after ${actor.name} maintained`);
      }
    });
  }

  /** Deletes a few snapshots, never the newest of a writer. */
  async #retain(actor: Actor, repository: Repository): Promise<void> {
    const { simulation } = this;
    const newest = new Map(
      [...this.#attempts].filter(([, { state }]) => state === "committed").map(([id, { writer }]) => [writer, id]),
    );
    const chosen = [...this.#attempts].filter(
      ([id, { state, writer }]) => state === "committed" && newest.get(writer) !== id && simulation.chance(0.6),
    );
    if (chosen.length === 0) return;
    for (const [, attempt] of chosen) attempt.state = "deleting";
    try {
      await deleteSnapshots(
        repository,
        chosen.map(([id]) => id),
      );
      for (const [, attempt] of chosen) attempt.state = "deleted";
      simulation.note(`${actor.name}: deleted ${chosen.map(([id]) => id.slice(0, 8)).join(" ")}`);
      simulation.count("retentions");
    } catch (error) {
      // Not listed yet: nothing was deleted.
      if (codeOf(error) !== "snapshot_missing" || this.#options.listing === "strong") throw error;
      for (const [, attempt] of chosen) attempt.state = "committed";
      simulation.count("retention: snapshot_missing");
    }
  }

  async #maintain(actor: Actor, what: string, act: () => Promise<void>): Promise<void> {
    const { simulation } = this;
    try {
      await act();
      simulation.count(`${what}s`);
    } catch (error) {
      const code = codeOf(error);
      simulation.note(`${actor.name}: ${what} ended with ${code}`);
      simulation.count(`${what}: ${code}`);
      const lagging = this.#options.listing === "eventual" || actor.disturbed;
      if (!REFUSED.includes(code) && !(lagging && LATE.includes(code))) throw error;
      if (code === "clock_unreliable") actor.offsetMs = 0;
    } finally {
      this.#maintaining.delete(actor);
    }
  }

  async #prune(actor: Actor, repository: Repository): Promise<void> {
    const { simulation } = this;
    const immediate = this.#options.listing === "strong" && simulation.chance(0.4);
    simulation.note(`${actor.name}: prunes${immediate ? " at once" : ""}`);
    if (immediate) this.#immediate++;
    const report = await pruneRepository(
      repository,
      pruneOptions({ immediate, maxUnused: simulation.numbers.pick([0, 0.05]), compression: { type: "zstd", level: 1 } }),
      {
        onBoundary: (name) => {
          if (name === "after lease") this.#takes(actor);
          if (name === "before release") this.#maintaining.delete(actor);
        },
      },
    );
    simulation.note(
      `${actor.name}: pruned, ${report.packsCondemned} condemned, ${report.packsDeleted} deleted, ${report.packsRepacked} repacked`,
    );
    if (report.packsDeleted > 0) simulation.count(immediate ? "sweeps at once" : "sweeps");
    if (report.packsCondemned > 0) simulation.count("condemnations");
    if (report.packsRepacked > 0) simulation.count("repacks");
    if (report.notes.some((note) => note.includes("condemned packs stay"))) simulation.count("refused sweeps");
  }

  /** A maintenance lease was taken: another maintainer can only be one that lost its own. */
  #takes(actor: Actor): void {
    for (const other of this.#maintaining) {
      assert.ok(other.disturbed || actor.disturbed, `${actor.name} and ${other.name} maintain at the same time`);
      this.simulation.count("steals");
    }
    this.#maintaining.add(actor);
  }

  async #repair(actor: Actor, repository: Repository): Promise<void> {
    const report = await repairRepository(repository, {
      index: this.simulation.chance(0.5),
      packs: this.simulation.chance(0.3) ? "all" : [],
      onProgress: () => undefined,
      signal: new AbortController().signal,
    });
    this.simulation.note(`${actor.name}: repaired, ${report.reasons.join("; ")}`);
    if (report.rebuilt !== undefined) this.simulation.count("rebuilds");
    assert.deepEqual(report.marked, [], "A repair marks packs that are whole");
  }

  // --- What must hold

  /** Every snapshot that was reported and not deleted restores, if anything was deleted since the last look. */
  async #look(when: string): Promise<void> {
    if (this.#unseenDeletions === 0) return;
    this.#unseenDeletions = 0;
    this.simulation.count("looks");
    const repository = await this.#openTrue();
    const listed = new Map((await listSnapshots(repository)).map((snapshot) => [snapshot.id, snapshot]));
    for (const [id, { state, files }] of this.#attempts) {
      if (state !== "committed") continue;
      const snapshot = listed.get(id);
      assert.ok(snapshot !== undefined, `${when}: snapshot ${id.slice(0, 8)} is not there`);
      await this.#restores(repository, snapshot, files, when);
    }
  }

  async #restores(repository: Repository, snapshot: Parameters<typeof restore>[1], files: Files, when: string): Promise<void> {
    let restored: Files;
    try {
      restored = await restore(repository, snapshot);
    } catch (error) {
      throw new Error(`${when}: snapshot ${snapshot.id.slice(0, 8)} cannot be restored: ${String(error)}`, { cause: error });
    }
    assert.deepEqual([...restored.keys()].toSorted(), [...files.keys()].toSorted(), when);
    for (const [path, bytes] of restored) assert.ok(bytes.equals(files.get(path) as Buffer), `${when}: ${path} is as it was`);
  }

  async #judge(when: string, kept: Iterable<Repository> = []): Promise<void> {
    const repository = await this.#openTrue();
    const snapshots = await listSnapshots(repository);
    const listed = new Set(snapshots.map(({ id }) => id));
    for (const [id, { state }] of this.#attempts) {
      if (state === "committed") assert.ok(listed.has(id), `${when}: the committed snapshot ${id.slice(0, 8)} is gone`);
      if (state === "deleted" || state === "failed")
        assert.ok(!listed.has(id), `${when}: the ${state} snapshot ${id.slice(0, 8)} is there`);
    }
    for (const snapshot of snapshots)
      for (const reader of [repository, ...kept])
        await this.#restores(reader, snapshot, (this.#attempts.get(snapshot.id) as Attempt).files, when);
    const { damage } = await verifyRepository(repository, verifyOptions());
    assert.deepEqual(damage, [], `${when}: verify is clean`);
  }

  /** Nothing lives any more and nothing lags: all is well, a backup and two prunes work at once, and all is still well. */
  async #finale(): Promise<void> {
    const { simulation } = this;
    simulation.note("finale");
    // Past every lease, and every clock that was ahead.
    simulation.nowMs += 40 * HOUR;
    const kept = [...this.#kept].filter(([actor]) => !actor.dead).map(([, repository]) => repository);
    await this.#judge("at the end", kept);
    const files = filesOf(simulation);
    await simulatedBackup(await this.#openTrue(), files, {
      source: "writer-c",
      previous: undefined,
      onId: (id) => this.#attempts.set(id, { files, writer: "writer-c", state: "committed" }),
      onLease: () => undefined,
      onAdopted: () => undefined,
    });
    for (let round = 0; round < 2; round++) {
      await pruneRepository(await this.#openTrue(), pruneOptions({ maxUnused: 0 }));
      simulation.nowMs += GRACE + HOUR;
    }
    await this.#judge("after the last prune", kept);
  }

  // --- Surroundings

  #onChange(verb: "put" | "delete", name: string, bytes: Uint8Array): void {
    if (verb === "put" && name.startsWith("condemned/") && this.#observer !== undefined) {
      const { packs } = decodeCondemned(this.#observer.sealer.openObject(KIND.condemned, bytes));
      for (const pack of packs) if (!this.#condemnedMs.has(pack)) this.#condemnedMs.set(pack, this.simulation.nowMs);
    }
    if (verb === "delete" && name.startsWith("packs/")) {
      this.#unseenDeletions++;
      const condemnedMs = this.#condemnedMs.get(name.slice("packs/xx/".length));
      if (condemnedMs === undefined) this.#violation ??= new Error(`${name} was deleted and never condemned`);
      else if (this.#immediate === 0 && this.simulation.nowMs - condemnedMs < GRACE)
        this.#violation ??= new Error(
          `${name} was deleted ${(this.simulation.nowMs - condemnedMs) / HOUR} h after its condemnation`,
        );
    }
  }

  #actor(name: string, offsetMs: number): Actor {
    const actor = new Actor(name);
    actor.offsetMs = offsetMs;
    actor.weight = this.simulation.numbers.pick([1, 1, 3, 10]);
    actor.renews = !this.simulation.chance(0.1);
    actor.disturbed = !actor.renews;
    return actor;
  }

  #repositoryOptions(actor: Actor | undefined): RepositoryOptions {
    const { simulation } = this;
    const target =
      actor === undefined
        ? gatedTarget(this.#store, async (_verb, _name, perform) => perform(), true)
        : gatedTarget(this.#store, simulation.gateOf(actor));
    return {
      name: "shared",
      access: accessHere(target, this.#random),
      clock: simulation.clockOf(actor ?? new Actor("observer")),
      random: this.#random,
      host: actor?.name ?? "observer",
      packBytes: PACK_BYTES,
      onCommitBoundary: (name) => {
        if (name === "after copy out") simulation.count("copy-outs");
      },
    };
  }

  async #openTrue(): Promise<Repository> {
    const repository = await Repository.open(this.#repositoryOptions(undefined), [UNLOCK]);
    await repository.loadIndex(failDamaged);
    return repository;
  }

  /** Like a daemon some keep it open, others open it for each run. */
  async #repositoryOf(actor: Actor): Promise<Repository> {
    const known = this.#kept.get(actor);
    if (known !== undefined && this.simulation.chance(0.6)) return known;
    const repository = await Repository.open(this.#repositoryOptions(actor), [UNLOCK]);
    await repository.loadIndex(failDamaged);
    this.#kept.set(actor, repository);
    return repository;
  }
}

function failDamaged(id: string, error: unknown): never {
  throw new Error(`index object ${id} is damaged`, { cause: error });
}

/** A few files out of a small stock, so that writers share most of their chunks and none has all of another. */
function filesOf({ numbers }: Simulation): Files {
  const files = new Map<string, Buffer>();
  const count = 2 + numbers.below(4);
  for (let i = 0; i < count; i++) {
    const seed = numbers.below(8);
    files.set(`d${seed % 2}/f${seed}`, noise(seed, 3000 + seed * 3500));
  }
  return files;
}

/** Bytes that the seed decides. */
function seededRandom(seed: string): Randomness {
  let blocks = 0;
  return {
    bytes: (length) => {
      const parts: Buffer[] = [];
      for (let have = 0; have < length; have += 64) parts.push(createHash("sha512").update(`${seed} ${blocks++}`).digest());
      return new Uint8Array(Buffer.concat(parts).subarray(0, length));
    },
  };
}
