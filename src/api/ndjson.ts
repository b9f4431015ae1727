/** An answer of many lines, while something goes on: NDJSON, bounded for a reader that is slower than what it reads of. */
import type { ServerResponse } from "node:http";
import type { HoldfastError, Progress, RunEvent, RunId } from "../index.ts";
import { problemOf } from "./problem.ts";

/** Progress of a run is told this often; only the newest counts. */
const PROGRESS_MS = 100;
/** What is kept for a reader that does not read. Messages beyond it are dropped and counted: the run's log has them all. */
const MAX_BUFFERED_BYTES = 4 * 2 ** 20;
/** A line without news, so that both sides notice when the other is gone. */
const ALIVE_MS = 20_000;

type Line = Readonly<Record<string, unknown>> & { readonly type: string };

export class LineStream {
  readonly #response: ServerResponse;
  readonly #timer: NodeJS.Timeout;
  readonly #progress = new Map<RunId, Progress>();
  #lastMs = Date.now();
  #dropped = 0;
  #ended = false;

  /** Sends the head of the answer at once. */
  constructor(response: ServerResponse) {
    this.#response = response;
    response.writeHead(200, { "content-type": "application/x-ndjson; charset=utf-8", "cache-control": "no-store" });
    response.flushHeaders();
    this.#timer = setInterval(() => this.#tick(), PROGRESS_MS);
    this.#timer.unref();
  }

  event(event: RunEvent): void {
    if (event.type === "progress") {
      this.#progress.set(event.run, event.progress);
      return;
    }
    // The last that is known comes before what follows it.
    this.#flush();
    if (event.type === "ended") this.#progress.delete(event.run);
    if (event.type === "message" && this.#isFull) this.#dropped++;
    else this.line({ type: "event", event });
  }

  line(line: Line): void {
    if (this.#ended || this.#response.destroyed) return;
    this.#lastMs = Date.now();
    this.#response.write(`${JSON.stringify(line)}\n`);
  }

  result(result: unknown): void {
    this.#end({ type: "result", result: result ?? null });
  }

  problem(error: HoldfastError): void {
    this.#end({ type: "problem", problem: problemOf(error), error: error.toWire() });
  }

  #end(line: Line): void {
    if (this.#ended) return;
    this.#flush();
    if (this.#dropped > 0) this.line({ type: "dropped", messages: this.#dropped });
    this.line(line);
    this.#ended = true;
    clearInterval(this.#timer);
    this.#response.end();
  }

  get #isFull(): boolean {
    return this.#response.writableLength > MAX_BUFFERED_BYTES;
  }

  #tick(): void {
    if (this.#ended || this.#response.destroyed) clearInterval(this.#timer);
    else if (this.#response.writableNeedDrain) return;
    else {
      this.#flush();
      if (Date.now() - this.#lastMs >= ALIVE_MS) this.line({ type: "alive" });
    }
  }

  #flush(): void {
    for (const [run, progress] of this.#progress) this.line({ type: "event", event: { type: "progress", run, progress } });
    this.#progress.clear();
  }
}
