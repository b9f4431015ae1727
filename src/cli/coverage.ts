/** Whether the files sources of a configuration hold a path, or what keeps them from it. */
import { closeSync, existsSync, lstatSync, openSync, readSync, type Stats } from "node:fs";
import { dirname, relative, sep } from "node:path";
import { compileExclude, formatSize, nameText, type Config, type JobConfig, type SourceConfig } from "../index.ts";

type FilesSource = Extract<SourceConfig, { type: "files" }>;

export interface Coverage {
  readonly source: string;
  /** Jobs that back the source up. */
  readonly jobs: readonly JobConfig[];
  /** Undefined: the path is protected. Else why not, for people, and where the rule stands. */
  readonly excluded: { readonly why: string; readonly place: string | undefined } | undefined;
}

/** What each files source whose paths hold `path` (absolute, normalised) does with it. */
export function coverageOf(config: Config, path: string): Coverage[] {
  const found: Coverage[] = [];
  for (const source of config.sources.values()) {
    if (source.type !== "files") continue;
    const root = source.paths.filter((one) => isInside(path, one)).toSorted((a, b) => b.length - a.length)[0];
    if (root === undefined) continue;
    const jobs = [...config.jobs.values()].filter(({ sources }) => sources.includes(source));
    found.push({ source: source.name, jobs, excluded: exclusion(source, root, path) });
  }
  return found;
}

/** Configured paths below `path`: it is only the way to them. */
export function pathsBelow(config: Config, path: string): { readonly source: string; readonly path: string }[] {
  return [...config.sources.values()].flatMap((source) =>
    source.type === "files"
      ? source.paths.filter((one) => one !== path && isInside(one, path)).map((one) => ({ source: source.name, path: one }))
      : [],
  );
}

export function isInside(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === "/" ? "/" : `${folder}/`);
}

function exclusion(source: FilesSource, root: string, path: string): Coverage["excluded"] {
  const stat = statOf(path);
  const rules = compileExclude(source.exclude);
  const below = relative(root, path)
    .split(sep)
    .filter((part) => part !== "")
    .map((part) => nameText(Buffer.from(part).toString("latin1")));
  for (let depth = 1; rules !== undefined && depth <= below.length; depth++) {
    // Every folder on the way is asked first: what is below an excluded one is never looked at.
    const isFolder = depth < below.length || stat?.isDirectory() === true;
    const index = rules.match(below.slice(0, depth).join("/"), isFolder);
    if (index < 0) continue;
    const place = source.excludePlaces[index];
    return {
      why: `the rule ${JSON.stringify(source.exclude[index])} excludes it`,
      place: place && `${place.file}:${place.line}`,
    };
  }
  for (let folder = dirname(path); isInside(folder, root); folder = dirname(folder)) {
    const marker = source.excludeIfPresent.find((name) => isMarked(folder, name));
    if (marker !== undefined) return { why: `${folder} holds ${marker} (excludeIfPresent)`, place: undefined };
    if (folder === root || folder === "/") break;
  }
  if (stat?.isFile() === true && source.excludeLargerThanBytes !== undefined && stat.size > source.excludeLargerThanBytes)
    return {
      why: `it has ${formatSize(stat.size)}, more than excludeLargerThan (${formatSize(source.excludeLargerThanBytes)})`,
      place: undefined,
    };
  const top = statOf(root);
  if (source.oneFileSystem && stat !== undefined && top !== undefined && stat.dev !== top.dev && path !== root)
    return { why: `it lies on another file system than ${root} (oneFileSystem)`, place: undefined };
  for (let folder = dirname(path); isInside(folder, root); folder = dirname(folder)) {
    if (statOf(folder)?.isSymbolicLink() === true)
      return { why: `${folder} is a symbolic link: only the link is saved`, place: undefined };
    if (folder === root || folder === "/") break;
  }
  return undefined;
}

function statOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

const CACHE_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55";

/** `CACHEDIR.TAG` counts only with its signature, as its standard has it. */
function isMarked(folder: string, name: string): boolean {
  const path = `${folder}/${name}`;
  if (name !== "CACHEDIR.TAG") return existsSync(path);
  try {
    const fd = openSync(path, "r");
    try {
      const start = Buffer.alloc(CACHE_SIGNATURE.length);
      return readSync(fd, start, 0, start.length, 0) === start.length && start.toString("latin1") === CACHE_SIGNATURE;
    } finally {
      closeSync(fd);
    }
  } catch {
    return false;
  }
}
