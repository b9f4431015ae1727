/**
 * Reading a place under another path than its own: what lies at `/srv/data` is read from a snapshot of its file system, and is
 * `/srv/data` all the same in every entry and every message.
 */
import { AT_FDCWD } from "../../posix/at.ts";
import type { FilesWalkOptions, View } from "../source.ts";
import type { Directory, DirectoryReader } from "./directory-reader.ts";
import { EMPTY_SUBVOLUME } from "./subvolume.ts";

const SLASH = 0x2f;

/** Where paths are read; see `View`. */
export class Views {
  readonly #at: ReadonlyMap<string, Buffer>;
  /** The innermost first. */
  readonly #prefixes: readonly Buffer[];

  constructor(views: readonly View[]) {
    this.#at = new Map(views.map(({ path, at }) => [keyOf(path), Buffer.from(at)]));
    this.#prefixes = views.map(({ path }) => Buffer.from(path)).sort((a, b) => b.length - a.length);
  }

  /** The place of a path that is a view's own; undefined for what merely lies below one. */
  own(path: Uint8Array): Buffer | undefined {
    return this.#at.get(keyOf(path));
  }

  /** Where to open an absolute path. */
  place(path: Uint8Array): Uint8Array {
    for (const prefix of this.#prefixes) {
      const length = keyOf(prefix) === "" ? 0 : prefix.length;
      if (path.length < length || (path.length > length && path[length] !== SLASH)) continue;
      if (Buffer.compare(path.subarray(0, length), prefix.subarray(0, length)) !== 0) continue;
      return Buffer.concat([this.#at.get(keyOf(prefix)) as Buffer, path.subarray(length)]);
    }
    return path;
  }
}

/** Says where the content of a walk's files is opened. */
export function placesOf(walk: FilesWalkOptions | undefined): (path: Uint8Array) => Uint8Array {
  if (walk?.views === undefined || walk.views.length === 0) return (path) => path;
  const views = new Views(walk.views);
  return (path) => views.place(path);
}

/** The root is the empty path to a walk, and a slash to everybody else. */
function keyOf(path: Uint8Array): string {
  const key = Buffer.from(path.buffer, path.byteOffset, path.byteLength).toString("latin1");
  return key === "/" ? "" : key;
}

/** The reader, with every view in the place of what it stands for. Needs a reader that works with descriptors. */
export function readerThrough(views: Views, reader: DirectoryReader): DirectoryReader {
  const nowhere: Directory = { fd: AT_FDCWD, path: Buffer.alloc(0) };
  /** A view is reached by its own path, and so is what is opened without a descriptor of its parent. */
  const through = <Result>(
    act: (parent: Directory, name: Uint8Array, path: Buffer) => Result,
  ): ((parent: Directory, name: Uint8Array, path: Buffer) => Result) => {
    return (parent, name, path) => {
      const at = parent.fd === AT_FDCWD ? views.place(path) : views.own(path);
      return at === undefined ? act(parent, name, path) : act(nowhere, at, path);
    };
  };
  const open = (follow: boolean): ((parent: Directory, name: Uint8Array, path: Buffer) => number) =>
    through((parent, name, path) => reader.open(parent, name, path, follow));
  const opens = { follow: open(true), refuse: open(false) };
  return {
    ...reader,
    openRoot: () => {
      const at = views.own(nowhere.path);
      return at === undefined ? reader.openRoot() : reader.open(nowhere, at, nowhere.path, true);
    },
    stat: through((parent, name, path) => reader.stat(parent, name, path)),
    open: (parent, name, path, follow) => (follow ? opens.follow : opens.refuse)(parent, name, path),
    openFile: through((parent, name, path) => reader.openFile(parent, name, path)),
    readlink: through((parent, name, path) => reader.readlink(parent, name, path)),
    xattrs: through((parent, name, path) => reader.xattrs(parent, name, path)),
    list: (directory) => {
      const names = reader.list(directory);
      if (names.length === 0 && reader.statOf(directory).inode === EMPTY_SUBVOLUME)
        throw Object.assign(new Error("a subvolume that the snapshot does not have"), { code: "subvolume_not_in_snapshot" });
      return names;
    },
  };
}
