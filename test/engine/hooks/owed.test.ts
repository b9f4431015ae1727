/** What a dead process owes: run once, in order, by one of those who could. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { asRunId, type RunId } from "../../../src/base/ids.ts";
import type { HookConfig } from "../../../src/config/config.ts";
import { runBackup } from "../../../src/engine/apply.ts";
import { settleOwedHooks } from "../../../src/engine/hooks/owed.ts";
import type { Session } from "../../../src/engine/session.ts";
import type { PromisedHook } from "../../../src/state/owed-hooks.ts";
import { identityOf, processIdentity } from "../../../src/state/process-identity.ts";
import { openState, type State } from "../../../src/state/state.ts";
import { createSystemClock } from "../../../src/state/system-clock.ts";
import { MemoryTarget } from "../../support/memory-target.ts";
import { sessionOf } from "../backup/fixture.ts";

let folder: string;
let state: State;
const children: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-owed-"));
  state = openState(join(folder, "state"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  state[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

const never = (): AbortSignal => new AbortController().signal;
const id = (n: number): RunId => asRunId(String(n).padStart(32, "0"));
const config: HookConfig = { run: [], timeoutMs: 60_000, onError: "warn" };
const promised = (what: string, more: Partial<PromisedHook> = {}): PromisedHook => ({
  ...config,
  run: ["sh", "-c", `echo "${what}: $HOLDFAST_RUN $HOLDFAST_JOB/$HOLDFAST_SOURCE $HOLDFAST_HOOK $HOLDFAST_STATUS" >>trace`],
  name: `hooks.${what}`,
  kind: "after",
  cwd: folder,
  ...more,
});
const trace = (): string[] =>
  existsSync(join(folder, "trace")) ? readFileSync(join(folder, "trace"), "utf8").trimEnd().split("\n") : [];
const line = (what: string, run: number, owner: string, status = "interrupted"): string =>
  `${what}: ${id(run)} ${owner} after ${status}`;

function sql(text: string, ...values: (string | number)[]): void {
  using raw = new DatabaseSync(join(folder, "state/state.db"));
  raw.prepare(text).run(...values);
}

function begin(n: number, job = "job"): RunId {
  state.startRun({ id: id(n), kind: "backup", subject: job, startedMs: n });
  return id(n);
}
/** Another process of the same id has begun it, and is gone. */
const dies = (n: number): void => sql("UPDATE runs SET process_start = '1' WHERE id = ?", id(n));
const session = (of: State = state): Session =>
  sessionOf(of, {
    targets: { disk: new MemoryTarget() },
    sources: [],
    configPath: join(folder, "config.yaml"),
    surroundings: { env: { PATH: process.env["PATH"] }, clock: createSystemClock() },
  });
const texts = (run: RunId): string[] => state.logs(run).map(({ text }) => text);

test("is run once, the oldest run first and a job after its sources, and logged where it belongs", async () => {
  for (const n of [2, 1]) {
    begin(n);
    state.owedHooks.owe(id(n), "job", undefined, [promised("job"), promised("job too")]);
    state.owedHooks.owe(id(n), "job", "files", [promised("files")]);
  }
  dies(1);
  dies(2);
  await using one = session();
  await settleOwedHooks(one, { signal: never() });
  expect(trace()).toEqual([
    line("files", 1, "job/files"),
    line("job", 1, "job/"),
    line("job too", 1, "job/"),
    line("files", 2, "job/files"),
    line("job", 2, "job/"),
    line("job too", 2, "job/"),
  ]);
  expect(state.run(id(1))?.status).toBe("interrupted");
  expect(texts(id(1))).toEqual([
    "hooks.files is made up for: the run did not get to it",
    "hooks.files: runs sh",
    "hooks.job is made up for: the run did not get to it",
    "hooks.job: runs sh",
    "hooks.job too is made up for: the run did not get to it",
    "hooks.job too: runs sh",
  ]);
  await settleOwedHooks(one, { signal: never() });
  expect(trace()).toHaveLength(6);
});

test("is not run while the run goes on, nor for another job, nor twice when it fails", async () => {
  begin(1);
  state.owedHooks.owe(id(1), "job", undefined, [promised("alive")]);
  begin(2, "other");
  state.owedHooks.owe(id(2), "other", undefined, [promised("other")]);
  dies(2);
  begin(3);
  state.owedHooks.owe(id(3), "job", undefined, [promised("bad", { run: ["sh", "-c", "exit 7"], onError: "fail" })]);
  dies(3);
  await using one = session();
  await settleOwedHooks(one, { job: "job", signal: never() });
  expect(trace()).toEqual([]);
  expect(state.logs(id(3)).at(-1)).toMatchObject({ level: "error", text: "The hook hooks.bad (sh) failed: it exited with 7" });
  await settleOwedHooks(one, { signal: never() });
  expect(trace()).toEqual([line("other", 2, "other/")]);
  expect(texts(id(3))).toHaveLength(3);
});

test("is told how the run ended when it was not killed", async () => {
  begin(1);
  state.owedHooks.owe(id(1), "job", undefined, [promised("late")]);
  state.endRun(id(1), { status: "cancelled", endedMs: 5 });
  await using one = session();
  await settleOwedHooks(one, { signal: never() });
  expect(trace()).toEqual([line("late", 1, "job/", "cancelled")]);
});

test("of several who could run it one does, and a backup of that job waits until it has", async () => {
  begin(1);
  state.owedHooks.owe(id(1), "job", undefined, [
    promised("slow", { run: ["sh", "-c", "echo begin >>trace; while [ ! -e go ]; do sleep 0.05; done; echo end >>trace"] }),
  ]);
  dies(1);
  using second = openState(join(folder, "state"));
  await using one = session();
  await using other = session(second);
  const first = settleOwedHooks(one, { signal: never() });
  await vi.waitFor(() => expect(trace()).toEqual(["begin"]), { timeout: 60_000 });
  await settleOwedHooks(other, { signal: never() });
  let waited = false;
  const waiting = settleOwedHooks(other, { job: "job", signal: never() }).then(() => (waited = true));
  await settleOwedHooks(other, { job: "another", signal: never() });
  expect(waited).toBe(false);
  spawn("touch", [join(folder, "go")]);
  await Promise.all([first, waiting]);
  expect(trace()).toEqual(["begin", "end"]);
});

test("is free again when the process that had taken it on is gone, and not while it lives", async () => {
  begin(1);
  state.owedHooks.owe(id(1), "job", undefined, [promised("it")]);
  dies(1);
  await using one = session();
  const living = spawn("sleep", ["600"]);
  children.push(living);
  await once(living, "spawn");
  state.interruptDead(1);
  sql("UPDATE owed_hooks SET claimed_by = ?", JSON.stringify(identityOf(living.pid as number)));
  await settleOwedHooks(one, { signal: never() });
  expect(trace()).toEqual([]);
  sql("UPDATE owed_hooks SET claimed_by = ?", JSON.stringify({ ...processIdentity(), processStart: "1" }));
  await settleOwedHooks(one, { signal: never() });
  expect(trace()).toEqual([line("it", 1, "job/")]);
});

test("comes after what was still running of that run has been ended, and nothing else is", async () => {
  const leftOver = spawn("sh", ["-c", "echo; exec sleep 600"], {
    detached: true,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const stranger = spawn("sleep", ["600"], { detached: true });
  children.push(leftOver, stranger);
  await once(leftOver.stdout as NodeJS.ReadableStream, "data");
  begin(1);
  state.owedHooks.owe(id(1), "job", undefined, [
    promised("job", { run: ["sh", "-c", `kill -0 ${leftOver.pid} || echo gone >>trace`] }),
  ]);
  state.owedHooks.owe(id(1), "job", "files", [promised("files")]);
  state.owedHooks.setRunning(id(1), undefined, identityOf(leftOver.pid as number));
  // Its number belongs to another process by now.
  state.owedHooks.setRunning(id(1), "files", { ...identityOf(stranger.pid as number), processStart: "1" });
  dies(1);
  const ended = once(leftOver, "exit");
  await using one = session();
  await settleOwedHooks(one, { signal: never() });
  expect(await ended).toEqual([null, "SIGTERM"]);
  expect(trace()).toEqual([line("files", 1, "job/files"), "gone"]);
  expect(stranger.exitCode ?? stranger.signalCode).toBeNull();
});

test("waits for the next time when this process is told to stop", async () => {
  begin(1);
  const abort = new AbortController();
  state.owedHooks.owe(id(1), "job", undefined, [
    promised("first", { run: ["sh", "-c", "touch began; while [ ! -e go ]; do sleep 0.05; done; echo first >>trace"] }),
    promised("second"),
  ]);
  dies(1);
  await using one = session();
  const settling = settleOwedHooks(one, { job: "job", signal: abort.signal });
  await vi.waitFor(() => expect(existsSync(join(folder, "began"))).toBe(true), { timeout: 60_000 });
  abort.abort();
  spawn("touch", [join(folder, "go")]);
  await settling;
  expect(trace()).toEqual(["first"]);
  await settleOwedHooks(one, { signal: never() });
  expect(trace()).toEqual(["first", line("second", 1, "job/")]);
});

test("comes before anything of the next backup of that job", async () => {
  begin(1);
  state.owedHooks.owe(id(1), "job", undefined, [promised("owed")]);
  dies(1);
  await using one = sessionOf(state, {
    targets: { disk: new MemoryTarget() },
    sources: [],
    configPath: join(folder, "config.yaml"),
    job: {
      hooks: { before: [{ ...config, run: ["sh", "-c", "echo before >>trace"] }], after: [], onSuccess: [], onFailure: [] },
    },
    surroundings: { env: { PATH: process.env["PATH"] } },
  });
  await runBackup(one, "job", { signal: never(), dryRun: true });
  expect(trace()).toEqual([]);
  await runBackup(one, "job", { signal: never() });
  expect(trace()).toEqual([line("owed", 1, "job/"), "before"]);
});
