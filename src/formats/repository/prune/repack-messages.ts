import type { CodecName } from "../../../codec/compress.ts";
import type { TargetSpec } from "../../../targets/registry.ts";
import type { KeyMaterial } from "../keys/key-set.ts";
import type { PackRecord } from "../objects/index-object.ts";

/** A pack to read from. */
export interface PackSource {
  readonly id: string;
  readonly sizeBytes: number;
}

/** One chunk to store in a new frame. Chunks come in the order they shall have. */
export interface ChunkMove {
  readonly pack: PackSource;
  readonly frame: number;
  readonly position: number;
  /** What must not share a frame has different numbers. */
  readonly owner: number;
}

export type RepackRequest =
  | {
      readonly type: "setup";
      readonly target: TargetSpec;
      readonly keys: KeyMaterial;
      readonly packBytes: number;
      readonly codec: CodecName;
      readonly level: number;
      readonly reseal: boolean;
    }
  /** Frames to take over as they are. */
  | { readonly type: "copy"; readonly pack: PackSource; readonly frames: readonly number[] }
  | { readonly type: "regroup"; readonly kind: 1 | 2; readonly chunks: readonly ChunkMove[] }
  /** Closes open frames and packs. */
  | { readonly type: "flush" };

/** Packs that were put since the last answer. */
export interface RepackReply {
  readonly packed: readonly PackRecord[];
}
