import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  openSync,
  closeSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
  ftruncateSync,
  statSync,
} from "node:fs";
import { userInfo } from "node:os";
import { describe, expect, test } from "vitest";
import { AT_FDCWD, mknodAt, setTimesAt } from "../../src/posix/at.ts";
import { posixSupport } from "../../src/posix/libc.ts";
import { makeDevice } from "../../src/posix/stat.ts";
import { setXattr } from "../../src/posix/xattr.ts";
import { compareTrees } from "./compare-trees.ts";
import { writeOddities } from "./oddities.ts";
import { temporaryTree } from "./tree-literal.ts";

const isRoot = userInfo().uid === 0;

/** Two equal folders with one of everything, every time the same. */
function twins(): { a: string; b: string } & Disposable {
  const tree = temporaryTree();
  const make = (root: string): string => {
    mkdirSync(`${root}/folder`, { recursive: true });
    writeFileSync(`${root}/folder/file`, "some content");
    writeFileSync(`${root}/other`, "other");
    writeFileSync(`${root}/same`, "same");
    linkSync(`${root}/same`, `${root}/same-too`);
    symlinkSync("folder/file", `${root}/link`);
    const sparse = openSync(`${root}/sparse`, "w");
    writeSync(sparse, "x", 0);
    ftruncateSync(sparse, 4 << 20);
    closeSync(sparse);
    mknodAt(AT_FDCWD, Buffer.from(`${root}/pipe`), 0o010644, 0n);
    if (isRoot) mknodAt(AT_FDCWD, Buffer.from(`${root}/device`), 0o020644, makeDevice(1, 3));
    for (const name of ["folder/file", "folder", "other", "same", "link", "sparse", "pipe", ...(isRoot ? ["device"] : []), "."])
      setTimesAt(AT_FDCWD, Buffer.from(`${root}/${name}`), undefined, 1_600_000_000_123_456_789n);
    return root;
  };
  return { a: make(`${tree.path}/a`), b: make(`${tree.path}/b`), [Symbol.dispose]: () => tree[Symbol.dispose]() };
}

/** Puts the time of the folder back, which a change of its names moves. */
const settle = (root: string): void => setTimesAt(AT_FDCWD, Buffer.from(root), undefined, 1_600_000_000_123_456_789n);
const stamp = (path: string): void => setTimesAt(AT_FDCWD, Buffer.from(path), undefined, 1_600_000_000_123_456_789n);

describe.runIf(posixSupport().available)("comparing trees", () => {
  test("finds nothing between equals", () => {
    using pair = twins();
    expect(compareTrees(pair.a, pair.b)).toEqual([]);
  });

  const changes: readonly (readonly [what: string, change: (root: string) => void, difference: string])[] = [
    ["a missing name", (b) => unlinkSync(`${b}/other`), "/other is missing"],
    ["an extra name", (b) => writeFileSync(`${b}/zzz`, ""), "/zzz should not be there"],
    ["another name", (b) => renameSync(`${b}/other`, `${b}/Other`), "/Other should not be there"],
    ["a byte", (b) => (writeFileSync(`${b}/other`, "othEr"), stamp(`${b}/other`)), "/other has other bytes at 3"],
    ["a byte in a sparse file's hole", (b) => pokeAt(`${b}/sparse`, 3 << 20), `/sparse has other bytes at ${3 << 20}`],
    [
      "a shorter file",
      (b) => (truncateSync(`${b}/folder/file`, 3), stamp(`${b}/folder/file`)),
      "/folder/file has 3 bytes, not 12",
    ],
    ["a mode", (b) => chmodSync(`${b}/folder/file`, 0o4755), "/folder/file has mode 4755, not 644"],
    ["a folder's mode", (b) => chmodSync(`${b}/folder`, 0o700), "/folder has mode 700, not 755"],
    ["the root's mode", (b) => chmodSync(b, 0o700), "/ has mode 700, not 755"],
    [
      "a nanosecond",
      (b) => setTimesAt(AT_FDCWD, Buffer.from(`${b}/link`), undefined, 1_600_000_000_123_456_788n),
      "/link has mtime 1600000000123456788, not 1600000000123456789",
    ],
    [
      "an attribute too many",
      (b) => setXattr(Buffer.from(`${b}/other`), Buffer.from("user.x"), Buffer.from("1")),
      "/other has the additional attribute user.x",
    ],
    [
      "a symlink's target",
      (b) => (unlinkSync(`${b}/link`), symlinkSync("folder/fil", `${b}/link`), stamp(`${b}/link`)),
      "/link points to folder/fil, not to folder/file",
    ],
    ["a type", (b) => (unlinkSync(`${b}/pipe`), writeFileSync(`${b}/pipe`, "")), "/pipe is a file, not a FIFO"],
    [
      "a broken hard link",
      (b) => (unlinkSync(`${b}/same-too`), writeFileSync(`${b}/same-too`, "same"), stamp(`${b}/same-too`)),
      "/same-too is a hard link of nothing before it, not of /same",
    ],
    [
      "an invented hard link",
      (b) => (
        unlinkSync(`${b}/folder/file`),
        writeFileSync(`${b}/folder/file`, "some content"),
        linkSync(`${b}/folder/file`, `${b}/zz`),
        unlinkSync(`${b}/same-too`),
        linkSync(`${b}/folder/file`, `${b}/same-too`)
      ),
      "/same-too is a hard link of /folder/file, not of /same",
    ],
    [
      "a filled hole",
      (b) => (writeFileSync(`${b}/sparse`, Buffer.concat([Buffer.from("x"), Buffer.alloc((4 << 20) - 1)])), stamp(`${b}/sparse`)),
      "/sparse takes 4194304 bytes on disk, not 4096",
    ],
  ];
  test.each(changes)("finds %s", (_what, change, difference) => {
    using pair = twins();
    change(pair.b);
    if (difference.startsWith("/ ")) stamp(pair.b);
    else settle(pair.b);
    expect(compareTrees(pair.a, pair.b)).toContain(difference);
  });

  test.runIf(isRoot)("finds an owner and a device number", () => {
    using pair = twins();
    chownSync(`${pair.b}/other`, 5, 6);
    rmSync(`${pair.b}/device`);
    mknodAt(AT_FDCWD, Buffer.from(`${pair.b}/device`), 0o020644, makeDevice(1, 5));
    stamp(`${pair.b}/device`);
    settle(pair.b);
    expect(compareTrees(pair.a, pair.b)).toEqual([
      `/device is device ${makeDevice(1, 5)}, not ${makeDevice(1, 3)}`,
      "/other belongs to 5:6, not to 0:0",
    ]);
  });

  test("finds a lost and a changed attribute", () => {
    using pair = twins();
    for (const [root, value] of [
      [pair.a, "1"],
      [pair.b, "2"],
    ] as const)
      setXattr(Buffer.from(`${root}/other`), Buffer.from("user.x"), Buffer.from(value));
    setXattr(Buffer.from(`${pair.a}/folder`), Buffer.from("user.y"), Buffer.alloc(0));
    expect(compareTrees(pair.a, pair.b)).toEqual([
      "/folder lacks the attribute user.y",
      "/other has another value of the attribute user.x",
    ]);
    expect(compareTrees(pair.a, pair.b, { ignore: ["xattrs"] })).toEqual([]);
    expect(compareTrees(pair.a, pair.b, { ignoreXattrs: ["user.x", "user.y"] })).toEqual([]);
  });

  test("stops at the limit", () => {
    using tree = temporaryTree({ a: { "1": "", "2": "", "3": "" }, b: {} });
    expect(compareTrees(`${tree.path}/a`, `${tree.path}/b`, { limit: 2, ignoreRoot: true })).toEqual([
      "/1 is missing",
      "/2 is missing",
    ]);
  });

  test("reaches the bottom of paths over 4,096 bytes, and judges every oddity", () => {
    using tree = temporaryTree({ a: {}, b: {} });
    const { skipped } = writeOddities(`${tree.path}/a`);
    writeOddities(`${tree.path}/b`);
    expect(compareTrees(`${tree.path}/a`, `${tree.path}/b`, { ignore: ["mtime"] })).toEqual([]);
    if (isRoot) expect(skipped).toEqual([]);
    // Without times ignored, exactly the folders and files made just now differ; those with set times do not.
    const timed = compareTrees(`${tree.path}/a/times`, `${tree.path}/b/times`);
    expect(timed).toEqual([]);
    expect(statSync(`${tree.path}/a/sparse/gibibyte`).blocks * 512).toBeLessThan(2 ** 20);
  });
});

function pokeAt(path: string, offset: number): void {
  const fd = openSync(path, "r+");
  writeSync(fd, "!", offset);
  closeSync(fd);
  stamp(path);
}
