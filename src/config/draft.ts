import { isValueMap, pointerOf } from "./evaluate.ts";
import type { Places, Spot, Value, ValueMap } from "./evaluate.ts";
import type { ProblemCode } from "./problem.ts";
import { placeOf } from "./source-file.ts";
import type { ProblemList, Span } from "./source-file.ts";

/** The merged configuration on its way through validation: values, places, and what is known to be wrong. */
export class Draft {
  readonly root: ValueMap;
  readonly places: Places;
  readonly problems: ProblemList;
  /** Names given in each section, those of entries with mistakes included. */
  readonly #declared: ReadonlyMap<string, ReadonlySet<string>>;
  readonly #bad = new Set<string>();
  /** Pointer of a map → the keys that its unknown keys were probably meant to be. */
  readonly #meant = new Map<string, Set<string>>();

  constructor(root: ValueMap, places: Places, problems: ProblemList) {
    this.root = root;
    this.places = places;
    this.problems = problems;
    const sections = Object.entries(root).filter((entry): entry is [string, ValueMap] => isValueMap(entry[1]));
    this.#declared = new Map(sections.map(([section, value]) => [section, new Set(Object.keys(value))]));
  }

  /** The names a section declares; undefined when the section itself is wrong, so that nothing can be said of its names. */
  declared(section: string): ReadonlySet<string> | undefined {
    return this.#declared.get(section) ?? (this.isAbsent("", section) ? new Set() : undefined);
  }

  /** The place of a value, or of the nearest thing around it when it is missing. */
  spot(pointer: string): Spot {
    for (let at = pointer; ; at = at.slice(0, at.lastIndexOf("/"))) {
      const found = this.places.get(at);
      if (found !== undefined) return found;
      if (at === "") throw new Error("The configuration has no root place");
    }
  }

  error(
    code: ProblemCode,
    pointer: string,
    message: string,
    details: { expected?: string | undefined; suggestion?: string | undefined; at?: Span | undefined; path?: string } = {},
  ): void {
    const spot = this.spot(pointer);
    const { at, path, ...rest } = details;
    this.#bad.add(pointer);
    this.problems.error(code, at ?? spot.value, path ?? spot.path, message, rest);
  }

  warning(
    code: ProblemCode,
    pointer: string,
    message: string,
    details: { suggestion?: string | undefined; at?: Span | undefined } = {},
  ): void {
    const spot = this.spot(pointer);
    this.problems.warning(code, details.at ?? spot.value, spot.path, message, { suggestion: details.suggestion });
  }

  /** `file:line:column`, to name a second place in a message. */
  whereIs(pointer: string): string {
    const spot = this.spot(pointer);
    const { file, line, column } = placeOf(spot.key ?? spot.value);
    return `${file}:${line}:${column}`;
  }

  markBad(pointer: string): void {
    this.#bad.add(pointer);
  }

  isBad(pointer: string): boolean {
    return this.#bad.has(pointer);
  }

  /** True when nothing at or below the pointer is wrong. */
  isSound(pointer: string): boolean {
    for (const bad of this.#bad) if (bad === pointer || bad.startsWith(`${pointer}/`)) return false;
    return true;
  }

  /** An unknown key, and what it was probably meant to be. */
  noteUnknown(pointer: string, meant: string | undefined): void {
    const keys = this.#meant.get(pointer) ?? new Set();
    if (meant !== undefined) keys.add(meant);
    this.#meant.set(pointer, keys);
  }

  /** True when the map at the pointer has an unknown key. */
  hasUnknownKey(pointer: string): boolean {
    return this.#meant.has(pointer);
  }

  /** True when a key is missing and no unknown key beside it was probably meant to be it. */
  isAbsent(pointer: string, key: string): boolean {
    return !this.places.has(pointerOf(pointer, key)) && this.#meant.get(pointer)?.has(key) !== true;
  }

  /** Takes out every value that is known to be wrong; items of lists become undefined. */
  prune(): void {
    for (const pointer of this.#bad) {
      const keys = pointer
        .split("/")
        .slice(1)
        .map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
      const last = keys.pop();
      let at: Value | undefined = this.root;
      for (const key of keys) at = isValueMap(at) ? at[key] : Array.isArray(at) ? at[Number(key)] : undefined;
      if (last === undefined) continue;
      if (isValueMap(at)) delete at[last];
      else if (Array.isArray(at)) (at as unknown[])[Number(last)] = undefined;
    }
  }
}
