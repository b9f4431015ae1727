import path from "node:path/posix";
import type { Stats } from "ssh2";
import { throwIfAborted } from "../../base/abort.ts";
import { HoldfastError } from "../../base/errors.ts";
import type { SftpConnection } from "./sftp-connection.ts";
import { answerError, STATUS, statusOf } from "./sftp-errors.ts";

/** What an OpenSSH server takes in one request (limits@openssh.com); ssh2 divides it for servers that take less. */
export const REQUEST_BYTES = 255 * 1024;
/** Bytes on their way at a time: 40 ms of a line of 100 MB/s. */
export const WINDOW_BYTES = 4 * 2 ** 20;

const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;
/** Less than this free explains a failure that the server leaves unexplained. */
const FULL_BYTES = 64 * 1024;

/** What a listing says of a file: ssh2 gives the methods of `Stats` too, which its types leave out. */
export interface ListedFile {
  readonly filename: string;
  readonly attrs: Stats;
}

/** The files below a target's folder on one connection; names are relative to it. Missing folders are made when a file needs them. */
export class SftpFiles {
  readonly connection: SftpConnection;
  readonly #root: string;
  #canSync = true;

  constructor(connection: SftpConnection, root: string) {
    this.connection = connection;
    this.#root = root;
  }

  pathOf(name: string): string {
    return name === "" ? this.#root : path.join(this.#root, name);
  }

  async createFile(name: string): Promise<Buffer> {
    const file = this.pathOf(name);
    const doing = `write ${file}`;
    const open = (): Promise<Buffer> =>
      this.connection.call<Buffer>(doing, (sftp, done) => sftp.open(file, "wx", { mode: FILE_MODE }, done));
    return await this.#withFolder(file, doing, open);
  }

  write(handle: Buffer, bytes: Buffer, length: number, position: number, name: string): Promise<void> {
    return this.#call(`write ${this.pathOf(name)}`, (sftp, done) => sftp.write(handle, bytes, 0, length, position, done));
  }

  /** Makes what was written durable, where the server can (fsync@openssh.com). */
  async sync(handle: Buffer, name: string): Promise<void> {
    if (!this.#canSync) return;
    try {
      await this.connection.call<void>(`sync ${this.pathOf(name)}`, (sftp, done) => sftp.ext_openssh_fsync(handle, done));
    } catch (error) {
      if (error instanceof HoldfastError) throw error;
      const status = statusOf(error);
      if (status !== undefined && status !== STATUS.unsupported) throw answerError(error, `sync ${this.pathOf(name)}`);
      this.#canSync = false;
    }
  }

  async sizeOf(handle: Buffer, name: string): Promise<number> {
    return (await this.#call<Stats>(`examine ${this.pathOf(name)}`, (sftp, done) => sftp.fstat(handle, done))).size;
  }

  close(handle: Buffer, name: string): Promise<void> {
    return this.#call(`close ${this.pathOf(name)}`, (sftp, done) => sftp.close(handle, done));
  }

  async openFile(name: string): Promise<Buffer | undefined> {
    const file = this.pathOf(name);
    return await this.#unlessMissing(`read ${file}`, (sftp, done) => sftp.open(file, "r", done));
  }

  /** What is there, and for a file a handle to read it, in the time of one answer. What is no file may not open: that is no failure. */
  async openAndStat(name: string): Promise<[Stats | undefined, Buffer | undefined]> {
    const [stat, handle] = await Promise.allSettled([this.stat(name), this.openFile(name)]);
    const opened = handle.status === "fulfilled" ? handle.value : undefined;
    if (stat.status === "fulfilled" && (handle.status === "fulfilled" || stat.value?.isFile() !== true))
      return [stat.value, opened];
    if (opened !== undefined) void this.close(opened, name).catch(() => undefined);
    throw stat.status === "rejected" ? stat.reason : (handle as PromiseRejectedResult).reason;
  }

  /** What is there under a name, symbolic links followed; undefined when nothing is. */
  async stat(name: string): Promise<Stats | undefined> {
    const file = this.pathOf(name);
    return await this.#unlessMissing(`examine ${file}`, (sftp, done) => sftp.stat(file, done));
  }

  /** Everything in a folder; nothing when there is none. */
  async entries(name: string): Promise<ListedFile[]> {
    const folder = this.pathOf(name);
    return (await this.#unlessMissing(`list ${folder}`, (sftp, done) => sftp.readdir(folder, done))) ?? [];
  }

  async remove(name: string): Promise<boolean> {
    const file = this.pathOf(name);
    const removed = await this.#unlessMissing<true>(`delete ${file}`, (sftp, done) =>
      sftp.unlink(file, (error) => done(error, true)),
    );
    return removed === true;
  }

  /** Fills `into` from a position on, with many requests on their way; returns how many bytes there were. */
  async readInto(handle: Buffer, into: Buffer, position: number, name: string, signal: AbortSignal | undefined): Promise<number> {
    const doing = `read ${this.pathOf(name)}`;
    let next = 0;
    let end = into.length;
    const readPart = async (): Promise<void> => {
      while (next < end) {
        throwIfAborted(signal);
        let at = next;
        const to = Math.min(at + REQUEST_BYTES, into.length);
        next = to;
        // A server may give less than it was asked for.
        while (at < Math.min(to, end)) {
          const from = at;
          const count = await this.#call<number>(doing, (sftp, done) =>
            sftp.read(handle, into, from, to - from, position + from, done),
          );
          if (count === 0) end = Math.min(end, at);
          at += count;
        }
      }
    };
    await Promise.all(Array.from({ length: Math.ceil(Math.min(into.length, WINDOW_BYTES) / REQUEST_BYTES) }, readPart));
    return end;
  }

  /** Names a file, unless the server finds one of that name: false then. */
  async giveName(temporary: string, name: string): Promise<boolean> {
    const from = this.pathOf(temporary);
    const to = this.pathOf(name);
    const doing = `name ${to}`;
    const rename = (): Promise<void> => this.connection.call<void>(doing, (sftp, done) => sftp.rename(from, to, done));
    try {
      await this.#withFolder(to, doing, rename);
      return true;
    } catch (error) {
      if (await this.#isThere(error, name)) return false;
      throw await this.explained(error);
    }
  }

  async #isThere(error: unknown, name: string): Promise<boolean> {
    return error instanceof HoldfastError && error.code === "target_io" && (await this.stat(name)) !== undefined;
  }

  async haveSameBytes(one: string, other: string, length: number, signal: AbortSignal | undefined): Promise<boolean> {
    if ((await this.stat(other))?.size !== length) return false;
    const [mine, theirs] = await Promise.all([this.#content(one, length, signal), this.#content(other, length, signal)]);
    return mine !== undefined && theirs !== undefined && mine.equals(theirs);
  }

  async #content(name: string, length: number, signal: AbortSignal | undefined): Promise<Buffer | undefined> {
    const handle = await this.openFile(name);
    if (handle === undefined) return undefined;
    try {
      const bytes = Buffer.allocUnsafeSlow(length);
      return (await this.readInto(handle, bytes, 0, name, signal)) === length ? bytes : undefined;
    } finally {
      await this.close(handle, name).catch(() => undefined);
    }
  }

  /** Size and free bytes of the file system, where the server tells (statvfs@openssh.com). */
  async space(): Promise<{ totalBytes: number; freeBytes: number } | undefined> {
    try {
      const found = await this.connection.call<{ f_frsize: number; f_blocks: number; f_bavail: number }>(
        `measure ${this.#root}`,
        (sftp, done) => sftp.ext_openssh_statvfs(this.#root, done as never),
      );
      return { totalBytes: found.f_frsize * found.f_blocks, freeBytes: found.f_frsize * found.f_bavail };
    } catch (error) {
      if (error instanceof HoldfastError) throw error;
      return undefined;
    }
  }

  /** A failure that the server left unexplained, explained where its file system is full. */
  async explained(error: unknown): Promise<unknown> {
    if (!(error instanceof HoldfastError) || error.code !== "target_io") return error;
    const space = await this.space().catch(() => undefined);
    if (space === undefined || space.freeBytes >= FULL_BYTES) return error;
    return new HoldfastError("target_full", `${error.message}; no space is left on the server`, {
      hint: "Free space on the server or run a prune; what is already stored stays readable.",
      cause: error,
      data: error.data,
    });
  }

  async makeFolder(folder: string): Promise<void> {
    const doing = `make the folder ${folder}`;
    const make = (): Promise<void> =>
      this.connection.call<void>(doing, (sftp, done) => sftp.mkdir(folder, { mode: FOLDER_MODE }, done));
    try {
      await make();
    } catch (error) {
      if (statusOf(error) === STATUS.missing && path.dirname(folder) !== folder) {
        await this.makeFolder(path.dirname(folder));
        await make().catch((again: unknown) => this.#unlessFolder(again, folder, doing));
      } else await this.#unlessFolder(error, folder, doing);
    }
  }

  /** Another one may have made it. */
  async #unlessFolder(error: unknown, folder: string, doing: string): Promise<void> {
    const stat = await this.connection
      .call<Stats>(doing, (sftp, done) => sftp.stat(folder, done))
      .catch((): undefined => undefined);
    if (stat?.isDirectory() !== true) throw answerError(error, doing);
  }

  /** Does what needs a file's folder; makes it when it was missing, and does it again. */
  async #withFolder<T>(file: string, doing: string, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      if (statusOf(error) !== STATUS.missing) throw answerError(error, doing);
    }
    await this.makeFolder(path.dirname(file));
    try {
      return await act();
    } catch (error) {
      throw answerError(error, doing);
    }
  }

  async #unlessMissing<T>(doing: string, start: Parameters<SftpConnection["call"]>[1]): Promise<T | undefined> {
    try {
      return await this.connection.call<T>(doing, start as never);
    } catch (error) {
      if (statusOf(error) === STATUS.missing) return undefined;
      throw answerError(error, doing);
    }
  }

  async #call<T>(doing: string, start: Parameters<typeof this.connection.call<T>>[1]): Promise<T> {
    try {
      return await this.connection.call(doing, start);
    } catch (error) {
      throw answerError(error, doing);
    }
  }
}
