import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import { asRunId } from "../../src/base/ids.ts";
import { forgetOldRuns, performRun } from "../../src/engine/runs.ts";
import { openState, type State } from "../../src/state/state.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { sessionOf } from "./backup/fixture.ts";

const DAY_MS = 86_400_000;
const NOW = Date.parse("2026-06-01T00:00:00Z");
let folder: string;
let state: State;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-runs-"));
  state = openState(folder);
});
afterEach(() => {
  state[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

function ended(number: number, endedMs: number): void {
  const id = asRunId(String(number).padStart(32, "0"));
  state.startRun({ id, kind: "backup", subject: `run ${number}`, startedMs: endedMs - 1000 });
  state.log(id, "info", "a line", endedMs);
  state.endRun(id, { status: "success", endedMs });
}

test("the end of a run forgets those of more than 400 days ago, with their logs, and no later ones", async () => {
  ended(1, NOW - 400 * DAY_MS - 1);
  ended(2, NOW - 400 * DAY_MS);
  const clock = new FakeClock(NOW);
  await using session = sessionOf(state, { targets: {}, surroundings: { clock } });
  await performRun(session, { kind: "verify", subject: "now" }, new AbortController().signal, async () => ({
    status: "success",
    result: undefined,
  }));
  expect(state.runs().map(({ subject }) => subject)).toEqual(["now", "run 2"]);
  expect(state.logs(undefined)).toHaveLength(1);
});

test("looks once a day, and leaves it for the next when the state cannot be written", () => {
  forgetOldRuns(state, NOW);
  ended(1, NOW - 500 * DAY_MS);
  forgetOldRuns(state, NOW + DAY_MS - 1);
  expect(state.runs()).toHaveLength(1);
  const busy = vi.spyOn(state, "forgetRuns").mockImplementationOnce(() => {
    throw new HoldfastError("state_busy", "busy");
  });
  forgetOldRuns(state, NOW + DAY_MS);
  expect(busy).toHaveBeenCalledOnce();
  expect(state.runs()).toHaveLength(1);
  forgetOldRuns(state, NOW + 2 * DAY_MS);
  expect(state.runs()).toEqual([]);
});
