import { existsSync, globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadConfig } from "../../src/config/load.ts";
import type { LoadInput, LoadResult } from "../../src/config/load.ts";
import type { Problem } from "../../src/config/problem.ts";

export const FIXTURES = fileURLToPath(new URL("./fixtures/", import.meta.url));
const DEFAULTS = { stateDir: "/state", cacheDir: "/cache", timezone: "UTC" };

export interface LoadSettings {
  readonly readInclude?: LoadInput["readInclude"];
  readonly env?: Readonly<Record<string, string>>;
  readonly strict?: boolean;
}

function readInclude(pattern: string, fromDir: string): { path: string; text: string }[] {
  const found = /[*?]/.test(pattern) ? globSync(pattern, { cwd: fromDir }).toSorted() : [pattern];
  const paths = found.map((path) => join(fromDir, path)).filter((path) => existsSync(path));
  return paths.map((path) => ({ path, text: readFileSync(path, "utf8") }));
}

/** Loads text as if it stood in /etc/holdfast.yaml, with nothing to include. */
export function loadText(text: string, settings: LoadSettings = {}): LoadResult {
  return loadConfig({
    path: "/etc/holdfast.yaml",
    text,
    readInclude: () => [],
    env: {},
    hostName: "machine",
    defaults: DEFAULTS,
    ...settings,
  });
}

/** Loads a file with its includes. */
export function loadFile(path: string, settings: LoadSettings = {}): LoadResult {
  return loadConfig({
    path,
    text: readFileSync(path, "utf8"),
    readInclude,
    env: {},
    hostName: "machine",
    defaults: DEFAULTS,
    ...settings,
  });
}

/** `line:column code path: message [suggestion]`, for tables. */
export function brief(problem: Problem): string {
  const file = basename(problem.file);
  const help = problem.suggestion === undefined ? "" : ` [${problem.suggestion.replaceAll(FIXTURES, "")}]`;
  const mark = problem.severity === "warning" ? "warning " : "";
  return `${file}:${problem.line}:${problem.column} ${mark}${problem.code} ${problem.path}: ${problem.message.replaceAll(FIXTURES, "")}${help}`;
}
