import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import type { RunKind, RunStatus } from "../../src/base/events.ts";
import { asRunId } from "../../src/base/ids.ts";
import { eventsOfEnd, recordInterrupted } from "../../src/engine/run-events.ts";
import { performRun, type RunDescription } from "../../src/engine/runs.ts";
import { openState, type State } from "../../src/state/state.ts";
import { configOf, webhook } from "../notify/setting.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { sessionOf } from "./backup/fixture.ts";

const NOW = Date.parse("2026-06-01T00:00:00Z");
const config = configOf([webhook("http://unused.example/")]);
let folder: string;
let state: State;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-run-events-"));
  state = openState(folder);
});
afterEach(() => {
  state[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

const types = (): string[] =>
  state.outbox
    .deliveries()
    .map(({ type }) => type)
    .toReversed();

/** Runs something that ends so, and returns the payloads it left. */
async function ran(
  description: RunDescription,
  end: RunStatus | HoldfastError,
  signal = new AbortController().signal,
): Promise<Record<string, unknown>[]> {
  await using session = sessionOf(state, { targets: {}, surroundings: { clock: new FakeClock(NOW) }, config });
  await performRun(session, description, signal, async () => {
    if (end instanceof HoldfastError) throw end;
    return { status: end, result: undefined, statistics: { bytes: 7 } };
  });
  const claimed = state.outbox.claim("webhooks.hook", { nowMs: NOW, leaseMs: 1000, lease: "l", limit: 10 });
  for (const one of claimed) state.outbox.delivered(one, NOW);
  return claimed.map(({ payload }) => JSON.parse(payload) as Record<string, unknown>);
}

test("a run tells of its beginning and its end, with what one wants to know", async () => {
  const [started, failed] = await ran(
    { kind: "backup", subject: "docs", reason: "schedule: nightly", targets: ["disk"] },
    new HoldfastError("target_full", "Target disk is full", { hint: "Make room." }),
  );
  expect(started).toMatchObject({ type: "backup_started", data: { summary: "Backup of docs started on web1", jobs: ["docs"] } });
  expect(failed).toMatchObject({
    type: "backup_failed",
    timestamp: "2026-06-01T00:00:00.000Z",
    data: {
      summary: "Backup of docs failed on web1: Target disk is full",
      host: "web1",
      jobs: ["docs"],
      targets: ["disk"],
      run: {
        kind: "backup",
        subject: "docs",
        status: "failed",
        reason: "schedule: nightly",
        startTime: "2026-06-01T00:00:00.000Z",
        durationMs: 0,
        error: { code: "target_full", message: "Target disk is full", hint: "Make room." },
      },
    },
  });
  expect(failed!["id"]).not.toBe(started!["id"]);
  const { id } = state.runs()[0]!;
  expect(failed).toMatchObject({ data: { run: { id } } });
  const [, completed] = await ran({ kind: "backup", subject: "docs" }, "success");
  // Without its own targets a backup is about those of its job.
  expect(completed).toMatchObject({ type: "backup_completed", data: { targets: ["disk"], run: { statistics: { bytes: 7 } } } });
});

test("each kind and status has its event, and what is not whole is no success", () => {
  const table = (["backup", "verify", "prune", "restore", "repair", "apply"] as const).map((kind: RunKind) => [
    kind,
    ...(["success", "partial", "failed", "interrupted", "cancelled", "skipped"] as const).map(
      (status) =>
        eventsOfEnd(config, { id: asRunId("0"), kind, subject: "docs", startedMs: 0 }, { status, endedMs: 0 })[0]?.type ?? "-",
    ),
  ]);
  expect(table).toEqual([
    ["backup", "backup_completed", "backup_partial", "backup_failed", "backup_failed", "-", "-"],
    ["verify", "verify_completed", "verify_failed", "verify_failed", "verify_failed", "-", "-"],
    ["prune", "prune_completed", "prune_failed", "prune_failed", "prune_failed", "-", "-"],
    ["restore", "restore_completed", "restore_failed", "restore_failed", "restore_failed", "-", "-"],
    ["repair", "-", "-", "-", "-", "-", "-"],
    ["apply", "-", "-", "-", "-", "-", "-"],
  ]);
});

test("a prune is about its target, a restore about the job of its snapshot", async () => {
  expect(await ran({ kind: "prune", subject: "docs", targets: ["docs"] }, "success")).toMatchObject([
    { data: { jobs: [], targets: ["docs"] } },
  ]);
  expect(await ran({ kind: "restore", subject: "1234 (docs / files)", job: "docs", targets: ["disk"] }, "partial")).toMatchObject(
    [{ type: "restore_failed", data: { jobs: ["docs"], targets: ["disk"], run: { status: "partial" } } }],
  );
});

test("a dry run is in no history, and nobody is told of it, nor of an end that somebody asked for", async () => {
  expect(await ran({ kind: "backup", subject: "docs", dryRun: true }, "success")).toEqual([]);
  expect(await ran({ kind: "backup", subject: "docs" }, "success", AbortSignal.abort())).toMatchObject([
    { type: "backup_started" },
  ]);
  expect(state.runs().map(({ status }) => status)).toEqual(["cancelled"]);
});

test("a run whose process died is told of once, by whoever comes next, and old ones are not", () => {
  const interrupted = (n: number, endedMs: number): void => {
    const id = asRunId(String(n).padStart(32, "0"));
    state.startRun({ id, kind: "backup", subject: "docs", startedMs: endedMs });
    state.endRun(id, { status: "interrupted", endedMs });
  };
  interrupted(1, NOW - 25 * 3_600_000);
  interrupted(2, NOW - 3_600_000);
  recordInterrupted(configOf([]), state, NOW);
  expect(types()).toEqual([]);
  recordInterrupted(config, state, NOW);
  recordInterrupted(config, state, NOW);
  expect(types()).toEqual(["backup_failed"]);
  const [claimed] = state.outbox.claim("webhooks.hook", { nowMs: NOW, leaseMs: 1000, lease: "l" });
  expect(JSON.parse(claimed!.payload)).toMatchObject({
    data: { summary: "Backup of docs failed on web1: its process died", run: { status: "interrupted" } },
  });
});
