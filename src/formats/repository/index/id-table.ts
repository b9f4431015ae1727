/**
 * Open addressing from 16-byte ids to record numbers, for ids that are uniform already (HMAC outputs). The table is cut
 * into 256 parts that grow on their own, so that growing 10 million entries never stops the thread for long, and the
 * average load stays between half and three quarters.
 */
const PARTS = 256;
const FIRST_SLOTS = 16;
const EMPTY = 0;

/** Gives the first or second 32-bit word of a record's id, for growing. */
export type WordOf = (record: number) => number;

export class IdTable {
  readonly #parts: Uint32Array[] = Array.from({ length: PARTS }, () => new Uint32Array(FIRST_SLOTS));
  readonly #used = new Uint32Array(PARTS);
  readonly #firstWord: WordOf;

  /** `firstWord` tells the first id word of a record already inserted. */
  constructor(firstWord: WordOf) {
    this.#firstWord = firstWord;
  }

  get sizeBytes(): number {
    return this.#parts.reduce((sum, part) => sum + part.byteLength, this.#used.byteLength);
  }

  /** The part an id lies in. */
  part(firstWord: number): Uint32Array {
    return this.#parts[firstWord & (PARTS - 1)] as Uint32Array;
  }

  /** Adds a record; equal ids are kept side by side in the order of insertion. */
  insert(firstWord: number, record: number): void {
    const number = firstWord & (PARTS - 1);
    let part = this.#parts[number] as Uint32Array;
    if ((this.#used[number] + 1) * 4 > part.length * 3) part = this.#grow(number);
    place(part, firstWord, record);
    this.#used[number]++;
  }

  #grow(number: number): Uint32Array {
    const old = this.#parts[number] as Uint32Array;
    const grown = new Uint32Array(old.length * 2);
    // From the start of a cluster on, so that equal ids keep their order across the wrap-around.
    let start = 0;
    while (old[start] !== EMPTY) start++;
    for (let i = 1; i <= old.length; i++) {
      const entry = old[(start + i) & (old.length - 1)];
      if (entry !== EMPTY) place(grown, this.#firstWord(entry - 1), entry - 1);
    }
    this.#parts[number] = grown;
    return grown;
  }
}

function place(part: Uint32Array, firstWord: number, record: number): void {
  const mask = part.length - 1;
  let slot = firstSlot(firstWord, mask);
  while (part[slot] !== EMPTY) slot = (slot + 1) & mask;
  part[slot] = record + 1;
}

/** Where probing begins in a part; the low bits chose the part. */
export function firstSlot(firstWord: number, mask: number): number {
  return (firstWord >>> 8) & mask;
}
