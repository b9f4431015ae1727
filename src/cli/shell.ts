import type { DaemonControl, ProbesConfig } from "../index.ts";

/** What the command line has of its process. `main.ts` makes the real one; tests make their own. */
export interface Shell {
  /** Arguments after the program's name. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly hostName: string;
  readonly home: string;
  readonly isRoot: boolean;
  /** IANA name of the machine's time zone. */
  readonly timezone: string;
  readonly version: string;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly stdin: Input;
  /** Fires at the first signal that asks to stop, or when the reader of standard output has gone. */
  readonly interrupted: AbortSignal;
  /** True when it is the reader who has gone: nobody is left to tell anything. */
  readonly readerGone: () => boolean;
  /** Called at a first stop signal, and with `true` at a second one, after which the process ends at once unless it returns true. */
  onStop: (listener: (again: boolean) => boolean) => void;
  /** Serves a daemon on the control socket of its state folder; the command line itself knows no server. */
  readonly serve?: (control: DaemonControl, stateDir: string) => Promise<AsyncDisposable>;
  /** Answers a daemon's probes where its configuration says. */
  readonly serveProbes?: (control: DaemonControl, probes: ProbesConfig) => Promise<AsyncDisposable>;
  /** Called at each SIGHUP, which then stops nothing. */
  onReload: (listener: () => void) => void;
}

export interface Output {
  readonly isTerminal: boolean;
  /** Width of the terminal, or 80 where it is not known. */
  readonly columns: () => number;
  /** Resolves when more may be written; false promises nothing: a reader that has gone is not an error here. */
  write(chunk: string | Uint8Array): Promise<void>;
}

export interface Input {
  readonly isTerminal: boolean;
  /** Prints a question on standard error and reads one line; undefined at the end of the input. */
  ask(question: string, signal: AbortSignal): Promise<string | undefined>;
  /** The same, without showing what is typed. */
  askSecret(question: string, signal: AbortSignal): Promise<string | undefined>;
}
