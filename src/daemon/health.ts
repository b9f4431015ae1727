/** How the daemon and what it protects are, part by part, and what to do about what is not well: pure. */
import { formatDuration } from "../base/duration.ts";
import type { ErrorWire } from "../base/errors.ts";
import type { Config, JobConfig } from "../config/config.ts";
import type { JobReport, TargetReport } from "../engine/status.ts";
import type { KnownCondition } from "../plan/conditions.ts";
import type { OutboxDepth } from "../state/outbox.ts";
import type { DaemonStatus } from "./daemon-control.ts";
import { declaredObjectives } from "./metric-families.ts";

/** `warning`: somebody should look. `critical`: something is not protected as it is declared. */
export type HealthStatus = "ok" | "warning" | "critical";

export type HealthPart = "config" | "state" | "scheduler" | "target" | "job" | "objective" | "outbox" | "approval";

export interface HealthComponent {
  readonly component: HealthPart;
  /** The job or target; undefined where there is only one. */
  readonly name: string | undefined;
  readonly status: HealthStatus;
  /** Since when it is so, where that is known. */
  readonly sinceMs: number | undefined;
  /** One line for people. */
  readonly summary: string;
  /** What to do; undefined when there is nothing to do. */
  readonly recommendation: string | undefined;
}

export interface HealthReport {
  readonly timeMs: number;
  /** That of the worst component. */
  readonly status: HealthStatus;
  readonly components: readonly HealthComponent[];
}

export interface SchedulerState {
  readonly started: boolean;
  /** False when its loop has not turned for longer than it ever sleeps. */
  readonly turns: boolean;
}

export interface HealthFacts {
  readonly config: Config;
  readonly status: DaemonStatus;
  readonly scheduler: SchedulerState;
  readonly conditions: Readonly<Record<string, KnownCondition>>;
  readonly outbox: OutboxDepth;
}

/** What waits for longer is stuck: the first attempts follow within minutes. */
const STUCK_MS = 3_600_000;
/** For so long a message that was given up is news. */
const NEWS_MS = 86_400_000;

const ORDER: readonly HealthStatus[] = ["ok", "warning", "critical"];

export function worstOf(all: readonly { readonly status: HealthStatus }[]): HealthStatus {
  return ORDER[Math.max(0, ...all.map(({ status }) => ORDER.indexOf(status)))] as HealthStatus;
}

export function judgeHealth(facts: HealthFacts): HealthReport {
  const { config, status } = facts;
  const jobs = new Map(status.jobs.map((report) => [report.job, report]));
  const components = [
    ofConfig(status),
    fine("state", "the state can be read"),
    ofScheduler(facts),
    ...status.targets.flatMap((report) => ofTarget(report, facts)),
    ...[...config.jobs.values()].flatMap((job) => {
      const report = jobs.get(job.name);
      return report === undefined ? [] : [ofJob(job, report, status), ...ofObjectives(job, report, facts)];
    }),
    ofOutbox(facts),
    ofApproval(status),
  ];
  return { timeMs: status.timeMs, status: worstOf(components), components };
}

/** When nothing can be said because the state cannot be read. */
export function stateFailed(timeMs: number, { message, hint }: Pick<ErrorWire, "message" | "hint">): HealthReport {
  const component: HealthComponent = {
    component: "state",
    name: undefined,
    status: "critical",
    sinceMs: undefined,
    summary: message,
    recommendation: hint ?? "Look into the log, and at the disk of daemon.stateDir.",
  };
  return { timeMs, status: "critical", components: [component] };
}

function fine(
  component: HealthPart,
  summary: string,
  more: Partial<Pick<HealthComponent, "name" | "sinceMs">> = {},
): HealthComponent {
  return { component, name: undefined, status: "ok", sinceMs: undefined, summary, recommendation: undefined, ...more };
}

function ofConfig({ daemon }: DaemonStatus): HealthComponent {
  const { reload } = daemon;
  if (reload?.result !== "invalid" && reload?.result !== "unreadable")
    return fine("config", "the configuration is in force as it is written", { sinceMs: reload?.timeMs ?? daemon.startedMs });
  return {
    ...fine("config", ""),
    status: "warning",
    sinceMs: reload.timeMs,
    summary:
      reload.result === "invalid"
        ? `the configuration file has ${count(reload.problems.filter(({ severity }) => severity === "error").length, "error")}: the one before stays in force`
        : "the configuration file cannot be read: the one before stays in force",
    recommendation: "`holdfast validate` shows what is wrong; the file is taken up as soon as it is mended.",
  };
}

function ofScheduler({ scheduler, status }: HealthFacts): HealthComponent {
  const what = `${status.running.length} running, ${status.waiting.length} waiting`;
  if (!scheduler.started)
    return {
      ...fine("scheduler", "the daemon looks at its targets for the first time"),
      status: "warning",
      sinceMs: status.daemon.startedMs,
      recommendation: "If this takes longer than minutes, a target hangs: look at its mount, and into the log.",
    };
  if (scheduler.turns) return fine("scheduler", what);
  return {
    ...fine("scheduler", "the scheduler has stopped turning"),
    status: "critical",
    recommendation: "Restart the daemon, and report it with its log: this is a fault in the program.",
  };
}

function ofTarget(report: TargetReport, { config, conditions, status }: HealthFacts): HealthComponent[] {
  const { target: name, snapshots } = report;
  const isRequired = [...config.jobs.values()].some(
    (job) => job.enabled && job.targets.some(({ target, required }) => target.name === name && required),
  );
  const base = { ...fine("target", ""), name };
  const error = report.error === undefined ? "" : `: ${report.error}`;
  switch (report.status) {
    case "unknown":
      return [
        {
          ...base,
          status: "warning",
          summary: "it has not been looked at yet",
          recommendation: "The daemon does so at its start; `holdfast doctor` tests it now.",
        },
      ];
    case "unreachable":
      return [
        {
          ...base,
          status: isRequired ? "critical" : "warning",
          sinceMs: since(conditions[`target ${name}`], false),
          summary: `it cannot be reached${error}`,
          recommendation:
            "Bring it back; `holdfast doctor` tests it and says how to fix it. What it missed is made up for by schedule.",
        },
      ];
    case "changed":
      return [
        {
          ...base,
          status: "critical",
          sinceMs: status.observedMs,
          summary: `it does not hold the repository that was there before${error}`,
          recommendation:
            "Look whether the right disk is mounted; `holdfast plan` says what it found. Nothing is written there until then.",
        },
      ];
    case "unreadable":
      return [
        {
          ...base,
          status: "critical",
          sinceMs: status.observedMs,
          summary: `it cannot be read${error}`,
          recommendation: "`holdfast doctor` and `holdfast verify` say why.",
        },
      ];
    case "ok":
    case "empty": {
      const full = conditions[`capacity ${name}`];
      if (full?.holds === false)
        return [
          {
            ...base,
            status: "warning",
            sinceMs: full.sinceMs,
            summary: `it is nearly full${share(report)}`,
            recommendation:
              "Keep fewer snapshots, delete some and run `holdfast prune`, or give it room: a full target takes no backup.",
          },
        ];
      const held = snapshots === undefined ? "reachable" : count(snapshots, "snapshot");
      return [
        {
          ...base,
          sinceMs: since(conditions[`target ${name}`], true),
          summary: report.status === "empty" ? "it is empty" : held,
        },
      ];
    }
  }
}

const share = ({ usedBytes, capacityBytes }: TargetReport): string =>
  usedBytes === undefined || capacityBytes === undefined || capacityBytes === 0
    ? ""
    : ` (${Math.floor((usedBytes / capacityBytes) * 100)} %)`;

const since = (known: KnownCondition | undefined, holds: boolean): number | undefined =>
  known?.holds === holds ? known.sinceMs : undefined;

function ofJob(job: JobConfig, report: JobReport, { timeMs }: DaemonStatus): HealthComponent {
  const { name } = job;
  const { last, overdueSinceMs } = report;
  const base = { ...fine("job", ""), name };
  if (!job.enabled) return { ...base, summary: "it is disabled" };
  const see = last === undefined ? "`holdfast runs` shows what ran" : `\`holdfast logs ${last.run.slice(0, 8)}\` says why`;
  const why = last?.error === undefined ? "" : `: ${last.error.message}`;
  if (last?.status === "failed" || last?.status === "interrupted")
    return {
      ...base,
      status: "critical",
      sinceMs: last.endedMs,
      summary: last.status === "failed" ? `the last backup failed${why}` : "the last backup was interrupted: its process died",
      recommendation: `${see}; then \`holdfast run ${name}\`.${last.error?.hint === undefined ? "" : ` ${last.error.hint}`}`,
    };
  if (overdueSinceMs !== undefined)
    return {
      ...base,
      status: "critical",
      sinceMs: overdueSinceMs,
      summary: `it is overdue: a slot passed ${formatDuration(Math.max(0, timeMs - overdueSinceMs))} ago without a backup`,
      recommendation: `\`holdfast status\` shows what it waits for; \`holdfast run ${name}\` runs it now.`,
    };
  if (last?.status === "partial")
    return {
      ...base,
      status: "warning",
      sinceMs: last.endedMs,
      summary: `the last backup left something out${why}`,
      recommendation: `${see}; exclude what cannot be read, or let the daemon's user read it.`,
    };
  if (report.paused)
    return {
      ...base,
      status: "warning",
      summary: "it is paused: nothing runs by schedule",
      recommendation: `\`holdfast resume ${name}\` lets it go on.`,
    };
  if (report.lastSuccessMs === undefined)
    return {
      ...base,
      summary: last === undefined ? "it has not run yet" : `the last backup was ${last.status}`,
      sinceMs: last?.endedMs,
    };
  return { ...base, sinceMs: report.lastSuccessMs, summary: "the last backup is whole" };
}

function ofObjectives(job: JobConfig, report: JobReport, { conditions }: HealthFacts): HealthComponent[] {
  if (!job.enabled) return [];
  return declaredObjectives(job).flatMap((objective): HealthComponent[] => {
    const known = conditions[`objective ${job.name} ${objective}`];
    const judged = report.objectives?.find((one) => one.objective === objective);
    const met = judged?.met ?? known?.holds;
    // A job that has never run is about to.
    if (met === undefined || (known === undefined && !met)) return [];
    const base = { ...fine("objective", `${objective}: met`), name: job.name, sinceMs: since(known, met) };
    if (met) return [base];
    return [
      {
        ...base,
        status: "critical",
        summary: `${objective}: ${judged?.reason ?? "missed"}`,
        recommendation: RECOMMENDED[objective] ?? "`holdfast status` says what is missing.",
      },
    ];
  });
}

const RECOMMENDED: Readonly<Record<string, string>> = {
  rpo: "Run the job; if its schedule cannot keep the promise, run it more often or promise less.",
  copies: "Bring back the targets that miss the newest snapshot, then run the job.",
  offsite: "Bring back the offsite targets, then run the job.",
  verifiedWithin: "`holdfast verify` proves it now; `jobs.*.verify.schedule` does so by itself.",
};

function ofOutbox({ outbox, status: { timeMs } }: HealthFacts): HealthComponent {
  const { pending, pendingSinceMs, dead, lastDeadMs } = outbox;
  const recommendation = "`holdfast notifications --failed` lists what was given up and why; `--test RECEIVER` tests a receiver.";
  if (lastDeadMs !== undefined && timeMs - lastDeadMs < NEWS_MS)
    return {
      ...fine("outbox", `${count(dead, "message")} could not be delivered: given up`),
      status: "warning",
      sinceMs: lastDeadMs,
      recommendation,
    };
  if (pendingSinceMs !== undefined && timeMs - pendingSinceMs > STUCK_MS)
    return {
      ...fine("outbox", `${count(pending, "message")} not delivered, the oldest for ${formatDuration(timeMs - pendingSinceMs)}`),
      status: "warning",
      sinceMs: pendingSinceMs,
      recommendation: "`holdfast notifications` says why; they are tried for three days.",
    };
  return fine("outbox", pending === 0 ? "nothing waits" : `${count(pending, "message")} under way`);
}

function ofApproval({ pending }: DaemonStatus): HealthComponent {
  const [first] = pending;
  if (first === undefined) return fine("approval", "nothing waits for an approval");
  return {
    ...fine("approval", `${count(first.text.split("\n").length, "change")} held, because they would destroy something`),
    status: "warning",
    sinceMs: first.sinceMs,
    recommendation: `\`holdfast plan\` shows what would be deleted; \`holdfast apply --approve ${first.plan}\` lets go on, or take the change back.`,
  };
}

const count = (amount: number, what: string): string => `${amount} ${what}${amount === 1 ? "" : "s"}`;
