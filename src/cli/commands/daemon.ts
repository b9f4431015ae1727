import { createLog, gitCommitOf, openState, runDaemon } from "../../index.ts";
import type { Context } from "../context.ts";

/** Runs until a signal. The first lets running work finish within the grace time, a second aborts it, a third ends the process. */
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
  const surroundings = {
    ...context.engineSurroundings(loaded),
    gitCommit: await gitCommitOf(loaded.path),
    onWarning: (text: string) => log.warn(text),
  };
  await runDaemon({ config: loaded.config, state, surroundings, log, signal: context.signal, stopNow: stopNow.signal });
  return 0;
}
