import { dumpEntry, entryAt, HoldfastError, pathText } from "../../index.ts";
import type { Context } from "../context.ts";
import { parsePathSelector, type NarrowFlags } from "../selectors.ts";

export interface DumpFlags extends NarrowFlags {
  readonly as?: "tar" | "zip";
}

export async function dump(context: Context, text: string, flags: DumpFlags): Promise<void> {
  if (context.json) throw new HoldfastError("usage", "dump writes the file itself, not JSON", { hint: "Leave --json out." });
  if (flags.as !== undefined && context.shell.stdout.isTerminal)
    throw new HoldfastError("usage", "An archive is not for a terminal", {
      hint: `Send it to a file or a program: holdfast dump … --as ${flags.as} > files.${flags.as}`,
    });
  await using opened = await context.open();
  const { holdfast } = opened;
  const when = { nowMs: context.clock.now(), timezone: holdfast.config.daemon.timezone };
  const { selector, path } = parsePathSelector(text, flags, when);
  if (path === undefined && flags.as === undefined)
    throw new HoldfastError("usage", "dump needs a path: S:PATH", {
      hint: "`holdfast ls S` shows what is there; `holdfast dump S --as tar` writes the whole snapshot.",
    });
  const { info, store } = await holdfast.select(selector, context.signal);
  const top = path ?? Buffer.from("/");
  if (flags.as === undefined && (await entryAt(store, info, top, context.signal)).entry.type === "directory")
    throw new HoldfastError("usage", `${pathText(top)} is a folder`, { hint: "Add --as tar or --as zip, or name a file in it." });
  const skipped: string[] = [];
  const bytes = dumpEntry(store, info, top, {
    as: flags.as ?? "auto",
    signal: context.signal,
    onSkipped: (entry, why) => skipped.push(`${pathText(entry.path)} is left out: ${why}`),
  });
  for await (const chunk of bytes) {
    if (context.shell.readerGone()) return;
    await context.shell.stdout.write(chunk);
  }
  for (const text of skipped) await context.warn(text);
}
