import assert from "node:assert/strict";
import { throwIfAborted } from "../../base/abort.ts";
import type { Clock } from "../../base/clock.ts";
import { HoldfastError } from "../../base/errors.ts";
import type { Randomness } from "../../base/random.ts";
import type { Target } from "../target.ts";
import { WrappedTarget, sizeOfParts, type TargetCall, type TargetVerb } from "./wrapped-target.ts";

export interface RetryOptions {
  readonly clock: Clock;
  readonly random: Randomness;
  /** Tries of one call, the first included. Default 8. */
  readonly attempts?: number | undefined;
  /** Upper bound of the first delay; it doubles with every try. Default 500 ms. */
  readonly baseDelayMs?: number | undefined;
  /** Upper bound of any delay. Default 30 s. */
  readonly maxDelayMs?: number | undefined;
  /** No delay is begun that would end later than this after the call began. Default 15 minutes. */
  readonly budgetMs?: number | undefined;
  /** Told before every delay. Must not throw. */
  readonly onRetry?: ((retry: RetryNotice) => void) | undefined;
}

export interface RetryNotice {
  readonly verb: TargetVerb;
  readonly name: string;
  /** Which try failed, from 1. */
  readonly attempt: number;
  readonly delayMs: number;
  readonly error: HoldfastError;
}

/**
 * Repeats calls that failed with a transient error: exponential backoff with full jitter, bounded by tries and by time.
 * The only place that reads `transient`. A target that asks for a pause (`data.retryAfterMs`) gets at least that. A put
 * whose retry finds the object is a success when the bytes are the same: the first try had arrived. A put whose parts
 * were transferred away is not repeated. The last error is the one thrown, unchanged.
 */
export class RetryTarget extends WrappedTarget {
  readonly #options: RetryOptions;

  constructor(inner: Target, options: RetryOptions) {
    super(inner);
    this.#options = options;
  }

  /** Where the driver has it. Beginning holds nothing yet and is repeated; what was begun goes on by itself. */
  get begin(): Target["begin"] {
    const begin = this.inner.begin?.bind(this.inner);
    if (begin === undefined) return undefined;
    return (options) =>
      this.around({ verb: "put", name: "", signal: options?.signal, parts: undefined, rangeBytes: undefined }, () =>
        begin(options),
      );
  }

  protected async around<T>(call: TargetCall, perform: () => Promise<T>): Promise<T> {
    const { clock, attempts = 8, budgetMs = 15 * 60_000, onRetry } = this.#options;
    const startMs = clock.monotonic();
    for (let attempt = 1; ; attempt++) {
      throwIfAborted(call.signal);
      try {
        return await perform();
      } catch (error) {
        throwIfAborted(call.signal);
        if (attempt > 1 && (await this.#arrivedBefore(call, error))) return undefined as T;
        if (!(error instanceof HoldfastError) || !error.transient || attempt >= attempts || isDetached(call)) throw error;
        const delayMs = Math.max(this.#jitter(attempt), pauseAskedFor(error));
        if (clock.monotonic() + delayMs - startMs > budgetMs) throw error;
        onRetry?.({ verb: call.verb, name: call.name, attempt, delayMs, error });
        await clock.sleep(delayMs, call.signal);
      }
    }
  }

  /** Uniform between 0 and the bound of this try, so that clients which failed together do not come back together. */
  #jitter(attempt: number): number {
    const { random, baseDelayMs = 500, maxDelayMs = 30_000 } = this.#options;
    const bytes = random.bytes(4);
    assert(bytes.length === 4);
    const fraction = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0) / 2 ** 32;
    return Math.floor(fraction * Math.min(maxDelayMs, baseDelayMs * 2 ** (attempt - 1)));
  }

  /** For drivers that cannot compare: a retried put that meets an object looks whether it is the one it sent. */
  async #arrivedBefore(call: TargetCall, error: unknown): Promise<boolean> {
    if (call.parts === undefined || !(error instanceof HoldfastError) || error.code !== "target_exists") return false;
    const options = { signal: call.signal };
    const stat = await this.inner.stat(call.name, options);
    if (stat?.sizeBytes !== sizeOfParts(call.parts)) return false;
    const stored = await this.inner.get(call.name, options);
    let offset = 0;
    for (const part of call.parts) {
      if (Buffer.compare(stored.subarray(offset, offset + part.length), part) !== 0) return false;
      offset += part.length;
    }
    return offset === stored.length;
  }
}

function pauseAskedFor(error: HoldfastError): number {
  const asked = error.data?.["retryAfterMs"];
  return typeof asked === "number" && asked > 0 ? asked : 0;
}

function isDetached(call: TargetCall): boolean {
  return call.parts?.some((part) => part.buffer instanceof ArrayBuffer && part.buffer.detached) ?? false;
}
