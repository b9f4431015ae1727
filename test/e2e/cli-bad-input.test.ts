/** Every bad input has a code, a message that names the thing, a hint, and changes nothing. */
import { execFileSync } from "node:child_process";
import { cpSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { compareTrees } from "../support/compare-trees.ts";
import { CONFIG, playground, type Playground, type Ran } from "./cli-runner.ts";

const PASSWORD_CONFIG = CONFIG.replace(
  "keyFile: ./key, generate: true",
  "password: { file: ./password }, keyDerivation: { function: argon2id, memory: 64MiB, passes: 1 }",
);

/** In reverse: what is mounted in a folder goes before the folder. */
const cleanUps: (() => void)[] = [];
afterEach(() => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) cleanUp();
});

function open(config = CONFIG): Playground {
  const place = playground({ config });
  cleanUps.push(() => place[Symbol.dispose]());
  return place;
}

/** A repository with one snapshot. */
async function prepared(config = CONFIG): Promise<Playground> {
  const place = open(config);
  place.write("password", "correct horse\n", 0o600);
  expect(await place.run("apply")).toMatchObject({ code: 0 });
  expect(await place.run("backup", "docs")).toMatchObject({ code: 0 });
  return place;
}

/** Everything in the folder but the program's own notes. */
function copied(place: Playground, name: string): string {
  const copy = `${place.path}.${name}`;
  const isNotes = (path: string): boolean => ["state", "cache"].some((made) => path === join(place.path, made));
  cpSync(place.path, copy, { recursive: true, verbatimSymlinks: true, filter: (path) => !isNotes(path) });
  cleanUps.push(() => rmSync(copy, { recursive: true, force: true }));
  return copy;
}

/** Runs something that must fail and change nothing but the state folder. */
async function refused(place: Playground, args: readonly string[], code: number, message: string): Promise<Ran> {
  const number = cleanUps.length;
  const before = copied(place, `before-${number}`);
  const ran = await place.run(...args);
  expect(ran.err).toContain("error: ");
  expect(ran.err).toContain(message);
  expect(ran.err).toContain("\nhint: ");
  expect(ran.code).toBe(code);
  // Copies have times of their own.
  expect(compareTrees(before, copied(place, `after-${number}`), { ignore: ["mtime"], ignoreRoot: true })).toEqual([]);
  return ran;
}

test("a typo in the YAML", async () => {
  const place = open(CONFIG.replace("jobs:\n  docs: { sources", "jobs:\n  docs: { souces"));
  const { err } = await refused(place, ["backup", "docs"], 2, "holdfast.yaml");
  expect(err).toContain("holdfast.yaml:10:");
  expect(err).toContain("sources");
});

test("a missing password file", async () => {
  const place = await prepared(PASSWORD_CONFIG);
  place.remove("password");
  await refused(place, ["backup", "docs"], 2, join(place.path, "password"));
});

test("a wrong password", async () => {
  const place = await prepared(PASSWORD_CONFIG);
  place.write("password", "wrong horse\n", 0o600);
  await refused(place, ["backup", "docs"], 12, "disk");
  await refused(place, ["snapshots"], 12, "disk");
  await refused(place, ["apply"], 12, "disk");
  await refused(place, ["plan"], 12, "disk");
});

test("a missing repository", async () => {
  const place = open();
  await refused(place, ["backup", "docs"], 10, "disk");
  await refused(place, ["snapshots"], 10, "disk");
});

test("a live lease in the way", async () => {
  const slow = `sources:\n  slow: { type: command, command: [sh, -c, "echo begun > begun; echo x; exec sleep 60"], filename: slow.txt }\n`;
  const place = await prepared(
    CONFIG.replace("sources:\n", slow).replace("jobs:\n", "jobs:\n  slow: { sources: [slow], targets: [disk] }\n"),
  );
  const backup = place.start("backup", "slow");
  await backup.says("started");
  await until(() => globSync("repository/leases/*", { cwd: place.path }).length > 0);
  const { code, err } = await place.run("prune", "--immediate");
  expect(code).toBe(11);
  expect(err).toContain("disk");
  expect(err).toContain("tester");
  expect(err).toContain("\nhint: ");
  backup.child.kill("SIGINT");
  expect(await backup.ended()).toMatchObject({ code: 130 });
  expect(await place.run("verify")).toMatchObject({ code: 0 });
});

/** Runs `act` with the repository on a file system of its own. Needs to be root; without it the caller's test is skipped. */
function mounted(place: Playground, options: string): boolean {
  const at = join(place.path, "repository");
  mkdirSync(at, { recursive: true });
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "none", at], { stdio: "ignore" });
  } catch {
    return false;
  }
  cleanUps.push(() => void execFileSync("umount", ["-l", at]));
  return true;
}

test("a full disk", async (context) => {
  const place = open();
  if (!mounted(place, "size=3m")) context.skip("mounting a small file system needs root");
  expect(await place.run("apply")).toMatchObject({ code: 0 });
  const snapshots = await place.json("snapshots");
  place.write("data/large", "");
  writeFileSync(join(place.path, "data/large"), randomBytes(8_000_000));
  const { code, err } = await place.run("backup", "docs");
  expect(code).toBe(1);
  expect(err).toContain("disk");
  expect(err).toMatch(/no space|full/i);
  expect(err).toContain("\nhint: ");
  expect(await place.json("snapshots")).toEqual(snapshots);
  place.remove("data/large");
  expect(await place.run("verify", "--read-data")).toMatchObject({ code: 0 });
});

test("a read-only target", async (context) => {
  const place = open();
  if (!mounted(place, "size=8m")) context.skip("mounting a file system needs root");
  expect(await place.run("apply")).toMatchObject({ code: 0 });
  execFileSync("mount", ["-o", "remount,ro", join(place.path, "repository")]);
  writeFileSync(join(place.path, "data/new.txt"), "new");
  await refused(place, ["backup", "docs"], 1, "read-only");
  expect(await place.run("snapshots")).toMatchObject({ code: 0 });
});

test("a truncated object", async () => {
  const place = await prepared();
  const [pack] = globSync("repository/packs/*/*", { cwd: place.path }).toSorted();
  truncateSync(join(place.path, pack as string), 100);
  const before = readFileSync(join(place.path, pack as string));
  const { code, out, err } = await place.run("verify", "--read-data");
  expect(code).toBe(1);
  expect(out).toContain((pack as string).split("/").at(-1));
  expect(err).toContain("Target disk");
  expect(err).toContain("hint: `holdfast repair`");
  expect(readFileSync(join(place.path, pack as string))).toEqual(before);
});

test("a foreign object", async () => {
  const place = await prepared();
  writeFileSync(join(place.path, "repository/holdfast.json"), '{"format":"something else"}');
  await refused(place, ["snapshots"], 1, "holdfast.json on target disk");
});

test("a prefix that fits two snapshots", async () => {
  const place = await prepared();
  const seen = new Map<string, string>();
  let prefix: string | undefined;
  // Sixteen first digits: with the seventeenth snapshot at the latest two begin alike.
  while (prefix === undefined) {
    const { snapshots } = (await place.json("snapshots")) as { snapshots: { id: string }[] };
    for (const { id } of snapshots) {
      const first = id.slice(0, 1);
      if (seen.has(first) && seen.get(first) !== id) prefix = first;
      else seen.set(first, id);
    }
    if (prefix === undefined)
      expect(await place.run("backup", "docs", "-q")).toEqual({ code: 0, out: "", err: expect.any(String) });
  }
  const { err } = await refused(place, ["show", prefix], 2, `${prefix} fits`);
  expect(err).toContain(seen.get(prefix)?.slice(0, 12));
  await refused(place, ["delete", prefix, "--yes"], 2, `${prefix} fits`);
  await refused(place, ["restore", prefix, "--to", "out"], 2, `${prefix} fits`);
});

test("a target that came back empty", async () => {
  const place = await prepared();
  rmSync(join(place.path, "repository"), { recursive: true });
  mkdirSync(join(place.path, "repository"));
  await refused(place, ["backup", "docs"], 1, "disk");
  expect(await place.run("apply")).toMatchObject({ code: 1 });
  expect(await place.run("apply", "--allow", "recreate")).toMatchObject({ code: 0 });
});

test("a target that came back older", async () => {
  const place = await prepared();
  const repository = join(place.path, "repository");
  cpSync(repository, `${repository}.old`, { recursive: true, preserveTimestamps: true });
  expect(await place.run("key", "rotate")).toMatchObject({ code: 0 });
  // The next use sees the new keyring and remembers it.
  expect(await place.run("snapshots")).toMatchObject({ code: 0 });
  rmSync(repository, { recursive: true });
  renameSync(`${repository}.old`, repository);
  await refused(place, ["backup", "docs"], 1, "Target disk is not what it was");
});

test("a restore of a file where a folder stands", async () => {
  const place = await prepared();
  mkdirSync(join(place.path, "out/a.txt/inside"), { recursive: true });
  const { code, err } = await place.run("restore", `latest:${place.path}/data/a.txt`, "--to", "out");
  expect(code).toBe(3);
  expect(err).toContain(join(place.path, "out/a.txt"));
  expect(globSync("out/**", { cwd: place.path }).toSorted()).toEqual(["out", "out/a.txt", "out/a.txt/inside"]);
});

test("what destroys needs --yes without a terminal", async () => {
  const place = await prepared();
  await refused(place, ["restore", "latest", "--to", "/"], 2, "over live data");
  await refused(place, ["restore", "latest", "--in-place"], 2, "over live data");
  await refused(place, ["delete", "latest"], 2, "delete snapshot");
  const { slots } = (await place.json("key", "list")) as { slots: { id: string }[] };
  await refused(place, ["key", "remove", slots[0]?.id ?? ""], 2, "remove slot");
  expect(await place.run("backup", "docs")).toMatchObject({ code: 0 });
  await refused(place, ["prune", "--keep-last", "1"], 2, "delete 1 snapshot");
});

test("names that do not exist", async () => {
  const place = await prepared();
  await refused(place, ["backup", "dosc"], 2, "There is no job dosc");
  await refused(place, ["snapshots", "--target", "dsik"], 2, "There is no target dsik");
  await refused(place, ["show", "0123456789abcdef0123456789abcdef"], 1, "No snapshot begins with");
  await refused(place, ["ls", "latest:/nowhere"], 1, "/nowhere");
  await refused(place, ["logs", "ffffffffffff"], 2, "There is no run");
  await refused(place, ["restore", "--rollback", "ffffffffffff", "--yes"], 2, "There is no restore");
});

function randomBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  // Numerical noise that no compressor shrinks; xorshift32, so that every run writes the same.
  let state = 0x9e3779b9;
  for (let i = 0; i < length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state;
  }
  return bytes;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
