/**
 * The target of an interleaving: objects in memory, and for each actor a view whose every call waits until the scheduler lets
 * it through. With an eventual listing a new object is listed, and a deleted one is left out, only after a while of its own;
 * `get` and `stat` by name are always true, as on every store that Holdfast knows.
 */
import { HoldfastError } from "../../src/base/errors.ts";
import { assertObjectName, assertPrefix } from "../../src/targets/names.ts";
import type { GetOptions, ObjectStat, Target, TargetCapabilities } from "../../src/targets/target.ts";
import type { TargetVerb } from "../../src/targets/wrap/wrapped-target.ts";

interface StoredObject {
  readonly bytes: Uint8Array;
  readonly modifiedMs: number;
  readonly listedFromMs: number;
}

export interface SimulatedStoreOptions {
  /** Told of every object that is put or deleted. */
  readonly onChange: (verb: "put" | "delete", name: string, bytes: Uint8Array) => void;
  readonly listing: "strong" | "eventual";
  /** The target's own clock. */
  readonly now: () => number;
  /** How long after a put or delete listings tell of it, ms; asked once for each. */
  readonly lagMs: () => number;
}

/** What the target holds, for all actors together. */
export class SimulatedStore {
  readonly objects = new Map<string, StoredObject>();
  /** Deleted objects that listings still show, and until when. */
  readonly #ghosts = new Map<string, { readonly object: StoredObject; readonly untilMs: number }>();
  readonly #options: SimulatedStoreOptions;
  readonly capabilities: TargetCapabilities;

  constructor(options: SimulatedStoreOptions) {
    this.#options = options;
    this.capabilities = {
      listing: options.listing,
      objectTimes: true,
      versions: false,
      immutability: false,
      // Little at once, so that there are few orders in which nothing differs.
      concurrency: 3,
    };
  }

  /** Names in a folder, true at this moment. */
  names(folder: string): string[] {
    return [...this.objects.keys()].filter((name) => name.startsWith(`${folder}/`));
  }

  put(name: string, parts: readonly Uint8Array[]): void {
    const bytes = new Uint8Array(Buffer.concat(parts));
    const known = this.objects.get(name);
    if (known !== undefined) {
      if (Buffer.compare(known.bytes, bytes) === 0) return;
      throw new HoldfastError("target_exists", `${name} exists with other content`);
    }
    const now = this.#options.now();
    this.objects.set(name, { bytes, modifiedMs: now, listedFromMs: now + this.#lagMs() });
    this.#options.onChange("put", name, bytes);
  }

  get(name: string, range: GetOptions["range"]): Uint8Array {
    const bytes = this.objects.get(name)?.bytes;
    if (bytes === undefined) throw new HoldfastError("target_missing_object", `There is no object ${name}`);
    const { offset, length } = range ?? { offset: 0, length: bytes.length };
    if (offset + length > bytes.length)
      throw new HoldfastError("object_damaged", `The object ${name} ends after ${bytes.length} bytes`);
    return bytes.slice(offset, offset + length);
  }

  stat(name: string): ObjectStat | undefined {
    const object = this.objects.get(name);
    return object === undefined ? undefined : statOf(name, object);
  }

  /** As a listing shows it now, or with `truth` as it is. */
  list(prefix: string, truth = false): ObjectStat[] {
    const now = this.#options.now();
    const listed = [...this.objects].filter(
      ([name, { listedFromMs }]) => name.startsWith(prefix) && (truth || listedFromMs <= now),
    );
    const stats = listed.map(([name, object]) => statOf(name, object));
    if (truth) return stats;
    for (const [name, { object, untilMs }] of this.#ghosts)
      if (name.startsWith(prefix) && untilMs > now && !this.objects.has(name)) stats.push(statOf(name, object));
    return stats;
  }

  delete(name: string): void {
    const object = this.objects.get(name);
    if (object === undefined) return;
    this.objects.delete(name);
    this.#options.onChange("delete", name, object.bytes);
    const now = this.#options.now();
    const lagMs = this.#lagMs();
    // What was never listed does not appear after its end.
    if (lagMs > 0 && object.listedFromMs <= now) this.#ghosts.set(name, { object, untilMs: now + lagMs });
  }

  #lagMs(): number {
    return this.#options.listing === "strong" ? 0 : this.#options.lagMs();
  }
}

function statOf(name: string, { bytes, modifiedMs }: StoredObject): ObjectStat {
  return { name, sizeBytes: bytes.length, modifiedMs };
}

/** Lets one call through when it is its turn: `perform` is what the target does, at once. */
export type Gate = <T>(verb: TargetVerb, name: string, perform: () => T) => Promise<T>;

/** One actor's way to the store; with `truth` of somebody who need not wait for listings. */
export function gatedTarget(store: SimulatedStore, gate: Gate, truth = false): Target {
  return {
    capabilities: truth ? { ...store.capabilities, listing: "strong" } : store.capabilities,
    put: (name, parts) => {
      assertObjectName(name);
      return gate("put", name, () => store.put(name, parts));
    },
    get: (name, options) => {
      assertObjectName(name);
      return gate("get", name, () => store.get(name, options?.range));
    },
    stat: (name) => {
      assertObjectName(name);
      return gate("stat", name, () => store.stat(name));
    },
    list: (prefix) => {
      assertPrefix(prefix);
      return gate("list", prefix, () => store.list(prefix, truth));
    },
    delete: (name) => {
      assertObjectName(name);
      return gate("delete", name, () => store.delete(name));
    },
    capacity: () => Promise.resolve(undefined),
    cleanUp: () => Promise.resolve(0),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
