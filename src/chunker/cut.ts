import type { ProfileParameters } from "./profile.ts";

/**
 * Length of the chunk that begins at `start`. A cut never looks further than `profile.max`, so it is right when
 * `end - start` are all the bytes left of the content, or at least that many; and with fewer when it comes before `end`.
 * The cuts depend on `gear`, the profile and the bytes from `start` on, on nothing before them. Returns 0 only when
 * `start === end`. Allocates nothing.
 */
export function nextCut(gear: Uint32Array, profile: ProfileParameters, bytes: Uint8Array, start: number, end: number): number {
  const left = end - start;
  if (left <= profile.min) return left;
  const limit = start + Math.min(left, profile.max);
  const middle = start + Math.min(left, profile.target);
  let i = start + profile.min;
  let hash = 0;
  // The upper bits by a mask: a quarter faster than by a shift (V8 14).
  let mask = -1 << profile.shiftBefore;
  for (; i < middle; i++) {
    hash = ((hash << 1) + gear[bytes[i]]) | 0;
    if ((hash & mask) === 0) return i + 1 - start;
  }
  mask = -1 << profile.shiftAfter;
  for (; i < limit; i++) {
    hash = ((hash << 1) + gear[bytes[i]]) | 0;
    if ((hash & mask) === 0) return i + 1 - start;
  }
  return limit - start;
}
