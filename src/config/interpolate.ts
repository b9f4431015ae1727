import { didYouMean } from "./suggest.ts";

/** What is wrong with one `${…}`, with its offset in the text given. */
export interface InterpolationFault {
  readonly code: "variable_unset" | "variable_malformed";
  readonly message: string;
  readonly suggestion?: string | undefined;
}

export interface Interpolated {
  readonly text: string;
  /** True when the text is nothing but one `${…}`. */
  readonly whole: boolean;
  /** True when anything was expanded. */
  readonly changed: boolean;
  readonly faults: readonly InterpolationFault[];
}

/** Of one text; the first says enough of the others. */
const MAX_FAULTS = 10;
const VARIABLE = /\$\$|\$\{([^{}]*)\}|\$\{/g;
const BODY = /^([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)([\s\S]*))?$/;

/**
 * Expands `${NAME}`, `${NAME:-default}` (unset or empty), `${NAME:?message}` and `$$`. Expanded text is not expanded
 * again. A lone `$` stays. Faults are returned, and leave their `${…}` as it is.
 */
export function interpolate(text: string, env: Readonly<Record<string, string | undefined>>): Interpolated {
  const faults: InterpolationFault[] = [];
  if (!text.includes("$")) return { text, whole: false, changed: false, faults };
  const malformed = (what: string): string => {
    faults.push({
      code: "variable_malformed",
      message: `${what} is not a variable`,
      suggestion: "write ${NAME}, or $$ for a dollar sign",
    });
    return what;
  };
  const expanded = text.replaceAll(VARIABLE, (found: string, body: string | undefined) => {
    if (faults.length >= MAX_FAULTS) return found;
    if (found === "$$") return "$";
    const match = body === undefined ? undefined : BODY.exec(body);
    if (!match) return malformed(found);
    const [, name, operator, rest] = match as unknown as [string, string, string | undefined, string | undefined];
    const value = Object.hasOwn(env, name) ? env[name] : undefined;
    if (value !== undefined && (value !== "" || operator === undefined)) return value;
    if (operator === ":-") return rest ?? "";
    const why = operator === ":?" && rest ? rest : value === "" ? "it is empty" : "it is not set";
    const near = didYouMean(name, Object.keys(env));
    faults.push({
      code: "variable_unset",
      message: `the environment variable ${name} is needed: ${why}`,
      suggestion: near ?? `set it, or give a default: \${${name}:-…}`,
    });
    return found;
  });
  return { text: expanded, whole: /^\$\{[^{}]*\}$/.test(text), changed: expanded !== text, faults };
}

/** Plain text as YAML 1.2's core schema reads it. */
export function retype(text: string): string | number | boolean | null {
  if (/^(?:~|null|Null|NULL|)$/.test(text)) return null;
  if (/^(?:true|True|TRUE)$/.test(text)) return true;
  if (/^(?:false|False|FALSE)$/.test(text)) return false;
  if (/^[-+]?\d+$/.test(text) || /^[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?$/.test(text)) return Number(text);
  return text;
}
