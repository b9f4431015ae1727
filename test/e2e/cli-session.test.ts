/** A first session, as the README has it: from init to a rollback, and again without state and cache. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compareTrees } from "../support/compare-trees.ts";
import { playground } from "./cli-runner.ts";

test("validate, plan, apply, change, look inside, restore, roll back, keep, verify, repair", async () => {
  using place = playground();
  const { path } = place;
  const run = (...args: string[]): ReturnType<typeof place.run> => place.run(...args);
  const json = (...args: string[]): ReturnType<typeof place.json> => place.json(...args);
  const data = join(path, "data");
  const ok = async (...args: string[]): Promise<string> => {
    const { code, out, err } = await run(...args);
    expect(`${args.join(" ")}: ${code} ${code === 0 ? "" : err}`).toBe(`${args.join(" ")}: 0 `);
    return out;
  };
  await ok("validate", "--online");
  await ok("doctor");
  expect((await run("plan", "--detailed-exitcode")).code).toBe(4);
  expect(await ok("plan", "--format", "markdown")).toContain("### To do");
  expect(await ok("apply")).toContain("created a repository on target disk");
  expect(await ok("backup", "docs", "--tag", "one", "--description", "the first")).toMatch(
    /docs: snapshot [0-9a-f]{8} on disk\n {2}2 files/,
  );
  expect((await run("plan", "--detailed-exitcode")).code).toBe(0);
  expect(await ok("apply")).toBe("Nothing to do: what is declared is what exists.\n");

  writeFileSync(join(data, "a.txt"), "second\n");
  writeFileSync(join(data, "c.txt"), "new\n");
  writeFileSync(join(data, "d.tmp"), "excluded\n");
  await ok("backup", "docs", "-q");
  const { snapshots } = (await json("snapshots", "docs")) as { snapshots: Record<string, unknown>[] };
  expect(snapshots).toHaveLength(2);
  for (const key of "id time host job source mode status targets sourceBytes newBytes storedBytes files tags description".split(
    " ",
  ))
    expect(snapshots[0]).toHaveProperty(key);
  expect(snapshots[0]).toMatchObject({
    tags: ["one"],
    description: "the first",
    mode: "full",
    status: "success",
    targets: ["disk"],
    files: 2,
  });
  const [first, second] = snapshots.map(({ id }) => String(id).slice(0, 8)) as [string, string];

  expect(await ok("snapshots")).toMatch(new RegExp(`^${first} .* disk +one$`, "m"));
  expect(await ok("show", second)).toContain("incremental, compared with");
  expect((await ok("ls", `latest:${data}`)).split("\n").map((line) => line.split(" ").at(-1))).toEqual([
    "a.txt",
    "c.txt",
    "sub/",
    "",
  ]);
  // The folder's time changed, too, when a file was added; folders above it are other tests' business.
  const changes = (await ok("diff", first, second)).split("\n").filter((line) => line.includes(path));
  expect(changes).toEqual([`U ${data}/`, `M ${data}/a.txt`, `+ ${data}/c.txt`]);
  expect(await ok("find", "c.*")).toContain(`${data}/c.txt`);
  expect(await ok("dump", `${first}:${data}/a.txt`)).toBe("first\n");
  const tar = execFileSync("sh", ["-c", `${join(process.cwd(), "bin/holdfast")} dump latest:${data} --as tar | tar tf -`], {
    cwd: path,
    encoding: "utf8",
  });
  expect(tar.split("\n")).toEqual(expect.arrayContaining(["a.txt", "c.txt", "sub/b.txt"]));
  expect((await ok("dump", `latest:${data}`, "--as", "zip")).slice(0, 4)).toBe("PK\u0003\u0004");
  expect(await ok("explain", "data/a.txt")).toContain("protected by job docs");
  expect(await ok("explain", "data/d.tmp")).toMatch(
    /NOT protected by source docs: the rule "\*\.tmp" excludes it \(.*holdfast\.yaml:6\)/,
  );
  expect(await ok("tag", first, "--add", "gold", "--hold")).toBe("");
  expect((await run("delete", first, "--yes")).code).toBe(1);
  await ok("tag", first, "--hold=no");

  await ok("restore", "latest:" + data, "--to", "out", "--verify", "--verify-first");
  expect(compareTrees(data, join(path, "out"), { ignoreRoot: true }).filter((line) => !line.includes("d.tmp"))).toEqual([]);

  expect(await ok("restore", first, "--in-place", "--dry-run", "--delete")).toContain("replace ");
  expect(readFileSync(join(data, "a.txt"), "utf8")).toBe("second\n");
  await ok("restore", first, "--in-place", "--yes");
  expect(readFileSync(join(data, "a.txt"), "utf8")).toBe("first\n");
  const { runs } = (await json("runs")) as { runs: { id: string; kind: string }[] };
  await ok("restore", "--rollback", runs.findLast(({ kind }) => kind === "restore")?.id ?? "", "--yes");
  expect(readFileSync(join(data, "a.txt"), "utf8")).toBe("second\n");

  // Nothing that a restore needs is in the state or the cache.
  place.remove("state");
  place.remove("cache");
  await ok("restore", `${second}:${data}`, "--to", "again");
  expect(compareTrees(join(path, "out"), join(path, "again"), { ignoreRoot: true })).toEqual([]);

  await ok("verify", "--read-data");
  expect(await ok("verify", second)).toContain("1 snapshot,");
  expect(await ok("prune", "--keep-last", "1", "--dry-run")).toContain(first);
  await ok("prune", "--keep-last", "1", "--yes");
  expect(await ok("snapshots")).not.toContain(first);
  await ok("repair", "--index");
  await ok("key", "add", "--key-file", "other.key", "--label", "spare");
  expect(await ok("key", "list")).toMatch(/disk .*spare.*keyfile/);
  await ok("key", "rotate");
  expect(await ok("key", "recovery-kit")).toContain("recover.mjs");
  await ok("backup", "docs");
  await ok("verify", "--read-data");
  expect(await ok("stats", "--format", "csv")).toMatch(/^target,snapshots,/);
  expect(await ok("runs", "--format", "csv")).toMatch(/^id,kind,subject,status,/);
  expect(await ok("schema")).toContain('"$schema"');
});
