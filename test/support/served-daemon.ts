/** A daemon at work in this process, with a real repository, that is asked through its control socket. */
import { request as httpRequest, type IncomingMessage } from "node:http";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { serveControl } from "../../src/api/server.ts";
import { systemRandom } from "../../src/codec/system-random.ts";
import { runDaemon } from "../../src/daemon/daemon.ts";
import type { DaemonReading } from "../../src/daemon/reloader.ts";
import { readConfigFile } from "../../src/engine/config-file.ts";
import { openState, type State } from "../../src/state/state.ts";
import { createSystemClock } from "../../src/state/system-clock.ts";
import type { Log } from "../../src/telemetry/log.ts";
import { temporaryTree, type TreeLiteral } from "./tree-literal.ts";

/** A document, looked into freely: a test says what it expects there. */
// oxlint-disable-next-line no-explicit-any
export type Body = Record<string, any>;

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly trailers: Readonly<Record<string, string | undefined>>;
  readonly bytes: Buffer;
  readonly body: Body;
}

export interface ServedDaemon extends AsyncDisposable {
  readonly path: string;
  readonly state: State;
  readonly lines: string[];
  readonly socket: string;
  /** Rejects when the connection is cut before the answer is complete. */
  ask(method: string, path: string, body?: unknown): Promise<Answer>;
  /** The head of an answer, whose body the caller reads. */
  open(path: string): Promise<IncomingMessage>;
  says(text: string): Promise<void>;
  /** Polls a document until it fits. */
  until(path: string, fits: (body: Body) => boolean): Promise<Body>;
}

/** `config` follows after the daemon's own members; `restoreRoots` as the configuration would declare them. */
export async function servedDaemon(
  config: string,
  options: {
    readonly data?: TreeLiteral;
    readonly restoreRoots?: (path: string) => string[];
    readonly prepare?: (path: string) => void;
  } = {},
): Promise<ServedDaemon> {
  const folder = temporaryTree({ data: options.data ?? { "a.txt": "first\n" } });
  options.prepare?.(folder.path);
  const path = join(folder.path, "holdfast.yaml");
  writeFileSync(
    path,
    `version: 1\nhost: tester\ndaemon: { stateDir: ./state, cacheDir: ./cache, timezone: UTC, shutdownGrace: 1s }\n${config}`,
  );
  const clock = createSystemClock();
  const lines: string[] = [];
  const watchers = new Set<() => void>();
  const at =
    (level: string): Log["info"] =>
    (line, fields = {}) => {
      lines.push(`${level} ${line} ${JSON.stringify(fields)}`);
      for (const look of watchers) look();
    };
  const log: Log = { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
  const read = async (): Promise<DaemonReading> => {
    const { config: valid, ...reading } = readConfigFile(
      path,
      { env: {}, cwd: folder.path, hostName: "tester", home: folder.path, isRoot: false, timezone: "UTC" },
      false,
    );
    const restoreRoots = options.restoreRoots?.(folder.path) ?? [];
    const surroundings = {
      env: {},
      credentialsDirectory: undefined,
      clock,
      random: systemRandom,
      toolVersion: "0.0.0",
      configText: "",
      gitCommit: undefined,
    };
    return { ...reading, valid: valid && { config: { ...valid, control: { ...valid.control, restoreRoots } }, surroundings } };
  };
  const state = openState(join(folder.path, "state"));
  const stop = new AbortController();
  const served = Promise.withResolvers<void>();
  const { valid, watched, problems } = await read();
  if (valid === undefined) throw new Error(JSON.stringify(problems));
  const ended = runDaemon({
    ...valid,
    watched,
    state,
    log,
    read,
    signal: stop.signal,
    serve: async (control, stateDir) => {
      const server = await serveControl(control, stateDir);
      served.resolve();
      return server;
    },
  });
  ended.catch(served.reject);
  await served.promise;
  const socket = join(folder.path, "state/control.sock");
  const send = (method: string, to: string, body?: unknown): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const text = body === undefined ? undefined : JSON.stringify(body);
      const request = httpRequest({
        socketPath: socket,
        method,
        path: `/api/v1${to}`,
        ...(text !== undefined && { headers: { "content-type": "application/json", "content-length": Buffer.byteLength(text) } }),
      });
      request.on("response", resolve).on("error", reject).end(text);
    });
  const ask = async (method: string, to: string, body?: unknown): Promise<Answer> => {
    const response = await send(method, to, body);
    const parts: Buffer[] = [];
    for await (const part of response) parts.push(part as Buffer);
    const bytes = Buffer.concat(parts);
    const isJson = /^application\/(problem\+)?json/.test(String(response.headers["content-type"]));
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      trailers: response.trailers,
      bytes,
      body: isJson ? (JSON.parse(bytes.toString()) as Body) : {},
    };
  };
  return {
    path: folder.path,
    state,
    lines,
    socket,
    ask,
    open: (to) => send("GET", to),
    says: (wanted) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!lines.some((line) => line.includes(wanted))) return;
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        void ended.then(() => reject(new Error(`it ended without ${wanted}:\n${lines.join("\n")}`)), reject);
        look();
      }),
    until: async (to, fits) => {
      for (;;) {
        const { body } = await ask("GET", to);
        if (fits(body)) return body;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await ended;
      state[Symbol.dispose]();
      folder[Symbol.dispose]();
    },
  };
}
