/** The output of a command, as one file. */
import { strict as assert } from "node:assert";
import { userInfo } from "node:os";
import { formatDuration } from "../../base/duration.ts";
import { errnoOf, HoldfastError } from "../../base/errors.ts";
import { groupName } from "../../posix/owners.ts";
import { ProcessGroup, type CommandExit } from "../../posix/process-group.ts";
import type { Entry, EntryMeta, OpenSource, Source, WalkEvent } from "../source.ts";

export interface CommandSourceConfig {
  /** Program and arguments; never given to a shell. */
  readonly command: readonly string[];
  /** Name of the one file in the snapshot. */
  readonly filename: string;
  /** The command is stopped, and the source fails, when it takes longer. */
  readonly timeoutMs?: number | undefined;
  /** The command's whole environment; without it the command inherits this process's. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
  /** Time between SIGTERM and SIGKILL when the command must be stopped. Default 5 s. */
  readonly killGraceMs?: number | undefined;
  /** Wall clock, milliseconds. Default: the system's. */
  readonly now?: (() => number) | undefined;
}

const KILL_GRACE_MS = 5000;

/**
 * A source that runs a command when it is opened and yields its standard output as one file, mode 0600, changed when
 * the command started. The entry's size is 0: the length is known when the content (`once: 0`) has been read to its
 * end. The reader sets the pace; nothing is buffered beyond the pipe. `finish` rejects with `command_failed`, carrying
 * the end of standard error, unless the whole output was read and the command exited with 0. Aborting or disposing
 * ends the command and everything it started.
 */
export function createCommandSource(config: CommandSourceConfig): Source {
  assert(config.command.length > 0 && config.command[0] !== "", "a command names a program");
  assert(config.filename !== "" && !/[/\0]/.test(config.filename), "a command's filename is one path component");
  return {
    type: "command",
    profile: "stream",
    async open({ signal }) {
      signal.throwIfAborted();
      const startMs = (config.now ?? Date.now)();
      const group = await start(config);
      return new OpenCommand(config, group, startMs, signal);
    },
  };
}

/** Rejects with `source_unavailable` when the command cannot be started. */
async function start(config: CommandSourceConfig): Promise<ProcessGroup> {
  const { command, cwd } = config;
  try {
    return await ProcessGroup.start(config);
  } catch (error) {
    const program = command[0] as string;
    const reason = errnoOf(error) ?? (error instanceof Error ? error.message : String(error));
    throw new HoldfastError("source_unavailable", `The command ${program} cannot be started (${reason})`, {
      hint:
        reason === "ENOENT"
          ? `Check that ${program} is installed and on PATH${cwd === undefined ? "" : `, and that the folder ${cwd} exists`}.`
          : `Check that this user may run ${program}.`,
      cause: error,
    });
  }
}

class OpenCommand implements OpenSource {
  readonly stream: OpenSource["stream"];
  readonly #config: CommandSourceConfig;
  readonly #group: ProcessGroup;
  readonly #signal: AbortSignal;
  readonly #onAbort: () => void;
  #timer: NodeJS.Timeout | undefined;
  #timedOut = false;
  #opened = false;
  #readToEnd = false;
  #bytes = 0;
  #exit: CommandExit | undefined;

  constructor(config: CommandSourceConfig, group: ProcessGroup, startMs: number, signal: AbortSignal) {
    this.#config = config;
    this.#group = group;
    this.#signal = signal;
    this.#onAbort = () => void this.#stop();
    signal.addEventListener("abort", this.#onAbort, { once: true });
    if (signal.aborted) this.#onAbort();
    if (config.timeoutMs !== undefined) {
      this.#timer = setTimeout(() => {
        this.#timedOut = true;
        void this.#stop();
      }, config.timeoutMs);
    }
    this.stream = { kind: "events", events: eventsOf(config.filename, startMs), openOnce: (n) => this.#read(n) };
  }

  facts(): Readonly<Record<string, unknown>> {
    // The program only: arguments may hold what must not be in a snapshot.
    return { program: this.#config.command[0], exitCode: this.#exit?.code ?? null, outputBytes: this.#bytes };
  }

  async finish(): Promise<void> {
    this.#signal.throwIfAborted();
    if (!this.#readToEnd && !this.#timedOut) {
      await this.#stop();
      this.#signal.throwIfAborted();
      throw this.#failure("its output was not read to the end");
    }
    this.#exit = await this.#group.closed;
    this.#disarm();
    this.#signal.throwIfAborted();
    if (this.#timedOut) throw this.#failure(`it did not end within ${formatDuration(this.#config.timeoutMs as number)}`);
    if (this.#exit.signal !== null) throw this.#failure(`it was ended by ${this.#exit.signal}`);
    if (this.#exit.code !== 0) throw this.#failure(`it exited with ${this.#exit.code}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disarm();
    await this.#stop();
  }

  async *#read(n: number): AsyncGenerator<Uint8Array, void, undefined> {
    assert.equal(n, 0, "a command has one stream");
    assert(!this.#opened, "a command's output can be read once");
    this.#opened = true;
    try {
      for await (const chunk of this.#group.stdout as AsyncIterable<Buffer>) {
        this.#signal.throwIfAborted();
        this.#bytes += chunk.length;
        yield chunk;
      }
    } catch (error) {
      this.#signal.throwIfAborted();
      // The pipe was closed from this side because the time was over; `finish` says so.
      if (!this.#timedOut) throw error;
      throw this.#failure(`it did not end within ${formatDuration(this.#config.timeoutMs as number)}`);
    }
    this.#signal.throwIfAborted();
    this.#readToEnd = !this.#timedOut;
  }

  async #stop(): Promise<void> {
    await this.#group.stop(this.#config.killGraceMs ?? KILL_GRACE_MS);
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#signal.removeEventListener("abort", this.#onAbort);
  }

  #failure(what: string): HoldfastError {
    const program = this.#config.command[0] as string;
    const stderr = this.#group.stderrTail();
    return new HoldfastError("command_failed", `The command ${program} failed: ${what}${stderr === "" ? "" : `\n${stderr}`}`, {
      hint: `Run ${program} by hand, as this user, and see that it exits with 0.`,
      data: { program, exitCode: this.#exit?.code ?? null, signal: this.#exit?.signal ?? null, stderr },
    });
  }
}

async function* eventsOf(filename: string, startMs: number): AsyncGenerator<readonly WalkEvent[], void, undefined> {
  const meta = metaOf(startMs);
  const root: Entry = { name: new Uint8Array(0), type: "directory", meta: { ...meta, mode: 0o700, links: 2 }, size: 0 };
  const file: Entry = { name: Uint8Array.from(Buffer.from(filename)), type: "file", meta, size: 0, content: { once: 0 } };
  yield [{ step: "enter", entry: root }, { step: "leaf", entry: file }, { step: "leave" }];
}

function metaOf(startMs: number): EntryMeta {
  const timeNs = BigInt(Math.round(startMs)) * 1_000_000n;
  const { uid, gid, username } = currentUser();
  return {
    mode: 0o600,
    uid,
    gid,
    user: username,
    group: groupName(gid),
    mtimeNs: timeNs,
    ctimeNs: timeNs,
    inode: 0n,
    links: 1,
    device: 0n,
    xattrs: [],
  };
}

/** In a container the user id may have no name; then there is no user to ask for. */
function currentUser(): { readonly uid: number; readonly gid: number; readonly username: string } {
  try {
    return userInfo();
  } catch {
    return { uid: 0, gid: 0, username: "" };
  }
}
