import {
  formatDuration,
  formatWall,
  HoldfastError,
  openState,
  reportStatus,
  type DaemonInfo,
  type DaemonStatus,
  type JobReport,
  type StatusReport,
} from "../../index.ts";
import type { Context } from "../context.ts";
import { findDaemon } from "../daemon-client.ts";
import { errorJson, iso, plural, safe, shortId } from "../format.ts";
import { progressFacts, Rate } from "../progress-line.ts";
import { fitEnd, renderTable } from "../width.ts";

/** A status with the daemon's part, or without one. */
type Status = StatusReport & Partial<Pick<DaemonStatus, "daemon" | "waiting">>;

/** One screen: how things stand, from the daemon or, where there is none, from the state. No target is opened. */
export async function status(context: Context): Promise<void> {
  const { stateDir } = context.readConfig();
  let report: Status | undefined;
  let silent: HoldfastError | undefined;
  try {
    report = await (await findDaemon(context, stateDir))?.client.ask<DaemonStatus>("GET", "/status");
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== "daemon_unreachable") throw error;
    silent = error;
  }
  if (report === undefined) {
    const { config } = await context.config();
    using state = openState(config.daemon.stateDir, { onWarning: (text) => void context.warn(text) });
    report = reportStatus(config, state, context.clock.now());
  }
  const { stdout } = context.shell;
  // Whoever reads it from a pipe wants it whole.
  const width = stdout.isTerminal ? stdout.columns() : Number.POSITIVE_INFINITY;
  if (context.json) await context.printJson(statusJson(report));
  else await context.print(renderStatus(report, { width, bold: context.colors("stdout") }));
  if (silent !== undefined) await context.fail(silent);
}

/** The screen. Pure. */
export function renderStatus(report: Status, { width, bold }: { readonly width: number; readonly bold: boolean }): string {
  const parts = [head(report), jobTable(report, bold), jobErrors(report), targetTable(report, bold), activity(report)];
  const fit = (line: string): string => fitEnd(line, width);
  return `${parts
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.map(fit).join("\n"))
    .join("\n\n")}\n`;
}

function head(report: Status): string[] {
  const { daemon, timezone } = report;
  const wall = (timeMs: number): string => formatWall(timeMs, timezone);
  if (daemon === undefined)
    return ["Daemon  none runs: nothing happens by schedule (`holdfast daemon` starts one)", `Config  ${safe(report.config)}`];
  return [
    `Daemon  process ${daemon.pid}, since ${wall(daemon.startedMs)}${daemon.stopping ? ", stopping" : ""}`,
    `Config  ${safe(report.config)}`,
    ...reloadLines(daemon, wall),
    ...apiLines(daemon),
  ];
}

function apiLines({ api }: DaemonInfo): string[] {
  if (api === undefined) return [];
  const where = `${api.listen.startsWith("unix:") ? "" : api.tls ? "https://" : "http://"}${safe(api.listen)}`;
  if (!api.open) return [`API     NOT OPEN: ${safe(api.error?.message ?? where)}`];
  return [`API     ${where}`, ...(api.error === undefined ? [] : [`        ${safe(api.error.message)}`])];
}

function reloadLines({ reload }: DaemonInfo, wall: (timeMs: number) => string): string[] {
  if (reload === undefined) return [];
  const at = wall(reload.timeMs);
  switch (reload.result) {
    case "reloaded":
      return [`        reloaded ${at}: ${safe(reload.changes.join(", ") || "nothing that takes effect has changed")}`];
    case "unchanged":
      return [`        looked at ${at}: not changed`];
    case "invalid":
      return [
        `        NOT VALID since ${at}, the one before is in force: ${plural(reload.problems.length, "error")}; \`holdfast validate\``,
      ];
    case "unreadable":
      return [`        CANNOT BE READ since ${at}, the one before is in force: ${safe(reload.error?.message ?? "")}`];
  }
}

function jobTable(report: Status, bold: boolean): string[] {
  if (report.jobs.length === 0) return ["No jobs are declared."];
  const rows = report.jobs.map((job) => [
    safe(job.job),
    lastText(job, report.timeMs),
    job.lastSuccessMs === undefined ? "never" : ago(job.lastSuccessMs, report.timeMs),
    nextText(job, report),
    objectivesText(job),
  ]);
  const columns = [{ title: "JOB" }, { title: "LAST" }, { title: "SUCCESS" }, { title: "NEXT" }, { title: "OBJECTIVES" }];
  return renderTable(columns, rows, { bold }).trimEnd().split("\n");
}

function lastText({ last }: JobReport, nowMs: number): string {
  return last === undefined ? "never ran" : `${last.status} ${ago(last.endedMs, nowMs)}`;
}

function nextText(job: JobReport, report: Status): string {
  if (!job.enabled) return "disabled";
  const isRunning = report.running.some(({ kind, subject }) => kind === "backup" && subject === job.job);
  if (isRunning) return "running";
  const isWaiting = report.waiting?.some(({ kind, subject }) => kind === "backup" && subject === job.job) === true;
  if (isWaiting || job.askedMs !== undefined) return "waiting";
  if (job.paused) return "paused";
  if (job.overdueSinceMs !== undefined) return `OVERDUE ${formatWall(job.overdueSinceMs, report.timezone)}`;
  return job.nextMs === undefined ? "no schedule" : formatWall(job.nextMs, report.timezone);
}

function objectivesText({ objectives }: JobReport): string {
  if (objectives === undefined) return "not judged yet";
  if (objectives.length === 0) return "";
  const missed = objectives.filter(({ met }) => !met).map(({ objective }) => objective);
  return missed.length === 0 ? "met" : `MISSED: ${missed.join(", ")}`;
}

/** Why what failed did, and what misses its objective. */
function jobErrors(report: Status): string[] {
  return report.jobs.flatMap(({ job, last, objectives }) => [
    ...(last?.error !== undefined && (last.status === "failed" || last.status === "partial")
      ? [`${safe(job)}: ${safe(last.error.message)} (run ${shortId(last.run)})`]
      : []),
    ...(objectives ?? []).filter(({ met }) => !met).map(({ objective, reason }) => `${safe(job)}: ${objective}: ${safe(reason)}`),
  ]);
}

function targetTable(report: Status, bold: boolean): string[] {
  if (report.targets.length === 0) return [];
  const rows = report.targets.map(({ target, status: state, snapshots, error }) => [
    safe(target),
    state,
    snapshots === undefined ? "" : String(snapshots),
    safe(error ?? ""),
  ]);
  const seen =
    report.observedMs === undefined
      ? "Targets and objectives have not been looked at yet."
      : `Targets and objectives as of ${ago(report.observedMs, report.timeMs)}.`;
  const columns = [{ title: "TARGET" }, { title: "STATUS" }, { title: "SNAPSHOTS", align: "right" as const }, { title: "" }];
  return [...renderTable(columns, rows, { bold }).trimEnd().split("\n"), seen];
}

function activity(report: Status): string[] {
  const running = report.running.map(({ run, kind, subject, startedMs, progress }) => {
    const facts = progress === undefined ? "" : `: ${[progress.phase, ...progressFacts(progress, new Rate())].join(", ")}`;
    return `Running  ${kind} of ${safe(subject)} for ${formatDuration(Math.max(0, report.timeMs - startedMs))}${facts} (run ${shortId(run)})`;
  });
  const waiting = (report.waiting ?? []).map(({ kind, subject, why }) => `Waiting  ${kind} of ${safe(subject)}: ${safe(why)}`);
  const held = report.pending.flatMap(({ plan, sinceMs, text }) => [
    `Held     ${plural(text.split("\n").length, "change")} since ${formatWall(sinceMs, report.timezone)}; \`holdfast plan\` shows what would be deleted`,
    `         approve with: holdfast apply --approve ${plan}`,
  ]);
  return [...running, ...waiting, ...held];
}

/** `5m 03s ago`; coarse enough for a glance. */
function ago(timeMs: number, nowMs: number): string {
  const passedMs = Math.max(0, nowMs - timeMs);
  return passedMs < 1000 ? "just now" : `${formatDuration(passedMs).replace(/\.\d s$/, " s")} ago`;
}

const time = (timeMs: number | undefined): string | null => (timeMs === undefined ? null : iso(timeMs));

function statusJson(report: Status): Record<string, unknown> {
  const { daemon } = report;
  return {
    time: iso(report.timeMs),
    daemon:
      daemon === undefined
        ? null
        : {
            process: daemon.pid,
            version: daemon.version,
            startTime: iso(daemon.startedMs),
            stopping: daemon.stopping,
            api:
              daemon.api === undefined
                ? null
                : { ...daemon.api, error: daemon.api.error === undefined ? null : errorJson(daemon.api.error) },
            reload: daemon.reload === undefined ? null : { ...daemon.reload, timeMs: undefined, time: iso(daemon.reload.timeMs) },
          },
    host: report.host,
    config: report.config,
    digest: report.digest,
    jobs: report.jobs.map((job) => ({
      name: job.job,
      enabled: job.enabled,
      paused: job.paused,
      requestedTime: time(job.askedMs),
      last:
        job.last === undefined
          ? null
          : {
              run: job.last.run,
              status: job.last.status,
              startTime: iso(job.last.startedMs),
              endTime: iso(job.last.endedMs),
              error: job.last.error === undefined ? null : errorJson(job.last.error),
            },
      lastSuccessTime: time(job.lastSuccessMs),
      nextTime: time(job.nextMs),
      overdueSince: time(job.overdueSinceMs),
      objectives: job.objectives ?? null,
    })),
    targets: report.targets.map(({ target, status: state, snapshots, error }) => ({
      name: target,
      status: state,
      snapshots: snapshots ?? null,
      error: error ?? null,
    })),
    observedTime: time(report.observedMs),
    pending: report.pending.map(({ plan, sinceMs, text }) => ({ plan, sinceTime: iso(sinceMs), changes: text.split("\n") })),
    running: report.running.map(({ startedMs, progress, ...run }) => ({
      ...run,
      startTime: iso(startedMs),
      progress: progress ?? null,
    })),
    waiting: report.waiting ?? [],
  };
}
