import type { Clock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import type { SecretContext } from "../engine/secrets.ts";
import type { Lookup } from "./guard.ts";

/** What a receiver needs of the world to be told something. */
export interface SendContext {
  readonly clock: Clock;
  readonly secrets: SecretContext;
  readonly lookup: Lookup;
  readonly toolVersion: string;
  readonly timezone: string;
  /** More certificates to trust, PEM; tests put theirs here. */
  readonly trust: string | undefined;
  readonly signal: AbortSignal;
}

/** What a failure says beside its message. */
export interface FailureData {
  /** How long the receiver asks to wait. */
  readonly retryAfterMs?: number;
  /** The receiver says that it is no more. */
  readonly gone?: boolean;
}

export function receiverFailed(label: string, what: string, hint: string, data: FailureData = {}): HoldfastError {
  return new HoldfastError("receiver_failed", `${label} ${what}`, { hint, transient: data.gone !== true, data: { ...data } });
}

/**
 * Does `work` within a time, by the clock given. What `work` leaves behind when the time is over, or the signal fires, must
 * end by its signal; nobody waits for it.
 */
export async function within<T>(
  label: string,
  timeoutMs: number,
  { clock, signal }: SendContext,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const done = new AbortController();
  const late = (): void =>
    over.abort(
      receiverFailed(label, `did not answer within ${timeoutMs / 1000} s`, "Look at the receiver, or allow it more time."),
    );
  clock.sleep(timeoutMs, done.signal).then(late, () => undefined);
  const both = AbortSignal.any([signal, over.signal]);
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(both.reason as Error);
  if (both.aborted) onAbort();
  else both.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([aborted.promise, work(both)]);
  } finally {
    done.abort();
    both.removeEventListener("abort", onAbort);
    aborted.promise.catch(() => undefined);
  }
}
