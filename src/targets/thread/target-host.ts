import { setImmediate as nextTurn } from "node:timers/promises";
import type { MessagePort } from "node:worker_threads";
import { asHoldfastError } from "../../base/errors.ts";
import type { Target } from "../target.ts";
import { isTransferable, joinParts, packListing, type FromHost, type PortCall, type ToHost } from "./messages.ts";

export interface ServeOptions {
  /** Dispose the target when the client closes or its thread dies. Without it the target outlives the port. */
  readonly own?: boolean | undefined;
}

/** One served port. Disposing cancels what is in flight, waits for it, and closes the port. Idempotent. */
export interface TargetHost extends AsyncDisposable {
  /** Resolves when the port is closed and, where owned, the target disposed. Never rejects. */
  readonly closed: Promise<void>;
}

/**
 * Answers the calls of a `PortTarget` at the other end of `port` with `target`. Calls overlap; one is begun in each turn
 * of the event loop, so that a cancel overtakes calls that wait, even when the target's calls are synchronous. What
 * get returns is transferred when it fills its buffer. Many ports may serve one target.
 */
export function serveTarget(port: MessagePort, target: Target, options: ServeOptions = {}): TargetHost {
  const host = new PortHost(port, target, options.own ?? false);
  post(port, { type: "ready", capabilities: { ...target.capabilities } });
  return host;
}

/** Tells the client at the other end that there will be no target, and why. */
export function refuseTarget(port: MessagePort, error: unknown): void {
  post(port, { type: "refused", error: asHoldfastError(error).toWire() });
  port.close();
}

class PortHost implements TargetHost {
  readonly closed: Promise<void>;
  readonly #port: MessagePort;
  readonly #target: Target;
  readonly #own: boolean;
  readonly #waiting: { readonly id: number; readonly call: PortCall; readonly abort: AbortController }[] = [];
  readonly #aborts = new Map<number, AbortController>();
  readonly #running = new Set<Promise<void>>();
  readonly #resolveClosed: () => void;
  #pumping = false;
  #closing = false;

  constructor(port: MessagePort, target: Target, own: boolean) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.#resolveClosed = resolve;
    this.#port = port;
    this.#target = target;
    this.#own = own;
    port.on("message", (message: ToHost) => this.#receive(message));
    port.on("close", () => void this.#close());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
    await this.closed;
  }

  #receive(message: ToHost): void {
    switch (message.type) {
      case "call": {
        const abort = new AbortController();
        this.#aborts.set(message.id, abort);
        this.#waiting.push({ id: message.id, call: message.call, abort });
        void this.#pump();
        break;
      }
      case "cancel":
        this.#aborts.get(message.id)?.abort();
        break;
      case "close":
        void this.#close();
        break;
    }
  }

  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      const running = this.#answer(next.id, next.call, next.abort.signal).finally(() => this.#running.delete(running));
      this.#running.add(running);
      await nextTurn();
    }
    this.#pumping = false;
  }

  async #answer(id: number, call: PortCall, signal: AbortSignal): Promise<void> {
    try {
      signal.throwIfAborted();
      const result = await this.#perform(call, signal);
      if (result instanceof Uint8Array) {
        const bytes = isTransferable(result) && result.length === result.buffer.byteLength ? result : joinParts([result]);
        post(this.#port, { type: "done", id, result: bytes }, [bytes.buffer]);
      } else post(this.#port, { type: "done", id, result });
    } catch (error) {
      post(this.#port, { type: "failed", id, error: asHoldfastError(error).toWire() });
    } finally {
      this.#aborts.delete(id);
    }
  }

  #perform(call: PortCall, signal: AbortSignal): Promise<unknown> {
    switch (call.verb) {
      case "put":
        return this.#target.put(call.name, call.parts, { signal });
      case "get":
        return this.#target.get(call.name, { signal, range: call.range, fresh: call.fresh });
      case "stat":
        return this.#target.stat(call.name, { signal });
      case "list":
        return this.#target.list(call.name, { signal }).then(packListing);
      case "delete":
        return this.#target.delete(call.name, { signal });
      case "capacity":
        return this.#target.capacity({ signal });
      case "cleanUp":
        return this.#target.cleanUp(call.olderThanMs, { signal });
    }
  }

  async #close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    for (const abort of this.#aborts.values()) abort.abort();
    while (this.#running.size > 0 || this.#waiting.length > 0) {
      await Promise.allSettled(this.#running);
      await nextTurn();
    }
    let failure: unknown;
    try {
      if (this.#own) await this.#target[Symbol.asyncDispose]();
    } catch (error) {
      failure = error;
    }
    post(this.#port, { type: "closed", error: failure === undefined ? undefined : asHoldfastError(failure).toWire() });
    this.#port.close();
    this.#resolveClosed();
  }
}

function post(port: MessagePort, message: FromHost, transfer: ArrayBuffer[] = []): void {
  port.postMessage(message, transfer);
}
