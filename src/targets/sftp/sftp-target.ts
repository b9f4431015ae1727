import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { throwIfAborted } from "../../base/abort.ts";
import { HoldfastError } from "../../base/errors.ts";
import { assertObjectName, assertPrefix, isObjectName, TEMPORARY_FOLDER } from "../names.ts";
import type { CallOptions, GetOptions, ObjectStat, Target, TargetCapabilities, TargetCapacity } from "../target.ts";
import { SftpConnection, type SftpLogin } from "./sftp-connection.ts";
import { SftpFiles } from "./sftp-files.ts";
import { SftpUpload } from "./sftp-upload.ts";

/** A target on an SFTP server as plain values, for another thread. */
export interface SftpTargetSpec extends SftpLogin {
  readonly driver: "sftp";
  /** The folder that holds the objects; relative ones begin where the account's sessions begin. */
  readonly path: string;
  /** Whether the first put makes a missing `path`. Without it a missing folder is `target_unreachable`. */
  readonly create?: boolean | undefined;
}

/** Folders that are listed at a time. */
const LISTINGS = 16;

/**
 * Objects as files of a folder on an SFTP server (version 3 of the protocol), over one connection that is made on first use and made
 * anew when it was lost. A put writes `tmp/put-…`, syncs it where the server offers that, compares its size, and renames it: OpenSSH
 * never replaces by that. An existing object with the same bytes counts as stored; another one is `target_exists`. There is no
 * `begin`: what waits in memory until it is put can be put again when the connection is lost.
 */
export class SftpTarget implements Target {
  readonly capabilities: TargetCapabilities = {
    listing: "strong",
    objectTimes: true,
    versions: false,
    immutability: false,
    concurrency: 16,
  };
  readonly #spec: Omit<SftpTargetSpec, "driver">;
  #files: Promise<SftpFiles> | undefined;
  #disposed = false;

  constructor(spec: Omit<SftpTargetSpec, "driver">) {
    this.#spec = spec;
  }

  async put(name: string, parts: readonly Uint8Array[], options: CallOptions = {}): Promise<void> {
    assertObjectName(name);
    const { signal } = options;
    await this.#use(signal, async (files) => {
      await using upload = await SftpUpload.begin(files, signal);
      await upload.append(parts);
      await upload.finish(name);
    });
  }

  async get(name: string, options: GetOptions = {}): Promise<Uint8Array> {
    assertObjectName(name);
    const { range, signal } = options;
    if (range)
      assert(Number.isSafeInteger(range.offset) && range.offset >= 0 && Number.isSafeInteger(range.length) && range.length >= 0);
    return await this.#use(signal, async (files) => {
      const [stat, handle] = await files.openAndStat(name);
      try {
        if (stat === undefined || handle === undefined || !stat.isFile())
          throw new HoldfastError("target_missing_object", `There is no object ${name}`, { data: { name } });
        const { offset, length } = range ?? { offset: 0, length: stat.size };
        if (offset + length > stat.size) throw tooShort(name, stat.size, offset + length);
        const bytes = Buffer.allocUnsafeSlow(length);
        const read = await files.readInto(handle, bytes, offset, name, signal);
        if (read < length) throw tooShort(name, offset + read, offset + length);
        return bytes;
      } finally {
        if (handle !== undefined) void files.close(handle, name).catch(() => undefined);
      }
    });
  }

  async stat(name: string, options: CallOptions = {}): Promise<ObjectStat | undefined> {
    assertObjectName(name);
    return await this.#use(options.signal, async (files) => {
      const stat = await files.stat(name);
      return stat?.isFile() === true ? { name, sizeBytes: stat.size, modifiedMs: stat.mtime * 1000 } : undefined;
    });
  }

  async list(prefix: string, options: CallOptions = {}): Promise<ObjectStat[]> {
    assertPrefix(prefix);
    return await this.#use(options.signal, async (files) => {
      const found: ObjectStat[] = [];
      for (let level = [prefix]; level.length > 0;) {
        const below: string[] = [];
        const queue = level.values();
        const listSome = async (): Promise<void> => {
          for (const folder of queue) {
            throwIfAborted(options.signal);
            for (const { filename, attrs } of await files.entries(folder.slice(0, -1))) {
              const name = folder + filename;
              if (!isObjectName(name)) continue;
              const stat = attrs.isSymbolicLink() ? await files.stat(name) : attrs;
              if (stat?.isDirectory()) below.push(`${name}/`);
              else if (stat?.isFile()) found.push({ name, sizeBytes: stat.size, modifiedMs: stat.mtime * 1000 });
            }
          }
        };
        await Promise.all(Array.from({ length: Math.min(LISTINGS, level.length) }, listSome));
        level = below;
      }
      return found;
    });
  }

  async delete(name: string, options: CallOptions = {}): Promise<void> {
    assertObjectName(name);
    await this.#use(options.signal, (files) => files.remove(name));
  }

  async capacity(options: CallOptions = {}): Promise<TargetCapacity | undefined> {
    return await this.#use(options.signal, (files) => files.space());
  }

  async cleanUp(olderThanMs: number, options: CallOptions = {}): Promise<number> {
    const { signal } = options;
    return await this.#use(signal, async (files) => {
      const left = (await files.entries(TEMPORARY_FOLDER)).filter(({ attrs }) => attrs.isFile());
      if (left.length === 0) return 0;
      const before = (await serverSeconds(files)) - olderThanMs / 1000;
      let removed = 0;
      for (const { filename, attrs } of left) {
        throwIfAborted(signal);
        if (attrs.mtime < before && (await files.remove(`${TEMPORARY_FOLDER}/${filename}`))) removed++;
      }
      return removed;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    const files = this.#files;
    this.#files = undefined;
    await (await files?.catch(() => undefined))?.connection[Symbol.asyncDispose]();
  }

  async #use<T>(signal: AbortSignal | undefined, act: (files: SftpFiles) => Promise<T>): Promise<T> {
    throwIfAborted(signal);
    assert(!this.#disposed, "the target has been disposed");
    return await abortable(signal, this.#connected().then(act));
  }

  /** The connection there is, or another one where it was lost. Whoever waits for one that fails fails with it. */
  async #connected(): Promise<SftpFiles> {
    for (;;) {
      const known = (this.#files ??= this.#connect());
      try {
        const files = await known;
        if (files.connection.isOpen) return files;
        if (this.#files === known) this.#files = undefined;
      } catch (error) {
        if (this.#files === known) this.#files = undefined;
        throw error;
      }
    }
  }

  async #connect(): Promise<SftpFiles> {
    const connection = await SftpConnection.connect(this.#spec);
    try {
      const files = new SftpFiles(connection, this.#spec.path);
      await this.#checkRoot(files);
      return files;
    } catch (error) {
      await connection[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #checkRoot(files: SftpFiles): Promise<void> {
    const { path, host, create } = this.#spec;
    const stat = await files.stat("");
    if (stat === undefined && create !== true)
      throw new HoldfastError("target_unreachable", `The folder ${path} does not exist on ${host}`, {
        hint: "Check the path and, on the server, the mount; or let Holdfast create it.",
        data: { path },
      });
    if (stat !== undefined && !stat.isDirectory())
      throw new HoldfastError("target_io", `${path} on ${host} is not a folder`, {
        hint: "Give the path of a folder.",
        data: { path },
      });
  }
}

/** The server's own time, by a file made for it. */
async function serverSeconds(files: SftpFiles): Promise<number> {
  const name = `${TEMPORARY_FOLDER}/time-${randomBytes(12).toString("hex")}`;
  const handle = await files.createFile(name);
  await files.close(handle, name);
  const stat = await files.stat(name);
  await files.remove(name);
  return stat?.mtime ?? 0;
}

/** Rejects as soon as the signal fires; what is under way then ends by itself, unheard. */
async function abortable<T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  if (signal === undefined) return await work;
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  work.catch(() => undefined);
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function tooShort(name: string, sizeBytes: number, neededBytes: number): HoldfastError {
  return new HoldfastError("object_damaged", `The object ${name} ends after ${sizeBytes} bytes, ${neededBytes} were expected`, {
    data: { name, sizeBytes, neededBytes },
  });
}
