import { asHoldfastError, HoldfastError, type ErrorWire } from "../../base/errors.ts";
import { pathText } from "../../base/path-text.ts";
import type { ContentDecoder } from "../../formats/format.ts";
import { serveRuns, type RunPort } from "../../posix/serve-runs.ts";
import type { Extent, Xattr } from "../../sources/source.ts";
import { openAgain, openDestination } from "./destination.ts";
import { Directories, joinPath, rawBytes } from "./directories.ts";
import { ComparingFile } from "./file-compare.ts";
import { entryError, fatalError, FileWriter, type FileTask, type WritingFile } from "./file-writer.ts";
import type { BatchResults, ContentMessage, FileTasks, FromThread, ThreadMode, ToThread } from "./messages.ts";

// A restore thread: decodes batches and writes, compares or just counts what comes out. Synchronous between messages.

/** What is done with files; every call may throw. */
interface Sink {
  begin(file: number, task: FileTask, extents: readonly Extent[] | undefined): void;
  piece(file: number, offset: number, bytes: Uint8Array): void;
  finish(file: number): void;
  /** Forgets an unfinished file and what there is of it. */
  drop(file: number): void;
  /** Forgets all of them. */
  stop(): void;
}

class WriteSink implements Sink {
  readonly #writer: FileWriter;
  readonly #open = new Map<number, WritingFile>();
  readonly lost: { file: number; what: string; reason: string }[] = [];

  constructor(writer: FileWriter) {
    this.#writer = writer;
  }

  begin(file: number, task: FileTask): void {
    this.#open.set(file, this.#writer.begin(task));
  }

  piece(file: number, offset: number, bytes: Uint8Array): void {
    this.#writer.write(this.#open.get(file) as WritingFile, offset, bytes);
  }

  finish(file: number): void {
    const writing = this.#open.get(file) as WritingFile;
    this.#open.delete(file);
    this.#writer.finish(writing, (what, reason) => this.lost.push({ file, what, reason }));
  }

  drop(file: number): void {
    const writing = this.#open.get(file);
    if (writing === undefined) return;
    this.#open.delete(file);
    this.#writer.abandon(writing);
  }

  stop(): void {
    for (const file of this.#open.keys()) this.drop(file);
  }
}

class CompareSink implements Sink {
  readonly #directories: Directories;
  readonly #open = new Map<number, ComparingFile>();

  constructor(directories: Directories) {
    this.#directories = directories;
  }

  begin(file: number, task: FileTask, extents: readonly Extent[] | undefined): void {
    this.#open.set(file, new ComparingFile(this.#directories, task.folder, task.name, task.size, extents));
  }

  piece(file: number, offset: number, bytes: Uint8Array): void {
    this.#open.get(file)?.compare(offset, bytes);
  }

  finish(file: number): void {
    this.#open.get(file)?.finish();
    this.drop(file);
  }

  drop(file: number): void {
    this.#open.get(file)?.close();
    this.#open.delete(file);
  }

  stop(): void {
    for (const file of this.#open.keys()) this.drop(file);
  }
}

const CHECK_SINK: Sink = {
  begin: () => undefined,
  piece: () => undefined,
  finish: () => undefined,
  drop: () => undefined,
  stop: () => undefined,
};

const WHAT: Readonly<Record<ThreadMode, string>> = {
  write: "could not be restored",
  compare: "differs from the snapshot",
  check: "cannot be read",
};

interface TaskItem {
  readonly task: FileTask;
  readonly extents: readonly Extent[] | undefined;
}

function* readTasks(tasks: FileTasks): Generator<TaskItem, void, undefined> {
  const names = tasks.names.split("\0");
  const xattrs = new Map<number, readonly Xattr[]>(tasks.xattrs);
  const extents = new Map<number, readonly Extent[]>(tasks.extents);
  for (let i = 0; i < tasks.folder.length; i++) {
    const meta = {
      mode: tasks.modes[i] as number,
      uid: tasks.uids[i] as number,
      gid: tasks.gids[i] as number,
      mtimeNs: tasks.mtimes[i] as bigint,
      xattrs: xattrs.get(i) ?? [],
    };
    const folder = tasks.folders[tasks.folder[i] as number] as string;
    const mustCreate = (tasks.flags[i] as number) === 1;
    yield {
      task: { folder, name: names[i] as string, meta, size: tasks.sizes[i] as number, mustCreate },
      extents: extents.get(i),
    };
  }
}

/** One restore or comparison. */
class RestoreRun {
  readonly #port: RunPort;
  #mode: ThreadMode = "check";
  #sink: Sink = CHECK_SINK;
  #destination = Buffer.alloc(0);
  #directories: Directories | undefined;
  #decoder: ContentDecoder | undefined;
  /** Paths of files that began here and did not end yet; those that failed are not among them. */
  readonly #current = new Map<number, string>();
  #ready: Promise<void> | undefined;
  #failed = false;

  constructor(port: RunPort) {
    this.#port = port;
  }

  async #setup(message: Extract<ToThread, { type: "setup" }>): Promise<void> {
    this.#mode = message.mode;
    this.#destination = Buffer.from(message.destination);
    if (this.#mode !== "check") {
      const top = message.top === undefined ? openDestination(this.#destination) : openAgain(message.top);
      if (top === undefined) throw new HoldfastError("restore_failed", `The folder ${pathText(this.#destination)} vanished`);
      this.#directories = new Directories(top);
      this.#sink =
        this.#mode === "write" ? new WriteSink(new FileWriter(this.#directories, message)) : new CompareSink(this.#directories);
    }
    const module = (await import(message.decoderModule)) as { createDecoder(setup: unknown): ContentDecoder };
    this.#decoder = module.createDecoder(message.decoderSetup);
  }

  #shown(path: string): string {
    return pathText(
      Buffer.concat([this.#destination, Buffer.from(this.#destination.at(-1) === 0x2f ? "" : "/"), rawBytes(path)]),
    );
  }

  #process(message: ContentMessage): BatchResults {
    const finished: number[] = [];
    const damaged: { file: number; error: ErrorWire }[] = [];
    const problems: { file: number; error: ErrorWire }[] = [];
    let bytes = 0;

    /** Runs a step of a file that is still good; a failure ends the file, or everything. */
    const step = (file: number, act: () => void): void => {
      const path = this.#current.get(file);
      if (path === undefined) return;
      try {
        act();
      } catch (error) {
        const fatal = this.#mode === "write" ? fatalError(error, this.#shown(path)) : undefined;
        if (fatal !== undefined) throw fatal;
        const wire =
          error instanceof HoldfastError && error.code === "verify_failed"
            ? new HoldfastError("verify_failed", `${this.#shown(path)} differs from the snapshot: ${error.message}`, {
                data: { path: this.#shown(path) },
              })
            : entryError(error, this.#shown(path), WHAT[this.#mode]);
        this.#fail(file);
        problems.push({ file, error: wire.toWire() });
      }
    };

    const pieces = this.#decoder?.decode(message.payload)[Symbol.iterator]();
    if (pieces === undefined) throw new Error("content before setup");
    let piece = pieces.next();
    const tasks = readTasks(message.tasks);
    for (let i = 0; i < message.files.length; i++) {
      const position = message.files[i] as number;
      const part = message.parts[i] as number;
      const file = message.base + position;
      if ((part & 1) !== 0) {
        const { task, extents } = tasks.next().value as TaskItem;
        this.#current.set(file, joinPath(task.folder, task.name));
        step(file, () => this.#sink.begin(file, task, extents));
      }
      for (; piece.done !== true && piece.value.file === position; piece = pieces.next()) {
        const { value } = piece;
        if ("error" in value) {
          if (this.#current.has(file)) damaged.push({ file, error: value.error.toWire() });
          this.#fail(file);
        } else {
          bytes += value.bytes.length;
          step(file, () => this.#sink.piece(file, value.offset, value.bytes));
        }
      }
      if ((part & 2) === 0 || !this.#current.has(file)) continue;
      step(file, () => this.#sink.finish(file));
      if (this.#current.delete(file)) finished.push(file);
    }
    const losses = this.#sink instanceof WriteSink ? this.#sink.lost.splice(0) : [];
    return { finished, damaged, problems, losses, bytes };
  }

  #fail(file: number): void {
    this.#current.delete(file);
    this.#sink.drop(file);
  }

  #post(message: FromThread): void {
    this.#port.postMessage(message);
  }

  async receive(message: ToThread): Promise<void> {
    try {
      if (message.type === "setup") {
        this.#ready = this.#setup(message);
        await this.#ready;
        return;
      }
      if (message.type === "stop") {
        await this.#stop();
        return;
      }
      await this.#ready;
      if (message.type === "drop") this.#fail(message.file);
      else if (!this.#failed) this.#post({ type: "done", batch: message.batch, results: this.#process(message) });
    } catch (error) {
      this.#failed = true;
      this.#post({ type: "fatal", error: asHoldfastError(error).toWire() });
    }
  }

  /** Leaves nothing behind: no unfinished file, and no open folder, which nobody else would close. */
  async #stop(): Promise<void> {
    try {
      await this.#ready?.catch(() => undefined);
      this.#sink.stop();
    } finally {
      this.#directories?.[Symbol.dispose]();
      this.#port.close();
    }
  }
}

serveRuns<ToThread>((port) => {
  const run = new RestoreRun(port);
  return (message) => void run.receive(message);
});
