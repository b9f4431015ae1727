import type {
  Config,
  EncryptionConfig,
  JobConfig,
  LocalTargetConfig,
  ScheduleConfig,
  ScheduleRule,
  SourceConfig,
  TargetConfig,
} from "../../src/config/config.ts";
import type { Observed, ObservedSnapshot, ObservedTarget, RetentionRules } from "../../src/plan/observed.ts";

/** A snapshot with ordinary values where none are given. */
export function snapshot(changes: Partial<ObservedSnapshot> = {}): ObservedSnapshot {
  return {
    id: "s",
    host: "web1",
    job: "documents",
    source: "files",
    sourceType: "files",
    timeMs: 0,
    mode: "incremental",
    status: "success",
    sourceBytes: 1000,
    newBytes: 100,
    storedBytes: 100,
    tags: [],
    hold: false,
    objectTimeMs: undefined,
    ...changes,
  };
}

/** A retention with only the given rules. */
export function rules(given: Partial<RetentionRules>): RetentionRules {
  return {
    keepLast: undefined,
    keepHourly: undefined,
    keepDaily: undefined,
    keepWeekly: undefined,
    keepMonthly: undefined,
    keepYearly: undefined,
    keepWithinMs: undefined,
    keepTags: [],
    maxAgeMs: undefined,
    maxCount: undefined,
    ...given,
  };
}

const encryption: EncryptionConfig = { name: "main", kind: "keyFile", keyFile: "/etc/key", generate: false };

export function schedule(rule: string | number, changes: Partial<ScheduleConfig> = {}): ScheduleConfig {
  const text = typeof rule === "string" ? `cron ${rule}` : `every ${rule} ms`;
  const parsed: ScheduleRule = typeof rule === "string" ? { kind: "cron", expression: rule } : { kind: "every", everyMs: rule };
  return { name: undefined, text, rule: parsed, jitterMs: 0, catchUp: true, onStart: false, ...changes };
}

export function target(name: string, changes: Partial<LocalTargetConfig> = {}): TargetConfig {
  return {
    name,
    type: "local",
    path: `/backups/${name}`,
    requireMount: undefined,
    format: { kind: "repository" },
    encryption,
    maxSizeBytes: undefined,
    capacityWarning: 0.85,
    appendOnly: false,
    offsite: false,
    ...changes,
  };
}

export function source(name: string): SourceConfig {
  return { name, type: "command", command: ["true"], filename: name, timeoutMs: undefined, grouping: "frame" };
}

/** A job with source `files` on target `disk`, nightly at 02:00, where nothing else is given. */
export function job(name: string, changes: Partial<JobConfig> = {}): JobConfig {
  return {
    name,
    description: "",
    enabled: true,
    formerly: [],
    sources: [source("files")],
    targets: [{ target: target("disk"), retention: undefined, required: true }],
    schedules: [{ schedule: schedule("0 2 * * *"), mode: undefined }],
    notDuring: [],
    when: { loadBelow: undefined, onMains: false, unmetered: false },
    priority: 0,
    retry: { attempts: 3, backoffMinMs: 60_000, backoffMaxMs: 1_800_000 },
    timeoutMs: undefined,
    maxSnapshotSizeBytes: undefined,
    limits: { cpuThreads: undefined, readBytesPerSecond: undefined, nice: 0 },
    mode: "incremental",
    compression: { type: "zstd", level: 3 },
    verify: { afterBackup: false, schedule: undefined, readData: 0 },
    objectives: { rpoMs: undefined, copies: undefined, offsite: undefined, verifiedWithinMs: undefined },
    ...changes,
  };
}

/** A configuration of these jobs and their targets, in UTC, with maintenance on Sundays at 03:00. */
export function config(jobs: readonly JobConfig[], changes: Partial<Config> = {}): Config {
  const byName = <T extends { readonly name: string }>(all: readonly T[]): Map<string, T> =>
    new Map(all.map((one) => [one.name, one]));
  return {
    version: 1,
    path: "holdfast.yaml",
    digest: "0".repeat(64),
    host: "web1",
    daemon: {
      stateDir: "/state",
      cacheDir: "/cache",
      timezone: "UTC",
      maxConcurrentJobs: 2,
      shutdownGraceMs: 30_000,
      log: { level: "info", format: "text" },
    },
    control: {
      listen: undefined,
      tls: undefined,
      tokens: [],
      restoreRoots: [],
      allowConfigWrites: false,
      commitConfigWrites: false,
      allowedHosts: [],
      allowedOrigins: [],
    },
    encryption: new Map([["main", encryption]]),
    sources: byName(jobs.flatMap((one) => one.sources)),
    targets: byName(jobs.flatMap((one) => one.targets.map((entry) => entry.target))),
    schedules: new Map(),
    retention: new Map(),
    jobs: byName(jobs),
    maintenance: { schedule: schedule("0 3 * * 0"), graceMs: 72 * 3_600_000, maxUnused: 0.05 },
    guards: { clockMs: 300_000, shrink: undefined, changed: undefined },
    webhooks: new Map(),
    email: undefined,
    probes: undefined,
    approve: undefined,
    ...changes,
  };
}

export function observedTarget(
  name: string,
  snapshots: readonly ObservedSnapshot[],
  changes: Partial<ObservedTarget> = {},
): ObservedTarget {
  return {
    name,
    reachable: true,
    repository: "present",
    error: undefined,
    snapshots,
    verifications: new Map(),
    lastPruneMs: undefined,
    policies: new Map(),
    clockSkewMs: undefined,
    usedShare: undefined,
    ...changes,
  };
}

export function observed(targets: readonly ObservedTarget[], changes: Partial<Observed> = {}): Observed {
  return { targets: new Map(targets.map((one) => [one.name, one])), runs: [], paused: new Set(), accepted: [], ...changes };
}
