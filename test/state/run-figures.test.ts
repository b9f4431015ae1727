import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { asRunId } from "../../src/base/ids.ts";
import type { RunKind, RunStatus } from "../../src/base/events.ts";
import { openState, type State } from "../../src/state/state.ts";
import { temporaryTree } from "../support/tree-literal.ts";

let made = 0;
const id = (): ReturnType<typeof asRunId> => asRunId(String(++made).padStart(32, "0"));

function ran(state: State, kind: RunKind, subject: string, status: RunStatus, statistics?: Record<string, unknown>): void {
  const run = id();
  state.startRun({ id: run, kind, subject, startedMs: made });
  state.endRun(run, { status, endedMs: made, ...(statistics && { statistics }) });
}

const counts = (state: State): string[] =>
  state.runFigures.counts().map(({ kind, subject, status, runs }) => `${kind} ${subject} ${status} ${runs}`);

test("runs are counted once, when they end, whoever ends them, and stay counted when they are forgotten", () => {
  using folder = temporaryTree({});
  using state = openState(folder.path);
  using beside = openState(folder.path);
  ran(state, "backup", "docs", "success");
  ran(beside, "backup", "docs", "success");
  ran(state, "verify", "docs", "failed");
  const run = id();
  state.startRun({ id: run, kind: "backup", subject: "docs", startedMs: 1 });
  expect(counts(state)).toEqual(["backup docs success 2", "verify docs failed 1"]);
  state.endRun(run, { status: "cancelled", endedMs: 2 });
  // The first end counts.
  state.endRun(run, { status: "success", endedMs: 3 });
  state.skipRun({ id: id(), kind: "prune", subject: "disk", reason: "frozen", timeMs: 4 });
  const all = ["backup docs cancelled 1", "backup docs success 2", "prune disk skipped 1", "verify docs failed 1"];
  expect(counts(state)).toEqual(all);
  expect(state.forgetRuns(1e9)).toBe(5);
  expect(counts(beside)).toEqual(all);
});

test("a restore counts for the job that its snapshot is of, however many snapshots there are", () => {
  using folder = temporaryTree({});
  using state = openState(folder.path);
  ran(state, "restore", "1a2b3c4d (docs / files)", "success");
  ran(state, "restore", "ffffffff (docs / mail)", "success");
  ran(state, "restore", "ffffffff (web_1-x / mail)", "partial");
  ran(state, "restore", "something else", "failed");
  expect(counts(state)).toEqual(["restore docs success 2", "restore something else failed 1", "restore web_1-x partial 1"]);
});

test("a database of before is counted when it is taken over", () => {
  using folder = temporaryTree({});
  {
    using state = openState(folder.path);
    ran(state, "backup", "docs", "success");
    ran(state, "backup", "docs", "failed");
    ran(state, "restore", "1a2b3c4d (docs / files)", "success");
    state.startRun({ id: id(), kind: "backup", subject: "open", startedMs: 1 });
  }
  const database = new DatabaseSync(join(folder.path, "state.db"));
  const [row] = database.prepare("SELECT max(version) AS version FROM schema").all();
  expect(row, "this test undoes migration 5 and those after it").toEqual({ version: 6 });
  database.exec(
    "DROP TRIGGER run_ended; DROP TRIGGER run_ended_at_once; DROP TABLE run_counts; DROP TABLE audit; DROP TABLE audit_head; DELETE FROM schema WHERE version >= 5",
  );
  database.close();
  using state = openState(folder.path);
  expect(counts(state)).toEqual(["backup docs failed 1", "backup docs success 1", "restore docs success 1"]);
  ran(state, "backup", "docs", "failed");
  expect(counts(state)).toContain("backup docs failed 2");
});

test("the newest run that stored something is found under every name of its job", () => {
  using folder = temporaryTree({});
  using state = openState(folder.path);
  expect(state.runFigures.lastDone("backup", ["docs", "old"])).toBeUndefined();
  ran(state, "backup", "old", "success", { n: 1 });
  ran(state, "backup", "docs", "partial", { n: 2 });
  ran(state, "backup", "docs", "failed", { n: 3 });
  ran(state, "verify", "docs", "success", { n: 4 });
  ran(state, "backup", "other", "success", { n: 5 });
  expect(state.runFigures.lastDone("backup", ["docs", "old"])).toMatchObject({ statistics: { n: 2 } });
  expect(state.runFigures.lastDone("backup", ["old"])).toMatchObject({ statistics: { n: 1 } });
});

test("the depth of the outbox says how much waits, since when, and what was given up last", () => {
  using folder = temporaryTree({});
  using state = openState(folder.path);
  expect(state.outbox.depth()).toEqual({ pending: 0, pendingSinceMs: undefined, dead: 0, lastDeadMs: undefined });
  for (const [n, timeMs] of [100, 200, 300].entries())
    state.recordEvent({
      id: `evt_${n}`,
      type: "backup_failed",
      timeMs,
      run: undefined,
      payload: "{}",
      deliveries: [{ receiver: "webhook chat", dueMs: timeMs }],
    });
  expect(state.outbox.depth()).toMatchObject({ pending: 3, pendingSinceMs: 100, dead: 0 });
  const [first] = state.outbox.claim("webhook chat", { nowMs: 400, leaseMs: 1000, lease: "x" });
  state.outbox.dead(first!, 500, "no");
  expect(state.outbox.depth()).toEqual({ pending: 2, pendingSinceMs: 200, dead: 1, lastDeadMs: 500 });
});
