import { formatDuration, renderCsv } from "../../index.ts";
import type { Context } from "../context.ts";
import { runJson, safe, shortId, wallSeconds } from "../format.ts";
import type { FormatFlags } from "../program.ts";
import { renderTable } from "../width.ts";

const SHOWN = 100;

export async function runs(context: Context, flags: FormatFlags): Promise<void> {
  await using opened = await context.open();
  const { holdfast } = opened;
  const { timezone } = holdfast.config.daemon;
  const records = holdfast.runs({ limit: flags.format === "csv" || context.json ? 100_000 : SHOWN }).toReversed();
  if (context.json) await context.printJson({ runs: records.map(runJson) });
  else if (flags.format === "csv") {
    const rows = records
      .map(runJson)
      .map((run) => [
        run["id"],
        run["kind"],
        run["subject"],
        run["status"],
        run["startTime"],
        run["endTime"],
        run["durationMs"],
        run["reason"],
        (run["error"] as { code?: string } | null)?.code,
      ]);
    await context.print(
      renderCsv(["id", "kind", "subject", "status", "startTime", "endTime", "durationMs", "reason", "error"], rows),
    );
  } else if (records.length === 0) await context.note("Nothing has run yet.");
  else {
    const rows = records.map((run) => [
      shortId(run.id),
      wallSeconds(run.startedMs, timezone),
      run.kind,
      safe(run.subject),
      run.status ?? "running",
      run.endedMs === undefined ? "" : formatDuration(Math.max(0, run.endedMs - run.startedMs)),
      safe(run.error?.message ?? run.reason ?? ""),
    ]);
    const columns = [
      { title: "RUN" },
      { title: "STARTED" },
      { title: "KIND" },
      { title: "OF" },
      { title: "STATUS" },
      { title: "TOOK", align: "right" as const },
      { title: "WHY" },
    ];
    await context.print(renderTable(columns, rows, { bold: context.colors("stdout") }));
  }
}
