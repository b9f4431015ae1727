import type { Progress, RunEvent, RunId, RunListener } from "../index.ts";
import type { Context } from "./context.ts";
import { errorJson, safe, shortId } from "./format.ts";
import { progressFacts, progressLine, Rate } from "./progress-line.ts";

/** At most five status lines a second in NDJSON; a terminal may be redrawn a little more often. */
const STATUS_MS = 200;
const REDRAW_MS = 100;
const HEARTBEAT_MS = 60_000;
/** Messages kept for the end where there is no terminal. */
const KEPT_MESSAGES = 1000;

interface RunningOperation {
  readonly run: RunId;
  readonly title: string;
  readonly rate: Rate;
  progress: Progress | undefined;
}

/**
 * Tells people and scripts how long operations go on. On a terminal: one line, redrawn, and gone at the end. Elsewhere: a line
 * at the start, one a minute, and problems after the summary. With `--json`: NDJSON. Call `end` before the summary,
 * and dispose after it.
 */
export class Reporter implements AsyncDisposable {
  readonly #context: Context;
  readonly #reportsDamage: boolean;
  readonly #timer: NodeJS.Timeout | undefined;
  #operation: RunningOperation | undefined;
  #isDrawn = false;
  #hasNews = false;
  /** Output in its order; never rejects. */
  #tail: Promise<void> = Promise.resolve();
  readonly #late: { readonly level: "warn" | "error"; readonly text: string }[] = [];
  #lateCount = 0;

  /**
   * `reportsDamage`: the command prints what is wrong by itself, in full, so that messages of it are left out. `onStop`: what a
   * first signal does, for people.
   */
  constructor(context: Context, options: { readonly reportsDamage?: boolean; readonly onStop?: string } = {}) {
    this.#context = context;
    this.#reportsDamage = options.reportsDamage === true;
    const { json, quiet } = context;
    if (quiet && !json) return;
    const everyMs = json ? STATUS_MS : this.#isTerminal ? REDRAW_MS : HEARTBEAT_MS;
    this.#timer = setInterval(() => this.#tick(), everyMs);
    this.#timer.unref();
    context.shell.onStop((again) => {
      if (!again && this.#operation !== undefined) this.#say(options.onStop ?? "stopping cleanly; once more ends at once");
      return false;
    });
  }

  readonly listener: RunListener = (event) => this.#receive(event);

  /** Something to know while an operation waits or goes on. */
  notice(text: string): void {
    if (this.#context.json) this.#line("status", { event: "notice", message: text });
    else this.#say(safe(text));
  }

  /** Clears the progress line; what is printed next stands alone. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    this.#operation = undefined;
    this.#clear();
    await this.#tail;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
    for (const { level, text } of this.#late) await this.#complain(level, text);
    if (this.#lateCount > this.#late.length)
      await this.#context.warn(`and ${this.#lateCount - this.#late.length} more; \`holdfast logs\` shows all`);
    this.#late.length = 0;
  }

  get #isTerminal(): boolean {
    return this.#context.shell.stderr.isTerminal && !this.#context.json;
  }

  #receive(event: RunEvent): void {
    switch (event.type) {
      case "started": {
        const title = `${event.kind} of ${event.subject}`;
        this.#operation = { run: event.run, title, rate: new Rate(), progress: undefined };
        if (this.#context.json)
          this.#line("status", { event: "started", run: event.run, kind: event.kind, subject: event.subject });
        else if (!this.#isTerminal || this.#context.verbose) this.#say(`${safe(title)} started (run ${shortId(event.run)})`);
        break;
      }
      case "progress":
        if (this.#operation?.run !== event.run) break;
        this.#operation.progress = event.progress;
        this.#operation.rate.add(performance.now(), event.progress.bytesDone);
        this.#hasNews = true;
        break;
      case "message":
        this.#message(event);
        break;
      case "snapshot":
        if (this.#context.json)
          this.#line("status", {
            event: "snapshot",
            run: event.run,
            snapshot: event.snapshot,
            source: event.source,
            targets: event.targets,
          });
        else if (this.#context.verbose)
          this.#say(`snapshot ${shortId(event.snapshot)} of ${safe(event.source)} on ${event.targets.join(", ")}`);
        break;
      case "ended":
        if (this.#operation?.run !== event.run) break;
        this.#operation = undefined;
        this.#clear();
        if (this.#context.json)
          this.#line("status", {
            event: "ended",
            run: event.run,
            status: event.status,
            ...(event.error && { error: errorJson(event.error) }),
          });
        break;
    }
  }

  #message(event: Extract<RunEvent, { type: "message" }>): void {
    const { level, text } = event;
    if (this.#context.json) {
      if (level === "info") this.#line("status", { event: "message", run: event.run, message: text });
      else this.#line("error", { level: level === "warn" ? "warning" : "error", run: event.run, message: text });
    } else if (level === "error" && this.#reportsDamage) return;
    else if (level === "info") this.#say(safe(text));
    else if (this.#isTerminal) {
      this.#clear();
      this.#queue(() => this.#complain(level, text));
    } else {
      this.#lateCount++;
      if (this.#late.length < KEPT_MESSAGES) this.#late.push({ level, text });
    }
  }

  #complain(level: "warn" | "error", text: string): Promise<void> {
    return level === "warn" ? this.#context.warn(text) : this.#context.complain(text);
  }

  #tick(): void {
    const operation = this.#operation;
    if (operation?.progress === undefined) return;
    // The heartbeat comes anyway: it says that the program lives.
    if (!this.#hasNews && (this.#context.json || this.#isTerminal)) return;
    this.#hasNews = false;
    const { progress, rate, title } = operation;
    if (this.#context.json) this.#line("status", statusMembers(operation, progress));
    else if (this.#isTerminal) {
      this.#isDrawn = true;
      const line = progressLine(title, progress, rate, this.#context.shell.stderr.columns());
      this.#queue(() => this.#context.shell.stderr.write(`\r${line}\u001b[K`));
    } else this.#say([safe(title), progress.phase, ...progressFacts(progress, rate)].join("  "));
  }

  #say(text: string): void {
    this.#clear();
    this.#queue(() => this.#context.note(text));
  }

  #line(type: "status" | "error", members: Readonly<Record<string, unknown>>): void {
    this.#queue(() => this.#context.printLine(type, members));
  }

  #clear(): void {
    if (!this.#isDrawn) return;
    this.#isDrawn = false;
    this.#queue(() => this.#context.shell.stderr.write("\r\u001b[K"));
  }

  #queue(write: () => Promise<void>): void {
    this.#tail = this.#tail.then(write);
  }
}

function statusMembers(operation: RunningOperation, progress: Progress): Record<string, unknown> {
  const { rate } = operation;
  const bytesPerSecond = rate.bytesPerSecond;
  const secondsLeft = rate.secondsLeft(progress.bytesDone, progress.bytesTotal);
  return {
    event: "progress",
    run: operation.run,
    ...progress,
    ...(bytesPerSecond !== undefined && { bytesPerSecond: Math.round(bytesPerSecond) }),
    ...(secondsLeft !== undefined && { secondsLeft }),
  };
}
