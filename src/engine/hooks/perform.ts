import { setTimeout as sleep } from "node:timers/promises";
import type { Clock } from "../../base/clock.ts";
import { formatDuration } from "../../base/duration.ts";
import { errnoOf, HoldfastError } from "../../base/errors.ts";
import { ProcessGroup, type CommandExit } from "../../posix/process-group.ts";
import { BoundedLines } from "./output.ts";
import type { HookCall } from "./plan.ts";

/** Between SIGTERM and SIGKILL. */
export const KILL_GRACE_MS = 5000;
/** How long output is waited for when a hook has exited: what it left running in the background may hold the pipes for ever. */
const DRAIN_MS = 1000;
/** What an error repeats of the end of a hook's standard error, as its data, and in its message, which is one line. */
const QUOTED = { lines: 10, characters: 2000 };
const TOLD = { lines: 3, characters: 500 };

export interface RunHookOptions {
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly clock: Clock;
  /** Ends the hook. */
  readonly signal: AbortSignal | undefined;
  /** Told what the hook prints, within bounds, and what happens to it. Never throws. */
  readonly onLine: (level: "info" | "warn", text: string) => void;
  /** Told the id of its process, also of its group, and that it is over. Never throws. */
  readonly onProcess: (pid: number | undefined) => void;
  readonly killGraceMs?: number | undefined;
}

/**
 * Runs a hook to its end. Resolves with undefined when it exited with 0, else with `hook_failed`: it could not be started, exited with
 * another code, was ended by a signal, or took longer than its timeout, after which it and all of its process group are ended. Rejects
 * with `signal.reason`, having ended it in the same way. What a hook leaves in the background when it exits by itself goes on, unread.
 */
export async function runHook(call: HookCall, options: RunHookOptions): Promise<HoldfastError | undefined> {
  const { signal, clock } = options;
  signal?.throwIfAborted();
  const program = call.run[0] as string;
  const say = (level: "info" | "warn", text: string): void => options.onLine(level, `${call.name}: ${text}`);
  say("info", `runs ${program}`);
  const errors = new BoundedLines((text) => say("warn", text));
  let group: ProcessGroup;
  try {
    group = await ProcessGroup.start({
      command: call.run,
      env: options.env,
      cwd: call.cwd,
      onStderr: (chunk) => errors.add(chunk),
      onSpawn: options.onProcess,
    });
  } catch (error) {
    const reason = errnoOf(error) ?? (error instanceof Error ? error.message : String(error));
    return new HoldfastError("hook_failed", `The hook ${call.name} failed: ${program} cannot be started (${reason})`, {
      hint: `Check that ${program} is installed and on PATH, that this user may run it, and that the folder ${call.cwd} exists.`,
      data: { hook: call.name, program, exitCode: null, signal: null, stderr: "" },
      cause: error,
    });
  }
  let ended: "timeout" | "abort" | undefined;
  let stopped: Promise<void> | undefined;
  const stop = (why: "timeout" | "abort"): void => {
    ended ??= why;
    stopped ??= group.stop(options.killGraceMs ?? KILL_GRACE_MS, true);
  };
  const done = new AbortController();
  const onAbort = (): void => stop("abort");
  signal?.addEventListener("abort", onAbort, { once: true });
  if (signal?.aborted === true) onAbort();
  clock.sleep(call.timeoutMs, done.signal).then(
    () => stop("timeout"),
    () => undefined,
  );
  const reading = readLines(group, new BoundedLines((text) => say("info", text)));
  const exit = await group.exited;
  // What comes now is only what was left in the pipes.
  done.abort();
  signal?.removeEventListener("abort", onAbort);
  if (stopped === undefined) await drain(group, say);
  else await stopped;
  await Promise.all([group.closed, reading]);
  errors.end();
  options.onProcess(undefined);
  if (ended === "abort") signal?.throwIfAborted();
  const what = ended === "timeout" ? `it did not end within ${formatDuration(call.timeoutMs)}` : failureOf(exit);
  return what === undefined ? undefined : failed(call, what, exit, group.stderrTail());
}

async function readLines(group: ProcessGroup, lines: BoundedLines): Promise<void> {
  try {
    for await (const chunk of group.stdout as AsyncIterable<Uint8Array>) lines.add(chunk);
  } catch {
    // The pipe was let go.
  }
  lines.end();
}

async function drain(group: ProcessGroup, say: (level: "info", text: string) => void): Promise<void> {
  const closed = new AbortController();
  const isOpen = await Promise.race([
    group.closed.then(() => false),
    sleep(DRAIN_MS, true, { signal: closed.signal }).catch(() => false),
  ]);
  closed.abort();
  if (!isOpen) return;
  group.letGo();
  say("info", "something that it started goes on; its output is not read any more");
}

function failureOf(exit: CommandExit): string | undefined {
  if (exit.signal !== null) return `it was ended by ${exit.signal}`;
  return exit.code === 0 ? undefined : `it exited with ${exit.code}`;
}

function failed(call: HookCall, what: string, exit: CommandExit, stderrTail: string): HoldfastError {
  const program = call.run[0] as string;
  const lines = stderrTail.split("\n").filter((line) => line.trim() !== "");
  const end = (of: typeof QUOTED, between: string): string => lines.slice(-of.lines).join(between).slice(-of.characters);
  const told = end(TOLD, "; ");
  return new HoldfastError("hook_failed", `The hook ${call.name} (${program}) failed: ${what}${told === "" ? "" : `: ${told}`}`, {
    hint: `All it printed is in the log of the run. Run ${program} by hand, as this user, and see that it exits with 0.`,
    data: { hook: call.name, program, exitCode: exit.code, signal: exit.signal, stderr: end(QUOTED, "\n") },
  });
}
