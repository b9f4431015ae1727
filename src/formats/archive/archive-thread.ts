import { parentPort } from "node:worker_threads";
import { asHoldfastError } from "../../base/errors.ts";
import { pathText } from "../../base/path-text.ts";
import type { Entry, SourceProblem, WalkEvent } from "../../sources/source.ts";
import { placesOf } from "../../sources/files/views.ts";
import { walkFiles } from "../../sources/files/walk.ts";
import { createTarget, type TargetSpec } from "../../targets/registry.ts";
import type { Target } from "../../targets/target.ts";
import { spawnTargetThread } from "../../targets/thread/target-thread.ts";
import { ArchiveBuilder } from "./archive-builder.ts";
import { readLiveFile, type LiveFileHooks } from "./live-file.ts";
import type { FromArchive, ToArchive, VerifySetup, WriteSetup } from "./messages.ts";
import { partName, type StreamKind } from "./object-names.ts";
import { PartStream } from "./part-stream.ts";
import { verifyArchives } from "./verify-archives.ts";

// The archive thread: walks (or is sent) the entries, reads and hashes files, and puts the parts. Or verifies archives.

const port = parentPort;
if (port === null) throw new Error("archive-thread runs as a worker");

/** Full parts that wait for their puts; with the one being filled this bounds the memory. */
const MAX_WAITING_PARTS = 1;
/** The index's parts are small, for most archives have few entries. */
const ENTRIES_PART_BYTES = 4 * 2 ** 20;
/** Walk steps between two looks at the messages that came in. */
const STEPS_PER_TURN = 2000;
const PROGRESS_MS = 200;

let wake: (() => void) | undefined;
const eventsIn: { events: readonly WalkEvent[]; last: boolean }[] = [];
const bytesIn: (Uint8Array | undefined)[] = [];

function post(message: FromArchive): void {
  port?.postMessage(message);
}

function nextChange(): Promise<void> {
  return new Promise((resolve) => (wake = resolve));
}

function changed(): void {
  wake?.();
  wake = undefined;
}

/** The parts of one archive on their way to its targets. */
class PartSink {
  readonly #setup: WriteSetup;
  readonly #targets: (Target | undefined)[];
  #waiting = 0;
  storedBytes = 0;

  constructor(setup: WriteSetup, targets: (Target | undefined)[]) {
    this.#setup = setup;
    this.#targets = targets;
  }

  put(kind: StreamKind, number: number, bytes: Buffer<ArrayBuffer>): void {
    this.#waiting++;
    const name = partName(this.#setup.uid, kind, number);
    const puts = this.#targets.map(async (target, position) => {
      try {
        await target?.put(name, [bytes]);
      } catch (error) {
        this.#targets[position] = undefined;
        post({ type: "lost", target: position, error: asHoldfastError(error).toWire() });
      }
    });
    void Promise.all(puts).then(() => {
      this.#waiting--;
      this.storedBytes += bytes.length;
      changed();
    });
  }

  get isFull(): boolean {
    return this.#waiting > MAX_WAITING_PARTS;
  }

  async drained(limit: number): Promise<void> {
    while (this.#waiting > limit) await nextChange();
  }

  async room(): Promise<void> {
    await this.drained(MAX_WAITING_PARTS);
  }
}

/** A target beside this thread, so that reading goes on while it writes; one behind a port is in another thread already. */
async function openTarget(spec: TargetSpec, alone: boolean): Promise<Target> {
  return spec.driver === "port" ? await createTarget(spec) : await spawnTargetThread(spec, { transfer: alone });
}

async function write(setup: WriteSetup): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const targets: Target[] = [];
  for (const spec of setup.targets) targets.push(stack.use(await openTarget(spec, setup.targets.length === 1)));
  const sink = new PartSink(setup, targets);
  const tar = new PartStream(setup.partBytes, (number, bytes) => sink.put("tar", number, bytes));
  const entries = new PartStream(Math.min(setup.partBytes, ENTRIES_PART_BYTES), (number, bytes) =>
    sink.put("entries", number, bytes),
  );
  const job = new WriteJob(new ArchiveBuilder(tar, entries), sink, placesOf(setup.walk));
  if (setup.walk === undefined) await job.takeEvents();
  else for (const event of walkFiles(setup.walk, { onProblem: (problem) => job.problems.push(problem) })) await job.step(event);
  const root = job.builder.end();
  await sink.drained(0);
  job.report(true);
  post({ type: "written", counts: job.builder.counts, tar: tar.records, entries: entries.records, root });
}

class WriteJob {
  readonly builder: ArchiveBuilder;
  readonly problems: SourceProblem[] = [];
  readonly #sink: PartSink;
  readonly #files: LiveFileHooks;
  #steps = 0;
  #lastReportMs = 0;
  #current: Uint8Array | undefined;

  constructor(builder: ArchiveBuilder, sink: PartSink, placeOf: LiveFileHooks["placeOf"]) {
    this.builder = builder;
    this.#sink = sink;
    this.#files = { onBytes: () => this.#pause(), onProblem: (problem) => void this.problems.push(problem), placeOf };
  }

  async takeEvents(): Promise<void> {
    for (;;) {
      post({ type: "wantEvents" });
      let message = eventsIn.shift();
      for (; message === undefined; message = eventsIn.shift()) await nextChange();
      for (const event of message.events) await this.step(event);
      if (message.last) return;
    }
  }

  async step(event: WalkEvent): Promise<void> {
    const { builder } = this;
    if (event.step === "leave") builder.leave();
    else if (event.step === "enter") builder.enter(event.entry);
    else if (event.entry.type !== "file") builder.special(event.entry);
    else if (!builder.linkedFile(event.entry)) {
      const { content } = event.entry;
      if (content !== undefined && "once" in content) await this.#readStream(event.entry, content.once);
      else await this.#readFile(event.entry);
    }
    if (this.#sink.isFull) await this.#sink.room();
    if (++this.#steps % STEPS_PER_TURN === 0) {
      this.report(false);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  report(final: boolean): void {
    if (this.problems.length > 0) post({ type: "problems", problems: this.problems.splice(0) });
    const { files, sourceBytes } = this.builder.counts;
    const bytesDone = final ? sourceBytes : this.builder.bytesDone;
    post({
      type: "progress",
      progress: {
        phase: "reading",
        filesDone: files,
        filesTotal: final ? files : undefined,
        bytesDone,
        bytesTotal: final ? bytesDone : undefined,
        storedBytes: this.#sink.storedBytes,
        current: this.#current === undefined ? undefined : pathText(this.#current),
      },
    });
  }

  async #readFile(entry: Entry): Promise<void> {
    if (entry.content !== undefined && "open" in entry.content) this.#current = entry.content.open;
    await readLiveFile(this.builder, entry, this.#files);
  }

  async #readStream(entry: Entry, once: number): Promise<void> {
    const writer = this.builder.file(entry, entry.meta, entry.size, undefined);
    post({ type: "wantStream", once });
    for (;;) {
      if (bytesIn.length === 0) {
        await nextChange();
        continue;
      }
      const bytes = bytesIn.shift();
      if (bytes === undefined) break;
      writer.write(bytes);
      await this.#pause();
      post({ type: "taken" });
    }
    this.builder.addFile(entry, writer, { changedWhileRead: false });
  }

  /** Between two blocks of a file. */
  #pause(): Promise<void> | undefined {
    const now = performance.now();
    if (now - this.#lastReportMs > PROGRESS_MS) {
      this.#lastReportMs = now;
      this.report(false);
    }
    return this.#sink.isFull ? this.#sink.room() : undefined;
  }
}

async function verify(setup: VerifySetup): Promise<void> {
  await using target = await createTarget(setup.target);
  const report = await verifyArchives(target, { ...setup, onProgress: (progress) => post({ type: "progress", progress }) });
  post({ type: "verified", report });
}

function start(run: Promise<void>): void {
  run.catch((error: unknown) => post({ type: "failed", error: asHoldfastError(error).toWire() }));
}

port.on("message", (message: ToArchive) => {
  switch (message.type) {
    case "write":
      start(write(message));
      break;
    case "verify":
      start(verify(message));
      break;
    case "events":
      eventsIn.push(message);
      break;
    case "bytes":
      bytesIn.push(message.bytes);
      break;
  }
  changed();
});
