import { execFile } from "node:child_process";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { promisify } from "node:util";
import { errnoOf, HoldfastError } from "../base/errors.ts";
import { loadConfig, type LoadInput, type LoadResult } from "../config/load.ts";
import type { Include } from "./last-good.ts";

export interface ConfigSurroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly hostName: string;
  readonly home: string;
  /** True for root: the defaults are then the system's folders. */
  readonly isRoot: boolean;
  readonly timezone: string;
}

/** The places a configuration is looked for, in order. */
export function configCandidates(surroundings: ConfigSurroundings): string[] {
  const { env, cwd, home } = surroundings;
  if (env["HOLDFAST_CONFIG"] !== undefined && env["HOLDFAST_CONFIG"] !== "") return [resolve(cwd, env["HOLDFAST_CONFIG"])];
  const xdg = env["XDG_CONFIG_HOME"] ?? join(home, ".config");
  return [join(cwd, "holdfast.yaml"), join(xdg, "holdfast/config.yaml"), "/etc/holdfast/config.yaml"];
}

/** The configuration file to use: `given`, or the first candidate that exists. Rejects with `config_not_found`. */
export function findConfigFile(given: string | undefined, surroundings: ConfigSurroundings): string {
  if (given !== undefined) return resolve(surroundings.cwd, given);
  const candidates = configCandidates(surroundings);
  const found = candidates.find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new HoldfastError("config_not_found", `There is no configuration: looked for ${candidates.join(", ")}`, {
    hint: "`holdfast init` writes a starter file; or name one with --config.",
  });
}

/** A configuration as it was read, and where a change of it would show. */
export interface ConfigReading extends LoadResult {
  /** The files that were read or looked for, and the folders in which an `include` would find more. Absolute. */
  readonly watched: readonly string[];
  /** What each `include:` entry found. */
  readonly includes: readonly Include[];
}

/** Reads a configuration and what it includes. What is wrong inside is in the result; a file that cannot be read rejects. */
export function readConfigFile(path: string, surroundings: ConfigSurroundings, strict: boolean): ConfigReading {
  const watched = new Set([path]);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const code = errnoOf(error);
    if (code === "ENOENT")
      throw new HoldfastError("config_not_found", `The configuration ${path} does not exist`, {
        hint: "`holdfast init` writes a starter file.",
        cause: error,
      });
    throw new HoldfastError("config_unreadable", `The configuration ${path} cannot be read (${code ?? "unknown error"})`, {
      hint: code === "EISDIR" ? "It is a folder; name the file in it." : "Check its permissions.",
      cause: error,
    });
  }
  const includes: Include[] = [];
  const loaded = loadConfig({
    ...loadInput(path, text, surroundings),
    readInclude: (pattern, fromDir) => {
      const files = readIncludes(pattern, fromDir, watched);
      includes.push({ pattern, fromDir, files });
      return files;
    },
    strict,
  });
  return { ...loaded, watched: [...watched], includes };
}

/** What a configuration's text is read with, besides what it includes. */
export function loadInput(path: string, text: string, surroundings: ConfigSurroundings): Omit<LoadInput, "readInclude"> {
  return { path, text, env: surroundings.env, hostName: surroundings.hostName, defaults: defaultFolders(surroundings) };
}

const GLOB = /[*?[{]/;

function readIncludes(pattern: string, fromDir: string, watched: Set<string>): { path: string; text: string }[] {
  const absolute = isAbsolute(pattern) ? pattern : join(fromDir, pattern);
  const paths = GLOB.test(pattern) ? globSync(absolute).toSorted() : existsSync(absolute) ? [absolute] : [];
  const parts = absolute.split("/");
  const fixed = parts.findIndex((part) => GLOB.test(part));
  watched.add(fixed < 0 ? absolute : parts.slice(0, fixed).join("/") || "/");
  for (const found of paths) watched.add(found).add(dirname(found));
  return paths.map((path) => ({ path, text: readFileSync(path, "utf8") }));
}

/** State and cache: systemd's folders, else the system's for root, else XDG's. */
export function defaultFolders(surroundings: ConfigSurroundings): { stateDir: string; cacheDir: string; timezone: string } {
  const { env, home, isRoot, timezone } = surroundings;
  const folder = (systemd: string, system: string, xdg: string, fallback: string): string =>
    env[systemd]?.split(":")[0] ?? (isRoot ? system : join(env[xdg] ?? join(home, fallback), "holdfast"));
  return {
    stateDir: folder("STATE_DIRECTORY", "/var/lib/holdfast", "XDG_STATE_HOME", ".local/state"),
    cacheDir: folder("CACHE_DIRECTORY", "/var/cache/holdfast", "XDG_CACHE_HOME", ".cache"),
    timezone,
  };
}

/** Commit of the git work tree that holds the configuration, with `-dirty` when the file differs from it; undefined outside of one. */
export async function gitCommitOf(path: string): Promise<string | undefined> {
  const git = async (...args: string[]): Promise<string> =>
    (await promisify(execFile)("git", ["-C", dirname(path), ...args], { timeout: 5000 })).stdout.trim();
  try {
    const commit = await git("rev-parse", "HEAD");
    const tracked = await git("status", "--porcelain", "--", path);
    return tracked === "" ? commit : `${commit}-dirty`;
  } catch {
    return undefined;
  }
}
