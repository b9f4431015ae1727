import { diffSnapshots, pathText, type Change, type ChangeKind, type Holdfast } from "../../index.ts";
import type { Context } from "../context.ts";
import { plural, shortId, size } from "../format.ts";
import { parsePathSelector, type NarrowFlags } from "../selectors.ts";

const MARKS: Readonly<Record<ChangeKind, string>> = { added: "+", removed: "-", modified: "M", type: "T", metadata: "U" };
const COLORS: Readonly<Record<ChangeKind, number>> = { added: 32, removed: 31, modified: 33, type: 35, metadata: 36 };

export async function diff(context: Context, firstText: string, secondText: string, flags: NarrowFlags): Promise<void> {
  await using opened = await context.open();
  const { holdfast } = opened;
  const when = { nowMs: context.clock.now(), timezone: holdfast.config.daemon.timezone };
  const [first, second] = [parsePathSelector(firstText, flags, when), parsePathSelector(secondText, flags, when)];
  const [a, b] = [await holdfast.select(first.selector, context.signal), await holdfast.select(second.selector, context.signal)];
  const [storeA, storeB] = await storesOf(holdfast, a, b);
  const root = Buffer.from("/");
  const before = { store: storeA, snapshot: a.info, path: first.path ?? root };
  const after = { store: storeB, snapshot: b.info, path: second.path ?? first.path ?? root };
  const totals: Record<ChangeKind, number> = { added: 0, removed: 0, modified: 0, type: 0, metadata: 0 };
  const changes: Record<string, unknown>[] = [];
  let grown = 0;
  const colors = context.colors("stdout");
  for await (const batch of diffSnapshots(before, after, context.signal)) {
    for (const change of batch) {
      totals[change.kind]++;
      grown += (change.after?.entry.size ?? 0) - (change.before?.entry.size ?? 0);
    }
    if (context.json) changes.push(...batch.map(changeJson));
    else await context.print(batch.map((change) => `${line(change, colors)}\n`).join(""));
  }
  if (context.json) {
    await context.printJson({ before: a.info.id, after: b.info.id, changes, totals, bytes: grown });
    return;
  }
  const parts = [
    `${totals.added} added`,
    `${totals.removed} removed`,
    `${totals.modified + totals.type} changed`,
    `${totals.metadata} with other metadata only`,
  ];
  const sign = grown < 0 ? "-" : "+";
  await context.note(
    `${shortId(a.info.id)} → ${shortId(b.info.id)}: ${parts.join(", ")}; ${sign}${size(Math.abs(grown))} (${plural(a.info.files, "file")} → ${plural(b.info.files, "file")})`,
  );
}

type Selected = Awaited<ReturnType<Holdfast["select"]>>;

/** One store that holds both, where there is one: equal folders are then told by their ids alone. */
async function storesOf(holdfast: Holdfast, a: Selected, b: Selected): Promise<[Selected["store"], Selected["store"]]> {
  const common = a.targets.find((target) => b.targets.includes(target));
  if (common === undefined) return [a.store, b.store];
  const store = await holdfast.session.store(common);
  return [store, store];
}

function line(change: Change, colors: boolean): string {
  const folder = (change.after ?? change.before)?.entry.type === "directory" ? "/" : "";
  const text = `${MARKS[change.kind]} ${pathText(change.path)}${folder}`;
  return colors ? `\u001b[${COLORS[change.kind]}m${text}\u001b[0m` : text;
}

function changeJson({ kind, path, before, after }: Change): Record<string, unknown> {
  return {
    kind,
    path: pathText(path),
    type: (after ?? before)?.entry.type,
    sizeBefore: before?.entry.size ?? null,
    sizeAfter: after?.entry.size ?? null,
  };
}
