import { closeSync, constants } from "node:fs";
import { errnoOf } from "../../base/errors.ts";
import { linkAt, mkdirAt, mknodAt, O_PATH, openAt, pathBelow, renameAt, symlinkAt, unlinkAt } from "../../posix/at.ts";
import { statFd } from "../../posix/stat.ts";
import type { Entry } from "../../sources/source.ts";
import { rawBytes, splitPath, type Directories } from "./directories.ts";
import type { FileWriter } from "./file-writer.ts";
import { currentXattrs, setEntryMetadata, type Lose } from "./metadata.ts";
import { formatBits } from "./verdict.ts";

const OPEN_ENTRY = O_PATH | constants.O_NOFOLLOW;
const DOT = Buffer.from(".");

/** Makes everything that has no content: folders, links, devices; and sets metadata of what is there. Errors are system errors. */
export class EntryMaker {
  readonly #directories: Directories;
  readonly #writer: FileWriter;

  constructor(directories: Directories, writer: FileWriter) {
    this.#directories = directories;
    this.#writer = writer;
  }

  /** Makes a folder that only this process may enter until its metadata is set. One that appeared meanwhile is used. */
  makeFolder(path: string, replaces: boolean): void {
    const { parent, name } = splitPath(path);
    const dirFd = this.#directories.open(parent);
    if (replaces) unlinkAt(dirFd, rawBytes(name));
    try {
      mkdirAt(dirFd, rawBytes(name), 0o700);
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
      // Fails unless it is a folder.
      this.#directories.open(path);
    }
  }

  /** Sets what a folder has in the end. */
  settleFolder(path: string, entry: Entry, lose: Lose): void {
    const fd = this.#directories.open(path);
    const stat = statFd(fd);
    const xattrs = currentXattrs(pathBelow(fd, DOT));
    const current = { uid: stat.uid, gid: stat.gid, mode: stat.mode & 0o7777, xattrs };
    setEntryMetadata({ fd, dirFd: fd, name: DOT, format: constants.S_IFDIR }, entry.meta, current, lose);
  }

  /** Makes a symlink, device, FIFO or socket under a temporary name, and puts it in its place. */
  makeSpecial(path: string, entry: Entry, mustCreate: boolean, lose: Lose): void {
    const { parent, name } = splitPath(path);
    const dirFd = this.#directories.open(parent);
    const temporary = this.#writer.temporaryName();
    if (entry.type === "symlink") symlinkAt(entry.linkTarget ?? new Uint8Array(), dirFd, temporary);
    else mknodAt(dirFd, temporary, formatBits(entry.type) | 0o600, entry.rdev ?? 0n);
    try {
      this.#setMetadata(dirFd, temporary, entry, lose);
      this.#writer.rename(dirFd, temporary, name, mustCreate);
    } catch (error) {
      unlinkAt(dirFd, temporary);
      throw error;
    }
  }

  /** A second name for what was restored at `first`. */
  makeLink(first: string, path: string): void {
    const from = splitPath(first);
    const to = splitPath(path);
    const fromFd = this.#directories.open(from.parent);
    const toFd = this.#directories.open(to.parent);
    const temporary = this.#writer.temporaryName();
    linkAt(fromFd, rawBytes(from.name), toFd, temporary);
    try {
      renameAt(toFd, temporary, toFd, rawBytes(to.name));
    } catch (error) {
      unlinkAt(toFd, temporary);
      throw error;
    }
    try {
      // Renaming one name of a file over another name of it does nothing, and leaves both.
      unlinkAt(toFd, temporary);
    } catch (error) {
      if (errnoOf(error) !== "ENOENT") throw error;
    }
  }

  /** Metadata of an existing entry whose content is right. */
  settleEntry(path: string, entry: Entry, lose: Lose): void {
    const { parent, name } = splitPath(path);
    this.#setMetadata(this.#directories.open(parent), rawBytes(name), entry, lose);
  }

  #setMetadata(dirFd: number, name: Buffer, entry: Entry, lose: Lose): void {
    const fd = openAt(dirFd, name, OPEN_ENTRY);
    try {
      const stat = statFd(fd);
      const format = stat.mode & constants.S_IFMT;
      // Somebody put something else there: it is not ours to change.
      if (format !== formatBits(entry.type)) throw Object.assign(new Error("it was replaced"), { code: "EEXIST" });
      const xattrs = currentXattrs(pathBelow(dirFd, name));
      setEntryMetadata(
        { fd, dirFd, name, format },
        entry.meta,
        { uid: stat.uid, gid: stat.gid, mode: stat.mode & 0o7777, xattrs },
        lose,
      );
    } finally {
      closeSync(fd);
    }
  }
}
