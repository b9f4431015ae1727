import { formatDuration, verifyScopes, type VerifyReport } from "../../index.ts";
import type { Context } from "../context.ts";
import { count, plural, safe, shortId, size } from "../format.ts";
import { exitCodeOf, outcomeJson, reportOutcome } from "../outcome.ts";
import { Reporter } from "../reporter.ts";
import { parsePercent, parseSelector } from "../selectors.ts";
import { renderTable } from "../width.ts";

export interface VerifyFlags {
  readonly readData?: string;
  readonly target?: string;
}

export async function verify(context: Context, texts: readonly string[], flags: VerifyFlags): Promise<number> {
  const readData = flags.readData === undefined ? 0 : parsePercent(flags.readData, "--read-data");
  await using reporter = new Reporter(context, { reportsDamage: true });
  await using opened = await context.open(reporter.listener);
  const { holdfast } = opened;
  const when = { nowMs: context.clock.now(), timezone: holdfast.config.daemon.timezone };
  const selectors = texts.map((text) => parseSelector(text, {}, when));
  let code = 0;
  for (const { targets, snapshots } of await verifyScopes(holdfast.session, selectors, flags.target, context.signal)) {
    const outcome = await holdfast.verify({ targets, snapshots, readData, reason: "asked for", signal: context.signal });
    await reporter.end();
    if (context.json)
      await context.printLine("summary", {
        command: "verify",
        ...outcomeJson(outcome),
        targets: outcome.result?.map(({ target, report }) => ({ target, ...report })),
      });
    else {
      for (const { target, report } of outcome.result ?? [])
        if (!context.quiet || !report.ok) await context.print(renderReport(target, report, context.colors("stdout")));
      if (!context.quiet && outcome.status === "success")
        await context.print(`verified in ${formatDuration(outcome.durationMs)}: everything checked is good\n`);
      await reportOutcome(context, "The verification", outcome);
    }
    code = Math.max(code, exitCodeOf(outcome));
  }
  return code;
}

/** Every check with its result, then what is damaged and what depends on it. */
export function renderReport(target: string, report: VerifyReport, colors: boolean): string {
  const paint = (color: number, text: string): string => (colors ? `\u001b[${color}m${text}\u001b[0m` : text);
  const columns = [{ title: "CHECK" }, { title: "CHECKED", align: "right" as const }, { title: "RESULT" }];
  const rows = report.checks.map(({ name, checked, failed, note }) => [
    name,
    count(checked),
    `${failed === 0 ? paint(32, "ok") : paint(31, `${count(failed)} failed`)}${note === undefined ? "" : ` (${note})`}`,
  ]);
  const head = `target ${target}: ${plural(report.snapshots, "snapshot")}, level ${report.level}, ${size(report.bytesRead)} read\n`;
  const damage = report.damage.flatMap(({ kind, id, message, snapshots, paths }) => [
    paint(31, `damaged ${kind} ${safe(id)}: ${safe(message)}`),
    ...(snapshots.length === 0 ? [] : [`  snapshots: ${snapshots.map(shortId).join(", ")}`]),
    ...paths.map((path) => `  file: ${safe(path)}`),
  ]);
  return `${head}${renderTable(columns, rows, { bold: colors })}${damage.map((line) => `${line}\n`).join("")}`;
}
