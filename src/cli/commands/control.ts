/** What is asked of the running daemon: run, pause, resume, cancel, reload. */
import {
  HoldfastError,
  openState,
  renderProblems,
  type AuditEntry,
  type BackupResult,
  type Cancelled,
  type JobMode,
  type ReloadOutcome,
} from "../../index.ts";
import { commandActor } from "../actor.ts";
import { hooksFor } from "../beside.ts";
import type { Context } from "../context.ts";
import { findDaemon, revivedRun } from "../daemon-client.ts";
import { safe } from "../format.ts";
import { Reporter } from "../reporter.ts";
import { reportBackup } from "./backup.ts";

export interface RunFlags {
  readonly mode?: JobMode;
  readonly wait?: boolean;
}

const INVALID = 2;

export async function run(context: Context, job: string, { mode, wait }: RunFlags): Promise<number> {
  const { stateDir } = context.readConfig();
  const found = await findDaemon(context, stateDir);
  if (found === undefined)
    throw new HoldfastError("daemon_missing", `No daemon works on the state folder ${stateDir}`, {
      hint: "`holdfast backup JOB` runs a job here and now; `holdfast daemon` starts a daemon.",
    });
  const path = `/jobs/${encodeURIComponent(job)}/run`;
  if (wait !== true) {
    await found.client.ask("POST", path, { mode });
    if (context.json) await context.printLine("summary", { command: "run", job, requested: true });
    else await context.note(`A run of ${safe(job)} is asked for; \`holdfast status\` shows where it is.`);
    return 0;
  }
  const onStop = `the run of ${safe(job)} goes on in the daemon; \`holdfast cancel ${safe(job)}\` ends it`;
  await using reporter = new Reporter(context, { onStop });
  const outcome = await found.client.attach(
    path,
    { mode, wait: true },
    { listener: reporter.listener, onWarning: (text) => void context.warn(text) },
    hooksFor(context, reporter),
    { leaves: true },
  );
  await reporter.end();
  return await reportBackup(context, job, revivedRun<BackupResult>(outcome), { command: "run", dryRun: false });
}

/** Pauses or resumes a job: through the daemon, or in the state, where the next daemon finds it. */
export async function pause(context: Context, job: string, paused: boolean): Promise<void> {
  const loaded = context.readConfig();
  const found = await findDaemon(context, loaded.stateDir);
  let changed: boolean;
  if (found !== undefined)
    ({ changed } = await found.client.ask<{ readonly changed: boolean }>(
      "POST",
      `/jobs/${encodeURIComponent(job)}/${paused ? "pause" : "resume"}`,
    ));
  else {
    const { config } = await context.config();
    using state = openState(config.daemon.stateDir, { onWarning: (text) => void context.warn(text) });
    const isPaused = state.pausedJobs().has(job);
    // A job that is gone from the file may still be resumed.
    if (!config.jobs.has(job) && (paused || !isPaused))
      throw new HoldfastError("name_unknown", `There is no job ${job}`, {
        hint: `The configuration has: ${[...config.jobs.keys()].join(", ") || "none"}.`,
      });
    changed = isPaused !== paused;
    const nowMs = context.clock.now();
    const entry = { ...auditEntry(), action: paused ? "job.pause" : "job.resume", subject: job };
    state.audit.during(entry, nowMs, () => state.setPaused(job, paused, nowMs));
  }
  const how = paused ? "paused" : "resumed";
  if (context.json) await context.printJson({ job, paused, changed, daemon: found !== undefined });
  else if (!changed) await context.note(`${safe(job)} ${paused ? "was paused already" : "was not paused"}.`);
  else await context.note(`${safe(job)} is ${how}${found === undefined ? "; no daemon runs, the next one will know" : ""}.`);
}

export async function cancel(context: Context, what: string): Promise<void> {
  const { stateDir } = context.readConfig();
  const found = await findDaemon(context, stateDir);
  if (found === undefined) {
    // What was asked of a daemon that has ended would begin with the next one.
    using state = openState(stateDir, { onWarning: (text) => void context.warn(text) });
    const isThere = state.runRequests().some(({ job }) => job === what);
    const entry = { ...auditEntry(), action: "run.cancel", subject: what };
    if (isThere) state.audit.during(entry, context.clock.now(), () => state.removeRunRequest(what));
    else
      throw new HoldfastError("daemon_missing", `No daemon works on the state folder ${stateDir}`, {
        hint: "What runs without one is ended where it was started, with Ctrl-C or SIGTERM.",
      });
    return await report([`backup of ${what}`]);
  }
  const { cancelled } = await found.client.ask<Cancelled>("POST", `/runs/${encodeURIComponent(what)}/cancel`);
  await report(cancelled);

  async function report(names: readonly string[]): Promise<void> {
    if (context.json) await context.printJson({ cancelled: names });
    else await context.note(`Cancelled: ${safe(names.join(", "))}.`);
  }
}

function auditEntry(): Pick<AuditEntry, "actor" | "from" | "outcome"> {
  const { name, from } = commandActor();
  return { actor: name, from, outcome: "accepted" };
}

export async function reload(context: Context): Promise<number> {
  const { stateDir } = context.readConfig();
  const found = await findDaemon(context, stateDir);
  if (found === undefined)
    throw new HoldfastError("daemon_missing", `No daemon works on the state folder ${stateDir}`, {
      hint: "`holdfast validate` checks the file; every command reads it anew.",
    });
  const { result, changes, problems, error } = await found.client.ask<ReloadOutcome>("POST", "/config/reload");
  const isRefused = result === "invalid" || result === "unreadable";
  if (context.json) await context.printJson({ result, changes, problems, error: error ?? null });
  else if (result === "invalid") {
    await context.shell.stderr.write(`${renderProblems(problems, { color: context.colors("stderr") })}\n`);
    await context.complain("The configuration is not valid; the one before stays in force");
  } else if (error !== undefined) await context.fail(HoldfastError.fromWire(error));
  else if (result === "unchanged") await context.note("The configuration has not changed.");
  else
    await context.note(`The configuration is reloaded: ${safe(changes.join(", ") || "nothing that takes effect has changed")}.`);
  return isRefused ? INVALID : 0;
}
