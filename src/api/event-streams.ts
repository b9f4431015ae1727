/** What happens as Server-Sent Events, for readers that may be slow, go away and come back. */
import type { FastifyReply } from "fastify";
import { fitsEvent, HoldfastError, type EventFeed, type FeedReader } from "../index.ts";
import type { Caller } from "./caller.ts";

/** A comment without news, so that both sides, and what is between, notice when the other is gone. */
const ALIVE_MS = 15_000;
/** Progress is told this often. */
const PROGRESS_MS = 250;
/** A reader that has taken nothing for so long is cut; it may come back with the last id it saw. */
const STALLED_MS = 60_000;
/** How long a client waits before it connects anew. */
const RETRY_MS = 2000;
const MAX_STREAMS = 64;
const MAX_STREAMS_OF_ONE = 16;

export interface StreamQuery {
  readonly after: string | undefined;
  readonly job: string | undefined;
  /** Patterns of types; undefined: all. */
  readonly types: readonly string[] | undefined;
}

interface Stream {
  readonly caller: Caller;
  readonly end: () => void;
}

export class EventStreams {
  readonly #feed: EventFeed;
  readonly #open = new Set<Stream>();

  constructor(feed: EventFeed) {
    this.#feed = feed;
  }

  get count(): number {
    return this.#open.size;
  }

  /** Answers with events until either side goes. */
  open(reply: FastifyReply, caller: Caller, query: StreamQuery): void {
    const own = [...this.#open].filter((one) => one.caller.name === caller.name).length;
    if (this.#open.size >= MAX_STREAMS || own >= MAX_STREAMS_OF_ONE)
      throw new HoldfastError("rate_limited", "There are too many streams of events open already", {
        hint: "Close those that nobody reads.",
        transient: true,
      });
    const response = reply.raw;
    let scheduled = false;
    const reader = this.#feed.follow(query.after, () => {
      if (scheduled) return;
      scheduled = true;
      setImmediate(() => {
        scheduled = false;
        pump();
      });
    });
    reply.hijack();
    response.writeHead(200, {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store",
      "x-accel-buffering": "no",
    });
    response.write(`retry: ${RETRY_MS}\n\n`);
    let [aliveAt, takenAt] = [Date.now(), Date.now()];
    const write = (text: string): void => {
      aliveAt = Date.now();
      response.write(text);
    };
    const wants = (type: string, jobs: readonly string[]): boolean =>
      (query.types === undefined || query.types.some((pattern) => fitsEvent(pattern, type))) &&
      (query.job === undefined || jobs.includes(query.job));
    const pump = (): void => {
      if (response.destroyed || response.writableEnded) return;
      try {
        for (;;) {
          // What is not written yet stays in the feed, and not in memory of this reader.
          if (response.writableNeedDrain) return;
          const item = reader.next();
          const lost = reader.lost();
          if (lost !== undefined) write(message(reader.position, "reset", JSON.stringify({ reason: lost })));
          if (item === undefined) break;
          if (wants(item.type, item.jobs)) write(message(item.id, item.type, item.data));
        }
        takenAt = Date.now();
      } catch {
        // The state cannot be read now. The client comes back, and goes on where it was.
        stream.end();
      }
    };
    const tick = (): void => {
      const now = Date.now();
      if (response.writableNeedDrain) {
        if (now - takenAt >= STALLED_MS) response.destroy();
        return;
      }
      takenAt = now;
      tellProgress(reader, wants, write);
      // With an id, so that one who comes back need not go through what was not for him.
      if (now - aliveAt >= ALIVE_MS) write(`: alive\nid: ${reader.position}\n\n`);
    };
    const timer = setInterval(tick, PROGRESS_MS);
    timer.unref();
    const stream: Stream = { caller, end: () => void response.end() };
    this.#open.add(stream);
    response.on("drain", () => {
      takenAt = Date.now();
      pump();
    });
    // Errors of a reader that has gone are no errors of ours.
    response.on("error", () => undefined);
    response.once("close", () => {
      clearInterval(timer);
      reader[Symbol.dispose]();
      this.#open.delete(stream);
    });
    pump();
    tick();
  }

  /** Ends the streams of callers that are no longer allowed. */
  keep(isAllowed: (caller: Caller) => boolean): void {
    for (const { caller, end } of this.#open) if (!isAllowed(caller)) end();
  }

  close(): void {
    for (const { end } of this.#open) end();
  }
}

function tellProgress(
  reader: FeedReader,
  wants: (type: string, jobs: readonly string[]) => boolean,
  write: (text: string) => void,
): void {
  for (const { jobs, ...rest } of reader.progress())
    if (wants("run_progress", jobs)) write(message(undefined, "run_progress", JSON.stringify(rest)));
}

function message(id: string | undefined, type: string, data: string): string {
  return `${id === undefined ? "" : `id: ${id}\n`}event: ${type}\ndata: ${data}\n\n`;
}
