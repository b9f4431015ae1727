/**
 * The walk over a files source. It starts at `/`, enters the directories that lead to the configured paths (only on
 * the way: their other entries are not part of the source), and below a configured path takes everything that no rule
 * excludes. Of nested configured paths the innermost governs: rules are relative to it, and it is never excluded.
 */
import { constants, lstatSync } from "node:fs";
import { errnoOf, HoldfastError } from "../../base/errors.ts";
import { AT_FDCWD } from "../../posix/at.ts";
import { LONGEST_PATH_BYTES, pathText } from "../../base/path-text.ts";
import { FIRST_TIME_NS, LAST_TIME_NS, type PosixStat } from "../../posix/stat.ts";
import type { Entry, FilesWalkOptions, SourceProblem, WalkEvent, Xattr } from "../source.ts";
import { holdsCacheTag, CACHE_TAG } from "./cache-tag.ts";
import { directoryReader, type Directory, type DirectoryReader } from "./directory-reader.ts";
import { entryOf } from "./entry.ts";
import { compileExclude, nameText, type ExcludeRules } from "./exclude.ts";
import { isFrozenCopy } from "./subvolume.ts";
import { readerThrough, Views } from "./views.ts";
import { buildSelection, childNames, normalisePaths, type SelectionNode } from "./selection.ts";

/** Why an entry, or what lies in a directory, is not part of the source. `index` is the pattern's place in `exclude`. */
export type Exclusion =
  | { readonly by: "pattern"; readonly index: number }
  | { readonly by: "marker"; readonly name: string }
  | { readonly by: "size" }
  | { readonly by: "file-system" };

export interface WalkHooks {
  onProblem(problem: SourceProblem): void;
  /** Raw path of what was left out. For `marker` and `file-system` the directory itself is kept, empty. */
  onExcluded?(path: Uint8Array, rule: Exclusion): void;
}

export interface WalkSummary {
  /** Entries found in the configured paths; directories that were configured or lead there do not count. */
  readonly entries: number;
  /** Entries that were listed and gone before they could be looked at. */
  readonly vanished: number;
}

/** A directory that was entered and not yet left. */
interface Frame extends Directory {
  fd: number;
  readonly path: Buffer;
  /** Names to visit, latin1, and the next of them. */
  names: readonly string[];
  next: number;
  /** Everything in it is part of the source, not only the way to configured paths below. */
  readonly selected: boolean;
  readonly node: SelectionNode | undefined;
  /** Text of the path below the governing configured path, empty or ending in a slash; only kept when there are rules. */
  readonly relative: string;
  /** File system of the governing configured path. */
  readonly baseDevice: bigint;
  readonly inode: bigint;
  readonly device: bigint;
}

/** Deeper than this, the outermost descriptors are closed and opened again on the way back. */
const OPEN_DIRECTORIES = 128;
/** Of a file system's names. */
const LONGEST_NAME_BYTES = 255;
const LEAVE: WalkEvent = Object.freeze({ step: "leave" });
const DOT_DOT = Buffer.from("..");
const NO_NAMES: readonly string[] = Object.freeze([]);

/**
 * Walks in tree order, depth first, entries sorted by raw name; synchronous, for a thread of its own. Never follows a
 * symlink below a configured path and never opens anything but directories and cache tags. Regular files come without
 * xattrs: whoever opens them reads those. What cannot be read goes to `onProblem`; what vanished is only counted.
 * Throws `source_unavailable` when no configured path exists and `source_too_small` below `minimumEntries`.
 * Memory is bounded by the names of the directories on the current path, which has at most `LONGEST_PATH_BYTES`: a
 * directory that might hold longer ones is a problem, and comes as an unreadable one.
 */
export function* walkFiles(
  options: FilesWalkOptions,
  hooks: WalkHooks,
  reader: DirectoryReader = directoryReader(),
): Generator<WalkEvent, WalkSummary> {
  const { views = [] } = options;
  const walk = new Walk(options, hooks, views.length === 0 ? reader : readerThrough(new Views(views), reader));
  try {
    yield* walk.run();
    return { entries: walk.entries, vanished: walk.vanished };
  } finally {
    walk.closeAll();
  }
}

class Walk {
  entries = 0;
  vanished = 0;
  readonly #options: FilesWalkOptions;
  readonly #hooks: WalkHooks;
  readonly #reader: DirectoryReader;
  readonly #rules: ExcludeRules | undefined;
  readonly #stack: Frame[] = [];
  /** Frames of the stack below this one may have been closed to save descriptors. */
  #closedBelow = 0;

  constructor(options: FilesWalkOptions, hooks: WalkHooks, reader: DirectoryReader) {
    this.#options = options;
    this.#hooks = hooks;
    this.#reader = reader;
    this.#rules = compileExclude(options.exclude);
  }

  *run(): Generator<WalkEvent, void> {
    const root = buildSelection(this.#existingPaths());
    const rootEvent = this.#enterRoot(root);
    yield rootEvent;
    while (this.#stack.length > 0) {
      const frame = this.#stack[this.#stack.length - 1] as Frame;
      if (frame.next === frame.names.length) {
        if (this.#stack.length === 1) this.#checkMinimum();
        this.#leave(frame);
        yield LEAVE;
        continue;
      }
      const event = this.#visit(frame, frame.names[frame.next++] as string);
      if (event === undefined) continue;
      yield event;
      // A directory that is kept empty was not pushed.
      if (event.step === "enter" && this.#stack[this.#stack.length - 1] === frame) yield LEAVE;
    }
  }

  closeAll(): void {
    for (const frame of this.#stack) this.#close(frame);
    this.#stack.length = 0;
  }

  #existingPaths(): Buffer[] {
    const existing: Buffer[] = [];
    const problems: SourceProblem[] = [];
    for (const path of normalisePaths(this.#options.paths)) {
      try {
        const isLink = lstatSync(path).isSymbolicLink();
        existing.push(path);
        if (isLink)
          problems.push({
            path,
            reason: "symlink",
            message: `${pathText(path)} is a symbolic link: only the link is saved; name the real folder in paths`,
          });
      } catch (error) {
        problems.push(problemOf(path, error, "cannot be found"));
      }
    }
    if (existing.length === 0)
      throw new HoldfastError("source_unavailable", `None of the source's paths can be found: ${this.#pathsText()}`, {
        hint: "Check that the paths are right and that what holds them is mounted.",
      });
    for (const problem of problems) this.#hooks.onProblem(problem);
    return existing;
  }

  #checkMinimum(): void {
    const { minimumEntries } = this.#options;
    if (this.entries >= minimumEntries) return;
    throw new HoldfastError(
      "source_too_small",
      `Only ${this.entries} of at least ${minimumEntries} entries were found in ${this.#pathsText()}`,
      {
        hint: "Check that the file system is mounted. When the source is meant to be this small, lower minimumEntries.",
        data: { entries: this.entries, minimumEntries },
      },
    );
  }

  #pathsText(): string {
    return this.#options.paths.map(pathText).join(", ");
  }

  #enterRoot(node: SelectionNode): WalkEvent {
    const path = Buffer.alloc(0);
    const fd = this.#reader.openRoot();
    const root: Directory = { fd, path };
    const stat = this.#reader.statOf(root);
    if (!node.selected) {
      this.#push(fd, path, stat, { names: childNames(node), selected: false, node, relative: "", baseDevice: stat.device });
      return { step: "enter", entry: entryOf(path, stat, this.#xattrsOf(root)) };
    }
    const listing = this.#list(root, node);
    this.#push(fd, path, stat, { names: listing.names, selected: true, node, relative: "", baseDevice: stat.device });
    return { step: "enter", entry: entryOf(path, stat, this.#xattrsOf(root), { unreadable: listing.unreadable }) };
  }

  #visit(frame: Frame, latin1: string): WalkEvent | undefined {
    const path = joinPath(frame.path, latin1);
    const name = path.subarray(frame.path.length + 1);
    const node = frame.node?.children.get(latin1);
    if (node !== undefined && !node.selected && !frame.selected) return this.#pass(frame, name, path, node);

    let stat: PosixStat;
    try {
      stat = this.#reader.stat(frame, name, path);
    } catch (error) {
      return this.#lose(path, error, "cannot be looked at");
    }
    const configured = node?.selected === true;
    if (!configured && isFrozenCopy(latin1, stat)) return undefined;
    const type = stat.mode & constants.S_IFMT;
    const isDirectory = type === constants.S_IFDIR;
    // The way to a configured path goes on where the rest of a folder ends: at a link, a rule, a mount point.
    const leadsOn = node !== undefined && !configured;
    if (leadsOn && !isDirectory) return this.#pass(frame, name, path, node);

    let relative = "";
    if (this.#rules !== undefined && !configured) {
      relative = frame.relative + nameText(latin1);
      const index = this.#rules.match(relative, isDirectory);
      if (index >= 0) {
        this.#hooks.onExcluded?.(path, { by: "pattern", index });
        return leadsOn ? this.#pass(frame, name, path, node) : undefined;
      }
      relative += "/";
    }
    if (isDirectory) return this.#enter(frame, name, path, stat, { node, configured, leadsOn, relative });
    return this.#leaf(frame, name, path, stat, type, configured);
  }

  /** Enters a directory only for the configured paths below it. It may be a symlink: the configuration names its way. */
  #pass(parent: Frame, name: Buffer, path: Buffer, node: SelectionNode): WalkEvent | undefined {
    let directory: Directory | undefined;
    try {
      directory = { fd: this.#reader.open(parent, name, path, true), path };
      const stat = this.#reader.statOf(directory);
      const entry = entryOf(name, stat, this.#xattrsOf(directory));
      this.#checkTimes(path, stat);
      this.#push(directory.fd, path, stat, {
        names: childNames(node),
        selected: false,
        node,
        relative: "",
        baseDevice: stat.device,
      });
      return { step: "enter", entry };
    } catch (error) {
      if (directory !== undefined) this.#reader.close(directory.fd);
      return this.#lose(path, error, "cannot be entered");
    }
  }

  #enter(
    parent: Frame,
    name: Buffer,
    path: Buffer,
    stat: PosixStat,
    how: { node: SelectionNode | undefined; configured: boolean; leadsOn: boolean; relative: string },
  ): WalkEvent | undefined {
    const baseDevice = how.configured ? stat.device : parent.baseDevice;
    if (this.#options.oneFileSystem && stat.device !== baseDevice) {
      this.#hooks.onExcluded?.(path, { by: "file-system" });
      if (how.leadsOn) return this.#pass(parent, name, path, how.node as SelectionNode);
      this.entries++;
      this.#checkTimes(path, stat);
      return { step: "enter", entry: entryOf(name, stat, this.#xattrs(parent, name, path)) };
    }
    if (path.length > LONGEST_PATH_BYTES - LONGEST_NAME_BYTES - 1) {
      this.#hooks.onProblem({
        path,
        reason: "ENAMETOOLONG",
        message: `${pathText(path)} is saved without its content: paths in it may have more than ${LONGEST_PATH_BYTES} bytes`,
      });
      if (!how.configured) this.entries++;
      return { step: "enter", entry: entryOf(name, stat, this.#xattrs(parent, name, path), { unreadable: true }) };
    }
    let fd: number;
    try {
      fd = this.#reader.open(parent, name, path, false);
    } catch (error) {
      const code = errnoOf(error);
      if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP")
        return this.#lose(path, error, "was replaced while it was read");
      this.#hooks.onProblem(problemOf(path, error, "cannot be opened"));
      if (!how.configured) this.entries++;
      return { step: "enter", entry: entryOf(name, stat, this.#xattrs(parent, name, path), { unreadable: true }) };
    }
    const listing = this.#list({ fd, path }, how.node);
    if (listing.vanished) {
      this.#reader.close(fd);
      this.vanished++;
      return undefined;
    }
    this.#checkTimes(path, stat);
    if (!how.configured) this.entries++;
    const entry = entryOf(name, stat, this.#xattrs(parent, name, path), { unreadable: listing.unreadable });
    if (listing.names.length === 0) this.#reader.close(fd);
    else this.#push(fd, path, stat, { names: listing.names, selected: true, node: how.node, relative: how.relative, baseDevice });
    return { step: "enter", entry };
  }

  #list(
    directory: Directory,
    node: SelectionNode | undefined,
  ): { readonly names: readonly string[]; readonly unreadable: boolean; readonly vanished: boolean } {
    let names: readonly string[];
    try {
      names = this.#reader.list(directory);
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return { names: NO_NAMES, unreadable: false, vanished: true };
      this.#hooks.onProblem(problemOf(directory.path, error, "cannot be listed"));
      return { names: childNames(node), unreadable: true, vanished: false };
    }
    const marker = this.#options.excludeIfPresent.find((name) => this.#isMarked(directory, names, name));
    if (marker === undefined) return { names, unreadable: false, vanished: false };
    this.#hooks.onExcluded?.(directory.path, { by: "marker", name: marker });
    return { names: childNames(node), unreadable: false, vanished: false };
  }

  #isMarked(directory: Directory, names: readonly string[], marker: string): boolean {
    if (!names.includes(Buffer.from(marker).toString("latin1"))) return false;
    return marker !== CACHE_TAG || holdsCacheTag(this.#reader, directory);
  }

  #leaf(parent: Frame, name: Buffer, path: Buffer, stat: PosixStat, type: number, configured: boolean): WalkEvent | undefined {
    if (type === constants.S_IFREG) {
      const limit = this.#options.excludeLargerThanBytes;
      if (limit !== undefined && stat.size > limit && !configured) {
        this.#hooks.onExcluded?.(path, { by: "size" });
        return undefined;
      }
      this.entries++;
      this.#checkTimes(path, stat);
      return { step: "leaf", entry: entryOf(name, stat, [], { open: path }) };
    }
    let entry: Entry;
    try {
      const linkTarget = type === constants.S_IFLNK ? this.#reader.readlink(parent, name, path) : undefined;
      entry = entryOf(name, stat, this.#xattrs(parent, name, path), { linkTarget });
    } catch (error) {
      // EINVAL: no symlink any more.
      return this.#lose(path, error, "was replaced while it was read");
    }
    this.entries++;
    this.#checkTimes(path, stat);
    return { step: "leaf", entry };
  }

  /** A time that no snapshot can hold must not stop a backup, and must not pass for the true one. */
  #checkTimes(path: Buffer, { mtimeNs, ctimeNs }: PosixStat): void {
    for (const time of [mtimeNs, ctimeNs]) {
      if (time !== LAST_TIME_NS && time !== FIRST_TIME_NS) continue;
      const message = `${pathText(path)} has a time outside of 1677 to 2262, and is saved with the nearest that fits (EOVERFLOW)`;
      this.#hooks.onProblem({ path, reason: "EOVERFLOW", message });
      return;
    }
  }

  #xattrs(parent: Frame, name: Buffer, path: Buffer): readonly Xattr[] {
    try {
      return this.#reader.xattrs(parent, name, path);
    } catch (error) {
      return this.#withoutXattrs(path, error);
    }
  }

  #xattrsOf(directory: Directory): readonly Xattr[] {
    try {
      return this.#reader.xattrsOf(directory);
    } catch (error) {
      return this.#withoutXattrs(directory.path, error);
    }
  }

  #withoutXattrs(path: Buffer, error: unknown): readonly Xattr[] {
    if (errnoOf(error) !== "ENOENT") this.#hooks.onProblem(problemOf(path, error, "is saved without its extended attributes"));
    return [];
  }

  /** An entry that cannot be part of the snapshot: counted when it is merely gone, else reported. */
  #lose(path: Buffer, error: unknown, what: string): undefined {
    if (errnoOf(error) === "ENOENT") this.vanished++;
    else this.#hooks.onProblem(problemOf(path, error, what));
  }

  #push(
    fd: number,
    path: Buffer,
    stat: PosixStat,
    rest: Pick<Frame, "names" | "selected" | "node" | "relative" | "baseDevice">,
  ): void {
    this.#stack.push({ fd, path, next: 0, inode: stat.inode, device: stat.device, ...rest });
    if (this.#stack.length - this.#closedBelow > OPEN_DIRECTORIES) this.#close(this.#stack[this.#closedBelow++] as Frame);
  }

  #leave(frame: Frame): void {
    this.#stack.pop();
    const parent = this.#stack[this.#stack.length - 1];
    if (parent !== undefined && this.#closedBelow === this.#stack.length) {
      this.#closedBelow--;
      this.#reopen(parent, frame);
    }
    this.#close(frame);
  }

  /** Opens a directory again that was closed to save descriptors: through its child, or else by its path. */
  #reopen(frame: Frame, child: Frame): void {
    if (!this.#reader.usesDescriptors) return;
    const ways = [
      (): number => this.#reader.open(child, DOT_DOT, frame.path, false),
      (): number => this.#reader.open({ fd: AT_FDCWD, path: frame.path }, frame.path, frame.path, true),
    ];
    let failure: unknown;
    for (const open of ways) {
      try {
        const fd = open();
        const stat = this.#reader.statOf({ fd, path: frame.path });
        if (stat.inode === frame.inode && stat.device === frame.device) {
          frame.fd = fd;
          return;
        }
        this.#reader.close(fd);
      } catch (error) {
        failure = error;
      }
    }
    if (frame.next < frame.names.length)
      this.#hooks.onProblem(problemOf(frame.path, failure, "was moved while it was read; the rest of it is missing"));
    frame.names = NO_NAMES;
    frame.next = 0;
  }

  #close(frame: Frame): void {
    if (frame.fd >= 0) this.#reader.close(frame.fd);
    frame.fd = -1;
  }
}

function joinPath(parent: Buffer, latin1: string): Buffer {
  const path = Buffer.allocUnsafe(parent.length + 1 + latin1.length);
  path.set(parent);
  path[parent.length] = 0x2f;
  path.write(latin1, parent.length + 1, "latin1");
  return path;
}

function problemOf(path: Uint8Array, error: unknown, what: string): SourceProblem {
  const reason = errnoOf(error) ?? "moved";
  return { path, reason, message: `${path.length === 0 ? "/" : pathText(path)} ${what} (${reason})` };
}
