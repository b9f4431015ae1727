// Every oddity that a file system can hold, there and back: as root equal, as a user equal but for what only root may, which
// is named. The full size (10 GiB and 1 TiB, 100,000 entries) is `node scripts/roundtrip.mjs --full`.
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { pathText } from "../../src/base/path-text.ts";
import { AT_FDCWD, setTimesAt } from "../../src/posix/at.ts";
import { campaignConfig, CampaignSession, TARGET } from "../support/campaign-session.ts";
import { restoreInto } from "../support/campaign-restore.ts";
import { compareTrees } from "../support/compare-trees.ts";
import { byOddity, oddityTable, writeOddities } from "../support/oddities.ts";
import { temporaryTree, writeTree } from "../support/tree-literal.ts";
import { backUp } from "../formats/repository/read/backed-up.ts";
import { fixture, restore } from "../engine/restore/fixture.ts";

const isRoot = process.getuid?.() === 0;
const USER = 65_534;
const canBeUser = isRoot && spawnSync("setpriv", ["--reuid", String(USER), "--clear-groups", "true"]).status === 0;

describe.skipIf(!isRoot)("every oddity, as root", () => {
  it("comes back equal after a first and an unchanged backup, sparse files of 1 TiB and a crowded folder too", async () => {
    using folder = temporaryTree({ oddities: {} });
    const oddities = join(folder.path, "oddities");
    const { skipped } = writeOddities(oddities, { huge: true, crowd: 1000 });
    expect(skipped).toEqual([]);
    const config = join(folder.path, "holdfast.yaml");
    writeFileSync(config, campaignConfig(folder.path, oddities));
    await using campaign = new CampaignSession(config, undefined);
    await campaign.apply();
    await campaign.backup();
    const store = await campaign.session.store(TARGET);
    const [first, second] = (await store.snapshots()).toSorted((a, b) => a.timeMs - b.timeMs);
    expect(second).toMatchObject({ status: "success", newBytes: 0, files: first?.files, unreadableCount: 0 });
    expect(await campaign.verify()).toMatchObject({ ok: true });
    if (second === undefined) throw new Error("no snapshot");
    const out = join(folder.path, "out");
    const report = await restoreInto(store, second, out);
    expect(report).toMatchObject({ status: "success", problems: [], losses: [] });
    const differences = compareTrees(oddities, join(out, oddities));
    expect(differences, oddityTable({ restored: differences })).toEqual([]);
    // Paths this long are more than Node's own removal knows.
    spawnSync("rm", ["-rf", out, oddities]);
  });
});

describe("a time after 2262, which 64 bits of nanoseconds do not hold", () => {
  it("is saved as the last one there is, which is said, and ends no backup", async () => {
    const time = 10_000_000_000n;
    await using made = await fixture((source) => {
      writeTree(source, { late: "from the year 2286", good: "good" });
      setTimesAt(AT_FDCWD, Buffer.from(join(source, "late")), undefined, time * 1_000_000_000n);
    });
    // Some file systems keep no such time themselves.
    const kept = statSync(join(made.source, "late"), { bigint: true }).mtimeNs;
    const isLate = kept > 2n ** 63n - 1n;
    expect(made.snapshot).toMatchObject({ status: isLate ? "partial" : "success", files: 2, unreadableCount: isLate ? 1 : 0 });
    expect(await restore(made)).toMatchObject({ status: "success" });
    const restored = statSync(join(made.out, "late"), { bigint: true }).mtimeNs;
    expect(restored).toBe(isLate ? 2n ** 63n - 1n : kept);
    expect(readFileSync(join(made.out, "late"), "utf8")).toBe("from the year 2286");
    // It counts as unchanged.
    const again = await backUp(made.store, [made.source], { mode: "incremental", baseline: made.snapshot });
    expect(again).toMatchObject({ newBytes: 0, files: 2 });
  });
});

describe("a name that changes its type between snapshots", () => {
  it("has in each snapshot what it was then, also when one is restored over the other", async () => {
    const turns = { a: "file", b: { inside: "folder" }, c: "file", d: { inside: "folder" } };
    await using made = await fixture((source) => {
      writeTree(source, turns);
      symlinkSync("a", join(source, "e"));
      symlinkSync("b", join(source, "f"));
    });
    using before = temporaryTree();
    await restore(made, { destination: { kind: "folder", path: Buffer.from(before.path) } });
    expect(compareTrees(made.source, before.path, { ignoreRoot: true })).toEqual([]);
    for (const name of ["a", "b", "c", "d", "e", "f"]) rmSync(join(made.source, name), { recursive: true });
    writeTree(made.source, { a: { inside: "now a folder" }, b: "now a file", e: "now a file", f: { inside: "now a folder" } });
    symlinkSync("b", join(made.source, "c"));
    symlinkSync("a", join(made.source, "d"));
    const later = await backUp(made.store, [made.source], { mode: "incremental", baseline: made.snapshot });
    const all = { overwrite: "always", delete: true } as const;
    for (const [snapshot, original] of [
      [later, made.source],
      [made.snapshot, before.path],
      [later, made.source],
    ] as const) {
      expect(await restore(made, { ...all, snapshot })).toMatchObject({ status: "success" });
      expect(compareTrees(original, made.out, { ignoreRoot: true })).toEqual([]);
    }
  });
});

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** The built program in `folder`, as root or as a user who is nobody. */
function holdfast(folder: string, who: "root" | "user", ...args: string[]): Ran {
  if (!existsSync("dist/main.js")) throw new Error("dist/ is missing: run `npm run build` first");
  const program = [process.execPath, resolve("dist/main.js"), ...args, "-c", join(folder, `${who}.yaml`)];
  const as = who === "user" ? ["setpriv", "--reuid", String(USER), "--regid", String(USER), "--clear-groups"] : [];
  const [command, ...rest] = [...as, ...program];
  const { status, stdout, stderr } = spawnSync(command as string, rest, {
    cwd: folder,
    encoding: "utf8",
    env: { PATH: process.env["PATH"], HOME: join(folder, "home"), LANG: "C.UTF-8" },
    maxBuffer: 2 ** 26,
  });
  return { code: status, out: stdout, err: stderr };
}

/** A folder in which root and the user have a configuration each, over one key. `repository` is what both name. */
function place(folder: string, data: string, repository: { readonly root: string; readonly user: string }): void {
  chmodSync(folder, 0o755);
  const key = "0123456789abcdef".repeat(4);
  for (const who of ["root", "user"] as const) {
    mkdirSync(join(folder, `${who}-files`));
    writeFileSync(join(folder, `${who}-files/key`), `${key}\n`, { mode: 0o600 });
    writeFileSync(
      join(folder, `${who}.yaml`),
      [
        "version: 1",
        "host: tester",
        `daemon: { stateDir: ./${who}-files/state, cacheDir: ./${who}-files/cache, timezone: UTC }`,
        `encryption: { main: { keyFile: ./${who}-files/key } }`,
        `sources: { data: { type: files, paths: [${JSON.stringify(data)}] } }`,
        `targets: { disk: { type: local, path: ${JSON.stringify(repository[who])}, encryption: main } }`,
        "jobs: { data: { sources: [data], targets: [disk] } }",
        "",
      ].join("\n"),
    );
  }
  for (const path of ["user-files", "user-files/key"]) chownSync(join(folder, path), USER, USER);
}

/** The summary that `--json` ends with. */
function summaryOf({ out }: Ran): Record<string, unknown> {
  return JSON.parse(out.trimEnd().split("\n").at(-1) as string) as Record<string, unknown>;
}

/** What nobody but root may read, by its permission bits alone. */
function unreadableBelow(folder: string): string[] {
  const found: string[] = [];
  const visit = (path: Buffer): void => {
    const stat = lstatSync(path);
    if (stat.isDirectory()) {
      if ((stat.mode & 0o005) !== 0o005) return void found.push(pathText(path));
      if (path.length > 3500) return;
      for (const name of readdirSync(path, { encoding: "buffer" })) visit(Buffer.concat([path, Buffer.from("/"), name]));
    } else if (stat.isFile() && (stat.mode & 0o004) === 0) found.push(pathText(path));
  };
  visit(Buffer.from(folder));
  return found.sort();
}

describe.skipIf(!canBeUser)("a user who is not root", () => {
  it("gets everything of a restore but what only root may set, and is told what, by the exit code too", () => {
    using top = temporaryTree({ oddities: {} });
    const [folder, oddities, out] = [top.path, join(top.path, "oddities"), join(top.path, "out")];
    writeOddities(oddities);
    place(folder, oddities, { root: "./repository", user: "./repository" });
    expect(holdfast(folder, "root", "apply")).toMatchObject({ code: 0 });
    expect(holdfast(folder, "root", "backup", "data")).toMatchObject({ code: 0 });
    spawnSync("chmod", ["-R", "a+rX", join(folder, "repository")]);
    mkdirSync(out);
    chownSync(out, USER, USER);
    const ran = holdfast(folder, "user", "restore", `latest:${oddities}`, "--to", out);
    expect(ran.code, ran.err).toBe(3);
    const said = `${ran.out}${ran.err}`;
    // By kind, with the reason of each.
    for (const what of ["owner (EPERM)", "mode (owner)", "security.capability (EPERM)", "trusted.holdfast (EPERM)"])
      expect(said).toContain(what);
    for (const device of ["null", "disk", "big-numbers"])
      expect(said).toContain(`${out}/special/${device} could not be restored (EPERM)`);
    const differences = compareTrees(oddities, out, { ignoreRoot: true, ignore: ["owner"] });
    const kinds = new Map([...byOddity(differences)].map(([name, lines]) => [name, lines.length]));
    expect([...kinds.keys()].sort(), oddityTable({ "as a user": differences })).toEqual(
      ["attributes of symlinks", "capabilities", "devices", "setuid, setgid and sticky"].sort(),
    );
    expect(statSync(join(out, "owners/setuid")).mode & 0o7000).toBe(0);
    spawnSync("rm", ["-rf", out, oddities]);
  });

  it("restores files of his own below folders of root with success, and one of another's as partial", () => {
    using top = temporaryTree({ data: { mine: "mine", theirs: "theirs" } });
    const [folder, data] = [top.path, join(top.path, "data")];
    chownSync(data, USER, USER);
    chownSync(join(data, "mine"), USER, USER);
    place(folder, data, { root: "./repository", user: "./repository" });
    expect(holdfast(folder, "root", "apply")).toMatchObject({ code: 0 });
    expect(holdfast(folder, "root", "backup", "data")).toMatchObject({ code: 0 });
    spawnSync("chmod", ["-R", "a+rX", join(folder, "repository")]);
    const to = (name: string): string => join(folder, "user-files", name);
    const mine = holdfast(folder, "user", "restore", "latest", "--to", to("mine"), "--exclude", "theirs");
    expect(mine.code, mine.err).toBe(0);
    expect(readFileSync(join(to("mine"), data, "mine"), "utf8")).toBe("mine");
    // The way there belongs to root: said, and no reason to doubt the rest.
    expect(`${mine.out}${mine.err}`).toContain("owner (EPERM)");
    const both = holdfast(folder, "user", "restore", "latest", "--to", to("both"), "--json");
    expect(both.code, both.err).toBe(3);
    expect(summaryOf(both)).toMatchObject({ status: "partial", report: { problemCount: 0 } });
    const { losses } = summaryOf(both)["report"] as { losses: readonly unknown[] };
    expect(losses).toContainEqual({ path: join(to("both"), data, "theirs"), what: "owner", reason: "EPERM" });
    expect(readFileSync(join(to("both"), data, "theirs"), "utf8")).toBe("theirs");
  });

  it("backs up what he may read: partial, with every entry named that he may not, and the rest restores", () => {
    using top = temporaryTree({ oddities: {} });
    const [folder, oddities] = [top.path, join(top.path, "oddities")];
    writeOddities(oddities);
    chmodSync(oddities, 0o755);
    place(folder, oddities, { root: "./user-files/repository", user: "./user-files/repository" });
    expect(holdfast(folder, "user", "apply")).toMatchObject({ code: 0 });
    const ran = holdfast(folder, "user", "backup", "data");
    expect(ran.code, ran.err).toBe(3);
    const shown = JSON.parse(holdfast(folder, "user", "show", "latest", "--json").out) as Record<string, unknown>;
    const text = JSON.stringify(shown);
    const unreadable = unreadableBelow(oddities);
    expect(unreadable.length).toBeGreaterThan(5);
    for (const path of unreadable) expect(text).toContain(JSON.stringify(path));
    const out = join(folder, "out");
    const restored = holdfast(folder, "root", "restore", `latest:${oddities}`, "--to", out);
    expect(restored.code, restored.err).toBe(0);
    const differences = compareTrees(oddities, out, { ignoreRoot: true });
    // Too deep for the list above: its mode is 0640.
    const relative = [...unreadable.map((path) => path.slice(oddities.length)), "/deep"];
    const others = differences.filter(
      (line) => !relative.some((path) => line.startsWith(`${path} `) || line.startsWith(`${path}/`)),
    );
    // The system hides this kind of attribute from all but root.
    expect(others, oddityTable({ "backed up by a user": differences })).toEqual([
      "/attributes/link lacks the attribute trusted.holdfast",
    ]);
    spawnSync("rm", ["-rf", out, oddities]);
  });
});
