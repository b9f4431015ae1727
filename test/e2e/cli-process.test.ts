/** The process: signals, pipes, streams of JSON, the launcher. */
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryTree } from "../support/tree-literal.ts";
import { CONFIG, playground } from "./cli-runner.ts";

const SLOW = CONFIG.replace(
  'docs: { type: files, paths: [./data], exclude: ["*.tmp"] }',
  'docs: { type: command, command: [sh, -c, "echo reading >&2; echo x; exec sleep 60"], filename: x }',
);

test("the first Ctrl-C cancels cleanly, and the repository is whole", async () => {
  using place = playground({ config: SLOW });
  expect(await place.run("apply")).toMatchObject({ code: 0 });
  const backup = place.start("backup", "docs");
  await backup.says("started");
  backup.child.kill("SIGINT");
  const { code, err } = await backup.ended();
  expect(code).toBe(130);
  expect(err).toContain("cancelled");
  expect(await place.json("snapshots")).toMatchObject({ snapshots: [] });
  expect(((await place.json("runs")) as { runs: { status: string }[] }).runs.at(-1)).toMatchObject({ status: "cancelled" });
});

test("a daemon takes the first snapshot, says so, and ends within the grace time with 0", async () => {
  const scheduled = CONFIG.replace(
    "docs: { sources: [docs], targets: [disk] }",
    "docs: { sources: [docs], targets: [disk], schedule: { every: 1h, onStart: true, catchUp: true } }",
  );
  using place = playground({ config: scheduled });
  const daemon = place.start("daemon");
  await daemon.says("taken of docs on disk");
  await daemon.says("run ended: success");
  expect(await place.run("snapshots")).toMatchObject({ code: 0, out: expect.stringContaining("docs") });
  const second = await place.run("daemon");
  expect(second.code).toBe(11);
  expect(second.err).toContain("Another daemon");
  daemon.child.kill("SIGTERM");
  const { code, err } = await daemon.ended();
  expect(code).toBe(0);
  expect(err).toContain("stopped");
});

test("a daemon that starts on a broken file goes on with the last good one, and takes up the file when it is mended", async () => {
  using place = playground();
  const killed = place.start("daemon");
  await killed.says("created a repository");
  killed.child.kill("SIGKILL");
  await killed.ended();
  // A mistake, text that is no YAML at all but for the state folder, and no file.
  for (const broken of [CONFIG.replace("jobs:", "jbos:"), `daemon: { stateDir: ./state }\njobs: [`, undefined]) {
    if (broken === undefined) place.remove("holdfast.yaml");
    else place.write("holdfast.yaml", broken);
    const daemon = place.start("daemon", "-c", "holdfast.yaml");
    if (broken === undefined) {
      // Where the state is, only the file says.
      expect(await daemon.ended()).toMatchObject({ code: 2, err: expect.stringContaining("does not exist") as string });
      continue;
    }
    await daemon.says("is not valid: going on with the configuration of 20");
    await daemon.says("the one before stays in force");
    place.write("holdfast.yaml", CONFIG);
    await daemon.says("the configuration is again the one in force");
    daemon.child.kill("SIGTERM");
    expect((await daemon.ended()).code).toBe(0);
  }
  place.remove("state/last-good.json");
  place.write("holdfast.yaml", CONFIG.replace("jobs:", "jbos:"));
  expect(await place.run("daemon")).toMatchObject({ code: 2, err: expect.stringContaining("did you mean") as string });
});

test("SIGHUP has a daemon read its configuration, and stops nothing", async () => {
  const scheduled = CONFIG.replace("targets: [disk] }", "targets: [disk], schedule: { every: 1h } }");
  using place = playground({ config: scheduled });
  const daemon = place.start("daemon");
  await daemon.says("run ended: success");
  daemon.child.kill("SIGHUP");
  await daemon.says("the configuration has not changed");
  place.write("holdfast.yaml", scheduled.replace("sources: [docs]", "sources: [dosc]"));
  daemon.child.kill("SIGHUP");
  await daemon.says("holdfast.yaml:10");
  await daemon.says("is not valid: the one before stays in force");
  place.write("holdfast.yaml", scheduled.replace("  docs: { sources", "  papers: { sources"));
  daemon.child.kill("SIGHUP");
  await daemon.says("jobs.papers added");
  await daemon.says("backup of papers started");
  daemon.child.kill("SIGTERM");
  expect((await daemon.ended()).code).toBe(0);
});

test("with --json a long operation is a stream of lines, and a query one document", async () => {
  using place = playground();
  for (const [args, code] of [
    [["backup", "docs"], 10],
    [["apply"], 0],
    [["backup", "docs"], 0],
    [["verify"], 0],
    [["prune"], 0],
    [["restore", "latest", "--to", "out"], 0],
  ] as const) {
    const { code: got, out, err } = await place.run(...args, "--json");
    expect([args, got, err]).toEqual([args, code, ""]);
    const lines = out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { type: string; status?: string });
    expect(new Set(lines.map(({ type }) => type)).difference(new Set(["status", "error", "summary"]))).toEqual(new Set());
    expect(lines.at(-1)).toMatchObject({ type: "summary", status: code === 0 ? "success" : "failed" });
  }
  for (const [args, root] of [
    [["snapshots"], "snapshots"],
    [["runs"], "runs"],
    [["plan"], "actions"],
    [["validate"], "problems"],
    [["logs"], "logs"],
    [["stats"], "targets"],
    [["doctor"], "checks"],
    [["ls", "latest"], "entries"],
  ] as const)
    expect(await place.json(...args)).toHaveProperty(root, expect.any(Array));
});

test("a reader that goes away ends a query quietly", () => {
  using place = playground({
    data: Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`a file with quite a long name, number ${i}`, ""])),
  });
  const holdfast = join(process.cwd(), "bin/holdfast");
  for (const args of ["apply", "backup docs -q"])
    execFileSync("sh", ["-c", `${holdfast} ${args}`], { cwd: place.path, stdio: "ignore" });
  const { stdout, stderr } = spawnSync("bash", ["-c", `${holdfast} find '*' | head -1; echo "\${PIPESTATUS[0]}"`], {
    cwd: place.path,
    encoding: "utf8",
  });
  expect(stdout.trimEnd().split("\n").at(-1)).toBe("0");
  expect(stderr).not.toContain("rror");
});

/** A checkout with the launcher alone, and programs called `node` where it looks for them. */
function launcherIn(folder: string, nodes: Readonly<Record<string, string>>): void {
  cpSync("bin", join(folder, "bin"), { recursive: true });
  for (const [path, script] of Object.entries(nodes)) {
    mkdirSync(join(folder, path, ".."), { recursive: true });
    writeFileSync(join(folder, path), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
}

test("the launcher says what to do when the program has not been built", () => {
  using folder = temporaryTree({});
  launcherIn(folder.path, {});
  const ran = spawnSync(join(folder.path, "bin/holdfast"), ["--version"], { encoding: "utf8" });
  expect(ran.status).toBe(1);
  expect(ran.stderr).toContain("has not been built");
  expect(ran.stderr).toContain("npm run build");
});

test("the launcher takes the pinned Node, else a Node on PATH that is new enough, and passes arguments, links and exit codes on", () => {
  using folder = temporaryTree({ dist: { "main.js": "" } });
  const pinned = { "node_modules/.bin/node": 'printf "pinned %s\\n" "$@"; exit 7' };
  launcherIn(folder.path, pinned);
  symlinkSync("../bin/holdfast", join(folder.path, "dist/link"));
  for (const start of ["bin/holdfast", "dist/link"]) {
    const ran = spawnSync(join(folder.path, start), ["restore", "a b"], { encoding: "utf8" });
    expect(ran.status).toBe(7);
    const main = join(realpathSync(folder.path), "dist/main.js");
    expect(ran.stdout.split("\n")).toEqual([
      "pinned --disable-sigusr1",
      "pinned --max-semi-space-size=2",
      "pinned --v8-pool-size=1",
      `pinned ${main}`,
      "pinned restore",
      "pinned a b",
      "",
    ]);
  }
  rmSync(join(folder.path, "node_modules"), { recursive: true });
  const onPath = (version: string): ReturnType<typeof spawnSync> => {
    launcherIn(folder.path, { "path/node": `[ "$1" = --version ] && { echo ${version}; exit; }; echo on PATH` });
    return spawnSync(join(folder.path, "bin/holdfast"), [], {
      encoding: "utf8",
      env: { PATH: `${join(folder.path, "path")}:/usr/bin:/bin` },
    });
  };
  for (const version of ["v8.17.0", "v18.20.1", "v20.20.2", "v24.6.9"]) expect(onPath(version).stderr).toContain("is too old");
  for (const version of ["v24.7.0", "v24.10.1", "v26.10.0", "v100.0.0"]) expect(onPath(version).stdout).toBe("on PATH\n");
});
