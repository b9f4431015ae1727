/** What the threads of verify, repair and prune's mark are asked. Bulk bytes are transferred. */
import type { KeyMaterial } from "../keys/key-set.ts";
import type { KeyRow } from "../keys/sealer.ts";
import type { PackRecord } from "../objects/index-object.ts";

/** A tree frame of which nodes are wanted. */
export interface NodesRequest {
  readonly type: "nodes";
  readonly codec: number;
  readonly rawLength: number;
  readonly row: KeyRow;
  readonly stored: Uint8Array;
  /** 16 bytes a chunk of the frame. */
  readonly chunkIds: Uint8Array;
  readonly chunkLengths: Uint32Array;
  /** 1 for each chunk that needs no reading any more. */
  readonly seen: Uint8Array;
  /** Places of the wanted chunks in the frame. */
  readonly wanted: Uint32Array;
  /** What each is: 0 a directory, else a chunk list of that depth. */
  readonly roles: Uint8Array;
}

/** What the nodes of a frame name. Children within the same frame were followed already. */
export interface NodesReply {
  readonly type: "nodes";
  /** Places that were read, the wanted ones first. */
  readonly done: Uint32Array;
  readonly failed: readonly { readonly position: number; readonly role: number; readonly message: string }[];
  /** 32 bytes an id, with what each is. */
  readonly treeIds: Uint8Array;
  readonly treeRoles: Uint8Array;
  /** Data ids of files without lists, file after file; then those of lists of depth 1, list after list. */
  readonly dataIds: Uint8Array;
  /** Files: data bytes and count of ids. */
  readonly fileLengths: Float64Array;
  readonly fileCounts: Uint32Array;
  /** Place of the node in which each file stands. */
  readonly fileNodes: Uint32Array;
  /** Lists of depth 1: their place, and count of ids. */
  readonly listNodes: Uint32Array;
  readonly listCounts: Uint32Array;
  /** Files whose chunks are in lists, and lists of lists: what they should add up to is known only when all is read. */
  readonly indirect: readonly IndirectFile[];
  readonly outerLists: readonly { readonly position: number; readonly ids: Uint8Array }[];
  /** Entries met, for progress. */
  readonly entries: number;
}

export interface IndirectFile {
  readonly node: number;
  readonly dataBytes: number;
  readonly depth: number;
  readonly ids: Uint8Array;
}

/** A whole pack. `record` is what the index says of it, if anything. */
export interface PackRequest {
  readonly type: "pack";
  readonly id: string;
  readonly bytes: Uint8Array;
  readonly record: PackRecord | undefined;
}

/** What is wrong with a pack. All empty: every byte of it is good. */
export interface PackReply {
  readonly type: "pack";
  readonly problems: readonly string[];
  /** Places of frames (by the index, or else by the directory) that cannot be used, whole or in part. */
  readonly badFrames: readonly number[];
}

export type VerifyRequest = { readonly type: "setup"; readonly keys: KeyMaterial } | NodesRequest | PackRequest;
export type VerifyReply = { readonly type: "ready" } | NodesReply | PackReply;
