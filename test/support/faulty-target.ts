import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { throwIfAborted } from "../../src/base/abort.ts";
import type { ObjectStat, Target } from "../../src/targets/target.ts";
import { WrappedTarget, type TargetCall, type TargetVerb } from "../../src/targets/wrap/wrapped-target.ts";

/** What goes wrong. Truncations keep the first `keepBytes`. */
export type FaultKind =
  /** The call rejects: before it reached the target, or after the target did it (the answer was lost). */
  | { readonly kind: "error"; readonly error: unknown; readonly when?: "before" | "after" }
  /** A put reports success and stores nothing, or only the first bytes. */
  | { readonly kind: "lie"; readonly keepBytes?: number }
  /** A get returns only the first bytes. */
  | { readonly kind: "truncate"; readonly keepBytes: number }
  /** A get returns its bytes with one bit flipped. */
  | { readonly kind: "flip"; readonly offset: number }
  /** A list leaves out what `omit` chooses. */
  | { readonly kind: "omit"; readonly omit: (object: ObjectStat, index: number) => boolean }
  /** The call is made after a real delay, or when a promise resolves. */
  | { readonly kind: "delay"; readonly until: number | Promise<unknown> }
  /** The call never answers; only its signal ends it. */
  | { readonly kind: "hang" };

export type QueuedFault = FaultKind & {
  readonly verb: TargetVerb;
  /** Only calls whose name or prefix matches count. */
  readonly name?: RegExp;
  /** Which of the calls it counts, from 1. Default 1. */
  readonly nth?: number;
};

/**
 * A target whose calls go wrong as queued. Each fault fires once, and a call counts only for the first waiting fault
 * that it matches: two faults of one verb meet two calls, and the second counts from the firing of the first.
 */
export class FaultyTarget extends WrappedTarget {
  readonly #queue: { readonly fault: QueuedFault; left: number }[] = [];
  #fired = 0;

  constructor(inner: Target, faults: readonly QueuedFault[] = []) {
    super(inner);
    for (const fault of faults) this.queue(fault);
  }

  /** How many faults have fired. */
  get fired(): number {
    return this.#fired;
  }

  queue(fault: QueuedFault): this {
    this.#queue.push({ fault, left: fault.nth ?? 1 });
    return this;
  }

  /** Fails the test when a queued fault has not fired: it did not test what it meant to. */
  assertAllFired(): void {
    const left = this.#queue.map(({ fault, left }) => `${fault.kind} of ${fault.verb} (${left} calls away)`);
    assert.deepEqual(left, [], "Queued faults that never fired");
  }

  protected async around<T>(call: TargetCall, perform: () => Promise<T>): Promise<T> {
    const fault = this.#due(call);
    return fault === undefined ? perform() : ((await this.#spoil(fault, call, perform)()) as T);
  }

  /** The first waiting fault that this call counts for, when its count is reached. */
  #due(call: TargetCall): QueuedFault | undefined {
    const waiting = this.#queue.find(({ fault }) => fault.verb === call.verb && (fault.name?.test(call.name) ?? true));
    if (waiting === undefined || --waiting.left > 0) return undefined;
    this.#queue.splice(this.#queue.indexOf(waiting), 1);
    this.#fired++;
    return waiting.fault;
  }

  #spoil(fault: QueuedFault, call: TargetCall, run: () => Promise<unknown>): () => Promise<unknown> {
    switch (fault.kind) {
      case "error":
        return async () => {
          if (fault.when === "after") await run();
          throw fault.error;
        };
      case "lie":
        return async () => {
          assert(call.parts !== undefined, "Only a put can lie");
          const { keepBytes } = fault;
          if (keepBytes === undefined) return;
          await this.inner.put(call.name, [Buffer.concat(call.parts).subarray(0, keepBytes)], { signal: call.signal });
        };
      case "truncate":
        return async () => bytesOf(await run()).slice(0, fault.keepBytes);
      case "flip":
        return async () => {
          const bytes = bytesOf(await run());
          assert(fault.offset < bytes.length, "The flipped byte lies within the answer");
          bytes[fault.offset] = (bytes[fault.offset] as number) ^ 1;
          return bytes;
        };
      case "omit":
        return async () => ((await run()) as ObjectStat[]).filter((object, index) => !fault.omit(object, index));
      case "delay":
        return async () => {
          await Promise.race([typeof fault.until === "number" ? delay(fault.until) : fault.until, aborted(call.signal)]);
          return run();
        };
      case "hang":
        return () => aborted(call.signal);
    }
  }
}

function bytesOf(result: unknown): Uint8Array {
  assert(result instanceof Uint8Array, "Only a get returns bytes");
  return result;
}

/** Rejects with the signal's reason when it fires. */
function aborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise<never>((_, reject) => {
    try {
      throwIfAborted(signal);
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    } catch (error) {
      reject(error);
    }
  });
}
