/** Branded ids. Each is lower-case hex; the brand keeps one kind from being passed for another. */
declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** 64 hex digits: HMAC-SHA256 of a chunk's bytes under the lineage key of its kind. */
export type ChunkId = Branded<"ChunkId">;
/** 64 hex digits: SHA-256 of a pack's bytes, and its object name. */
export type PackId = Branded<"PackId">;
/** 64 hex digits: SHA-256 of any object's bytes, and its object name. */
export type ObjectId = Branded<"ObjectId">;
/** 32 hex digits: the random `uid` of a snapshot, the id people type. */
export type SnapshotId = Branded<"SnapshotId">;
/** 32 hex digits: one execution of a job, verify, prune or restore. */
export type RunId = Branded<"RunId">;
/** 32 hex digits: the random id of a repository, from its `holdfast.json`. */
export type RepositoryId = Branded<"RepositoryId">;

const HEX = /^[0-9a-f]*$/;

/** True when `text` is exactly `bytes` bytes in lower-case hex. */
export function isHexId(text: string, bytes: number): boolean {
  return text.length === bytes * 2 && HEX.test(text);
}

export const asSnapshotId = (text: string): SnapshotId => text as SnapshotId;
export const asRunId = (text: string): RunId => text as RunId;
export const asPackId = (text: string): PackId => text as PackId;
export const asObjectId = (text: string): ObjectId => text as ObjectId;
export const asChunkId = (text: string): ChunkId => text as ChunkId;
export const asRepositoryId = (text: string): RepositoryId => text as RepositoryId;
