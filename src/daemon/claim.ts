import { closeSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, HoldfastError } from "../base/errors.ts";
import { isProvablyAlive, isRegardedAsDead, processIdentity, type ProcessIdentity } from "../state/process-identity.ts";

/**
 * Claims a state folder for this daemon: a file that names the process. A claim of a process that is provably dead, or of another boot, is
 * taken over; any other one is `state_busy`, because two daemons would run every job twice.
 */
export function claimDaemon(stateDir: string): Disposable {
  const path = join(stateDir, "daemon.json");
  for (let attempt = 0; ; attempt++) {
    try {
      const fd = openSync(path, "wx", 0o600);
      writeSync(fd, `${JSON.stringify(processIdentity())}\n`);
      closeSync(fd);
      return { [Symbol.dispose]: () => rmSync(path, { force: true }) };
    } catch (error) {
      if (errnoOf(error) !== "EEXIST")
        throw new HoldfastError(
          "state_unusable",
          `The state folder ${stateDir} cannot be written (${errnoOf(error) ?? "unknown error"})`,
          {
            hint: "Give this user write access, or name another folder with daemon.stateDir.",
            cause: error,
          },
        );
      const owner = readClaim(path);
      if (attempt > 0 || (owner !== undefined && !isRegardedAsDead(owner, false)))
        throw new HoldfastError(
          "state_busy",
          `Another daemon${owner === undefined ? "" : ` (process ${owner.pid})`} works on the state folder ${stateDir}`,
          {
            hint: `Stop it first, or give this configuration its own daemon.stateDir. If it is surely gone, remove ${path}.`,
          },
        );
      rmSync(path, { force: true });
    }
  }
}

/** The process of the daemon that works on a state folder; undefined when there is none that is surely alive. */
export function liveDaemon(stateDir: string): number | undefined {
  const owner = readClaim(join(stateDir, "daemon.json"));
  return owner !== undefined && isProvablyAlive(owner) ? owner.pid : undefined;
}

/** The process a claim names; undefined when the claim is unreadable, as after a crash while it was written. */
function readClaim(path: string): ProcessIdentity | undefined {
  try {
    const parsed = JSON.parse(readFileSync(path, "utf8")) as Partial<ProcessIdentity>;
    const { pid, processStart, bootId, pidNamespace } = parsed;
    if (
      typeof pid !== "number" ||
      typeof processStart !== "string" ||
      typeof bootId !== "string" ||
      typeof pidNamespace !== "string"
    )
      return undefined;
    return { pid, processStart, bootId, pidNamespace };
  } catch {
    return undefined;
  }
}
