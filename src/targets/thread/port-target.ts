import assert from "node:assert/strict";
import type { MessagePort } from "node:worker_threads";
import { throwIfAborted } from "../../base/abort.ts";
import { HoldfastError } from "../../base/errors.ts";
import { assertObjectName, assertPrefix } from "../names.ts";
import type { CallOptions, GetOptions, ObjectStat, Target, TargetCapabilities, TargetCapacity } from "../target.ts";
import {
  isTransferable,
  joinParts,
  unpackListing,
  type FromHost,
  type ListingColumns,
  type PortCall,
  type ToHost,
} from "./messages.ts";

export interface PortTargetOptions {
  /**
   * Give the memory of a put away instead of copying it: parts over 64 KiB arrive empty at the caller, with everything
   * else that shares their buffers. Such a put cannot be retried from this side of the port.
   */
  readonly transfer?: boolean | undefined;
}

/** Parts up to this size are copied even when memory may be given away: a transfer costs more than the copy. */
const COPIED_PART_BYTES = 64 * 1024;

interface Pending {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * A target that lives behind a MessagePort (`serveTarget` at the other end), often in another thread. An abort rejects
 * at once; the host is told, and finishes or drops the call whole. When the other end dies, calls in flight and all
 * later ones reject with `target_unreachable`. Disposing cancels what is in flight and closes the port.
 * The port keeps the process alive only while calls are in flight.
 */
export class PortTarget implements Target {
  readonly capabilities: TargetCapabilities;
  readonly #port: MessagePort;
  readonly #transfer: boolean;
  readonly #pending = new Map<number, Pending>();
  readonly #closed = Promise.withResolvers<void>();
  #nextId = 0;
  #end: HoldfastError | undefined;
  #disposed: Promise<void> | undefined;

  /** Waits for the host to say what it serves; rejects with its refusal, or when it dies before. */
  static async connect(port: MessagePort, options: PortTargetOptions = {}): Promise<PortTarget> {
    const capabilities = await new Promise<TargetCapabilities>((resolve, reject) => {
      const onClose = (): void => reject(gone());
      port.once("close", onClose);
      port.once("message", (message: FromHost) => {
        port.off("close", onClose);
        if (message.type === "ready") resolve(message.capabilities);
        else if (message.type === "refused") reject(HoldfastError.fromWire(message.error));
        else assert.fail(`A target's host began with ${message.type}`);
      });
    });
    return new PortTarget(port, capabilities, options);
  }

  private constructor(port: MessagePort, capabilities: TargetCapabilities, options: PortTargetOptions) {
    this.capabilities = capabilities;
    this.#port = port;
    this.#transfer = options.transfer ?? false;
    port.on("message", (message: FromHost) => this.#receive(message));
    port.on("close", () => this.#finish(gone()));
    port.unref();
  }

  async put(name: string, parts: readonly Uint8Array[], options: CallOptions = {}): Promise<void> {
    assertObjectName(name);
    throwIfAborted(options.signal);
    const { given, buffers } = this.#transfer ? giveAway(parts) : copied(parts);
    await this.#call({ verb: "put", name, parts: given }, options.signal, buffers);
  }

  async get(name: string, options: GetOptions = {}): Promise<Uint8Array> {
    assertObjectName(name);
    return (await this.#call({ verb: "get", name, range: options.range, fresh: options.fresh }, options.signal)) as Uint8Array;
  }

  async stat(name: string, options: CallOptions = {}): Promise<ObjectStat | undefined> {
    assertObjectName(name);
    return (await this.#call({ verb: "stat", name }, options.signal)) as ObjectStat | undefined;
  }

  async list(prefix: string, options: CallOptions = {}): Promise<ObjectStat[]> {
    assertPrefix(prefix);
    return unpackListing((await this.#call({ verb: "list", name: prefix }, options.signal)) as ListingColumns);
  }

  async delete(name: string, options: CallOptions = {}): Promise<void> {
    assertObjectName(name);
    await this.#call({ verb: "delete", name }, options.signal);
  }

  async capacity(options: CallOptions = {}): Promise<TargetCapacity | undefined> {
    return (await this.#call({ verb: "capacity" }, options.signal)) as TargetCapacity | undefined;
  }

  async cleanUp(olderThanMs: number, options: CallOptions = {}): Promise<number> {
    return (await this.#call({ verb: "cleanUp", olderThanMs }, options.signal)) as number;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  async #dispose(): Promise<void> {
    if (this.#end === undefined) {
      this.#failAll(new HoldfastError("cancelled", "The target was closed while the call was in flight"));
      this.#end = new HoldfastError("cancelled", "The target is closed");
      this.#port.ref();
      this.#send({ type: "close" });
    }
    await this.#closed.promise;
  }

  async #call(call: PortCall, signal: AbortSignal | undefined, transfer: ArrayBuffer[] = []): Promise<unknown> {
    throwIfAborted(signal);
    if (this.#end) throw this.#end;
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const onAbort = (): void => {
      this.#send({ type: "cancel", id });
      this.#settle(id)?.reject(signal?.reason);
    };
    this.#send({ type: "call", id, call }, transfer);
    this.#pending.set(id, { resolve, reject });
    this.#port.ref();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      return await promise;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  #receive(message: FromHost): void {
    switch (message.type) {
      case "done":
        this.#settle(message.id)?.resolve(message.result);
        break;
      case "failed":
        this.#settle(message.id)?.reject(HoldfastError.fromWire(message.error));
        break;
      case "closed":
        if (message.error) this.#closed.reject(HoldfastError.fromWire(message.error));
        this.#finish(gone());
        this.#port.close();
        break;
      case "ready":
      case "refused":
        assert.fail(`A target's host said ${message.type} twice`);
    }
  }

  /** Takes a call out of those in flight; undefined when an abort has answered it already. */
  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    if (this.#pending.delete(id) && this.#pending.size === 0 && this.#disposed === undefined) this.#port.unref();
    return pending;
  }

  #finish(error: HoldfastError): void {
    this.#end ??= error;
    this.#failAll(error);
    // Only a caller of dispose learns of a failed disposal.
    this.#closed.promise.catch(() => undefined);
    this.#closed.resolve();
  }

  #failAll(error: HoldfastError): void {
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  #send(message: ToHost, transfer: ArrayBuffer[] = []): void {
    this.#port.postMessage(message, transfer);
  }
}

interface Parcel {
  readonly given: readonly Uint8Array[];
  readonly buffers: ArrayBuffer[];
}

/** Everything in one fresh buffer: one copy, as a structured clone would make, but of the parts only and in one piece. */
function copied(parts: readonly Uint8Array[]): Parcel {
  const joined = joinParts(parts);
  return { given: [joined], buffers: [joined.buffer] };
}

/** Large parts as they are; runs of small ones, and what cannot be transferred, copied. */
function giveAway(parts: readonly Uint8Array[]): Parcel {
  const given: Uint8Array[] = [];
  const buffers = new Set<ArrayBuffer>();
  let small: Uint8Array[] = [];
  const flush = (): void => {
    if (small.length === 0) return;
    const joined = joinParts(small);
    given.push(joined);
    buffers.add(joined.buffer);
    small = [];
  };
  for (const part of parts) {
    if (part.length <= COPIED_PART_BYTES || !isTransferable(part)) {
      small.push(part);
      continue;
    }
    flush();
    given.push(part);
    buffers.add(part.buffer);
  }
  flush();
  return { given, buffers: [...buffers] };
}

function gone(): HoldfastError {
  return new HoldfastError("target_unreachable", "The thread that serves the target has ended", {
    hint: "See the log for why it ended; the next run starts it again.",
  });
}
