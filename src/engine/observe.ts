import type { Store } from "../formats/format.ts";
import type { NotedPolicy, Observed, ObservedRun, ObservedTarget, RetentionRules } from "../plan/observed.ts";
import type { RunRecord } from "../state/state.ts";
import { usageOf } from "./capacity.ts";
import type { Session } from "./session.ts";

/** Recent runs that planning looks at, whatever they were of. */
const RUNS = 1000;
/** Attempts of each job, or prunes of each target, that it looks at however much others ran since: more than any retry makes. */
const ATTEMPTS = 100;

/** Looks at every target of the configuration and at the state. Never rejects for a target: what is wrong is in the result. */
export async function observe(session: Session, signal?: AbortSignal): Promise<Observed> {
  const targets = new Map<string, ObservedTarget>();
  await Promise.all(
    [...session.config.targets.keys()].map(async (name) => targets.set(name, await observeTarget(session, name, signal))),
  );
  const runs = recentRuns(session).map((run): ObservedRun => ({
    kind: run.kind,
    subject: run.subject,
    startedMs: run.startedMs,
    endedMs: run.endedMs,
    status: run.status,
    targets: run.targets,
  }));
  return {
    targets: new Map([...session.config.targets.keys()].map((name) => [name, targets.get(name) as ObservedTarget])),
    runs,
    paused: session.state.pausedJobs(),
    accepted: session.state.acceptedConfig()?.targets ?? [],
  };
}

/** Newest first within a kind and subject; each once. */
function recentRuns({ state, config }: Session): RunRecord[] {
  const newest = state.runs({ limit: RUNS });
  if (newest.length < RUNS) return newest;
  const subjects = [
    ...[...config.jobs.values()].flatMap(({ name, formerly }) =>
      [name, ...formerly].flatMap((job) => [["backup", job] as const, ["verify", job] as const]),
    ),
    ...[...config.targets.keys()].map((target) => ["prune", target] as const),
  ];
  const older = subjects.flatMap(([kind, subject]) => state.attempts(kind, subject, ATTEMPTS));
  return [...new Map([...newest, ...older].map((run) => [run.id, run])).values()];
}

async function observeTarget(session: Session, name: string, signal: AbortSignal | undefined): Promise<ObservedTarget> {
  const nothing = {
    name,
    snapshots: [],
    verifications: new Map(),
    lastPruneMs: undefined,
    policies: new Map<string, NotedPolicy>(),
    clockSkewMs: undefined,
    usedShare: undefined,
  };
  const { open, closed } = await session.stores([name]);
  const store: Store | undefined = open[0];
  if (store === undefined) {
    const error = closed[0]?.error;
    const code = error?.code;
    const repository = code === "repository_missing" ? "missing" : code === "repository_changed" ? "changed" : "unreadable";
    const reachable = code === undefined || !code.startsWith("target_");
    return {
      ...nothing,
      reachable,
      repository,
      error: error === undefined ? undefined : `${error.message}${error.hint === undefined ? "" : ` (${error.hint})`}`,
    };
  }
  try {
    const [snapshots, notes, usage] = await Promise.all([
      store.snapshots({ signal }),
      store.observations(signal),
      // What it holds can be planned with, however full it is.
      usageOf(session.target(name), store, signal).catch(() => undefined),
    ]);
    return {
      name,
      reachable: true,
      repository: "present",
      error: undefined,
      snapshots,
      verifications: notes.verifications,
      lastPruneMs: notes.lastPruneMs,
      policies: new Map([...notes.policies].map(([job, { timeMs, policy }]) => [job, { timeMs, rules: rulesOf(policy) }])),
      clockSkewMs: notes.clockSkewMs,
      usedShare: usage?.share,
      usedBytes: usage?.usedBytes,
      capacityBytes: usage?.capacityBytes,
    };
  } catch (error) {
    signal?.throwIfAborted();
    return {
      ...nothing,
      reachable: true,
      repository: "unreadable",
      error: error instanceof Error ? error.message : String(error),
    };
  }
}

/** A noted policy is data from the target: only what it can be is taken. */
function rulesOf(policy: unknown): RetentionRules | undefined {
  if (typeof policy !== "object" || policy === null) return undefined;
  const count = (key: string): number | undefined => {
    const value: unknown = (policy as Record<string, unknown>)[key];
    return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : undefined;
  };
  const tags: unknown = (policy as Record<string, unknown>)["keepTags"];
  return {
    keepLast: count("keepLast"),
    keepHourly: count("keepHourly"),
    keepDaily: count("keepDaily"),
    keepWeekly: count("keepWeekly"),
    keepMonthly: count("keepMonthly"),
    keepYearly: count("keepYearly"),
    keepWithinMs: count("keepWithinMs"),
    keepTags: Array.isArray(tags) ? tags.filter((tag) => typeof tag === "string") : [],
    maxAgeMs: count("maxAgeMs"),
    maxCount: count("maxCount"),
  };
}
