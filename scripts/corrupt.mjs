// The corruption campaign in full: `node scripts/corrupt.mjs --cases 1000 --seed 1`. Flips bits of and cuts every class of
// object of a repository and of an archive store, one at a time; prints a line a class. Exits with 1 at the first promise
// that did not hold.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Corruption } from "../test/support/corruption.ts";
import { CorruptionWorld } from "../test/support/corruption-world.ts";

const { values } = parseArgs({
  options: {
    cases: { type: "string", default: "1000" },
    archives: { type: "string", default: "250" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    "restore-every": { type: "string", default: "1" },
    "recover-every": { type: "string", default: "10" },
  },
});

const started = Date.now();
const since = () => `${((Date.now() - started) / 1000).toFixed(0)} s`.padStart(7);
console.log(`Seed ${values.seed}`);
for (const [kind, cases, recoverEvery] of [
  ["repository", Number(values.cases), Number(values["recover-every"])],
  ["archive", Number(values.archives), 0],
]) {
  if (cases === 0) continue;
  const folder = mkdtempSync(join(tmpdir(), "holdfast-corruption-"));
  try {
    const world = await CorruptionWorld.create(folder, kind, values.seed);
    const log = (line) => console.log(`${since()}  ${line}`);
    const corruption = new Corruption({
      world,
      seed: values.seed,
      restoreEvery: Number(values["restore-every"]),
      recoverEvery,
      log,
    });
    await corruption.checkIntact(["restore", "read"]);
    try {
      await corruption.flipsAndTruncations(cases);
      await corruption.checkIntact();
    } finally {
      console.log(`\n${kind}, ${world.objects().length} objects\n${corruption.table()}\n`);
    }
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
console.log(`Again: node scripts/corrupt.mjs --cases ${values.cases} --archives ${values.archives} --seed ${values.seed}`);
if (process.exitCode !== 1) console.log("Every promise held.");
