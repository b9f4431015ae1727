import { constants, readdirSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { errnoOf, HoldfastError } from "../../base/errors.ts";
import { pathText } from "../../base/path-text.ts";
import { pathBelow, readlinkAt } from "../../posix/at.ts";
import { statAt, statFd, type PosixStat } from "../../posix/stat.ts";
import { readXattrs } from "../../posix/xattr.ts";
import type { SnapshotEntry } from "../../formats/format.ts";
import { compileExclude, nameText, type ExcludeRules } from "../../sources/files/exclude.ts";
import { checkRequest, destinationPath, openDestination, protectedPaths, shownPath } from "./destination.ts";
import { assertWithin } from "./confine.ts";
import { Directories, joinPath, rawBytes, splitPath } from "./directories.ts";
import type { EntryAction, RestoreAction, RestoreRequest } from "./restore.ts";
import { decide, type LiveEntry } from "./verdict.ts";

/** Actions handed out together. */
const BATCH = 512;

/** What a restore would do, counted, with the first paths of each kind. */
export interface PlanSummary {
  readonly create: number;
  readonly replace: number;
  readonly metadata: number;
  readonly keep: number;
  readonly delete: number;
  readonly conflicts: number;
  readonly directories: number;
  /** Files to be written, and their bytes. */
  readonly files: number;
  readonly bytes: number;
}

/**
 * The steps of a restore in walk order, decided from the snapshot and from what exists now; reads only. Lazy: a folder is
 * looked at when its turn comes, and memory is bounded by the current path. Rejects with `path_missing`,
 * `confirmation_required` or `restore_refused`.
 */
export async function* planRestore(
  request: RestoreRequest,
  signal: AbortSignal,
): AsyncGenerator<readonly RestoreAction[], void, undefined> {
  checkRequest(request);
  const top = openDestination(destinationPath(request));
  using live = top === undefined ? undefined : new Directories(top);
  if (top !== undefined && request.destination.kind === "folder") assertWithin(top, request.within);
  yield* new Planner(request, live, signal).run();
}

/** The entry that `request` names. Rejects with `path_missing`. */
export async function wantedEntry(
  request: Pick<RestoreRequest, "store" | "snapshot" | "path">,
  signal: AbortSignal,
): Promise<SnapshotEntry> {
  const { store, snapshot, path } = request;
  const wanted = await store.lookup(snapshot, path, signal);
  if (wanted !== undefined) return wanted;
  throw new HoldfastError("path_missing", `Snapshot ${snapshot.id.slice(0, 8)} has no ${pathText(path)}`, {
    hint: "List a folder with `holdfast ls`, or search with `holdfast find`.",
  });
}

/** Runs a plan to its end and counts; `each` sees every batch. */
export async function summarisePlan(
  request: RestoreRequest,
  signal: AbortSignal,
  each: (actions: readonly RestoreAction[]) => void = () => undefined,
): Promise<PlanSummary> {
  const sum = { create: 0, replace: 0, metadata: 0, keep: 0, delete: 0, conflicts: 0, directories: 0, files: 0, bytes: 0 };
  for await (const actions of planRestore(request, signal)) {
    each(actions);
    for (const action of actions) {
      if (action.act === "enter") sum.directories += action.exists ? 0 : 1;
      else if (action.act === "conflict" || action.act === "damaged") sum.conflicts++;
      else if (action.act !== "exit") sum[action.act]++;
      if (isWrite(action)) {
        sum.files++;
        sum.bytes += contentBytes(action.entry);
      }
    }
  }
  return sum;
}

/** Live paths (absolute, raw) that the restore replaces, deletes or changes: what a safety snapshot must hold. */
export async function* touchedPaths(
  request: RestoreRequest,
  signal: AbortSignal,
): AsyncGenerator<readonly Buffer[], void, undefined> {
  const top = destinationPath(request);
  const prefix = top.at(-1) === 0x2f ? top : Buffer.concat([top, Buffer.from("/")]);
  for await (const actions of planRestore(request, signal)) {
    const touched = actions.filter(
      (action) =>
        action.act === "replace" ||
        action.act === "metadata" ||
        action.act === "delete" ||
        (action.act === "enter" && action.replaces),
    );
    if (touched.length > 0) yield touched.map((action) => Buffer.concat([prefix, rawBytes(action.path)]));
  }
}

/** True for an action that writes a file's content. */
export function isWrite(action: RestoreAction): action is EntryAction {
  return (action.act === "create" || action.act === "replace") && action.entry.entry.type === "file";
}

/** Bytes of a file without its holes. */
export function contentBytes(entry: SnapshotEntry): number {
  return entry.extents === undefined ? entry.entry.size : entry.extents.reduce((sum, extent) => sum + extent.length, 0);
}

interface Frame {
  readonly entry: SnapshotEntry | undefined;
  /** Live, below the destination. */
  readonly path: string;
  /** In the snapshot, without the leading slash; latin1, and as text for rules. */
  readonly origin: string;
  readonly text: string;
  readonly exists: boolean;
  readonly replaces: boolean;
  readonly settle: boolean;
  readonly way: boolean;
  readonly included: boolean;
  readonly batches: AsyncIterator<readonly SnapshotEntry[]>;
  batch: readonly SnapshotEntry[];
  next: number;
  entered: boolean;
  /** Live names in order, for finding what the snapshot lacks; undefined where nothing is deleted. */
  names: readonly string[] | undefined;
  nextName: number;
}

class Planner {
  readonly #request: RestoreRequest;
  readonly #live: Directories | undefined;
  readonly #signal: AbortSignal;
  readonly #include: ExcludeRules | undefined;
  readonly #exclude: ExcludeRules | undefined;
  readonly #roots: readonly string[] | undefined;
  readonly #protected: readonly string[];
  readonly #unreadable: ReadonlySet<string>;
  readonly #stack: Frame[] = [];
  #out: RestoreAction[] = [];

  constructor(request: RestoreRequest, live: Directories | undefined, signal: AbortSignal) {
    this.#request = request;
    this.#live = live;
    this.#signal = signal;
    this.#include = compileExclude(request.include);
    this.#exclude = compileExclude(request.exclude);
    this.#roots = request.roots?.map((root) =>
      Buffer.from(root)
        .toString("latin1")
        .replace(/^\/+|\/+$/g, ""),
    );
    this.#protected = protectedPaths(request);
    this.#unreadable = new Set(request.snapshot.unreadable.map(({ path }) => path));
  }

  async *run(): AsyncGenerator<readonly RestoreAction[], void, undefined> {
    try {
      await this.#begin();
      for (let frame = this.#stack.at(-1); frame !== undefined; frame = this.#stack.at(-1)) {
        if (this.#out.length >= BATCH) {
          yield this.#out;
          this.#out = [];
          // Looking at what exists is synchronous; others get their turn.
          await nextTurn();
          this.#signal.throwIfAborted();
        }
        const entry = frame.batch[frame.next++];
        if (entry !== undefined) this.#visit(frame, entry);
        else if (!(await this.#more(frame))) this.#leave(frame);
      }
      if (this.#out.length > 0) yield this.#out;
    } finally {
      for (const frame of this.#stack) await frame.batches.return?.();
    }
  }

  /** Puts the folders on the stack that lead to what is restored. */
  async #begin(): Promise<void> {
    const { store, snapshot, destination } = this.#request;
    const wanted = await wantedEntry(this.#request, this.#signal);
    const isFolder = wanted.entry.type === "directory";
    if (destination.kind === "folder") {
      const origin = originOf(wanted);
      if (isFolder)
        this.#push(wanted, "", origin, this.#live === undefined ? undefined : ROOT_EXISTS, { way: this.#isWay(origin) });
      else this.#pushOne(undefined, "", splitPath(origin).parent, wanted, this.#live !== undefined);
      return;
    }
    const names = originOf(wanted) === "" ? [] : originOf(wanted).split("/");
    if (names.length === 0) {
      this.#push(wanted, "", "", ROOT_EXISTS, { way: this.#isWay("") });
      return;
    }
    // Folders above a chosen path: made when they are missing, else left as they are.
    const chain: SnapshotEntry[] = [];
    for (let depth = 0; depth < names.length; depth++) {
      const above = await store.lookup(snapshot, Buffer.from(`/${names.slice(0, depth).join("/")}`, "latin1"), this.#signal);
      if (above !== undefined) chain.push(above);
    }
    for (const [depth, above] of chain.entries()) {
      const origin = names.slice(0, depth).join("/");
      const exists = depth === 0 || this.#folderAt(origin);
      if (exists === "conflict") return;
      // The folders between are on the stack already; only the last one still has something to visit.
      this.#pushOne(above, origin, origin, depth === chain.length - 1 ? wanted : undefined, exists);
    }
  }

  #folderAt(path: string): boolean | "conflict" {
    const { parent, name } = splitPath(path);
    const stat = this.#stack.at(-1)?.exists === true ? this.#stat(parent, name) : undefined;
    if (stat === undefined || (stat.mode & constants.S_IFMT) === constants.S_IFDIR) return stat !== undefined;
    this.#conflict(path, stat, "folder");
    return "conflict";
  }

  /** A folder of which at most one entry is restored. */
  #pushOne(
    entry: SnapshotEntry | undefined,
    path: string,
    origin: string,
    child: SnapshotEntry | undefined,
    exists: boolean,
  ): void {
    this.#stack.push({
      entry,
      path,
      origin,
      text: textOf(origin),
      exists,
      replaces: false,
      settle: !exists && entry !== undefined && origin !== "",
      way: true,
      included: this.#include === undefined,
      batches: emptyIterator(),
      batch: child === undefined ? [] : [child],
      next: 0,
      entered: false,
      names: undefined,
      nextName: 0,
    });
  }

  async #more(frame: Frame): Promise<boolean> {
    try {
      const next = await frame.batches.next();
      if (next.done === true) return false;
      frame.batch = next.value;
      frame.next = 0;
      return true;
    } catch (error) {
      if (this.#signal.aborted || !(error instanceof HoldfastError) || error.transient) throw error;
      // What is missing in a damaged folder is unknown: nothing more of it is deleted.
      frame.names = undefined;
      this.#need();
      this.#out.push({ act: "damaged", path: frame.path, error });
      frame.batch = [];
      frame.next = 0;
      return false;
    }
  }

  #visit(frame: Frame, entry: SnapshotEntry): void {
    const name = Buffer.from(entry.entry.name).toString("latin1");
    this.#deleteUpTo(frame, name);
    const isFolder = entry.entry.type === "directory";
    const origin = joinPath(frame.origin, name);
    const text = joinPath(frame.text, nameText(name));
    if (this.#exclude !== undefined && this.#exclude.match(text, isFolder) >= 0) return;
    const included = frame.included || this.#include === undefined || this.#include.match(text, isFolder) >= 0;
    if (!included && !isFolder) return;
    const path = joinPath(frame.path, name);
    let stat: PosixStat | undefined;
    try {
      stat = frame.exists ? this.#stat(frame.path, name) : undefined;
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      this.#need();
      this.#out.push({ act: "conflict", path, error });
      return;
    }
    if (isFolder) this.#visitFolder(entry, path, origin, stat, included);
    else this.#visitEntry(frame, entry, path, name, stat);
  }

  #visitFolder(entry: SnapshotEntry, path: string, origin: string, stat: PosixStat | undefined, included: boolean): void {
    const way = this.#isWay(origin);
    if (stat !== undefined && (stat.mode & constants.S_IFMT) !== constants.S_IFDIR) {
      // A link on the way to the source is how this machine is set up; it is not the snapshot's to replace.
      if (this.#request.overwrite !== "always" || way || this.#isProtected(path)) {
        this.#conflict(path, stat, "folder");
        return;
      }
      this.#push(entry, path, origin, undefined, { way, included, replaces: true });
    } else this.#push(entry, path, origin, stat, { way, included });
  }

  #visitEntry(frame: Frame, entry: SnapshotEntry, path: string, name: string, stat: PosixStat | undefined): void {
    const verdict = decide(
      entry.entry,
      stat === undefined ? undefined : this.#liveEntry(frame.path, name, stat),
      this.#request.overwrite,
    );
    if (verdict.act === "conflict" && stat !== undefined) {
      const removable =
        this.#request.overwrite === "always" && !this.#isProtected(path) && (this.#request.delete || this.#isEmpty(path));
      if (!removable) this.#conflict(path, stat, "file");
      else this.#emit({ act: "replace", path, entry, equal: false, removesFolder: true });
      return;
    }
    const act = verdict.act === "conflict" ? "keep" : verdict.act;
    if (act === "replace" && this.#isProtected(path))
      this.#emit({ act: "keep", path, entry, equal: false, removesFolder: false });
    else this.#emit({ act, path, entry, equal: verdict.equal, removesFolder: false });
  }

  #emit(action: EntryAction): void {
    this.#need();
    this.#out.push(action);
  }

  #push(
    entry: SnapshotEntry,
    path: string,
    origin: string,
    stat: PosixStat | typeof ROOT_EXISTS | undefined,
    how: { readonly way: boolean; readonly included?: boolean; readonly replaces?: boolean },
  ): void {
    const included = how.included ?? this.#include === undefined;
    const exists = stat !== undefined;
    const isTop = path === "";
    const frame: Frame = {
      entry,
      path,
      origin,
      text: textOf(origin),
      exists,
      replaces: how.replaces ?? false,
      // Nobody knows the metadata of `/`; a destination that was there is the user's own.
      settle: origin !== "" && (!exists || (included && !how.way && !isTop)),
      way: how.way,
      included,
      batches: this.#request.store.list(entry, this.#signal)[Symbol.asyncIterator](),
      batch: [],
      next: 0,
      entered: false,
      names: undefined,
      nextName: 0,
    };
    this.#stack.push(frame);
    if (this.#request.delete && included && exists && !how.way && entry.entry.unreadable !== true)
      frame.names = this.#namesToClean(frame);
    // Without a filter even an empty folder is restored; with one, folders come with what is chosen in them.
    if (included) this.#need();
  }

  #namesToClean(frame: Frame): readonly string[] | undefined {
    const fd = this.#live?.open(frame.path);
    if (fd === undefined) return undefined;
    // A mount point that a backup of one file system did not enter is empty in the snapshot; it must not be cleaned.
    if (frame.path !== "" && statFd(fd).device !== statFd(this.#live?.open(splitPath(frame.path).parent) ?? fd).device) {
      const roots = this.#roots;
      if (roots === undefined || !roots.includes(frame.origin)) return undefined;
    }
    return readdirSync(pathBelow(this.#live?.open(frame.path) ?? fd), { encoding: "latin1" }).sort();
  }

  /** Deletes live names before `name` that the snapshot does not have, and steps over `name` itself. */
  #deleteUpTo(frame: Frame, name: string | undefined): void {
    if (frame.names === undefined) return;
    for (; frame.nextName < frame.names.length; frame.nextName++) {
      const extra = frame.names[frame.nextName] as string;
      if (name !== undefined && extra >= name) {
        if (extra === name) frame.nextName++;
        return;
      }
      this.#delete(frame, extra);
    }
  }

  #delete(frame: Frame, name: string): void {
    const path = joinPath(frame.path, name);
    const stat = this.#stat(frame.path, name);
    if (stat === undefined || this.#isProtected(path)) return;
    const directory = (stat.mode & constants.S_IFMT) === constants.S_IFDIR;
    if (this.#exclude !== undefined && this.#exclude.match(joinPath(frame.text, nameText(name)), directory) >= 0) return;
    // It was there when the snapshot was taken and could not be read.
    if (this.#unreadable.has(pathText(rawBytes(`/${joinPath(frame.origin, name)}`)))) return;
    this.#need();
    this.#out.push({ act: "delete", path, directory });
  }

  #leave(frame: Frame): void {
    this.#deleteUpTo(frame, undefined);
    this.#stack.pop();
    if (frame.entered) this.#out.push({ act: "exit", path: frame.path });
  }

  /** Enters the folders on the stack that wait for something in them. */
  #need(): void {
    let first = this.#stack.length;
    while (first > 0 && !(this.#stack[first - 1] as Frame).entered) first--;
    for (const frame of this.#stack.slice(first)) {
      frame.entered = true;
      const { path, entry, exists, replaces, settle, way } = frame;
      this.#out.push({ act: "enter", path, entry, exists, replaces, settle, way });
    }
  }

  #conflict(path: string, stat: PosixStat, wanted: "folder" | "file"): void {
    this.#need();
    const shown = shownPath(this.#request, path);
    const what =
      (stat.mode & constants.S_IFMT) === constants.S_IFLNK ? "a symbolic link" : wanted === "folder" ? "a file" : "a folder";
    const hint =
      wanted === "folder"
        ? "Move it away, or replace such files with --overwrite always. A link on the way to the source always stays: restore with --to its real path."
        : "Move it away, or remove it with --overwrite always --delete.";
    const error = new HoldfastError("restore_conflict", `${shown} is ${what} where the snapshot has a ${wanted}`, {
      hint,
      data: { path: shown },
    });
    this.#out.push({ act: "conflict", path, error });
  }

  #stat(parent: string, name: string): PosixStat | undefined {
    if (this.#live === undefined) return undefined;
    try {
      return statAt(this.#live.open(parent), rawBytes(name));
    } catch (error) {
      const code = errnoOf(error);
      if (code === "ENOENT" || code === "ENOTDIR") return undefined;
      const shown = shownPath(this.#request, joinPath(parent, name));
      throw new HoldfastError("restore_failed", `${shown} cannot be looked at (${code ?? String(error)})`, {
        hint: "Restore as a user who may read and write there.",
        cause: error,
      });
    }
  }

  #liveEntry(parent: string, name: string, stat: PosixStat): LiveEntry {
    const fd = (): number => (this.#live as Directories).open(parent);
    const bytes = rawBytes(name);
    return { stat, linkTarget: () => readlinkAt(fd(), bytes), xattrs: () => readXattrs(pathBelow(fd(), bytes)) };
  }

  #isEmpty(path: string): boolean {
    return readdirSync(pathBelow((this.#live as Directories).open(path))).length === 0;
  }

  /** A folder that only leads to a configured path. */
  #isWay(origin: string): boolean {
    const roots = this.#roots;
    if (roots === undefined) return false;
    return !roots.some((root) => root === "" || root === origin || origin.startsWith(`${root}/`));
  }

  #isProtected(path: string): boolean {
    return this.#protected.some((kept) => kept === path || kept.startsWith(`${path}/`) || path.startsWith(`${kept}/`));
  }
}

const ROOT_EXISTS = "exists";

/** A folder of which one entry alone is restored lists nothing more. */
function emptyIterator(): AsyncIterator<readonly SnapshotEntry[]> {
  return { next: async () => ({ done: true, value: undefined }) };
}

function originOf(entry: SnapshotEntry): string {
  return Buffer.from(entry.path).toString("latin1").slice(1);
}

function textOf(origin: string): string {
  return origin.split("/").map(nameText).join("/");
}
