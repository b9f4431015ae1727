/** The composition root: the only place that reads the process's arguments, environment, streams and signals, and sets its exit code. */
import { readFileSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { homedir, hostname } from "node:os";
import type { Input, Output } from "./cli/shell.ts";

enableCompileCache();
const { runCli } = await import("./cli/run.ts");

/** A terminal signals npm and this process, and npm passes its signal on: within this time it is the same one. */
const SAME_SIGNAL_MS = 200;
const INTERRUPTED = 130;

const stop = new AbortController();
let readerGone = false;
let onStop: (again: boolean) => boolean = () => false;

function outputOf(stream: NodeJS.WriteStream): Output {
  // A stream reports a reader that has gone as an event; without a listener it would end the process with a stack trace.
  stream.on("error", () => {
    if (stream !== process.stdout) return;
    readerGone = true;
    stop.abort();
  });
  return {
    isTerminal: stream.isTTY,
    columns: () => stream.columns || 80,
    write: (chunk) =>
      new Promise((resolve) => {
        if (stream.destroyed || stream.write(chunk)) resolve();
        else {
          const done = (): void => {
            stream.off("drain", done).off("error", done).off("close", done);
            resolve();
          };
          stream.on("drain", done).on("error", done).on("close", done);
        }
      }),
  };
}

/** Reads one line from the terminal. */
async function ask(question: string, signal: AbortSignal, isShown: boolean): Promise<string | undefined> {
  const [{ createInterface }, { Writable }] = await Promise.all([import("node:readline/promises"), import("node:stream")]);
  const hidden = new Writable({ write: (_chunk, _encoding, done) => done() });
  if (!isShown) process.stderr.write(question);
  const lines = createInterface({ input: process.stdin, output: isShown ? process.stderr : hidden, terminal: true });
  try {
    return await Promise.race([
      lines.question(isShown ? question : "", { signal }),
      new Promise<undefined>((resolve) => lines.once("close", () => resolve(undefined))),
      // In raw mode the terminal sends no signal: readline reads the key and tells.
      new Promise<undefined>((_, reject) =>
        lines.once("SIGINT", () => {
          process.stderr.write("\n");
          reject(new DOMException("interrupted", "AbortError"));
        }),
      ),
    ]);
  } finally {
    lines.close();
    if (!isShown) process.stderr.write("\n");
  }
}

const input: Input = {
  isTerminal: process.stdin.isTTY && process.stderr.isTTY,
  ask: (question, signal) => ask(question, signal, true),
  askSecret: (question, signal) => ask(question, signal, false),
};

let lastStop: { readonly signal: string; readonly at: number } | undefined;
function receive(signal: string): void {
  const at = performance.now();
  const again = lastStop !== undefined;
  if (lastStop?.signal === signal && at - lastStop.at < SAME_SIGNAL_MS) return;
  lastStop = { signal, at };
  const handled = onStop(again);
  if (again && !handled) process.exit(INTERRUPTED);
  stop.abort();
}
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => receive(signal));
let onReload: (() => void) | undefined;
process.on("SIGHUP", () => (onReload === undefined ? receive("SIGHUP") : onReload()));

const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };

/** What an operation left open must not keep the process. */
const LINGER_MS = 2000;

process.exitCode = await runCli({
  args: process.argv.slice(2),
  env: process.env,
  cwd: process.cwd(),
  hostName: hostname(),
  home: homedir(),
  isRoot: process.getuid?.() === 0,
  timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
  version,
  stdout: outputOf(process.stdout),
  stderr: outputOf(process.stderr),
  stdin: input,
  interrupted: stop.signal,
  readerGone: () => readerGone,
  onStop: (listener) => (onStop = listener),
  onReload: (listener) => (onReload = listener),
  // Imported by a daemon alone: a server takes longer to load than most commands to run.
  serveProbes: async (control, probes) => (await import("./api/probes.ts")).serveProbes(control.monitor, probes),
  serve: async (control, stateDir) => (await import("./api/server.ts")).serveControl(control, stateDir),
});
setTimeout(() => process.exit(), LINGER_MS).unref();
