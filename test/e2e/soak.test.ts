import { expect, test } from "vitest";
import { soak } from "../support/daemon-soak.ts";
import { temporaryTree } from "../support/tree-literal.ts";

/** In full: `npm run test:soak`. */
test("while its configuration changes all the time, a daemon loses no slot, runs none twice, and goes on", async () => {
  using folder = temporaryTree({});
  const seed = Date.now() % 1_000_000;
  const result = await soak({ folder: folder.path, jobs: 4, seconds: 16, edits: 7, seed });
  expect(result, `seed ${seed}`).toMatchObject({ lost: [], doubled: [], failed: [], exitCode: 0 });
  expect(result.edits).toMatchObject({ invalid: 2, removed: 1 });
  expect(result.slots.run).toBeGreaterThan(5);
});
