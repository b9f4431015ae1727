/**
 * Edits one job, schedule or retention in the text of the configuration. Nothing outside of that item changes by a byte: the
 * new text is spliced in at the places where the parser found the old, and comments, order and style of what stays are kept. The
 * result is read back before it is given: it must say what was asked for, and everything else must say what it said before.
 */
import { isAlias, isMap, isScalar, isSeq } from "yaml";
import type { Node, Pair, YAMLMap, YAMLSeq } from "yaml";
import { HoldfastError } from "../base/errors.ts";
import { isValueMap, type Value, type ValueMap } from "./evaluate.ts";
import { flowText } from "./flow-text.ts";
import type { ConfigText } from "./include.ts";
import { isMergeKey, keyText, parseSourceFile, ProblemList, type SourceFile } from "./source-file.ts";

export const EDITED_SECTIONS = ["jobs", "schedules", "retention"] as const;
export type EditedSection = (typeof EDITED_SECTIONS)[number];

export interface ConfigEdit {
  readonly section: EditedSection;
  readonly name: string;
  /** As it would be written in the file, variables unexpanded. Undefined: it is deleted. */
  readonly value: Value | undefined;
}

/** A file that an edit changes. */
export interface EditedFile {
  readonly path: string;
  readonly before: string;
  /** Equal to `before` when the file says so already. */
  readonly after: string;
  /** The item did not exist. */
  readonly isNew: boolean;
}

/** Deeper values are refused; nothing in a configuration comes near. */
const MAX_DEPTH = 32;
const MAX_VALUES = 100_000;

/**
 * `texts`: every file, the main one first. The item is edited in the file that declares it; a new one goes into the main file.
 * Throws `name_unknown` for a deletion of what is not there, `usage` for a value that no file may hold, and
 * `config_write_refused` where it cannot be done without changing something else, or a file cannot be read as YAML.
 */
export function editConfig(texts: readonly ConfigText[], edit: ConfigEdit): EditedFile {
  if (edit.value !== undefined) checkValue(edit.value);
  const files = texts.map(({ path, text }) => ({ path, text, file: parsed(path, text) }));
  const declaring = files.find(({ file }) => pairOf(sectionOf(file, edit.section), edit.name) !== undefined);
  const chosen = declaring ?? files[0];
  if (chosen === undefined) throw refused("there is no file");
  if (declaring === undefined) {
    const inherited = files.find(({ file }) => Object.hasOwn(mapOf(rawRoot(file)[edit.section]), edit.name));
    if (inherited !== undefined) throw refused(`${edit.section}.${edit.name} stands behind an alias in ${inherited.path}`);
    if (edit.value === undefined)
      throw new HoldfastError("name_unknown", `There is no ${edit.section}.${edit.name} in the configuration`);
  }
  const before = chosen.text;
  const after = splice(before, splicesFor(chosen.file, edit));
  prove(chosen.file, chosen.path, after, edit);
  return { path: chosen.path, before, after, isNew: declaring === undefined };
}

/** The item as it would stand in a file of its own, to be pasted. */
export function pasteText({ section, name, value }: ConfigEdit): string {
  if (value === undefined) return `${section}:\n  # take out: ${name}\n`;
  checkValue(value);
  return `${section}:\n${blockPair(name, value, "  ", "  ", "\n", section === "jobs")}\n`;
}

interface Splice {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

function splice(text: string, splices: readonly Splice[]): string {
  // What is put in comes before what is taken out at the same place.
  const ordered = splices.toSorted((a, b) => a.start - b.start || a.end - b.end);
  let result = "";
  let at = 0;
  for (const { start, end, text: inserted } of ordered) {
    if (start < at) throw refused("it cannot be told apart from what stands beside it");
    result += text.slice(at, start) + inserted;
    at = end;
  }
  return result + text.slice(at);
}

function splicesFor(file: SourceFile, edit: ConfigEdit): Splice[] {
  const { section, name, value } = edit;
  const writer = new Writer(file);
  const { root } = file;
  if (!isMap(root)) throw refused(`${file.path} is not a map of sections`);
  const around = root.items.find(({ key }) => isScalar(key) && keyText(key) === section);
  if (around === undefined) {
    if (value === undefined) return [];
    return writer.append(root, [[section, { [name]: value }]], section);
  }
  const map = around.value as Node | null;
  if (isAlias(map)) throw refused(`${section} is an alias, and other places may mean the same`);
  if (!isMap(map)) {
    if (map !== null && !(isScalar(map) && map.value === null)) throw refused(`${section} is not a map of names`);
    if (value === undefined) return [];
    // Nothing stands there yet.
    return writer.replace(around, { [name]: value }, root.flow === true);
  }
  const pair = pairOf(map, name);
  if (pair === undefined) return value === undefined ? [] : writer.append(map, [[name, value]], section);
  if (value !== undefined) return writer.change(pair, value, map.flow === true);
  return writer.remove(map, around, [pair], root.flow === true);
}

/** Makes the splices of one file. */
class Writer {
  readonly #file: SourceFile;
  readonly #text: string;
  readonly #eol: string;

  constructor(file: SourceFile) {
    this.#file = file;
    this.#text = file.text;
    this.#eol = file.text.includes("\r\n") ? "\r\n" : "\n";
  }

  /** Has the value of `pair` say `value`, and leaves alone what says so already. */
  change(pair: Pair, value: Value, inFlow: boolean): Splice[] {
    const node = pair.value as Node | null;
    if (node !== null && equal(rawValue(node, this.#file), value)) return [];
    if (isMap(node) && isValueMap(value)) return this.#changeMap(pair, node, value, inFlow);
    if (isSeq(node) && Array.isArray(value)) return this.#changeList(pair, node, value, inFlow);
    return this.replace(pair, value, inFlow);
  }

  /** Writes `value` in place of the whole value of `pair`. */
  replace(pair: Pair, value: Value, inFlow: boolean): Splice[] {
    const node = pair.value as Node | null;
    const text = flowText(value, inFlow);
    const keyEnd = rangeOf(pair.key as Node)[1];
    if (node?.tag !== undefined) throw refused("its value has a tag");
    if (node === null) return [{ start: keyEnd, end: keyEnd, text: `: ${text}` }];
    const [start, end] = [rangeOf(node)[0], this.#contentEnd(node)];
    const between = this.#text.slice(keyEnd, start);
    if (start >= end) return [{ start, end: start, text: /\s$/.test(between) ? text : ` ${text}` }];
    // A block that begins on a line of its own moves up behind its key, unless something stands there.
    if (/^\s*:\s*\n\s*$/.test(between)) return [{ start: keyEnd, end, text: `: ${text}` }];
    return [{ start, end, text }];
  }

  #changeMap(pair: Pair, map: YAMLMap, value: ValueMap, inFlow: boolean): Splice[] {
    const own = map.items.filter(({ key }) => isScalar(key) && !isMergeKey(key) && !keyText(key).startsWith("x-"));
    const merged = Object.keys(mapOf(rawValue(map, this.#file)));
    const gone = own.filter(({ key }) => isScalar(key) && !Object.hasOwn(value, keyText(key)));
    const ownNames = new Set(own.flatMap(({ key }) => (isScalar(key) ? [keyText(key)] : [])));
    // What `<<` gives cannot be taken away by leaving it out.
    const isBound = merged.some((name) => !ownNames.has(name) && !Object.hasOwn(value, name));
    const hidden = gone.some(({ key }) => isScalar(key) && this.#isMergedToo(map, keyText(key)));
    if (isBound || hidden || (own.length > 0 && gone.length === own.length)) return this.replace(pair, value, inFlow);
    const splices: Splice[] = [];
    for (const item of own)
      if (isScalar(item.key) && Object.hasOwn(value, keyText(item.key)))
        splices.push(...this.change(item, value[keyText(item.key)] as Value, map.flow === true));
    splices.push(...this.remove(map, pair, gone, inFlow));
    const current = mapOf(rawValue(map, this.#file));
    const added = Object.entries(value).filter(
      ([name, item]) => !ownNames.has(name) && !(Object.hasOwn(current, name) && equal(current[name] as Value, item)),
    );
    return [...splices, ...this.append(map, added, undefined, new Set(gone))];
  }

  #isMergedToo(map: YAMLMap, name: string): boolean {
    return map.items.some(
      ({ key, value }) =>
        isScalar(key) &&
        isMergeKey(key) &&
        (isSeq(value) ? value.items : [value]).some((one) => Object.hasOwn(mapOf(rawValue(one as Node, this.#file)), name)),
    );
  }

  /** What both lists begin and end with stays; between, item by item. */
  #changeList(pair: Pair, list: YAMLSeq, value: readonly Value[], inFlow: boolean): Splice[] {
    const items = list.items as (Node | null)[];
    const old = items.map((item) => rawValue(item, this.#file));
    let head = 0;
    while (head < old.length && head < value.length && equal(old[head] as Value, value[head] as Value)) head++;
    let tail = 0;
    const most = Math.min(old.length, value.length) - head;
    while (tail < most && equal(old.at(-1 - tail) as Value, value.at(-1 - tail) as Value)) tail++;
    const removed = items.slice(head, old.length - tail);
    const added = value.slice(head, value.length - tail);
    if (list.flow === true || items.includes(null) || removed.length === items.length || value.length === 0)
      return this.replace(pair, value as Value[], inFlow);
    const splices: Splice[] = [];
    for (const item of removed) splices.push(this.#lines(this.#dashOf(item as Node), this.#contentEnd(item as Node)));
    if (added.length === 0) return splices;
    // New items come behind the last that stays before them; in front of the first that stays when there is none.
    const anchor = (items[head - 1] ?? items[old.length - tail]) as Node;
    const dash = this.#dashOf(anchor);
    const indent = this.#indentAt(dash);
    const lines = added.map((item) => `${indent}- ${flowText(item, false)}${this.#eol}`).join("");
    if (head === 0) {
      const at = dash - indent.length;
      return [...splices, { start: at, end: at, text: lines }];
    }
    return [...splices, this.#insertAfter(this.#contentEnd(anchor), lines, anchor)];
  }

  /** Takes pairs out of `map`, which is the value of `around`. A block that would be left empty becomes `{}`. */
  remove(map: YAMLMap, around: Pair, pairs: readonly Pair[], inFlow: boolean): Splice[] {
    if (pairs.length === 0) return [];
    if (pairs.length === map.items.length) return this.replace(around, Object.create(null) as ValueMap, inFlow);
    if (map.flow !== true) return pairs.map((pair) => this.#lines(rangeOf(pair.key as Node)[0], this.#pairEnd(pair)));
    const kept = map.items.findLast((one) => !pairs.includes(one)) as Pair;
    const isLast = (pair: Pair): boolean => map.items.indexOf(pair) > map.items.indexOf(kept);
    const splices = pairs
      .filter((pair) => !isLast(pair))
      .map((pair) => {
        const next = map.items[map.items.indexOf(pair) + 1] as Pair;
        return { start: rangeOf(pair.key as Node)[0], end: rangeOf(next.key as Node)[0], text: "" };
      });
    const last = pairs.findLast(isLast);
    if (last === undefined) return splices;
    return [...splices, { start: this.#pairEnd(kept), end: this.#pairEnd(last), text: "" }];
  }

  /** Adds pairs behind the last of `map` that stays. */
  append(
    map: YAMLMap,
    pairs: readonly (readonly [string, Value])[],
    section: string | undefined,
    gone: ReadonlySet<unknown> = new Set(),
  ): Splice[] {
    if (pairs.length === 0) return [];
    const last = map.items.findLast((item) => !gone.has(item));
    if (map.flow === true) {
      const texts = pairs.map(([name, value]) => flowText({ [name]: value }).slice(2, -2)).join(", ");
      if (last !== undefined) {
        const end = this.#pairEnd(last);
        return [{ start: end, end, text: `, ${texts}` }];
      }
      const [start, end] = rangeOf(map);
      return [{ start, end, text: `{ ${texts} }` }];
    }
    if (last === undefined) throw refused("there is an empty block");
    const start = rangeOf(last.key as Node)[0];
    const indent = this.#indentAt(start);
    const neighbour = last.value as Node | null;
    const first = isMap(neighbour) && neighbour.flow !== true ? neighbour.items[0]?.key : undefined;
    const inner = isScalar(first) ? this.#indentAt(rangeOf(first)[0]) : `${indent}  `;
    const isBlock = map === this.#file.root || (section !== undefined && first !== undefined);
    const lines = pairs
      .map(([name, value]) => `${blockPair(name, value, indent, inner.slice(indent.length), this.#eol, isBlock)}${this.#eol}`)
      .join("");
    return [this.#insertAfter(this.#pairEnd(last), lines, neighbour)];
  }

  /** Puts whole lines behind the line in which something ends. */
  #insertAfter(end: number, lines: string, node: Node | null): Splice {
    const leaf = lastLeaf(node);
    // The empty lines behind a block text may be its own.
    const from = isScalar(leaf) && leaf.type?.startsWith("BLOCK") === true ? Math.max(end, rangeOf(leaf)[1] - 1) : end;
    const newline = this.#text.indexOf("\n", from);
    if (newline >= 0) return { start: newline + 1, end: newline + 1, text: lines };
    const at = this.#text.length;
    return { start: at, end: at, text: `${this.#eol}${lines.slice(0, -this.#eol.length)}` };
  }

  /** Takes out whole lines. */
  #lines(start: number, end: number): Splice {
    const indent = this.#indentAt(start);
    const newline = this.#text.indexOf("\n", end);
    return { start: start - indent.length, end: newline < 0 ? this.#text.length : newline + 1, text: "" };
  }

  /** What stands before something in its line, which may be blanks alone. */
  #indentAt(offset: number): string {
    const indent = this.#text.slice(this.#text.lastIndexOf("\n", offset - 1) + 1, offset).replace(/^\uFEFF/, "");
    if (!/^ *$/.test(indent)) throw refused("it does not begin a line of its own");
    return indent;
  }

  #dashOf(item: Node): number {
    const dash = this.#text.lastIndexOf("-", rangeOf(item)[0] - 1);
    if (!/^-\s+$/.test(this.#text.slice(dash, rangeOf(item)[0]))) throw refused("an item of a list has an anchor or a tag");
    return dash;
  }

  #pairEnd(pair: Pair): number {
    const node = pair.value as Node | null;
    const keyEnd = rangeOf(pair.key as Node)[1];
    return node === null ? keyEnd : Math.max(keyEnd, this.#contentEnd(node));
  }

  /** Where the last character of a value stands; comments and blanks behind it are not its own. */
  #contentEnd(node: Node): number {
    const leaf = lastLeaf(node) ?? node;
    const [start, end] = rangeOf(leaf);
    const text = this.#text.slice(start, end);
    return start + text.trimEnd().length;
  }
}

/** The scalar, alias or bracket with which a value ends. */
function lastLeaf(node: Node | null): Node | null {
  if (isMap(node) && node.flow !== true) {
    const last = node.items.at(-1);
    return last === undefined ? node : (lastLeaf(last.value as Node | null) ?? (last.key as Node));
  }
  if (isSeq(node) && node.flow !== true) return lastLeaf((node.items.at(-1) ?? null) as Node | null) ?? node;
  return node;
}

/** A pair as lines, without the last line's end. */
function blockPair(name: string, value: Value, indent: string, step: string, eol: string, isBlock: boolean): string {
  const key = flowText({ [name]: null }).slice(2, -": null }".length);
  if (!isBlock || !isValueMap(value) || Object.keys(value).length === 0) return `${indent}${key}: ${flowText(value, false)}`;
  const lines = Object.entries(value).map(([inner, item]) => blockPair(inner, item, indent + step, step, eol, false));
  return [`${indent}${key}:`, ...lines].join(eol);
}

/** The result must say what was asked for, and for the rest what it said before. */
function prove(file: SourceFile, path: string, after: string, edit: ConfigEdit): void {
  const was = rawRoot(file);
  let is: ValueMap;
  try {
    is = rawRoot(parsed(path, after));
  } catch {
    throw refused("something else in the file depends on it, or it is written in a way that cannot be edited in place");
  }
  const { section, name, value } = edit;
  const wanted = { ...mapOf(was[section]) };
  delete wanted[name];
  const found = { ...mapOf(is[section]) };
  const item = Object.hasOwn(found, name) ? found[name] : undefined;
  delete found[name];
  const others = (root: ValueMap): ValueMap => Object.fromEntries(Object.entries(root).filter(([key]) => key !== section));
  const isRight = value === undefined ? item === undefined : item !== undefined && equal(item, value);
  if (!isRight) throw refused("it is written in a way that cannot be edited in place");
  if (!equal(found, wanted) || !equal(others(is), others(was)))
    throw refused("an alias or `<<` elsewhere in the file means the same, and would change with it");
}

function refused(why: string): HoldfastError {
  return new HoldfastError("config_write_refused", `The configuration cannot be edited here: ${why}`, {
    hint: "Edit the file by hand. Nothing was changed.",
  });
}

function parsed(path: string, text: string): SourceFile {
  const problems = new ProblemList(false);
  const file = parseSourceFile(path, text, problems);
  const [problem] = problems.sorted();
  if (problems.hasErrors) throw refused(`${path}:${problem?.line} is not valid: ${problem?.message}`);
  return file;
}

function sectionOf({ root }: SourceFile, section: string): YAMLMap | undefined {
  const value = isMap(root) ? root.items.find(({ key }) => isScalar(key) && keyText(key) === section)?.value : undefined;
  return isMap(value) ? (value as YAMLMap) : undefined;
}

function pairOf(map: YAMLMap | undefined, name: string): Pair | undefined {
  return map?.items.find(({ key }) => isScalar(key) && !isMergeKey(key) && keyText(key) === name);
}

function rangeOf(node: Node): readonly [number, number] {
  if (!node.range) throw refused("a value has no place");
  return [node.range[0], node.range[1]];
}

function mapOf(value: Value | undefined): ValueMap {
  return value !== undefined && isValueMap(value) ? value : (Object.create(null) as ValueMap);
}

function rawRoot(file: SourceFile): ValueMap {
  return mapOf(file.root === undefined ? undefined : rawValue(file.root, file));
}

/** A value as it stands in the file: aliases and `<<` followed, variables unexpanded, `x-*` left out. */
function rawValue(node: Node | null | undefined, file: SourceFile): Value {
  let values = 0;
  const open = new Set<Node>();
  const of = (given: Node | null | undefined): Value => {
    if (++values > MAX_VALUES || open.size > 100) throw refused("its aliases stand for too much");
    const at = isAlias(given) ? file.aliases.get(given) : given;
    if (isScalar(at)) return at.value as Value;
    if (!isMap(at) && !isSeq(at)) return null;
    if (open.has(at)) throw refused("an alias stands inside what it stands for");
    open.add(at);
    const result = isSeq(at) ? at.items.map((item) => of(item as Node)) : fill(Object.create(null) as ValueMap, at);
    open.delete(at);
    return result;
  };
  const fill = (result: ValueMap, map: YAMLMap): ValueMap => {
    for (const { key, value } of map.items)
      if (isScalar(key) && !isMergeKey(key) && !keyText(key).startsWith("x-") && !(keyText(key) in result))
        result[keyText(key)] = of(value as Node | null);
    for (const { key, value } of map.items)
      if (isScalar(key) && isMergeKey(key)) {
        const followed = isAlias(value) ? file.aliases.get(value) : value;
        for (const one of isSeq(followed) ? followed.items : [followed])
          for (const [name, item] of Object.entries(mapOf(of(one as Node)))) if (!(name in result)) result[name] = item;
      }
    return result;
  };
  return of(node);
}

function equal(a: Value, b: Value): boolean {
  if (a === b) return true;
  if (Array.isArray(a))
    return Array.isArray(b) && a.length === b.length && a.every((item, index) => equal(item, b[index] as Value));
  if (!isValueMap(a) || !isValueMap(b)) return false;
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && equal(a[name] as Value, b[name] as Value))
  );
}

function checkValue(given: Value): void {
  const waiting: (readonly [Value, number])[] = [[given, 1]];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const [value, depth] = next;
    if (depth > MAX_DEPTH) throw new HoldfastError("usage", `The value nests deeper than ${MAX_DEPTH} levels`);
    if (Array.isArray(value)) for (const item of value) waiting.push([item, depth + 1]);
    else if (isValueMap(value))
      for (const [key, item] of Object.entries(value)) {
        if (key.startsWith("x-") || key === "<<")
          throw new HoldfastError("usage", `${JSON.stringify(key)} is for people who edit the file, and is not written here`);
        waiting.push([item, depth + 1]);
      }
  }
}
