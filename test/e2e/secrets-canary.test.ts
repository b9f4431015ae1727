/** A canary in every place of a secret: no output, log, state, cache, object or argument list shows it, whatever fails. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { CONFIG, playground } from "./cli-runner.ts";

const CANARY = "c4n4ry-5ecret-9f8e7d";
/** Of what a key costs, nothing is to be learnt here. */
const CHEAP = ", keyDerivation: { function: scrypt, cost: 1024, blockSize: 1 }";
/** The same as other encodings would show it. */
const SHAPES = [CANARY, Buffer.from(CANARY).toString("base64").slice(0, 24), Buffer.from(CANARY).toString("hex")];
const KEY = Buffer.from(`${CANARY}-`.repeat(2).slice(0, 32)).toString("hex");

/** Watches the arguments of every process that the program starts, and of itself. */
function run(folder: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): string {
  const trace = join(folder, "trace");
  const traced = existsSync("/usr/bin/strace");
  const [program, ...before] = traced
    ? ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=execve", "-o", trace, resolve("bin/holdfast")]
    : [resolve("bin/holdfast")];
  const { stdout, stderr } = spawnSync(program as string, [...before, ...args], {
    cwd: folder,
    encoding: "utf8",
    env: { PATH: process.env["PATH"], HOME: folder, LANG: "C.UTF-8", NODE_DEBUG: "", ...env },
  });
  const argv = traced ? readFileSync(trace, "utf8").replaceAll(/0x[0-9a-f]+ \/\* .* \*\//g, "") : "";
  rmSync(trace, { force: true });
  return `${stdout}${stderr}${argv}`;
}

function expectNowhere(text: string, where: string): void {
  for (const shape of SHAPES) expect(text.includes(shape), `${where} shows a secret`).toBe(false);
}

const wrong = `${CANARY}-wrong`;
/** How the secret is referred to, beginning with the way that works, with what makes it fail. */
const references = {
  file: {
    works: "password: { file: ./secret }",
    fails: ["password: { file: ./wrong }", "password: { file: ./missing }", "password: { file: ./data }"],
  },
  env: { works: "password: { env: SECRET }", fails: ["password: { env: WRONG }", "password: { env: NOT_SET }"] },
  command: {
    works: "password: { command: [./print] }",
    fails: ["password: { command: [./fail] }", "password: { command: [./print-wrong] }", "password: { command: [./missing] }"],
  },
  previous: {
    works: "password: { file: ./secret }",
    fails: [
      "password: { file: ./wrong }, previous: [{ file: ./wrong2 }, { file: ./missing }]",
      "password: { file: ./wrong }, previous: [{ file: ./secret }]",
    ],
  },
  keyFile: { works: "keyFile: ./keyfile", fails: ["keyFile: ./bad-key", "keyFile: ./other-key", "keyFile: ./missing-key"] },
} as const;

test.each(Object.keys(references) as (keyof typeof references)[])(
  "a secret from %s is shown nowhere",
  (name) => {
    const { works, fails } = references[name];
    const configWith = (encryption: string): string =>
      CONFIG.replace("keyFile: ./key, generate: true", `${encryption}${encryption.startsWith("password") ? CHEAP : ""}`)
        .replace("log: { format: text }", "log: { format: json, level: debug }")
        .replace("targets: [disk] }", "targets: [disk], hooks: { before: [{ run: [./show-environment] }] } }");
    using place = playground({ config: configWith(works) });
    const files = {
      secret: CANARY,
      wrong,
      wrong2: `${wrong}2`,
      third: `${CANARY}-third`,
      keyfile: KEY,
      "bad-key": CANARY,
      "other-key": "ab".repeat(32),
    };
    for (const [file, text] of Object.entries(files)) place.write(file, `${text}\n`, 0o600);
    // What a program around the backup is told goes into the log of the run.
    place.write("show-environment", "#!/bin/sh\nenv\necho shown\n", 0o700);
    place.write("print", "#!/bin/sh\ncat ./secret\n", 0o700);
    place.write("print-wrong", "#!/bin/sh\ncat ./wrong\n", 0o700);
    // A program that shows its secret and fails: what it said is nobody's business.
    place.write("fail", "#!/bin/sh\ncat ./secret; cat ./secret >&2; exit 3\n", 0o700);
    // A variable that no reference names is nobody's secret.
    const env: Record<string, string> = name === "env" ? { SECRET: CANARY } : {};
    const commands = [
      ["apply", "-v"],
      ["backup", "docs", "--json"],
      ["snapshots"],
      ["key", "list", "--json"],
      ["key", "recovery-kit"],
      ["validate"],
      ["logs"],
      ["runs", "--json"],
    ];
    for (const command of name === "file" ? commands : commands.slice(0, 2))
      expectNowhere(run(place.path, command, env), `${name}: ${command.join(" ")}`);
    expect(readdirSync(join(place.path, "repository/snapshots"))).toHaveLength(1);
    expect(run(place.path, ["logs"], env)).toContain("hooks.before[0]: shown");
    const changes = [
      ["key", "add", "--password-file", "third", "-v"],
      ["key", "add", "--key-file", "bad-key"],
      ["key", "add", "--password-file", "missing"],
      ["key", "remove", "00", "--yes"],
      ["key", "rotate", "-v"],
      ["key", "rotate", "--rewrite", "--json"],
      ["audit", "--json"],
    ];
    for (const command of name === "file" ? changes : [])
      expectNowhere(run(place.path, command, env), `${name}: ${command.join(" ")}`);
    for (const encryption of fails) {
      writeFileSync(join(place.path, "holdfast.yaml"), configWith(encryption));
      for (const command of name === "file" ? [["backup", "docs", "-v"], ["apply", "--json"], ["doctor"]] : [["apply", "-v"]])
        expectNowhere(
          run(place.path, command, encryption.includes("WRONG") ? { WRONG: wrong } : {}),
          `${name}, ${encryption}: ${command.join(" ")}`,
        );
    }
    if (name === "file") {
      // A secret written where a reference belongs, and one that others may read, are the mistakes people make.
      writeFileSync(join(place.path, "holdfast.yaml"), configWith(`password: ${CANARY}`));
      for (const command of [["validate"], ["validate", "--json"]])
        expectNowhere(run(place.path, command, env), `${name}, in plain: ${command.join(" ")}`);
      writeFileSync(join(place.path, "holdfast.yaml"), configWith(works));
      chmodSync(join(place.path, "secret"), 0o644);
      expectNowhere(run(place.path, ["plan"], env), `${name}, open to others`);
    }
    const folders = ["state", "cache", "repository"].filter((folder) => existsSync(join(place.path, folder)));
    for (const folder of folders)
      for (const entry of readdirSync(join(place.path, folder), { recursive: true, withFileTypes: true }))
        if (entry.isFile())
          expectNowhere(readFileSync(join(entry.parentPath, entry.name), "latin1"), `${name}: ${folder}/${entry.name}`);
    expect(folders).toEqual(["state", "cache", "repository"]);
  },
  300_000,
);
