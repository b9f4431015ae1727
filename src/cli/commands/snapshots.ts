import { formatWall, HoldfastError, type SnapshotListing, type SnapshotRow } from "../../index.ts";
import type { Context } from "../context.ts";
import { count, errorJson, holdText, plural, safe, shortId, size, snapshotJson } from "../format.ts";
import { parseCount } from "../selectors.ts";
import { renderTable, type Column } from "../width.ts";

export interface SnapshotsFlags {
  readonly target?: string;
  readonly source?: string;
  readonly tag?: readonly string[];
  readonly limit?: string;
}

export async function snapshots(context: Context, job: string | undefined, flags: SnapshotsFlags): Promise<void> {
  const limit = flags.limit === undefined ? undefined : parseCount(flags.limit, "--limit");
  await using opened = await context.open();
  const { holdfast } = opened;
  const listing = await holdfast.snapshots(
    { job, source: flags.source, target: flags.target, tags: flags.tag, limit },
    context.signal,
  );
  if (job !== undefined && listing.snapshots.length === 0 && !holdfast.config.jobs.has(job))
    throw new HoldfastError("name_unknown", `There is no job ${job}, and no snapshot of one`, {
      hint: `The configuration has: ${[...holdfast.config.jobs.keys()].join(", ") || "none"}.`,
    });
  if (context.json) {
    await context.printJson({
      snapshots: listing.snapshots.map(({ info, targets }) => snapshotJson(info, targets)),
      unavailable: listing.closed.map(({ target, error }) => ({ target: target.name, ...errorJson(error) })),
      damaged: listing.damaged.map(({ target, id, error }) => ({ target, id, ...errorJson(error) })),
    });
    return;
  }
  const { timezone } = holdfast.config.daemon;
  if (listing.snapshots.length > 0) {
    await context.print(snapshotTable(listing.snapshots, { timezone, bold: context.colors("stdout") }));
    await context.note(plural(listing.snapshots.length, "snapshot"));
  } else
    await context.note("There are no snapshots yet. `holdfast apply` takes what is due, `holdfast backup JOB` takes one now.");
  await warnOfUnavailable(context, listing);
}

/** Says which targets could not be asked, and which snapshots could not be read: the list is then not the whole truth. */
export async function warnOfUnavailable(context: Context, listing: Pick<SnapshotListing, "closed" | "damaged">): Promise<void> {
  for (const { error } of listing.closed) await context.warn(error.message);
  for (const { target, id, error } of listing.damaged)
    await context.warn(`snapshot object ${shortId(id)} on target ${target} cannot be read: ${error.message}`);
}

const COLUMNS: readonly Column[] = [
  { title: "ID" },
  { title: "TIME" },
  { title: "HOST" },
  { title: "JOB" },
  { title: "SOURCE" },
  { title: "MODE" },
  { title: "STATUS" },
  { title: "FILES", align: "right" },
  { title: "SIZE", align: "right" },
  { title: "NEW", align: "right" },
  { title: "TARGETS" },
  { title: "TAGS" },
];

export function snapshotTable(
  rows: readonly SnapshotRow[],
  options: { readonly timezone: string; readonly bold: boolean },
): string {
  const cells = rows.map(({ info, targets }) => [
    shortId(info.id),
    formatWall(info.timeMs, options.timezone),
    safe(info.host),
    safe(info.job),
    safe(info.source),
    info.mode,
    info.status,
    count(info.files),
    size(info.sourceBytes),
    size(info.newBytes),
    targets.join(","),
    [...info.tags.map(safe), ...(info.hold === false ? [] : [holdText(info.hold, options.timezone)])].join(","),
  ]);
  return renderTable(COLUMNS, cells, options);
}
