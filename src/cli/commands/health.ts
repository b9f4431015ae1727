/** How the running daemon is: for people, part by part; for a container's health check, yes or no. */
import { configCandidates, HoldfastError, likelyStateDirs, liveDaemon, type HealthStatus } from "../../index.ts";
import type { Context } from "../context.ts";
import { DaemonClient } from "../daemon-client.ts";
import { plural, safe } from "../format.ts";
import { fitEnd, renderTable } from "../width.ts";

export interface HealthFlags {
  readonly ready?: boolean;
}

/** As the API answers. */
export interface Health {
  readonly time: string;
  readonly status: HealthStatus;
  readonly components: readonly {
    readonly component: string;
    readonly name: string | null;
    readonly status: HealthStatus;
    readonly since: string | null;
    readonly summary: string;
    readonly recommendation: string | null;
  }[];
}

interface Readiness {
  readonly alive: boolean;
  readonly ready: boolean;
  readonly reason: string | null;
}

/** 1 when something is critical; with `ready` only when the daemon does not work, however backups fare. Rejects where there is none. */
export async function health(context: Context, { ready }: HealthFlags): Promise<number> {
  const stateDir = stateDirOf(context);
  const client = new DaemonClient(stateDir);
  const ask = async <T>(path: string): Promise<T> => {
    try {
      return await client.ask<T>("GET", path);
    } catch (error) {
      if (liveDaemon(stateDir) !== undefined) throw error;
      throw new HoldfastError("daemon_missing", `No daemon works on the state folder ${stateDir}`, {
        hint: "`holdfast daemon` starts one.",
        cause: error,
      });
    }
  };
  if (ready === true) {
    const answer = await ask<Readiness>("/health/ready");
    const isReady = answer.alive && answer.ready;
    if (context.json) await context.printJson({ ...answer });
    else if (isReady) await context.note("The daemon lives and can work.");
    else
      await context.complain(answer.alive ? `Not ready: ${safe(answer.reason ?? "")}` : "The daemon's scheduler does not turn");
    return isReady ? 0 : 1;
  }
  const report = await ask<Health>("/health");
  const { stdout } = context.shell;
  const width = stdout.isTerminal ? stdout.columns() : Number.POSITIVE_INFINITY;
  if (context.json) await context.printJson({ ...report });
  else await context.print(renderHealth(report, { width, bold: context.colors("stdout"), all: context.verbose }));
  return report.status === "critical" ? 1 : 0;
}

/** The state folder, also while the configuration is broken or gone: the daemon works on with the one before. */
function stateDirOf(context: Context): string {
  try {
    return context.readConfig().stateDir;
  } catch {
    const surroundings = context.surroundings();
    const path = context.options.config ?? (configCandidates(surroundings)[0] as string);
    return likelyStateDirs(path, undefined, surroundings)[0];
  }
}

/** What is not well and what to do about it; `all` shows what is well, too. Pure. */
export function renderHealth(
  { status, components }: Health,
  { width, bold, all }: { readonly width: number; readonly bold: boolean; readonly all: boolean },
): string {
  const shown = components.filter((one) => all || one.status !== "ok");
  const well = components.filter((one) => one.status === "ok").length;
  const lines = [`${status}: ${well} of ${plural(components.length, "component")} well`];
  if (shown.length > 0) {
    const rows = shown.map(({ component, name, status: own, since, summary }) => [
      own,
      `${component}${name === null ? "" : ` ${safe(name)}`}`,
      since === null ? "" : since.slice(0, 16).replace("T", " "),
      safe(summary),
    ]);
    const columns = [{ title: "STATUS" }, { title: "COMPONENT" }, { title: "SINCE (UTC)" }, { title: "" }];
    lines.push("", ...renderTable(columns, rows, { bold }).trimEnd().split("\n"));
  }
  const advice = shown.flatMap(({ component, name, recommendation }) =>
    recommendation === null ? [] : [`${component}${name === null ? "" : ` ${safe(name)}`}: ${safe(recommendation)}`],
  );
  if (advice.length > 0) lines.push("", ...advice);
  return `${lines.map((line) => fitEnd(line, width)).join("\n")}\n`;
}
