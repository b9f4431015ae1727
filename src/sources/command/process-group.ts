/** A command in its own process group, so that ending it ends what it started, too. */
import { spawn, type ChildProcessByStdio } from "node:child_process";
import { PassThrough, pipeline, type Readable } from "node:stream";
import { HoldfastError, errnoOf } from "../../base/errors.ts";

export interface CommandExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface CommandOptions {
  readonly command: readonly string[];
  /** The whole environment; without it the command inherits this process's. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
}

const STDERR_TAIL_BYTES = 64 * 1024;

/** A running command: its output, the end of its error output, and how it ended. */
export class ProcessGroup {
  readonly stdout: Readable;
  /** Settles when the command has exited and its output pipes are closed; never rejects. */
  readonly closed: Promise<CommandExit>;
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;
  readonly #stderr: Buffer[] = [];
  #stderrBytes = 0;
  #isClosed = false;

  private constructor(child: ChildProcessByStdio<null, Readable, Readable>) {
    this.#child = child;
    // Read from the start: Node throws away what nobody reads of a process that has exited. The kernel's pipe and
    // this buffer hold the command back until someone takes its output.
    const output = new PassThrough();
    // How the output ended is told by the iterator, and by `closed`.
    pipeline(child.stdout, output, () => undefined);
    this.stdout = output;
    child.stderr.on("data", (chunk: Buffer) => this.#keep(chunk));
    this.closed = new Promise((resolve) => {
      child.once("close", (code, signal) => {
        this.#isClosed = true;
        resolve({ code, signal });
      });
    });
  }

  /** Starts the command without a shell. Rejects with `source_unavailable` when it cannot be started. */
  static async start(options: CommandOptions): Promise<ProcessGroup> {
    const [program, ...args] = options.command as [string, ...string[]];
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: options.env,
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
      shell: false,
      windowsHide: true,
    });
    const group = new ProcessGroup(child);
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (error) => reject(unavailable(program, options.cwd, error)));
    });
    // A later error is a kill that failed; how the command ends is told by `closed`.
    child.on("error", () => undefined);
    return group;
  }

  /** The last 64 KiB of error output, control characters but line ends and tabs as `\xNN`. */
  stderrTail(): string {
    const tail = Buffer.concat(this.#stderr).subarray(-STDERR_TAIL_BYTES).toString("utf8").trim();
    // oxlint-disable-next-line no-control-regex -- a terminal must not obey what a command printed
    return tail.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
  }

  /**
   * Ends the group: SIGTERM, and SIGKILL after `graceMs`. Resolves when it is over; does nothing when it already was.
   * Output that nobody reads any more is thrown away, so that a full pipe cannot keep the command alive.
   */
  async stop(graceMs: number): Promise<void> {
    if (this.#isClosed) return;
    this.stdout.destroy();
    this.#signal("SIGTERM");
    const timer = setTimeout(() => {
      this.#signal("SIGKILL");
      // A descendant that left the group may hold the pipe for ever: do not wait for it.
      this.#child.stderr.destroy();
    }, graceMs);
    await this.closed;
    clearTimeout(timer);
  }

  #signal(signal: NodeJS.Signals): void {
    // A pid whose pipes are closed may belong to someone else by now.
    if (this.#isClosed || this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, signal);
    } catch {
      // ESRCH: the group is gone, and only a descendant outside it holds a pipe.
    }
  }

  #keep(chunk: Buffer): void {
    this.#stderr.push(chunk);
    this.#stderrBytes += chunk.length;
    while (this.#stderrBytes - (this.#stderr[0] as Buffer).length >= STDERR_TAIL_BYTES)
      this.#stderrBytes -= (this.#stderr.shift() as Buffer).length;
  }
}

function unavailable(program: string, cwd: string | undefined, error: Error): HoldfastError {
  const reason = errnoOf(error) ?? error.message;
  return new HoldfastError("source_unavailable", `The command ${program} cannot be started (${reason})`, {
    hint:
      reason === "ENOENT"
        ? `Check that ${program} is installed and on PATH${cwd === undefined ? "" : `, and that the folder ${cwd} exists`}.`
        : `Check that this user may run ${program}.`,
    cause: error,
  });
}
