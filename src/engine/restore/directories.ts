import { closeSync, constants } from "node:fs";
import { O_PATH, openAt } from "../../posix/at.ts";

const OPEN_DIRECTORY = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const KEPT = 64;

/** Bytes of a path or name that is kept one character a byte. */
export function rawBytes(latin1: string): Buffer {
  return Buffer.from(latin1, "latin1");
}

/** Parent and last component of a relative path. */
export function splitPath(path: string): { readonly parent: string; readonly name: string } {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? { parent: "", name: path } : { parent: path.slice(0, slash), name: path.slice(slash + 1) };
}

export function joinPath(parent: string, name: string): string {
  return parent === "" ? name : `${parent}/${name}`;
}

/**
 * Descriptors of folders below one that is open, reached a component at a time and never through a symlink: whoever
 * swaps a parent gets an error or the folder that was there before, and nothing elsewhere. Paths may be of any length.
 * A descriptor is valid until 64 others have been asked for. Owns the descriptor of the top.
 */
export class Directories implements Disposable {
  readonly #top: number;
  /** In the order of their last use. */
  readonly #open = new Map<string, number>();

  constructor(top: number) {
    this.#top = top;
  }

  /** Throws system errors: ENOENT, ENOTDIR for a symlink or a file in between. */
  open(path: string): number {
    if (path === "") return this.#top;
    const known = this.#open.get(path);
    if (known !== undefined) {
      this.#open.delete(path);
      this.#open.set(path, known);
      return known;
    }
    // The deepest folder that is open, then down; a loop, since paths may have thousands of components.
    let cut = path.lastIndexOf("/");
    let fd: number | undefined;
    while (cut > 0 && (fd = this.#open.get(path.slice(0, cut))) === undefined) cut = path.lastIndexOf("/", cut - 1);
    fd ??= this.#top;
    for (let start = cut < 0 ? 0 : cut + 1; start <= path.length;) {
      const slash = path.indexOf("/", start);
      const end = slash < 0 ? path.length : slash;
      const next = openAt(fd, rawBytes(path.slice(start, end)), OPEN_DIRECTORY);
      this.#keep(path.slice(0, end), next);
      fd = next;
      start = end + 1;
    }
    return fd;
  }

  #keep(path: string, fd: number): void {
    this.#open.set(path, fd);
    if (this.#open.size <= KEPT) return;
    for (const [oldest, old] of this.#open) {
      this.#open.delete(oldest);
      closeSync(old);
      return;
    }
  }

  [Symbol.dispose](): void {
    for (const fd of this.#open.values()) closeSync(fd);
    this.#open.clear();
    closeSync(this.#top);
  }
}
