/**
 * Delivers what the outbox holds, at least once, under the same id each time. Events of one receiver go out in their order, one
 * after the other; receivers do not wait for each other. What fails is tried again later (`retry.ts`), by this process or the
 * next. Secrets are read when something is sent, and kept nowhere.
 */
import type { Clock } from "../base/clock.ts";
import { formatDuration } from "../base/duration.ts";
import { asHoldfastError, HoldfastError } from "../base/errors.ts";
import { randomHex, type Randomness } from "../base/random.ts";
import type { Config } from "../config/config.ts";
import type { SecretContext } from "../engine/secrets.ts";
import { recordInterrupted } from "../engine/run-events.ts";
import { DIGEST, EMAIL, makeEvent, webhookOf, webhookReceiver, type EventDescription } from "../plan/events.ts";
import type { ClaimedDelivery } from "../state/outbox.ts";
import type { State } from "../state/state.ts";
import { systemLookup, type Lookup } from "./guard.ts";
import { checkMail, sendDigest, sendMail, type SentMail } from "./mail.ts";
import { isOver, retryDelayMs } from "./retry.ts";
import type { FailureData, SendContext } from "./sending.ts";
import { checkWebhook, sendWebhook } from "./webhook.ts";

/** Longer than any attempt takes, its secrets included. */
const LEASE_MS = 5 * 60_000;
/** How often other processes' events are looked for. */
const POLL_MS = 15_000;
const FORGET_MS = 3_600_000;
const UNKNOWN_FOR_MS = 3 * 24 * 3_600_000;
/** Events in one digest; what is left over gets another one. */
const DIGEST_EVENTS = 2000;

/** The part of a log that the notifier uses. */
export interface NotifierLog {
  debug(text: string, fields?: Readonly<Record<string, unknown>>): void;
  info(text: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(text: string, fields?: Readonly<Record<string, unknown>>): void;
  error(text: string, fields?: Readonly<Record<string, unknown>>): void;
}

export interface NotifierOptions {
  readonly state: State;
  readonly clock: Clock;
  readonly random: Randomness;
  readonly log: NotifierLog;
  readonly toolVersion: string;
  /** The configuration in force. */
  readonly config: () => Config;
  readonly secrets: () => SecretContext;
  /** Default: the system's. */
  readonly lookup?: Lookup;
  /** More certificates to trust, PEM. */
  readonly trust?: string;
}

/** What became of a bounded delivery. */
export interface Flushed {
  /** True when nothing that is due was left. */
  readonly done: boolean;
}

export class Notifier implements AsyncDisposable {
  readonly #options: NotifierOptions;
  readonly #stop = new AbortController();
  readonly #working = new Map<string, Promise<void>>();
  readonly #stored: Disposable;
  #wake = new AbortController();
  #loop: Promise<void> | undefined;
  #forgottenAt = Number.NEGATIVE_INFINITY;
  #toldOfInterrupted = false;

  constructor(options: NotifierOptions) {
    this.#options = options;
    this.#stored = options.state.outbox.onStored(() => this.#wake.abort());
  }

  /** Stores an event that belongs to no run, for whoever asked for it. Never throws: a state that cannot be written is logged. */
  record(event: Omit<EventDescription, "timeMs" | "run">): void {
    const { state, clock, random, config, log } = this.#options;
    try {
      state.recordEvent(makeEvent(config(), `evt_${randomHex(random, 16)}`, { ...event, timeMs: clock.now() }));
    } catch (error) {
      log.warn(`the event ${event.type} could not be stored: ${asHoldfastError(error).message}`);
    }
  }

  /** Delivers from now on, until it is disposed. */
  start(): void {
    this.#loop ??= this.#run();
  }

  /** Delivers what is due now, and waits for it at most so long, or until `hurry` fires. What has to be tried again is left for later. */
  async flush(waitMs: number, hurry?: AbortSignal): Promise<Flushed> {
    const { clock } = this.#options;
    this.#recordInterrupted();
    const done = new AbortController();
    let over = false;
    const end = (): void => void (over = true);
    const timer = clock.sleep(waitMs, hurry === undefined ? done.signal : AbortSignal.any([done.signal, hurry])).then(end, end);
    try {
      while (!over) {
        this.#sweep();
        if (this.#working.size === 0) return { done: true };
        await Promise.race([timer, Promise.allSettled(this.#working.values())]);
      }
      return { done: false };
    } finally {
      done.abort();
    }
  }

  /** Sends a message that says it is a test, at once and once. Rejects as sending does. */
  async test(receiver: string): Promise<void> {
    const { clock, random, config } = this.#options;
    const event = `evt_${randomHex(random, 16)}`;
    const data = { summary: `This is a test of ${receiver}: nothing has happened`, host: config().host, jobs: [], targets: [] };
    const payload = JSON.stringify({ id: event, type: "test", timestamp: new Date(clock.now()).toISOString(), data });
    await this.#send({ receiver, events: [{ event, payload }] });
  }

  /** What can be known of a receiver without telling it anything; resolves with where it is. Rejects as sending does. */
  async check(receiver: string): Promise<string> {
    const { webhook, email } = this.#receiver(receiver);
    if (webhook !== undefined) return await checkWebhook(webhook, this.#context());
    return await checkMail(email, this.#context());
  }

  /** Ends what is under way; it is sent again by whoever comes next. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stored[Symbol.dispose]();
    this.#stop.abort(new HoldfastError("cancelled", "Stopping"));
    await this.#loop;
    await Promise.allSettled(this.#working.values());
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    this.#recordInterrupted();
    while (!this.#stop.signal.aborted) {
      this.#wake = new AbortController();
      const wait = this.#sweep();
      await clock.sleep(wait, AbortSignal.any([this.#stop.signal, this.#wake.signal])).catch(() => undefined);
    }
  }

  #recordInterrupted(): void {
    if (this.#toldOfInterrupted) return;
    this.#toldOfInterrupted = true;
    const { clock, config, state, log } = this.#options;
    try {
      recordInterrupted(config(), state, clock.now());
    } catch (error) {
      log.warn(`interrupted runs could not be told of: ${asHoldfastError(error).message}`);
    }
  }

  /** Begins to deliver what is due and nobody delivers yet. Returns how long there is nothing to do, in ms. */
  #sweep(): number {
    const { state, clock, config, log } = this.#options;
    const nowMs = clock.now();
    try {
      if (clock.monotonic() - this.#forgottenAt >= FORGET_MS) {
        this.#forgottenAt = clock.monotonic();
        state.outbox.forget(nowMs);
      }
      state.outbox.releaseDead();
      const known = receiversOfConfig(config());
      let wait = POLL_MS;
      for (const { receiver, nextMs } of state.outbox.pending(nowMs)) {
        if (nextMs !== undefined) wait = Math.min(wait, nextMs - nowMs);
        if (!known.has(receiver))
          state.outbox.expire(receiver, nowMs - UNKNOWN_FOR_MS, nowMs, `There is no receiver ${receiver} in the configuration`);
        else if (!this.#working.has(receiver)) this.#begin(receiver);
      }
      return Math.max(0, wait);
    } catch (error) {
      log.warn(`the outbox cannot be read: ${asHoldfastError(error).message}`);
      return POLL_MS;
    }
  }

  #begin(receiver: string): void {
    const first = this.#claim(receiver);
    if (first.length === 0) return;
    const work = this.#deliverAll(receiver, first)
      .catch((error: unknown) => this.#options.log.warn(`${receiver}: ${asHoldfastError(error).message}`))
      .finally(() => {
        this.#working.delete(receiver);
        this.#wake.abort();
      });
    this.#working.set(receiver, work);
  }

  #claim(receiver: string): ClaimedDelivery[] {
    const { state, clock, random } = this.#options;
    return state.outbox.claim(receiver, {
      nowMs: clock.now(),
      leaseMs: LEASE_MS,
      lease: randomHex(random, 16),
      ...(receiver === DIGEST && { limit: DIGEST_EVENTS }),
    });
  }

  async #deliverAll(receiver: string, first: readonly ClaimedDelivery[]): Promise<void> {
    for (let claimed = first; claimed.length > 0; claimed = this.#claim(receiver))
      if (!(await this.#deliver(receiver, claimed)) || this.#stop.signal.aborted) return;
  }

  /** One attempt; false when the receiver is better left alone for a while. */
  async #deliver(receiver: string, claimed: readonly ClaimedDelivery[]): Promise<boolean> {
    const { state, clock, log } = this.#options;
    const [{ type, event, attempts } = { type: "", event: "", attempts: 0 }] = claimed;
    const what = claimed.length === 1 ? type : `${claimed.length} events`;
    try {
      const sent = await this.#send({ receiver, events: claimed });
      for (const one of claimed) state.outbox.delivered(one, clock.now());
      if (sent !== undefined && sent.rejected.length > 0)
        log.warn(`${receiver}: ${what} was not accepted for ${sent.rejected.join(", ")}`, { event });
      log[attempts > 1 ? "info" : "debug"](`${receiver}: ${what} delivered`, { event, attempts });
      return true;
    } catch (thrown) {
      if (this.#stop.signal.aborted || !receiversOfConfig(this.#options.config()).has(receiver)) {
        for (const one of claimed) state.outbox.release(one);
        return false;
      }
      this.#failed(receiver, what, claimed, asHoldfastError(thrown));
      return false;
    }
  }

  #failed(receiver: string, what: string, claimed: readonly ClaimedDelivery[], error: HoldfastError): void {
    const { state, clock, random, log } = this.#options;
    const nowMs = clock.now();
    const { retryAfterMs = 0, gone = false } = (error.data ?? {}) as FailureData;
    const text = error.hint === undefined ? error.message : `${error.message}. ${error.hint}`;
    const waitMs = Math.max(retryAfterMs, retryDelayMs(claimed[0]?.attempts ?? 1, random));
    let [attempts, dead] = [0, 0];
    for (const one of claimed) {
      attempts = Math.max(attempts, one.attempts);
      if (gone || isOver(one.attempts, one.sinceMs, nowMs)) {
        state.outbox.dead(one, nowMs, text);
        dead++;
      } else state.outbox.retry(one, nowMs + waitMs, text);
    }
    const fields = { event: claimed[0]?.event, code: error.code, attempts };
    if (dead > 0)
      log.error(`${receiver}: ${what} given up after ${attempts} ${attempts === 1 ? "attempt" : "attempts"}: ${error.message}`, {
        ...fields,
        hint: "`holdfast notifications --failed` lists it, and `--resend` sends it again.",
      });
    if (dead < claimed.length)
      log.warn(`${receiver}: ${what} could not be delivered: ${error.message}; tried again in ${formatDuration(waitMs)}`, {
        ...fields,
        hint: error.hint,
      });
  }

  async #send(what: {
    readonly receiver: string;
    readonly events: readonly { readonly event: string; readonly payload: string }[];
  }): Promise<SentMail | undefined> {
    const [first] = what.events;
    const { webhook, email } = this.#receiver(what.receiver);
    if (first === undefined) return undefined;
    if (webhook !== undefined) {
      await sendWebhook(webhook, first, this.#context());
      return undefined;
    }
    if (what.receiver === DIGEST) return await sendDigest(email, what.events, this.#context());
    return await sendMail(email, first, this.#context());
  }

  #receiver(
    receiver: string,
  ):
    | { readonly webhook: NonNullable<ReturnType<Config["webhooks"]["get"]>>; readonly email?: undefined }
    | { readonly webhook?: undefined; readonly email: NonNullable<Config["email"]> } {
    const config = this.#options.config();
    const name = webhookOf(receiver);
    const webhook = name === undefined ? undefined : config.webhooks.get(name);
    if (webhook !== undefined) return { webhook };
    if ((receiver === EMAIL || receiver === DIGEST) && config.email !== undefined) return { email: config.email };
    throw new HoldfastError("name_unknown", `There is no receiver ${receiver}`, {
      hint: `The configuration has: ${[...receiversOfConfig(config)].join(", ") || "none"}.`,
    });
  }

  #context(): SendContext {
    const { clock, secrets, lookup = systemLookup, toolVersion, config, trust } = this.#options;
    return {
      clock,
      secrets: secrets(),
      lookup,
      toolVersion,
      timezone: config().daemon.timezone,
      trust,
      signal: this.#stop.signal,
    };
  }
}

/** Every receiver of a configuration, as the outbox names it. */
export function receiversOfConfig({ webhooks, email }: Config): Set<string> {
  return new Set([
    ...[...webhooks.keys()].map(webhookReceiver),
    ...(email === undefined ? [] : [EMAIL]),
    ...(email?.digestMinute === undefined ? [] : [DIGEST]),
  ]);
}
