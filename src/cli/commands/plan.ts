import {
  actionJson,
  diffConfigs,
  hasChanges,
  heldActions,
  loadConfig,
  renderConfigDiff,
  renderPlan,
  unavailableTargets,
  type ConfigChange,
} from "../../index.ts";
import type { Context, Opened } from "../context.ts";
import { iso } from "../format.ts";
import { exitCodeOf } from "../outcome.ts";

const HAS_CHANGES = 4;

export async function plan(
  context: Context,
  flags: { readonly detailedExitcode?: boolean; readonly format: "text" | "markdown" },
): Promise<number> {
  await using opened = await context.open();
  const made = await opened.holdfast.plan({ signal: context.signal });
  const config = configDiff(opened);
  if (context.json)
    await context.printJson({
      id: made.id ?? null,
      approved: made.approved,
      held: heldActions(made).length,
      actions: made.actions.map(actionJson),
      notes: made.notes,
      next: Object.fromEntries(
        [...made.next].map(([job, runs]) => [job, runs.map(({ timeMs, mode }) => ({ time: iso(timeMs), mode }))]),
      ),
      config: config.changes ?? null,
    });
  else {
    const text =
      config.changes === undefined
        ? config.text
        : renderConfigDiff(config.changes, { color: flags.format === "text" && context.colors("stdout") });
    if (text !== "")
      await context.print(
        flags.format === "markdown"
          ? `### Configuration since it was last applied\n\n\`\`\`diff\n${text}\`\`\`\n\n`
          : `Configuration since it was last applied:\n${text.replace(/^(?=.)/gm, "  ")}\n`,
      );
    await context.print(renderPlan(made, { format: flags.format }));
  }
  // A repository that is still to be created is in the plan; anything else that is closed leaves a hole in it.
  const unavailable = (await unavailableTargets(opened.holdfast.session)).filter(
    ({ error }) => error.code !== "repository_missing",
  );
  for (const { error } of unavailable) await context.fail(error);
  if (unavailable[0] !== undefined) return exitCodeOf({ status: "failed", error: unavailable[0].error });
  return flags.detailedExitcode === true && hasChanges(made) ? HAS_CHANGES : 0;
}

/** What changed since the configuration that was accepted last; nothing where none is known. */
function configDiff({ state, loaded }: Opened): { readonly changes: ConfigChange[] | undefined; readonly text: string } {
  const { config, texts, path } = loaded;
  const accepted = state.acceptedConfig();
  if (accepted === undefined || accepted.digest === config.digest) return { changes: [], text: "" };
  const before = loadConfig({
    path,
    text: accepted.text,
    readInclude: () => [],
    env: {},
    hostName: config.host,
    defaults: { stateDir: config.daemon.stateDir, cacheDir: config.daemon.cacheDir, timezone: config.daemon.timezone },
  });
  // One text of several files, or one with variables, cannot be read back: that it differs is all that can be said.
  if (texts.length > 1 || before.config === undefined)
    return { changes: undefined, text: `~ it has changed (accepted ${iso(accepted.timeMs)})\n` };
  return { changes: diffConfigs(before.config, config), text: "" };
}
