import { findEntries, formatWall, HoldfastError, pathText, type Holdfast, type SnapshotRow } from "../../index.ts";
import type { Context } from "../context.ts";
import { plural, shortId, size } from "../format.ts";
import { entryJson } from "../entry-text.ts";
import { parseTime, type NarrowFlags } from "../selectors.ts";
import { warnOfUnavailable } from "./snapshots.ts";

export async function find(context: Context, pattern: string, flags: NarrowFlags): Promise<void> {
  if (pattern === "")
    throw new HoldfastError("usage", "The pattern is empty", {
      hint: "Write a name or a path, such as '*.conf' or '/etc/**/nginx*'.",
    });
  await using opened = await context.open();
  const { holdfast } = opened;
  const { timezone } = holdfast.config.daemon;
  const atMs = flags.at === undefined ? Number.POSITIVE_INFINITY : parseTime(flags.at, { nowMs: context.clock.now(), timezone });
  const listing = await holdfast.snapshots(
    { job: flags.job, source: flags.source, host: flags.host, target: flags.target },
    context.signal,
  );
  const rows = listing.snapshots.filter(({ info }) => info.timeMs <= atMs).toReversed();
  const found: Record<string, unknown>[] = [];
  let hits = 0;
  for (const [target, group] of byTarget(rows)) {
    const store = await storeOf(holdfast, target);
    const infos = group.map(({ info }) => info);
    const query = { pattern, ignoreCase: false, type: undefined, path: Buffer.from("/") };
    for await (const { snapshot, entry } of findEntries(store, infos, query, context.signal)) {
      hits++;
      if (context.json) found.push({ snapshot: snapshot.id, time: new Date(snapshot.timeMs).toISOString(), ...entryJson(entry) });
      else
        await context.print(
          `${shortId(snapshot.id)}  ${formatWall(snapshot.timeMs, timezone)}  ${size(entry.entry.size).padStart(8)}  ${pathText(entry.path)}${entry.entry.type === "directory" ? "/" : ""}\n`,
        );
    }
  }
  if (context.json) {
    await context.printJson({ found });
    return;
  }
  await context.note(
    hits === 0
      ? `Nothing fits ${pattern} in ${plural(rows.length, "snapshot")}.`
      : `${plural(hits, "match", "matches")} in ${plural(rows.length, "snapshot")}`,
  );
  await warnOfUnavailable(context, listing);
}

/** Each snapshot is searched on the first target that holds it; the order within a target stays. */
function byTarget(rows: readonly SnapshotRow[]): Map<string, SnapshotRow[]> {
  return Map.groupBy(rows, ({ targets }) => targets[0] as string);
}

const storeOf = (holdfast: Holdfast, target: string): ReturnType<Holdfast["session"]["store"]> => holdfast.session.store(target);
