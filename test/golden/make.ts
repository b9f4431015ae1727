/**
 * Writes what is golden and not there yet: `node test/golden/make.ts`. What is there is never written again: it is what a
 * released version wrote, and the tests are there to prove that this version agrees with it.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { allVectors } from "./vectors.ts";

const HERE = import.meta.dirname;

mkdirSync(join(HERE, "vectors"), { recursive: true });
for (const [name, vectors] of Object.entries(await allVectors())) {
  const path = join(HERE, "vectors", `${name}.json`);
  if (!existsSync(path)) writeFileSync(path, `${JSON.stringify(vectors, null, 2)}\n`);
}
