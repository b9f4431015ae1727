import { LineCounter, isAlias, isMap, isPair, isScalar, isSeq, parseAllDocuments, visit } from "yaml";
import type { Alias, Document, Node, ParsedNode, Scalar } from "yaml";
import type { Problem, ProblemCode } from "./problem.ts";
import { editDistance } from "./suggest.ts";

/** Larger files are refused. */
const MAX_BYTES = 5 * 2 ** 20;
/** Deeper files are refused: nothing in a configuration needs more, and everything here recurses. */
const MAX_DEPTH = 64;
/** More problems than anyone reads; what comes after is dropped. */
const MAX_PROBLEMS = 1000;
const CORE_TAGS = /^(!|tag:yaml\.org,2002:(str|int|float|bool|null|map|seq))$/;

/** A piece of a file, in UTF-16 offsets. */
export interface Span {
  readonly file: SourceFile;
  readonly start: number;
  readonly end: number;
}

/** One parsed file. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
  readonly lines: LineCounter;
  /** Undefined when the file is empty or could not be parsed. */
  readonly root: ParsedNode | undefined;
  /** What each alias stands for: the newest anchor of its name before it. */
  readonly aliases: ReadonlyMap<Alias, Node>;
  /** Offsets of plain secrets, which no message or excerpt may show. */
  readonly masks: (readonly [number, number])[];
}

export interface ProblemDetails {
  readonly expected?: string | undefined;
  readonly suggestion?: string | undefined;
}

/** Collects problems and turns spans into lines, columns and excerpts. */
export class ProblemList {
  readonly #found: { problem: Problem; order: number }[] = [];
  readonly #files: SourceFile[] = [];
  readonly #strict: boolean;
  #hasErrors = false;

  /** `strict`: warnings are errors. */
  constructor(strict: boolean) {
    this.#strict = strict;
  }

  error(code: ProblemCode, span: Span, path: string, message: string, details: ProblemDetails = {}): void {
    this.#add("error", code, span, path, message, details);
  }

  warning(code: ProblemCode, span: Span, path: string, message: string, details: ProblemDetails = {}): void {
    this.#add(this.#strict ? "error" : "warning", code, span, path, message, details);
  }

  get hasErrors(): boolean {
    return this.#hasErrors;
  }

  /** Sorted by file (in the order they were read), line and column. */
  sorted(): Problem[] {
    const byPlace = this.#found.toSorted(
      (a, b) => a.order - b.order || a.problem.line - b.problem.line || a.problem.column - b.problem.column,
    );
    return byPlace.map(({ problem }) => problem);
  }

  #add(
    severity: Problem["severity"],
    code: ProblemCode,
    span: Span,
    path: string,
    message: string,
    details: ProblemDetails,
  ): void {
    if (severity === "error") this.#hasErrors = true;
    if (this.#found.length >= MAX_PROBLEMS) return;
    if (!this.#files.includes(span.file)) this.#files.push(span.file);
    const { file } = span;
    const { line, column } = placeOf(span);
    const lineStart = file.lines.lineStarts[line - 1] ?? 0;
    const lineEnd = file.text.indexOf("\n", lineStart);
    const masked = maskedLine(file, lineStart, lineEnd < 0 ? file.text.length : lineEnd);
    const endColumn = Math.max(column + 1, Math.min(span.end - lineStart + 1, masked.length + 1));
    const problem: Problem = {
      severity,
      code,
      file: file.path,
      line,
      column,
      endColumn,
      path,
      message,
      ...details,
      excerpt: masked,
    };
    this.#found.push({ problem, order: this.#files.indexOf(file) });
  }
}

/** Line and column of a span's start, from 1. */
export function placeOf(span: Span): { file: string; line: number; column: number } {
  const position = span.file.lines.linePos(span.start);
  return { file: span.file.path, line: Math.max(1, position.line), column: Math.max(1, position.col) };
}

/** True when the span lies in a plain secret. */
export function isMasked(span: Span): boolean {
  return span.file.masks.some(([start, end]) => span.start < end && span.end > start);
}

function maskedLine(file: SourceFile, start: number, end: number): string {
  let line = file.text.slice(start, end).replace(/\r$/, "");
  for (const [from, to] of file.masks) {
    const first = Math.max(from - start, 0);
    const last = Math.min(to - start, line.length);
    if (first < last) line = line.slice(0, first) + "*".repeat(last - first) + line.slice(last);
  }
  return line;
}

/** The whole text of a file, with what may be a plain secret as `*`. */
export function maskedText(path: string, text: string): string {
  const file = parseSourceFile(path, text, new ProblemList(false));
  return maskedLine(file, 0, text.length);
}

/** Parses YAML 1.2 and reports what is refused: syntax, limits, tags, documents, duplicate and strange keys. */
export function parseSourceFile(path: string, text: string, problems: ProblemList): SourceFile {
  const lines = new LineCounter();
  const masks: [number, number][] = [];
  const aliases = new Map<Alias, Node>();
  const file = { path, text, lines, root: undefined as ParsedNode | undefined, aliases, masks };
  const start = { file, start: 0, end: 1 };
  if (Buffer.byteLength(text) > MAX_BYTES) {
    lines.addNewLine(0);
    problems.error("yaml_limit", { ...start, file: { ...file, text: "" } }, "", `the file is larger than 5 MiB`, {
      suggestion: "move parts of it into files named by include",
    });
    return file;
  }
  const document = parse(file, problems);
  if (lines.lineStarts.length === 0) lines.addNewLine(0);
  if (document === undefined) return file;
  if (document.errors.length > 0) maskByText(text, masks);
  // Only the first: what follows a syntax error is mostly its consequence.
  const [error] = document.errors;
  if (error !== undefined) {
    const span = { file, start: error.pos[0], end: error.pos[1] };
    const inFlow = /[{[,:]\s*\$\{/.test(text.slice(text.lastIndexOf("\n", span.start) + 1, span.end));
    const suggestion = inFlow ? 'inside { } and [ ] a variable needs quotes: "${NAME}"' : undefined;
    problems.error("yaml_syntax", span, "", `not valid YAML: ${error.message}`, { suggestion });
  }
  if (document.contents === null) return file;
  if (!inspect(document, file, masks, aliases, problems) || document.errors.length > 0) return file;
  file.root = document.contents;
  return file;
}

/** Nesting that no real file comes near, seen without parsing: brackets left open, or markers one after another. */
function isDeepAsText(text: string): boolean {
  if (/(?:[-?:] ){500}/.test(text)) return true;
  let open = 0;
  for (const [bracket] of text.matchAll(/[[\]{}]/g)) {
    open = bracket === "[" || bracket === "{" ? open + 1 : Math.max(0, open - 1);
    if (open > 1000) return true;
  }
  return false;
}

function parse(file: SourceFile, problems: ProblemList): Document.Parsed | undefined {
  const whole = { file, start: 0, end: 1 };
  // The parser recurses and has no limit of its own, and takes long before it gives up.
  if (isDeepAsText(file.text)) {
    problems.error("yaml_limit", whole, "", `the file nests deeper than ${MAX_DEPTH} levels`);
    return undefined;
  }
  try {
    const options = { version: "1.2", schema: "core", uniqueKeys: false, prettyErrors: false, logLevel: "silent" } as const;
    const documents = parseAllDocuments(file.text, { ...options, lineCounter: file.lines });
    if (!Array.isArray(documents)) return undefined;
    for (const document of documents) {
      const { yaml } = document.directives;
      if (yaml.explicit && yaml.version !== "1.2") {
        problems.error("yaml_syntax", whole, "", `the file asks for YAML ${yaml.version}`, { expected: "YAML 1.2" });
        return undefined;
      }
    }
    const second = documents[1];
    if (second !== undefined) {
      const at = second.range[0];
      problems.error("yaml_documents", { file, start: at, end: at + 1 }, "", "the file holds several YAML documents", {
        suggestion: "split it into files named by include",
      });
    }
    return documents[0] as Document.Parsed;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    problems.error("yaml_limit", whole, "", `the file nests deeper than ${MAX_DEPTH} levels`);
    return undefined;
  }
}

/** One walk over the tree as written: tags, keys, anchors, secrets. False when it is too deep, or names what is not there, so that its values cannot be made. */
function inspect(
  document: Document.Parsed,
  file: SourceFile,
  masks: [number, number][],
  aliases: Map<Alias, Node>,
  problems: ProblemList,
): boolean {
  const anchors = new Map<string, Node>();
  const spanOf = (node: Node): Span => ({ file, start: node.range?.[0] ?? 0, end: node.range?.[1] ?? 0 });
  let deep: Node | undefined;
  let lost = false;
  const onNode = (node: Node, path: readonly unknown[]): boolean => {
    if (path.length > MAX_DEPTH * 2) deep ??= node;
    if (node.tag !== undefined && !CORE_TAGS.test(node.tag))
      problems.error("yaml_tag", spanOf(node), writtenPath([...path, node]), `the tag ${node.tag} is not allowed`, {
        expected: "plain YAML without custom tags",
      });
    if ("anchor" in node && typeof node.anchor === "string" && node.anchor !== "") anchors.set(node.anchor, node);
    return deep === undefined;
  };
  visit(document, {
    Scalar: (_, node, path) => (onNode(node, path) ? undefined : visit.BREAK),
    Seq: (_, node, path) => (onNode(node, path) ? undefined : visit.BREAK),
    Map: (_, node, path) => {
      if (!onNode(node, path)) return visit.BREAK;
      const seen = new Map<string, Node>();
      for (const { key, value } of node.items) {
        if (!isScalar(key)) {
          problems.error("wrong_type", spanOf((key ?? node) as Node), writtenPath([...path, node]), "a key must be plain text", {
            expected: "a name",
          });
          continue;
        }
        const name = keyText(key);
        if (isSecretKey(name)) maskScalars(value, masks, anchors, name === "tokens" ? TOKEN_KEYS : REFERENCE_KEYS);
        const first = seen.get(name);
        if (first === undefined) seen.set(name, key);
        else if (!isMergeKey(key)) {
          const { line, column } = placeOf(spanOf(first));
          problems.error(
            "duplicate_key",
            spanOf(key),
            pathOf(writtenPath([...path, node]), name),
            `the key "${name}" is given twice; first at line ${line}, column ${column}`,
            {
              suggestion: "remove one of them, or merge them",
            },
          );
        }
      }
      return undefined;
    },
    Alias: (_, node, path) => {
      const target = anchors.get(node.source);
      if (target === undefined) {
        lost = true;
        problems.error(
          "yaml_syntax",
          spanOf(node),
          writtenPath([...path, node]),
          `the alias *${node.source} has no anchor before it`,
        );
      } else aliases.set(node, target);
    },
  });
  if (deep === undefined) return !lost;
  problems.error("yaml_limit", spanOf(deep), "", `the file nests deeper than ${MAX_DEPTH} levels`);
  return false;
}

/** The path of the last of these nodes, each of which lies in the one before, as they are written. */
function writtenPath(around: readonly unknown[]): string {
  let path = "";
  for (const [index, node] of around.entries()) {
    const inner = around[index + 1];
    if (isPair(node) && isScalar(node.key)) path = pathOf(path, keyText(node.key));
    else if (isSeq(node)) path += `[${node.items.indexOf(inner)}]`;
  }
  return path;
}

/** `parent.key`, or `parent["a key"]`. */
export function pathOf(parent: string, key: string): string {
  if (!/^[\w-]+$/.test(key)) return `${parent}[${JSON.stringify(key)}]`;
  return parent === "" ? key : `${parent}.${key}`;
}

/** The key as text: `1:` and `true:` are names too. */
export function keyText(key: Scalar): string {
  if (typeof key.value === "string") return key.value;
  return key.source ?? String(key.value);
}

export function isMergeKey(key: Scalar): boolean {
  return key.type === "PLAIN" && key.source === "<<";
}

const SECRET_KEYS = ["password", "previous"];
/** Aliases are followed once: what they lead to was masked, or is no secret. */
const NO_ANCHORS: ReadonlyMap<string, Node> = new Map();
const REFERENCE_KEYS: ReadonlySet<string> = new Set(["file", "env", "command", "credential"]);
/** Of an entry of `tokens` only the token is secret. */
const TOKEN_KEYS: ReadonlySet<string> = new Set([...REFERENCE_KEYS, "name", "role"]);

/** Keys whose value may be a secret, slips of the finger and what other tools call it included. The path of a URL may be one. */
function isSecretKey(key: string): boolean {
  const name = key.toLowerCase();
  if (name === "url" || name === "headers") return true;
  return /passw|passphrase|^pass$|secret|token/.test(name) || SECRET_KEYS.some((secret) => editDistance(name, secret, 2) <= 2);
}

function maskScalars(
  value: unknown,
  masks: [number, number][],
  anchors: ReadonlyMap<string, Node>,
  open: ReadonlySet<string>,
): void {
  const node = isAlias(value) ? anchors.get(value.source) : value;
  const next = isAlias(value) ? NO_ANCHORS : anchors;
  if (isScalar(node) && node.range) masks.push([node.range[0], node.range[1]]);
  else if (isSeq(node)) for (const item of node.items) maskScalars(item, masks, next, open);
  else if (isMap(node))
    for (const { key, value: item } of node.items)
      if (!isScalar(key) || !open.has(keyText(key))) maskScalars(item, masks, next, open);
}

/** A second net, for files whose syntax hides the keys from the first: one-line scalars after something like `password:`. */
function maskByText(text: string, masks: [number, number][]): void {
  for (const match of text.matchAll(
    /(?:\bpass|passw|passphrase|secret|token|authorization|\burl|\bprevious)\w{0,30}["']?[ \t]*:[ \t]+(?![{[&*|>\s]|\$\{)([^\n#]+)/gi,
  )) {
    const start = match.index + match[0].length - match[1]!.length;
    masks.push([start, start + match[1]!.trimEnd().length]);
  }
}
