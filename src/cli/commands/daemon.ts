import {
  asHoldfastError,
  ConfigFiles,
  createLog,
  findConfigFile,
  gitCommitOf,
  likelyStateDirs,
  openState,
  readLastGood,
  runDaemon,
  saveLastGood,
  type DaemonConfig,
} from "../../index.ts";
import type { Context, LoadedConfig } from "../context.ts";

/** Runs until a signal; SIGHUP has it read its configuration. The first lets running work finish within the grace time, a second aborts it, a third ends the process. */
export async function daemon(context: Context): Promise<number> {
  const { loaded, standsInFor } = await configOrLastGood(context);
  const { log: options, stateDir } = loaded.config.daemon;
  const log = createLog({
    level: context.verbose ? "debug" : context.quiet ? "warn" : options.level,
    format: context.json ? "json" : options.format,
    write: (line) => void context.shell.stderr.write(line),
  });
  for (const { severity, message, file, line } of loaded.problems)
    if (severity === "warning") log.warn(`${file}:${line}: ${message}`);
  let kept: string | undefined;
  const keep = (reading: LoadedConfig): void => {
    if (kept === reading.digest) return;
    kept = reading.digest;
    try {
      saveLastGood(reading.config.daemon.stateDir, reading.path, reading, context.clock.now());
    } catch (error) {
      log.warn(`the configuration cannot be kept for a start with a broken file: ${asHoldfastError(error).message}`);
    }
  };
  if (standsInFor === undefined) keep(loaded);
  else
    log.error(`${standsInFor.reason}: going on with the configuration of ${standsInFor.saved}`, {
      hint: "Correct the file: it is read again when it changes. Until then no edit of it has an effect.",
    });
  using state = openState(stateDir, { onWarning: (text) => log.warn(text) });
  const stopNow = new AbortController();
  let hurried = false;
  context.shell.onStop((again) => {
    if (!again || hurried) return false;
    hurried = true;
    log.warn("stopping at once");
    stopNow.abort();
    return true;
  });
  const surroundingsOf = async (of: LoadedConfig): Promise<DaemonConfig["surroundings"]> => ({
    ...context.engineSurroundings(of),
    gitCommit: await gitCommitOf(of.path),
    onWarning: (text: string) => log.warn(text),
  });
  await runDaemon({
    config: loaded.config,
    watched: loaded.watched,
    state,
    surroundings: await surroundingsOf(loaded),
    log,
    read: async () => {
      // The same file, also when it is gone and another would be found.
      const { config, ...reading } = context.readConfig(false, loaded.path);
      if (config === undefined) return { ...reading, valid: undefined };
      keep({ ...reading, config });
      return { ...reading, valid: { config, surroundings: await surroundingsOf({ ...reading, config }) } };
    },
    configFiles: new ConfigFiles(loaded.path, context.surroundings()),
    onReload: (listener) => context.shell.onReload(listener),
    ...(context.shell.serve && { serve: context.shell.serve }),
    ...(context.shell.serveProbes && { serveProbes: context.shell.serveProbes }),
    signal: context.signal,
    stopNow: stopNow.signal,
  });
  return 0;
}

/** The configuration; where it is not valid or cannot be read, the last one of that file that was, and what it stands in for. */
async function configOrLastGood(
  context: Context,
): Promise<{ readonly loaded: LoadedConfig; readonly standsInFor?: { readonly reason: string; readonly saved: string } }> {
  const surroundings = context.surroundings();
  const path = findConfigFile(context.options.config, surroundings);
  let stateDir: string | undefined;
  let reason = `The configuration ${path} is not valid`;
  try {
    const { config, ...reading } = context.readConfig(false, path);
    if (config !== undefined) return { loaded: { ...reading, config } };
    stateDir = reading.stateDir;
  } catch (error) {
    reason = asHoldfastError(error).message;
  }
  for (const folder of likelyStateDirs(path, stateDir, surroundings)) {
    const lastGood = readLastGood(folder, path, surroundings);
    if (lastGood !== undefined) return { loaded: { ...lastGood, path }, standsInFor: { reason, saved: lastGood.saved } };
  }
  return { loaded: await context.config() };
}
