import { throwIfAborted } from "../../base/abort.ts";
import type { Clock } from "../../base/clock.ts";
import { Pacer } from "../../base/pacer.ts";
import type { Target, TargetCapabilities } from "../target.ts";
import { WrappedTarget, sizeOfParts, type TargetCall } from "./wrapped-target.ts";

/** Bounds on the use of a target; what is undefined is unbounded. */
export interface TargetLimits {
  /** Calls in flight at a time, at least 1. */
  readonly connections?: number | undefined;
  readonly uploadBytesPerSecond?: number | undefined;
  readonly downloadBytesPerSecond?: number | undefined;
}

/**
 * Bounds calls in flight and bytes per second. Objects travel whole, so the rate is kept between calls, not within
 * one: a call starts when the bytes before it are worked off, and its own delay those after it; the bytes of a get
 * without a range count once they are known. Waiting is first come
 * first served and ends with `signal.reason`. `setLimits` changes the bounds for calls that have not begun.
 */
export class LimitTarget extends WrappedTarget {
  readonly #upload: Pacer;
  readonly #download: Pacer;
  readonly #waiting: (() => void)[] = [];
  #limits: TargetLimits;
  #running = 0;

  constructor(inner: Target, options: TargetLimits & { readonly clock: Clock }) {
    super(inner);
    this.#limits = options;
    this.#upload = new Pacer(options.clock, options.uploadBytesPerSecond);
    this.#download = new Pacer(options.clock, options.downloadBytesPerSecond);
  }

  override get capabilities(): TargetCapabilities {
    const inner = this.inner.capabilities;
    return { ...inner, concurrency: Math.min(inner.concurrency, this.#limits.connections ?? Number.POSITIVE_INFINITY) };
  }

  setLimits(limits: TargetLimits): void {
    this.#limits = limits;
    this.#upload.setRate(limits.uploadBytesPerSecond);
    this.#download.setRate(limits.downloadBytesPerSecond);
    this.#admit();
  }

  protected async around<T>(call: TargetCall, perform: () => Promise<T>): Promise<T> {
    await this.#enter(call.signal);
    try {
      if (call.verb === "put") await this.#upload.turn(sizeOfParts(call.parts ?? []), call.signal);
      else if (call.verb === "get") await this.#download.turn(call.rangeBytes ?? 0, call.signal);
      const result = await perform();
      if (call.rangeBytes === undefined && result instanceof Uint8Array) this.#download.pay(result.length);
      return result;
    } finally {
      this.#running--;
      this.#admit();
    }
  }

  async #enter(signal: AbortSignal | undefined): Promise<void> {
    throwIfAborted(signal);
    if (this.#running < this.#connections && this.#waiting.length === 0) {
      this.#running++;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(admitted), 1);
        reject(signal?.reason);
      };
      const admitted = (): void => {
        signal?.removeEventListener("abort", onAbort);
        this.#running++;
        resolve();
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.push(admitted);
    });
  }

  get #connections(): number {
    return Math.max(1, this.#limits.connections ?? Number.POSITIVE_INFINITY);
  }

  #admit(): void {
    while (this.#running < this.#connections && this.#waiting.length > 0) this.#waiting.shift()?.();
  }
}
