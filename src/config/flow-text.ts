/** Values as one line of YAML, safe inside `{ }` and `[ ]`: what is written into a file that people keep. */
import { retype } from "./interpolate.ts";
import type { Value } from "./evaluate.ts";

/** Texts that every reader of YAML takes for the same text without quotes: words, names, paths, sizes. */
const WORD = /^(?:[A-Za-z_]|\.{0,2}\/|\d+(?:\.\d+)?[A-Za-z%])[\w./+@%-]*(?: [\w./+@%-]+)*$/;
const NUMBER_LIKE = /^(?:0[xXoObB]|[\d_.]+[eE][-+\d_]*$)/;
/** Words that other readers of YAML take for something else. */
const SPECIAL = /^(?:yes|no|on|off|true|false|null)$/i;

/** One line. A text that is wholly `${X}` is written plain outside of brackets, so that it may become a number there. */
export function flowText(value: Value, inFlow = true): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "number") return String(Object.is(value, -0) ? 0 : value);
  if (typeof value === "string") return !inFlow && /^\$\{[^{}\s]+\}$/.test(value) ? value : scalarText(value);
  if (Array.isArray(value)) return value.length === 0 ? "[]" : `[${value.map((item) => flowText(item)).join(", ")}]`;
  const entries = Object.entries(value);
  if (entries.length === 0) return "{}";
  return `{ ${entries.map(([key, item]) => `${scalarText(key)}: ${flowText(item)}`).join(", ")} }`;
}

function scalarText(text: string): string {
  const isWord = text.length <= 200 && WORD.test(text) && !NUMBER_LIKE.test(text) && !SPECIAL.test(text);
  if (isWord && retype(text) === text) return text;
  // JSON's escapes are YAML's; what a line or a reader may trip over is escaped too.
  return JSON.stringify(text).replaceAll(
    /[\u007F-\u009F\u2028\u2029\uFEFF\uFFFE\uFFFF]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
