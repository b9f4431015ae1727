import { createHash } from "node:crypto";
import { patchSize, sparseMap, TAR_BLOCK_BYTES, tarHeader, tarPadding } from "../../codec/tar-header.ts";
import type { EntryMeta, Extent } from "../../sources/source.ts";
import { dataLength, PIECE_BYTES, type FileData } from "./entry-record.ts";
import type { PartStream } from "./part-stream.ts";

/** Where a program that does not know sparse files puts the map with the data, as GNU tar does. */
const SPARSE_FOLDER = Buffer.from("GNUSparseFile.0/");

/** One file on its way into a tar: header, data, padding. */
export class FileWriter {
  readonly path: Buffer;
  readonly meta: EntryMeta;
  readonly #tar: PartStream;
  readonly #extents: readonly Extent[] | undefined;
  readonly #size: number;
  readonly #start: number;
  readonly #header: Buffer;
  /** Bytes between header and data: the map of a sparse file. */
  readonly #mapBytes: number;
  readonly #position: number;
  readonly #hashes: Buffer[] = [];
  #piece = createHash("sha256");
  #pieceBytes = 0;
  #written = 0;

  constructor(tar: PartStream, path: Buffer, meta: EntryMeta, size: number, extents: readonly Extent[] | undefined) {
    this.#tar = tar;
    this.path = path;
    this.meta = meta;
    this.#extents = extents;
    this.#size = size;
    this.#start = tar.position;
    const map = extents === undefined ? undefined : sparseMap(extents, size);
    this.#mapBytes = map?.length ?? 0;
    const header = tarHeader({
      path: map === undefined ? path : Buffer.concat([SPARSE_FOLDER, path]).subarray(0, 99),
      type: "file",
      meta,
      size: this.#mapBytes + dataLength(size, extents),
      sparse: map === undefined ? undefined : { size, path },
    });
    tar.write(header.subarray(0, -TAR_BLOCK_BYTES));
    // The place is written over until the file ends; only then is its true size known.
    this.#header = tar.writeHeld(header.subarray(-TAR_BLOCK_BYTES));
    if (map !== undefined) tar.write(map);
    this.#position = tar.position;
  }

  /** Data bytes so far. */
  get written(): number {
    return this.#written;
  }

  /** Memory to put the next data into. */
  room(): Buffer {
    return this.#tar.room();
  }

  /** Takes over `length` bytes that were put into `room()`. */
  advance(length: number): void {
    const bytes = this.#tar.room().subarray(0, length);
    for (let at = 0; at < length;) {
      const take = Math.min(length - at, PIECE_BYTES - this.#pieceBytes);
      this.#piece.update(bytes.subarray(at, at + take));
      this.#pieceBytes += take;
      at += take;
      if (this.#pieceBytes === PIECE_BYTES) this.#closePiece();
    }
    this.#written += length;
    this.#tar.advance(length);
  }

  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const room = this.room();
      const length = Math.min(room.length, bytes.length - at);
      room.set(bytes.subarray(at, at + length));
      this.advance(length);
      at += length;
    }
  }

  /** Takes the file out of the archive again; false when part of it has been handed out. */
  undo(): boolean {
    if (!this.#tar.rewind(this.#start)) return false;
    this.#tar.release();
    return true;
  }

  /** Leaves what was written in the tar, as a shorter file that the index does not know. */
  abandon(): void {
    if (!this.undo()) this.finish();
  }

  /** Completes the file as long as it is. A sparse one that ended early is filled up with zeros, for its map is written. */
  finish(): { readonly size: number; readonly data: FileData } {
    if (this.#extents !== undefined) this.#fillUp(dataLength(this.#size, this.#extents) - this.#written);
    if (this.#pieceBytes > 0) this.#closePiece();
    patchSize(this.#header, this.#mapBytes + this.#written);
    this.#tar.release();
    this.#tar.write(tarPadding(this.#written));
    const size = this.#extents === undefined ? this.#written : this.#size;
    return { size, data: { position: this.#position, extents: this.#extents, hashes: Buffer.concat(this.#hashes) } };
  }

  #fillUp(missing: number): void {
    while (missing > 0) {
      const length = Math.min(missing, this.room().length);
      this.room().fill(0, 0, length);
      this.advance(length);
      missing -= length;
    }
  }

  #closePiece(): void {
    this.#hashes.push(this.#piece.digest());
    this.#piece = createHash("sha256");
    this.#pieceBytes = 0;
  }
}
