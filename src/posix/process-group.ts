/** A command in its own process group, so that ending it ends what it started, too. */
import { spawn, type ChildProcessByStdio } from "node:child_process";
import { PassThrough, pipeline, type Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { errnoOf } from "../base/errors.ts";

export interface CommandExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface CommandOptions {
  readonly command: readonly string[];
  /** The whole environment; without it the command inherits this process's. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  readonly cwd?: string | undefined;
  /** Given all error output as it comes, besides its end being kept. */
  readonly onStderr?: ((chunk: Uint8Array) => void) | undefined;
  /** Told the process's id as soon as there is one, before anything else can happen here. Must not throw. */
  readonly onSpawn?: ((pid: number) => void) | undefined;
}

const STDERR_TAIL_BYTES = 64 * 1024;
/** Nobody tells when a group that is not a child has gone. */
const POLL_MS = 20;

/** A running command: its output, the end of its error output, and how it ended. */
export class ProcessGroup {
  readonly stdout: Readable;
  readonly pid: number;
  /** Settles when the command itself has exited, though something it started may still hold its output; never rejects. */
  readonly exited: Promise<CommandExit>;
  /** Settles when the command has exited and its output pipes are closed; never rejects. */
  readonly closed: Promise<CommandExit>;
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;
  readonly #stderr: Buffer[] = [];
  #stderrBytes = 0;
  #isClosed = false;

  private constructor(child: ChildProcessByStdio<null, Readable, Readable>, onStderr: CommandOptions["onStderr"]) {
    this.#child = child;
    // Without one it was not started, and `start` rejects.
    this.pid = child.pid ?? 0;
    // Read from the start: Node throws away what nobody reads of a process that has exited. The kernel's pipe and
    // this buffer hold the command back until someone takes its output.
    const output = new PassThrough();
    // How the output ended is told by the iterator, and by `closed`.
    pipeline(child.stdout, output, () => undefined);
    this.stdout = output;
    child.stderr.on("data", (chunk: Buffer) => {
      this.#keep(chunk);
      onStderr?.(chunk);
    });
    this.exited = new Promise((resolve) => {
      child.once("exit", (code, signal) => resolve({ code, signal }));
    });
    this.closed = new Promise((resolve) => {
      child.once("close", (code, signal) => {
        this.#isClosed = true;
        resolve({ code, signal });
      });
    });
  }

  /** Starts the command without a shell. Rejects with the system's error when it cannot be started. */
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
    if (child.pid !== undefined) options.onSpawn?.(child.pid);
    const group = new ProcessGroup(child, options.onStderr);
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
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
   * Ends the group: SIGTERM, and SIGKILL after `graceMs` to whoever is left of it. Resolves when it is over; does nothing when it
   * already was. Output that nobody reads any more is thrown away, so that a full pipe cannot keep the command alive; `isRead` says
   * that somebody goes on reading it.
   */
  async stop(graceMs: number, isRead = false): Promise<void> {
    if (this.#isClosed) return;
    if (!isRead) this.stdout.destroy();
    this.#signal("SIGTERM");
    let killed = false;
    const timer = setTimeout(() => {
      killed = true;
      this.#signal("SIGKILL");
      // A descendant that left the group may hold the pipe for ever: do not wait for it.
      this.letGo();
    }, graceMs);
    await this.closed;
    // One that has closed its output may still run.
    while (!killed && groupExists(this.pid)) await sleep(POLL_MS);
    clearTimeout(timer);
  }

  /** Reads no more of its output, without ending anything: what it left running in the background may go on. Then `closed` settles. */
  letGo(): void {
    this.stdout.destroy();
    this.#child.stderr.destroy();
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#child.pid !== undefined) signalGroup(this.#child.pid, signal);
  }

  #keep(chunk: Buffer): void {
    this.#stderr.push(chunk);
    this.#stderrBytes += chunk.length;
    while (this.#stderrBytes - (this.#stderr[0] as Buffer).length >= STDERR_TAIL_BYTES)
      this.#stderrBytes -= (this.#stderr.shift() as Buffer).length;
  }
}

/**
 * Ends a group that another process left behind, by the id of its first process, which the caller knows to be the one that it
 * means: SIGTERM, and SIGKILL after `graceMs`. Resolves when the group is gone; one that not even that ends, `graceMs` later.
 */
export async function endGroup(pid: number, graceMs: number): Promise<void> {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    signalGroup(pid, signal);
    for (let waitedMs = 0; waitedMs < graceMs && groupExists(pid); waitedMs += POLL_MS) await sleep(POLL_MS);
    if (!groupExists(pid)) return;
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // ESRCH: the group is gone, and only a descendant outside it holds a pipe.
  }
}

function groupExists(pid: number): boolean {
  try {
    process.kill(-pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) === "EPERM";
  }
}
