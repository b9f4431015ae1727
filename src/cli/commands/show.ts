import { formatDuration } from "../../index.ts";
import type { Context } from "../context.ts";
import { count, holdText, iso, plural, safe, size, snapshotJson, wallSeconds } from "../format.ts";
import { parseSelector, type NarrowFlags } from "../selectors.ts";

export async function show(context: Context, text: string, flags: NarrowFlags): Promise<void> {
  await using opened = await context.open();
  const { holdfast } = opened;
  const { timezone } = holdfast.config.daemon;
  const { info, targets } = await holdfast.select(
    parseSelector(text, flags, { nowMs: context.clock.now(), timezone }),
    context.signal,
  );
  if (context.json) {
    await context.printJson({
      snapshot: { ...snapshotJson(info, targets), unreadableEntries: info.unreadable, facts: info.facts },
    });
    return;
  }
  const ratio = info.newBytes > info.storedBytes ? `, ${(info.newBytes / Math.max(1, info.storedBytes)).toFixed(1)} to 1` : "";
  const lines: (readonly [string, string])[] = [
    ["snapshot", info.id],
    ["time", `${wallSeconds(info.timeMs, timezone)} ${timezone} (${iso(info.timeMs)})`],
    ["took", formatDuration(Math.max(0, info.endMs - info.timeMs))],
    ["host", safe(info.host)],
    ["job", safe(info.job)],
    ["source", `${safe(info.source)} (${info.sourceType})`],
    ["mode", info.baseline === undefined ? info.mode : `${info.mode}, compared with ${info.baseline.slice(0, 8)}`],
    ["status", info.status],
    ["targets", targets.join(", ")],
    [
      "entries",
      `${plural(info.files, "file")}, ${plural(info.directories, "folder")}${info.others > 0 ? `, ${plural(info.others, "other")}` : ""}`,
    ],
    ["size", size(info.sourceBytes)],
    ["new", `${size(info.newBytes)}, stored as ${size(info.storedBytes)}${ratio}`],
  ];
  const optional = (name: string, value: string): void => {
    if (value !== "") lines.push([name, value]);
  };
  optional("description", safe(info.description));
  optional("tags", info.tags.map(safe).join(", "));
  optional("hold", holdText(info.hold, timezone));
  optional("changed", info.changedWhileRead === 0 ? "" : `${plural(info.changedWhileRead, "file")} changed while being read`);
  optional("facts", Object.keys(info.facts).length === 0 ? "" : safe(JSON.stringify(info.facts)));
  optional(
    "made by",
    `holdfast ${safe(info.toolVersion)}${info.gitCommit === undefined ? "" : `, configuration at ${safe(info.gitCommit)}`}`,
  );
  await context.print(lines.map(([name, value]) => `${`${name}:`.padEnd(13)}${value}\n`).join(""));
  if (info.unreadableCount === 0) return;
  await context.print(`${"unreadable:".padEnd(13)}${plural(info.unreadableCount, "entry", "entries")}\n`);
  for (const { path, message } of info.unreadable) await context.print(`  ${safe(path)}: ${safe(message)}\n`);
  const left = info.unreadableCount - info.unreadable.length;
  if (left > 0) await context.print(`  and ${count(left)} more\n`);
}
