import {
  closeSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { userInfo } from "node:os";
import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { AT_FDCWD, mknodAt } from "../../../src/posix/at.ts";
import { posixSupport } from "../../../src/posix/libc.ts";
import { setXattr } from "../../../src/posix/xattr.ts";
import { dataExtents, openFileForRead, readXattrs, sameStat, statOf } from "../../../src/sources/files/read-file.ts";
import { walkFiles } from "../../../src/sources/files/walk.ts";
import type { Entry } from "../../../src/sources/source.ts";
import { writeOddities } from "../../support/oddities.ts";
import { openDescriptorsBelow, temporaryTree } from "../../support/tree-literal.ts";

const identityOf = (path: string): { inode: bigint; device: bigint } => {
  const { ino, dev } = lstatSync(path, { bigint: true });
  return { inode: ino, device: dev };
};
const thrownBy = (act: () => unknown): unknown => {
  try {
    act();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
};

describe("opening a file to read", () => {
  test("gives its bytes and metadata, and follows no symlink", () => {
    using tree = temporaryTree({ f: "content" });
    symlinkSync("f", `${tree.path}/link`);
    const { fd, stat } = openFileForRead(Buffer.from(`${tree.path}/f`), identityOf(`${tree.path}/f`));
    expect(readFileSync(fd, "utf8")).toBe("content");
    expect(stat).toMatchObject({ size: 7, links: 1, mtimeNs: lstatSync(`${tree.path}/f`, { bigint: true }).mtimeNs });
    closeSync(fd);
    expect(thrownBy(() => openFileForRead(Buffer.from(`${tree.path}/link`)))).toMatchObject({ code: "ELOOP" });
    expect(thrownBy(() => openFileForRead(Buffer.from(`${tree.path}/none`)))).toMatchObject({ code: "ENOENT" });
  });

  test("refuses another file under the same name", () => {
    using tree = temporaryTree({ f: "old", g: "new" });
    const expected = identityOf(`${tree.path}/f`);
    renameSync(`${tree.path}/g`, `${tree.path}/f`);
    expect(thrownBy(() => openFileForRead(Buffer.from(`${tree.path}/f`), expected))).toMatchObject({
      code: "source_changed",
      message: `${tree.path}/f was replaced by another file`,
    });
  });

  test.runIf(posixSupport().available)("does not hang on what became a FIFO, nor take a folder for a file", () => {
    using tree = temporaryTree();
    mknodAt(AT_FDCWD, Buffer.from(`${tree.path}/pipe`), 0o010600, 0n);
    mkdirSync(`${tree.path}/folder`);
    for (const name of ["pipe", "folder"])
      expect(thrownBy(() => openFileForRead(Buffer.from(`${tree.path}/${name}`)))).toMatchObject({ code: "source_changed" });
  });

  test("leaves the access time alone", () => {
    using tree = temporaryTree({ f: "content" });
    utimesSync(`${tree.path}/f`, 1000, 2000);
    const { fd } = openFileForRead(Buffer.from(`${tree.path}/f`));
    readFileSync(fd);
    closeSync(fd);
    expect(statSync(`${tree.path}/f`).atimeMs).toBe(1_000_000);
  });

  test.runIf(userInfo().uid === 0 && spawnSync("setpriv", ["--version"]).status === 0)(
    "works where the access time may not be left alone",
    () => {
      using tree = temporaryTree({ f: "root's" });
      const url = new URL("../../../src/sources/files/read-file.ts", import.meta.url).href;
      const script = `import fs from "node:fs"; const { openFileForRead } = await import(${JSON.stringify(url)}); console.log(fs.readFileSync(openFileForRead(Buffer.from(process.argv[1])).fd, "utf8"));`;
      const open = spawnSync("chmod", ["755", tree.path]);
      expect(open.status).toBe(0);
      const run = spawnSync(
        "setpriv",
        [
          "--reuid",
          "65534",
          "--regid",
          "65534",
          "--clear-groups",
          process.execPath,
          "--input-type=module",
          "-e",
          script,
          `${tree.path}/f`,
        ],
        { encoding: "utf8" },
      );
      expect([run.stdout, run.stderr]).toEqual(["root's\n", ""]);
    },
  );

  test.runIf(posixSupport().available)("reads every file the walk names, however long its path, and leaves nothing open", () => {
    using tree = temporaryTree();
    writeOddities(tree.path);
    let longest = 0;
    const hooks = { onProblem: (): void => undefined };
    const options = {
      paths: [Buffer.from(tree.path)],
      exclude: [],
      excludeIfPresent: [],
      excludeLargerThanBytes: 2 ** 20,
      oneFileSystem: false,
      minimumEntries: 0,
    };
    for (const event of walkFiles(options, hooks)) {
      const entry: Entry | undefined = event.step === "leaf" ? event.entry : undefined;
      if (entry?.content === undefined || !("open" in entry.content)) continue;
      longest = Math.max(longest, entry.content.open.length);
      const { fd, stat } = openFileForRead(entry.content.open, entry.meta);
      expect([stat.size, stat.mtimeNs, readFileSync(fd).length]).toEqual([entry.size, entry.meta.mtimeNs, entry.size]);
      closeSync(fd);
    }
    expect(longest).toBeGreaterThan(5000);
    expect(openDescriptorsBelow(tree.path)).toBe(0);
  });
});

describe("an open file", () => {
  test("is the same until its content or name changes", () => {
    using tree = temporaryTree({ f: "content" });
    const fd = openSync(`${tree.path}/f`, "r+");
    const first = statOf(fd);
    expect(sameStat(first, statOf(fd))).toBe(true);
    for (const change of [{ size: 8 }, { mtimeNs: 0n }, { ctimeNs: 0n }, { inode: 0n }, { device: 12345n }])
      expect(sameStat(first, { ...first, ...change })).toBe(false);
    expect(sameStat(first, { ...first, links: 2, blocks: 99 })).toBe(true);
    writeSync(fd, " and more", 7);
    expect(sameStat(first, statOf(fd))).toBe(false);
    closeSync(fd);
  });

  test.runIf(posixSupport().available)("tells its attributes and data", ({ skip }) => {
    using tree = temporaryTree({ f: "" });
    const fd = openSync(`${tree.path}/f`, "r+");
    writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, 1 << 20);
    ftruncateSync(fd, 1 << 21);
    skip(statOf(fd).blocks * 512 >= 1 << 21, "this file system keeps no holes");
    expect(dataExtents(fd, 1 << 21)).toEqual([{ offset: 1 << 20, length: 4096 }]);
    expect(readXattrs(fd)).toEqual([]);
    try {
      setXattr(fd, Buffer.from("user.a"), Buffer.from("1"));
    } catch {
      skip("this file system keeps no user attributes");
    }
    expect(readXattrs(fd)).toEqual([{ name: Buffer.from("user.a"), value: Buffer.from("1") }]);
    closeSync(fd);
    writeFileSync(`${tree.path}/f`, "");
  });
});
