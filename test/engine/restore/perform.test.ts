import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { AT_FDCWD } from "../../../src/posix/at.ts";
import { setXattr } from "../../../src/posix/xattr.ts";
import { removeTree } from "../../../src/engine/restore/remove-tree.ts";
import { openAt } from "../../../src/posix/at.ts";
import { constants, closeSync } from "node:fs";
import { flipByte, objectFiles, openRepository } from "../../formats/repository/read/backed-up.ts";
import { compareTrees } from "../../support/compare-trees.ts";
import { SAMPLE_ACL, writeOddities } from "../../support/oddities.ts";
import { hardLink, openDescriptorsBelow, symlink, temporaryTree, writeTree } from "../../support/tree-literal.ts";
import { fixture, leftOvers, pathsOf, restore } from "./fixture.ts";

describe("a restore into an empty folder", () => {
  it("brings back every oddity, metadata and all", async () => {
    await using made = await fixture((source) => writeOddities(source));
    const report = await restore(made, {}, { verifyFirst: true, verify: true });
    expect(report.problems).toEqual([]);
    expect(report.losses).toEqual([]);
    expect(report.status).toBe("success");
    expect(report.verifiedFiles).toBeGreaterThan(30);
    expect(compareTrees(made.source, made.out, { ignoreRoot: true })).toEqual([]);
    expect(leftOvers(made.out)).toEqual([]);
    // A daemon restores and verifies in one process for years.
    expect(openDescriptorsBelow(made.out)).toBe(0);
    const again = await restore(made);
    expect(again).toMatchObject({ status: "success", created: 0, replaced: 0, metadata: 0, files: 0, bytes: 0 });
    expect(again.kept).toBe(report.created);
    expect(compareTrees(made.source, made.out, { ignoreRoot: true })).toEqual([]);
  });

  it("makes absolute paths anew, and a missing destination with the folder's own metadata", async () => {
    await using made = await fixture((source) => {
      writeTree(source, { "secret-folder": { a: "1" } });
      chmodSync(join(source, "secret-folder"), 0o750);
    });
    await restore(made, {
      path: Buffer.from("/"),
      destination: { kind: "folder", path: Buffer.from(join(made.out, "new/absolute")) },
    });
    expect(compareTrees(made.source, join(made.out, "new/absolute", made.source))).toEqual([]);
    const one = join(made.out, "one");
    await restore(made, {
      path: Buffer.from(`${made.source}/secret-folder`),
      destination: { kind: "folder", path: Buffer.from(one) },
    });
    expect(compareTrees(join(made.source, "secret-folder"), one)).toEqual([]);
    await restore(made, {
      path: Buffer.from(`${made.source}/secret-folder/a`),
      destination: { kind: "folder", path: Buffer.from(join(made.out, "file")) },
    });
    expect(pathsOf(join(made.out, "file"))).toEqual(["a"]);
  });

  it("restores what is included and leaves out what is excluded", async () => {
    const tree = { a: { "x.log": "1", "x.txt": "2", deep: { "y.log": "3" } }, b: { "z.txt": "4" }, empty: {} };
    await using made = await fixture((source) => writeTree(source, tree));
    await restore(made, { include: ["*.log"] });
    expect(pathsOf(made.out)).toEqual(["a", "a/deep", "a/deep/y.log", "a/x.log"]);
    rmSync(join(made.out, "a"), { recursive: true });
    await restore(made, { exclude: ["*.log", "/**/b/"] });
    expect(pathsOf(made.out)).toEqual(["a", "a/deep", "a/x.txt", "empty"]);
    rmSync(join(made.out, "a"), { recursive: true });
    await restore(made, { include: ["a"], exclude: ["deep"] });
    expect(pathsOf(made.out)).toEqual(["a", "a/x.log", "a/x.txt", "empty"]);
  });

  it("says what is missing", async () => {
    await using made = await fixture((source) => writeTree(source, { a: "1" }));
    await expect(restore(made, { path: Buffer.from("/nowhere") })).rejects.toMatchObject({ code: "path_missing" });
    const inTheWay = join(made.out, "file");
    writeFileSync(inTheWay, "");
    await expect(restore(made, { destination: { kind: "folder", path: Buffer.from(inTheWay) } })).rejects.toMatchObject({
      code: "restore_conflict",
    });
  });

  it("gives new files no more than the snapshot has where the folder has a default ACL", async () => {
    await using made = await fixture((source) => writeTree(source, { f: "plain", d: { g: "plain" } }));
    setXattr(Buffer.from(made.out), Buffer.from("system.posix_acl_default"), SAMPLE_ACL);
    const report = await restore(made);
    expect(report.losses).toEqual([]);
    expect(compareTrees(made.source, made.out, { ignoreRoot: true })).toEqual([]);
  });

  it("needs a confirmation over the live file system", async () => {
    await using made = await fixture((source) => writeTree(source, { a: "1" }));
    for (const destination of [
      { kind: "live" },
      { kind: "folder", path: Buffer.from("/") },
      { kind: "folder", path: Buffer.from("/usr/..") },
    ] as const)
      await expect(restore(made, { destination })).rejects.toMatchObject({ code: "confirmation_required" });
  });
});

describe("a restore in place", () => {
  const live = { destination: { kind: "live" }, confirmedLive: true } as const;

  it("brings a folder back to what it was", async () => {
    const tree = { a: "one", b: "two", sub: { c: "three", link: symlink("c"), twin: hardLink("a") } };
    await using made = await fixture((source) => writeTree(source, tree));
    using before = temporaryTree();
    await restore(made, { destination: { kind: "folder", path: Buffer.from(before.path) } });
    writeFileSync(join(made.source, "a"), "changed and longer");
    rmSync(join(made.source, "sub/c"));
    chmodSync(join(made.source, "b"), 0o600);
    writeFileSync(join(made.source, "sub/extra"), "extra");
    mkdirSync(join(made.source, "more/of/it"), { recursive: true });
    writeFileSync(join(made.source, "more/of/it/file"), "");
    const kept = await restore(made, { ...live });
    expect(kept.problems).toEqual([]);
    expect(kept).toMatchObject({ status: "success", deleted: 0, metadata: 1 });
    expect(existsSync(join(made.source, "more/of/it/file"))).toBe(true);
    const cleaned = await restore(made, { ...live, delete: true });
    expect(cleaned).toMatchObject({ status: "success", deleted: 2 });
    expect(compareTrees(before.path, made.source, { ignoreRoot: true })).toEqual([]);
  });

  it("touches nothing beside or above the source, with the whole snapshot and --delete", async () => {
    using above = temporaryTree({ other: { keep: "me" }, mine: { a: "1" }, "also-mine": { b: "2" } });
    await using made = await fixture((source) => {
      writeTree(source, { inside: "x" });
    });
    const { backUp } = await import("../../formats/repository/read/backed-up.ts");
    const roots = [join(above.path, "mine"), join(above.path, "also-mine")];
    const snapshot = await backUp(made.store, roots);
    writeFileSync(join(above.path, "mine/extra"), "");
    writeFileSync(join(above.path, "beside"), "");
    const request = { ...live, snapshot, path: Buffer.from("/"), delete: true };
    await expect(restore(made, { ...request, roots: undefined })).rejects.toMatchObject({ code: "restore_refused" });
    const report = await restore(made, { ...request, roots: roots.map((root) => Buffer.from(root)) });
    expect(report).toMatchObject({ status: "success", deleted: 1 });
    expect(pathsOf(above.path)).toEqual(["also-mine", "also-mine/b", "beside", "mine", "mine/a", "other", "other/keep"]);
  });

  it("never deletes what is protected, excluded, or could not be read", async () => {
    await using made = await fixture((source) => writeTree(source, { a: "1" }));
    writeTree(made.source, { repository: { packs: "x" }, "b.log": "", unreadable: "", gone: "" });
    const unreadable = [{ path: `${made.source}/unreadable`, reason: "EACCES", message: "" }];
    await restore(made, {
      ...live,
      delete: true,
      exclude: ["*.log"],
      protect: [Buffer.from(join(made.source, "repository/packs"))],
      snapshot: { ...made.snapshot, unreadable, unreadableCount: 1 },
    });
    expect(pathsOf(made.source)).toEqual(["a", "b.log", "repository", "repository/packs", "unreadable"]);
    await expect(
      restore(made, { ...live, delete: true, snapshot: { ...made.snapshot, unreadable, unreadableCount: 2 } }),
    ).rejects.toMatchObject({ code: "restore_refused" });
  });

  it("makes the folders above that are missing, as they were", async () => {
    using above = temporaryTree({ way: { root: { a: "1" } } });
    chmodSync(join(above.path, "way"), 0o711);
    await using made = await fixture((source) => writeTree(source, { x: "" }));
    const { backUp } = await import("../../formats/repository/read/backed-up.ts");
    const root = join(above.path, "way/root");
    const snapshot = await backUp(made.store, [root]);
    rmSync(join(above.path, "way"), { recursive: true });
    await restore(made, { ...live, snapshot, path: Buffer.from(`${root}/a`), roots: [Buffer.from(root)] });
    expect(readFileSync(join(root, "a"), "utf8")).toBe("1");
    expect(statSync(join(above.path, "way")).mode & 0o777).toBe(0o711);
  });
});

describe("overwriting", () => {
  const t0 = 1_600_000_000;
  // [policy, live is newer, size differs] → whether the snapshot's content comes back
  it.each([
    ["never", false, true, false],
    ["never", true, true, false],
    ["if-changed", false, true, true],
    ["if-changed", true, false, true],
    ["if-newer", false, true, true],
    ["if-newer", true, true, false],
    ["always", false, true, true],
    ["always", true, false, true],
  ] as const)("%s, live newer: %s, other size: %s", async (overwrite, newer, otherSize, comesBack) => {
    await using made = await fixture((source) => {
      writeFileSync(join(source, "f"), "snapshot");
      utimesSync(join(source, "f"), t0, t0);
    });
    const live = join(made.out, "f");
    writeFileSync(live, otherSize ? "live, longer" : "livefile");
    utimesSync(live, t0 + (newer ? 10 : -10), t0 + (newer ? 10 : -10));
    const { ino } = statSync(live);
    const report = await restore(made, { overwrite });
    expect(report.status).toBe("success");
    expect(readFileSync(live, "utf8") === "snapshot").toBe(comesBack);
    expect(report).toMatchObject(comesBack ? { replaced: 1, kept: 0 } : { replaced: 0, kept: 1 });
    if (!comesBack) expect(statSync(live).ino).toBe(ino);
  });

  it("if-changed leaves a file of equal size and time alone, and always writes it again", async () => {
    await using made = await fixture((source) => {
      writeFileSync(join(source, "f"), "snapshot");
      utimesSync(join(source, "f"), t0, t0);
    });
    const live = join(made.out, "f");
    writeFileSync(live, "tampered");
    utimesSync(live, t0, t0);
    expect(await restore(made)).toMatchObject({ kept: 1, replaced: 0 });
    expect(readFileSync(live, "utf8")).toBe("tampered");
    const verified = await restore(made, {}, { verify: true });
    expect(verified).toMatchObject({ status: "partial", problemCount: 1, problems: [{ code: "verify_failed" }] });
    expect(await restore(made, { overwrite: "always" }, { verify: true })).toMatchObject({
      status: "success",
      replaced: 1,
      verifiedFiles: 1,
    });
    expect(readFileSync(live, "utf8")).toBe("snapshot");
  });

  it("replaces a symlink and never writes through it", async () => {
    await using made = await fixture((source) => writeTree(source, { f: "snapshot", d: { g: "inside" } }));
    using outside = temporaryTree({ victim: "untouched", folder: {} });
    symlinkSync(join(outside.path, "victim"), join(made.out, "f"));
    symlinkSync(join(outside.path, "folder"), join(made.out, "d"));
    const report = await restore(made);
    expect(lstatSync(join(made.out, "f")).isFile()).toBe(true);
    expect(report).toMatchObject({
      status: "partial",
      problemCount: 1,
      problems: [{ code: "restore_conflict", path: join(made.out, "d") }],
    });
    expect(await restore(made, { overwrite: "always" })).toMatchObject({ status: "success" });
    expect(readFileSync(join(made.out, "d/g"), "utf8")).toBe("inside");
    expect(pathsOf(outside.path)).toEqual(["folder", "victim"]);
    expect(readFileSync(join(outside.path, "victim"), "utf8")).toBe("untouched");
  });

  it("treats a folder in a file's place as a conflict, unless told to remove it", async () => {
    await using made = await fixture((source) => writeTree(source, { f: "file", h: hardLink("f"), l: symlink("f") }));
    writeTree(made.out, { f: { inner: "data" }, l: {} });
    expect(await restore(made)).toMatchObject({ status: "partial", problemCount: 2, created: 1 });
    expect(await restore(made, { overwrite: "always" })).toMatchObject({ status: "partial", problemCount: 1 });
    expect(readFileSync(join(made.out, "f/inner"), "utf8")).toBe("data");
    expect(await restore(made, { overwrite: "always", delete: true })).toMatchObject({ status: "success" });
    expect(compareTrees(made.source, made.out, { ignoreRoot: true })).toEqual([]);
  });

  it("links to what is there and right, and repairs groups", async () => {
    await using made = await fixture((source) =>
      writeTree(source, { a: "linked", b: hardLink("a"), c: hardLink("a"), l: symlink("x") }),
    );
    linkSync(join(made.source, "l"), join(made.source, "m"));
    await restore(made);
    rmSync(join(made.out, "b"));
    rmSync(join(made.out, "a"));
    writeFileSync(join(made.out, "a"), "something else");
    expect(await restore(made)).toMatchObject({ status: "success" });
    expect(readFileSync(join(made.out, "a"), "utf8")).toBe("linked");
    expect(readFileSync(join(made.out, "b"), "utf8")).toBe("linked");
    expect(statSync(join(made.out, "a")).ino).toBe(statSync(join(made.out, "b")).ino);
    await restore(made, { overwrite: "always" });
    expect(statSync(join(made.out, "a")).nlink).toBe(3);
    expect(leftOvers(made.out)).toEqual([]);
  });
});

describe("damage", () => {
  async function damaged(): Promise<Awaited<ReturnType<typeof fixture>> & { readonly bad: string[] }> {
    const made = await fixture(
      (source) => {
        for (const name of ["a", "b", "c", "d"]) writeFileSync(join(source, name), randomBytes(2 ** 20 + 7));
        linkSync(join(source, "a"), join(source, "a-too"));
      },
      { grouping: "file" },
    );
    const trees = new Set(
      [...made.store.repository.index.packs()].filter(({ kind }) => kind === 2).map(({ id }) => id as string),
    );
    const pack = objectFiles(made.target, "packs").find((path) => !trees.has(path.slice(-64))) as string;
    flipByte(pack, 5000);
    const store = await openRepository(made.target);
    return { ...made, store, bad: [], [Symbol.asyncDispose]: made[Symbol.asyncDispose] };
  }

  it("leaves the file as it was, names it, and restores the others", async () => {
    await using made = await damaged();
    for (const name of ["a", "b", "c", "d"]) writeFileSync(join(made.out, name), "old");
    const report = await restore(made);
    expect(report.status).toBe("partial");
    expect(new Set(report.problems.map(({ code }) => code))).toEqual(new Set(["object_damaged"]));
    const old = ["a", "b", "c", "d"].filter((name) => readFileSync(join(made.out, name), "utf8") === "old");
    expect(old).toHaveLength(1);
    expect(report.problems[0]?.path).toBe(join(made.out, old[0] as string));
    expect(leftOvers(made.out)).toEqual([]);
    for (const name of ["a", "b", "c", "d"].filter((each) => each !== old[0]))
      expect(readFileSync(join(made.out, name)).equals(readFileSync(join(made.source, name)))).toBe(true);
  });

  it("stops a restore that verifies first before anything is touched", async () => {
    await using made = await damaged();
    writeFileSync(join(made.out, "a"), "old");
    await expect(restore(made, {}, { verifyFirst: true })).rejects.toMatchObject({ code: "restore_refused" });
    expect(pathsOf(made.out)).toEqual(["a"]);
    expect(readFileSync(join(made.out, "a"), "utf8")).toBe("old");
  });

  it("of one copy is made good by another", async () => {
    await using made = await damaged();
    // What a repair leads to: the chunk is stored again elsewhere, and both copies are known.
    for (const pack of made.store.repository.index.packs())
      if (pack.kind === 1) made.store.repository.index.setPackState(pack.id, "damaged");
    const { backUp } = await import("../../formats/repository/read/backed-up.ts");
    await backUp(made.store, [made.source], { grouping: "file" });
    for (const pack of made.store.repository.index.packs()) made.store.repository.index.setPackState(pack.id, "ok");
    const report = await restore(made, {}, { verify: true });
    expect(report).toMatchObject({ status: "success", verifiedFiles: 5 });
    expect(compareTrees(made.source, made.out, { ignoreRoot: true })).toEqual([]);
  });
});

describe("ending early", () => {
  it("leaves no temporary files when it is cancelled", async () => {
    await using made = await fixture((source) => {
      for (let i = 0; i < 40; i++) writeFileSync(join(source, `f${i}`), randomBytes(2 ** 20));
    });
    const abort = new AbortController();
    let seen = 0;
    const running = restore(
      made,
      {},
      {
        signal: abort.signal,
        onProgress: ({ phase }) => phase === "restoring" && seen++ === 1 && abort.abort(new Error("stop it")),
      },
    );
    await expect(Promise.race([running, running.then(() => abort.abort())])).rejects.toThrow("stop it");
    expect(leftOvers(made.out)).toEqual([]);
    for (const name of pathsOf(made.out))
      expect(readFileSync(join(made.out, name)).equals(readFileSync(join(made.source, name)))).toBe(true);
  });
});

describe("removeTree", () => {
  it("removes folders of any depth without following a link", () => {
    using top = temporaryTree({ gone: { link: symlink("../kept"), a: { b: { c: "x" } } }, kept: { x: "1" } });
    let deep = join(top.path, "gone/a");
    for (let i = 0; i < 30; i++) mkdirSync((deep = join(deep, "d".repeat(60))));
    const fd = openAt(AT_FDCWD, Buffer.from(top.path), constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      for (const _ of removeTree(fd, "gone")) expect(_).toBeUndefined();
      for (const _ of removeTree(fd, "never-there")) expect(_).toBeUndefined();
    } finally {
      closeSync(fd);
    }
    expect(pathsOf(top.path)).toEqual(["kept", "kept/x"]);
  });
});
