import { createLog, gitCommitOf, openState, runDaemon, type DaemonConfig } from "../../index.ts";
import type { Context, LoadedConfig } from "../context.ts";

/** Runs until a signal; SIGHUP has it read its configuration. The first lets running work finish within the grace time, a second aborts it, a third ends the process. */
export async function daemon(context: Context): Promise<number> {
  const loaded = await context.config();
  const { log: options, stateDir } = loaded.config.daemon;
  const log = createLog({
    level: context.verbose ? "debug" : context.quiet ? "warn" : options.level,
    format: context.json ? "json" : options.format,
    write: (line) => void context.shell.stderr.write(line),
  });
  for (const { severity, message, file, line } of loaded.problems)
    if (severity === "warning") log.warn(`${file}:${line}: ${message}`);
  using state = openState(stateDir, { onWarning: (text) => log.warn(text), soleOwner: true });
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
      return { ...reading, valid: config && { config, surroundings: await surroundingsOf({ ...reading, config }) } };
    },
    onReload: (listener) => context.shell.onReload(listener),
    signal: context.signal,
    stopNow: stopNow.signal,
  });
  return 0;
}
