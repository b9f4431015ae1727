import { closeSync, fsyncSync, mkdirSync, openSync, writeSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { errnoOf, generateKeyFile, HoldfastError, readConfigFile, starterConfig, systemRandom } from "../../index.ts";
import type { Context } from "../context.ts";
import { safe } from "../format.ts";

/** Where a new configuration keeps its key and its first repository, beside itself. */
const FOLDER = "holdfast";

export async function init(context: Context, file: string): Promise<void> {
  const path = resolve(context.shell.cwd, context.options.config ?? file);
  const folder = dirname(path);
  const keyPath = `./${FOLDER}/key`;
  const repositoryPath = `./${FOLDER}/repository`;
  const text = starterConfig({ host: context.shell.hostName, sourcePath: sourceFor(context), repositoryPath, keyPath });
  create(path, text);
  const madeKey = await generateKeyFile(join(folder, keyPath), systemRandom);
  // What is written must work: anything else is a fault in the program, and better told here than tomorrow.
  const { config, problems } = readConfigFile(path, context.surroundings(), true);
  if (config === undefined)
    throw new HoldfastError("internal", `The starter configuration is not valid: ${problems[0]?.message}`);
  if (context.json) {
    await context.printJson({
      config: path,
      key: join(folder, keyPath),
      keyGenerated: madeKey,
      repository: join(folder, repositoryPath),
    });
    return;
  }
  const shown = relative(context.shell.cwd, path) || basename(path);
  const option = shown === "holdfast.yaml" ? "" : ` -c ${shown}`;
  await context.note(`Wrote ${safe(shown)}${madeKey ? `, and a new key in ${safe(join(relative(context.shell.cwd, folder), keyPath))} (mode 0600)` : "; the key that was there stays"}.
Keep a copy of the key on another machine or on paper: without it nothing can be restored.

Next:
  1. edit ${safe(shown)}: what to protect (sources) and where copies live (targets)
  2. holdfast validate${option}     is it right?
  3. holdfast plan${option}         what would happen?
  4. holdfast apply${option}        create the repository, take the first snapshot
  5. holdfast daemon${option}       and go on by schedule`);
}

function sourceFor(context: Context): string {
  const { home, cwd } = context.shell;
  // The repository lies beside the configuration: a source that holds both would back up its own backup.
  return relative(home, cwd).startsWith("..") ? home : join(home, "Documents");
}

function create(path: string, text: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    const fd = openSync(path, "wx", 0o600);
    writeSync(fd, text);
    fsyncSync(fd);
    closeSync(fd);
  } catch (error) {
    const code = errnoOf(error);
    if (code === "EEXIST")
      throw new HoldfastError("usage", `${path} already exists`, {
        hint: "Nothing was changed. Name another file: holdfast init FILE.",
        cause: error,
      });
    throw new HoldfastError("config_unreadable", `${path} cannot be written (${code ?? "unknown error"})`, {
      hint: "Check its folder and its permissions.",
      cause: error,
    });
  }
}
