// Long because a walk meets every kind of entry, and each is one short test.

import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, closeSync, constants, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { describe, expect, test } from "vitest";
import { HoldfastError } from "../../../src/base/errors.ts";
import { LONGEST_PATH_BYTES } from "../../../src/base/path-text.ts";
import { AT_FDCWD, mkdirAt, openAt } from "../../../src/posix/at.ts";
import { posixSupport } from "../../../src/posix/libc.ts";
import { statAt } from "../../../src/posix/stat.ts";
import { directoryReader, type DirectoryReader } from "../../../src/sources/files/directory-reader.ts";
import { walkFiles, type Exclusion, type WalkSummary } from "../../../src/sources/files/walk.ts";
import type { Entry, FilesWalkOptions, SourceProblem } from "../../../src/sources/source.ts";
import { ODD_NAMES, ODD_TIMES, SAMPLE_ACL, writeOddities } from "../../support/oddities.ts";
import { file, hardLink, openDescriptorsBelow, symlink, temporaryTree } from "../../support/tree-literal.ts";

interface Walked {
  /** Paths below the system's temporary folder's child, latin1; folders end in a slash. */
  readonly paths: string[];
  readonly entries: Map<string, Entry>;
  readonly problems: SourceProblem[];
  readonly excluded: [path: string, rule: Exclusion][];
  readonly summary: WalkSummary;
}

function walk(
  options: Partial<Omit<FilesWalkOptions, "paths">> & { paths: readonly string[] },
  base: string,
  reader?: DirectoryReader,
): Walked {
  const problems: SourceProblem[] = [];
  const excluded: [string, Exclusion][] = [];
  const short = (path: string): string => (path.startsWith(base) ? path.slice(base.length) : path);
  const steps = walkFiles(
    {
      exclude: [],
      excludeIfPresent: [],
      excludeLargerThanBytes: undefined,
      oneFileSystem: false,
      minimumEntries: 0,
      ...options,
      paths: options.paths.map((path) => Buffer.from(path, "latin1")),
    },
    {
      onProblem: (problem) => problems.push(problem),
      onExcluded: (path, rule) => excluded.push([short(Buffer.from(path).toString("latin1")), rule]),
    },
    reader ?? directoryReader(),
  );
  const all = new Map<string, Entry>();
  const path: string[] = [];
  for (;;) {
    const step = steps.next();
    if (step.done === true) {
      expect(path).toEqual([]);
      const entries = new Map([...all].filter(([key]) => key.startsWith(base)).map(([key, entry]) => [short(key), entry]));
      return { paths: [...entries.keys()], entries, problems, excluded, summary: step.value };
    }
    if (step.value.step === "leave") {
      path.pop();
      continue;
    }
    const name = Buffer.from(step.value.entry.name).toString("latin1");
    const isFolder = step.value.step === "enter";
    all.set([...path, name].join("/") + (isFolder ? "/" : ""), step.value.entry);
    if (isFolder) path.push(name);
  }
}

const thrownBy = (act: () => unknown): HoldfastError => {
  try {
    act();
  } catch (error) {
    if (error instanceof HoldfastError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
};

const readers = [
  ["descriptors", directoryReader()],
  ["paths", directoryReader({ forcePaths: true })],
] as const;

describe.each(readers)("a walk by %s", (_kind, reader) => {
  test("is depth first, sorted by raw name, with the way there", () => {
    using tree = temporaryTree({ b: "2", a: { z: "1", ab: {}, "a b": { c: "" } }, "a-": "3", empty: {} });
    const { paths, summary } = walk({ paths: [tree.path] }, tree.path, reader);
    expect(paths).toEqual(["/", "/a/", "/a/a b/", "/a/a b/c", "/a/ab/", "/a/z", "/a-", "/b", "/empty/"]);
    expect(summary).toEqual({ entries: 8, vanished: 0 });
  });

  test("enters only the configured paths, once, in one tree", () => {
    using tree = temporaryTree({ x: { one: { f: "" }, two: { g: "" }, skipped: { h: "" } }, y: "file", other: "" });
    const p = tree.path;
    const { paths, summary } = walk(
      { paths: [`${p}/y`, `${p}/x/two/`, `${p}//x/./one`, `${p}/x/one`, `${p}/x/one/f`] },
      p,
      reader,
    );
    expect(paths).toEqual(["/", "/x/", "/x/one/", "/x/one/f", "/x/two/", "/x/two/g", "/y"]);
    expect(summary.entries).toBe(3);
  });

  test("starts at the real root", () => {
    using tree = temporaryTree({ f: "" });
    const events = [
      ...walkFiles(
        {
          paths: [Buffer.from(tree.path)],
          exclude: [],
          excludeIfPresent: [],
          excludeLargerThanBytes: undefined,
          oneFileSystem: false,
          minimumEntries: 0,
        },
        { onProblem: () => undefined },
        reader,
      ),
    ];
    expect(events[0]).toMatchObject({ step: "enter", entry: { type: "directory", meta: { mode: 0o755, user: "root" } } });
    expect(events.at(-1)).toEqual({ step: "leave" });
  });

  test("applies rules relative to each configured path, and says which", () => {
    using tree = temporaryTree({
      a: { "x.tmp": "", "important.tmp": "", top: "", sub: { top: "", ".cache": { f: "" } } },
      b: { top: "", ".cache": "a file" },
    });
    const p = tree.path;
    const { paths, excluded } = walk(
      { paths: [`${p}/a`, `${p}/b`], exclude: ["*.tmp", "!important.tmp", "/top", "**/.cache/"] },
      p,
      reader,
    );
    expect(paths).toEqual(["/", "/a/", "/a/important.tmp", "/a/sub/", "/a/sub/top", "/b/", "/b/.cache"]);
    expect(excluded).toEqual([
      ["/a/sub/.cache", { by: "pattern", index: 3 }],
      ["/a/top", { by: "pattern", index: 2 }],
      ["/a/x.tmp", { by: "pattern", index: 0 }],
      ["/b/top", { by: "pattern", index: 2 }],
    ]);
  });

  test("never excludes a configured path, and restarts the rules there", () => {
    using tree = temporaryTree({ cache: { junk: "", keep: { f: "", cache: { g: "" } } }, top: "" });
    const p = tree.path;
    const { paths } = walk({ paths: [p, `${p}/cache/keep`], exclude: ["cache", "/f"] }, p, reader);
    expect(paths).toEqual(["/", "/cache/", "/cache/keep/", "/top"]);
  });

  test("keeps a marked folder, empty; a cache tag counts with its signature only", () => {
    const signed = "Signature: 8a477f597d28d172789f06886806bc55\n# tag";
    using tree = temporaryTree({
      a: { ".nobackup": "", f: "", sub: { g: "" } },
      b: { "CACHEDIR.TAG": signed, f: "" },
      c: { "CACHEDIR.TAG": "Signature: something else, long enough to compare", f: "" },
      d: { "CACHEDIR.TAG": symlink("../b/CACHEDIR.TAG"), f: "" },
      e: { ".nobackup": "", inner: { f: "" } },
    });
    const p = tree.path;
    const { paths, excluded } = walk({ paths: [p, `${p}/e/inner`], excludeIfPresent: [".nobackup", "CACHEDIR.TAG"] }, p, reader);
    expect(paths).toEqual([
      "/",
      "/a/",
      "/b/",
      "/c/",
      "/c/CACHEDIR.TAG",
      "/c/f",
      "/d/",
      "/d/CACHEDIR.TAG",
      "/d/f",
      "/e/",
      "/e/inner/",
      "/e/inner/f",
    ]);
    expect(excluded).toEqual([
      ["/a", { by: "marker", name: ".nobackup" }],
      ["/b", { by: "marker", name: "CACHEDIR.TAG" }],
      ["/e", { by: "marker", name: ".nobackup" }],
    ]);
  });

  test("leaves out larger files, but not those that were configured", () => {
    using tree = temporaryTree({ small: "12345", large: "123456", named: "1234567" });
    const p = tree.path;
    const { paths, excluded } = walk({ paths: [p, `${p}/named`], excludeLargerThanBytes: 5 }, p, reader);
    expect(paths).toEqual(["/", "/named", "/small"]);
    expect(excluded).toEqual([["/large", { by: "size" }]]);
  });

  test("reports a missing path, and refuses when all are missing", () => {
    using tree = temporaryTree({ here: "" });
    const p = tree.path;
    const { paths, problems } = walk({ paths: [`${p}/gone/far`, `${p}/here`, `${p}/here/below`] }, p, reader);
    expect(paths).toEqual(["/", "/here"]);
    expect(problems.map(({ path, reason }) => [Buffer.from(path).toString().slice(p.length), reason])).toEqual([
      ["/gone/far", "ENOENT"],
      ["/here/below", "ENOTDIR"],
    ]);
    expect(problems[0]?.message).toBe(`${p}/gone/far cannot be found (ENOENT)`);
    const error = thrownBy(() => walk({ paths: [`${p}/gone`, `${p}/gone/far`] }, p, reader));
    expect([error.code, error.message]).toEqual([
      "source_unavailable",
      `None of the source's paths can be found: ${p}/gone, ${p}/gone/far`,
    ]);
  });

  test("refuses a source that is too small, without counting the configured folder", () => {
    using tree = temporaryTree({ empty: {}, one: { f: "" } });
    const p = tree.path;
    const error = thrownBy(() => walk({ paths: [`${p}/empty`], minimumEntries: 1 }, p, reader));
    expect([error.code, error.data]).toEqual(["source_too_small", { entries: 0, minimumEntries: 1 }]);
    expect(walk({ paths: [`${p}/one`], minimumEntries: 1 }, p, reader).summary.entries).toBe(1);
    expect(walk({ paths: [`${p}/one/f`], minimumEntries: 1 }, p, reader).summary.entries).toBe(1);
  });

  test("records a configured symlink as a link, with advice, and goes through links on the way", () => {
    using tree = temporaryTree({ real: { inner: { f: "" }, other: "" }, link: symlink("real") });
    const p = tree.path;
    const itself = walk({ paths: [`${p}/link`] }, p, reader);
    expect(itself.paths).toEqual(["/", "/link"]);
    expect(itself.entries.get("/link")).toMatchObject({ type: "symlink", linkTarget: Buffer.from("real") });
    expect(itself.problems).toMatchObject([
      { reason: "symlink", message: expect.stringContaining("name the real folder") as string },
    ]);
    const through = walk({ paths: [`${p}/link/inner`] }, p, reader);
    expect(through.paths).toEqual(["/", "/link/", "/link/inner/", "/link/inner/f"]);
    expect(through.problems).toEqual([]);
    expect(walk({ paths: [p, `${p}/link/inner`] }, p, reader).paths).toEqual([
      "/",
      "/link/",
      "/link/inner/",
      "/link/inner/f",
      "/real/",
      "/real/inner/",
      "/real/inner/f",
      "/real/other",
    ]);
  });

  test("counts what vanishes between listing and looking", () => {
    using tree = temporaryTree({ a: "", b: "", c: { d: "" }, e: "" });
    const meddling: DirectoryReader = {
      ...reader,
      list: (directory) => {
        const names = reader.list(directory);
        if (directory.path.toString() === tree.path) {
          rmSync(`${tree.path}/b`);
          rmSync(`${tree.path}/c`, { recursive: true });
        }
        return names;
      },
    };
    const { paths, problems, summary } = walk({ paths: [tree.path] }, tree.path, meddling);
    expect([paths, problems, summary]).toEqual([["/", "/a", "/e"], [], { entries: 2, vanished: 2 }]);
  });

  test("keeps a folder it cannot list, and goes on", () => {
    using tree = temporaryTree({ bad: { f: "" }, good: { g: "" } });
    const failing: DirectoryReader = {
      ...reader,
      list: (directory) => {
        if (!directory.path.toString().endsWith("/bad")) return reader.list(directory);
        throw Object.assign(new Error("EIO"), { code: "EIO" });
      },
    };
    const { paths, entries, problems } = walk({ paths: [tree.path] }, tree.path, failing);
    expect(paths).toEqual(["/", "/bad/", "/good/", "/good/g"]);
    expect(entries.get("/bad/")?.unreadable).toBe(true);
    expect(entries.get("/good/")).not.toHaveProperty("unreadable");
    expect(problems).toEqual([
      { path: Buffer.from(`${tree.path}/bad`), reason: "EIO", message: `${tree.path}/bad cannot be listed (EIO)` },
    ]);
  });

  test("reports an entry it cannot look at", () => {
    using tree = temporaryTree({ a: "", b: "" });
    const failing: DirectoryReader = {
      ...reader,
      stat: (parent, name, path) => {
        if (Buffer.from(name).toString() !== "a") return reader.stat(parent, name, path);
        throw Object.assign(new Error("EACCES"), { code: "EACCES" });
      },
    };
    const { paths, problems } = walk({ paths: [tree.path] }, tree.path, failing);
    expect([paths, problems.map((problem) => problem.reason)]).toEqual([["/", "/b"], ["EACCES"]]);
  });

  test("describes hard links, and files for whoever reads them", () => {
    using tree = temporaryTree({ a: file("12345", { mode: 0o640, mtimeMs: 1_600_000_000_000 }), b: { c: hardLink("a") } });
    const { entries } = walk({ paths: [tree.path] }, tree.path, reader);
    const [a, c] = [entries.get("/a"), entries.get("/b/c")];
    expect(a).toMatchObject({ type: "file", size: 5, content: { open: Buffer.from(`${tree.path}/a`), sparse: false } });
    expect(a?.meta).toMatchObject({
      mode: 0o640,
      links: 2,
      mtimeNs: 1_600_000_000_000_000_000n,
      user: userInfo().username,
      xattrs: [],
    });
    expect([c?.meta.inode, c?.meta.device]).toEqual([a?.meta.inode, a?.meta.device]);
  });
});

describe("a walk", () => {
  test.runIf(userInfo().uid === 0 && spawnSync("setpriv", ["--version"]).status === 0)(
    "reports folders that its user may not list",
    () => {
      using tree = temporaryTree({ secret: { f: "" }, open: "" });
      chmodSync(tree.path, 0o755);
      chmodSync(`${tree.path}/secret`, 0o700);
      const script = `
      import { walkFiles } from ${JSON.stringify(new URL("../../../src/sources/files/walk.ts", import.meta.url).href)};
      const seen = [];
      const options = { paths: [Buffer.from(${JSON.stringify(tree.path)})], exclude: [], excludeIfPresent: [], oneFileSystem: false, minimumEntries: 0 };
      for (const event of walkFiles(options, { onProblem: (p) => seen.push(p.reason) })) if (event.entry?.unreadable) seen.push(event.entry.name.toString());
      console.log(JSON.stringify(seen));`;
      const run = spawnSync(
        "setpriv",
        ["--reuid", "65534", "--regid", "65534", "--clear-groups", process.execPath, "--input-type=module", "-e", script],
        { encoding: "utf8" },
      );
      expect([run.stdout.trim(), run.stderr]).toEqual(['["EACCES","secret"]', ""]);
    },
  );

  test.runIf(spawnSync("unshare", ["-m", "true"]).status === 0)("keeps a mount point as an empty folder", () => {
    using tree = temporaryTree({ mount: {}, plain: { f: "" } });
    const script = `
      import { walkFiles } from ${JSON.stringify(new URL("../../../src/sources/files/walk.ts", import.meta.url).href)};
      for (const paths of [[process.argv[1]], [process.argv[1], process.argv[1] + "/mount/inner"]]) {
        const seen = [];
        const options = { paths: paths.map((p) => Buffer.from(p)), exclude: [], excludeIfPresent: [], oneFileSystem: true, minimumEntries: 0 };
        const hooks = { onProblem: (p) => seen.push(p.message), onExcluded: (p, rule) => seen.push(rule.by) };
        let inside = 0;
        for (const event of walkFiles(options, hooks)) if (event.step !== "leave") seen.push(event.entry.name.toString());
        console.log(JSON.stringify(seen.slice(seen.indexOf(process.argv[1].split("/").at(-1)) + 1)));
      }`;
    const shell =
      'mount -t tmpfs none "$1/mount" && mkdir "$1/mount/inner" && touch "$1/mount/inner/deep" "$1/mount/file" && exec "$2" --input-type=module -e "$3" "$1"';
    const run = spawnSync("unshare", ["-m", "sh", "-c", shell, "sh", tree.path, process.execPath, script], { encoding: "utf8" });
    expect([run.stdout.trim().split("\n"), run.stderr]).toEqual([
      ['["file-system","mount","plain","f"]', '["file-system","mount","inner","deep","plain","f"]'],
      "",
    ]);
  });

  test.runIf(posixSupport().available)("sees every oddity as find does", () => {
    using tree = temporaryTree();
    const { skipped } = writeOddities(tree.path);
    const { entries, problems, summary } = walk({ paths: [tree.path] }, tree.path);
    expect(problems).toEqual([]);
    const letters: Record<string, string> = {
      file: "f",
      directory: "d",
      symlink: "l",
      fifo: "p",
      socket: "s",
      chardev: "c",
      blockdev: "b",
    };
    const own = [...entries].map(([path, { type, meta, size, linkTarget }]) =>
      [
        path === "/" ? "" : path.replace(/\/$/, "").slice(1),
        letters[type],
        meta.mode.toString(8),
        meta.uid,
        meta.gid,
        type === "file" ? size : "",
        meta.inode,
        meta.links,
        Buffer.from(linkTarget ?? []).toString("latin1"),
      ].join("\0"),
    );
    // find prints an owner without a name as its number, and quotes nothing when it writes no terminal.
    const format = "%P\\0%y\\0%m\\0%U\\0%G\\0%s\\0%i\\0%n\\0%l\\0\\0";
    const found = execFileSync("find", [tree.path, "-printf", format], { encoding: "latin1", maxBuffer: 1 << 26 })
      .split("\0\0\0")
      .join("\0\0")
      .split(/\0\0(?=[^\0]*\0[a-z]\0)/);
    const theirs = found.map((line) => {
      const fields = line.replace(/\0+$/, "").split("\0");
      if (fields[1] !== "f") fields[5] = "";
      while (fields.length < 9) fields.push("");
      return fields.join("\0");
    });
    expect(own.toSorted()).toEqual(theirs.toSorted());
    expect(summary.entries).toBe(own.length - 1);
    for (const name of ODD_NAMES)
      if (!skipped.some(({ what }) => what.includes(JSON.stringify(name)))) expect(entries.has(`/names/${name}`)).toBe(true);
    for (const [name, mtimeNs] of ODD_TIMES) expect([name, entries.get(`/times/${name}`)?.meta.mtimeNs]).toEqual([name, mtimeNs]);
    expect(entries.get("/sparse/gibibyte")?.content).toMatchObject({ sparse: true });
    expect(entries.get("/sparse/zeros")?.content).toMatchObject({ sparse: false });
    const deepest = [...entries.keys()].find((path) => path.endsWith("/bottom"));
    expect(deepest?.length).toBeGreaterThan(5000);
  });

  test.runIf(posixSupport().available)("reads attributes of everything but files", ({ skip }) => {
    using tree = temporaryTree();
    const { skipped } = writeOddities(tree.path);
    skip(
      skipped.some(({ what }) => what.startsWith("user.")),
      "this file system keeps no user attributes",
    );
    const { entries } = walk({ paths: [`${tree.path}/attributes`] }, tree.path);
    const names = (path: string): string[] =>
      (entries.get(path)?.meta.xattrs ?? []).map(({ name }) => Buffer.from(name).toString("latin1"));
    expect(names("/attributes/file")).toEqual([]);
    expect(names("/attributes/folder/")).toContain("user.kind");
    const acl = entries
      .get("/attributes/folder/")
      ?.meta.xattrs.find(({ name }) => Buffer.from(name).toString() === "system.posix_acl_default");
    if (!skipped.some(({ what }) => what.startsWith("system."))) expect(acl?.value).toEqual(SAMPLE_ACL);
    if (!skipped.some(({ what }) => what.startsWith("trusted."))) expect(names("/attributes/link")).toEqual(["trusted.holdfast"]);
  });

  test.runIf(posixSupport().available)("ends where paths are too long to come back, and says so", () => {
    using tree = temporaryTree({ top: {}, z: "after it" });
    try {
      let fd = openAt(AT_FDCWD, Buffer.from(`${tree.path}/top`), constants.O_DIRECTORY);
      for (let level = 0; level < 70; level++) {
        const name = Buffer.from("d".repeat(255));
        mkdirAt(fd, name, 0o755);
        const next = openAt(fd, name, constants.O_DIRECTORY);
        closeSync(fd);
        fd = next;
      }
      closeSync(fd);
      const { entries, problems } = walk({ paths: [tree.path] }, tree.path);
      expect(problems.map(({ reason }) => reason)).toEqual(["ENAMETOOLONG"]);
      const longest = Math.max(...[...entries.keys()].map((path) => path.length)) + tree.path.length;
      expect(longest).toBeGreaterThan(LONGEST_PATH_BYTES - 512);
      expect(longest).toBeLessThanOrEqual(LONGEST_PATH_BYTES + 1);
      const deepest = [...entries.values()].filter(({ unreadable }) => unreadable === true);
      expect(deepest).toHaveLength(1);
      expect([...entries.keys()].at(-1)).toBe("/z");
    } finally {
      spawnSync("rm", ["-rf", `${tree.path}/top`]);
    }
  });

  test.runIf(posixSupport().available)("goes 300 folders deep with few descriptors, and leaves none open", () => {
    using tree = temporaryTree();
    const name = Buffer.from("d");
    let fd = openAt(AT_FDCWD, Buffer.from(tree.path), 0);
    for (let level = 0; level < 300; level++) {
      mkdirAt(fd, name, 0o755);
      mkdirAt(fd, Buffer.from("z"), 0o755);
      const next = openAt(fd, name, 0);
      closeSync(fd);
      fd = next;
    }
    closeSync(fd);
    let most = 0;
    const counting: DirectoryReader = {
      ...directoryReader(),
      list: (directory) => {
        most = Math.max(most, openDescriptorsBelow(tree.path));
        return directoryReader().list(directory);
      },
    };
    const { summary, problems } = walk({ paths: [tree.path] }, tree.path, counting);
    expect([summary.entries, problems]).toEqual([600, []]);
    expect(most).toBeGreaterThan(100);
    expect(most).toBeLessThan(140);
    expect(openDescriptorsBelow(tree.path)).toBe(0);
  });

  describe.runIf(posixSupport().available)("that closed its outer folders, when they move", () => {
    /** Folders `d` in `d`, more than are kept open, each with a file `z` behind the next folder. */
    const deepTree = (): ReturnType<typeof temporaryTree> => {
      const tree = temporaryTree({ away: {}, src: {} });
      let path = `${tree.path}/src`;
      for (let level = 0; level < 300; level++) {
        writeFileSync(`${path}/z`, "");
        mkdirSync((path += "/d"));
      }
      return tree;
    };
    const walkMoving = (root: string, move: () => void): Walked => {
      const reader = directoryReader();
      let lists = 0;
      const list: DirectoryReader["list"] = (directory) => {
        if (++lists === 250) move();
        return reader.list(directory);
      };
      return walk({ paths: [`${root}/src`] }, root, { ...reader, list });
    };

    test("finds its way back by path", () => {
      using tree = deepTree();
      const { problems, paths } = walkMoving(tree.path, () => renameSync(`${tree.path}/src/d`, `${tree.path}/away/d`));
      expect(problems).toEqual([]);
      expect(paths.filter((path) => path.endsWith("/z"))).toHaveLength(300);
    });

    test("says which folder's rest is missing, and goes on above it", () => {
      using tree = deepTree();
      const { problems, paths } = walkMoving(tree.path, () => {
        renameSync(`${tree.path}/src/d/d/d`, `${tree.path}/away/lower`);
        renameSync(`${tree.path}/src/d`, `${tree.path}/away/upper`);
      });
      expect(problems.map(({ path }) => Buffer.from(path).toString().slice(tree.path.length))).toEqual(["/src/d/d", "/src/d"]);
      expect(problems[0]?.message).toContain("the rest of it is missing");
      expect(paths.filter((path) => path.endsWith("/z"))).toHaveLength(298);
      expect(paths).toContain("/src/z");
    });
  });

  test("closes everything when it is abandoned", () => {
    using tree = temporaryTree({ a: { b: { c: "" } } });
    const options = {
      paths: [Buffer.from(tree.path)],
      exclude: [],
      excludeIfPresent: [],
      excludeLargerThanBytes: undefined,
      oneFileSystem: false,
      minimumEntries: 0,
    };
    for (const event of walkFiles(options, { onProblem: () => undefined })) if (event.step === "leaf") break;
    expect(openDescriptorsBelow(tree.path)).toBe(0);
  });

  test.runIf(posixSupport().available)("is not led out of the source by a parent that becomes a symlink", () => {
    using tree = temporaryTree({ src: { dir: { f: "mine", z: "" } }, secret: { f: "not yours", g: "" } });
    const reader = directoryReader();
    const attacking: DirectoryReader = {
      ...reader,
      list: (directory) => {
        if (directory.path.toString().endsWith("/src/dir")) {
          renameSync(`${tree.path}/src/dir`, `${tree.path}/src/moved`);
          symlinkSync("../secret", `${tree.path}/src/dir`);
        }
        return reader.list(directory);
      },
    };
    const { paths, entries } = walk({ paths: [`${tree.path}/src`] }, tree.path, attacking);
    expect(paths).toEqual(["/", "/src/", "/src/dir/", "/src/dir/f", "/src/dir/z"]);
    expect(entries.get("/src/dir/f")?.size).toBe(4);
  });

  test.runIf(posixSupport().available)("looks at the entries of a very large folder one by one, as they are asked for", () => {
    using tree = temporaryTree();
    const names = Array.from({ length: 200_000 }, (_, index) => String(index).padStart(6, "0"));
    const real = directoryReader();
    const stat = statAt(AT_FDCWD, Buffer.from(tree.path));
    let looked = 0;
    const fake: DirectoryReader = {
      ...real,
      list: () => names,
      stat: (parent, name, path) => {
        if (parent.path.toString() !== tree.path) return real.stat(parent, name, path);
        looked++;
        return { ...stat, mode: 0o100644 };
      },
    };
    const options = {
      paths: [Buffer.from(tree.path)],
      exclude: [],
      excludeIfPresent: [],
      excludeLargerThanBytes: undefined,
      oneFileSystem: false,
      minimumEntries: 0,
    };
    let leaves = 0;
    for (const event of walkFiles(options, { onProblem: () => undefined }, fake)) {
      if (event.step === "leaf" && ++leaves !== looked) throw new Error(`${looked} entries were looked at for ${leaves}`);
    }
    expect(leaves).toBe(200_000);
  });
});
