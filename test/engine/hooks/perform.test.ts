import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { HoldfastError } from "../../../src/base/errors.ts";
import { runHook, type RunHookOptions } from "../../../src/engine/hooks/perform.ts";
import type { HookCall } from "../../../src/engine/hooks/plan.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { temporaryTree, writeTree, type TemporaryFolder } from "../../support/tree-literal.ts";

let folder: TemporaryFolder;
let clock: FakeClock;
let lines: string[];
let started: number[];
beforeEach(() => {
  folder = temporaryTree();
  clock = new FakeClock();
  lines = [];
  started = [];
});
afterEach(() => {
  // What a test left running must not outlive it.
  for (const pid of started) {
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      // It has ended.
    }
  }
  folder[Symbol.dispose]();
});

const call = (script: string, more: Partial<HookCall> = {}): HookCall => ({
  run: ["sh", "-c", script],
  timeoutMs: 60_000,
  onError: "fail",
  name: "hook",
  kind: "before",
  cwd: folder.path,
  ...more,
});

function run(hook: HookCall, more: Partial<RunHookOptions> = {}): Promise<HoldfastError | undefined> {
  return runHook(hook, {
    env: { PATH: process.env["PATH"] ?? "" },
    clock,
    signal: undefined,
    onLine: (level, text) => lines.push(`${level} ${text}`),
    onProcess: (pid) => pid !== undefined && started.push(pid),
    killGraceMs: 200,
    ...more,
  });
}

const appears = (file: string): Promise<void> => vi.waitFor(() => expect(existsSync(join(folder.path, file))).toBe(true), 60_000);
const pidIn = (file: string): number => Number(readFileSync(join(folder.path, file), "utf8"));
const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return readFileSync(`/proc/${pid}/cmdline`).length > 0;
  } catch {
    return false;
  }
};
const ends = (file: string): Promise<void> => vi.waitFor(() => expect(isAlive(pidIn(file))).toBe(false), 60_000);

describe("a hook", () => {
  test("runs in its folder with its environment only, without a shell, and what it prints is told", async () => {
    const hook = call("", {
      run: ["sh", "-c", 'pwd; echo "$1" >&2; env | cut -d= -f1 | sort | tr "\n" " "', "sh", "$(id) `id`"],
    });
    expect(await run(hook, { env: { PATH: process.env["PATH"] ?? "", ONE: "1" } })).toBeUndefined();
    expect(lines.filter((line) => line.startsWith("info"))).toEqual([
      "info hook: runs sh",
      `info hook: ${folder.path}`,
      expect.stringMatching(/^info hook: ONE PATH (?:PWD |SHLVL |_ |OLDPWD )*$/),
    ]);
    expect(lines).toContain("warn hook: $(id) `id`");
  });

  test("that exits with another code than 0 has failed, with the end of what it said", async () => {
    const error = await run(call("for i in $(seq 100); do echo line $i >&2; done; exit 3"));
    expect(error).toMatchObject({ code: "hook_failed", data: { hook: "hook", program: "sh", exitCode: 3, signal: null } });
    expect(error?.message).toBe("The hook hook (sh) failed: it exited with 3: line 98; line 99; line 100");
    expect(error?.data?.["stderr"]).toMatch(/^line 91\n(?:line \d+\n){8}line 100$/);
    expect(await run(call("kill -SEGV $$"))).toMatchObject({ data: { exitCode: null, signal: "SIGSEGV" } });
  });

  test("that cannot be started has failed", async () => {
    expect(await run(call("", { run: ["no-such-program"] }))).toMatchObject({
      code: "hook_failed",
      message: "The hook hook failed: no-such-program cannot be started (ENOENT)",
    });
    expect((await run(call("", { run: [folder.path] })))?.message).toContain("EACCES");
    expect((await run(call("true", { cwd: "/nowhere" })))?.message).toContain("ENOENT");
    expect((await run(call("", { run: ["true", "x".repeat(3_000_000)] })))?.message).toContain("E2BIG");
    expect((await run(call("", { run: ["true", "\0"] })))?.code).toBe("hook_failed");
  });

  test.each([
    ["its child ignores SIGTERM and has closed its output", ""],
    ["all of them ignore SIGTERM", "trap '' TERM;"],
  ])("that hangs is ended when its time is over, with what it started, though %s", async (_, trap) => {
    writeTree(folder.path, { "child.sh": "trap '' TERM; exec >/dev/null 2>&1; echo $$ >child; while :; do sleep 1; done" });
    const running = run(
      call(`${trap} sh child.sh & while [ ! -s child ]; do sleep 0.05; done; echo here; touch ready; while :; do sleep 1; done`),
    );
    await appears("ready");
    await clock.advance(59_999);
    expect(clock.sleeping).toBe(1);
    await clock.advance(1);
    const error = await running;
    expect(error?.message).toContain("it did not end within 1m 00s");
    expect(lines).toContain("info hook: here");
    await ends("child");
    expect(clock.sleeping).toBe(0);
  });

  test("may clean up on SIGTERM, and is heard while it does", async () => {
    const running = run(call(`trap 'echo cleaning; touch clean; exit 0' TERM; touch ready; while :; do sleep 0.05; done`), {
      killGraceMs: 60_000,
    });
    await appears("ready");
    await clock.advance(60_000);
    expect((await running)?.message).toContain("did not end within");
    expect(lines).toContain("info hook: cleaning");
    expect(existsSync(join(folder.path, "clean"))).toBe(true);
  });

  test("is ended when it is aborted, and rejects with the reason", async () => {
    const abort = new AbortController();
    const running = run(call("echo $$ >pid; touch ready; exec sleep 600"), { signal: abort.signal });
    await appears("ready");
    abort.abort(new Error("enough"));
    await expect(running).rejects.toThrow("enough");
    await ends("pid");
    await expect(run(call("touch never"), { signal: abort.signal })).rejects.toThrow("enough");
    expect(existsSync(join(folder.path, "never"))).toBe(false);
  });

  test("may leave something running that keeps its output open: the run goes on, and so does that", async () => {
    expect(await run(call("sleep 600 & echo $! >pid; echo done"))).toBeUndefined();
    expect(lines).toEqual([
      "info hook: runs sh",
      "info hook: done",
      "info hook: something that it started goes on; its output is not read any more",
    ]);
    expect(isAlive(pidIn("pid"))).toBe(true);
    // One that left the process group, and the time of its parent is over.
    const running = run(call("setsid sleep 600 & echo $! >far; touch ready; exec sleep 600"));
    await appears("ready");
    await clock.advance(60_000);
    expect((await running)?.message).toContain("did not end within");
    process.kill(pidIn("far"), "SIGKILL");
  });

  test("may print a gigabyte: what is kept of it is small", async () => {
    const before = process.resourceUsage().maxRSS;
    expect(
      await run(call("echo first; head -c 1000000000 /dev/zero; echo; echo last; yes no | head -c 50000000 >&2")),
    ).toBeUndefined();
    expect(lines.length).toBeLessThan(320);
    expect(lines.join("").length).toBeLessThan(250_000);
    expect(lines).toContain("info hook: first");
    expect(lines).toContain("info hook: last");
    expect(lines.filter((line) => line.includes("left out"))).toEqual([
      expect.stringMatching(/1\.00 GB left out/),
      expect.stringMatching(/(?:49|50)\.\d MB left out/),
    ]);
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(300_000);
  });

  test("may print anything: control characters and bytes that are no text are escaped", async () => {
    writeFileSync(join(folder.path, "bytes"), Buffer.from([0x1b, 0x5b, 0x32, 0x4a, 0x0a, 0x61, 0xff, 0x0a]));
    expect(await run(call("cat bytes; cat bytes >&2; exit 0"))).toBeUndefined();
    expect(lines.slice(1).toSorted()).toEqual([
      "info hook: \\x1b[2J",
      "info hook: a\\xff",
      "warn hook: \\x1b[2J",
      "warn hook: a\\xff",
    ]);
  });
});
