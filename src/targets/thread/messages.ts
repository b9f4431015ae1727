/**
 * What a PortTarget and its host say to each other over one MessagePort. The host speaks first (`ready` or `refused`);
 * every `call` is answered once by `done` or `failed`, in any order, also after a `cancel`; `close` is answered by `closed`,
 * after which the host says nothing more. Bulk bytes are transferred.
 */
import { isMarkedAsUntransferable } from "node:worker_threads";
import type { ErrorWire } from "../../base/errors.ts";
import type { ObjectStat, TargetCapabilities } from "../target.ts";

export type PortCall =
  | { readonly verb: "put"; readonly name: string; readonly parts: readonly Uint8Array[] }
  | {
      readonly verb: "get";
      readonly name: string;
      readonly range: { readonly offset: number; readonly length: number } | undefined;
      readonly fresh: boolean | undefined;
    }
  | { readonly verb: "stat" | "list" | "delete"; readonly name: string }
  | { readonly verb: "capacity" }
  | { readonly verb: "cleanUp"; readonly olderThanMs: number };

export type ToHost =
  | { readonly type: "call"; readonly id: number; readonly call: PortCall }
  | { readonly type: "cancel"; readonly id: number }
  | { readonly type: "close" };

export type FromHost =
  | { readonly type: "ready"; readonly capabilities: TargetCapabilities }
  | { readonly type: "refused"; readonly error: ErrorWire }
  | { readonly type: "done"; readonly id: number; readonly result: unknown }
  | { readonly type: "failed"; readonly id: number; readonly error: ErrorWire }
  | { readonly type: "closed"; readonly error: ErrorWire | undefined };

/** Whether a view's memory may leave the thread: an ArrayBuffer that allows it, such as not Node's shared pool. */
export function isTransferable(view: Uint8Array): view is Uint8Array<ArrayBuffer> {
  const { buffer } = view;
  return buffer instanceof ArrayBuffer && !buffer.detached && !isMarkedAsUntransferable(buffer);
}

/** The parts joined in fresh memory of their own. */
export function joinParts(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

/** A listing as columns: a message of three values, however many objects there are. */
export interface ListingColumns {
  /** Object names hold no newline. */
  readonly names: string;
  readonly sizes: Float64Array<ArrayBuffer>;
  /** NaN where unknown. */
  readonly times: Float64Array<ArrayBuffer>;
}

export function packListing(objects: readonly ObjectStat[]): ListingColumns {
  return {
    names: objects.map((object) => object.name).join("\n"),
    sizes: Float64Array.from(objects, (object) => object.sizeBytes),
    times: Float64Array.from(objects, (object) => object.modifiedMs ?? Number.NaN),
  };
}

export function unpackListing({ names, sizes, times }: ListingColumns): ObjectStat[] {
  if (sizes.length === 0) return [];
  return names.split("\n").map((name, i) => {
    const time = times[i] as number;
    return { name, sizeBytes: sizes[i] as number, modifiedMs: Number.isNaN(time) ? undefined : time };
  });
}
