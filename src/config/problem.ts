/** What is wrong with a configuration, and where. A value: rendering is `renderProblems`. */
export interface Problem {
  /** An error means there is no Config; a warning is an error under `--strict`. */
  readonly severity: "error" | "warning";
  readonly code: ProblemCode;
  readonly file: string;
  /** Lines and columns count from 1, in UTF-16 units; `endColumn` is the first column after, on the same line. */
  readonly line: number;
  readonly column: number;
  readonly endColumn: number;
  /** `jobs.documents.targets[1]`; empty for the file itself. */
  readonly path: string;
  readonly message: string;
  /** What would have been right. */
  readonly expected?: string | undefined;
  /** `did you mean "x"?`, or what to do. */
  readonly suggestion?: string | undefined;
  /** The line, with secrets masked by as many `*`. */
  readonly excerpt: string;
}

export type ProblemCode =
  | "yaml_syntax"
  | "yaml_limit"
  | "yaml_tag"
  | "yaml_documents"
  | "duplicate_key"
  | "duplicate_name"
  | "include_missing"
  | "include_unreadable"
  | "version_missing"
  | "version_unknown"
  | "variable_unset"
  | "variable_malformed"
  | "unknown_key"
  | "unknown_type"
  | "unknown_name"
  | "missing_key"
  | "conflicting_keys"
  | "wrong_type"
  | "wrong_value"
  | "bad_name"
  | "bad_size"
  | "bad_duration"
  | "bad_percent"
  | "bad_cron"
  | "bad_time"
  | "bad_window"
  | "bad_timezone"
  | "cron_never_fires"
  | "keeps_nothing"
  | "same_path"
  | "path_inside"
  | "encryption_missing"
  | "mode_unsupported"
  | "objective_unreachable"
  | "objective_tight"
  | "plain_secret"
  | "no_schedule"
  | "unused";

const RED = "\u001B[1;31m";
const YELLOW = "\u001B[1;33m";
const BLUE = "\u001B[1;34m";
const BOLD = "\u001B[1m";
const RESET = "\u001B[0m";
const WIDTH = 120;

/** Control and direction-changing characters as `\xNN` or `\u{N}`, so that no file can steer a terminal. */
export function escapeControl(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => {
    const point = character.codePointAt(0)!;
    return point < 0x100 ? `\\x${point.toString(16).padStart(2, "0")}` : `\\u{${point.toString(16)}}`;
  });
}

/** The excerpt and its caret, cut to a window around the place, with tabs as one space. */
function renderExcerpt(problem: Problem): { line: string; caret: string } {
  const flat = problem.excerpt.replaceAll("\t", " ");
  const from = flat.length > WIDTH && problem.column > WIDTH / 2 ? problem.column - 1 - WIDTH / 2 : 0;
  const to = from + WIDTH;
  const before = escapeControl(flat.slice(from, problem.column - 1));
  const marked = escapeControl(flat.slice(problem.column - 1, Math.min(problem.endColumn - 1, to)));
  const after = escapeControl(flat.slice(Math.min(problem.endColumn - 1, to), to));
  const line = `${from > 0 ? "…" : ""}${before}${marked}${after}${flat.length > to ? "…" : ""}`;
  return { line, caret: " ".repeat(before.length + (from > 0 ? 1 : 0)) + "^".repeat(Math.max(1, marked.length)) };
}

/**
 * Problems for people, one after another, each with its place, its line and a caret, and a last line with the counts.
 * Control characters are escaped; with `color` ANSI colours are added. An empty list is an empty string.
 */
export function renderProblems(problems: readonly Problem[], options: { readonly color: boolean }): string {
  if (problems.length === 0) return "";
  const paint = (code: string, text: string): string => (options.color ? code + text + RESET : text);
  const blocks = problems.map((problem) => {
    const head = paint(problem.severity === "error" ? RED : YELLOW, `${problem.severity}[${problem.code}]`);
    const where = problem.path === "" ? "" : ` (${escapeControl(problem.path)})`;
    const margin = " ".repeat(String(problem.line).length);
    const bar = paint(BLUE, "|");
    const excerpt = renderExcerpt(problem);
    const lines = [
      `${head}${paint(BOLD, `: ${escapeControl(problem.message)}`)}`,
      `${margin}${paint(BLUE, "-->")} ${escapeControl(problem.file)}:${problem.line}:${problem.column}${where}`,
      `${margin} ${bar}`,
      `${paint(BLUE, String(problem.line))} ${bar} ${excerpt.line}`,
      `${margin} ${bar} ${paint(problem.severity === "error" ? RED : YELLOW, excerpt.caret)}`,
    ];
    if (problem.expected !== undefined) lines.push(`${margin} ${paint(BLUE, "=")} expected: ${escapeControl(problem.expected)}`);
    if (problem.suggestion !== undefined) lines.push(`${margin} ${paint(BLUE, "=")} help: ${escapeControl(problem.suggestion)}`);
    return lines.map((line) => line.trimEnd()).join("\n");
  });
  const errors = problems.filter((problem) => problem.severity === "error").length;
  const warnings = problems.length - errors;
  const count = (number: number, word: string): string[] => (number === 0 ? [] : [`${number} ${word}${number === 1 ? "" : "s"}`]);
  return `${blocks.join("\n\n")}\n\n${[...count(errors, "error"), ...count(warnings, "warning")].join(", ")}\n`;
}
