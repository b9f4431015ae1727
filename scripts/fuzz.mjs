// Every parser under damaged input: `node scripts/fuzz.mjs --cases 1000000 --seed 1`. Prints a line a parser; one that
// fails says how to repeat its case: `--seed S --parser NAME --case N`. Exits with 1 when any did.
import { parseArgs } from "node:util";
import { fuzz, fuzzCase, FuzzFailure, watchAllocations } from "../test/support/fuzz/fuzz.ts";
import { allParsers } from "../test/support/fuzz/parsers.ts";

const { values } = parseArgs({
  options: {
    cases: { type: "string", default: "1000000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    parser: { type: "string" },
    case: { type: "string" },
    from: { type: "string", default: "0" },
  },
});

const parsers = (await allParsers()).filter(({ name }) => values.parser === undefined || name === values.parser);
if (parsers.length === 0) {
  console.error(`There is no parser ${values.parser}.`);
  process.exit(2);
}
console.log(`Seed ${values.seed}`);

if (values.case !== undefined) {
  for (const parser of parsers) {
    using watch = watchAllocations();
    const accepted = await fuzzCase(parser, values.seed, Number(values.case), watch);
    console.log(`${parser.name}: ${accepted ? "a value" : "refused"}, ${watch.largestBytes} bytes allocated at once at most`);
  }
} else {
  // Most cases end in an error, whose stack nobody reads and which costs more than the rest; a repeated case has it.
  Error.stackTraceLimit = 0;
  const shares = parsers.reduce((sum, { share = 1 }) => sum + share, 0);
  const from = Number(values.from);
  const total = { cases: 0, seconds: 0 };
  console.log(`${"parser".padEnd(36)} ${"cases".padStart(9)} ${"accepted".padStart(9)} ${"a second".padStart(9)} slowest ms`);
  for (const parser of parsers) {
    const cases = Math.ceil((Number(values.cases) * (parser.share ?? 1)) / shares);
    const count = { cases: 0, accepted: 0, seconds: 0, slowestMs: 0 };
    try {
      await fuzz(parser, values.seed, from, from + cases, count);
    } catch (error) {
      if (!(error instanceof FuzzFailure)) throw error;
      console.log(`FAILED ${error.message}\n`);
      process.exitCode = 1;
    }
    const rate = count.seconds > 0 ? Math.round(count.cases / count.seconds) : 0;
    const line = [count.cases, count.accepted, rate].map((value) => String(value).padStart(9)).join(" ");
    console.log(`${parser.name.padEnd(36)} ${line} ${count.slowestMs.toFixed(0).padStart(10)}`);
    total.cases += count.cases;
    total.seconds += count.seconds;
  }
  console.log(`${total.cases} cases in ${total.seconds.toFixed(0)} s`);
}
