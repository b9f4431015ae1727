import { renderProblems } from "../../index.ts";
import { checkHooks, checkReceivers, checkRepositories, checkSecrets, checkSources, type Check } from "../checks.ts";
import type { Context } from "../context.ts";
import { plural } from "../format.ts";
import { renderChecks } from "./doctor.ts";

const INVALID = 2;
const FAILED = 1;

export async function validate(
  context: Context,
  flags: { readonly strict?: boolean; readonly online?: boolean },
): Promise<number> {
  const { config, problems, path, texts } = context.readConfig(flags.strict === true);
  const isValid = config !== undefined;
  const checks = isValid && flags.online === true ? await online(context) : [];
  const failures = checks.filter(({ status }) => status === "failed").length;
  if (context.json)
    await context.printJson({
      valid: isValid,
      files: texts.map((one) => one.path),
      problems,
      ...(flags.online === true && { checks }),
    });
  else {
    await context.print(renderProblems(problems, { color: context.colors("stdout") }));
    await context.print(renderChecks(checks, context.colors("stdout"), context.quiet));
    if (config !== undefined && failures === 0)
      await context.note(
        `${path} is valid: ${[
          plural(config.jobs.size, "job"),
          plural(config.sources.size, "source"),
          plural(config.targets.size, "target"),
        ].join(", ")}`,
      );
  }
  return isValid ? (failures > 0 ? FAILED : 0) : INVALID;
}

async function online(context: Context): Promise<Check[]> {
  await using opened = await context.open();
  const { holdfast } = opened;
  return [
    ...(await checkSources(context, holdfast.config)),
    ...(await checkHooks(context, holdfast.config)),
    ...(await checkSecrets(holdfast)),
    ...(await checkRepositories(holdfast)),
    ...(await checkReceivers(context, opened)),
  ];
}
