import { createHash } from "node:crypto";

/** Pseudo-random bytes that parent and child make alike. */
function content(seed: number, sizeBytes: number): Uint8Array {
  const block = createHash("shake256", { outputLength: 4096 }).update(String(seed)).digest();
  const bytes = Buffer.alloc(sizeBytes);
  for (let offset = 0; offset < sizeBytes; offset += block.length) block.copy(bytes, offset);
  return bytes;
}

const pack = content(1, 9 * 2 ** 20);
const packId = createHash("sha256").update(pack).digest("hex");

export const DELETED = "leases/old";

/** What the child stores, in this order; the pack takes two writes. */
export const CRASH_OBJECTS: readonly { readonly name: string; readonly parts: readonly Uint8Array[] }[] = [
  { name: DELETED, parts: [content(2, 100)] },
  { name: `packs/${packId.slice(0, 2)}/${packId}`, parts: [pack.subarray(0, 1000), pack.subarray(1000)] },
  { name: "keys/slot", parts: [new TextEncoder().encode("a key slot")] },
];
