import {
  asHoldfastError,
  createSystemClock,
  findConfigFile,
  gitCommitOf,
  likelyStateDirs,
  Holdfast,
  HoldfastError,
  Notifier,
  openState,
  readConfigFile,
  receiversOfConfig,
  renderProblems,
  systemRandom,
  type Clock,
  type Config,
  type ConfigReading,
  type ConfigSurroundings,
  type RunListener,
  type State,
  type Surroundings,
} from "../index.ts";
import { commandActor } from "./actor.ts";
import { errorJson, safe } from "./format.ts";
import type { Shell } from "./shell.ts";

/** How long a command waits for receivers of its events. */
const TOLD_WITHIN_MS = 10_000;
const TOLD_WHEN_INTERRUPTED_MS = 2000;

export interface GlobalOptions {
  readonly config?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
  /** False with `--no-color`. */
  readonly color?: boolean;
}

/** A configuration that is valid, and where it came from. */
export interface LoadedConfig extends ConfigReading {
  readonly config: Config;
  readonly path: string;
}

/** An open configuration at work. Disposing closes its targets and its state. */
export interface Opened extends AsyncDisposable {
  readonly holdfast: Holdfast;
  readonly state: State;
  readonly loaded: LoadedConfig;
}

/** What a command works with: the process around it, the global options, and the ways to say something. */
export class Context {
  readonly shell: Shell;
  readonly options: GlobalOptions;
  readonly clock: Clock = createSystemClock();
  /** Long operations print NDJSON to standard output, errors included. */
  readonly isStream: boolean;

  constructor(shell: Shell, options: GlobalOptions, isStream: boolean) {
    this.shell = shell;
    this.options = options;
    this.isStream = isStream;
  }

  get signal(): AbortSignal {
    return this.shell.interrupted;
  }

  get json(): boolean {
    return this.options.json === true;
  }

  get quiet(): boolean {
    return this.options.quiet === true;
  }

  get verbose(): boolean {
    return this.options.verbose === true;
  }

  /** Whether colours may be used on standard output or standard error. */
  colors(stream: "stdout" | "stderr"): boolean {
    const { NO_COLOR: noColor, TERM: term } = this.shell.env;
    return (
      this.shell[stream].isTerminal &&
      this.options.color !== false &&
      (noColor === undefined || noColor === "") &&
      term !== "dumb"
    );
  }

  /** Data, to standard output. */
  async print(text: string): Promise<void> {
    await this.shell.stdout.write(text);
  }

  /** The one JSON document of a query. */
  async printJson(document: Readonly<Record<string, unknown>>): Promise<void> {
    await this.print(`${JSON.stringify(document, null, this.shell.stdout.isTerminal ? 2 : undefined)}\n`);
  }

  /** One line of a long operation's NDJSON. */
  async printLine(type: "status" | "error" | "summary", members: Readonly<Record<string, unknown>>): Promise<void> {
    await this.print(`${JSON.stringify({ type, ...members })}\n`);
  }

  /** A message, to standard error; not with `--quiet` or `--json`. */
  async note(text: string): Promise<void> {
    if (!this.quiet && !this.json) await this.shell.stderr.write(`${text}\n`);
  }

  /** A warning, to standard error, `--quiet` or not; with `--json` a line of type `error` with `level: warning`. */
  async warn(text: string): Promise<void> {
    if (this.json) await this.#errorLine({ level: "warning", message: text });
    else await this.shell.stderr.write(`${this.#paint(33, "warning:")} ${safe(text)}\n`);
  }

  /** Something that failed while the rest went on, in the same way. */
  async complain(text: string): Promise<void> {
    if (this.json) await this.#errorLine({ level: "error", message: text });
    else await this.shell.stderr.write(`${this.#paint(31, "error:")} ${safe(text)}\n`);
  }

  /** What failed and what to do, in the same way. Says nothing to a reader that has gone. */
  async fail(error: HoldfastError): Promise<void> {
    if (this.shell.readerGone()) return;
    if (this.json) return await this.#errorLine({ level: "error", ...errorJson(error) });
    const hint = error.hint === undefined ? "" : `${this.#paint(36, "hint:")} ${safe(error.hint)}\n`;
    const cause =
      this.verbose && error.cause instanceof Error
        ? `cause: ${safe(error.cause.stack ?? error.cause.message).replaceAll("\\x0a", "\n")}\n`
        : "";
    await this.shell.stderr.write(`${this.#paint(31, "error:")} ${safe(error.message)}\n${hint}${cause}`);
  }

  async #errorLine(members: Readonly<Record<string, unknown>>): Promise<void> {
    const stream = this.isStream ? this.shell.stdout : this.shell.stderr;
    await stream.write(`${JSON.stringify({ type: "error", ...members })}\n`);
  }

  #paint(color: number, text: string): string {
    return this.colors("stderr") ? `\u001b[1;${color}m${text}\u001b[0m` : text;
  }

  surroundings(): ConfigSurroundings {
    const { env, cwd, hostName, home, isRoot, timezone } = this.shell;
    return { env, cwd, hostName, home, isRoot, timezone };
  }

  /** Reads the configuration (or that in `path`) without judging it; where its state is, is a guess where it is not valid. Rejects with `config_not_found` or `config_unreadable`. */
  readConfig(
    strict = false,
    path = findConfigFile(this.options.config, this.surroundings()),
  ): ConfigReading & { readonly path: string; readonly stateDir: string } {
    const surroundings = this.surroundings();
    const reading = readConfigFile(path, surroundings, strict);
    const stateDir = reading.config?.daemon.stateDir ?? likelyStateDirs(path, reading.stateDir, surroundings)[0];
    return { ...reading, path, stateDir };
  }

  /** The valid configuration. Shows what is wrong with it otherwise, and rejects with `config_invalid`. */
  async config(): Promise<LoadedConfig> {
    const loaded = this.readConfig();
    const { config, problems, path } = loaded;
    if (config !== undefined) return { ...loaded, config };
    const errors = problems.filter(({ severity }) => severity === "error");
    if (!this.json) await this.shell.stderr.write(`${renderProblems(errors, { color: this.colors("stderr") })}\n`);
    throw new HoldfastError(
      "config_invalid",
      `The configuration ${path} has ${errors.length === 1 ? "an error" : `${errors.length} errors`}`,
      {
        hint: "Correct it; `holdfast validate` shows everything that is wrong. Nothing was done.",
        data: { problems: errors },
      },
    );
  }

  /** Opens the configuration and its state, ready to work. `listener` is told what runs say; queries have none. */
  async open(listener?: RunListener): Promise<Opened> {
    const loaded = await this.config();
    // Asking git costs a process; only what writes snapshots notes it.
    const gitCommit = listener === undefined ? undefined : gitCommitOf(loaded.path);
    const warnings: Promise<void>[] = [];
    const state = openState(loaded.config.daemon.stateDir, { onWarning: (text) => warnings.push(this.warn(text)) });
    const holdfast = new Holdfast(loaded.config, state, {
      ...this.engineSurroundings(loaded),
      signal: this.signal,
      gitCommit,
      listener: listener ?? ((): void => undefined),
    });
    return {
      holdfast,
      state,
      loaded,
      [Symbol.asyncDispose]: async () => {
        await holdfast[Symbol.asyncDispose]();
        if (listener !== undefined) await this.#tell(loaded, state);
        state.close();
        await Promise.all(warnings);
      },
    };
  }

  /** Delivers what this configuration tells people. What goes wrong is a warning. */
  notifier(loaded: LoadedConfig, state: State): Notifier {
    const surroundings = this.engineSurroundings(loaded);
    // The result of the operation has been printed by now, and is the last line there.
    const complain = (text: string): void =>
      void (this.json
        ? this.shell.stderr.write(`${JSON.stringify({ type: "error", level: "warning", message: text })}\n`)
        : this.warn(text));
    const silent = (): void => undefined;
    return new Notifier({
      state,
      clock: this.clock,
      random: systemRandom,
      toolVersion: this.shell.version,
      config: () => loaded.config,
      secrets: () => surroundings,
      log: { debug: silent, info: silent, warn: complain, error: complain },
    });
  }

  /** Delivers what an operation has caused, within a bounded time; what is left is for the daemon, or the next command. */
  async #tell(loaded: LoadedConfig, state: State): Promise<void> {
    if (receiversOfConfig(loaded.config).size === 0) return;
    await using notifier = this.notifier(loaded, state);
    if (this.signal.aborted) await notifier.flush(TOLD_WHEN_INTERRUPTED_MS);
    else await notifier.flush(TOLD_WITHIN_MS, this.signal);
  }

  /** What the engine needs of the process. */
  engineSurroundings(loaded: LoadedConfig): Omit<Surroundings, "listener" | "gitCommit"> {
    const warned = new Set<string>();
    return {
      clock: this.clock,
      random: systemRandom,
      toolVersion: this.shell.version,
      configText: loaded.texts.map(({ text }) => text).join(""),
      env: this.shell.env,
      actor: commandActor(),
      credentialsDirectory: this.shell.env["CREDENTIALS_DIRECTORY"],
      onWarning: (text) => {
        if (!warned.has(text)) void this.warn(text);
        warned.add(text);
      },
    };
  }

  /**
   * Asks before something is destroyed. `act` is what would be done, `detail` a sentence more. On a terminal a person answers;
   * elsewhere `--yes` must have been given, or `confirmation_required` is thrown. False when the answer was no.
   */
  async confirm(act: string, detail: string, yes: boolean | undefined): Promise<boolean> {
    if (yes === true) return true;
    if (!this.shell.stdin.isTerminal || this.json)
      throw new HoldfastError("confirmation_required", `A confirmation is needed to ${act}`, {
        hint: `${detail === "" ? "" : `${detail}. `}Add --yes if that is what you want. Nothing was changed.`,
      });
    const question = `${act.charAt(0).toUpperCase()}${act.slice(1)}?${detail === "" ? "" : ` ${detail}.`}`;
    const answer = await this.shell.stdin.ask(`${safe(question)} [y/N] `, this.signal);
    if (/^y(es)?$/i.test(answer?.trim() ?? "")) return true;
    await this.note("Nothing was changed.");
    return false;
  }
}

/** The thrown value as an error people understand, whatever it was. */
export function explainThrown(thrown: unknown): HoldfastError {
  const error = asHoldfastError(thrown);
  if (error.code !== "internal" || error.hint !== undefined) return error;
  return new HoldfastError(error.code, error.message, {
    cause: thrown,
    hint: "This is a fault in the program; --verbose shows where. Please report it.",
  });
}
