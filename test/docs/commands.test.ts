import { globSync, readFileSync } from "node:fs";
import type { Command } from "commander";
import { expect, test } from "vitest";
import { buildProgram } from "../../src/cli/program.ts";
import type { Output, Shell } from "../../src/cli/shell.ts";

const output: Output = { isTerminal: false, columns: () => 80, write: async () => undefined };
const shell: Shell = {
  args: [],
  env: {},
  cwd: "/",
  hostName: "test",
  home: "/",
  isRoot: false,
  timezone: "UTC",
  version: "0.0.0",
  stdout: output,
  stderr: output,
  stdin: { isTerminal: false, ask: async () => undefined, askSecret: async () => undefined },
  interrupted: new AbortController().signal,
  readerGone: () => false,
  onStop: () => undefined,
  onReload: () => undefined,
};
const program = buildProgram(shell, () => undefined);

interface Mention {
  readonly page: string;
  readonly line: string;
}

/** Command lines in shell fences and code spans that begin with the program's name, without what follows a pipe or `#`. */
function mentions(): Mention[] {
  const found: Mention[] = [];
  for (const page of globSync(["*.md", "docs/**/*.md"]).toSorted()) {
    const text = readFileSync(page, "utf8");
    const fences = [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].flatMap(([, code = ""]) => code.split("\n"));
    const spans = [...text.replace(/^```[\s\S]*?^```$/gm, "").matchAll(/`([^`\n]+)`/g)].map(([, code = ""]) => code);
    for (const code of [...fences, ...spans])
      for (const [, line = ""] of code.matchAll(/(?:^|[\s(/=])holdfast((?: +(?!#)[^\s|;&)]+)+)/g))
        found.push({ page, line: line.trim() });
  }
  return found;
}

/** What is wrong with a command line, or undefined. */
function problem(line: string): string | undefined {
  const words = line.split(/ +/);
  let command: Command = program;
  const options: string[] = [];
  for (const word of words) {
    if (word.startsWith("-")) options.push(word.split("=")[0] as string);
    else if (command.commands.length > 0 && options.length === 0) {
      const next: Command | undefined = command.commands.find((one) => one.name() === word);
      if (next === undefined) return `there is no command ${word}`;
      command = next;
    }
  }
  const known = new Set(
    [...program.options, ...command.options].flatMap(({ long, short }) => [long, short]).concat("--help", "-h"),
  );
  const unknown = options.find((option) => !known.has(option));
  return unknown === undefined ? undefined : `${command.name()} has no option ${unknown}`;
}

test("every command line that the pages show exists, with its options", () => {
  const all = mentions();
  expect(all.length).toBeGreaterThan(40);
  const wrong = all.flatMap(({ page, line }) => {
    const what = problem(line);
    return what === undefined ? [] : [`${page}: holdfast ${line}: ${what}`];
  });
  expect(wrong).toEqual([]);
});

test("a command line that does not exist is found", () => {
  expect(problem("snapshot latest")).toBe("there is no command snapshot");
  expect(problem("key lost")).toBe("there is no command lost");
  expect(problem("restore latest --two there")).toBe("restore has no option --two");
  expect(problem("verify --read-data=10% -c FILE")).toBeUndefined();
});

test("every command is mentioned on a page", () => {
  const said = mentions().map(({ line }) => line.split(" ")[0]);
  const inChangelog = readFileSync("CHANGELOG.md", "utf8");
  const silent = program.commands
    .map((command) => command.name())
    .filter((name) => !said.includes(name) && !inChangelog.includes(`\`${name}\``));
  expect(silent).toEqual([]);
});
