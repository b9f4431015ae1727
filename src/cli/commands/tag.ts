import { HoldfastError, type Annotation } from "../../index.ts";
import type { Context } from "../context.ts";
import { holdText, safe, shortId, snapshotJson } from "../format.ts";
import { parseSelector, parseTime, type NarrowFlags, type When } from "../selectors.ts";

export interface TagFlags extends NarrowFlags {
  readonly add?: readonly string[];
  readonly remove?: readonly string[];
  readonly hold?: string;
  readonly description?: string;
}

export async function tag(context: Context, text: string, flags: TagFlags): Promise<void> {
  if (flags.add === undefined && flags.remove === undefined && flags.hold === undefined && flags.description === undefined)
    throw new HoldfastError("usage", "There is nothing to change", {
      hint: "Give --add TAG, --remove TAG, --hold, --hold=DATE, --hold=no or --description TEXT.",
    });
  const both = flags.add?.find((one) => flags.remove?.includes(one) === true);
  if (both !== undefined)
    throw new HoldfastError("usage", `The tag ${both} is both added and removed`, { hint: "Leave one of the two out." });
  if (flags.add?.includes("") === true) throw new HoldfastError("usage", "A tag is empty", { hint: "Write --add NAME." });
  await using opened = await context.open();
  const { holdfast } = opened;
  const when = { nowMs: context.clock.now(), timezone: holdfast.config.daemon.timezone };
  const hold = flags.hold === undefined ? undefined : parseHold(flags.hold, when);
  const annotation: Annotation = {
    ...(flags.add !== undefined && { addTags: flags.add }),
    ...(flags.remove !== undefined && { removeTags: flags.remove }),
    ...(hold !== undefined && { hold }),
    ...(flags.description !== undefined && { description: flags.description }),
  };
  const selector = parseSelector(text, flags, when);
  const info = await holdfast.annotate(selector, annotation, context.signal);
  const { targets } = await holdfast.select({ id: info.id }, context.signal);
  if (context.json) await context.printJson({ snapshot: snapshotJson(info, targets) });
  else {
    const facts = [
      info.tags.length === 0 ? "no tags" : `tags ${info.tags.map(safe).join(", ")}`,
      holdText(info.hold, when.timezone) || "not held",
      ...(info.description === "" ? [] : [safe(info.description)]),
    ];
    await context.note(`snapshot ${shortId(info.id)} on ${targets.join(", ")}: ${facts.join("; ")}`);
  }
}

/** `yes`: for ever; `no`: no longer; a day counts to its end, a duration from now. */
export function parseHold(text: string, when: When): number | boolean {
  if (text === "yes" || text === "true" || text === "forever") return true;
  if (text === "no" || text === "false") return false;
  const at = parseTime(text, when);
  // A duration is meant forward here; parseTime counts it back.
  const until =
    at <= when.nowMs && !/^\d{4}-/.test(text) ? 2 * when.nowMs - at : /^\d{4}-\d\d-\d\d$/.test(text) ? at + 24 * 3_600_000 : at;
  if (until <= when.nowMs)
    throw new HoldfastError("usage", `--hold=${text} is in the past`, { hint: "Write a date to come, or --hold=no to let go." });
  return until;
}
