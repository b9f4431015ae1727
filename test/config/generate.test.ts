import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { configSchema } from "../../src/config/schema.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

test("what is generated from the schema is up to date", () => {
  // Throws with the names of the files when it is not.
  execFileSync(process.execPath, [`${ROOT}scripts/generate.mjs`, "--check"], { cwd: ROOT, stdio: "pipe" });
  expect(configSchema).toEqual(JSON.parse(readFileSync(`${ROOT}schemas/holdfast.schema.json`, "utf8")));
});

test("every property can be documented, and every map is closed", () => {
  const faults: string[] = [];
  const visit = (node: unknown, path: string): void => {
    if (typeof node !== "object" || node === null) return;
    const { properties, type, additionalProperties, oneOf } = node as Record<string, unknown>;
    if (type === "object" && oneOf === undefined && additionalProperties === undefined) faults.push(`${path} is open`);
    for (const [key, property] of Object.entries((properties ?? {}) as Record<string, Record<string, unknown>>))
      if (property["description"] === undefined && property["$ref"] === undefined)
        faults.push(`${path}.${key} has no description`);
    for (const [key, child] of Object.entries(node)) visit(child, `${path}/${key}`);
  };
  visit(configSchema, "");
  expect(faults).toEqual([]);
});
