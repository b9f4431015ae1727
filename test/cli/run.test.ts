import { execFileSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { buildProgram } from "../../src/cli/program.ts";
import { runCli } from "../../src/cli/run.ts";
import { temporaryTree } from "../support/tree-literal.ts";
import { fakeShell } from "./fake-shell.ts";

const run = async (
  args: readonly string[],
  options?: Parameters<typeof fakeShell>[1],
): Promise<{ code: number; out: string; err: string }> => {
  const shell = fakeShell(args, options);
  const code = await runCli(shell);
  return { code, out: shell.out(), err: shell.err() };
};

test("every command of the contract is there, and no other", () => {
  const names = buildProgram(fakeShell([]), () => undefined).commands.flatMap((command) =>
    command.commands.length === 0 ? [command.name()] : command.commands.map((child) => `${command.name()} ${child.name()}`),
  );
  expect(names.toSorted()).toEqual(
    [
      ..."init validate schema plan apply daemon explain doctor status health run pause resume cancel reload backup snapshots show ls find diff dump tag restore verify repair prune delete stats runs logs audit notifications completion".split(
        " ",
      ),
      ...["list", "add", "remove", "rotate", "recovery-kit"].map((name) => `key ${name}`),
    ].toSorted(),
  );
});

describe("usage", () => {
  test("version and help answer on standard output", async () => {
    expect(await run(["--version"])).toEqual({ code: 0, out: "1.2.3\n", err: "" });
    const help = await run(["restore", "--help"]);
    expect(help).toMatchObject({ code: 0, err: "" });
    expect(help.out).toContain("--no-safety-snapshot");
    expect(help.out).toContain("--config <file>");
  });

  test("no command at all is a mistake, and shows help", async () => {
    const { code, out, err } = await run([]);
    expect(code).toBe(2);
    expect(out).toBe("");
    expect(err).toContain("Usage: holdfast");
  });

  test.each([
    [["bakup"], "error: unknown command 'bakup'\nhint: Did you mean backup?\n"],
    [["backup"], "error: missing required argument 'JOB'\nhint: `holdfast backup --help` shows what it takes.\n"],
    [["snapshots", "--tagg", "x"], "error: unknown option '--tagg'\nhint: Did you mean --tag?\n"],
    [
      ["restore", "latest"],
      "error: It is not said where to restore to\nhint: Give --to DIR for a folder, or --in-place for where it came from.\n",
    ],
    [
      ["tag", "latest"],
      "error: There is nothing to change\nhint: Give --add TAG, --remove TAG, --hold, --hold=DATE, --hold=no or --description TEXT.\n",
    ],
  ])("%j", async (args, err) => expect(await run(args)).toEqual({ code: 2, out: "", err }));

  test("with --json a mistake is a line of JSON", async () => {
    const { code, err } = await run(["bakup", "--json"]);
    expect(code).toBe(2);
    expect(JSON.parse(err)).toEqual({
      type: "error",
      level: "error",
      code: "usage",
      message: "unknown command 'bakup'",
      hint: "Did you mean backup?",
    });
  });

  test("global options stand before or after the command", async () => {
    using folder = temporaryTree({ "x.yaml": "version: 1\n" });
    const cwd = folder.path;
    for (const args of [
      ["-c", "x.yaml", "validate", "--json"],
      ["--json", "validate", "-c", "x.yaml"],
    ])
      expect(JSON.parse((await run(args, { cwd })).out)).toMatchObject({ valid: expect.any(Boolean) });
  });
});

describe("init", () => {
  test("writes a valid configuration and a key for its owner only, once", async () => {
    using folder = temporaryTree();
    const cwd = folder.path;
    expect(await run(["init"], { cwd })).toMatchObject({ code: 0, out: "" });
    expect(statSync(join(cwd, "holdfast/key")).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(cwd, "holdfast/key"), "utf8")).toMatch(/^[0-9a-f]{64}\n$/);
    expect(await run(["validate", "--strict"], { cwd })).toMatchObject({ code: 0 });
    const before = readFileSync(join(cwd, "holdfast.yaml"));
    const again = await run(["init"], { cwd });
    expect(again).toMatchObject({ code: 2 });
    expect(again.err).toContain("already exists");
    expect(readFileSync(join(cwd, "holdfast.yaml"))).toEqual(before);
  });
});

describe("validate", () => {
  test("says what is wrong, where, and what was meant", async () => {
    using folder = temporaryTree({ "holdfast.yaml": "version: 1\nsorces: {}\n" });
    const { code, out } = await run(["validate"], { cwd: folder.path });
    expect(code).toBe(2);
    expect(out).toContain("holdfast.yaml:2:1");
    expect(out).toContain("sources");
  });

  test("other commands refuse an invalid configuration", async () => {
    using folder = temporaryTree({ "holdfast.yaml": "version: 1\nsorces: {}\n" });
    const { code, err } = await run(["snapshots"], { cwd: folder.path });
    expect(code).toBe(2);
    expect(err).toContain("holdfast.yaml:2:1");
    expect(err).toContain("hint: Correct it;");
  });

  test("without a configuration it says where it looked", async () => {
    using folder = temporaryTree();
    const { code, err } = await run(["plan"], { cwd: folder.path });
    expect(code).toBe(2);
    expect(err).toContain(join(folder.path, "holdfast.yaml"));
    expect(err).toContain("/home/tester/.config/holdfast/config.yaml");
  });
});

test("colours only on a terminal, and not when they are not wanted", async () => {
  using folder = temporaryTree();
  writeFileSync(join(folder.path, "holdfast.yaml"), "version: 1\nsorces: {}\n");
  const cwd = folder.path;
  expect((await run(["validate"], { cwd, isTerminal: true })).out).toContain("\u001b[");
  expect((await run(["validate", "--no-color"], { cwd, isTerminal: true })).out).not.toContain("\u001b[");
  expect((await run(["validate"], { cwd })).out).not.toContain("\u001b[");
});

test("the bash completion is valid and knows commands, options and choices", async () => {
  const { out } = await run(["completion", "bash"]);
  const complete = (...words: string[]): string =>
    execFileSync(
      "bash",
      ["-c", `${out}\nCOMP_WORDS=(holdfast "$@"); COMP_CWORD=$#; _holdfast; printf '%s\\n' "\${COMPREPLY[@]}"`, "bash", ...words],
      { encoding: "utf8" },
    );
  expect(complete("sna")).toBe("snapshots\n");
  expect(complete("-c", "x.yaml", "restore", "--over")).toBe("--overwrite\n");
  expect(complete("restore", "--overwrite", "if-n")).toBe("if-newer\n");
  expect(complete("key", "rec")).toBe("recovery-kit\n");
  for (const shell of ["zsh", "fish"]) expect((await run(["completion", shell])).out).toContain("restore");
});
