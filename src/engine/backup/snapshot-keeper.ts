import { randomHex } from "../../base/random.ts";
import type { JobConfig, SourceConfig } from "../../config/config.ts";
import type { SnapshotKeeper } from "../../sources/files/btrfs.ts";
import { childEnvironment } from "../child-environment.ts";
import type { HookContext } from "../hooks/run-hooks.ts";
import type { Session } from "../session.ts";

/** Of an owed removal. */
const REMOVAL_TIMEOUT_MS = 5 * 60_000;

/**
 * Sees to it that the file system snapshots of a run are removed: what the run itself does not get to, because it was killed, is
 * owed like an `after` hook, and made up for at the next start or the next run of the job.
 */
export function snapshotKeeper(
  session: Session,
  job: JobConfig,
  source: SourceConfig,
  { run, onMessage }: HookContext,
): SnapshotKeeper {
  const { owedHooks } = session.state;
  return {
    // Of its own also where a run freezes the same subvolume twice, and the first could not be removed.
    prefix: `.holdfast-${run.slice(0, 16)}${randomHex(session.surroundings.random, 4)}-`,
    env: childEnvironment(session.config, session.surroundings.env),
    owe: (path, removal) => {
      const name = `the removal of the snapshot ${path}`;
      const promise = { name, kind: "after", run: removal, cwd: "/", timeoutMs: REMOVAL_TIMEOUT_MS, onError: "warn" } as const;
      const [id] = owedHooks.owe(run, job.name, source.name, [{ ...promise, removes: path }]);
      return () => owedHooks.settle(id as number);
    },
    onLeft: (path, reason) =>
      onMessage("warn", `the snapshot ${path} is left behind, and its removal tried again later: ${reason}`),
  };
}
