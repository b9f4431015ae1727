import { entryAt, listEntries, pathText, type SnapshotEntry } from "../../index.ts";
import type { Context } from "../context.ts";
import { wallSeconds } from "../format.ts";
import { entryJson, entryRow } from "../entry-text.ts";
import { parsePathSelector, type NarrowFlags } from "../selectors.ts";

export async function ls(context: Context, text: string, flags: NarrowFlags): Promise<void> {
  await using opened = await context.open();
  const { holdfast } = opened;
  const { timezone } = holdfast.config.daemon;
  const { selector, path = Buffer.from("/") } = parsePathSelector(text, flags, { nowMs: context.clock.now(), timezone });
  const { info, store } = await holdfast.select(selector, context.signal);
  const top = await entryAt(store, info, path, context.signal);
  if (context.json) {
    const entries: unknown[] = [];
    for await (const batch of listEntries(store, info, path, { recursive: false, signal: context.signal }))
      entries.push(...batch.map(entryJson));
    await context.printJson({ snapshot: info.id, path: pathText(path), entries });
    return;
  }
  await context.note(
    `snapshot ${info.id.slice(0, 8)} of ${info.job} / ${info.source}, ${wallSeconds(info.timeMs, timezone)}: ${pathText(path)}`,
  );
  const name = (entry: SnapshotEntry): string =>
    top.entry.type === "directory" ? pathText(entry.entry.name) : pathText(entry.path);
  for await (const batch of listEntries(store, info, path, { recursive: false, signal: context.signal }))
    await context.print(batch.map((entry) => `${entryRow(entry, name(entry), timezone)}\n`).join(""));
}
