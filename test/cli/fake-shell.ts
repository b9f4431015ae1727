import type { Output, Shell } from "../../src/cli/shell.ts";

export interface FakeShell extends Shell {
  readonly out: () => string;
  readonly err: () => string;
  readonly stop: AbortController;
}

/** A process that is none: collects what is written, and answers questions from a list. */
export function fakeShell(
  args: readonly string[],
  options: { readonly cwd?: string; readonly isTerminal?: boolean; readonly answers?: string[] } = {},
): FakeShell {
  const written = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  const output = (to: Buffer[]): Output => ({
    isTerminal: options.isTerminal ?? false,
    columns: () => 80,
    write: async (chunk) => void to.push(Buffer.from(chunk as string)),
  });
  const stop = new AbortController();
  const answer = async (): Promise<string | undefined> => options.answers?.shift();
  return {
    args,
    env: {},
    cwd: options.cwd ?? "/",
    hostName: "tester",
    home: "/home/tester",
    isRoot: false,
    timezone: "UTC",
    version: "1.2.3",
    stdout: output(written.stdout),
    stderr: output(written.stderr),
    stdin: { isTerminal: options.isTerminal ?? false, ask: answer, askSecret: answer },
    interrupted: stop.signal,
    readerGone: () => false,
    onStop: () => undefined,
    onReload: () => undefined,
    out: () => Buffer.concat(written.stdout).toString(),
    err: () => Buffer.concat(written.stderr).toString(),
    stop,
  };
}
