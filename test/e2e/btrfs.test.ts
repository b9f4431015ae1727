/** Files sources that are read from btrfs snapshots, on a real btrfs. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { btrfsVolume, noBtrfs, type BtrfsVolume } from "../support/btrfs-volume.ts";
import { CONFIG, playground, type Playground } from "./cli-runner.ts";

const missing = noBtrfs();

/** A subvolume with a nested one, and the configuration of a source that is read from snapshots of them. */
function volume(): BtrfsVolume {
  const made = btrfsVolume();
  const { path } = made;
  made.btrfs("subvolume", "create", "data");
  writeFileSync(join(path, "data/a.txt"), "as it was\n");
  mkdirSync(join(path, "data/sub"));
  made.btrfs("subvolume", "create", "data/sub/inner");
  writeFileSync(join(path, "data/sub/inner/deep.txt"), "nested\n");
  return made;
}

const place = (source: string, more = ""): Playground =>
  playground({
    config: CONFIG.replace(
      '{ type: files, paths: [./data], exclude: ["*.tmp"] }',
      `{ type: files, snapshot: btrfs, ${source} }`,
    ).replace("targets: [disk] }", `targets: [disk]${more} }`),
  });

/** Every name that one of this program's snapshots could have. */
function leftovers(volume: BtrfsVolume): string[] {
  return volume
    .btrfs("subvolume", "list", volume.path)
    .split("\n")
    .filter((line) => line.includes(".holdfast-"));
}

function restored(at: Playground, root: string): Record<string, string> {
  const found: Record<string, string> = {};
  const walk = (folder: string, below: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const name = join(below, entry.name);
      if (entry.isDirectory()) walk(join(folder, entry.name), name);
      else found[name] = readFileSync(join(folder, entry.name), "utf8");
    }
  };
  walk(join(at.path, "out", root), "");
  return found;
}

describe.skipIf(missing !== undefined)(`btrfs snapshots${missing === undefined ? "" : ` (skipped: ${missing})`}`, () => {
  test("what is backed up is as it was at one instant, nested subvolumes included, under its own paths", async () => {
    using disk = volume();
    const data = join(disk.path, "data");
    // The change comes after the snapshots were made, and before anything was read: `after` runs as soon as the source is frozen.
    using at = place(
      `paths: ["${data}"], hooks: { after: [{ run: [sh, -c, "echo changed >${data}/a.txt; echo new >${data}/sub/inner/deep.txt; ls -A ${data} >seen"] }] }`,
    );
    await at.run("apply", "-q");
    expect(await at.run("backup", "docs")).toMatchObject({ code: 0 });
    // The hook was run while the snapshot was there.
    expect(readFileSync(join(at.path, "seen"), "utf8")).toMatch(/^\.holdfast-[0-9a-f]{24}-0$/m);
    expect(leftovers(disk)).toEqual([]);
    expect(await at.run("restore", "latest", "--to", "out")).toMatchObject({ code: 0 });
    expect(restored(at, data)).toEqual({ "a.txt": "as it was\n", "sub/inner/deep.txt": "nested\n" });
    const { snapshots } = (await at.json("snapshots")) as { snapshots: { status: string; files: number }[] };
    expect(snapshots).toMatchObject([{ status: "success", files: 2 }]);
    // Another snapshot has another device number, and nothing of it has changed for that.
    writeFileSync(join(data, "b.txt"), "b\n");
    expect(await at.run("backup", "docs")).toMatchObject({ code: 0 });
    const now = (await at.json("snapshots")) as { snapshots: { files: number }[] };
    expect(now.snapshots.map(({ files }) => files)).toEqual(expect.arrayContaining([2, 3]));
    expect(leftovers(disk)).toEqual([]);
  });

  test("snapshots that another run has made, or left, are no part of a source, frozen or not", async () => {
    using disk = volume();
    const data = join(disk.path, "data");
    disk.btrfs("subvolume", "snapshot", "-r", "data", "data/.holdfast-0123456789abcdef01234567-0");
    for (const how of ["btrfs", "none"]) {
      using at = place(`paths: ["${data}"]`);
      if (how === "none")
        at.write("holdfast.yaml", readFileSync(join(at.path, "holdfast.yaml"), "utf8").replace("snapshot: btrfs, ", ""));
      await at.run("apply", "-q");
      expect(await at.run("backup", "docs")).toMatchObject({ code: 0 });
      await at.run("restore", "latest", "--to", "out");
      expect(restored(at, data)).toEqual({ "a.txt": "as it was\n", "sub/inner/deep.txt": "nested\n" });
      expect(readdirSync(join(at.path, "out", data)).toSorted()).toEqual(["a.txt", "sub"]);
      // What is not its own is nobody's to remove here.
      expect(leftovers(disk)).toHaveLength(1);
    }
  });

  test("excluded subvolumes are not frozen, those behind a link are, and with oneFileSystem none that is nested is part of it", async () => {
    using disk = volume();
    symlinkSync("data", join(disk.path, "link"));
    using at = place(`paths: ["${join(disk.path, "link/sub")}"], exclude: ["/inner/deep.txt"]`);
    writeFileSync(join(disk.path, "data/sub/inner/kept.txt"), "kept\n");
    await at.run("apply", "-q");
    expect(await at.run("backup", "docs")).toMatchObject({ code: 0 });
    await at.run("restore", "latest", "--to", "out");
    expect(restored(at, join(disk.path, "link/sub"))).toEqual({ "inner/kept.txt": "kept\n" });
    expect(leftovers(disk)).toEqual([]);

    using excluded = place(
      `paths: ["${join(disk.path, "data")}"], exclude: ["sub/"], hooks: { after: [{ run: [sh, -c, "ls -A ${disk.path}/data/sub/inner >seen"] }] }`,
    );
    await excluded.run("apply", "-q");
    expect(await excluded.run("backup", "docs")).toMatchObject({ code: 0 });
    expect(readFileSync(join(excluded.path, "seen"), "utf8")).toBe("deep.txt\nkept.txt\n");

    using one = place(`paths: ["${join(disk.path, "data")}"], oneFileSystem: true`);
    await one.run("apply", "-q");
    expect(await one.run("backup", "docs")).toMatchObject({ code: 0 });
    await one.run("restore", "latest", "--to", "out");
    expect(restored(one, join(disk.path, "data"))).toEqual({ "a.txt": "as it was\n" });
    expect(readdirSync(join(one.path, "out", disk.path, "data/sub/inner"))).toEqual([]);
  });

  test("what is mounted below a path is backed up too, as it is", async () => {
    using disk = volume();
    const mounted = join(disk.path, "data/mounted");
    mkdirSync(mounted);
    execFileSync("mount", ["-t", "tmpfs", "none", mounted]);
    try {
      writeFileSync(join(mounted, "m.txt"), "on a tmpfs\n");
      using at = place(`paths: ["${join(disk.path, "data")}"]`);
      await at.run("apply", "-q");
      expect(await at.run("backup", "docs")).toMatchObject({ code: 0 });
      await at.run("restore", "latest", "--to", "out");
      expect(restored(at, join(disk.path, "data"))).toMatchObject({ "mounted/m.txt": "on a tmpfs\n", "a.txt": "as it was\n" });
    } finally {
      execFileSync("umount", [mounted]);
    }
  });

  test("a path that is not on btrfs fails the backup, and says what to do; a dry run makes no snapshot", async () => {
    using disk = volume();
    using at = place(`paths: ["${join(disk.path, "data")}", ./data]`);
    await at.run("apply", "-q");
    const { code, err } = await at.run("backup", "docs");
    expect(code).toBe(1);
    expect(err).toContain(`${at.path}/data cannot be frozen: it does not lie in a btrfs subvolume`);
    expect(leftovers(disk)).toEqual([]);
    expect(await at.run("backup", "docs", "--dry-run")).toMatchObject({ code: 0 });
    const doctor = await at.run("doctor");
    expect(doctor.out).toMatch(/FAILED +source docs: .*data cannot be frozen/);
    at.write("holdfast.yaml", readFileSync(join(at.path, "holdfast.yaml"), "utf8").replace(", ./data]", "]"));
    expect((await at.run("doctor")).out).toMatch(/ok +source docs: its btrfs subvolumes can be frozen/);
    expect(leftovers(disk)).toEqual([]);
  });

  test("a snapshot that a killed run left behind is removed by the next one, and by a daemon's start", async () => {
    using disk = volume();
    const data = join(disk.path, "data");
    writeFileSync(join(data, "large"), randomBytes(16 * 2 ** 20));
    // The source is frozen when this hook runs, and its parent is the program.
    const kill = `paths: ["${data}"], hooks: { after: [{ run: [sh, -c, 'if [ -e kill ] && [ "$HOLDFAST_STATUS" = read ]; then kill -9 $PPID; fi'] }] }`;
    using at = place(kill, ", schedule: { every: 1h }");
    await at.run("apply", "-q");
    for (const next of ["daemon", "backup"]) {
      at.write("kill", "");
      expect(await at.run("backup", "docs", "--mode", "full")).toMatchObject({ code: null });
      expect(leftovers(disk)).toHaveLength(2);
      at.remove("kill");
      if (next === "backup") expect(await at.run("backup", "docs")).toMatchObject({ code: 0 });
      else {
        const daemon = at.start("daemon");
        await daemon.says(`the removal of the snapshot ${data}/.holdfast-`);
        await daemon.says("sub/inner/.holdfast-");
        daemon.child.kill("SIGTERM");
        await daemon.ended();
      }
      expect(leftovers(disk)).toEqual([]);
    }
  });
});
