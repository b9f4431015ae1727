import { decodeJson, encodeJson } from "./json-object.ts";

export type LeasePurpose = "write" | "maintain";

/** Who is writing or maintaining. Refreshed by a new object of the same owner with the next sequence. */
export interface LeaseObject {
  /** 32 hex digits, random for each run. */
  readonly owner: string;
  readonly purpose: LeasePurpose;
  readonly sequence: number;
  /** When the owner began. */
  readonly start: string;
  /** When this object was written. */
  readonly time: string;
  readonly ttlMs: number;
  readonly host: string;
  readonly pid: number;
  /** When the process began, as its system tells it; compared as it is. Empty where unknown, as are the next two. */
  readonly processStart: string;
  readonly bootId: string;
  readonly pidNamespace: string;
  /** True on the last object of an owner. */
  readonly released: boolean;
}

export function encodeLease(lease: LeaseObject): Buffer {
  return encodeJson(lease);
}

/** Reads a lease's content. Throws `object_malformed` naming the member that is missing or of another type. */
export function decodeLease(content: Uint8Array): LeaseObject {
  const members = decodeJson(content, "The lease");
  return {
    owner: members.hex("owner", 16),
    purpose: members.oneOf("purpose", ["write", "maintain"]),
    sequence: members.integer("sequence", 0),
    start: members.time("start"),
    time: members.time("time"),
    ttlMs: members.integer("ttlMs", 1),
    host: members.text("host"),
    pid: members.integer("pid", 0),
    processStart: members.text("processStart"),
    bootId: members.text("bootId"),
    pidNamespace: members.text("pidNamespace"),
    released: members.flag("released", false),
  };
}
