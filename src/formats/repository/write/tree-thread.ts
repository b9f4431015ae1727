import { asHoldfastError } from "../../../base/errors.ts";
import { systemRandom } from "../../../codec/system-random.ts";
import { lowerPriority } from "../../../posix/priority.ts";
import { serveRuns, type RunPort } from "../../../posix/serve-runs.ts";
import { placesOf } from "../../../sources/files/views.ts";
import { walkFiles } from "../../../sources/files/walk.ts";
import type { FilesWalkOptions, SourceProblem, WalkEvent } from "../../../sources/source.ts";
import { KeySet } from "../keys/key-set.ts";
import { Sealer } from "../keys/sealer.ts";
import { BaselineTrees } from "./baseline-trees.ts";
import { FrameBuilder, transferOf } from "./frame-builder.ts";
import type { FetchedFrame, FromTree, ToTree } from "./messages.ts";
import { TreeBuilder } from "./tree-builder.ts";

// The tree thread of a backup: walks (or is sent) the entries, merges them with the baseline and builds the trees.

/** Walk steps between two looks at the messages that came in. */
const STEPS_PER_TURN = 2000;

/** One backup. */
class TreeRun {
  readonly #port: RunPort;
  #builder: TreeBuilder | undefined;
  /** Batches and checks out at a time. */
  #ahead = 1;
  #nextRequest = 0;
  readonly #fetches = new Map<number, (frame: FetchedFrame | undefined) => void>();
  #wake: (() => void) | undefined;
  #problems: SourceProblem[] = [];
  #walker: ReturnType<typeof walkFiles> | undefined;
  readonly #eventsIn: { events: readonly WalkEvent[]; last: boolean }[] = [];
  #stopped = false;

  constructor(port: RunPort) {
    this.#port = port;
  }

  #post(message: FromTree, transfer: ArrayBuffer[] = []): void {
    this.#port.postMessage(message, transfer);
  }

  #sendProblems(): void {
    if (this.#problems.length === 0) return;
    this.#post({ type: "problem", problems: this.#problems });
    this.#problems = [];
  }

  #fail(error: unknown): void {
    this.#post({ type: "failed", error: asHoldfastError(error).toWire() });
  }

  /** Resolves when a message came in. */
  #nextMessage(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }

  #setup(message: Extract<ToTree, { type: "setup" }>): void {
    lowerPriority(message.nice);
    this.#ahead = message.ahead;
    const keys = message.sealing.repositories.map((material) => new KeySet(material));
    const first = keys[0];
    if (first === undefined) throw new Error("no repository");
    const frames = new FrameBuilder(2, message.sealing, systemRandom);
    const baseline =
      message.baseline === undefined
        ? undefined
        : new BaselineTrees(
            message.baseline.root,
            first,
            keys.map((set) => new Sealer(set, systemRandom)),
            (id) =>
              new Promise((resolve) => {
                const request = this.#nextRequest++;
                this.#fetches.set(request, resolve);
                this.#post({ type: "fetch", request, id: Uint8Array.from(id) });
              }),
          );
    this.#builder = new TreeBuilder(
      first,
      message.profile,
      frames,
      {
        files: (batch) => this.#post({ type: "files", batch }, [batch.paths.buffer]),
        stream: (file, once, uid) => this.#post({ type: "stream", file, once, uid }),
        claims: (batch, ids, lengths) => this.#post({ type: "claims", batch, ids, lengths }, [ids.buffer, lengths.buffer]),
        check: (check, ids, counts, listIds) =>
          this.#post({ type: "check", check, ids, counts, listIds }, [ids.buffer, counts.buffer, listIds.buffer]),
        frames: () => {
          const ready = frames.take();
          if (ready.length > 0) this.#post({ type: "frames", frames: ready }, transferOf(ready));
        },
        problem: (path, reason, text) => this.#problems.push({ path, reason, message: text }),
        ended: (root, counts) => {
          this.#sendProblems();
          this.#post({ type: "ended", root, counts });
        },
      },
      baseline,
      placesOf(message.walk),
    );
    const run = message.walk === undefined ? this.#takeEvents(this.#builder) : this.#walk(this.#builder, message.walk);
    run.catch((error: unknown) => this.#fail(error));
  }

  /** Feeds one event and waits while too much is under way. */
  async #feed(to: TreeBuilder, event: WalkEvent): Promise<void> {
    const wait = to.take(event);
    if (wait !== undefined) await wait;
    while (to.outstanding >= this.#ahead) await this.#nextMessage();
  }

  async #walk(to: TreeBuilder, options: FilesWalkOptions): Promise<void> {
    let steps = 0;
    let files = 0;
    let bytes = 0;
    const report = (current: Uint8Array | undefined, done: boolean): void => {
      this.#sendProblems();
      this.#post({ type: "walked", files, bytes, current, done });
    };
    this.#walker = walkFiles(options, { onProblem: (problem) => this.#problems.push(problem) });
    for (const event of this.#walker) {
      // Waiting is rare; the common path stays synchronous, because a promise an entry would cost more than the walk.
      const wait = to.take(event);
      if (wait !== undefined) await wait;
      if (event.step === "leaf" && event.entry.type === "file") {
        files++;
        bytes += event.entry.size;
      }
      if (to.outstanding >= this.#ahead) {
        while (to.outstanding >= this.#ahead) await this.#nextMessage();
      } else if (++steps % STEPS_PER_TURN === 0) {
        report(
          event.step === "leaf" && event.entry.content !== undefined && "open" in event.entry.content
            ? event.entry.content.open
            : undefined,
          false,
        );
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    if (this.#stopped) return;
    report(undefined, true);
    to.end();
  }

  async #takeEvents(to: TreeBuilder): Promise<void> {
    for (;;) {
      const message = this.#eventsIn.shift();
      if (message === undefined) {
        this.#post({ type: "wantEvents" });
        while (this.#eventsIn.length === 0) await this.#nextMessage();
        continue;
      }
      for (const event of message.events) await this.#feed(to, event);
      if (message.last) break;
    }
    to.end();
  }

  receive(message: ToTree): void {
    try {
      switch (message.type) {
        case "setup":
          this.#setup(message);
          break;
        case "events":
          this.#eventsIn.push({ events: message.events, last: message.last });
          break;
        case "results":
          this.#builder?.results(message.results);
          break;
        case "claims":
          this.#builder?.claimed(message.batch, message.masks);
          break;
        case "checked":
          this.#builder?.checked(message.check, message.missing);
          break;
        case "frame":
          this.#fetches.get(message.request)?.(message.frame);
          this.#fetches.delete(message.request);
          break;
        case "stop":
          this.#stopped = true;
          // Its folders are closed here, where it stands still.
          this.#walker?.return({ entries: 0, vanished: 0 });
          this.#port.close();
          break;
      }
    } catch (error) {
      this.#fail(error);
    }
    this.#wake?.();
    this.#wake = undefined;
  }
}

serveRuns<ToTree>((port) => {
  const run = new TreeRun(port);
  return (message) => run.receive(message);
});
