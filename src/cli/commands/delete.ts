import type { Context } from "../context.ts";
import { plural, shortId, snapshotJson } from "../format.ts";
import { parseSelector } from "../selectors.ts";
import { snapshotTable } from "./snapshots.ts";

export async function deleteSnapshots(
  context: Context,
  texts: readonly string[],
  flags: { readonly yes?: boolean },
): Promise<void> {
  await using opened = await context.open();
  const { holdfast } = opened;
  const { timezone } = holdfast.config.daemon;
  const chosen = new Map<string, Awaited<ReturnType<typeof holdfast.select>>>();
  for (const text of texts) {
    const one = await holdfast.select(parseSelector(text, {}, { nowMs: context.clock.now(), timezone }), context.signal);
    chosen.set(one.info.id, one);
  }
  const rows = [...chosen.values()];
  if (!context.json && !context.quiet)
    await context.shell.stderr.write(snapshotTable(rows, { timezone, bold: context.colors("stderr") }));
  const targets = [...new Set(rows.flatMap((row) => row.targets))];
  const what = rows.length === 1 ? `snapshot ${shortId(rows[0]?.info.id ?? "")}` : `these ${rows.length} snapshots`;
  if (!(await context.confirm(`delete ${what} from ${targets.join(", ")}`, "", flags.yes))) return;
  const deleted = await holdfast.delete(
    [...chosen.keys()].map((id) => ({ id })),
    context.signal,
  );
  if (context.json)
    await context.printJson({ deleted: deleted.map(({ snapshot, targets: from }) => snapshotJson(snapshot, from)) });
  else await context.note(`Deleted ${plural(deleted.length, "snapshot")}. \`holdfast prune\` frees the space.`);
}
