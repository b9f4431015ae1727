import { wordAt } from "./chunk-store.ts";

const FIRST_SLOTS = 1024;
const WORDS = 5;

/**
 * Chunks that were claimed and are not yet in a pack the index knows: a set of (id, length) in one typed array, with
 * deletion that leaves no tombstones.
 */
export class PendingChunks {
  #slots = new Uint32Array(FIRST_SLOTS * WORDS);
  #mask = FIRST_SLOTS - 1;
  #count = 0;
  #bytes = 0;

  get count(): number {
    return this.#count;
  }

  /** Raw bytes of all of them. */
  get bytes(): number {
    return this.#bytes;
  }

  get sizeBytes(): number {
    return this.#slots.byteLength;
  }

  has(id: Uint8Array, offset: number): boolean {
    return this.#slots[this.#find(id, offset) * WORDS + 4] !== 0;
  }

  /** True when it was not there before. `length` is at least 1: 0 marks a free slot. */
  add(id: Uint8Array, offset: number, length: number): boolean {
    if ((this.#count + 1) * 4 > (this.#mask + 1) * 3) this.#grow();
    const at = this.#find(id, offset) * WORDS;
    if (this.#slots[at + 4] !== 0) return false;
    for (let word = 0; word < 4; word++) this.#slots[at + word] = wordAt(id, offset + word * 4);
    this.#slots[at + 4] = length;
    this.#count++;
    this.#bytes += length;
    return true;
  }

  /** True when it was there. */
  delete(id: Uint8Array, offset: number): boolean {
    if (this.#count === 0) return false;
    const slots = this.#slots;
    let hole = this.#find(id, offset);
    const length = slots[hole * WORDS + 4];
    if (length === 0) return false;
    this.#count--;
    this.#bytes -= length;
    // Whatever could no longer be reached across the hole moves into it.
    for (let next = (hole + 1) & this.#mask; slots[next * WORDS + 4] !== 0; next = (next + 1) & this.#mask) {
      const home = (slots[next * WORDS] as number) & this.#mask;
      if (((next - home) & this.#mask) < ((next - hole) & this.#mask)) continue;
      slots.copyWithin(hole * WORDS, next * WORDS, (next + 1) * WORDS);
      hole = next;
    }
    slots[hole * WORDS + 4] = 0;
    return true;
  }

  #find(id: Uint8Array, offset: number): number {
    const slots = this.#slots;
    const a = wordAt(id, offset);
    const b = wordAt(id, offset + 4);
    const c = wordAt(id, offset + 8);
    const d = wordAt(id, offset + 12);
    let slot = a & this.#mask;
    for (; ; slot = (slot + 1) & this.#mask) {
      const at = slot * WORDS;
      if (slots[at + 4] === 0) return slot;
      if (slots[at] === a && slots[at + 1] === b && slots[at + 2] === c && slots[at + 3] === d) return slot;
    }
  }

  #grow(): void {
    const old = this.#slots;
    this.#mask = this.#mask * 2 + 1;
    this.#slots = new Uint32Array((this.#mask + 1) * WORDS);
    for (let at = 0; at < old.length; at += WORDS) {
      if (old[at + 4] === 0) continue;
      let slot = (old[at] as number) & this.#mask;
      while (this.#slots[slot * WORDS + 4] !== 0) slot = (slot + 1) & this.#mask;
      this.#slots.set(old.subarray(at, at + WORDS), slot * WORDS);
    }
  }
}
