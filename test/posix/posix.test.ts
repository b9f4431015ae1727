import { execFileSync, spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  ftruncateSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { userInfo } from "node:os";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AT_FDCWD,
  chmodAt,
  chownAt,
  linkAt,
  mkdirAt,
  mknodAt,
  openAt,
  pathBelow,
  readlinkAt,
  renameAt,
  setTimesAt,
  setTimesFd,
  symlinkAt,
  unlinkAt,
} from "../../src/posix/at.ts";
import { dataRanges } from "../../src/posix/extents.ts";
import { cString, errnoName, libc, posixSupport } from "../../src/posix/libc.ts";
import { findOwner, groupId, groupName, userId, userName } from "../../src/posix/owners.ts";
import { makeDevice, splitDevice, statAt, statFd } from "../../src/posix/stat.ts";
import { getXattr, readXattrs, removeXattr, setXattr } from "../../src/posix/xattr.ts";
import { temporaryTree, type TemporaryFolder } from "../support/tree-literal.ts";

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
const isRoot = userInfo().uid === 0;
const hasGetfattr = spawnSync("getfattr", ["--version"]).status === 0;

let folder: TemporaryFolder;
let dirFd: number;
beforeAll(() => {
  folder = temporaryTree();
  dirFd = openSync(folder.path, constants.O_RDONLY | constants.O_DIRECTORY);
});
afterAll(() => {
  closeSync(dirFd);
  folder[Symbol.dispose]();
});
const at = (name: string): Buffer => Buffer.concat([Buffer.from(`${folder.path}/`), bytes(name)]);
const codeOf = (act: () => unknown): string | undefined => {
  try {
    act();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
  return undefined;
};

describe.skipIf(!posixSupport().available)("the C library", () => {
  test("has every function that is declared", () => {
    const missing = Object.entries(libc()).filter(([, value]) => !("info" in (value as object)));
    expect(missing.map(([name]) => name)).toEqual([]);
  });

  test("names errors as Node does", () => {
    expect(errnoName(2)).toBe("ENOENT");
    expect(errnoName(95)).toBe("ENOTSUP");
    expect(errnoName(117)).toBe("EUCLEAN");
    const error = (() => {
      try {
        statAt(dirFd, bytes("missing"));
      } catch (thrown) {
        return thrown as NodeJS.ErrnoException;
      }
      throw new Error("nothing was thrown");
    })();
    expect(error).toMatchObject({ code: "ENOENT", errno: -2, syscall: "statx", path: "missing" });
  });

  test("refuses paths that C would misread", () => {
    expect(codeOf(() => cString(bytes("a\0b")))).toBe("EINVAL");
    expect(codeOf(() => cString(Buffer.alloc(8192, "x")))).toBe("ENAMETOOLONG");
    expect(codeOf(() => statAt(dirFd, Buffer.alloc(5000, "x")))).toBe("ENAMETOOLONG");
  });

  test("takes views into larger buffers", () => {
    writeFileSync(at("view"), "v");
    const whole = bytes("xxviewxx");
    expect(statAt(dirFd, whole.subarray(2, 6)).size).toBe(1);
    setXattr(at("view"), bytes("user.view"), whole.subarray(2, 6));
    expect(getXattr(at("view"), bytes("user.view"))?.toString()).toBe("view");
  });

  test("works in a worker thread beside this one", async () => {
    const url = new URL("../../src/posix/stat.ts", import.meta.url).href;
    const worker = new Worker(
      `const { parentPort } = require("node:worker_threads");
       import(${JSON.stringify(url)}).then(({ statAt }) => parentPort.postMessage(statAt(-100, Buffer.from("/")).inode));`,
      { eval: true },
    );
    const inode = await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    await worker.terminate();
    expect(inode).toBe(lstatSync("/", { bigint: true }).ino);
  });
});

describe.skipIf(!posixSupport().available)("statx", () => {
  test.each(["/", "/proc/self/exe", "/dev/null", "/etc/passwd", "/dev", "/proc/self/status"])(
    "of %s agrees with Node's lstat",
    (path) => {
      const node = lstatSync(path, { bigint: true });
      const own = statAt(AT_FDCWD, Buffer.from(path));
      expect(own).toEqual({
        mode: Number(node.mode),
        links: Number(node.nlink),
        uid: Number(node.uid),
        gid: Number(node.gid),
        inode: node.ino,
        size: Number(node.size),
        blocks: Number(node.blocks),
        mtimeNs: path.startsWith("/proc") ? own.mtimeNs : node.mtimeNs,
        ctimeNs: path.startsWith("/proc") ? own.ctimeNs : node.ctimeNs,
        device: node.dev,
        rdev: node.rdev,
      });
    },
  );

  test("of a descriptor, with a size over 4 GiB", () => {
    const fd = openSync(at("huge"), "w");
    ftruncateSync(fd, 5 * 2 ** 40 + 3);
    expect(statFd(fd)).toEqual(statAt(dirFd, bytes("huge")));
    expect(statFd(fd).size).toBe(5 * 2 ** 40 + 3);
    closeSync(fd);
  });

  test.each([
    [0, 0],
    [1, 3],
    [7, 200],
    [259, 70_000],
    [0xfff, 0xff],
    [0xfffff, 0xfffff],
    [0xffffffff, 0xffffffff],
  ])("device %i:%i is put together and taken apart", (major, minor) => {
    expect(splitDevice(makeDevice(major, minor))).toEqual({ major, minor });
  });
});

describe.skipIf(!posixSupport().available)("relative to a directory", () => {
  test("makes, links, renames and removes by raw names", () => {
    const name = bytes("caf\xe9\n");
    mkdirAt(dirFd, name, 0o750);
    expect(statAt(dirFd, name).mode).toBe(constants.S_IFDIR | 0o750);
    const inner = openAt(dirFd, name, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    const fd = openAt(inner, bytes("one"), constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    writeSync(fd, "content");
    closeSync(fd);
    linkAt(inner, bytes("one"), dirFd, bytes("two"));
    expect(statAt(dirFd, bytes("two")).inode).toBe(statAt(inner, bytes("one")).inode);
    renameAt(inner, bytes("one"), inner, bytes("three"));
    expect(codeOf(() => renameAt(inner, bytes("three"), dirFd, bytes("two"), { noReplace: true }))).toBe("EEXIST");
    expect(readFileSync(pathBelow(inner, bytes("three")), "utf8")).toBe("content");
    expect(codeOf(() => unlinkAt(dirFd, name, { directory: true }))).toBe("ENOTEMPTY");
    unlinkAt(inner, bytes("three"));
    unlinkAt(dirFd, name, { directory: true });
    expect(codeOf(() => statAt(dirFd, name))).toBe("ENOENT");
    closeSync(inner);
  });

  test("never follows a symlink", () => {
    writeFileSync(at("victim"), "");
    symlinkAt(bytes("victim"), dirFd, bytes("trap"));
    const before = statAt(dirFd, bytes("victim"));
    setTimesAt(dirFd, bytes("trap"), undefined, 5n);
    expect(codeOf(() => chmodAt(dirFd, bytes("trap"), 0o777))).toBe("ENOTSUP");
    expect(codeOf(() => openAt(dirFd, bytes("trap"), constants.O_RDONLY | constants.O_NOFOLLOW))).toBe("ELOOP");
    linkAt(dirFd, bytes("trap"), dirFd, bytes("trap-too"));
    expect(statAt(dirFd, bytes("trap-too")).mode & constants.S_IFMT).toBe(constants.S_IFLNK);
    expect(statAt(dirFd, bytes("victim"))).toEqual(before);
    expect(statAt(dirFd, bytes("trap")).mtimeNs).toBe(5n);
  });

  test("reads raw symlink targets", () => {
    const target = bytes("x/".repeat(2000) + "\xff\n");
    symlinkAt(target, dirFd, bytes("far"));
    expect(readlinkAt(dirFd, bytes("far"))).toEqual(target);
    expect(readlinkSync(at("far"), { encoding: "buffer" })).toEqual(target);
  });

  test("makes FIFOs, and devices for root", ({ skip }) => {
    mknodAt(dirFd, bytes("pipe"), constants.S_IFIFO | 0o600, 0n);
    expect(lstatSync(at("pipe")).isFIFO()).toBe(true);
    skip(!isRoot, "devices need root");
    mknodAt(dirFd, bytes("device"), constants.S_IFCHR | 0o600, makeDevice(0xabc, 0x12345));
    expect(execFileSync("stat", ["-c", "%t:%T", `${folder.path}/device`], { encoding: "utf8" }).trim()).toBe("abc:12345");
  });

  test.runIf(isRoot)("changes the owner of a symlink itself", () => {
    writeFileSync(at("owned"), "");
    symlinkSync("owned", at("owned-link"));
    chownAt(dirFd, bytes("owned-link"), 54_321, 12_345);
    expect(lstatSync(at("owned-link"))).toMatchObject({ uid: 54_321, gid: 12_345 });
    expect(lstatSync(at("owned"))).toMatchObject({ uid: 0, gid: 0 });
  });

  test.each([
    0n,
    1n,
    -1n,
    -1_000_000_000n,
    -31_535_999_876_543_211n,
    65_535_999_999_999n,
    65_536_000_000_000n,
    1_791_234_567_999_999_999n,
    4_102_444_800_987_654_321n,
    4_294_967_295_999_999_999n,
    4_294_967_296_000_000_000n,
    9_000_000_000_123_456_789n,
  ])("keeps the time %d to the nanosecond", (time) => {
    const fd = openSync(at("timed"), "w");
    setTimesFd(fd, 77n, time);
    expect(statFd(fd).mtimeNs).toBe(time);
    expect(lstatSync(at("timed"), { bigint: true }).atimeNs).toBe(77n);
    setTimesAt(dirFd, bytes("timed"), 88n, undefined);
    expect(statAt(dirFd, bytes("timed")).mtimeNs).toBe(time);
    expect(lstatSync(at("timed"), { bigint: true })).toMatchObject({ mtimeNs: time, atimeNs: 88n });
    closeSync(fd);
  });
});

describe.skipIf(!posixSupport().available)("extended attributes", () => {
  test("are written, listed sorted, read and removed by path and by descriptor", ({ skip }) => {
    writeFileSync(at("attributed"), "");
    const fd = openSync(at("attributed"), "r+");
    skip(
      codeOf(() => setXattr(fd, bytes("user.probe"), Buffer.alloc(0))) === "ENOTSUP",
      "this file system keeps no user attributes",
    );
    removeXattr(fd, bytes("user.probe"));
    expect(readXattrs(fd)).toEqual([]);
    setXattr(fd, bytes("user.b"), bytes("2\0\xff"));
    setXattr(at("attributed"), bytes("user.a"), Buffer.alloc(0));
    setXattr(at("attributed"), bytes("user.caf\xe9"), bytes("raw"));
    const expected = [
      { name: bytes("user.a"), value: Buffer.alloc(0) },
      { name: bytes("user.b"), value: bytes("2\0\xff") },
      { name: bytes("user.caf\xe9"), value: bytes("raw") },
    ];
    expect(readXattrs(fd)).toEqual(expected);
    expect(readXattrs(at("attributed"))).toEqual(expected);
    expect(getXattr(fd, bytes("user.none"))).toBeUndefined();
    removeXattr(at("attributed"), bytes("user.a"));
    removeXattr(fd, bytes("user.a"));
    expect(readXattrs(fd)).toEqual(expected.slice(1));
    closeSync(fd);
  });

  test.runIf(hasGetfattr)("are what getfattr sees", ({ skip }) => {
    writeFileSync(at("seen"), "");
    skip(codeOf(() => setXattr(at("seen"), bytes("user.x"), bytes("\0\x01\xff"))) !== undefined, "no user attributes here");
    const shown = execFileSync("getfattr", ["-d", "-m", "-", "-e", "hex", "--absolute-names", `${folder.path}/seen`], {
      encoding: "utf8",
    });
    expect(shown).toContain("user.x=0x0001ff");
    execFileSync("setfattr", ["-n", "user.y", "-v", "0x00ff", `${folder.path}/seen`]);
    expect(getXattr(at("seen"), bytes("user.y"))).toEqual(bytes("\0\xff"));
  });

  test.runIf(isRoot)("of a symlink are its own", ({ skip }) => {
    writeFileSync(at("target"), "");
    symlinkSync("target", at("pointer"));
    skip(codeOf(() => setXattr(at("pointer"), bytes("trusted.t"), bytes("link"))) !== undefined, "no trusted attributes here");
    expect(readXattrs(at("pointer"))).toEqual([{ name: bytes("trusted.t"), value: bytes("link") }]);
    expect(readXattrs(at("target"))).toEqual([]);
    expect(readXattrs(pathBelow(dirFd, bytes("pointer")))).toHaveLength(1);
  });

  test("are none where there is nothing to have them, and an error where there is nothing", () => {
    expect(readXattrs(Buffer.from("/proc/self/status"))).toEqual([]);
    expect(codeOf(() => readXattrs(at("missing")))).toBe("ENOENT");
  });
});

describe.skipIf(!posixSupport().available)("data ranges", () => {
  const write = (name: string, size: number, offsets: readonly number[]): number => {
    const fd = openSync(at(name), "w+");
    for (const offset of offsets) writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, offset);
    ftruncateSync(fd, size);
    return fd;
  };

  test.for([
    ["in the middle", 1 << 20, [65_536], [{ offset: 65_536, length: 4096 }]],
    [
      "at both ends",
      1 << 20,
      [0, (1 << 20) - 4096],
      [
        { offset: 0, length: 4096 },
        { offset: (1 << 20) - 4096, length: 4096 },
      ],
    ],
    ["nowhere", 1 << 20, [], []],
    ["up to an odd end", 5000, [0], [{ offset: 0, length: 4096 }]],
    ["past 4 GiB", 2 ** 33, [2 ** 32 + 65_536], [{ offset: 2 ** 32 + 65_536, length: 4096 }]],
  ] as const)("with data %s", ([name, size, offsets, expected], { skip }) => {
    const fd = write(`sparse ${name}`, size, offsets);
    const stored = statFd(fd).blocks * 512;
    const found = dataRanges(fd, size);
    closeSync(fd);
    skip(size > 65_536 && stored >= size, "this file system keeps no holes");
    expect(found).toEqual(expected);
  });

  test("stop at the size that was asked for, and survive a file that shrank", () => {
    const fd = write("shrunk", 65_536, [0, 32_768]);
    expect(dataRanges(fd, 2048)).toEqual([{ offset: 0, length: 2048 }]);
    ftruncateSync(fd, 0);
    expect(dataRanges(fd, 65_536)).toEqual([]);
    expect(dataRanges(fd, 0)).toEqual([]);
    closeSync(fd);
  });
});

describe("owners", () => {
  test("are named as the system names them", () => {
    const { uid, gid, username } = userInfo();
    expect(userName(uid)).toBe(username);
    expect(userId(username)).toBe(uid);
    expect(groupId(groupName(gid))).toBe(gid);
    expect(userName(0)).toBe("root");
  });

  test("without a name are empty", () => {
    expect(userName(0xfffffff0)).toBe("");
    expect(groupName(0xfffffff0)).toBe("");
    expect(userId("no-such-user-here")).toBeUndefined();
    expect(groupId("")).toBeUndefined();
    expect(groupId("a\0b")).toBeUndefined();
  });

  test("are found in passwd and group text where there is no C library", () => {
    const text = "# comment\nroot:x:0:0:root:/root:/bin/sh\n+::::::\nwww:x:33:\n\nbroken\n";
    expect(findOwner(text, 0)).toEqual({ name: "root", id: 0 });
    expect(findOwner(text, "www")).toEqual({ name: "www", id: 33 });
    expect(findOwner(text, "broken")).toBeUndefined();
    expect(findOwner(text, 7)).toBeUndefined();
    const file = readFileSync("/etc/passwd", "utf8");
    expect(findOwner(file, "root")).toEqual({ name: "root", id: 0 });
  });
});

test("without the C library, reading degrades and says so, and changing is refused", () => {
  using tree = temporaryTree({ f: "content", sub: { g: "" } });
  const url = (path: string): string => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).href);
  const script = `
    import { registerHooks } from "node:module";
    import { openSync } from "node:fs";
    registerHooks({ resolve: (name, context, next) => { if (name === "koffi") throw new Error("no koffi here"); return next(name, context); } });
    const { posixSupport, libc } = await import(${url("posix/libc.ts")});
    const { readXattrs, setXattr } = await import(${url("posix/xattr.ts")});
    const { dataRanges } = await import(${url("posix/extents.ts")});
    const { userName } = await import(${url("posix/owners.ts")});
    const { walkFiles } = await import(${url("sources/files/walk.ts")});
    const { openFileForRead } = await import(${url("sources/files/read-file.ts")});
    const root = process.argv[1];
    const file = Buffer.from(root + "/f");
    const codeOf = (act) => { try { act(); } catch (error) { return error.code; } };
    const problems = [];
    const options = { paths: [Buffer.from(root)], exclude: [], excludeIfPresent: [], oneFileSystem: true, minimumEntries: 1 };
    const leaves = [...walkFiles(options, { onProblem: (problem) => problems.push(problem.reason) })].filter((event) => event.step === "leaf");
    const { fd, stat } = openFileForRead(file, leaves[0].entry.meta);
    console.log(JSON.stringify([posixSupport(), readXattrs(file), dataRanges(fd, 7), userName(0), problems, leaves.map((leaf) => leaf.entry.name.toString()), stat.size, codeOf(libc), codeOf(() => setXattr(file, file, file))]));`;
  const run = spawnSync(process.execPath, ["--input-type=module", "-e", script, tree.path], { encoding: "utf8" });
  expect(run.stderr).toBe("");
  expect(JSON.parse(run.stdout)).toEqual([
    { available: false, reason: "no koffi here" },
    [],
    [{ offset: 0, length: 7 }],
    "root",
    [],
    ["f", "g"],
    7,
    "unsupported",
    "unsupported",
  ]);
});
