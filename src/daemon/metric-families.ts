/**
 * What the daemon exports to Prometheus, from what it knows: pure. A job or target that is not declared any more has no series. Times
 * are those of beginnings, in seconds since 1970; what is not known has no series.
 */
import type { RunKind, RunStatus } from "../base/events.ts";
import type { Config, JobConfig } from "../config/config.ts";
import type { TargetReport } from "../engine/status.ts";
import type { KnownCondition } from "../plan/conditions.ts";
import { nextJobRuns } from "../scheduler/schedule.ts";
import type { OutboxDepth } from "../state/outbox.ts";
import type { DoneRun, RunCount } from "../state/run-figures.ts";
import type { MetricFamily, MetricSample } from "../telemetry/metrics.ts";
import type { DaemonStatus } from "./daemon-control.ts";

export interface MetricFacts {
  readonly config: Config;
  readonly commit: string | undefined;
  readonly nodeVersion: string;
  readonly status: DaemonStatus;
  /** When a configuration was taken over last, the one at the start included. */
  readonly loadedMs: number;
  readonly conditions: Readonly<Record<string, KnownCondition>>;
  readonly counts: readonly RunCount[];
  readonly outbox: OutboxDepth;
  /** The newest backup of a job that stored something, and the newest prune of a target. */
  readonly lastBackup: (job: JobConfig) => DoneRun | undefined;
  readonly lastPrune: (target: string) => { readonly startedMs: number; readonly status: RunStatus } | undefined;
}

/** How runs of a kind can end. */
const JOB_ENDS: Partial<Readonly<Record<RunKind, readonly RunStatus[]>>> = {
  backup: ["success", "partial", "failed", "cancelled", "skipped", "interrupted"],
  verify: ["success", "failed", "cancelled", "skipped", "interrupted"],
  restore: ["success", "partial", "failed", "cancelled", "interrupted"],
};
const TARGET_ENDS: Partial<Readonly<Record<RunKind, readonly RunStatus[]>>> = {
  prune: ["success", "failed", "cancelled", "skipped", "interrupted"],
  repair: ["success", "failed", "cancelled", "interrupted"],
};

const NONE: Readonly<Record<string, string>> = {};
const seconds = (ms: number): number => ms / 1000;
const flag = (value: boolean): number => (value ? 1 : 0);

export function metricFamilies(facts: MetricFacts): MetricFamily[] {
  const counts = new Map(facts.counts.map((count) => [countKey(count), count.runs]));
  return [...ofDaemon(facts), ...ofJobs(facts, counts), ...ofTargets(facts, counts)];
}

/** One series of a value that may not be known. */
const one = (value: number | undefined, labels: Readonly<Record<string, string>> = NONE): MetricSample[] =>
  value === undefined ? [] : [{ labels, value }];

const gauge = (name: string, help: string, labels: readonly string[], samples: readonly MetricSample[]): MetricFamily => ({
  name: `holdfast_${name}`,
  help,
  type: "gauge",
  labels,
  samples,
});

function ofDaemon({ config, commit, nodeVersion, status, loadedMs, outbox }: MetricFacts): MetricFamily[] {
  const { daemon } = status;
  const refused = daemon.reload?.result === "invalid" || daemon.reload?.result === "unreadable";
  const deliveries = { pending: outbox.pending, dead: outbox.dead };
  return [
    gauge(
      "build_info",
      "Version of Holdfast and of the Node it runs on.",
      ["version", "node_version"],
      [...one(1, { version: daemon.version, node_version: nodeVersion })],
    ),
    gauge(
      "config_info",
      "The configuration in force: its digest, and the commit it was read at.",
      ["digest", "commit"],
      [...one(1, { digest: config.digest, commit: commit ?? "" })],
    ),
    gauge(
      "config_last_reload_successful",
      "Whether the configuration file was accepted when it was read last.",
      [],
      one(flag(!refused)),
    ),
    gauge(
      "config_last_reload_success_timestamp_seconds",
      "When a configuration was taken over last.",
      [],
      one(seconds(loadedMs)),
    ),
    gauge("daemon_running_runs", "Runs that are under way.", [], one(status.running.length)),
    gauge("daemon_waiting_runs", "Runs that wait for a place, a window or their jitter.", [], one(status.waiting.length)),
    gauge(
      "pending_changes",
      "Changes that destroy something and wait for an approval.",
      [],
      one(status.pending.reduce((sum, { text }) => sum + text.split("\n").length, 0)),
    ),
    gauge(
      "outbox_deliveries",
      "Messages to receivers that are not delivered yet (pending) or were given up (dead).",
      ["state"],
      Object.entries(deliveries).map(([state, value]) => ({ labels: { state }, value })),
    ),
    gauge(
      "outbox_oldest_pending_timestamp_seconds",
      "Since when the oldest message that is not delivered waits.",
      [],
      one(outbox.pendingSinceMs === undefined ? undefined : seconds(outbox.pendingSinceMs)),
    ),
    gauge(
      "targets_observed_timestamp_seconds",
      "When targets and objectives were looked at last.",
      [],
      one(status.observedMs === undefined ? undefined : seconds(status.observedMs)),
    ),
  ];
}

function ofJobs(facts: MetricFacts, counts: ReadonlyMap<string, number>): MetricFamily[] {
  const { config, status, conditions } = facts;
  const jobs = [...config.jobs.values()];
  const reports = new Map(status.jobs.map((report) => [report.job, report]));
  const backups = new Map(jobs.map((job) => [job.name, lastFigures(facts.lastBackup(job))]));
  /** A series for each job of which the value is known. */
  const each = (value: (job: JobConfig) => number | undefined): MetricSample[] =>
    jobs.flatMap((job) => one(value(job), { job: job.name }));
  const report = (name: string): DaemonStatus["jobs"][number] | undefined => reports.get(name);
  const stored = (which: "newBytes" | "storedBytes"): MetricSample[] =>
    jobs.flatMap((job) =>
      [...(backups.get(job.name)?.targets ?? [])].flatMap(([target, figures]) =>
        config.targets.has(target) ? one(figures[which], { job: job.name, target }) : [],
      ),
    );
  const verified = (value: (one: NonNullable<TargetReport["verified"]>[number]) => number): MetricSample[] =>
    status.targets.flatMap(({ target, verified: all = [] }) =>
      all
        .filter(({ job }) => config.jobs.get(job)?.targets.some((entry) => entry.target.name === target) === true)
        .map((entry) => ({ labels: { job: entry.job, target }, value: value(entry) })),
    );
  return [
    gauge(
      "job_enabled",
      "Whether the job runs by schedule.",
      ["job"],
      each((job) => flag(job.enabled)),
    ),
    gauge(
      "job_paused",
      "Whether somebody paused the job.",
      ["job"],
      each(({ name }) => flag(report(name)?.paused === true)),
    ),
    gauge(
      "job_overdue",
      "Whether a slot of the job passed without a backup.",
      ["job"],
      each(({ name }) => flag(report(name)?.overdueSinceMs !== undefined)),
    ),
    gauge(
      "job_last_success_timestamp_seconds",
      "When the newest backup began that is whole, of the source that lags most.",
      ["job"],
      each(({ name }) => inSeconds(report(name)?.lastSuccessMs)),
    ),
    gauge(
      "job_last_run_timestamp_seconds",
      "When the last backup began that has ended, however it did.",
      ["job"],
      each(({ name }) => inSeconds(report(name)?.last?.startedMs)),
    ),
    gauge(
      "job_last_run_success",
      "Whether the last backup was whole: a partial one was not.",
      ["job"],
      each(({ name }) => {
        const last = report(name)?.last;
        return last === undefined ? undefined : flag(last.status === "success");
      }),
    ),
    gauge(
      "job_last_run_duration_seconds",
      "How long the last backup took that has ended, however it did.",
      ["job"],
      each(({ name }) => {
        const last = report(name)?.last;
        return last === undefined ? undefined : seconds(Math.max(0, last.endedMs - last.startedMs));
      }),
    ),
    gauge(
      "job_next_run_timestamp_seconds",
      "When the job runs next by schedule.",
      ["job"],
      each(({ name }) => inSeconds(report(name)?.nextMs)),
    ),
    gauge(
      "job_expected_interval_seconds",
      "The longest time between two runs by schedule.",
      ["job"],
      each((job) => (job.enabled ? inSeconds(longestInterval(job, status.timeMs, config.daemon.timezone)) : undefined)),
    ),
    gauge(
      "job_last_backup_files",
      "Files of all sources in the last backup that stored something.",
      ["job"],
      each(({ name }) => backups.get(name)?.files),
    ),
    gauge(
      "job_last_backup_source_bytes",
      "Size of all sources in the last backup that stored something.",
      ["job"],
      each(({ name }) => backups.get(name)?.sourceBytes),
    ),
    gauge(
      "job_last_backup_new_bytes",
      "What the target did not hold of the last backup that stored something, before compression.",
      ["job", "target"],
      stored("newBytes"),
    ),
    gauge(
      "job_last_backup_stored_bytes",
      "What the last backup that stored something put on the target, after compression.",
      ["job", "target"],
      stored("storedBytes"),
    ),
    gauge(
      "job_last_verify_timestamp_seconds",
      "When snapshots of the job on the target were verified last.",
      ["job", "target"],
      verified(({ timeMs }) => seconds(timeMs)),
    ),
    gauge(
      "job_last_verify_success",
      "Whether everything could be read when it was verified last.",
      ["job", "target"],
      verified(({ ok }) => flag(ok)),
    ),
    gauge("objective_met", "Whether a promise of the job is kept.", ["job", "objective"], objectives(jobs, reports, conditions)),
    {
      name: "holdfast_runs_total",
      help: "Runs of a job that ended, ever: by this daemon, the ones before it, and commands beside it.",
      type: "counter",
      labels: ["job", "kind", "status"],
      samples: jobs.flatMap((job) => counted(counts, [job.name, ...job.formerly], JOB_ENDS, { job: job.name })),
    },
  ];
}

function ofTargets(facts: MetricFacts, counts: ReadonlyMap<string, number>): MetricFamily[] {
  const { config, status } = facts;
  const names = [...config.targets.keys()];
  const reports = new Map(status.targets.map((report) => [report.target, report]));
  const each = (value: (target: string) => number | undefined): MetricSample[] =>
    names.flatMap((target) => one(value(target), { target }));
  const prunes = new Map(names.map((target) => [target, facts.lastPrune(target)]));
  return [
    gauge(
      "target_up",
      "Whether the target could be reached and read when it was looked at last.",
      ["target"],
      each((target) => {
        const state = reports.get(target)?.status ?? "unknown";
        return state === "unknown" ? undefined : flag(state === "ok" || state === "empty");
      }),
    ),
    gauge(
      "target_used_bytes",
      "What the target takes of its maxSize; without one, what is taken of its medium, by whomever.",
      ["target"],
      each((target) => reports.get(target)?.usedBytes),
    ),
    gauge(
      "target_capacity_bytes",
      "The maxSize of the target; without one, the size of its medium.",
      ["target"],
      each((target) => reports.get(target)?.capacityBytes),
    ),
    gauge(
      "target_capacity_warning_ratio",
      "The part of the capacity from which the configuration wants a warning.",
      ["target"],
      each((target) => config.targets.get(target)?.capacityWarning),
    ),
    gauge(
      "target_snapshots",
      "Snapshots on the target, of all hosts.",
      ["target"],
      each((target) => reports.get(target)?.snapshots),
    ),
    gauge(
      "target_last_prune_timestamp_seconds",
      "When the last prune of the target began that has ended, however it did.",
      ["target"],
      each((target) => inSeconds(prunes.get(target)?.startedMs)),
    ),
    gauge(
      "target_last_prune_success",
      "Whether that prune succeeded.",
      ["target"],
      each((target) => {
        const last = prunes.get(target);
        return last === undefined ? undefined : flag(last.status === "success");
      }),
    ),
    {
      name: "holdfast_target_runs_total",
      help: "Runs that are about a target and ended, ever.",
      type: "counter",
      labels: ["target", "kind", "status"],
      samples: names.flatMap((target) => counted(counts, [target], TARGET_ENDS, { target })),
    },
  ];
}

const inSeconds = (ms: number | undefined): number | undefined => (ms === undefined ? undefined : seconds(ms));

const countKey = ({
  kind,
  subject,
  status,
}: {
  readonly kind: string;
  readonly subject: string;
  readonly status: string;
}): string => `${kind} ${status} ${subject}`;

/** A series for each way in which runs can end, from 0 on. */
function counted(
  counts: ReadonlyMap<string, number>,
  subjects: readonly string[],
  ends: typeof JOB_ENDS,
  labels: Readonly<Record<string, string>>,
): MetricSample[] {
  return Object.entries(ends).flatMap(([kind, statuses]) =>
    statuses.map((status) => ({
      labels: { ...labels, kind, status },
      value: subjects.reduce((sum, subject) => sum + (counts.get(countKey({ kind, subject, status })) ?? 0), 0),
    })),
  );
}

/**
 * As the daemon found them last. What it judged may be older than a backup that has just ended, for half a minute: that a
 * series comes and goes would be worse.
 */
function objectives(
  jobs: readonly JobConfig[],
  reports: ReadonlyMap<string, DaemonStatus["jobs"][number]>,
  conditions: MetricFacts["conditions"],
): MetricSample[] {
  return jobs
    .filter(({ enabled }) => enabled)
    .flatMap((job) =>
      declaredObjectives(job).flatMap((objective) => {
        const known = conditions[`objective ${job.name} ${objective}`]?.holds;
        const judged = reports.get(job.name)?.objectives?.find((entry) => entry.objective === objective)?.met;
        const met = judged ?? known;
        return one(met === undefined ? undefined : flag(met), { job: job.name, objective });
      }),
    );
}

export function declaredObjectives({ objectives: { rpoMs, copies, offsite, verifiedWithinMs } }: JobConfig): string[] {
  const declared = { rpo: rpoMs, copies, offsite, verifiedWithin: verifiedWithinMs };
  return Object.entries(declared).flatMap(([objective, promise]) => (promise === undefined ? [] : [objective]));
}

interface Figures {
  readonly files: number;
  readonly sourceBytes: number;
  readonly targets: ReadonlyMap<string, { readonly newBytes: number; readonly storedBytes: number }>;
}

/** The figures of a backup as the engine keeps them; a source is as large on each target. */
function lastFigures(run: DoneRun | undefined): Figures | undefined {
  const { sources } = (run?.statistics ?? {}) as { readonly sources?: unknown };
  if (!Array.isArray(sources)) return undefined;
  let [files, sourceBytes] = [0, 0];
  const targets = new Map<string, { newBytes: number; storedBytes: number }>();
  for (const { snapshots } of sources as readonly { readonly snapshots?: readonly Readonly<Record<string, unknown>>[] }[]) {
    files += count(snapshots?.[0]?.["files"]);
    sourceBytes += count(snapshots?.[0]?.["sourceBytes"]);
    for (const { target, newBytes, storedBytes } of snapshots ?? []) {
      const before = targets.get(String(target)) ?? { newBytes: 0, storedBytes: 0 };
      targets.set(String(target), {
        newBytes: before.newBytes + count(newBytes),
        storedBytes: before.storedBytes + count(storedBytes),
      });
    }
  }
  return { files, sourceBytes, targets };
}

const count = (value: unknown): number => (typeof value === "number" && Number.isFinite(value) ? value : 0);

/** Enough slots to see a week's end, or a month's. */
const SLOTS = 9;
const KNOWN_FOR_MS = 3_600_000;
const intervals = new WeakMap<JobConfig, { readonly atMs: number; readonly intervalMs: number | undefined }>();

/** The longest time between two of the next slots; kept for an hour, because it takes longer to know than all the rest. */
function longestInterval(job: JobConfig, nowMs: number, timezone: string): number | undefined {
  const known = intervals.get(job);
  if (known !== undefined && Math.abs(nowMs - known.atMs) < KNOWN_FOR_MS) return known.intervalMs;
  const slots = nextJobRuns(job, nowMs, timezone, SLOTS).map(({ timeMs }) => timeMs);
  const gaps = slots.slice(1).map((timeMs, index) => timeMs - (slots[index] as number));
  const intervalMs = gaps.length === 0 ? undefined : Math.max(...gaps);
  intervals.set(job, { atMs: nowMs, intervalMs });
  return intervalMs;
}
