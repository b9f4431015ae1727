import { parentPort } from "node:worker_threads";
import { asHoldfastError, HoldfastError, type ErrorWire } from "../../base/errors.ts";
import { pathText } from "../../base/path-text.ts";
import type { ContentDecoder } from "../../formats/format.ts";
import type { Extent, Xattr } from "../../sources/source.ts";
import { openAgain, openDestination } from "./destination.ts";
import { Directories, joinPath, rawBytes } from "./directories.ts";
import { ComparingFile } from "./file-compare.ts";
import { entryError, fatalError, FileWriter, type FileTask, type WritingFile } from "./file-writer.ts";
import type { BatchResults, ContentMessage, FileTasks, FromThread, ThreadMode, ToThread } from "./messages.ts";

// A restore thread: decodes batches and writes, compares or just counts what comes out. Synchronous between messages.

const port = parentPort;
if (port === null) throw new Error("restore-thread runs as a worker");

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

let mode: ThreadMode = "check";
let sink: Sink = CHECK_SINK;
let destination = Buffer.alloc(0);
let directories: Directories | undefined;
let decoder: ContentDecoder | undefined;
/** Paths of files that began here and did not end yet; those that failed are not among them. */
const current = new Map<number, string>();

async function setup(message: Extract<ToThread, { type: "setup" }>): Promise<void> {
  ({ mode } = message);
  destination = Buffer.from(message.destination);
  if (mode !== "check") {
    const top = message.top === undefined ? openDestination(destination) : openAgain(message.top);
    if (top === undefined) throw new HoldfastError("restore_failed", `The folder ${pathText(destination)} vanished`);
    directories = new Directories(top);
    sink = mode === "write" ? new WriteSink(new FileWriter(directories, message)) : new CompareSink(directories);
  }
  const module = (await import(message.decoderModule)) as { createDecoder(setup: unknown): ContentDecoder };
  decoder = module.createDecoder(message.decoderSetup);
}

function shown(path: string): string {
  return pathText(Buffer.concat([destination, Buffer.from(destination.at(-1) === 0x2f ? "" : "/"), rawBytes(path)]));
}

function process(message: ContentMessage): BatchResults {
  const finished: number[] = [];
  const damaged: { file: number; error: ErrorWire }[] = [];
  const problems: { file: number; error: ErrorWire }[] = [];
  let bytes = 0;

  /** Runs a step of a file that is still good; a failure ends the file, or everything. */
  const step = (file: number, act: () => void): void => {
    const path = current.get(file);
    if (path === undefined) return;
    try {
      act();
    } catch (error) {
      const fatal = mode === "write" ? fatalError(error, shown(path)) : undefined;
      if (fatal !== undefined) throw fatal;
      const wire =
        error instanceof HoldfastError && error.code === "verify_failed"
          ? new HoldfastError("verify_failed", `${shown(path)} differs from the snapshot: ${error.message}`, {
              data: { path: shown(path) },
            })
          : entryError(error, shown(path), WHAT[mode]);
      fail(file);
      problems.push({ file, error: wire.toWire() });
    }
  };

  const pieces = decoder?.decode(message.payload)[Symbol.iterator]();
  if (pieces === undefined) throw new Error("content before setup");
  let piece = pieces.next();
  const tasks = readTasks(message.tasks);
  for (let i = 0; i < message.files.length; i++) {
    const position = message.files[i] as number;
    const part = message.parts[i] as number;
    const file = message.base + position;
    if ((part & 1) !== 0) {
      const { task, extents } = tasks.next().value as TaskItem;
      current.set(file, joinPath(task.folder, task.name));
      step(file, () => sink.begin(file, task, extents));
    }
    for (; piece.done !== true && piece.value.file === position; piece = pieces.next()) {
      const { value } = piece;
      if ("error" in value) {
        if (current.has(file)) damaged.push({ file, error: value.error.toWire() });
        fail(file);
      } else {
        bytes += value.bytes.length;
        step(file, () => sink.piece(file, value.offset, value.bytes));
      }
    }
    if ((part & 2) === 0 || !current.has(file)) continue;
    step(file, () => sink.finish(file));
    if (current.delete(file)) finished.push(file);
  }
  const losses = sink instanceof WriteSink ? sink.lost.splice(0) : [];
  return { finished, damaged, problems, losses, bytes };
}

function fail(file: number): void {
  current.delete(file);
  sink.drop(file);
}

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

function post(message: FromThread): void {
  port?.postMessage(message);
}

let ready: Promise<void> | undefined;
let failed = false;

async function receive(message: ToThread): Promise<void> {
  try {
    if (message.type === "setup") {
      ready = setup(message);
      await ready;
      return;
    }
    await ready;
    if (message.type === "stop") {
      sink.stop();
      // Opened through the C library: they would stay open in the process when the thread has ended.
      directories?.[Symbol.dispose]();
      post({ type: "stopped" });
    } else if (message.type === "drop") fail(message.file);
    else if (!failed) post({ type: "done", batch: message.batch, results: process(message) });
  } catch (error) {
    failed = true;
    if (message.type === "stop") post({ type: "stopped" });
    else post({ type: "fatal", error: asHoldfastError(error).toWire() });
  }
}

port.on("message", (message: ToThread) => void receive(message));
