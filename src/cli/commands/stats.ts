import { ratioOf, renderCsv, statsJson } from "../../index.ts";
import type { Context } from "../context.ts";
import { count, size } from "../format.ts";
import type { FormatFlags } from "../program.ts";
import { renderTable } from "../width.ts";

export async function stats(context: Context, flags: FormatFlags): Promise<void> {
  await using opened = await context.open();
  const all = await opened.holdfast.stats(context.signal);
  if (context.json) await context.printJson({ targets: all.map(statsJson) });
  else if (flags.format === "csv") {
    const titles = ["target", "snapshots", "objects", "sourceBytes", "totalSourceBytes", "storedBytes", "freeBytes", "error"];
    const cells = all.map((one) => [
      one.target,
      one.snapshots,
      one.objects,
      one.sourceBytes,
      one.totalSourceBytes,
      one.storedBytes,
      one.freeBytes,
      one.error?.code,
    ]);
    await context.print(renderCsv(titles, cells));
  } else {
    const right = (title: string): { title: string; align: "right" } => ({ title, align: "right" });
    const columns = [
      { title: "TARGET" },
      right("SNAPSHOTS"),
      right("CURRENT DATA"),
      right("ALL SNAPSHOTS"),
      right("STORED"),
      right("RATIO"),
      right("OBJECTS"),
      right("FREE"),
    ];
    const rows = all
      .filter(({ error }) => error === undefined)
      .map((one) => [
        one.target,
        count(one.snapshots),
        size(one.sourceBytes),
        size(one.totalSourceBytes),
        size(one.storedBytes),
        ratioOf(one) === null ? "-" : `${ratioOf(one)?.toFixed(1)} to 1`,
        count(one.objects),
        one.freeBytes === undefined ? "-" : size(one.freeBytes),
      ]);
    if (rows.length > 0) await context.print(renderTable(columns, rows, { bold: context.colors("stdout") }));
  }
  if (!context.json) for (const { error } of all) if (error !== undefined) await context.warn(error.message);
}
