import { isAlias, isMap, isScalar, isSeq } from "yaml";
import type { Node, Scalar, YAMLMap } from "yaml";
import { interpolate, retype } from "./interpolate.ts";
import { isMasked, isMergeKey, keyText, pathOf } from "./source-file.ts";
import type { ProblemList, SourceFile, Span } from "./source-file.ts";

/** JSON values; maps have no prototype, so that no key is special. */
export type Value = null | boolean | number | string | Value[] | ValueMap;
export type ValueMap = { [key: string]: Value };

/** Where a value stands, by JSON pointer. */
export interface Spot {
  readonly key: Span | undefined;
  readonly value: Span;
  /** `jobs.documents.targets[1]` */
  readonly path: string;
  /** How messages may quote a scalar: as it is written, never expanded, `***` for a secret. */
  readonly quote: string | undefined;
  /** True when the scalar is nothing but one variable without a default: its value is not in the file. */
  readonly variable: boolean;
  /** True when a variable in it could not be expanded, which was reported: its value means nothing. */
  readonly broken: boolean;
}

export type Places = Map<string, Spot>;

/** Nodes that aliases may expand to, over all files: a bomb stops here. */
const MAX_NODES = 100_000;

const HEADERS = /^\/webhooks\/[^/]+\/headers$/;

export const pointerOf = (parent: string, key: string | number): string =>
  `${parent}/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`;

export function isValueMap(value: unknown): value is ValueMap {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Turns one parsed file into values: aliases and `<<` followed, variables expanded, `x-*` dropped, each place noted. */
export function evaluateFile(
  file: SourceFile,
  env: Readonly<Record<string, string | undefined>>,
  problems: ProblemList,
): { value: Value | undefined; places: Places } {
  const places: Places = new Map();
  const evaluation = new Evaluation(file, env, problems, places);
  if (file.root === undefined) return { value: undefined, places };
  try {
    return { value: evaluation.value(file.root, "", "", undefined), places };
  } catch (error) {
    if (!(error instanceof ExpansionLimit)) throw error;
    problems.error("yaml_limit", error.span, error.path, error.message, {
      suggestion: "use fewer or smaller aliases",
    });
    return { value: undefined, places };
  }
}

class ExpansionLimit extends Error {
  readonly span: Span;
  readonly path: string;

  constructor(message: string, span: Span, path: string) {
    super(message);
    this.span = span;
    this.path = path;
  }
}

class Evaluation {
  readonly #file: SourceFile;
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #problems: ProblemList;
  readonly #places: Places;
  readonly #open = new Set<Node>();
  /** Nodes whose faults were reported: an alias must not report them again. */
  readonly #reported = new Set<Node>();
  #nodes = 0;

  constructor(file: SourceFile, env: Readonly<Record<string, string | undefined>>, problems: ProblemList, places: Places) {
    this.#file = file;
    this.#env = env;
    this.#problems = problems;
    this.#places = places;
  }

  value(node: Node | null, pointer: string, path: string, key: Span | undefined): Value {
    const target = this.#follow(node, path);
    if (target !== null && ++this.#nodes > MAX_NODES)
      throw new ExpansionLimit(`more than ${MAX_NODES} values, counting what aliases stand for`, this.#span(node, key), path);
    if (isScalar(target)) return this.#scalar(target, pointer, path, key);
    const spot = { key, value: this.#span(target, key), path, quote: undefined, variable: false, broken: false };
    this.#places.set(pointer, spot);
    if (target === null) return null;
    if (this.#open.has(target) || this.#open.size > 100)
      throw new ExpansionLimit("an alias stands inside what it stands for", this.#span(node, key), path);
    this.#open.add(target);
    try {
      if (isSeq(target))
        return target.items.map((item, index) =>
          this.value(item as Node | null, pointerOf(pointer, index), `${path}[${index}]`, undefined),
        );
      const result = Object.create(null) as ValueMap;
      if (isMap(target)) this.#fill(result, target, pointer, path);
      return result;
    } finally {
      this.#open.delete(target);
    }
  }

  #follow(node: Node | null, path: string): Node | null {
    if (!isAlias(node)) return node;
    const target = this.#file.aliases.get(node);
    if (target === undefined) throw new ExpansionLimit("the alias has no anchor", this.#span(node, undefined), path);
    return target;
  }

  /** Adds what `map` gives and `result` does not have yet; its own keys come before those it merges. */
  #fill(result: ValueMap, map: YAMLMap, pointer: string, path: string): void {
    for (const item of map.items) {
      if (!isScalar(item.key) || isMergeKey(item.key)) continue;
      const name = keyText(item.key);
      // Headers are named by others, and many of theirs begin so.
      if (name.startsWith("x-") && !HEADERS.test(pointer)) continue;
      const value = item.value as Node | null;
      if (!(name in result))
        result[name] = this.value(value, pointerOf(pointer, name), pathOf(path, name), this.#span(item.key, undefined));
      else {
        // Given twice, which was reported: what both hold is looked at, so that nothing else seems to be missing.
        const target = this.#follow(value, path);
        const first = result[name];
        if (isMap(target) && isValueMap(first) && !this.#open.has(target)) {
          this.#open.add(target);
          this.#fill(first, target, pointerOf(pointer, name), pathOf(path, name));
          this.#open.delete(target);
        }
      }
    }
    for (const item of map.items)
      if (isScalar(item.key) && isMergeKey(item.key))
        this.#merge(result, item.value as Node | null, pointer, path, this.#span(item.key, undefined));
  }

  #merge(result: ValueMap, node: Node | null, pointer: string, path: string, key: Span): void {
    if (++this.#nodes > MAX_NODES)
      throw new ExpansionLimit(`more than ${MAX_NODES} values, counting what aliases stand for`, key, path);
    const target = this.#follow(node, path);
    if (target !== null && this.#open.has(target))
      throw new ExpansionLimit("an alias stands inside what it stands for", key, path);
    if (target !== null) this.#open.add(target);
    if (isMap(target)) this.#fill(result, target, pointer, path);
    else if (isSeq(target)) for (const item of target.items) this.#merge(result, item as Node | null, pointer, path, key);
    else
      this.#problems.error("wrong_type", key, path, "<< takes a map, or a list of maps", {
        expected: "an alias such as *common",
      });
    if (target !== null) this.#open.delete(target);
  }

  #scalar(node: Scalar, pointer: string, path: string, key: Span | undefined): Value {
    const value = this.#span(node, key);
    const written = writtenOf(node, this.#file);
    const shown = written.length > 60 ? `${written.slice(0, 57)}…` : written;
    const masked = isMasked(value);
    const place = { key, value, path, quote: masked ? "***" : shown };
    if (typeof node.value !== "string") {
      this.#places.set(pointer, { ...place, variable: false, broken: false });
      return typeof node.value === "number" || typeof node.value === "boolean" ? node.value : null;
    }
    const result = interpolate(node.value, this.#env);
    this.#places.set(pointer, {
      ...place,
      variable: result.whole && !node.value.includes(":-"),
      broken: result.faults.length > 0,
    });
    if (!this.#reported.has(node))
      for (const fault of result.faults)
        this.#problems.error(fault.code, value, path, masked ? fault.message.replaceAll(node.value, "***") : fault.message, {
          suggestion: fault.suggestion,
        });
    this.#reported.add(node);
    return node.type === "PLAIN" && result.whole ? retype(result.text) : result.text;
  }

  #span(node: Node | null, otherwise: Span | undefined): Span {
    const range = node?.range;
    if (range && range[1] > range[0]) return { file: this.#file, start: range[0], end: range[1] };
    return otherwise ?? { file: this.#file, start: range?.[0] ?? 0, end: (range?.[0] ?? 0) + 1 };
  }
}

/** A scalar as it stands in the file, quotes included; block scalars by their value. */
function writtenOf(node: Scalar, file: SourceFile): string {
  if (!node.range || node.type === "BLOCK_FOLDED" || node.type === "BLOCK_LITERAL") return String(node.value);
  return file.text.slice(node.range[0], node.range[1]);
}
