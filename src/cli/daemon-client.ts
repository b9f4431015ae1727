/** Talks to the daemon of a state folder through its control socket. */
import { closeSync, constants, existsSync, openSync, realpathSync } from "node:fs";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { join } from "node:path";
import {
  ERROR_CODES,
  errnoOf,
  HoldfastError,
  liveDaemon,
  type ActionOutcome,
  type Applied,
  type DaemonInfo,
  type ErrorCode,
  type ErrorWire,
  type OperationHooks,
  type Operations,
  type PrunePart,
  type ReloadOutcome,
  type RunEvent,
  type RunListener,
  type RunOutcome,
} from "../index.ts";
import type { Context, LoadedConfig } from "./context.ts";
import { shortId } from "./format.ts";

const SOCKET = "control.sock";
const PREFIX = "/api/v1";
/** A daemon that starts or stops has a claim and no socket for a moment. */
const PATIENCE_MS = 10_000;
const LOOK_MS = 100;
/** A daemon that takes longer to answer a plain question is stuck. */
const ANSWER_MS = 30_000;

/** What an attached command is told beside the hooks of its operation. */
export interface Attached {
  readonly listener: RunListener;
  readonly onWarning: (text: string) => void;
}

type Line =
  | { readonly type: "attached"; readonly operation: string }
  | { readonly type: "event"; readonly event: RunEvent }
  | { readonly type: "warning" | "notice"; readonly text: string }
  | { readonly type: "part"; readonly part: PrunePart }
  | { readonly type: "dropped"; readonly messages: number }
  | { readonly type: "alive" }
  | { readonly type: "result"; readonly result: unknown }
  | { readonly type: "problem"; readonly error: ErrorWire };

export class DaemonClient {
  readonly #stateDir: string;

  constructor(stateDir: string) {
    this.#stateDir = stateDir;
  }

  /** One question and its answer. Rejects with what the daemon says, or `daemon_unreachable`. */
  async ask<T>(method: "GET" | "POST", path: string, body?: unknown): Promise<T> {
    const response = await this.#send(method, path, body, AbortSignal.timeout(ANSWER_MS));
    try {
      return (await answerOf(response)) as T;
    } catch (error) {
      throw error instanceof HoldfastError ? error : unreachable(this.#stateDir, error);
    }
  }

  /**
   * Stays attached to what `path` starts, until its result. The signal cancels it there, or only detaches with `leaves`, which
   * rejects with the signal's reason. Rejects with `daemon_unreachable`, naming the run, when the daemon ends first.
   */
  async attach(
    path: string,
    body: unknown,
    told: Attached,
    hooks: OperationHooks,
    options: { readonly leaves: boolean } = { leaves: false },
  ): Promise<unknown> {
    const { signal } = hooks;
    const gone = new AbortController();
    let operation: string | undefined;
    let run: string | undefined;
    const stop = (): void => {
      if (options.leaves) gone.abort(signal.reason);
      // A daemon that is gone meanwhile shows as the end of the lines.
      else if (operation !== undefined) this.ask("POST", `/operations/${operation}/cancel`).catch(() => undefined);
    };
    signal.addEventListener("abort", stop, { once: true });
    try {
      if (options.leaves) signal.throwIfAborted();
      const response = await this.#send("POST", path, body, gone.signal);
      if (response.statusCode !== 200) return await answerOf(response);
      for await (const text of linesOf(response)) {
        const line = JSON.parse(text) as Line;
        switch (line.type) {
          case "attached":
            operation = line.operation;
            if (signal.aborted) stop();
            break;
          case "event":
            if (line.event.type === "started") ({ run } = line.event);
            told.listener(line.event);
            break;
          case "warning":
            told.onWarning(line.text);
            break;
          case "notice":
            hooks.onNotice(line.text);
            break;
          case "part":
            hooks.onPart(revivedPart(line.part));
            break;
          case "dropped":
            told.onWarning(`${line.messages} messages were left out; \`holdfast logs\` shows all`);
            break;
          case "alive":
            break;
          case "result":
            return line.result;
          case "problem":
            throw HoldfastError.fromWire(line.error);
        }
      }
    } catch (error) {
      if (options.leaves && signal.aborted) throw signal.reason;
      if (error instanceof HoldfastError && error.code !== "daemon_unreachable") throw error;
      throw lost(run, error);
    } finally {
      signal.removeEventListener("abort", stop);
      gone.abort();
    }
    throw lost(run, undefined);
  }

  async #send(method: string, path: string, body: unknown, signal: AbortSignal): Promise<IncomingMessage> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    let fd: number | undefined;
    try {
      // A path by descriptor is short, however deep the folder lies.
      fd = openSync(this.#stateDir, constants.O_RDONLY | constants.O_DIRECTORY);
      const byDescriptor = `/proc/self/fd/${fd}`;
      const socketPath = join(existsSync(byDescriptor) ? byDescriptor : this.#stateDir, SOCKET);
      return await new Promise<IncomingMessage>((resolve, reject) => {
        const request = httpRequest({
          method,
          path: `${PREFIX}${path}`,
          socketPath,
          agent: false,
          signal,
          headers: {
            host: "localhost",
            ...(text !== undefined && { "content-type": "application/json", "content-length": Buffer.byteLength(text) }),
          },
        });
        request.on("response", resolve).on("error", reject);
        request.end(text);
      });
    } catch (error) {
      throw unreachable(this.#stateDir, error);
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }
}

/** The daemon that works on a state folder; undefined when there is none. Rejects with `daemon_unreachable` when it does not answer. */
export async function findDaemon(
  context: Context,
  stateDir: string,
): Promise<{ readonly client: DaemonClient; readonly info: DaemonInfo } | undefined> {
  const client = new DaemonClient(stateDir);
  const since = context.clock.monotonic();
  for (;;) {
    try {
      return { client, info: await client.ask<DaemonInfo>("GET", "/daemon") };
    } catch (error) {
      const errno = error instanceof HoldfastError ? error.data?.["errno"] : undefined;
      const isAbsent = errno === "ENOENT" || errno === "ECONNREFUSED" || errno === "ENOTSOCK";
      if (!isAbsent && errno !== "ECONNRESET") throw error;
      if (liveDaemon(stateDir) === undefined) return undefined;
      if (context.clock.monotonic() - since > PATIENCE_MS) throw error;
      await context.clock.sleep(LOOK_MS, context.signal);
    }
  }
}

/** The same, when it serves this configuration as it is now; has it read its file first when that differs. Rejects with `daemon_differs`. */
export async function daemonFor(context: Context, loaded: LoadedConfig): Promise<DaemonClient | undefined> {
  const { stateDir } = loaded.config.daemon;
  const found = await findDaemon(context, stateDir);
  if (found === undefined) return undefined;
  const { client, info } = found;
  const differs = (message: string, hint: string): HoldfastError =>
    new HoldfastError("daemon_differs", message, { hint: `${hint} Nothing was done.`, data: { process: info.pid } });
  if (info.version !== context.shell.version)
    throw differs(
      `The daemon (process ${info.pid}) is version ${info.version}, and this is ${context.shell.version}`,
      "Restart the daemon.",
    );
  if (realPath(info.config) !== realPath(loaded.path))
    throw differs(
      `The daemon (process ${info.pid}) of the state folder ${stateDir} serves ${info.config}, not ${loaded.path}`,
      "Give this configuration its own daemon.stateDir, or name the daemon's with --config.",
    );
  if (info.digest !== loaded.config.digest) {
    await client.ask<ReloadOutcome>("POST", "/config/reload");
    const { digest } = await client.ask<DaemonInfo>("GET", "/daemon");
    if (digest !== loaded.config.digest)
      throw differs(
        `The daemon (process ${info.pid}) does not accept ${loaded.path} as it is now`,
        "`holdfast reload` says why; it may see other files or another environment than you do.",
      );
  }
  return client;
}

/** Operations as they are done in the daemon, with the same results. */
export function operationsIn(client: DaemonClient, told: Attached): Operations {
  const attach = (name: string, body: unknown, hooks: OperationHooks): Promise<unknown> =>
    client.attach(`/operations/${name}`, body, told, hooks);
  return {
    backup: async (request, hooks) => revivedRun(await attach("backup", request, hooks)),
    apply: async (request, hooks) => {
      const applied = (await attach("apply", request, hooks)) as Applied;
      return {
        ...applied,
        outcomes: applied.outcomes.map((outcome): ActionOutcome => ({
          ...outcome,
          error: revived(outcome.error),
          run: outcome.run && revivedRun(outcome.run),
        })),
        unavailable: applied.unavailable.map(({ target, error }) => ({ target, error: revived(error) as HoldfastError })),
      };
    },
    restore: async (request, hooks) => revivedRun(await attach("restore", request, hooks)),
    rollback: async (request, hooks) => revivedRun(await attach("rollback", request, hooks)),
    prune: async (request, hooks) => void (await attach("prune", request, hooks)),
  };
}

/** What a run's outcome is after its way through the socket: its error is one again. */
export function revivedRun<Result>(outcome: unknown): RunOutcome<Result> {
  const run = outcome as RunOutcome<Result>;
  return { ...run, error: revived(run.error) };
}

function revivedPart(part: PrunePart): PrunePart {
  if (part.part === "pruned") return { ...part, outcome: revivedRun(part.outcome) };
  return part.part === "unavailable" ? { ...part, error: revived(part.error) as HoldfastError } : part;
}

function revived(wire: unknown): HoldfastError | undefined {
  return wire === undefined || wire === null ? undefined : HoldfastError.fromWire(wire as ErrorWire);
}

async function answerOf(response: IncomingMessage): Promise<unknown> {
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += chunk;
  const status = response.statusCode ?? 0;
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  if (status >= 200 && status < 300 && body !== undefined) return body;
  const { code, detail, hint, data } = (body ?? {}) as Readonly<Record<string, unknown>>;
  const known = typeof code === "string" && code in ERROR_CODES ? (code as ErrorCode) : "internal";
  throw new HoldfastError(known, typeof detail === "string" ? detail : `The daemon answered with status ${status}`, {
    ...(typeof hint === "string" && { hint }),
    ...(typeof data === "object" && data !== null && { data: data as Record<string, unknown> }),
  });
}

async function* linesOf(response: IncomingMessage): AsyncGenerator<string> {
  let rest: string[] = [];
  for await (const chunk of response.setEncoding("utf8") as AsyncIterable<string>) {
    const lines = chunk.split("\n");
    const last = lines.pop() as string;
    for (const line of lines) {
      rest.push(line);
      yield rest.join("");
      rest = [];
    }
    if (last !== "") rest.push(last);
  }
}

function unreachable(stateDir: string, error: unknown): HoldfastError {
  const errno = errnoOf(error) ?? (error instanceof Error ? error.name : "unknown error");
  const pid = liveDaemon(stateDir);
  return new HoldfastError(
    "daemon_unreachable",
    `The daemon${pid === undefined ? "" : ` (process ${pid})`} of the state folder ${stateDir} does not answer (${errno})`,
    {
      hint:
        errno === "EACCES"
          ? "Only the user that runs the daemon, and root, may talk to it."
          : "Look into its log; stop it or start it again.",
      data: { errno },
      cause: error,
    },
  );
}

function lost(run: string | undefined, cause: unknown): HoldfastError {
  return new HoldfastError(
    "daemon_unreachable",
    run === undefined ? "The daemon ended before this was done" : `The daemon ended in the middle of run ${shortId(run)}`,
    {
      hint: "What was not committed is not there; what was stored is used by the next run. `holdfast runs` and the daemon's log show more.",
      data: { ...(run !== undefined && { run }) },
      cause,
    },
  );
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
