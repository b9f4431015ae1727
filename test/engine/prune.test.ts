import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import { asRunId } from "../../src/base/ids.ts";
import { runBackup } from "../../src/engine/apply.ts";
import { observe } from "../../src/engine/observe.ts";
import { ownWorkplace } from "../../src/engine/operations.ts";
import { pruneNow, type PrunePart } from "../../src/engine/prune/prune-jobs.ts";
import { runPrune } from "../../src/engine/prune/prune.ts";
import { openState, type State } from "../../src/state/state.ts";
import { MemoryTarget } from "../support/memory-target.ts";
import { filesSource, sessionOf } from "./backup/fixture.ts";

let folder: string;
let state: State;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-prune-"));
  state = openState(folder);
});
afterEach(() => {
  state[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

const never = new AbortController().signal;

test("a retention that fails makes the run of the prune fail, which frees nothing then", async () => {
  await using session = sessionOf(state, { targets: { disk: new MemoryTarget() } });
  await session.create("disk", { recreate: false });
  const refused = new HoldfastError("target_denied", "It may not be deleted");
  const outcome = await runPrune(session, "disk", {
    dryRun: false,
    immediate: false,
    first: async () => {
      throw refused;
    },
    signal: never,
  });
  expect(outcome).toMatchObject({ status: "failed", error: { code: "target_denied" } });
  expect(state.runs()).toMatchObject([{ kind: "prune", subject: "disk", status: "failed", error: { code: "target_denied" } }]);
  const done: string[] = [];
  await runPrune(session, "disk", {
    dryRun: false,
    immediate: false,
    first: async () => void done.push("retention"),
    signal: never,
  });
  expect(done).toEqual(["retention"]);
});

test("the last attempts of a job are seen, however often others ran or were skipped since", async () => {
  await using session = sessionOf(state, { targets: { disk: new MemoryTarget() } });
  const [job = ""] = [...session.config.jobs.keys()];
  const id = asRunId("1".padStart(32, "0"));
  state.startRun({ id, kind: "backup", subject: job, startedMs: 1 });
  state.endRun(id, { status: "failed", endedMs: 2 });
  using raw = new DatabaseSync(join(folder, "state.db"));
  const copies = raw.prepare(
    `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
     INSERT INTO runs (id, kind, subject, started_ms, ended_ms, status, boot_id, pid_namespace, pid, process_start)
     SELECT ?1 || i, kind, ?1, 10 + i, 11 + i, ?2, boot_id, pid_namespace, pid, process_start FROM runs, n WHERE id = ?3`,
  );
  copies.run("busy", "success", id);
  copies.run(job, "skipped", id);
  const { runs } = await observe(session);
  expect(runs).toContainEqual(expect.objectContaining({ subject: job, status: "failed", startedMs: 1 }));
  expect(runs.filter(({ startedMs }) => startedMs === 1)).toHaveLength(1);
});

test("what could not be deleted is not told as deleted", async () => {
  await using session = sessionOf(state, { targets: { disk: new MemoryTarget() }, sources: [filesSource("docs", folder)] });
  const [job = ""] = [...session.config.jobs.keys()];
  await session.create("disk", { recreate: false });
  for (let n = 0; n < 2; n++)
    expect(await runBackup(session, job, { mode: "full", reason: "", signal: never })).toMatchObject({ status: "success" });
  const store = await session.store("disk");
  const prune = async (): Promise<PrunePart[]> => {
    const parts: PrunePart[] = [];
    const request = { keepLast: 1, dryRun: false, immediate: false };
    await pruneNow(ownWorkplace(session), request, {
      onNotice: () => undefined,
      onPart: (part) => void parts.push(part),
      signal: never,
    });
    return parts;
  };
  const refused = vi.spyOn(store, "delete").mockRejectedValue(new HoldfastError("target_denied", "It may not be deleted"));
  expect(await prune()).toMatchObject([
    { part: "pruned", outcome: { status: "failed", error: { code: "target_denied" } }, removals: [] },
  ]);
  expect(await store.snapshots({ signal: never })).toHaveLength(2);
  refused.mockRestore();
  expect(await prune()).toMatchObject([{ part: "pruned", removals: [{ job, remove: [{}] }] }]);
  expect(await store.snapshots({ signal: never })).toHaveLength(1);
});
