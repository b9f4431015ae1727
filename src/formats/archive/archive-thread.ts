import { asHoldfastError } from "../../base/errors.ts";
import { pathText } from "../../base/path-text.ts";
import { serveRuns, type RunPort } from "../../posix/serve-runs.ts";
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

/** Full parts that wait for their puts; with the one being filled this bounds the memory. */
const MAX_WAITING_PARTS = 1;
/** The index's parts are small, for most archives have few entries. */
const ENTRIES_PART_BYTES = 4 * 2 ** 20;
/** Walk steps between two looks at the messages that came in. */
const STEPS_PER_TURN = 2000;
const PROGRESS_MS = 200;

/** What a run says and what it was sent. */
class Exchange {
  readonly events: { events: readonly WalkEvent[]; last: boolean }[] = [];
  readonly bytes: (Uint8Array | undefined)[] = [];
  readonly #port: RunPort;
  #wake: (() => void) | undefined;

  constructor(port: RunPort) {
    this.#port = port;
  }

  post(message: FromArchive): void {
    this.#port.postMessage(message);
  }

  /** Resolves with the next call of `changed`. */
  nextChange(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }

  changed(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}

/** The parts of one archive on their way to its targets. */
class PartSink {
  readonly #setup: WriteSetup;
  readonly #targets: (Target | undefined)[];
  readonly #exchange: Exchange;
  #waiting = 0;
  storedBytes = 0;

  constructor(setup: WriteSetup, targets: (Target | undefined)[], exchange: Exchange) {
    this.#setup = setup;
    this.#exchange = exchange;
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
        this.#exchange.post({ type: "lost", target: position, error: asHoldfastError(error).toWire() });
      }
    });
    void Promise.all(puts).then(() => {
      this.#waiting--;
      this.storedBytes += bytes.length;
      this.#exchange.changed();
    });
  }

  get isFull(): boolean {
    return this.#waiting > MAX_WAITING_PARTS;
  }

  async drained(limit: number): Promise<void> {
    while (this.#waiting > limit) await this.#exchange.nextChange();
  }

  async room(): Promise<void> {
    await this.drained(MAX_WAITING_PARTS);
  }
}

/** A target beside this thread, so that reading goes on while it writes; one behind a port is in another thread already. */
async function openTarget(spec: TargetSpec, alone: boolean): Promise<Target> {
  return spec.driver === "port" ? await createTarget(spec) : await spawnTargetThread(spec, { transfer: alone });
}

async function write(setup: WriteSetup, exchange: Exchange): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const targets: Target[] = [];
  for (const spec of setup.targets) targets.push(stack.use(await openTarget(spec, setup.targets.length === 1)));
  const sink = new PartSink(setup, targets, exchange);
  const tar = new PartStream(setup.partBytes, (number, bytes) => sink.put("tar", number, bytes));
  const entries = new PartStream(Math.min(setup.partBytes, ENTRIES_PART_BYTES), (number, bytes) =>
    sink.put("entries", number, bytes),
  );
  const job = new WriteJob(new ArchiveBuilder(tar, entries), sink, placesOf(setup.walk), exchange);
  if (setup.walk === undefined) await job.takeEvents();
  else for (const event of walkFiles(setup.walk, { onProblem: (problem) => job.problems.push(problem) })) await job.step(event);
  const root = job.builder.end();
  await sink.drained(0);
  job.report(true);
  exchange.post({ type: "written", counts: job.builder.counts, tar: tar.records, entries: entries.records, root });
}

class WriteJob {
  readonly builder: ArchiveBuilder;
  readonly problems: SourceProblem[] = [];
  readonly #sink: PartSink;
  readonly #files: LiveFileHooks;
  readonly #exchange: Exchange;
  #steps = 0;
  #lastReportMs = 0;
  #current: Uint8Array | undefined;

  constructor(builder: ArchiveBuilder, sink: PartSink, placeOf: LiveFileHooks["placeOf"], exchange: Exchange) {
    this.builder = builder;
    this.#exchange = exchange;
    this.#sink = sink;
    this.#files = { onBytes: () => this.#pause(), onProblem: (problem) => void this.problems.push(problem), placeOf };
  }

  async takeEvents(): Promise<void> {
    for (;;) {
      this.#exchange.post({ type: "wantEvents" });
      let message = this.#exchange.events.shift();
      for (; message === undefined; message = this.#exchange.events.shift()) await this.#exchange.nextChange();
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
    if (this.problems.length > 0) this.#exchange.post({ type: "problems", problems: this.problems.splice(0) });
    const { files, sourceBytes } = this.builder.counts;
    const bytesDone = final ? sourceBytes : this.builder.bytesDone;
    this.#exchange.post({
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
    this.#exchange.post({ type: "wantStream", once });
    for (;;) {
      if (this.#exchange.bytes.length === 0) {
        await this.#exchange.nextChange();
        continue;
      }
      const bytes = this.#exchange.bytes.shift();
      if (bytes === undefined) break;
      writer.write(bytes);
      await this.#pause();
      this.#exchange.post({ type: "taken" });
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

async function verify(setup: VerifySetup, exchange: Exchange): Promise<void> {
  await using target = await createTarget(setup.target);
  const report = await verifyArchives(target, {
    ...setup,
    onProgress: (progress) => exchange.post({ type: "progress", progress }),
  });
  exchange.post({ type: "verified", report });
}

serveRuns<ToArchive>((port) => {
  const exchange = new Exchange(port);
  let running: Promise<void> = Promise.resolve();
  const start = (run: Promise<void>): void => {
    running = run.catch((error: unknown) => exchange.post({ type: "failed", error: asHoldfastError(error).toWire() }));
  };
  return (message) => {
    switch (message.type) {
      case "write":
        start(write(message, exchange));
        break;
      case "verify":
        start(verify(message, exchange));
        break;
      case "events":
        exchange.events.push(message);
        break;
      case "bytes":
        exchange.bytes.push(message.bytes);
        break;
      case "stop":
        // Its targets are let go of first.
        void running.then(() => port.close());
        break;
    }
    exchange.changed();
  };
});
