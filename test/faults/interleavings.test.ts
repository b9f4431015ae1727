import { describe, expect, test, vi } from "vitest";
import { EVENTS, interleave } from "../support/interleavings.ts";

// Two writers and a maintainer at one simulated target, in as many interleavings as HOLDFAST_INTERLEAVINGS says, of each kind of
// listing: `npm run test:interleavings` runs 1,000. HOLDFAST_SEED is the first seed; a failure names its own, and
// `HOLDFAST_SEED=n HOLDFAST_INTERLEAVINGS=1` runs that one again.
//
// One thread, real commit, leases, index, prune, repair and verify; the threads of verify and prune are replaced by calls, and the
// reading side of a backup by one that makes its chunks from memory. What is not replaced is tested with real processes in
// kill.test.ts and frozen-owner.test.ts.

vi.mock("../../src/formats/repository/verify/verify-pool.ts", () => import("../support/threads-here.ts"));
vi.mock("../../src/formats/repository/verify/job-thread.ts", () => import("../support/threads-here.ts"));

const FULL = 1000;
const runs = Number(process.env["HOLDFAST_INTERLEAVINGS"] ?? 10);
const first = Number(process.env["HOLDFAST_SEED"] ?? 1);

describe(`two writers and a maintainer, ${runs} interleavings from seed ${first}`, () => {
  test.each(["strong", "eventual"] as const)(
    "lose nothing, say no success that is none, and need no repair afterwards, where listing is %s",
    async (listing) => {
      const totals = new Map<string, number>();
      const failures: string[] = [];
      for (let seed = first; seed < first + runs; seed++) {
        try {
          for (const [event, count] of (await interleave({ seed: String(seed), listing })).counts)
            totals.set(event, (totals.get(event) ?? 0) + count);
        } catch (error) {
          failures.push(error instanceof Error ? error.message : String(error));
        }
      }
      if (runs > 50) process.stdout.write(`${tableOf(totals)}\n`);
      expect(failures.slice(0, 3).join("\n\n"), `${failures.length} of ${runs} failed`).toBe("");
      if (runs >= FULL) expect(EVENTS[listing].filter((event) => !totals.has(event))).toEqual([]);
    },
    7_200_000,
  );

  test.each(["strong", "eventual"] as const)("depend on their seed alone, where listing is %s", async (listing) => {
    const seed = String(first);
    expect((await interleave({ seed, listing })).log).toEqual((await interleave({ seed, listing })).log);
  });
});

function tableOf(totals: ReadonlyMap<string, number>): string {
  const rows = [...totals].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return rows.map(([event, count]) => `${String(count).padStart(8)}  ${event}`).join("\n");
}
