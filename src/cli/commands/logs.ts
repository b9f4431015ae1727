import { HoldfastError, renderCsv } from "../../index.ts";
import type { Context } from "../context.ts";
import { iso, safe, shortId, wallSeconds } from "../format.ts";
import type { FormatFlags } from "../program.ts";
import { parseTime } from "../selectors.ts";

export interface LogsFlags extends FormatFlags {
  readonly since?: string;
  readonly until?: string;
  readonly grep?: string;
}

export async function logs(context: Context, run: string | undefined, flags: LogsFlags): Promise<void> {
  const grep = flags.grep === undefined ? undefined : parseExpression(flags.grep);
  await using opened = await context.open();
  const { holdfast } = opened;
  const { timezone } = holdfast.config.daemon;
  const when = { nowMs: context.clock.now(), timezone };
  const records = holdfast.logs(run, {
    ...(flags.since !== undefined && { since: parseTime(flags.since, when) }),
    ...(flags.until !== undefined && { until: parseTime(flags.until, when) }),
    ...(grep !== undefined && { grep }),
  });
  const lines = records.map((record) => ({ time: iso(record.timeMs), run: record.run, level: record.level, text: record.text }));
  if (context.json) await context.printJson({ logs: lines });
  else if (flags.format === "csv") await context.print(renderCsv(["time", "run", "level", "text"], lines.map(Object.values)));
  else if (records.length === 0) await context.note(run === undefined ? "Nothing has been logged." : "This run said nothing.");
  for (const { timeMs, run: id, level, text } of context.json || flags.format === "csv" ? [] : records)
    await context.print(`${wallSeconds(timeMs, timezone)}  ${shortId(id)}  ${level.toUpperCase().padEnd(5)}  ${safe(text)}\n`);
}

function parseExpression(text: string): RegExp {
  try {
    return new RegExp(text, "iu");
  } catch (error) {
    throw new HoldfastError("usage", `--grep: ${JSON.stringify(text)} is not a regular expression`, {
      hint: error instanceof Error ? error.message : "Escape special characters with a backslash.",
      cause: error,
    });
  }
}
