import type { CallOptions, GetOptions, ObjectStat, Target, TargetCapabilities, TargetCapacity } from "../target.ts";

/** The calls of a target, as meters and messages name them. */
export const TARGET_VERBS = ["put", "get", "stat", "list", "delete", "capacity", "cleanUp"] as const;
export type TargetVerb = (typeof TARGET_VERBS)[number];

/** One call on its way to the wrapped target. */
export interface TargetCall {
  readonly verb: TargetVerb;
  /** Object name or prefix; empty for calls that concern the whole target. */
  readonly name: string;
  readonly signal: AbortSignal | undefined;
  /** What a put stores; undefined for every other verb. */
  readonly parts: readonly Uint8Array[] | undefined;
  /** Length of the range a get asks for; undefined for whole objects and every other verb. */
  readonly rangeBytes: number | undefined;
}

/**
 * A target around another one: every call goes through `around`, which may wait, repeat, count or refuse, and keeps
 * the contract otherwise. A wrapper owns what it wraps and disposes it.
 */
export abstract class WrappedTarget implements Target {
  protected readonly inner: Target;

  constructor(inner: Target) {
    this.inner = inner;
  }

  get capabilities(): TargetCapabilities {
    return this.inner.capabilities;
  }

  protected abstract around<T>(call: TargetCall, perform: () => Promise<T>): Promise<T>;

  put(name: string, parts: readonly Uint8Array[], options?: CallOptions): Promise<void> {
    const call: TargetCall = { verb: "put", name, signal: options?.signal, parts, rangeBytes: undefined };
    return this.around(call, () => this.inner.put(name, parts, options));
  }

  get(name: string, options?: GetOptions): Promise<Uint8Array> {
    const call: TargetCall = { ...callOf("get", name, options), rangeBytes: options?.range?.length };
    return this.around(call, () => this.inner.get(name, options));
  }

  stat(name: string, options?: CallOptions): Promise<ObjectStat | undefined> {
    return this.around(callOf("stat", name, options), () => this.inner.stat(name, options));
  }

  list(prefix: string, options?: CallOptions): Promise<ObjectStat[]> {
    return this.around(callOf("list", prefix, options), () => this.inner.list(prefix, options));
  }

  delete(name: string, options?: CallOptions): Promise<void> {
    return this.around(callOf("delete", name, options), () => this.inner.delete(name, options));
  }

  capacity(options?: CallOptions): Promise<TargetCapacity | undefined> {
    return this.around(callOf("capacity", "", options), () => this.inner.capacity(options));
  }

  cleanUp(olderThanMs: number, options?: CallOptions): Promise<number> {
    return this.around(callOf("cleanUp", "", options), () => this.inner.cleanUp(olderThanMs, options));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve(this.inner[Symbol.asyncDispose]());
  }
}

/** Bytes in all parts together. */
export function sizeOfParts(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

function callOf(verb: TargetVerb, name: string, options: CallOptions | undefined): TargetCall {
  return { verb, name, signal: options?.signal, parts: undefined, rangeBytes: undefined };
}
