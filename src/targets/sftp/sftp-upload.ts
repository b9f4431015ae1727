import { randomBytes } from "node:crypto";
import path from "node:path/posix";
import { throwIfAborted } from "../../base/abort.ts";
import { HoldfastError } from "../../base/errors.ts";
import { TEMPORARY_FOLDER } from "../names.ts";
import { REQUEST_BYTES, WINDOW_BYTES, type SftpFiles } from "./sftp-files.ts";

/**
 * One object being written: to a file in the target's `tmp` folder, which gets its name when it is whole, synced and as long as it
 * should be. Requests are sent without waiting for answers, up to a window of bytes.
 */
export class SftpUpload implements AsyncDisposable {
  readonly #files: SftpFiles;
  readonly #signal: AbortSignal | undefined;
  readonly #temporary: string;
  readonly #staging = Buffer.allocUnsafeSlow(REQUEST_BYTES);
  #staged = 0;
  #handle: Buffer | undefined;
  #position = 0;
  #onTheirWay = 0;
  #failure: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;
  #finished = false;

  private constructor(files: SftpFiles, signal: AbortSignal | undefined) {
    this.#files = files;
    this.#signal = signal;
    this.#temporary = `${TEMPORARY_FOLDER}/put-${randomBytes(12).toString("hex")}`;
  }

  static async begin(files: SftpFiles, signal: AbortSignal | undefined): Promise<SftpUpload> {
    const upload = new SftpUpload(files, signal);
    upload.#handle = await files.createFile(upload.#temporary);
    return upload;
  }

  async append(parts: readonly Uint8Array[]): Promise<void> {
    for (const part of parts) {
      for (let at = 0; at < part.length;) {
        const length = Math.min(part.length - at, REQUEST_BYTES - this.#staged);
        this.#staging.set(part.subarray(at, at + length), this.#staged);
        this.#staged += length;
        at += length;
        if (this.#staged === REQUEST_BYTES) await this.#send();
      }
    }
  }

  /** Sends what is staged, and waits for room. */
  async #send(): Promise<void> {
    throwIfAborted(this.#signal);
    const length = this.#staged;
    if (length > 0) {
      this.#staged = 0;
      const position = this.#position;
      this.#position += length;
      this.#onTheirWay += length;
      // The bytes are copied into the packet before this returns.
      this.#files
        .write(this.#handle as Buffer, this.#staging, length, position, this.#temporary)
        .catch((error: unknown) => (this.#failure ??= { error }))
        .finally(() => {
          this.#onTheirWay -= length;
          this.#wake?.();
        });
    }
    await this.#until(() => this.#onTheirWay < WINDOW_BYTES);
  }

  async #until(done: () => boolean): Promise<void> {
    while (this.#failure === undefined && !done()) await new Promise<void>((resolve) => (this.#wake = resolve));
    if (this.#failure !== undefined) throw await this.#files.explained(this.#failure.error);
    throwIfAborted(this.#signal);
  }

  async finish(name: string): Promise<void> {
    await this.#send();
    // For a server that takes less in a request, ssh2 sends the rest of a write when the first of it was answered.
    await this.#until(() => this.#onTheirWay === 0);
    const handle = this.#handle as Buffer;
    this.#handle = undefined;
    // Sent at once: a server does what it is asked of one file in the order in which it was asked.
    const [synced, size, closed, there] = await Promise.allSettled([
      this.#files.sync(handle, this.#temporary),
      this.#files.sizeOf(handle, this.#temporary),
      this.#files.close(handle, this.#temporary),
      this.#files.stat(name),
    ]);
    for (const result of [synced, size, closed, there])
      if (result.status === "rejected") throw await this.#files.explained(result.reason);
    const sizeBytes = (size as PromiseFulfilledResult<number>).value;
    if (sizeBytes !== this.#position)
      throw new HoldfastError("target_lied", `The server took ${this.#position} bytes of ${name} and has ${sizeBytes}`, {
        hint: "Its disk may be full, or it lost what it said to have written. Do not trust it until that is clear.",
        data: { name, sizeBytes, neededBytes: this.#position },
      });
    throwIfAborted(this.#signal);
    // Some servers replace what is there (the draft forbids it, and OpenSSH links, which cannot).
    const isFree = (there as PromiseFulfilledResult<unknown>).value === undefined;
    if (isFree && (await this.#files.giveName(this.#temporary, name))) this.#finished = true;
    else if (await this.#files.haveSameBytes(this.#temporary, name, this.#position, this.#signal)) return;
    else throw new HoldfastError("target_exists", `There is another object ${path.basename(name)} already`, { data: { name } });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined) await this.#files.close(handle, this.#temporary).catch(() => undefined);
    if (!this.#finished) await this.#files.remove(this.#temporary).catch(() => undefined);
    this.#finished = true;
  }
}
