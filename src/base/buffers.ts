/**
 * Gives the memory behind `bytes` back at once. Large buffers that wait for the garbage collector double what a thread
 * holds, and fresh pages cost about 1 s/GB. Only for bytes whose whole buffer the caller owns: every view of it is dead afterwards.
 */
export function freeBytes(bytes: Uint8Array): void {
  if (bytes.buffer instanceof ArrayBuffer && !bytes.buffer.detached) bytes.buffer.transfer(0);
}
