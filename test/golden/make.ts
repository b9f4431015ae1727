/**
 * Writes what is golden and not there yet: `node test/golden/make.ts`. What is there is never written again: it is what a
 * released version wrote, and the tests are there to prove that this version agrees with it. As root, for devices.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BACKED_UP, removeSource } from "./backed-up.ts";
import { manifestText, VERSIONS } from "./manifest.ts";
import { MADE_BY_ENCODERS } from "./repositories.ts";
import { allVectors } from "./vectors.ts";

const vectorsFolder = join(import.meta.dirname, "vectors");
mkdirSync(vectorsFolder, { recursive: true });
for (const [name, vectors] of Object.entries(await allVectors())) {
  const path = join(vectorsFolder, `${name}.json`);
  if (!existsSync(path)) writeFileSync(path, `${JSON.stringify(vectors, null, 2)}\n`);
}

for (const [name, make] of Object.entries({ ...MADE_BY_ENCODERS, ...BACKED_UP })) {
  const folder = join(VERSIONS, "v1", name);
  if (existsSync(folder)) continue;
  const repository = join(folder, "repository");
  mkdirSync(repository, { recursive: true });
  writeFileSync(join(folder, "manifest.json"), manifestText(await make(repository)));
  rmSync(join(repository, "tmp"), { recursive: true, force: true });
}
removeSource();
