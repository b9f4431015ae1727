import { setTimeout as delay } from "node:timers/promises";
import { throwIfAborted } from "../../src/base/abort.ts";
import { HoldfastError } from "../../src/base/errors.ts";
import { assertObjectName, assertPrefix } from "../../src/targets/names.ts";
import type {
  CallOptions,
  GetOptions,
  ObjectStat,
  Target,
  TargetCapabilities,
  TargetCapacity,
} from "../../src/targets/target.ts";
import { TARGET_VERBS, type TargetVerb } from "../../src/targets/wrap/wrapped-target.ts";

export interface MemoryTargetOptions {
  /** Real delay of every request, ms; requests overlap. Default 0: a turn of the event loop. */
  readonly latencyMs?: number;
  readonly listing?: "strong" | "eventual";
  /** With an eventual listing: how many later requests it takes until a new object is listed. Default: only `settle()`. */
  readonly visibleAfter?: number;
  /** The target's own clock, which may differ from the program's. `null`: it has no object times. Default `Date.now`. */
  readonly now?: (() => number) | null;
  /** Puts beyond this many bytes in all are `target_full`. */
  readonly capacityBytes?: number;
  readonly concurrency?: number;
}

export interface MemoryObject {
  /** The stored bytes; tests may change or replace them. */
  bytes: Uint8Array;
  modifiedMs: number;
  /** Number of the request that stored it. */
  storedAt: number;
}

/** A target in memory that keeps the whole contract, and whose objects tests may look at, damage and remove. */
export class MemoryTarget implements Target {
  readonly objects = new Map<string, MemoryObject>();
  readonly requests: Record<TargetVerb, number> = Object.fromEntries(TARGET_VERBS.map((verb) => [verb, 0])) as Record<
    TargetVerb,
    number
  >;
  readonly capabilities: TargetCapabilities;
  maxInFlight = 0;
  disposals = 0;
  readonly #options: MemoryTargetOptions;
  #inFlight = 0;
  #requestCount = 0;
  #settledAt = 0;

  constructor(options: MemoryTargetOptions = {}) {
    this.#options = options;
    this.capabilities = {
      listing: options.listing ?? "strong",
      objectTimes: options.now !== null,
      versions: false,
      immutability: false,
      concurrency: options.concurrency ?? 64,
    };
  }

  /** Bytes of all objects. */
  get storedBytes(): number {
    let total = 0;
    for (const { bytes } of this.objects.values()) total += bytes.length;
    return total;
  }

  /** Makes every object visible to listings. */
  settle(): void {
    this.#settledAt = this.#requestCount;
  }

  /** Flips one bit of a stored object. */
  corrupt(name: string, offset: number): void {
    const object = this.objects.get(name);
    if (object === undefined) throw new Error(`No object ${name} to corrupt`);
    object.bytes = Uint8Array.from(object.bytes);
    object.bytes[offset] = (object.bytes[offset] as number) ^ 1;
  }

  async put(name: string, parts: readonly Uint8Array[], options: CallOptions = {}): Promise<void> {
    assertObjectName(name);
    await this.#request("put", options.signal, () => {
      const bytes = Uint8Array.from(Buffer.concat(parts));
      const existing = this.objects.get(name);
      if (existing !== undefined) {
        if (Buffer.compare(existing.bytes, bytes) === 0) return;
        throw new HoldfastError("target_exists", `${name} exists with other content`);
      }
      if (this.storedBytes + bytes.length > (this.#options.capacityBytes ?? Number.POSITIVE_INFINITY))
        throw new HoldfastError("target_full", `Cannot store ${name}: no space is left`, { hint: "Free space or prune." });
      this.objects.set(name, { bytes, modifiedMs: this.#now(), storedAt: this.#requestCount });
    });
  }

  async get(name: string, options: GetOptions = {}): Promise<Uint8Array> {
    assertObjectName(name);
    return this.#request("get", options.signal, () => {
      const object = this.objects.get(name);
      if (object === undefined) throw new HoldfastError("target_missing_object", `There is no object ${name}`);
      const { offset, length } = options.range ?? { offset: 0, length: object.bytes.length };
      if (offset + length > object.bytes.length)
        throw new HoldfastError("object_damaged", `The object ${name} ends after ${object.bytes.length} bytes`);
      return object.bytes.slice(offset, offset + length);
    });
  }

  async stat(name: string, options: CallOptions = {}): Promise<ObjectStat | undefined> {
    assertObjectName(name);
    return this.#request("stat", options.signal, () => {
      const object = this.objects.get(name);
      return object === undefined ? undefined : this.#statOf(name, object);
    });
  }

  async list(prefix: string, options: CallOptions = {}): Promise<ObjectStat[]> {
    assertPrefix(prefix);
    return this.#request("list", options.signal, () => {
      const listed = [...this.objects].filter(([name, object]) => name.startsWith(prefix) && this.#isListed(object));
      return listed.map(([name, object]) => this.#statOf(name, object));
    });
  }

  async delete(name: string, options: CallOptions = {}): Promise<void> {
    assertObjectName(name);
    await this.#request("delete", options.signal, () => this.objects.delete(name));
  }

  async capacity(options: CallOptions = {}): Promise<TargetCapacity | undefined> {
    return this.#request("capacity", options.signal, () => {
      const totalBytes = this.#options.capacityBytes;
      return totalBytes === undefined ? undefined : { totalBytes, freeBytes: totalBytes - this.storedBytes };
    });
  }

  async cleanUp(_olderThanMs: number, options: CallOptions = {}): Promise<number> {
    return this.#request("cleanUp", options.signal, () => 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disposals++;
  }

  async #request<T>(verb: TargetVerb, signal: AbortSignal | undefined, perform: () => T): Promise<T> {
    throwIfAborted(signal);
    this.requests[verb]++;
    this.#requestCount++;
    this.maxInFlight = Math.max(this.maxInFlight, ++this.#inFlight);
    try {
      await delay(this.#options.latencyMs ?? 0, undefined, { signal });
      return perform();
    } catch (error) {
      throwIfAborted(signal);
      throw error;
    } finally {
      this.#inFlight--;
    }
  }

  #now(): number {
    return this.#options.now ? this.#options.now() : Date.now();
  }

  #statOf(name: string, object: MemoryObject): ObjectStat {
    return { name, sizeBytes: object.bytes.length, modifiedMs: this.capabilities.objectTimes ? object.modifiedMs : undefined };
  }

  #isListed(object: MemoryObject): boolean {
    if (this.capabilities.listing === "strong" || object.storedAt <= this.#settledAt) return true;
    return this.#requestCount - object.storedAt > (this.#options.visibleAfter ?? Number.POSITIVE_INFINITY);
  }
}
