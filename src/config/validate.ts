import type { ErrorObject } from "ajv/dist/2020.js";
import { isValueMap, pointerOf } from "./evaluate.ts";
import type { Spot } from "./evaluate.ts";
import { FORMATS, NAME_PATTERN, choices } from "./format.ts";
import { checkSchema } from "./schema-check.ts";
import { configSchema } from "./schema.ts";
import { pathOf } from "./source-file.ts";
import { nearest } from "./suggest.ts";
import type { Draft } from "./draft.ts";

type Schema = Readonly<Record<string, unknown>>;

function resolve(schema: Schema): Schema {
  if (typeof schema["$ref"] !== "string") return schema;
  const parts = schema["$ref"].slice(2).split("/");
  return resolve(parts.reduce((at, part) => at[part] as Schema, configSchema));
}

/** Checks the draft by the schema, reports each mistake once, and takes out what is wrong. */
export function validateSchema(draft: Draft): void {
  for (const [pointer, spot] of draft.places) if (spot.broken) draft.markBad(pointer);
  if (!checkSchema(draft.root)) report(draft, checkSchema.errors ?? []);
  draft.prune();
}

const NAME_RULE = "lower-case letters, digits, _ and -; at most 63; a letter or digit first";

/** What to call it instead, when little has to change. */
function asName(text: string): string | undefined {
  const name = text
    .trim()
    .toLowerCase()
    .replaceAll(/[\s.]+/g, "-");
  return NAME_PATTERN.test(name) ? `call it ${name}` : undefined;
}

/** What comes first hides what comes after at the same place. */
const ORDER = ["additionalProperties", "propertyNames", "type", "discriminator", "oneOf", "format", "enum", "const", "pattern"];

function report(draft: Draft, errors: readonly ErrorObject[]): void {
  const rank = (error: ErrorObject): number => (ORDER.includes(error.keyword) ? ORDER.indexOf(error.keyword) : ORDER.length);
  const own = errors.filter(
    (error) =>
      error.keyword !== "if" &&
      !/\/oneOf\/\d+\/required$/.test(error.schemaPath) &&
      (error.propertyName === undefined || error.keyword === "propertyNames"),
  );
  for (const error of own.toSorted((a, b) => rank(a) - rank(b))) describe(draft, error);
}

function describe(draft: Draft, error: ErrorObject): void {
  const pointer = error.instancePath;
  const params = error.params as Record<string, unknown>;
  const spot = draft.spot(pointer);
  const schema = (error.parentSchema ?? {}) as Schema;
  if (draft.isBad(pointer)) return;
  const data: unknown = error.data;
  switch (error.keyword) {
    case "additionalProperties":
      return unknownKey(draft, pointer, String(params["additionalProperty"]), Object.keys(schema["properties"] as Schema), data);
    case "propertyNames": {
      const name = String(params["propertyName"]);
      const at = pointerOf(pointer, name);
      return draft.error("bad_name", at, `"${name}" is not a name`, {
        at: draft.spot(at).key,
        expected: NAME_RULE,
        suggestion: asName(name),
      });
    }
    case "required":
      return missingKey(draft, pointer, String(params["missingProperty"]), schema);
    case "oneOf":
      return oneOfKeys(
        draft,
        pointer,
        (schema["oneOf"] as { required: string[] }[]).flatMap((branch) => branch.required),
        data,
      );
    case "dependentRequired": {
      const key = String(params["property"]);
      const other = String(params["missingProperty"]);
      if (draft.isAbsent(pointer, other))
        draft.error("conflicting_keys", pointerOf(pointer, key), `\`${key}\` goes with \`${other}\``, {
          at: draft.spot(pointerOf(pointer, key)).key,
        });
      return;
    }
    case "discriminator":
      return unknownType(draft, pointer, String(params["tag"]), schema["oneOf"] as Schema[], data);
    case "type":
      return draft.error("wrong_type", pointer, `${expectedOf(schema)} is needed here, not ${kindOf(data, spot)}`, {
        expected: expectedOf(schema),
        suggestion: typeHelp(schema, data, spot),
      });
    case "format": {
      const format = FORMATS[String(params["format"])]!;
      const fault = format.explain(String(data));
      return draft.error(format.code, pointer, `${quote(data, spot)}: ${fault?.reason ?? "it is not right"}`, {
        expected: format.expected,
        suggestion: fault?.suggestion,
      });
    }
    case "enum":
    case "const": {
      const allowed = error.keyword === "enum" ? (params["allowedValues"] as unknown[]) : [params["allowedValue"]];
      const near = typeof data === "string" ? nearest(data, allowed.map(String)) : undefined;
      return draft.error("wrong_value", pointer, `${quote(data, spot)} is not possible here`, {
        expected: choices(allowed),
        suggestion: near && `did you mean "${near}"?`,
      });
    }
    case "pattern": {
      if (schema["title"] === "Name")
        return draft.error("bad_name", pointer, `${quote(data, spot)} is not a name`, {
          expected: NAME_RULE,
          suggestion: asName(String(data)),
        });
      return draft.error("wrong_value", pointer, `${quote(data, spot)} is not possible here`, {
        expected: sentence(schema["description"]) ?? `text like ${String(schema["pattern"])}`,
      });
    }
    case "minimum":
    case "maximum":
      return draft.error(
        "wrong_value",
        pointer,
        `${quote(data, spot)} is too ${error.keyword === "minimum" ? "small" : "large"}`,
        { expected: `a number ${rangeOf(schema)}`, suggestion: schema["$comment"] as string | undefined },
      );
    case "minItems":
    case "minProperties":
    case "minLength":
      return draft.error("wrong_value", pointer, "this must not be empty");
    case "uniqueItems":
      return draft.error("wrong_value", pointer, "an item stands in the list twice");
    default:
      return draft.error("wrong_value", pointer, `this is not valid: ${error.message ?? error.keyword}`);
  }
}

function unknownKey(draft: Draft, pointer: string, key: string, known: readonly string[], data: unknown): void {
  const at = pointerOf(pointer, key);
  const given = isValueMap(data) ? data : {};
  const near =
    nearest(
      key,
      known.filter((name) => !(name in given)),
    ) ?? nearest(key, known);
  draft.noteUnknown(pointer, near);
  const { path } = draft.spot(pointer);
  const what = pointer === "" ? `unknown section "${key}"` : `unknown key "${key}" in ${path}`;
  const expected = known.length === 0 ? "no keys" : `one of ${known.join(", ")}`;
  draft.error("unknown_key", at, what, { at: draft.spot(at).key, expected, suggestion: near && `did you mean "${near}"?` });
}

function missingKey(draft: Draft, pointer: string, key: string, schema: Schema): void {
  const untyped = (schema["discriminator"] as { propertyName?: string } | undefined)?.propertyName === key;
  if (!draft.isAbsent(pointer, key)) {
    if (untyped) draft.markBad(pointer);
    return;
  }
  const spot = draft.spot(pointer);
  const property = (schema["properties"] as Record<string, Schema> | undefined)?.[key];
  const variants = (schema["oneOf"] as Schema[] | undefined)?.map((branch) => tagOf(branch, key));
  const expected = variants
    ? choices(variants)
    : property && sentence(property["description"] ?? resolve(property)["description"]);
  const named = spot.path === "" ? "the file" : spot.path;
  draft.error("missing_key", pointerOf(pointer, key), `${named} needs \`${key}\``, {
    at: spot.key ?? spot.value,
    path: pathOf(spot.path, key),
    expected,
  });
  if (untyped) draft.markBad(pointer);
}

function oneOfKeys(draft: Draft, pointer: string, keys: readonly string[], data: unknown): void {
  const given = isValueMap(data) ? keys.filter((key) => key in data) : [];
  const spot = draft.spot(pointer);
  if (given.length === 0) {
    if (!draft.hasUnknownKey(pointer))
      draft.error("missing_key", pointer, `${spot.path} needs one of ${choices(keys)}`, {
        at: spot.key ?? spot.value,
        expected: choices(keys),
      });
    return;
  }
  const inOrder = given.toSorted(
    (a, b) => draft.spot(pointerOf(pointer, a)).value.start - draft.spot(pointerOf(pointer, b)).value.start,
  );
  const second = pointerOf(pointer, inOrder[1]!);
  draft.error("conflicting_keys", second, `\`${inOrder[1]}\` and \`${inOrder[0]}\` exclude each other`, {
    at: draft.spot(second).key,
    expected: `exactly one of ${choices(keys)}`,
  });
}

const tagOf = (branch: Schema, tag: string): unknown =>
  ((resolve(branch)["properties"] as Record<string, Schema>)[tag] as Schema)["const"];

function unknownType(draft: Draft, pointer: string, tag: string, branches: readonly Schema[], data: unknown): void {
  const value = isValueMap(data) ? data[tag] : undefined;
  if (value === undefined) return; // `required` reports it
  const at = pointerOf(pointer, tag);
  if (draft.isBad(at)) return;
  const types = branches.map((branch) => String(tagOf(branch, tag)));
  const spot = draft.spot(at);
  const near = typeof value === "string" ? nearest(value, types) : undefined;
  const what = /^\/(sources|targets)\//.exec(pointer)?.[1]?.slice(0, -1);
  const message =
    typeof value === "string"
      ? `there is no ${what === undefined ? tag : `${what} ${tag}`} ${quote(value, spot)} in this version`
      : `a name is needed here, not ${kindOf(value, spot)}`;
  draft.error(typeof value === "string" ? "unknown_type" : "wrong_type", at, message, {
    expected: choices(types),
    suggestion: near && `did you mean "${near}"?`,
  });
  // Nothing inside was looked at, so nothing inside can be relied on.
  draft.markBad(pointer);
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  string: "text",
  integer: "a whole number",
  number: "a number",
  boolean: "`true` or `false`",
  array: "a list",
  object: "a map",
};

function expectedOf(schema: Schema): string {
  const format = typeof schema["format"] === "string" ? FORMATS[schema["format"]] : undefined;
  if (format !== undefined) return format.expected;
  const types = [...new Set([schema["type"]].flat() as string[])].filter((type) => type !== "null");
  return types.map((type) => TYPE_WORDS[type] ?? type).join(" or ");
}

function typeHelp(schema: Schema, data: unknown, spot: Spot): string | undefined {
  const types = [schema["type"]].flat();
  if (data === null) return "give it a value, or take the key out";
  if (types.includes("boolean") && typeof data === "string" && /^(?:yes|no|on|off|true|false)$/i.test(data))
    return `did you mean ${/^(?:yes|on|true)$/i.test(data)}?`;
  if (schema["format"] === "percent" && typeof data === "number") return `did you mean ${data <= 1 ? data * 100 : data}%?`;
  if (spot.quote === "***" || typeof data === "object") return undefined;
  if (types.includes("array") && !types.includes("string")) return `write a list: [${spot.quote}]`;
  if (types.includes("string") && schema["format"] === undefined) return `write it in quotes: "${spot.quote}"`;
  return undefined;
}

function kindOf(data: unknown, spot: Spot): string {
  if (data === null || data === undefined) return "nothing";
  if (Array.isArray(data)) return "a list";
  if (typeof data === "object") return "a map";
  const kind = typeof data === "string" ? "the text" : typeof data === "number" ? "the number" : "the value";
  return `${kind} ${quote(data, spot)}`;
}

function quote(data: unknown, spot: Spot): string {
  if (data === null || data === undefined || typeof data === "object") return kindOf(data, spot);
  const text = spot.quote ?? JSON.stringify(data);
  return typeof data === "string" && !/^["']/.test(text) ? `"${text}"` : text;
}

function rangeOf(schema: Schema): string {
  const { minimum, maximum } = schema as { minimum?: number; maximum?: number };
  if (minimum !== undefined && maximum !== undefined) return `from ${minimum} to ${maximum}`;
  return minimum === undefined ? `of at most ${maximum}` : `of at least ${minimum}`;
}

/** The first sentence of a description, as what was expected. */
function sentence(description: unknown): string | undefined {
  if (typeof description !== "string") return undefined;
  const first = description.split(/\.(?:\s|$)/)[0]!;
  return first.charAt(0).toLowerCase() + first.slice(1);
}
