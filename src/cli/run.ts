import { CommanderError } from "commander";
import { joinOptionalValues } from "./optional-values.ts";
import { buildProgram } from "./program.ts";
import type { Shell } from "./shell.ts";

const USAGE = 2;

/** Runs one command line to its end. Never rejects; returns the exit code. */
export async function runCli(shell: Shell): Promise<number> {
  let code = 0;
  const program = buildProgram(shell, (exitCode) => (code = exitCode));
  try {
    await program.parseAsync(joinOptionalValues(shell.args), { from: "user" });
    return code;
  } catch (thrown) {
    if (thrown instanceof CommanderError) {
      if (thrown.exitCode === 0) return 0;
      if (thrown.code === "commander.help") return USAGE;
      const command = program.commands.find((one) => shell.args.includes(one.name()));
      await reportUsage(shell, thrown, command?.name());
      return USAGE;
    }
    // What a command throws has been reported where its options are known; this is a fault before that.
    await shell.stderr.write(`error: ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}\n`);
    return 1;
  }
}

/** Commander's message in our form: `error:` and `hint:` lines, or a JSON line. */
async function reportUsage(shell: Shell, error: CommanderError, command: string | undefined): Promise<void> {
  const [first = "", ...more] = error.message.replace(/^error: /, "").split("\n");
  const suggestion = more.join(" ").replace(/^\((.*)\)$/, "$1");
  const hint =
    suggestion === "" ? `\`holdfast ${command === undefined ? "" : `${command} `}--help\` shows what it takes.` : suggestion;
  if (shell.args.includes("--json"))
    await shell.stderr.write(`${JSON.stringify({ type: "error", level: "error", code: "usage", message: first, hint })}\n`);
  else await shell.stderr.write(`error: ${first}\nhint: ${hint}\n`);
}
