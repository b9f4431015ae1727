import { formatSize } from "../base/size.ts";
import { heldActions } from "./plan.ts";
import type { Action, Plan, RetentionAction } from "./plan.ts";
import { formatWall } from "./zone.ts";

export interface RenderOptions {
  /** `text` for a terminal without colour, `markdown` for a pull request. */
  readonly format: "text" | "markdown";
}

/**
 * A plan for people: what waits for approval first, then each action with its reason, every snapshot that retention would
 * delete and why, what is refused, and the next runs. Times are on the wall of the plan's time zone. Ends with a newline.
 */
export function renderPlan(plan: Plan, options: RenderOptions): string {
  const style = options.format === "markdown" ? MARKDOWN : TEXT;
  const lines: string[] = [];
  const section = (title: string, items: readonly string[]): void => {
    if (items.length > 0) lines.push(style.heading(title), ...items, "");
  };
  const wall = (timeMs: number): string => formatWall(timeMs, plan.timezone);

  const held = heldActions(plan);
  if (held.length > 0) {
    const how = `Approve with ${style.code(`holdfast apply --approve ${plan.id}`)}, or with ${style.code(`approve: ${plan.id}`)} in the configuration.`;
    section(`Held until approved: plan ${plan.id}`, [
      ...held.map((action) => style.item(describeHeld(action))),
      style.closing(how),
    ]);
  } else if (plan.approved) section(`Plan ${plan.id} is approved`, [style.item("what it held may go on")]);

  const work = plan.actions.filter((action) => action.kind !== "retention" && action.kind !== "change");
  section(
    "To do",
    work.map((action) => style.item(describe(action))),
  );
  const retention = plan.actions.filter((action) => action.kind === "retention").filter(({ remove }) => remove.length > 0);
  section(
    "Retention would delete",
    retention.flatMap((action) => [
      style.item(
        `job ${style.code(action.job)} on target ${style.code(action.target)}: ${summarise(action)}${action.held === undefined ? "" : " (held)"}`,
      ),
      ...action.remove.map(({ snapshot, reason }) =>
        style.subitem(
          `${style.code(snapshot.id.slice(0, 12))} of ${snapshot.source}, ${wall(snapshot.timeMs)}, ${formatSize(snapshot.storedBytes)}: ${reason}`,
        ),
      ),
    ]),
  );
  section(
    "Refused",
    plan.notes.filter(({ level }) => level === "refusal").map(({ text }) => style.item(text)),
  );
  section(
    "Warnings",
    plan.notes.filter(({ level }) => level === "warning").map(({ text }) => style.item(text)),
  );
  section(
    "Notes",
    plan.notes.filter(({ level }) => level === "info").map(({ text }) => style.item(text)),
  );
  if (lines.length === 0) lines.push("Nothing to do: what is declared is what exists.", "");
  section(
    `Next runs (${plan.timezone})`,
    [...plan.next].map(([job, runs]) => {
      const modes = new Set(runs.map(({ mode }) => mode));
      const times = runs.map(({ timeMs, mode }) => (modes.size > 1 ? `${wall(timeMs)} ${mode}` : wall(timeMs)));
      return style.item(`${style.code(job)}: ${times.length === 0 ? "only when asked" : times.join(", ")}`);
    }),
  );
  return `${lines.join("\n").trimEnd()}\n`;
}

function describe(action: Exclude<Action, { kind: "retention" | "change" }>): string {
  if (action.kind === "create")
    return `create the repository on target ${action.target}${action.recreate ? ", in place of the one that is gone" : ""}`;
  if (action.kind === "backup")
    return `back up job ${action.job} (${action.mode}) to ${action.targets.join(", ")}: ${action.why}`;
  if (action.kind === "verify") {
    const depth = action.readData === 0 ? "structure" : `structure and ${Math.round(action.readData * 100)} % of the data`;
    return `verify job ${action.job} on target ${action.target} (${depth}): ${action.why}`;
  }
  return `prune target ${action.target}: ${action.why}`;
}

function describeHeld(action: ReturnType<typeof heldActions>[number]): string {
  if (action.kind === "change") return action.held ?? action.why;
  return `job ${action.job} on target ${action.target}: ${action.held}`;
}

function summarise(action: RetentionAction): string {
  const total = action.remove.length + action.keep.length;
  return `${action.remove.length} of ${total} snapshots, ${formatSize(action.removeBytes)} when they were stored`;
}

interface RenderStyle {
  readonly heading: (text: string) => string;
  readonly item: (text: string) => string;
  readonly subitem: (text: string) => string;
  readonly closing: (text: string) => string;
  readonly code: (text: string) => string;
}

const TEXT: RenderStyle = {
  heading: (text) => `${text}:`,
  item: (text) => `  - ${text}`,
  subitem: (text) => `      ${text}`,
  closing: (text) => `  ${text}`,
  code: (text) => text,
};

const MARKDOWN: RenderStyle = {
  heading: (text) => `### ${text}\n`,
  item: (text) => `- ${text}`,
  subitem: (text) => `  - ${text}`,
  closing: (text) => `\n${text}`,
  code: (text) => `\`${text}\``,
};
