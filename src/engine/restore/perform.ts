import { setImmediate as nextTurn } from "node:timers/promises";
import { errnoOf, HoldfastError } from "../../base/errors.ts";
import { randomHex } from "../../base/random.ts";
import { systemRandom } from "../../codec/system-random.ts";
import { assertWithin } from "./confine.ts";
import { checkRequest, destinationPath, makeDestination, openAgain, shownPath } from "./destination.ts";
import { Directories, splitPath } from "./directories.ts";
import { ContentPipeline, type PipelineFile } from "./content-pipeline.ts";
import { EntryMaker } from "./entry-maker.ts";
import { entryError, fatalError, FileWriter, type WritingFile } from "./file-writer.ts";
import { HardLinks, WAIT } from "./hard-links.ts";
import { planRestore, wantedEntry } from "./plan.ts";
import { ReportBuilder } from "./report.ts";
import { removeTree } from "./remove-tree.ts";
import type { EnterAction, EntryAction, PerformOptions, RestoreAction, RestoreReport, RestoreRequest } from "./restore.ts";
import { checkReadable, compareRestored } from "./verify.ts";

/** Files handed to the threads together. */
const ROUND_FILES = 4096;
/** Folders that get their metadata in one turn of the event loop: some milliseconds. */
const SETTLED_A_TURN = 256;
/** Damaged files that may wait for their second attempt while others go on. */
const SLOW_FILES = 256;

/** A folder being restored: settled when nothing in it is under way. */
interface Folder {
  readonly path: string;
  readonly enter: EnterAction;
  readonly parent: Folder | undefined;
  /** Entries and folders in it that have not ended, and 1 until the plan has left it. */
  pending: number;
  /** It could not be made: nothing in it can be. */
  readonly failed: boolean;
  readonly deletes: string[];
}

interface RestoredFile extends PipelineFile {
  readonly action: EntryAction;
  readonly inFolder: Folder;
}

/**
 * Performs the plan of `request`. Every final name is, at any moment, what it was before or the whole restored entry;
 * no symlink below the destination is followed. What cannot be restored is reported, and the rest goes on. Rejects with
 * `restore_failed` when nothing can go on (no space), `restore_refused` when `verifyFirst` finds damage, with
 * `signal.reason` when cancelled, and with what `planRestore` and the store say; temporary files are removed then too.
 */
export async function performRestore(request: RestoreRequest, options: PerformOptions): Promise<RestoreReport> {
  checkRequest(request);
  const wanted = await wantedEntry(request, options.signal);
  const report = new ReportBuilder(request, options.onProgress);
  if (options.verifyFirst) await checkReadable(request, report, options.signal);
  report.phase("restoring");
  {
    // Absolute paths are made anew in a folder like any other; a folder's content brings its own mode.
    const bringsMode = request.destination.kind === "folder" && wanted.entry.type === "directory" && wanted.path.length > 1;
    await using performer = new Performer(request, report, bringsMode, options.signal);
    await performer.run();
  }
  if (options.verify) await compareRestored(request, report, options.signal);
  report.phase("done");
  return report.finish();
}

class Performer implements AsyncDisposable {
  readonly #request: RestoreRequest;
  readonly #report: ReportBuilder;
  readonly #signal: AbortSignal;
  readonly #directories: Directories;
  /** The destination was made and gets the metadata of the folder whose content it holds. */
  readonly #settlesTop: boolean;
  #cleaner: Directories | undefined;
  readonly #writer: FileWriter;
  readonly #maker: EntryMaker;
  readonly #pipeline: ContentPipeline<RestoredFile>;
  readonly #links = new HardLinks<{ action: EntryAction; folder: Folder }>();
  readonly #stack: Folder[] = [];
  #round: RestoredFile[] = [];
  /** Files for `Store.read`, one after the other. */
  readonly #slow: RestoredFile[] = [];
  /** Folders with nothing under way any more. */
  readonly #ready: Folder[] = [];

  constructor(request: RestoreRequest, report: ReportBuilder, bringsMode: boolean, signal: AbortSignal) {
    this.#request = request;
    this.#report = report;
    this.#signal = signal;
    const destination = destinationPath(request);
    const top = makeDestination(destination, bringsMode ? 0o700 : 0o755);
    this.#settlesTop = top.made && bringsMode;
    this.#directories = new Directories(top.fd);
    try {
      if (request.destination.kind === "folder") assertWithin(top.fd, request.within);
    } catch (error) {
      this.#directories[Symbol.dispose]();
      throw error;
    }
    const token = randomHex(systemRandom, 8);
    const identity = { uid: process.geteuid?.() ?? 0, umask: process.umask() };
    this.#writer = new FileWriter(this.#directories, { token: `${token}m`, ...identity });
    this.#maker = new EntryMaker(this.#directories, this.#writer);
    this.#pipeline = new ContentPipeline(
      { store: request.store, mode: "write", destination, top: top.fd, token: `${token}t`, ...identity, signal },
      {
        finished: (file) => this.#ended(file.action, file.inFolder, true),
        damaged: (file) => this.#slow.push(file),
        problem: (file, error) => {
          this.#report.problem(file.action.path, error);
          this.#ended(file.action, file.inFolder, false);
        },
        loss: (file, what, reason) => this.#report.loss(file.action.path, what, reason),
        bytes: (count) => this.#report.wrote(count),
      },
    );
  }

  async run(): Promise<void> {
    for await (const actions of planRestore(this.#request, this.#signal)) {
      for (const action of actions) await this.#act(action);
      await this.#settleReady();
      if (this.#round.length >= ROUND_FILES) await this.#flush();
      while (this.#slow.length >= SLOW_FILES) await this.#restoreSlowly(this.#slow.shift() as RestoredFile);
    }
    // A file that failed may pass its place to another name of it, which then comes in a round of its own.
    for (;;) {
      await this.#flush();
      await this.#pipeline.drain();
      const slow = this.#slow.shift();
      if (slow !== undefined) await this.#restoreSlowly(slow);
      else if (this.#round.length === 0) break;
    }
    await this.#settleReady();
  }

  async #flush(): Promise<void> {
    const round = this.#round;
    this.#round = [];
    await this.#pipeline.submit(round);
  }

  async #act(action: RestoreAction): Promise<void> {
    const folder = this.#stack.at(-1);
    switch (action.act) {
      case "enter":
        this.#enter(action, folder);
        break;
      case "exit":
        this.#stack.pop();
        if (folder !== undefined) this.#release(folder);
        break;
      case "conflict":
      case "damaged":
        this.#report.problem(action.path, action.error);
        break;
      case "delete":
        folder?.deletes.push(action.path);
        break;
      default:
        if (folder !== undefined) await this.#entry(action, folder);
    }
  }

  #enter(action: EnterAction, parent: Folder | undefined): void {
    let failed = parent?.failed ?? false;
    if (!failed && !action.exists && action.path !== "") {
      try {
        this.#maker.makeFolder(action.path, action.replaces);
        this.#report.count("directories");
      } catch (error) {
        failed = true;
        this.#report.problem(action.path, this.#error(error, action.path));
      }
    }
    if (parent !== undefined) parent.pending++;
    this.#stack.push({ path: action.path, enter: action, parent, pending: 1, failed, deletes: [] });
  }

  async #entry(action: EntryAction, folder: Folder): Promise<void> {
    if (folder.failed) {
      this.#report.missing();
      return;
    }
    folder.pending++;
    if (action.act === "keep") {
      if (action.equal) this.#linkAll(action.path, this.#links.kept(action.entry, action.path));
      this.#report.kept(action.entry);
      this.#release(folder);
      return;
    }
    if (action.act === "metadata") {
      this.#attempt(action, folder, () => this.#maker.settleEntry(action.path, action.entry.entry, this.#lose(action.path)));
      return;
    }
    if (action.removesFolder && !(await this.#remove(action.path))) {
      this.#release(folder);
      return;
    }
    const first = this.#links.claim(action.entry, action.path, { action, folder });
    if (first === WAIT) return;
    if (first === undefined) this.#make(action, folder);
    else this.#link(first, action, folder);
  }

  /** Restores an entry by itself. */
  #make(action: EntryAction, folder: Folder): void {
    if (action.entry.entry.type === "file") {
      const { name } = splitPath(action.path);
      this.#round.push({
        entry: action.entry,
        folder: folder.path,
        name,
        mustCreate: this.#mustCreate(action),
        action,
        inFolder: folder,
      });
    } else
      this.#attempt(action, folder, () =>
        this.#maker.makeSpecial(action.path, action.entry.entry, this.#mustCreate(action), this.#lose(action.path)),
      );
  }

  #link(first: string, action: EntryAction, folder: Folder): void {
    try {
      this.#maker.makeLink(first, action.path);
    } catch (error) {
      // A file system without hard links, or one too many: the content comes once more instead.
      this.#report.loss(action.path, "hard link", errnoOf(error) ?? String(error));
      this.#make(action, folder);
      return;
    }
    this.#ended(action, folder, true);
  }

  /** Under `always` whatever appears meanwhile gives way as well. */
  #mustCreate(action: EntryAction): boolean {
    return action.act === "create" && this.#request.overwrite !== "always";
  }

  #attempt(action: EntryAction, folder: Folder, act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#report.problem(action.path, this.#error(error, action.path));
      this.#ended(action, folder, false);
      return;
    }
    this.#ended(action, folder, true);
  }

  /** An entry is done with, well or not; other names of it go on from here. */
  #ended(action: EntryAction, folder: Folder, good: boolean): void {
    const { entry } = action;
    if (good) {
      this.#report.restored(action);
      if (action.act === "metadata") this.#linkAll(action.path, this.#links.kept(entry, action.path));
      else {
        const { waiting, linkTo } = this.#links.restored(entry, action.path);
        if (linkTo !== undefined) this.#relink(linkTo, action.path);
        this.#linkAll(action.path, waiting);
      }
    } else if (action.act !== "metadata") {
      const next = this.#links.failed(entry, action.path, (waiting) => waiting.action.path);
      if (next !== undefined) this.#make(next.action, next.folder);
    }
    this.#release(folder);
  }

  #linkAll(first: string, waiting: readonly { action: EntryAction; folder: Folder }[]): void {
    for (const { action, folder } of waiting) this.#link(first, action, folder);
  }

  /** Joins a file that was restored by itself with a name of it that was there all along. */
  #relink(first: string, path: string): void {
    try {
      this.#maker.makeLink(first, path);
    } catch (error) {
      this.#report.loss(path, "hard link", errnoOf(error) ?? String(error));
    }
  }

  #release(folder: Folder): void {
    if (--folder.pending === 0) this.#ready.push(folder);
  }

  /** Deletes, then metadata, deepest first: what a folder has in the end nothing in it changes any more. */
  async #settleReady(): Promise<void> {
    let settled = 0;
    for (let folder = this.#ready.shift(); folder !== undefined; folder = this.#ready.shift()) {
      if (++settled % SETTLED_A_TURN === 0) await nextTurn();
      if (!folder.failed) await this.#settle(folder);
      if (folder.parent !== undefined) this.#release(folder.parent);
    }
  }

  async #settle(folder: Folder): Promise<void> {
    for (const path of folder.deletes) if (await this.#remove(path)) this.#report.count("deleted");
    const { entry, settle, way } = folder.enter;
    if (entry === undefined || !(folder.path === "" ? this.#settlesTop : settle)) return;
    try {
      this.#maker.settleFolder(folder.path, entry.entry, (what, reason) => this.#report.loss(folder.path, what, reason, way));
    } catch (error) {
      this.#report.problem(folder.path, this.#error(error, folder.path));
    }
  }

  async #remove(path: string): Promise<boolean> {
    const { parent, name } = splitPath(path);
    try {
      for (const _ of removeTree(this.#cleaning().open(parent), name)) {
        await nextTurn();
        this.#signal.throwIfAborted();
      }
      return true;
    } catch (error) {
      if (this.#signal.aborted) throw error;
      this.#report.problem(path, this.#error(error, path));
      return false;
    }
  }

  /** Descriptors of their own: one must stay open for as long as a deletion takes, whatever else is opened meanwhile. */
  #cleaning(): Directories {
    this.#cleaner ??= new Directories(openAgain(this.#directories.open("")));
    return this.#cleaner;
  }

  /** The slow and thorough way: every copy of every chunk, on this thread. */
  async #restoreSlowly(file: RestoredFile): Promise<void> {
    const { entry, action } = file;
    const { size, meta } = entry.entry;
    let writing: WritingFile | undefined;
    try {
      writing = this.#writer.begin({ folder: file.folder, name: file.name, meta, size, mustCreate: file.mustCreate });
      const extents = entry.extents ?? [{ offset: 0, length: size }];
      let position = 0;
      for await (const bytes of this.#request.store.read(entry, { signal: this.#signal })) {
        this.#signal.throwIfAborted();
        for (const { offset, length } of extents) {
          const start = Math.max(offset, position);
          const end = Math.min(offset + length, position + bytes.length);
          if (start < end) this.#writer.write(writing, start, bytes.subarray(start - position, end - position));
        }
        position += bytes.length;
        this.#report.wrote(bytes.length);
      }
      const done = writing;
      writing = undefined;
      this.#writer.finish(done, this.#lose(action.path));
    } catch (error) {
      if (writing !== undefined) this.#writer.abandon(writing);
      if (this.#signal.aborted || (error instanceof HoldfastError && error.transient)) throw error;
      this.#report.problem(action.path, this.#error(error, action.path));
      this.#ended(action, file.inFolder, false);
      return;
    }
    this.#ended(action, file.inFolder, true);
  }

  #error(error: unknown, path: string): HoldfastError {
    const shown = shownPath(this.#request, path);
    const fatal = fatalError(error, shown);
    if (fatal !== undefined) throw fatal;
    return entryError(error, shown, "could not be restored");
  }

  #lose(path: string): (what: string, reason: string) => void {
    return (what, reason) => this.#report.loss(path, what, reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pipeline[Symbol.asyncDispose]();
    this.#directories[Symbol.dispose]();
    this.#cleaner?.[Symbol.dispose]();
  }
}
