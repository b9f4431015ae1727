import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { ConfigText } from "../config/include.ts";
import { loadConfig } from "../config/load.ts";
import { defaultFolders, loadInput, type ConfigReading, type ConfigSurroundings } from "./config-file.ts";

const FILE = "last-good.json";

/** A configuration that was in force, as text: nothing in it is expanded, so secrets by reference are not in it. */
interface Record {
  readonly version: 1;
  /** Of the main file. */
  readonly path: string;
  /** ISO 8601. */
  readonly saved: string;
  readonly text: string;
  readonly includes: readonly Include[];
}

/** What one `include:` entry of a file in `fromDir` found. */
export interface Include {
  readonly pattern: string;
  readonly fromDir: string;
  readonly files: readonly ConfigText[];
}

/** A configuration that stands in for one that is not valid. */
export interface LastGood extends ConfigReading {
  readonly config: NonNullable<ConfigReading["config"]>;
  /** ISO 8601: when it came into force. */
  readonly saved: string;
}

/**
 * Keeps a valid configuration's text in the state folder (0600, whole or not at all), so that a daemon that starts on a broken
 * file has one to go on with. Throws what the file system says.
 */
export function saveLastGood(stateDir: string, path: string, reading: ConfigReading, nowMs: number): void {
  const record: Record = {
    version: 1,
    path,
    saved: new Date(nowMs).toISOString(),
    text: reading.texts[0]?.text ?? "",
    includes: reading.includes,
  };
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const temporary = join(stateDir, `${FILE}.new`);
  const descriptor = openSync(temporary, "w", 0o600);
  try {
    writeFileSync(descriptor, JSON.stringify(record));
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  renameSync(temporary, join(stateDir, FILE));
}

/**
 * The last good configuration of the file at `path`, read anew from its kept text, with the environment as it is now.
 * Undefined where none was kept, where it is of another file, or where it is not valid any more.
 */
export function readLastGood(stateDir: string, path: string, surroundings: ConfigSurroundings): LastGood | undefined {
  const record = readRecord(stateDir);
  if (record === undefined || record.path !== path) return undefined;
  const { text, includes, saved } = record;
  const readInclude = (pattern: string, fromDir: string): readonly ConfigText[] =>
    includes.find((each) => each.pattern === pattern && each.fromDir === fromDir)?.files ?? [];
  const { config, ...loaded } = loadConfig({ ...loadInput(path, text, surroundings), readInclude });
  // One of them may be what cannot be read now.
  const included = includes.flatMap(({ files }) => files.map((file) => file.path));
  const watched = [...new Set([path, ...included, ...included.map(dirname)])];
  return config && { ...loaded, config, includes, saved, watched };
}

/**
 * The state folders that a configuration may mean, likeliest first: what it says where it can be parsed, what looks like it in
 * the text where it cannot, and the default.
 */
export function likelyStateDirs(
  path: string,
  stated: string | undefined,
  surroundings: ConfigSurroundings,
): [string, ...string[]] {
  const dirs = [stated];
  if (stated === undefined)
    for (const match of readText(path).matchAll(/\bstateDir["']?\s*:\s*(?:"([^"\n]+)"|'([^'\n]+)'|([^\s,}#"'][^,}#\n]*))/g))
      dirs.push(resolve(dirname(path), (match[1] ?? match[2] ?? match[3] ?? "").trim()));
  const fallback = defaultFolders(surroundings).stateDir;
  const [first = fallback, ...rest] = new Set([...dirs.filter((dir) => dir !== undefined), fallback]);
  return [first, ...rest];
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function readRecord(stateDir: string): Record | undefined {
  try {
    const record = JSON.parse(readFileSync(join(stateDir, FILE), "utf8")) as Partial<Record> | null;
    return record?.version === 1 && typeof record.text === "string" && Array.isArray(record.includes)
      ? (record as Record)
      : undefined;
  } catch {
    return undefined;
  }
}
