/** File systems keep times that no snapshot can hold: ext4 to 2446, tmpfs and btrfs for ever. */
import { lstatSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { AT_FDCWD, setTimesAt } from "../../../src/posix/at.ts";
import { FIRST_TIME_NS, heldTime, LAST_TIME_NS, statAt } from "../../../src/posix/stat.ts";
import { directoryReader, fromNodeStat } from "../../../src/sources/files/directory-reader.ts";
import { walkFiles } from "../../../src/sources/files/walk.ts";
import type { SourceProblem } from "../../../src/sources/source.ts";
import { backUp, createStore, readBack } from "../../formats/repository/write/fixture.ts";
import { MemoryTarget } from "../../support/memory-target.ts";
import { temporaryTree } from "../../support/tree-literal.ts";

const S = 1_000_000_000n;
const YEAR_2300 = 10_413_792_000n * S;
const YEAR_1600 = -11_676_096_000n * S;

/** Sets a time, and tells what the file system made of it: some keep the nearest that they know. */
function setTime(path: string, mtimeNs: bigint): bigint {
  setTimesAt(AT_FDCWD, Buffer.from(path), undefined, mtimeNs);
  return lstatSync(path, { bigint: true }).mtimeNs;
}

it("a stat has the nearest time that 64 bits hold, by either way of looking", () => {
  expect([YEAR_2300, YEAR_1600, LAST_TIME_NS, FIRST_TIME_NS, -1n].map(heldTime)).toEqual([
    LAST_TIME_NS,
    FIRST_TIME_NS,
    LAST_TIME_NS,
    FIRST_TIME_NS,
    -1n,
  ]);
  using folder = temporaryTree({ late: "", early: "" });
  for (const [name, wanted] of [
    ["late", YEAR_2300],
    ["early", YEAR_1600],
  ] as const) {
    const path = join(folder.path, name);
    const kept = setTime(path, wanted);
    expect(statAt(AT_FDCWD, Buffer.from(path)).mtimeNs).toBe(heldTime(kept));
    expect(fromNodeStat(lstatSync(path, { bigint: true })).mtimeNs).toBe(heldTime(kept));
  }
});

it("the walk reports every kind of entry whose time cannot be held, once, and none that can", () => {
  using folder = temporaryTree({ file: "", plain: "" });
  mkdirSync(join(folder.path, "folder"));
  const real = directoryReader();
  const problems: SourceProblem[] = [];
  const reader: typeof real = {
    ...real,
    stat: (parent, name, path) => {
      const stat = real.stat(parent, name, path);
      if (path.toString().endsWith("/file")) return { ...stat, mtimeNs: heldTime(YEAR_2300), ctimeNs: heldTime(YEAR_2300) };
      return path.toString().endsWith("/folder") ? { ...stat, ctimeNs: heldTime(YEAR_1600) } : stat;
    },
  };
  const options = {
    exclude: [],
    excludeIfPresent: [],
    excludeLargerThanBytes: undefined,
    oneFileSystem: false,
    minimumEntries: 0,
  };
  const steps = walkFiles(
    { ...options, paths: [Buffer.from(folder.path)] },
    { onProblem: (problem) => problems.push(problem), onExcluded: () => undefined },
    reader,
  );
  expect([...steps].length).toBeGreaterThan(3);
  expect(problems.map(({ path, reason }) => [Buffer.from(path).toString(), reason])).toEqual([
    [join(folder.path, "file"), "EOVERFLOW"],
    [join(folder.path, "folder"), "EOVERFLOW"],
  ]);
});

it("one file of the year 2300 does not stop a backup: it is saved, and the snapshot says that its time is not exact", async () => {
  using folder = temporaryTree();
  const path = join(folder.path, "from the future");
  writeFileSync(path, "content");
  const kept = setTime(path, YEAR_2300);
  const target = new MemoryTarget();
  await using store = await createStore(target);
  const snapshot = await backUp(store, [folder.path]);
  const tooFar = kept > LAST_TIME_NS;
  expect([snapshot.status, snapshot.unreadable.map(({ reason }) => reason)]).toEqual(
    tooFar ? ["partial", ["EOVERFLOW"]] : ["success", []],
  );
  const found = (await readBack(target, snapshot, folder.path)).get("from the future");
  expect(found?.content?.toString()).toBe("content");
  expect(found?.entry.entry.meta.mtimeNs).toBe(heldTime(kept));
});
