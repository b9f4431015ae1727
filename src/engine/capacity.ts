import type { TargetConfig } from "../config/config.ts";
import type { Store } from "../formats/format.ts";

/** How full a target is. */
export interface Usage {
  /** Bytes the store takes; counted only where the configuration bounds them. */
  readonly storedBytes: number | undefined;
  readonly freeBytes: number | undefined;
  /** What the store takes of `maxSize` where there is one; or else what is taken of the medium, by whomever, and its size. */
  readonly usedBytes: number | undefined;
  readonly capacityBytes: number | undefined;
  /** Of `maxSize` where there is one, or else of the medium. 0 where nobody can tell. */
  readonly share: number;
}

/** Rejects with what the target says. */
export async function usageOf(target: TargetConfig, store: Store, signal?: AbortSignal): Promise<Usage> {
  const { maxSizeBytes } = target;
  const { freeBytes, totalBytes } = (await store.space(signal)) ?? {};
  const storedBytes = maxSizeBytes === undefined ? undefined : (await store.capacity(signal)).storedBytes;
  const ofMedium = freeBytes !== undefined && totalBytes !== undefined && totalBytes > 0 ? 1 - freeBytes / totalBytes : 0;
  const share = maxSizeBytes !== undefined && storedBytes !== undefined ? storedBytes / maxSizeBytes : ofMedium;
  const bounded = maxSizeBytes !== undefined && storedBytes !== undefined;
  const usedBytes = bounded
    ? storedBytes
    : freeBytes === undefined || totalBytes === undefined
      ? undefined
      : totalBytes - freeBytes;
  return { storedBytes, freeBytes, usedBytes, capacityBytes: bounded ? maxSizeBytes : totalBytes, share };
}
