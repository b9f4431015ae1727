import { randomInt } from "node:crypto";
import { expect, test } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import { SeededNumbers } from "../support/changing-tree.ts";
import { fuzz, fuzzCase, watchAllocations, type FuzzCount, type FuzzedParser } from "../support/fuzz/fuzz.ts";
import { allParsers } from "../support/fuzz/parsers.ts";

// The small form of `node scripts/fuzz.mjs`. A failure says how to repeat its case.

const seed = process.env["HOLDFAST_SEED"] ?? String(randomInt(1_000_000));
const CASES = 800;
const parsers = await allParsers();

test.each(parsers)(`$name: a value or an error of its own, in bounded memory (seed ${seed})`, async (parser) => {
  const cases = Math.max(2, Math.ceil(CASES * (parser.share ?? 1)));
  const count: FuzzCount = { cases: 0, accepted: 0, seconds: 0, slowestMs: 0 };
  await fuzz(parser, seed, 0, cases, count);
  expect(count.cases).toBe(cases);
});

test.each(parsers)("$name: takes what the real writers make, which is where mutations start", async (parser) => {
  let taken = 0;
  // Some choose by chance how to read; these numbers are the same in every run.
  for (let i = 0; i < 100 && taken < parser.corpus.length; i++)
    try {
      await parser.parse(parser.corpus[i % parser.corpus.length] as Buffer, new SeededNumbers(`valid ${i}`));
      taken++;
    } catch (error) {
      expect(error).toBeInstanceOf(HoldfastError);
    }
  expect(taken).toBeGreaterThan(0);
});

test("a parser that throws something else, or allocates what a length claims, is found", async () => {
  using watch = watchAllocations();
  const broken = (parse: FuzzedParser["parse"]): FuzzedParser => ({ name: "broken", corpus: [Buffer.from("abc")], parse });
  const type = broken((bytes) => (bytes as unknown as { nothing: { at: number } }).nothing.at);
  await expect(fuzzCase(type, seed, 0, watch)).rejects.toThrow(/--parser 'broken' --case 0/);
  for (const allocate of [() => Buffer.alloc(2 ** 26), () => new Uint8Array(2 ** 26)])
    await expect(fuzzCase(broken(allocate), seed, 1, watch)).rejects.toThrow("allocated");
});
