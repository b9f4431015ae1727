import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { HoldfastError } from "../../../src/base/errors.ts";
import { createCommandSource, type CommandSourceConfig } from "../../../src/sources/command/command-source.ts";
import type { OpenSource } from "../../../src/sources/source.ts";
import { eventsOf, readSource, sourceConformance } from "../../conformance/source.ts";
import { temporaryTree } from "../../support/tree-literal.ts";

const shell = (script: string, more: Partial<CommandSourceConfig> = {}): Promise<OpenSource> =>
  createCommandSource({ command: ["sh", "-c", script], filename: "out.sql", ...more }).open({
    signal: new AbortController().signal,
  });

const failureOf = async (promise: Promise<unknown>): Promise<HoldfastError> => {
  const error: unknown = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof HoldfastError)) throw new Error(`expected a HoldfastError, not ${String(error)}`);
  return error;
};

/** Resolves when the process is gone, by its id in `file`. */
const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    // A zombie still answers; it has no command line.
    return readFileSync(`/proc/${pid}/cmdline`).length > 0;
  } catch {
    return false;
  }
};

sourceConformance("command", () => ({
  source: createCommandSource({ command: ["printf", "%s\\n", "one", "two"], filename: "list.txt", now: () => 1_700_000_000_123 }),
  files: { "/list.txt": "one\ntwo\n" },
  dispose: () => undefined,
}));

describe("a command source", () => {
  test("is one private file, changed when the command started", async () => {
    await using open = await shell("echo hi", { now: () => 1_700_000_000_123 });
    const events = await eventsOf(open.stream);
    expect(events.map((event) => event.step)).toEqual(["enter", "leaf", "leave"]);
    expect(events[1]).toMatchObject({
      entry: {
        type: "file",
        size: 0,
        content: { once: 0 },
        meta: { mode: 0o600, mtimeNs: 1_700_000_000_123_000_000n, xattrs: [] },
      },
    });
  });

  test("does not hand its arguments to a shell, and keeps them out of the facts", async () => {
    const source = createCommandSource({ command: ["echo", "$HOME; exit 3 `id`"], filename: "x" });
    await using open = await source.open({ signal: new AbortController().signal });
    const [, file] = await readSource(open);
    await open.finish();
    expect(file?.path).toBe("/x");
    expect(open.facts()).toEqual({ program: "echo", exitCode: 0, outputBytes: 19 });
  });

  test("runs in the given folder with the given environment only", async () => {
    using folder = temporaryTree();
    await using open = await shell('[ "$PWD" = "$WHERE" ] && [ -z "$HOME" ]', {
      cwd: folder.path,
      env: { PATH: "/usr/bin:/bin", WHERE: folder.path },
    });
    await readSource(open);
    await open.finish();
  });

  test("streams more than the pipe holds at the reader's pace", async () => {
    await using open = await shell("head -c 33554432 /dev/zero");
    if (open.stream.kind !== "events") throw new Error("a command has events");
    let bytes = 0;
    for await (const chunk of open.stream.openOnce(0)) bytes += chunk.length;
    expect(bytes).toBe(33_554_432);
    await open.finish();
  });

  test("loses nothing of a command that has ended before anyone reads", async () => {
    using folder = temporaryTree();
    const done = join(folder.path, "done");
    // 60,000 bytes fit into the pipe, so the command ends without a reader.
    await using open = await shell(`head -c 60000 /dev/zero; touch ${done}`);
    if (open.stream.kind !== "events") throw new Error("a command has events");
    await vi.waitFor(() => expect(existsSync(done)).toBe(true), { timeout: 20_000 });
    // Its exit has been seen by this process, too: a child started later is reaped later.
    await once(spawn("true"), "exit");
    let bytes = 0;
    for await (const chunk of open.stream.openOnce(0)) bytes += chunk.length;
    expect(bytes).toBe(60_000);
    await open.finish();
    expect(open.facts()).toMatchObject({ outputBytes: 60_000 });
  });

  test("fails with exit code and escaped error output", async () => {
    await using open = await shell("echo data; printf 'no \\033[31mspace\\007\\nleft\\n' >&2; exit 7");
    await readSource(open);
    const error = await failureOf(open.finish());
    expect(error.code).toBe("command_failed");
    expect(error.message).toBe("The command sh failed: it exited with 7\nno \\x1b[31mspace\\x07\nleft");
    expect(error.data).toMatchObject({ exitCode: 7, signal: null, stderr: "no \\x1b[31mspace\\x07\nleft" });
    expect(error.hint).toContain("sh");
  });

  test("keeps the last 64 KiB of error output", async () => {
    await using open = await shell("head -c 300000 /dev/zero | tr '\\0' x >&2; printf THE-END >&2; exit 1");
    await readSource(open);
    const stderr = String((await failureOf(open.finish())).data?.["stderr"]);
    expect(stderr.length).toBe(64 * 1024);
    expect(stderr.endsWith("xTHE-END")).toBe(true);
  });

  test("fails when a signal ended it", async () => {
    await using open = await shell("echo data; kill -9 $$");
    await readSource(open);
    const error = await failureOf(open.finish());
    expect(error.message).toContain("it was ended by SIGKILL");
    expect(error.data).toMatchObject({ signal: "SIGKILL", exitCode: null });
  });

  test("fails when its output was not read, or not to the end", async () => {
    await using unread = await shell("echo data");
    expect((await failureOf(unread.finish())).message).toContain("not read to the end");
    await using partly = await shell("yes");
    if (partly.stream.kind !== "events") throw new Error("a command has events");
    for await (const chunk of partly.stream.openOnce(0)) if (chunk.length > 0) break;
    expect((await failureOf(partly.finish())).code).toBe("command_failed");
  });

  test("is not available when the program or folder is missing", async () => {
    const start = (config: Partial<CommandSourceConfig>): Promise<OpenSource> =>
      createCommandSource({ command: ["no-such-program-here"], filename: "x", ...config }).open({
        signal: new AbortController().signal,
      });
    const error = await failureOf(start({}));
    expect([error.code, error.message]).toEqual([
      "source_unavailable",
      "The command no-such-program-here cannot be started (ENOENT)",
    ]);
    expect((await failureOf(start({ command: ["echo"], cwd: "/no/such/folder" }))).hint).toContain("/no/such/folder");
    expect((await failureOf(start({ command: ["/etc/passwd"] }))).message).toContain("EACCES");
  });

  test("is stopped when it takes too long, with all it started", async () => {
    using folder = temporaryTree();
    const pidFile = `${folder.path}/pid`;
    await using open = await shell(`sleep 600 & echo $! > ${pidFile}; wait`, { timeoutMs: 300 });
    await expect(readSource(open)).rejects.toMatchObject({
      code: "command_failed",
      message: expect.stringContaining("did not end within 300 ms") as string,
    });
    expect((await failureOf(open.finish())).message).toContain("did not end within 300 ms");
    expect(isAlive(Number(readFileSync(pidFile, "utf8")))).toBe(false);
  });

  test("is killed when it ignores a polite request", async () => {
    const open = await shell("trap '' TERM; echo $$; while :; do sleep 600; done", { killGraceMs: 50 });
    if (open.stream.kind !== "events") throw new Error("a command has events");
    const first = await open.stream.openOnce(0)[Symbol.asyncIterator]().next();
    const pid = Number(Buffer.from(first.value as Uint8Array).toString());
    expect(isAlive(pid)).toBe(true);
    await open[Symbol.asyncDispose]();
    expect(isAlive(pid)).toBe(false);
  });

  test("an abort ends the command, the reading and the finish with its reason", async () => {
    const controller = new AbortController();
    const source = createCommandSource({ command: ["sh", "-c", "echo $$; exec sleep 600"], filename: "x" });
    await using open = await source.open({ signal: controller.signal });
    if (open.stream.kind !== "events") throw new Error("a command has events");
    const reason = new Error("shut down");
    let pid = 0;
    const reading = (async () => {
      for await (const chunk of open.stream.kind === "events" ? open.stream.openOnce(0) : []) {
        pid = Number(Buffer.from(chunk).toString());
        controller.abort(reason);
      }
    })();
    await expect(reading).rejects.toBe(reason);
    await expect(open.finish()).rejects.toBe(reason);
    await open[Symbol.asyncDispose]();
    expect(isAlive(pid)).toBe(false);
  });

  test("does not wait for ever for a descendant that left the group with its pipes", async () => {
    using folder = temporaryTree();
    const open = await shell(
      `setsid sh -c 'echo $$ > ${folder.path}/pid; exec sleep 600' & while [ ! -s ${folder.path}/pid ]; do :; done; echo ready`,
      { killGraceMs: 50 },
    );
    if (open.stream.kind !== "events") throw new Error("a command has events");
    await open.stream.openOnce(0)[Symbol.asyncIterator]().next();
    await open[Symbol.asyncDispose]();
    const pid = Number(readFileSync(`${folder.path}/pid`, "utf8"));
    expect(existsSync(`/proc/${pid}`)).toBe(true);
    process.kill(pid, "SIGKILL");
  });
});
