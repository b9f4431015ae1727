// Makes what follows from schemas/holdfast.schema.json: src/config/schema.ts, src/config/schema-types.ts,
// src/config/schema-check.ts and docs/configuration.md. With --check nothing is written, and the exit code is 1 when one of them is not up to date.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import { _ } from "ajv/dist/compile/codegen/index.js";
import standaloneCode from "ajv/dist/standalone/index.js";
import { compile } from "json-schema-to-typescript";
import { FORMATS } from "../src/config/format.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const schema = JSON.parse(readFileSync(`${root}schemas/holdfast.schema.json`, "utf8"));
const banner = "// Generated from schemas/holdfast.schema.json by `npm run generate`; do not edit.\n";

const format = (text, path) =>
  execFileSync(process.execPath, [`${root}node_modules/oxfmt/bin/oxfmt`, `--stdin-filepath=${path}`], {
    input: text,
    cwd: root,
    encoding: "utf8",
  });

function schemaModule() {
  return `${banner}\n/** The JSON Schema of the configuration, as published. */\nexport const configSchema: Readonly<Record<string, unknown>> = ${JSON.stringify(schema)};\n`;
}

/** Types do without `x-*` keys, which never reach the code, without examples, and without aliases of plain text. */
function forTypes(node) {
  if (Array.isArray(node)) return node.map(forTypes);
  if (typeof node !== "object" || node === null) return node;
  if (typeof node.$ref === "string") {
    const target = resolve({ $ref: node.$ref });
    if (target.title && target.type !== "string") return { $ref: node.$ref };
    const { title: _title, ...inlined } = { ...target, description: node.description ?? target.description };
    return forTypes(inlined);
  }
  const result = {};
  for (const [key, value] of Object.entries(node)) {
    if (key === "patternProperties" || key === "propertyNames" || key === "examples" || key === "discriminator") continue;
    if (key === "oneOf" && value.every((branch) => Object.keys(branch).join() === "required")) continue;
    result[key] = forTypes(value);
  }
  return result;
}

async function typesModule() {
  return compile(forTypes(schema), "HoldfastFile", {
    bannerComment: banner,
    additionalProperties: false,
    format: false,
    unreachableDefinitions: false,
    ignoreMinAndMaxItems: true,
  });
}

// --- src/config/schema-check.ts: compiling the schema at every start would take longer than most commands

function typesOf(node) {
  const target = resolve(node);
  return Array.isArray(target.anyOf) ? target.anyOf.flatMap(typesOf) : [target.type].flat();
}

/**
 * The published schema for ajv: an `anyOf` of different types becomes a choice by type, so that one mistake is one
 * error and not one for each branch. (An `oneOf` of objects has a `discriminator`, which ajv knows.)
 */
function chooseByType(node) {
  if (Array.isArray(node)) return node.map(chooseByType);
  if (typeof node !== "object" || node === null) return node;
  const { anyOf, ...rest } = node;
  const result = Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, chooseByType(value)]));
  if (!Array.isArray(anyOf)) return result;
  // oxlint-disable-next-line unicorn/no-thenable -- a keyword of JSON Schema
  const allOf = anyOf.map((branch) => ({ if: { type: typesOf(branch) }, then: chooseByType(branch) }));
  return { ...result, type: anyOf.flatMap(typesOf), allOf };
}

function checkModule() {
  const ajv = new Ajv2020({
    strict: true,
    allErrors: true,
    verbose: true,
    discriminator: true,
    allowUnionTypes: true,
    strictRequired: false,
    addUsedSchema: false,
    code: { source: true, esm: true, formats: _`CHECKS` },
  });
  for (const name of Object.keys(FORMATS)) ajv.addFormat(name, { type: "string", validate: () => true });
  const imports = new Map();
  const text = standaloneCode
    .default(ajv, ajv.compile(chooseByType(schema)))
    .replace(/^"use strict";/, "")
    .replace(
      /export const validate = (\w+);export default \w+;/,
      "export const checkSchema = $1 as unknown as ValidateFunction;\n",
    )
    .replaceAll(/require\("(ajv\/dist\/runtime\/(\w+))"\)\.default/g, (_match, path, name) => {
      imports.set(name, path);
      // A test runner may have unwrapped the default already.
      return `(${name}.default ?? ${name})`;
    })
    .replaceAll(/;(?=const |function )/g, ";\n");
  return [
    banner.trimEnd(),
    "// @ts-nocheck -- made by ajv from the schema, in plain JavaScript",
    "/* oxlint-disable */",
    'import type { ValidateFunction } from "ajv/dist/2020.js";',
    ...[...imports].map(([name, path]) => `import ${name} from "${path}.js";`),
    'import { FORMATS } from "./format.ts";',
    "",
    "const CHECKS = Object.fromEntries(",
    "  Object.entries(FORMATS).map(([name, format]) => [name, { validate: (text) => format.explain(text) === undefined }]),",
    ");",
    "",
    "/** Checks a configuration by the schema; what is wrong is in its `errors`. */",
    text.trimEnd(),
    "",
  ].join("\n");
}

// --- docs/configuration.md

function resolve(node) {
  if (!node.$ref) return node;
  const { $ref, ...own } = node;
  const target = $ref
    .slice(2)
    .split("/")
    .reduce((at, part) => at[part], schema);
  return { ...resolve(target), ...own };
}
const code = (value) => `\`${typeof value === "string" ? value : JSON.stringify(value)}\``;
const cell = (text) => text.replaceAll("|", "\\|").replaceAll("\n", " ");

const SCALARS = { Size: "size", Rate: "rate", Duration: "duration", Percent: "percentage", Path: "path", Name: "name" };

function anchorOf(node) {
  return node.title.replaceAll(/([a-z0-9])([A-Z])/g, "$1 $2").toLowerCase();
}

/** What a value may be, in a few words, with links to the tables below. */
function kindOf(raw) {
  const node = resolve(raw);
  if (SCALARS[node.title]) return SCALARS[node.title];
  if (node.const !== undefined) return code(node.const);
  if (node.enum) return node.enum.map(code).join(", ");
  if (node.type === "array") return `list of ${kindOf(node.items)}`;
  if (node.anyOf) return [...new Set(node.anyOf.map(kindOf))].join(" or ");
  const isObject = node.type === "object" || (Array.isArray(node.type) && node.type.includes("object"));
  if (isObject && node.title) {
    if (typeof node.additionalProperties === "object") return `map of ${kindOf(node.additionalProperties)} by target`;
    return `[${anchorOf(node)}](#${anchorOf(node).replaceAll(" ", "-")})`;
  }
  if (isObject && typeof node.additionalProperties === "object") return `map of ${kindOf(node.additionalProperties)} by name`;
  if (node.format === "time-of-day") return "time of day";
  if (node.format === "cron" || node.title === "Cron") return "cron string";
  if (node.format === "schedule") return "name or cron string";
  if (node.format === "window") return "days and times";
  if (node.format === "backoff") return "duration or range";
  if (node.type === "integer") return "whole number";
  return node.type === "boolean" ? "`true`, `false`" : "text";
}

function limitsOf(node) {
  if (node.minimum !== undefined && node.maximum !== undefined && node.maximum < 1000000)
    return ` (${node.minimum} to ${node.maximum})`;
  return node.minimum !== undefined && node.minimum > 0 ? ` (at least ${node.minimum})` : "";
}

function tableOf(node) {
  const rows = Object.entries(node.properties).map(([key, raw]) => {
    const property = resolve(raw);
    const standard =
      property.default === undefined || Array.isArray(property.default) ? "" : ` Default: ${code(property.default)}.`;
    const example = property.examples ? ` Example: ${property.examples.map((value) => code(value)).join(", ")}.` : "";
    const needed = node.required?.includes(key) ? " **Required.**" : "";
    return `| \`${key}\` | ${cell(kindOf(raw) + limitsOf(property))} | ${cell(property.description + needed + standard + example)} |`;
  });
  return ["| key | value | meaning |", "|---|---|---|", ...rows].join("\n");
}

/** Every titled object that can be reached, each once, in reading order. */
function reachable(node, found = new Map()) {
  const at = resolve(node);
  const open = at.title && (at.properties || at.oneOf) && at.title !== schema.title;
  if (open) {
    if (found.has(at.title)) return found;
    found.set(at.title, at);
  }
  for (const child of Object.values(at.properties ?? {})) reachable(child, found);
  for (const child of [...(at.anyOf ?? []), ...(at.oneOf ?? [])]) if (!child.required) reachable(child, found);
  if (typeof at.additionalProperties === "object") reachable(at.additionalProperties, found);
  if (at.items) reachable(at.items, found);
  return found;
}

function sectionOf(node) {
  const lines = [`## ${anchorOf(node)}`, "", node.description, ""];
  if (node.properties) lines.push(tableOf(node), "");
  else {
    const tag = node.discriminator.propertyName;
    const choices = node.oneOf.map((branch) => {
      const at = resolve(branch);
      return `- \`${tag}: ${at.properties[tag].const}\`: [${anchorOf(at)}](#${anchorOf(at).replaceAll(" ", "-")}). ${at.description}`;
    });
    lines.push(...choices, "");
  }
  return lines.join("\n");
}

function reference() {
  const intro = readFileSync(`${root}scripts/configuration-intro.md`, "utf8").trimEnd();
  const parts = [
    "<!-- Generated by `npm run generate` from schemas/holdfast.schema.json and scripts/configuration-intro.md; do not edit. -->",
    "",
    intro,
    "",
  ];
  parts.push("## The file", "", schema.description, "", tableOf(schema), "");
  for (const node of reachable(schema).values()) parts.push(sectionOf(node));
  return `${parts.join("\n").trimEnd()}\n`;
}

const outputs = [
  ["src/config/schema.ts", format(schemaModule(), "schema.ts")],
  ["src/config/schema-types.ts", format(await typesModule(), "schema-types.ts")],
  ["src/config/schema-check.ts", checkModule()],
  ["docs/configuration.md", reference()],
];
for (const [path, text] of outputs) {
  if (!process.argv.includes("--check")) writeFileSync(`${root}${path}`, text);
  else if (readFileSync(`${root}${path}`, "utf8") !== text) {
    console.error(`${path} is not up to date: run \`npm run generate\``);
    process.exitCode = 1;
  }
}
