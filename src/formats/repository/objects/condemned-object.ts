import { asPackId } from "../../../base/ids.ts";
import type { PackId } from "../../../base/ids.ts";
import { decodeJson, encodeJson } from "./json-object.ts";

export type CondemnedReason = "prune" | "unindexed" | "damaged";

const MAX_PACKS = 1_000_000;

/** Packs that nobody may use for new data any more. Final: there is no pardon. */
export interface CondemnedObject {
  readonly reason: CondemnedReason;
  /** When they were condemned. */
  readonly time: string;
  readonly packs: readonly PackId[];
  /** Lease owner that condemned them, 32 hex digits. */
  readonly owner: string;
}

export function encodeCondemned(condemned: CondemnedObject): Buffer {
  return encodeJson(condemned);
}

/** Reads a condemned object's content. Throws `object_malformed` naming the member that is missing or of another type. */
export function decodeCondemned(content: Uint8Array): CondemnedObject {
  const members = decodeJson(content, "The condemned object");
  return {
    reason: members.oneOf("reason", ["prune", "unindexed", "damaged"]),
    time: members.time("time"),
    packs: members.hexes("packs", 32, MAX_PACKS).map(asPackId),
    owner: members.hex("owner", 16),
  };
}
