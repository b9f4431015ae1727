import { evaluateFile, isValueMap, pointerOf } from "./evaluate.ts";
import type { Places, Spot, Value, ValueMap } from "./evaluate.ts";
import type { LoadInput } from "./load.ts";
import { parseSourceFile, pathOf, placeOf } from "./source-file.ts";
import type { ProblemList, SourceFile } from "./source-file.ts";

/** Sections that are maps by name, and so are merged over files. */
export const NAMED_SECTIONS = ["encryption", "sources", "targets", "schedules", "retention", "jobs", "webhooks"] as const;
const MAX_FILES = 1000;

export interface ConfigText {
  readonly path: string;
  readonly text: string;
}

export interface Gathered {
  readonly root: ValueMap;
  readonly places: Places;
  /** Every file that was read, the main one first. */
  readonly texts: readonly ConfigText[];
  /** False when a file could not be parsed, so that what is missing may stand there. */
  readonly complete: boolean;
}

/** Reads the main file and what it includes, and merges them into one map with one set of places. */
export function gather(input: LoadInput, problems: ProblemList): Gathered {
  const texts: ConfigText[] = [];
  const root = Object.create(null) as ValueMap;
  const places: Places = new Map();
  let complete = true;

  const add = (given: ConfigText): void => {
    if (texts.some(({ path }) => path === given.path)) return;
    texts.push(given);
    const file = parseSourceFile(given.path, given.text, problems);
    const evaluated = evaluateFile(file, input.env, problems);
    const main = texts.length === 1;
    if (main) places.set("", evaluated.places.get("") ?? emptySpot(file));
    if (evaluated.value === undefined && (file.text.trim() !== "" || main)) complete = false;
    if (evaluated.value === undefined && complete) return;
    if (!isValueMap(evaluated.value)) {
      if (evaluated.value !== undefined)
        problems.error("wrong_type", emptySpot(file).value, "", "the file must be a map of sections", {
          expected: "`version: 1`, then sections",
        });
      else if (problems.hasErrors === false)
        problems.error("version_missing", emptySpot(file).value, "", "the file is empty", {
          expected: "`version: 1`, then sections",
        });
      complete = false;
      return;
    }
    checkVersion(evaluated.value, evaluated.places, file, problems);
    merge(evaluated.value, evaluated.places);
    include(evaluated.value["include"], evaluated.places, given.path);
  };

  const take = (section: string, name: string | undefined, from: Places): void => {
    const pointer = name === undefined ? pointerOf("", section) : pointerOf(pointerOf("", section), name);
    for (const [at, spot] of from) if (at === pointer || at.startsWith(`${pointer}/`)) places.set(at, spot);
  };

  const merge = (value: ValueMap, from: Places): void => {
    const main = texts.length === 1;
    for (const [section, content] of Object.entries(value)) {
      if (section === "version" || (section === "include" && !main)) continue;
      const pointer = pointerOf("", section);
      const first = root[section];
      if (!(section in root)) {
        root[section] = content;
        take(section, undefined, from);
      } else if ((NAMED_SECTIONS as readonly string[]).includes(section) && isValueMap(first) && isValueMap(content)) {
        for (const [name, item] of Object.entries(content)) {
          const at = pointerOf(pointer, name);
          if (name in first) reportTwice(places.get(at), from.get(at), pathOf(section, name));
          else {
            first[name] = item;
            take(section, name, from);
          }
        }
      } else reportTwice(places.get(pointer), from.get(pointer), section);
    }
  };

  const reportTwice = (first: Spot | undefined, second: Spot | undefined, path: string): void => {
    if (first === undefined || second === undefined) return;
    const { file, line, column } = placeOf(first.key ?? first.value);
    problems.error(
      "duplicate_name",
      second.key ?? second.value,
      path,
      `${path} is given in two files; first at ${file}:${line}:${column}`,
      {
        suggestion: "rename or remove one of them",
      },
    );
  };

  const include = (patterns: Value | undefined, from: Places, path: string): void => {
    if (!Array.isArray(patterns)) return;
    for (const [index, pattern] of patterns.entries()) {
      const spot = from.get(pointerOf("/include", index));
      if (typeof pattern !== "string" || pattern === "" || spot === undefined || spot.broken) continue;
      let found: readonly ConfigText[];
      try {
        found = input.readInclude(pattern, folderOf(path));
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        problems.error("include_unreadable", spot.value, spot.path, `${spot.quote} cannot be read: ${reason}`);
        complete = false;
        continue;
      }
      if (found.length === 0 && !/[*?[{]/.test(pattern)) {
        problems.error("include_missing", spot.value, spot.path, `there is no file ${spot.quote}`, {
          expected: "a file, relative to the one that names it",
        });
        complete = false;
      }
      if (texts.length + found.length > MAX_FILES) {
        problems.error("yaml_limit", spot.value, spot.path, `more than ${MAX_FILES} files are included`);
        complete = false;
        return;
      }
      for (const file of found) add(file);
    }
  };

  add({ path: input.path, text: input.text });
  return { root, places, texts, complete };
}

/** The folder of an absolute path. */
export function folderOf(path: string): string {
  const end = path.lastIndexOf("/");
  return end <= 0 ? "/" : path.slice(0, end);
}

function emptySpot(file: SourceFile): Spot {
  return { key: undefined, value: { file, start: 0, end: 1 }, path: "", quote: undefined, variable: false, broken: false };
}

function checkVersion(value: ValueMap, places: Places, file: SourceFile, problems: ProblemList): void {
  const spot = places.get("/version");
  if (spot === undefined) {
    problems.error("version_missing", emptySpot(file).value, "version", "the file has no `version`", {
      expected: "`version: 1`",
      suggestion: "add the line `version: 1`",
    });
  } else if (value["version"] !== 1 && !spot.broken) {
    const newer = typeof value["version"] === "number" && value["version"] > 1;
    problems.error(
      "version_unknown",
      spot.value,
      "version",
      `there is no version ${spot.quote ?? "like this"} of the configuration`,
      {
        expected: "`version: 1`",
        suggestion: newer ? "the file may need a newer Holdfast" : undefined,
      },
    );
  }
}
