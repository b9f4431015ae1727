import type { JobConfig } from "../../src/config/config.ts";
import type { DaemonStatus } from "../../src/daemon/daemon-control.ts";
import type { HealthFacts } from "../../src/daemon/health.ts";
import type { MetricFacts } from "../../src/daemon/metric-families.ts";
import type { JobReport } from "../../src/engine/status.ts";
import { config, job } from "../plan/literals.ts";

export const NOW = Date.UTC(2026, 10, 20, 12);
const HOUR = 3_600_000;

/** A daemon with all well: job `docs` on target `disk`, with an rpo, backed up an hour ago. */
export function facts(changes: Partial<DaemonStatus> = {}, jobs?: readonly JobConfig[]): MetricFacts & HealthFacts {
  const declared = config(
    jobs ?? [
      job("docs", { objectives: { rpoMs: 26 * HOUR, copies: undefined, offsite: undefined, verifiedWithinMs: undefined } }),
    ],
  );
  const status: DaemonStatus = {
    timeMs: NOW,
    timezone: "UTC",
    host: "web1",
    config: "/c.yaml",
    digest: declared.digest,
    jobs: [...declared.jobs.keys()].map((name) => report(name)),
    targets: [...declared.targets.keys()].map((target) => ({
      target,
      status: "ok",
      error: undefined,
      snapshots: 3,
      usedBytes: 500,
      capacityBytes: 1000,
      verified: [{ job: "docs", timeMs: NOW - HOUR, ok: true }],
    })),
    observedMs: NOW - 60_000,
    pending: [],
    running: [],
    waiting: [],
    daemon: {
      pid: 1,
      version: "1.2.3",
      startedMs: NOW - 2 * HOUR,
      stopping: false,
      config: "/c.yaml",
      digest: "",
      reload: undefined,
      api: undefined,
    },
    ...changes,
  };
  return {
    config: declared,
    commit: "abc",
    nodeVersion: "v1",
    status,
    loadedMs: NOW - 2 * HOUR,
    conditions: {
      "objective docs rpo": { holds: true, sinceMs: NOW - HOUR },
      "target disk": { holds: true, sinceMs: NOW - HOUR },
    },
    counts: [],
    outbox: { pending: 0, pendingSinceMs: undefined, dead: 0, lastDeadMs: undefined },
    scheduler: { started: true, turns: true },
    lastBackup: () => undefined,
    lastPrune: () => undefined,
  };
}

export function report(name: string, changes: Partial<JobReport> = {}): JobReport {
  return {
    job: name,
    enabled: true,
    paused: false,
    askedMs: undefined,
    last: { run: "0123456789", status: "success", startedMs: NOW - HOUR, endedMs: NOW - HOUR + 5000, error: undefined },
    lastSuccessMs: NOW - HOUR,
    nextMs: NOW + 14 * HOUR,
    overdueSinceMs: undefined,
    objectives: [{ objective: "rpo", met: true, reason: "good" }],
    ...changes,
  };
}
