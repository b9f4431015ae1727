/** gitignore rules over raw names. */
import { isUtf8 } from "node:buffer";
import ignore from "ignore";

/** Rules compiled for one walk. */
export interface ExcludeRules {
  /**
   * Index of the pattern that excludes an entry, or -1. `relative` is the entry's path below the configured path, its
   * components through `nameText`, without slashes at the ends. As in git, the last matching rule decides, and what
   * lies below an excluded directory stays excluded.
   */
  match(relative: string, isDirectory: boolean): number;
}

/** The package remembers every path it was asked; starting afresh now and then bounds that memory. */
const REMEMBERED_PATHS = 4096;

/**
 * Compiles patterns, which are single gitignore lines. Undefined when none of them can ever exclude anything (no
 * pattern, or only comments, blanks and re-inclusions), so that a walk without rules pays nothing.
 */
export function compileExclude(patterns: readonly string[]): ExcludeRules | undefined {
  if (!patterns.some(canExclude)) return undefined;
  const compiled = ignore({ ignoreCase: false, allowRelativePaths: true });
  compiled.add(patterns.map((pattern, index) => ({ pattern, mark: String(index) })));
  // Adding a compiled set shares its rules and starts with an empty memory.
  const fresh = (): ReturnType<typeof ignore> => ignore({ ignoreCase: false, allowRelativePaths: true }).add(compiled);
  let current = fresh();
  let asked = 0;
  return {
    match(relative, isDirectory) {
      if (++asked > REMEMBERED_PATHS) {
        asked = 0;
        current = fresh();
      }
      const result = current.test(isDirectory ? `${relative}/` : relative);
      return result.ignored ? Number(result.rule?.mark ?? -1) : -1;
    },
  };
}

function canExclude(pattern: string): boolean {
  return pattern.trim() !== "" && !pattern.startsWith("#") && !pattern.startsWith("!");
}

/**
 * A raw name as text to match: UTF-8 where it is valid, else one character a byte (latin1), so that `caf?` matches a
 * name in either encoding. `latin1` is the same name with one character a byte.
 */
export function nameText(latin1: string): string {
  if (!/[\x80-\xff]/.test(latin1)) return latin1;
  const bytes = Buffer.from(latin1, "latin1");
  return isUtf8(bytes) ? bytes.toString("utf8") : latin1;
}
