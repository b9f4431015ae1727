/** A set of small numbers. */
export class Bitmap {
  readonly #bytes: Uint8Array;

  constructor(size: number) {
    this.#bytes = new Uint8Array((size + 7) >>> 3);
  }

  has(number: number): boolean {
    return ((this.#bytes[number >>> 3] as number) & (1 << (number & 7))) !== 0;
  }

  add(number: number): void {
    this.#bytes[number >>> 3] = (this.#bytes[number >>> 3] as number) | (1 << (number & 7));
  }

  delete(number: number): void {
    this.#bytes[number >>> 3] = (this.#bytes[number >>> 3] as number) & ~(1 << (number & 7));
  }
}
