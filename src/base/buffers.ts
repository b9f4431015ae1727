/**
 * Gives the memory behind `bytes` back at once. Large buffers that wait for the garbage collector double what a thread
 * holds, and fresh pages cost about 1 s/GB. Only for bytes whose whole buffer the caller owns: every view of it is dead afterwards.
 */
export function freeBytes(bytes: Uint8Array): void {
  if (bytes.buffer instanceof ArrayBuffer && !bytes.buffer.detached) bytes.buffer.transfer(0);
}

/** `freeBytes` for a result of Node's own calls: small ones may be views into its shared pool, which is not ours to free. */
export function freeIfLarge(bytes: Uint8Array): void {
  if (bytes.length > Buffer.poolSize) freeBytes(bytes);
}
