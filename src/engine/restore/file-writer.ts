import { closeSync, constants, ftruncateSync, writeSync } from "node:fs";
import { errnoOf, HoldfastError } from "../../base/errors.ts";
import { openAt, pathBelow, renameAt, unlinkAt } from "../../posix/at.ts";
import { statFd } from "../../posix/stat.ts";
import { getXattr } from "../../posix/xattr.ts";
import { rawBytes, type Directories } from "./directories.ts";
import { setFileMetadata, currentXattrs, type Lose, type RestoredMeta } from "./metadata.ts";

/** Temporary files of a restore begin like this; nothing else does. */
export const TEMPORARY_PREFIX = ".holdfast-";

const OPEN_NEW = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const DOT = Buffer.from(".");
const DEFAULT_ACL = Buffer.from("system.posix_acl_default");
/** Folders whose habits are remembered. */
const REMEMBERED = 4096;
const SPECIAL_BITS = 0o7000;

/** One file to be written. */
export interface FileTask {
  /** Latin1 path of its folder below the destination. */
  readonly folder: string;
  readonly name: string;
  readonly meta: RestoredMeta;
  readonly size: number;
  /** Fail rather than replace what appeared meanwhile. */
  readonly mustCreate: boolean;
}

/** What a folder does to new files in it. */
interface Habits {
  /** Group that new files get. */
  readonly gid: number;
  readonly defaultAcl: boolean;
}

/** A file under way: written under a temporary name in its own folder. */
export class WritingFile {
  readonly task: FileTask;
  readonly fd: number;
  readonly temporary: Buffer;
  readonly habits: Habits;
  readonly openMode: number;
  end = 0;

  constructor(task: FileTask, fd: number, temporary: Buffer, habits: Habits, openMode: number) {
    this.task = task;
    this.fd = fd;
    this.temporary = temporary;
    this.habits = habits;
    this.openMode = openMode;
  }
}

/**
 * Writes files so that a final name is the old content or the whole new one, at any moment: a temporary file, made with
 * O_EXCL in the final folder, gets content and metadata and is then renamed. Errors are system errors.
 */
export class FileWriter {
  readonly #directories: Directories;
  readonly #token: string;
  readonly #uid: number;
  readonly #umask: number;
  readonly #habits = new Map<string, Habits>();
  #count = 0;

  constructor(directories: Directories, options: { readonly token: string; readonly uid: number; readonly umask: number }) {
    this.#directories = directories;
    this.#token = options.token;
    this.#uid = options.uid;
    this.#umask = options.umask;
  }

  /** A name for something temporary; never given twice. */
  temporaryName(): Buffer {
    return rawBytes(`${TEMPORARY_PREFIX}${this.#token}-${this.#count++}`);
  }

  begin(task: FileTask): WritingFile {
    const dirFd = this.#directories.open(task.folder);
    const temporary = this.temporaryName();
    const known = this.#habits.get(task.folder);
    const { meta } = task;
    // Opened as it will be where that is safe: three calls less for most files.
    const simple =
      known !== undefined &&
      !known.defaultAcl &&
      meta.uid === this.#uid &&
      meta.gid === known.gid &&
      meta.xattrs.length === 0 &&
      (meta.mode & (SPECIAL_BITS | this.#umask)) === 0;
    const openMode = simple ? meta.mode : 0o600;
    const fd = openAt(dirFd, temporary, OPEN_NEW, openMode);
    return new WritingFile(task, fd, temporary, known ?? this.#learn(task.folder, dirFd, fd), openMode & ~this.#umask);
  }

  write(file: WritingFile, offset: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) at += writeSync(file.fd, bytes, at, bytes.length - at, offset + at);
    file.end = Math.max(file.end, offset + bytes.length);
  }

  /** Gives the file its size, metadata and name. */
  finish(file: WritingFile, lose: Lose): void {
    const { task, fd, habits } = file;
    try {
      if (file.end < task.size) ftruncateSync(fd, task.size);
      const xattrs = habits.defaultAcl ? currentXattrs(fd) : undefined;
      // With a default ACL the bits of a new file are the ACL's; whatever they are, they are set.
      const mode = habits.defaultAcl ? -1 : file.openMode;
      setFileMetadata(fd, task.meta, { uid: this.#uid, gid: habits.gid, mode, xattrs }, lose);
      const dirFd = this.#directories.open(task.folder);
      this.rename(dirFd, file.temporary, task.name, task.mustCreate);
    } catch (error) {
      this.abandon(file);
      throw error;
    }
    closeSync(fd);
  }

  /** Removes an unfinished file. */
  abandon(file: WritingFile): void {
    closeSync(file.fd);
    try {
      unlinkAt(this.#directories.open(file.task.folder), file.temporary);
    } catch {
      // Its folder was moved or removed by someone else, and the file with it.
    }
  }

  /** Puts a finished temporary entry in its place. */
  rename(dirFd: number, temporary: Uint8Array, name: string, mustCreate: boolean): void {
    const bytes = rawBytes(name);
    if (mustCreate) {
      try {
        renameAt(dirFd, temporary, dirFd, bytes, { noReplace: true });
        return;
      } catch (error) {
        // Some file systems cannot promise it; nothing was there when the plan was made.
        const code = errnoOf(error);
        if (code !== "EINVAL" && code !== "ENOSYS") throw error;
      }
    }
    renameAt(dirFd, temporary, dirFd, bytes);
  }

  #learn(folder: string, dirFd: number, fd: number): Habits {
    if (this.#habits.size >= REMEMBERED) this.#habits.clear();
    let defaultAcl = true;
    try {
      defaultAcl = getXattr(pathBelow(dirFd, DOT), DEFAULT_ACL) !== undefined;
    } catch {
      // What cannot be told is treated as if it were so: that only costs calls.
    }
    const habits = { gid: statFd(fd).gid, defaultAcl };
    this.#habits.set(folder, habits);
    return habits;
  }
}

const FATAL: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EROFS", "EMFILE", "ENFILE", "ENOMEM"]);
const FATAL_HINTS: Readonly<Record<string, string>> = {
  ENOSPC: "Free space there and run the restore again: what is restored already is left as it is.",
  EDQUOT: "The quota is used up. Raise it and run the restore again: what is restored already is left as it is.",
  EROFS: "The file system is mounted read-only. Mount it for writing, or restore elsewhere with --to.",
};

/** A failure that ends the restore, or undefined when it concerns one entry alone. */
export function fatalError(error: unknown, shown: string): HoldfastError | undefined {
  const code = errnoOf(error);
  if (error instanceof HoldfastError || code === undefined || !FATAL.has(code)) return undefined;
  return new HoldfastError("restore_failed", `The restore stopped: ${shown} could not be written (${code})`, {
    hint: FATAL_HINTS[code] ?? "The system has no more of something it needs; raise its limits or stop other programs.",
    cause: error,
    data: { path: shown, reason: code },
  });
}

/** A failure of one entry. */
export function entryError(error: unknown, shown: string, what: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const code = errnoOf(error);
  if (code === undefined) throw error;
  if (code === "ENOTDIR" || code === "ELOOP")
    return new HoldfastError("restore_refused", `${shown} ${what}: a folder above it was replaced by a symbolic link or a file`, {
      hint: "Someone changes the destination during the restore. Nothing outside it was touched; run it again.",
      cause: error,
    });
  if (code === "EEXIST" || code === "EISDIR" || code === "ENOTEMPTY")
    return new HoldfastError("restore_conflict", `${shown} ${what}: something else appeared there during the restore`, {
      hint: "Run the restore again; it looks anew at what exists.",
      cause: error,
    });
  return new HoldfastError("restore_failed", `${shown} ${what} (${code})`, {
    hint:
      code === "EACCES" || code === "EPERM"
        ? "Restore as a user who may write there."
        : "The other entries were restored; run it again for this one.",
    cause: error,
    data: { path: shown, reason: code },
  });
}
