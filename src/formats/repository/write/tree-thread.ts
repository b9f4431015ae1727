import { parentPort } from "node:worker_threads";
import { asHoldfastError } from "../../../base/errors.ts";
import { systemRandom } from "../../../codec/system-random.ts";
import { lowerPriority } from "../../../posix/priority.ts";
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

const port = parentPort;
if (port === null) throw new Error("tree-thread runs as a worker");

/** Walk steps between two looks at the messages that came in. */
const STEPS_PER_TURN = 2000;

let builder: TreeBuilder | undefined;
/** Batches and checks out at a time. */
let ahead = 1;
let nextRequest = 0;
const fetches = new Map<number, (frame: FetchedFrame | undefined) => void>();
let wake: (() => void) | undefined;
let problems: SourceProblem[] = [];
let walker: ReturnType<typeof walkFiles> | undefined;
const eventsIn: { events: readonly WalkEvent[]; last: boolean }[] = [];

function post(message: FromTree, transfer: ArrayBuffer[] = []): void {
  port?.postMessage(message, transfer);
}

function sendProblems(): void {
  if (problems.length === 0) return;
  post({ type: "problem", problems });
  problems = [];
}

function fail(error: unknown): void {
  post({ type: "failed", error: asHoldfastError(error).toWire() });
}

/** Resolves when a message came in. */
function nextMessage(): Promise<void> {
  return new Promise((resolve) => (wake = resolve));
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function setup(message: Extract<ToTree, { type: "setup" }>): void {
  lowerPriority(message.nice);
  ({ ahead } = message);
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
              const request = nextRequest++;
              fetches.set(request, resolve);
              post({ type: "fetch", request, id: Uint8Array.from(id) });
            }),
        );
  builder = new TreeBuilder(
    first,
    message.profile,
    frames,
    {
      files: (batch) => post({ type: "files", batch }, [batch.paths.buffer]),
      stream: (file, once, uid) => post({ type: "stream", file, once, uid }),
      claims: (batch, ids, lengths) => post({ type: "claims", batch, ids, lengths }, [ids.buffer, lengths.buffer]),
      check: (check, ids, counts, listIds) =>
        post({ type: "check", check, ids, counts, listIds }, [ids.buffer, counts.buffer, listIds.buffer]),
      frames: () => {
        const ready = frames.take();
        if (ready.length > 0) post({ type: "frames", frames: ready }, transferOf(ready));
      },
      problem: (path, reason, text) => problems.push({ path, reason, message: text }),
      ended: (root, counts) => {
        sendProblems();
        post({ type: "ended", root, counts });
      },
    },
    baseline,
    placesOf(message.walk),
  );
  const run = message.walk === undefined ? takeEvents(builder) : walk(builder, message.walk);
  run.catch(fail);
}

/** Feeds one event and waits while too much is under way. */
async function feed(to: TreeBuilder, event: WalkEvent): Promise<void> {
  const wait = to.take(event);
  if (wait !== undefined) await wait;
  while (to.outstanding >= ahead) await nextMessage();
}

async function walk(to: TreeBuilder, options: FilesWalkOptions): Promise<void> {
  let steps = 0;
  let files = 0;
  let bytes = 0;
  const report = (current: Uint8Array | undefined, done: boolean): void => {
    sendProblems();
    post({ type: "walked", files, bytes, current, done });
  };
  walker = walkFiles(options, { onProblem: (problem) => problems.push(problem) });
  for (const event of walker) {
    // Waiting is rare; the common path stays synchronous, because a promise an entry would cost more than the walk.
    const wait = to.take(event);
    if (wait !== undefined) await wait;
    if (event.step === "leaf" && event.entry.type === "file") {
      files++;
      bytes += event.entry.size;
    }
    if (to.outstanding >= ahead) {
      while (to.outstanding >= ahead) await nextMessage();
    } else if (++steps % STEPS_PER_TURN === 0) {
      report(
        event.step === "leaf" && event.entry.content !== undefined && "open" in event.entry.content
          ? event.entry.content.open
          : undefined,
        false,
      );
      await turn();
    }
  }
  report(undefined, true);
  to.end();
}

async function takeEvents(to: TreeBuilder): Promise<void> {
  for (;;) {
    const message = eventsIn.shift();
    if (message === undefined) {
      post({ type: "wantEvents" });
      while (eventsIn.length === 0) await nextMessage();
      continue;
    }
    for (const event of message.events) await feed(to, event);
    if (message.last) break;
  }
  to.end();
}

port.on("message", (message: ToTree) => {
  try {
    switch (message.type) {
      case "setup":
        setup(message);
        break;
      case "events":
        eventsIn.push({ events: message.events, last: message.last });
        break;
      case "results":
        builder?.results(message.results);
        break;
      case "claims":
        builder?.claimed(message.batch, message.masks);
        break;
      case "checked":
        builder?.checked(message.check, message.missing);
        break;
      case "frame":
        fetches.get(message.request)?.(message.frame);
        fetches.delete(message.request);
        break;
      case "stop":
        // Its folders are closed here, where it stands still; with the port closed nothing keeps the thread alive.
        walker?.return({ entries: 0, vanished: 0 });
        port.close();
        break;
    }
  } catch (error) {
    fail(error);
  }
  wake?.();
  wake = undefined;
});
