import { createHash } from "node:crypto";
import { isAbsolute } from "node:path/posix";
import assert from "node:assert";
import { absolutePath } from "./check-places.ts";
import { checkConfig } from "./check.ts";
import type { Config, Place } from "./config.ts";
import { Draft } from "./draft.ts";
import { isValueMap } from "./evaluate.ts";
import { deepFreeze } from "./frozen.ts";
import { gather } from "./include.ts";
import type { ConfigText } from "./include.ts";
import type { Problem } from "./problem.ts";
import { resolveConfig } from "./resolve.ts";
import type { HoldfastFile } from "./schema-types.ts";
import { ProblemList, placeOf } from "./source-file.ts";
import { validateSchema } from "./validate.ts";

export interface LoadInput {
  /** Absolute path of the main file: what problems name and relative paths are resolved against. */
  readonly path: string;
  readonly text: string;
  /**
   * The files of one `include:` entry, sorted, with absolute paths. `fromDir` is the folder of the file that names it.
   * A glob that matches nothing, or a file that is missing, is an empty list; throws when a file cannot be read.
   */
  readonly readInclude: (globOrPath: string, fromDir: string) => readonly ConfigText[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly hostName: string;
  /** What the file may leave out; absolute paths and an IANA name. */
  readonly defaults: { readonly stateDir: string; readonly cacheDir: string; readonly timezone: string };
  /** Warnings count as errors. */
  readonly strict?: boolean;
}

export interface LoadResult {
  /** Undefined when there is an error among the problems. Frozen. */
  readonly config: Config | undefined;
  /** Everything that is wrong, sorted by place. */
  readonly problems: readonly Problem[];
  /** SHA-256, hex, over the texts of all files in order, each after its length and a colon, before interpolation. */
  readonly digest: string;
  /** Every file that was read, the main one first: to watch, and to keep as the last good. */
  readonly texts: readonly ConfigText[];
  /** The state folder that the files name, absolute, valid or not; undefined when they name none that can be read. */
  readonly stateDir: string | undefined;
  /** Where each value stands, by its path (`sources.documents.exclude[0]`). */
  readonly places: ReadonlyMap<string, Place>;
}

/**
 * Parses, interpolates, validates, resolves and freezes a configuration. Never throws for what is in the files: every
 * mistake is a Problem, all at once, each once. Reads nothing but what `readInclude` gives; secrets stay references.
 */
export function loadConfig(input: LoadInput): LoadResult {
  assert(isAbsolute(input.path), "the path of a configuration must be absolute");
  const problems = new ProblemList(input.strict === true);
  const { root, places, texts, complete } = gather(input, problems);
  const digest = digestOf(texts);
  const spots = new Map(
    [...places.values()].filter((spot) => spot.path !== "").map((spot) => [spot.path, placeOf(spot.key ?? spot.value)]),
  );
  const draft = new Draft(Object.assign(root, { version: 1 }), places, problems);
  const result = (config: Config | undefined): LoadResult => ({
    config,
    problems: problems.sorted(),
    digest,
    texts,
    stateDir: stateDirOf(draft),
    places: spots,
  });
  validateSchema(draft);
  // What is not there may stand in the file that could not be read: nothing can be said of names then.
  if (!complete) return result(undefined);
  checkConfig(draft, input);
  if (problems.hasErrors) return result(undefined);
  return result(deepFreeze(resolveConfig(draft.root as unknown as HoldfastFile, draft, input, digest)));
}

function stateDirOf(draft: Draft): string | undefined {
  const { daemon } = draft.root;
  const stated = isValueMap(daemon) ? daemon["stateDir"] : undefined;
  return typeof stated === "string" ? absolutePath(draft, "/daemon/stateDir", stated) : undefined;
}

function digestOf(texts: readonly ConfigText[]): string {
  const hash = createHash("sha256");
  for (const { text } of texts) hash.update(`${Buffer.byteLength(text)}:${text}`);
  return hash.digest("hex");
}
