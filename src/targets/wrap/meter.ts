import type { Clock } from "../../base/clock.ts";
import type { Target } from "../target.ts";
import { TARGET_VERBS, WrappedTarget, sizeOfParts, type TargetCall, type TargetVerb } from "./wrapped-target.ts";

/** What one kind of call cost. */
export interface VerbMeter {
  readonly requests: number;
  readonly failures: number;
  /** Sum of the durations of ended calls, and the longest one. */
  readonly durationMs: number;
  readonly maxDurationMs: number;
}

/** A plain copy of all counters, for metrics and for the report of a run. */
export interface MeterSnapshot {
  readonly verbs: Readonly<Record<TargetVerb, VerbMeter>>;
  readonly requests: number;
  readonly failures: number;
  /** Bytes of puts that succeeded. */
  readonly bytesPut: number;
  /** Bytes that gets returned. */
  readonly bytesGot: number;
  readonly inFlight: number;
  readonly maxInFlight: number;
}

type Counters = { -readonly [Key in keyof VerbMeter]: VerbMeter[Key] };

/** Counts calls, failures, bytes, durations and calls in flight; changes nothing. Counters only grow. */
export class MeterTarget extends WrappedTarget {
  readonly #clock: Clock;
  readonly #verbs: Record<TargetVerb, Counters>;
  #bytesPut = 0;
  #bytesGot = 0;
  #inFlight = 0;
  #maxInFlight = 0;

  constructor(inner: Target, options: { readonly clock: Clock }) {
    super(inner);
    this.#clock = options.clock;
    const zero = (): Counters => ({ requests: 0, failures: 0, durationMs: 0, maxDurationMs: 0 });
    this.#verbs = Object.fromEntries(TARGET_VERBS.map((verb) => [verb, zero()])) as Record<TargetVerb, Counters>;
  }

  snapshotMeter(): MeterSnapshot {
    const all = Object.values(this.#verbs);
    return {
      verbs: structuredClone(this.#verbs),
      requests: all.reduce((sum, verb) => sum + verb.requests, 0),
      failures: all.reduce((sum, verb) => sum + verb.failures, 0),
      bytesPut: this.#bytesPut,
      bytesGot: this.#bytesGot,
      inFlight: this.#inFlight,
      maxInFlight: this.#maxInFlight,
    };
  }

  protected async around<T>(call: TargetCall, perform: () => Promise<T>): Promise<T> {
    const counters = this.#verbs[call.verb];
    // Before the call: a transfer leaves the parts with length 0.
    const putBytes = sizeOfParts(call.parts ?? []);
    const startMs = this.#clock.monotonic();
    counters.requests++;
    this.#maxInFlight = Math.max(this.#maxInFlight, ++this.#inFlight);
    try {
      const result = await perform();
      this.#bytesPut += putBytes;
      if (result instanceof Uint8Array) this.#bytesGot += result.length;
      return result;
    } catch (error) {
      counters.failures++;
      throw error;
    } finally {
      this.#inFlight--;
      const durationMs = this.#clock.monotonic() - startMs;
      counters.durationMs += durationMs;
      counters.maxDurationMs = Math.max(counters.maxDurationMs, durationMs);
    }
  }
}
