/** Randomness as the program sees it: passed in, so that golden vectors can fix it. */
export interface Randomness {
  /** `length` fresh bytes, cryptographically strong outside tests. */
  bytes(length: number): Uint8Array;
}

/** `length` random bytes as lower-case hex. */
export function randomHex(random: Randomness, length: number): string {
  return Buffer.from(random.bytes(length)).toString("hex");
}
