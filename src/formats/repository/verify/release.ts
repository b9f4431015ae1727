/** Below this a buffer may be a part of a pool that others use. */
const OWN_FROM_BYTES = 2 ** 20;

/**
 * Gives a large buffer's memory back at once, where the collector would let hundreds of megabytes of them pile up. The
 * caller must be its only owner: every view of it is empty afterwards. Does nothing for small and for released ones.
 */
export function release(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (buffer instanceof ArrayBuffer && !buffer.detached && buffer.byteLength >= OWN_FROM_BYTES) buffer.transfer(0);
}
