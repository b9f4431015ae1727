import {
  checkClock,
  checkFolders,
  checkHooks,
  checkReceivers,
  checkRepositories,
  checkSecrets,
  checkSources,
  checkTools,
  probeTargets,
  type Check,
} from "../checks.ts";
import type { Context } from "../context.ts";
import { plural, safe } from "../format.ts";

const FAILED = 1;

export async function doctor(context: Context): Promise<number> {
  const { config } = await context.config();
  const checks: Check[] = [
    ...(await checkFolders(config)),
    ...(await checkSources(context, config)),
    ...(await checkHooks(context, config)),
  ];
  const folders = checks.filter(({ area, status }) => area === "folder" && status === "failed");
  if (folders.length === 0) {
    await using opened = await context.open();
    const { holdfast } = opened;
    checks.push(
      ...(await checkSecrets(holdfast)),
      ...(await probeTargets(holdfast, context.signal)),
      ...(await checkRepositories(holdfast)),
      ...(await checkReceivers(context, opened)),
    );
    checks.push(...(await checkClock(context, holdfast)));
  }
  checks.push(...(await checkTools(context)));
  const failures = checks.filter(({ status }) => status === "failed").length;
  if (context.json) await context.printJson({ checks: checks.map((check) => ({ ...check, hint: check.hint ?? null })) });
  else {
    await context.print(renderChecks(checks, context.colors("stdout"), context.quiet));
    await context.note(failures === 0 ? "Everything that was tested works." : `${plural(failures, "test")} failed.`);
  }
  return failures === 0 ? 0 : FAILED;
}

const WORDS = { ok: "ok", warning: "warning", failed: "FAILED" } as const;
const COLORS = { ok: 32, warning: 33, failed: 31 } as const;

/** One line a check, and one with what to do where something is wrong; `quiet` leaves out what is well. */
export function renderChecks(checks: readonly Check[], colors: boolean, quiet: boolean): string {
  return checks
    .filter(({ status }) => !quiet || status !== "ok")
    .map(({ area, name, status, message, hint }) => {
      const word = WORDS[status].padEnd(8);
      const shown = colors ? `\u001b[${COLORS[status]}m${word}\u001b[0m` : word;
      return `${shown} ${area} ${safe(name)}: ${safe(message)}\n${hint === undefined ? "" : `         → ${safe(hint)}\n`}`;
    })
    .join("");
}
