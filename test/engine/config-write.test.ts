/** Edits of the configuration in its files: whole or not at all, and nothing of anybody else is lost. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { HoldfastError } from "../../src/base/errors.ts";
import type { ConfigEdit } from "../../src/config/edit.ts";
import type { Value } from "../../src/config/evaluate.ts";
import { ConfigFiles, type WriteBoundary } from "../../src/engine/config-write.ts";
import { temporaryTree } from "../support/tree-literal.ts";

const FILE = `# What is protected here.
version: 1
host: tester
encryption: { main: { keyFile: ./key, generate: true } }
sources:
  docs: { type: files, paths: [./data] }
targets:
  disk: { type: local, path: ./repository, encryption: main }
schedules:
  # While nobody works.
  nightly: "0 2 * * *" # at two
retention:
  few: { keepLast: 3 }
jobs:
  docs: { sources: [docs], targets: [disk], schedule: nightly, retention: few } # ours
`;

const NIGHTLY: ConfigEdit = { section: "schedules", name: "nightly", value: "0 3 * * *" };

let folder: ReturnType<typeof temporaryTree>;
let path: string;
const filesAt = (at: string, boundary: (name: WriteBoundary) => void = () => undefined, env = {}): ConfigFiles =>
  new ConfigFiles(at, { env, cwd: folder.path, hostName: "tester", home: folder.path, isRoot: false, timezone: "UTC" }, boundary);
const text = (name = "holdfast.yaml"): string => readFileSync(join(folder.path, name), "utf8");

beforeEach(() => {
  folder = temporaryTree({ data: {}, "holdfast.yaml": FILE });
  path = join(folder.path, "holdfast.yaml");
});
afterEach(() => folder[Symbol.dispose]());

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return (error as HoldfastError).code;
  }
  return "none";
}

test("an edit changes its line, and keeps comments, mode and owner", () => {
  chmodSync(path, 0o640);
  const files = filesAt(path);
  const prepared = files.prepare(NIGHTLY);
  expect(text()).toBe(FILE);
  files.write(prepared);
  expect(text()).toBe(FILE.replace("0 2 * * *", "0 3 * * *"));
  expect(statSync(path).mode & 0o7777).toBe(0o640);
  expect(files.source().digest).toBe(prepared.nextDigest);
  expect(readdirSync(folder.path).toSorted()).toEqual(["data", "holdfast.yaml"]);
});

test.runIf(process.getuid?.() === 0)("a file of another owner stays theirs", async () => {
  const { chownSync } = await import("node:fs");
  chownSync(path, 12_345, 54_321);
  const files = filesAt(path);
  files.write(files.prepare(NIGHTLY));
  expect(statSync(path)).toMatchObject({ uid: 12_345, gid: 54_321 });
});

test.each<[string, ConfigEdit, RegExp]>([
  ["names what is not there", { section: "jobs", name: "docs", value: { sources: ["docks"], targets: ["disk"] } }, /docks/],
  [
    "has an unknown key",
    { section: "jobs", name: "new", value: { sources: ["docs"], targets: ["disk"], colour: "red" } },
    /colour/,
  ],
  ["has a schedule that never is", { ...NIGHTLY, value: "0 0 31 2 *" }, /never/],
  ["keeps nothing", { section: "retention", name: "few", value: { keepLast: 0 } }, /keep/],
  ["deletes what is needed", { ...NIGHTLY, value: undefined }, /nightly/],
  ["has a name that is none", { ...NIGHTLY, name: "__proto__" }, /__proto__/],
  ["is no schedule", { ...NIGHTLY, value: 5 }, /schedule/],
])("an edit that %s is refused with the problems, and changes nothing", (_name, edit, what) => {
  const files = filesAt(path);
  let error: HoldfastError | undefined;
  try {
    files.prepare(edit);
  } catch (thrown) {
    error = thrown as HoldfastError;
  }
  expect(error?.code).toBe("config_invalid");
  expect(JSON.stringify(error?.data?.["problems"])).toMatch(what);
  expect(text()).toBe(FILE);
});

test("a secret in an edit is refused, and shown nowhere", () => {
  for (const value of [
    { sources: ["docs"], targets: ["disk"], password: "hunter2" },
    { sources: ["docs"], targets: { disk: { secret: "hunter2" } } },
  ] as Value[])
    expect(() => filesAt(path).prepare({ section: "jobs", name: "docs", value })).toThrow(
      expect.toSatisfy((error: HoldfastError) => error.code === "config_invalid" && !JSON.stringify(error).includes("hunter2")),
    );
});

test("the source is shown as it is written, but for secrets in it", () => {
  writeFileSync(path, FILE.replace("{ keyFile: ./key, generate: true }", "{ password: hunter2, previous: [{ env: OLD }] }"));
  const { files } = filesAt(path).source();
  expect(files).toEqual([
    { path, text: FILE.replace("{ keyFile: ./key, generate: true }", "{ password: *******, previous: [{ env: OLD }] }") },
  ]);
});

test("variables are judged by their value and written by their name", () => {
  const files = filesAt(path, undefined, { AT: "0 5 * * *" });
  files.write(files.prepare({ ...NIGHTLY, value: "${AT}" }));
  expect(text()).toContain("nightly: ${AT} # at two");
  expect(() => filesAt(path).prepare({ section: "retention", name: "few", value: { keepLast: 4 } })).toThrow(
    expect.objectContaining({ code: "config_invalid" }),
  );
});

test("an item in an included file is edited there, and the whole is judged", () => {
  mkdirSync(join(folder.path, "conf.d"));
  writeFileSync(path, FILE.replace(/schedules:\n.*\n.*\n/, "include: [conf.d/*.yaml]\n"));
  const part = '# Ours.\nversion: 1\nschedules:\n  nightly: "0 2 * * *"\n';
  writeFileSync(join(folder.path, "conf.d/a.yaml"), part);
  const [main, files] = [text(), filesAt(path)];
  files.write(files.prepare(NIGHTLY));
  expect(text("conf.d/a.yaml")).toBe(part.replace("0 2", "0 3"));
  expect(text()).toBe(main);
  expect(codeOf(() => files.prepare({ ...NIGHTLY, value: undefined }))).toBe("config_invalid");
  files.write(files.prepare({ section: "schedules", name: "weekly", value: "@weekly" }));
  expect(text()).toBe(`${main}schedules:\n  weekly: "@weekly"\n`);
});

describe("what somebody else does meanwhile", () => {
  test("is not lost, whichever file it is in", () => {
    mkdirSync(join(folder.path, "conf.d"));
    writeFileSync(join(folder.path, "conf.d/a.yaml"), "version: 1\n");
    writeFileSync(path, FILE.replace("sources:", "include: [conf.d/*.yaml]\nsources:"));
    const files = filesAt(path);
    for (const name of ["holdfast.yaml", "conf.d/a.yaml"]) {
      const prepared = files.prepare(NIGHTLY);
      appendFileSync(join(folder.path, name), "# a note\n");
      const before = text();
      expect(codeOf(() => files.write(prepared))).toBe("config_changed");
      expect(text()).toBe(before);
    }
    const prepared = files.prepare(NIGHTLY);
    writeFileSync(join(folder.path, "conf.d/b.yaml"), "version: 1\n");
    expect(codeOf(() => files.write(prepared))).toBe("config_changed");
  });

  test("is noticed up to the last moment", () => {
    const files = filesAt(path, (at) => {
      if (at === "written") appendFileSync(path, "# a note\n");
    });
    expect(codeOf(() => files.write(files.prepare(NIGHTLY)))).toBe("config_changed");
    expect(text()).toBe(`${FILE}# a note\n`);
    expect(readdirSync(folder.path).toSorted()).toEqual(["data", "holdfast.yaml"]);
  });

  test("includes that another file was put behind a link", () => {
    const [one, two, link] = ["one.yaml", "two.yaml", "link.yaml"].map((name) => join(folder.path, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(one, FILE);
    writeFileSync(two, FILE);
    symlinkSync("one.yaml", link);
    const files = filesAt(link, (at) => {
      if (at !== "written") return;
      symlinkSync("two.yaml", `${link}.new`);
      renameSync(`${link}.new`, link);
    });
    expect(codeOf(() => files.write(files.prepare(NIGHTLY)))).toBe("config_changed");
    expect([readFileSync(one, "utf8"), readFileSync(two, "utf8")]).toEqual([FILE, FILE]);
  });
});

test.each<WriteBoundary>(["written", "checked", "renamed"])(
  "a process killed when the new file is %s leaves the old file or the new one, and the next write works",
  (boundary) => {
    const child = join(import.meta.dirname, "config-write-child.ts");
    const { signal, stderr } = spawnSync(process.execPath, [child, path, boundary], { encoding: "utf8" });
    expect([signal, stderr]).toEqual(["SIGKILL", ""]);
    expect(text()).toBe(boundary === "renamed" ? FILE.replace("0 2", "0 4") : FILE);
    expect(readdirSync(folder.path).includes(".holdfast.yaml.holdfast-new")).toBe(boundary !== "renamed");
    const files = filesAt(path);
    files.write(files.prepare(NIGHTLY));
    expect(text()).toBe(FILE.replace("0 2", "0 3"));
    expect(readdirSync(folder.path).toSorted()).toEqual(["data", "holdfast.yaml"]);
  },
);

describe("a file that is", () => {
  test("a link is written where the link leads, and the link stays", () => {
    mkdirSync(join(folder.path, "real"));
    renameSync(path, join(folder.path, "real/config.yaml"));
    symlinkSync("real/config.yaml", path);
    const files = filesAt(path);
    files.write(files.prepare(NIGHTLY));
    expect(lstatSync(path).isSymbolicLink()).toBe(true);
    expect(text("real/config.yaml")).toBe(FILE.replace("0 2", "0 3"));
  });

  test("mounted by Kubernetes is refused", () => {
    const volume = join(folder.path, "volume");
    mkdirSync(join(volume, "..2026_11_21"), { recursive: true });
    writeFileSync(join(volume, "..2026_11_21/config.yaml"), FILE);
    symlinkSync("..2026_11_21", join(volume, "..data"));
    symlinkSync("..data/config.yaml", join(volume, "config.yaml"));
    const files = filesAt(join(volume, "config.yaml"));
    const prepared = files.prepare(NIGHTLY);
    expect(() => files.write(prepared)).toThrow(/Kubernetes/);
    expect(text("volume/..data/config.yaml")).toBe(FILE);
  });

  test("read-only is refused, and one that is not UTF-8", () => {
    const files = filesAt(path);
    const prepared = files.prepare(NIGHTLY);
    chmodSync(path, 0o444);
    expect(() => files.write(prepared)).toThrow(/read-only/);
    chmodSync(path, 0o644);
    writeFileSync(path, Buffer.concat([Buffer.from(FILE), Buffer.from("# caf\xE9\n", "latin1")]));
    expect(() => files.write(files.prepare(NIGHTLY))).toThrow(/not UTF-8/);
    expect(readFileSync(path).includes(0xe9)).toBe(true);
  });

  test("beside something that is in the way of a new one is refused", () => {
    const files = filesAt(path);
    mkdirSync(join(folder.path, ".holdfast.yaml.holdfast-new"));
    expect(codeOf(() => files.write(files.prepare(NIGHTLY)))).toBe("config_write_refused");
    expect(text()).toBe(FILE);
  });

  test("in a folder that cannot be written is refused", () => {
    const files = filesAt(path);
    const prepared = files.prepare(NIGHTLY);
    chmodSync(folder.path, 0o555);
    // Root may write everywhere.
    const isRoot = process.geteuid?.() === 0;
    if (isRoot) process.seteuid?.(65_534);
    try {
      expect(codeOf(() => files.write(prepared))).toBe("config_write_refused");
    } finally {
      if (isRoot) process.seteuid?.(0);
      chmodSync(folder.path, 0o755);
    }
    expect(text()).toBe(FILE);
  });
});

describe("a commit", () => {
  const git = (...args: string[]): string =>
    execFileSync("git", ["-C", folder.path, "-c", "user.name=t", "-c", "user.email=t@t", ...args], { encoding: "utf8" }).trim();

  test("has just this file, the name of who asked for it, and runs no hook of the repository", async () => {
    git("init", "--quiet");
    writeFileSync(join(folder.path, "other"), "1");
    git("add", "holdfast.yaml", "other");
    git("commit", "--quiet", "-m", "begin");
    writeFileSync(join(folder.path, "other"), "2");
    git("add", "other");
    writeFileSync(join(folder.path, ".git/hooks/pre-commit"), "#!/bin/sh\ntouch hooked\nexit 1\n", { mode: 0o755 });
    writeFileSync(join(folder.path, ".git/hooks/post-commit"), "#!/bin/sh\ntouch hooked\n", { mode: 0o755 });
    const files = filesAt(path, undefined, { PATH: process.env["PATH"] });
    const prepared = files.prepare(NIGHTLY);
    files.write(prepared);
    const done = await files.commit(prepared, "ops <root@x>\n--amend");
    expect(done).toEqual({ committed: true, commit: git("rev-parse", "HEAD"), reason: undefined });
    expect(git("log", "-1", "--format=%an|%ae|%cn|%s")).toBe(
      "ops-root@x-amend|ops-root@x-amend@holdfast.invalid|holdfast|change schedules.nightly",
    );
    expect(git("show", "--stat", "--format=", "HEAD")).not.toContain("other");
    expect(git("status", "--porcelain", "other")).toBe("M  other");
    expect(readdirSync(folder.path)).not.toContain("hooked");
  });

  test("that fails is told, and what was written stands", async () => {
    const files = filesAt(path, undefined, { PATH: process.env["PATH"] });
    const prepared = files.prepare(NIGHTLY);
    files.write(prepared);
    expect(await files.commit(prepared, "ops")).toMatchObject({ committed: false, reason: expect.stringMatching(/git/i) });
    expect(text()).toBe(FILE.replace("0 2", "0 3"));
  });
});
