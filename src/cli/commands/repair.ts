import { HoldfastError } from "../../index.ts";
import type { Context } from "../context.ts";
import { exitCodeOf, outcomeJson, reportOutcome } from "../outcome.ts";
import { Reporter } from "../reporter.ts";

export async function repair(context: Context, flags: { readonly index?: boolean }): Promise<number> {
  await using reporter = new Reporter(context);
  await using opened = await context.open(reporter.listener);
  const { holdfast } = opened;
  const { open, closed } = await holdfast.session.stores();
  let code = 0;
  for (const { target, error } of closed) {
    // A target without a repository has nothing to repair.
    if (error.code === "repository_missing") continue;
    await context.fail(
      new HoldfastError(error.code, `Target ${target.name} is not repaired: ${error.message}`, { hint: error.hint }),
    );
    code = exitCodeOf({ status: "failed", error });
  }
  for (const store of open) {
    const outcome = await holdfast.repair(store.name, {
      index: flags.index === true,
      readData: flags.index !== true,
      signal: context.signal,
    });
    await reporter.end();
    if (context.json)
      await context.printLine("summary", {
        command: "repair",
        target: store.name,
        ...outcomeJson(outcome),
        report: outcome.result,
      });
    else {
      if (!context.quiet && outcome.result !== undefined)
        await context.print(
          outcome.result.actions.length === 0
            ? `target ${store.name}: nothing had to be repaired\n`
            : `target ${store.name}: repaired\n`,
        );
      await reportOutcome(context, `The repair of target ${store.name}`, outcome);
    }
    code = Math.max(code, exitCodeOf(outcome));
  }
  return code;
}
