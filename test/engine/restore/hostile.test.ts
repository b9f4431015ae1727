import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { ErrorWire } from "../../../src/base/errors.ts";
import type { RestoreReport } from "../../../src/engine/restore/restore.ts";
import type { Store } from "../../../src/formats/format.ts";
import { setXattr } from "../../../src/posix/xattr.ts";
import { compareTrees } from "../../support/compare-trees.ts";
import { writeOddities } from "../../support/oddities.ts";
import { hardLink, temporaryTree, writeTree } from "../../support/tree-literal.ts";
import { fixture, leftOvers, pathsOf, requestOf, restore, type Fixture } from "./fixture.ts";

const CHILD = fileURLToPath(new URL("./restore-child.ts", import.meta.url));

/** A store whose `content` batches wait for `act` before the first of them comes. */
function interrupted(store: Store, act: () => void): Store {
  let acted = false;
  return new Proxy(store, {
    get(inner, name) {
      if (name !== "content") return Reflect.get(inner, name) as unknown;
      return (signal: AbortSignal) => {
        const feed = inner.content(signal);
        return {
          ...feed,
          async *batches(files: Parameters<typeof feed.batches>[0]) {
            if (!acted) act();
            acted = true;
            yield* feed.batches(files);
          },
        };
      };
    },
  });
}

describe("an attacker in the destination", () => {
  it("who swaps a folder for a symlink gains nothing", async () => {
    await using made = await fixture((source) =>
      writeTree(source, { d: { inner: { f: "secret", g: "more" }, h: hardLink("d/inner/f") }, e: "fine" }),
    );
    using outside = temporaryTree({ inner: {}, f: "untouched" });
    const store = interrupted(made.store, () => {
      renameSync(join(made.out, "d"), join(made.out, "was-d"));
      symlinkSync(outside.path, join(made.out, "d"));
    });
    const report = await restore(made, { store });
    expect(report.status).toBe("partial");
    expect(pathsOf(outside.path)).toEqual(["f", "inner"]);
    expect(readFileSync(join(outside.path, "f"), "utf8")).toBe("untouched");
    expect(statSync(outside.path).mode & 0o777).toBe(0o700);
    expect(readFileSync(join(made.out, "e"), "utf8")).toBe("fine");
    expect(leftOvers(made.out)).toEqual([]);
  });

  it("who swaps the destination itself gains nothing: everything goes where the restore began", async () => {
    await using made = await fixture((source) => writeTree(source, { f: "secret", d: { g: "more" } }));
    using outside = temporaryTree({ f: "untouched", extra: "stays", d: { extra: "stays" } });
    writeTree(made.out, { extra: "goes" });
    const store = interrupted(made.store, () => {
      renameSync(made.out, `${made.out}-moved`);
      symlinkSync(outside.path, made.out);
    });
    try {
      const report = await restore(made, { store, overwrite: "always", delete: true });
      expect(report).toMatchObject({ status: "success", deleted: 1 });
      expect(pathsOf(outside.path)).toEqual(["d", "d/extra", "extra", "f"]);
      expect(readFileSync(join(outside.path, "f"), "utf8")).toBe("untouched");
      expect(pathsOf(`${made.out}-moved`)).toEqual(["d", "d/g", "f"]);
    } finally {
      unlinkSync(made.out);
      renameSync(`${made.out}-moved`, made.out);
    }
  });

  it("who waits with symlinks and hard links in the places of files gains nothing", async () => {
    await using made = await fixture((source) => writeTree(source, { f: "restored", g: "restored" }));
    chmodSync(join(made.source, "f"), 0o666);
    using outside = temporaryTree({ one: "untouched", two: "untouched" });
    symlinkSync(join(outside.path, "one"), join(made.out, "f"));
    spawnSync("ln", [join(outside.path, "two"), join(made.out, "g")]);
    for (const overwrite of ["if-changed", "always"] as const) {
      expect((await restore(made, { overwrite })).status).toBe("success");
      expect(lstatSync(join(made.out, "f")).isFile()).toBe(true);
      for (const name of ["one", "two"]) {
        expect(readFileSync(join(outside.path, name), "utf8")).toBe("untouched");
        expect(statSync(join(outside.path, name)).mode & 0o777).toBe(0o644);
      }
    }
  });

  it("who puts a file there after the plan keeps it, and it is said", async () => {
    await using made = await fixture((source) => writeTree(source, { f: "restored" }));
    const store = interrupted(made.store, () => writeFileSync(join(made.out, "f"), "new work"));
    const report = await restore(made, { store, overwrite: "never" });
    expect(report).toMatchObject({ status: "partial", problems: [{ code: "restore_conflict" }] });
    expect(readFileSync(join(made.out, "f"), "utf8")).toBe("new work");
    expect(leftOvers(made.out)).toEqual([]);
  });
});

function runChild(
  made: Fixture,
  options: { readonly wrap?: readonly string[]; readonly uid?: string } = {},
): RestoreReport & ErrorWire {
  const snapshotFile = join(made.target, "snapshot.json");
  writeFileSync(snapshotFile, JSON.stringify(made.snapshot));
  const [program, ...args] = [
    ...(options.wrap ?? []),
    process.execPath,
    CHILD,
    made.target,
    snapshotFile,
    made.source,
    made.out,
    options.uid ?? "",
  ];
  const child = spawnSync(program as string, args, { encoding: "utf8" });
  expect(child.status, child.stderr).toBe(0);
  return JSON.parse(child.stdout.split("\n").at(-1) as string) as RestoreReport & ErrorWire;
}

describe("a restore that is killed", () => {
  it.each([1, 2, 3])("leaves every name old or new (attempt %i)", async (attempt) => {
    const names = Array.from({ length: 60 }, (_, i) => `f${i}`);
    await using made = await fixture((source) => {
      for (const name of names) writeFileSync(join(source, name), randomBytes(2 ** 20));
    });
    for (const name of names) writeFileSync(join(made.out, name), `old ${name}`);
    const snapshotFile = join(made.target, "snapshot.json");
    writeFileSync(snapshotFile, JSON.stringify(made.snapshot));
    const child = spawn(process.execPath, [CHILD, made.target, snapshotFile, made.source, made.out], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let lines = 0;
    child.stdout.on("data", () => {
      if (++lines === attempt) child.kill("SIGKILL");
    });
    await once(child, "exit");
    for (const name of names) {
      const now = readFileSync(join(made.out, name));
      const isOld = now.toString() === `old ${name}`;
      expect(isOld || now.equals(readFileSync(join(made.source, name))), name).toBe(true);
    }
    // Nothing in the way of the next attempt.
    expect((await restore(made)).status).toBe("success");
    for (const name of names) expect(readFileSync(join(made.out, name)).equals(readFileSync(join(made.source, name)))).toBe(true);
  });
});

const canMount = spawnSync("unshare", ["-Urm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]).status === 0;

describe.skipIf(!canMount)("a file system at its limits", () => {
  const mounted = (made: Fixture, options: string, before = ""): readonly string[] => [
    "unshare",
    "-Urm",
    "sh",
    "-c",
    `mount -t tmpfs -o ${options} tmpfs ${made.out} && ${before || "true"} && "$@"; code=$?; ls -A ${made.out} | grep -c holdfast- >&2; exit $code`,
    "sh",
  ];

  it("that is full ends the restore with a hint", async () => {
    await using made = await fixture((source) => {
      for (let i = 0; i < 12; i++) writeFileSync(join(source, `f${i}`), randomBytes(2 ** 20));
    });
    const error = runChild(made, { wrap: mounted(made, "size=5m") });
    expect(error).toMatchObject({ code: "restore_failed", message: expect.stringContaining("ENOSPC") });
    expect(error.hint).toContain("Free space");
  });

  it("that keeps no attributes gets the rest, and what it lost is named", async () => {
    await using made = await fixture((source) => {
      writeTree(source, { f: "content" });
      setXattr(Buffer.from(join(source, "f")), Buffer.from("user.note"), Buffer.from("value"));
    });
    const wrap = mounted(made, "mode=755").map((word) =>
      word.replace("mount -t tmpfs -o mode=755 tmpfs", "mount -t ramfs ramfs"),
    );
    expect(runChild(made, { wrap })).toMatchObject({
      status: "partial",
      files: 1,
      problemCount: 0,
      losses: [{ path: join(made.out, "f"), what: "user.note", reason: expect.stringMatching(/^E(OP)?NOTSUP/) }],
    });
  });

  it("that may not be written ends the restore", async () => {
    await using made = await fixture((source) => writeTree(source, { a: "1" }));
    const error = runChild(made, { wrap: mounted(made, "size=5m", `mount -o remount,ro ${made.out}`) });
    expect(error).toMatchObject({ code: "restore_failed", message: expect.stringContaining("EROFS") });
  });
});

describe.skipIf(process.getuid?.() !== 0)("a restore without root", () => {
  it("restores what it can and lists what it could not set", async () => {
    await using made = await fixture((source) => writeOddities(source));
    chmodSync(made.target, 0o755);
    spawnSync("chmod", ["-R", "a+rX", made.target]);
    const holder = join(made.out, "mine");
    mkdirSync(holder);
    chownSync(holder, 65_534, 65_534);
    chmodSync(made.out, 0o755);
    const report = runChild({ ...made, out: holder }, { uid: "65534" });
    // Devices are root's to make; everything else comes, with its content.
    expect(report.problems.every(({ path }) => /special\/(null|disk|big-numbers)$/.test(path))).toBe(true);
    expect(report.status).toBe("partial");
    expect(report.lossCount).toBeGreaterThan(10);
    expect(report.losses).toContainEqual(expect.objectContaining({ what: "owner", reason: "EPERM" }));
    const differences = compareTrees(made.source, holder, { ignore: ["owner", "xattrs"], ignoreRoot: true });
    expect(
      differences.filter((line) => !/^\/special\/(null|disk|big-numbers) is missing$/.test(line) && !/ has mode /.test(line)),
    ).toEqual([]);
    // Nobody becomes more than he was: setuid goes with an owner that could not be set.
    expect(lstatSync(join(holder, "owners/setuid")).mode & 0o7777).toBe(0o755);
  });
});

describe("the request", () => {
  it("is planned without being performed", async () => {
    await using made = await fixture((source) => writeTree(source, { a: "1", b: "22", sub: { c: "333" } }));
    const { summarisePlan, touchedPaths } = await import("../../../src/engine/restore/plan.ts");
    const signal = new AbortController().signal;
    writeTree(made.out, { a: "other", extra: { x: "" }, b: "22" });
    spawnSync("touch", ["-r", join(made.source, "b"), join(made.out, "b")]);
    const request = requestOf(made, { delete: true });
    const before = pathsOf(made.out);
    expect(await summarisePlan(request, signal)).toEqual({
      create: 1,
      replace: 1,
      metadata: 0,
      keep: 1,
      delete: 1,
      conflicts: 0,
      directories: 1,
      files: 2,
      bytes: 4,
    });
    expect(pathsOf(made.out)).toEqual(before);
    const touched: string[] = [];
    for await (const paths of touchedPaths(request, signal)) touched.push(...paths.map(String));
    expect(touched).toEqual([join(made.out, "a"), join(made.out, "extra")]);
    const report = await restore(made, { delete: true });
    expect(report).toMatchObject({ created: 1, replaced: 1, kept: 1, deleted: 1, directories: 1, files: 2, bytes: 4 });
  });
});
