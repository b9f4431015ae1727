/** The hooks of jobs and sources around a backup: what runs when, told what, and what a failure does. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { HookConfig, HooksConfig, SourceConfig } from "../../../src/config/config.ts";
import { HoldfastError } from "../../../src/base/errors.ts";
import { runBackup } from "../../../src/engine/apply.ts";
import type { Session } from "../../../src/engine/session.ts";
import { openState, type State } from "../../../src/state/state.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { FaultyTarget } from "../../support/faulty-target.ts";
import { MemoryTarget } from "../../support/memory-target.ts";
import { temporaryTree, type TemporaryFolder } from "../../support/tree-literal.ts";
import { filesSource, sessionOf, type Setup } from "../backup/fixture.ts";

const ENV = { PATH: process.env["PATH"] };
let folder: string;
let state: State;
let source: TemporaryFolder;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-hooks-"));
  state = openState(join(folder, "state"));
  source = temporaryTree({ a: "a", b: "b".repeat(200_000) });
});
afterEach(() => {
  state[Symbol.dispose]();
  source[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

/** Writes a line to `trace`: which hook, of what, and what it was told. */
const TRACE = 'echo "$HOLDFAST_HOOK of ${HOLDFAST_SOURCE:-$HOLDFAST_JOB}: $HOLDFAST_STATUS $HOLDFAST_ERROR" >>trace';
const hook = (script = TRACE, more: Partial<HookConfig> = {}): HookConfig => ({
  run: ["sh", "-c", script],
  timeoutMs: 300_000,
  onError: "warn",
  ...more,
});
const hooks = (more: Partial<HooksConfig> = {}): HooksConfig => ({
  before: [hook(TRACE, { onError: "fail" })],
  after: [hook()],
  onSuccess: [hook()],
  onFailure: [hook()],
  ...more,
});
const trace = (): string[] =>
  existsSync(join(folder, "trace"))
    ? readFileSync(join(folder, "trace"), "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => line.trim())
    : [];
const command = (name: string, script: string, more: Partial<SourceConfig> = {}): SourceConfig =>
  ({
    type: "command",
    name,
    command: ["sh", "-c", script],
    filename: "dump",
    timeoutMs: undefined,
    grouping: "frame",
    ...more,
  }) as SourceConfig;
const files = (more: Partial<SourceConfig> = {}): SourceConfig =>
  ({ ...filesSource("files", source.path), ...more }) as SourceConfig;
/** A source that says in the trace when it is read. */
const reading = (name: string, more: Partial<SourceConfig> = {}): SourceConfig =>
  command(name, `echo "reading of ${name}" >>${join(folder, "trace")}; echo data`, more);
const never = (): AbortSignal => new AbortController().signal;
const appears = (file: string): Promise<void> =>
  vi.waitFor(() => expect(existsSync(join(folder, file))).toBe(true), { timeout: 60_000 });

async function ready(setup: Partial<Setup>): Promise<Session> {
  const session = sessionOf(state, {
    targets: { disk: new MemoryTarget() },
    sources: [files()],
    configPath: join(folder, "config.yaml"),
    ...setup,
    surroundings: { env: ENV, ...setup.surroundings },
  });
  for (const name of Object.keys(setup.targets ?? { disk: "" })) await session.create(name, { recreate: false });
  return session;
}

const owed = (): number => {
  // Whoever asks is told of runs that are over only.
  const { claimed, left } = state.owedHooks.claim(undefined);
  return claimed.length + left;
};

describe("hooks", () => {
  test("run in their order, and are told what is going on", async () => {
    await using session = await ready({
      sources: [reading("first", { hooks: hooks() }), reading("second")],
      job: { hooks: hooks() },
    });
    expect(await runBackup(session, "job", { signal: never() })).toMatchObject({ status: "success" });
    expect(trace()).toEqual([
      "before of job: running",
      "before of first: running",
      "reading of first",
      "after of first: read",
      "onSuccess of first: success",
      "reading of second",
      "onSuccess of job: success",
      "after of job: success",
    ]);
    expect(owed()).toBe(0);
  });

  test("know their run and host, inherit what this process has, and no secret of the configuration", async () => {
    const secrets = { PASSWORD: "c4n4ry-1", COPIED: "secret", HOLDFAST_SOURCE: "of an outer run" };
    await using session = await ready({
      sources: [command("env", `env >${join(folder, "source-env")}; echo`)],
      job: { hooks: hooks({ before: [hook("env >hook-env")] }) },
      surroundings: { env: { ...ENV, ...secrets, OWN: "mine" } },
    });
    // The target's password is `secret`; a second one is named, as a configuration would.
    Object.assign(session.config, { encryption: new Map([["other", { password: { env: "PASSWORD" } }]]) });
    const { run } = await runBackup(session, "job", { signal: never() });
    const variables = (file: string): Record<string, string> =>
      Object.fromEntries(
        readFileSync(join(folder, file), "utf8")
          .split("\n")
          .map((line) => [line.split("=")[0] as string, line.slice(line.indexOf("=") + 1)]),
      );
    expect(variables("hook-env")).toMatchObject({
      PATH: ENV.PATH,
      OWN: "mine",
      HOLDFAST_RUN: run,
      HOLDFAST_JOB: "job",
      HOLDFAST_SOURCE: "",
      HOLDFAST_HOOK: "before",
      HOLDFAST_STATUS: "running",
      HOLDFAST_ERROR: "",
      HOLDFAST_HOST: "host",
    });
    for (const file of ["hook-env", "source-env"]) {
      expect(Object.keys(variables(file))).not.toContain("PASSWORD");
      expect(Object.keys(variables(file))).not.toContain("COPIED");
      expect(variables(file)["OWN"]).toBe("mine");
    }
  });

  test("of a source run `after` as soon as it has been read, before the commit", async () => {
    class Slow extends MemoryTarget {
      ranBefore: boolean | undefined;
      override async put(...args: Parameters<MemoryTarget["put"]>): Promise<void> {
        if (args[0].startsWith("snapshots/"))
          await appears("resumed").then(
            () => (this.ranBefore = true),
            () => (this.ranBefore = false),
          );
        await super.put(...args);
      }
    }
    const disk = new Slow();
    await using session = await ready({
      targets: { disk },
      sources: [files({ hooks: hooks({ after: [hook("touch resumed")] }) })],
    });
    expect(await runBackup(session, "job", { signal: never() })).toMatchObject({ status: "success" });
    expect(disk.ranBefore).toBe(true);
  });

  test.each([
    ["read by two archives", ["archive", "archive"], ["reading of first", "reading of first", "after of first: read"]],
    [
      "read by a repository, of which an archive is made",
      ["repository", "archive"],
      ["reading of first", "after of first: read"],
    ],
  ])("of a source that is %s hold it until the last reading is over", async (_, kinds, expected) => {
    await using session = sessionOf(state, {
      targets: { one: new MemoryTarget(), two: new MemoryTarget() },
      sources: [reading("first", { hooks: hooks() })],
      configPath: join(folder, "config.yaml"),
      job: { mode: "full" },
      surroundings: { env: ENV },
    });
    for (const [index, name] of ["one", "two"].entries()) {
      if (kinds[index] === "archive")
        Object.assign(session.target(name), {
          format: { kind: "archive", container: "tar", compression: { type: "none" } },
          encryption: undefined,
        });
      await session.create(name, { recreate: false });
    }
    expect(await runBackup(session, "job", { signal: never() })).toMatchObject({ status: "success" });
    expect(trace()).toEqual(["before of first: running", ...expected, "onSuccess of first: success"]);
  });

  test("are not run by a dry run", async () => {
    await using session = await ready({ sources: [files({ hooks: hooks() })], job: { hooks: hooks() } });
    expect(await runBackup(session, "job", { signal: never(), dryRun: true })).toMatchObject({ status: "success" });
    expect(trace()).toEqual([]);
  });

  test("say what they print in the log of the run, and nothing of it becomes a second line", async () => {
    await using session = await ready({
      job: { hooks: hooks({ before: [hook("echo one; echo two >&2; printf 'a\\033b\\xff'"), hook("exit 4")] }) },
    });
    const { run, status } = await runBackup(session, "job", { signal: never() });
    expect(status).toBe("success");
    const said = state.logs(run).map(({ level, text }) => `${level} ${text}`);
    expect(said).toContain("info jobs.job.hooks.before[0]: runs sh");
    expect(said).toContain("info jobs.job.hooks.before[0]: one");
    expect(said).toContain("warn jobs.job.hooks.before[0]: two");
    expect(said).toContain("info jobs.job.hooks.before[0]: a\\x1bb\\xff");
    expect(said).toContain("warn The hook jobs.job.hooks.before[1] (sh) failed: it exited with 4");
  });
});

describe("a hook that fails", () => {
  const failing = hook("echo the reason >&2; exit 3", { onError: "fail" });

  test("before a job keeps it from being read, with its reason; `after` runs all the same", async () => {
    await using session = await ready({
      sources: [reading("first", { hooks: hooks() })],
      job: { hooks: hooks({ before: [hook(), failing, hook("touch never")] }) },
    });
    const outcome = await runBackup(session, "job", { signal: never() });
    expect(outcome).toMatchObject({
      status: "failed",
      error: { code: "hook_failed", data: { hook: "jobs.job.hooks.before[1]", exitCode: 3, stderr: "the reason" } },
    });
    expect(outcome.error?.message).toContain("it exited with 3: the reason");
    expect(trace()).toEqual([
      "before of job: running",
      "onFailure of job: failed hook_failed",
      "after of job: failed hook_failed",
    ]);
    expect(existsSync(join(folder, "never"))).toBe(false);
    expect(state.run(outcome.run)).toMatchObject({ status: "failed", error: { code: "hook_failed" } });
    expect(owed()).toBe(0);
  });

  test("before a source fails that source; the others are saved", async () => {
    await using session = await ready({
      sources: [reading("first", { hooks: hooks({ before: [failing] }) }), reading("second")],
      job: { hooks: hooks() },
    });
    const { status, error, result } = await runBackup(session, "job", { signal: never() });
    expect([status, error?.code]).toEqual(["failed", "hook_failed"]);
    expect(result?.outcomes.map(({ snapshots }) => snapshots.length)).toEqual([0, 1]);
    expect(trace()).toEqual([
      "before of job: running",
      "after of first: failed hook_failed",
      "onFailure of first: failed hook_failed",
      "reading of second",
      "onFailure of job: failed hook_failed",
      "after of job: failed hook_failed",
    ]);
  });

  test("after a job or a source fails the run when it says so, keeps the snapshot, and keeps no other hook from running", async () => {
    const after = [failing, hook("exit 9", { onError: "fail" }), hook()];
    await using session = await ready({
      sources: [reading("first", { hooks: hooks({ after }) })],
      job: { hooks: hooks({ after }) },
    });
    const { status, error, result } = await runBackup(session, "job", { signal: never() });
    expect([status, error?.data?.["hook"]]).toEqual(["failed", "sources.first.hooks.after[0]"]);
    expect(result?.outcomes[0]?.snapshots).toHaveLength(1);
    expect(trace()).toEqual([
      "before of job: running",
      "before of first: running",
      "reading of first",
      "after of first: read",
      "onSuccess of first: success",
      "onFailure of job: failed hook_failed",
      "after of job: failed hook_failed",
    ]);
    expect(owed()).toBe(0);
  });

  test("on success fails the run when it says so, and `after` is told", async () => {
    await using session = await ready({ job: { hooks: hooks({ onSuccess: [failing, hook()] }) } });
    const { status, error } = await runBackup(session, "job", { signal: never() });
    expect([status, error?.data?.["hook"]]).toEqual(["failed", "jobs.job.hooks.onSuccess[0]"]);
    expect(trace()).toEqual(["before of job: running", "onSuccess of job: success", "after of job: failed hook_failed"]);
  });

  test("is a warning where nobody said more", async () => {
    const all = [hook("exit 1"), hook()];
    await using session = await ready({ job: { hooks: { before: all, after: all, onSuccess: all, onFailure: [] } } });
    const { status, run } = await runBackup(session, "job", { signal: never() });
    expect(status).toBe("success");
    expect(trace()).toEqual(["before of job: running", "onSuccess of job: success", "after of job: success"]);
    expect(state.logs(run).filter(({ level }) => level === "warn")).toHaveLength(3);
  });
});

describe("hooks of a backup that does not succeed", () => {
  test("are told of a part that is missing as a success that is `partial`", async () => {
    const broken = new FaultyTarget(new MemoryTarget());
    await using session = await ready({
      targets: { disk: new MemoryTarget(), cloud: broken },
      required: { cloud: false },
      sources: [files({ hooks: hooks() })],
      job: { hooks: hooks() },
    });
    broken.queue({ verb: "put", name: /^snapshots/, kind: "error", error: new HoldfastError("target_full", "full") });
    expect(await runBackup(session, "job", { signal: never() })).toMatchObject({ status: "partial" });
    expect(trace().slice(-3)).toEqual(["onSuccess of files: partial", "onSuccess of job: partial", "after of job: partial"]);
  });

  test("are told of a source that cannot be read", async () => {
    await using session = await ready({ sources: [command("first", "exit 5", { hooks: hooks() })], job: { hooks: hooks() } });
    expect(await runBackup(session, "job", { signal: never() })).toMatchObject({ status: "failed" });
    expect(trace()).toEqual([
      "before of job: running",
      "before of first: running",
      "after of first: failed command_failed",
      "onFailure of first: failed command_failed",
      "onFailure of job: failed command_failed",
      "after of job: failed command_failed",
    ]);
  });

  test("of a cancelled one: a hanging `before` is ended, and `after` runs to its end", async () => {
    const abort = new AbortController();
    const hanging = hook("echo $$ >pid; touch ready; exec sleep 600", { onError: "fail" });
    await using session = await ready({
      sources: [files({ hooks: hooks({ before: [hanging], after: [hook(`sleep 0.2; ${TRACE}`), hook()] }) })],
      job: { hooks: hooks() },
    });
    const running = runBackup(session, "job", { signal: abort.signal });
    await appears("ready");
    abort.abort();
    expect(await running).toMatchObject({ status: "cancelled" });
    expect(trace()).toEqual([
      "before of job: running",
      "after of files: cancelled cancelled",
      "after of files: cancelled cancelled",
      "after of job: cancelled cancelled",
    ]);
    expect(existsSync(`/proc/${readFileSync(join(folder, "pid"), "utf8").trim()}`)).toBe(false);
    expect(owed()).toBe(0);
  });

  test("of one that was cancelled before it began do not run", async () => {
    await using session = await ready({ job: { hooks: hooks() } });
    expect(await runBackup(session, "job", { signal: AbortSignal.abort() })).toMatchObject({ status: "cancelled" });
    expect(trace()).toEqual([]);
  });

  test("of one that took too long: it failed, and they have their own time", async () => {
    const clock = new FakeClock();
    await using session = await ready({
      sources: [command("slow", `touch ${join(folder, "ready")}; exec sleep 600`, { hooks: hooks() })],
      job: { hooks: hooks({ after: [hook("touch hanging; exec sleep 600", { timeoutMs: 1000 }), hook()] }), timeoutMs: 60_000 },
      surroundings: { clock },
    });
    const running = runBackup(session, "job", { signal: never() });
    await appears("ready");
    await clock.advance(60_000);
    await appears("hanging");
    await clock.advance(1000);
    expect(await running).toMatchObject({ status: "failed", error: { code: "timeout" } });
    expect(trace()).toEqual([
      "before of job: running",
      "before of slow: running",
      "after of slow: failed timeout",
      "onFailure of slow: failed timeout",
      "onFailure of job: failed timeout",
      "after of job: failed timeout",
    ]);
  });

  test("run though the state can no longer be written", async () => {
    await using session = await ready({ job: { hooks: hooks({ after: [hook(), hook()] }) } });
    const log = vi.spyOn(state, "log").mockImplementation(() => {
      throw new HoldfastError("state_unusable", "the disk is full");
    });
    expect(await runBackup(session, "job", { signal: never() })).toMatchObject({
      status: "failed",
      error: { code: "state_unusable" },
    });
    log.mockRestore();
    expect(trace().filter((line) => line.startsWith("after"))).toHaveLength(2);
    expect(owed()).toBe(0);
  });

  test("do not begin when what they owe cannot be written down", async () => {
    await using session = await ready({ job: { hooks: hooks() } });
    vi.spyOn(state.owedHooks, "owe").mockImplementation(() => {
      throw new HoldfastError("state_unusable", "the disk is full");
    });
    expect(await runBackup(session, "job", { signal: never() })).toMatchObject({
      status: "failed",
      error: { code: "state_unusable" },
    });
    expect(trace()).toEqual(["onFailure of job: failed state_unusable"]);
  });
});
