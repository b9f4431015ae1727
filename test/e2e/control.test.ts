/** The command line beside a running daemon: both as processes, as people have them. */
import { createHash } from "node:crypto";
import { existsSync, lstatSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { DaemonClient } from "../../src/cli/daemon-client.ts";
import { playground, type Playground, type Ran, type Running } from "./cli-runner.ts";

/**
 * `docs` and `part` (which has a file that cannot be read by its kind) run when asked to; `bad` fails until there is a file `ok`,
 * and is due once; `slow` runs until there is a file `go`.
 */
const CONFIG = `version: 1
host: tester
daemon: { stateDir: ./state, cacheDir: ./cache, timezone: UTC, log: { format: text } }
encryption: { main: { keyFile: ./key, generate: true } }
sources:
  docs: { type: files, paths: [./data], exclude: ["*.tmp"] }
  bad: { type: command, command: [test, -e, ok], filename: x }
  slow: { type: command, command: [sh, -c, "while [ -e holdfast.yaml ] && ! [ -e go ]; do sleep 0.05; done; echo done"], filename: x }
targets:
  disk: { type: local, path: ./repository, encryption: main }
retention: { few: { keepLast: 1 } }
jobs:
  docs: { sources: [docs], targets: [disk], retention: few }
  bad: { sources: [bad], targets: [disk], schedule: { every: 1d }, retry: { attempts: 1 } }
  slow: { sources: [slow], targets: [disk] }
`;

interface Beside extends AsyncDisposable {
  readonly on: Playground;
  readonly daemon: Running;
  readonly client: DaemonClient;
}

async function daemonOn(on: Playground): Promise<Running> {
  const daemon = on.start("daemon");
  await daemon.says("started");
  return daemon;
}

async function beside(config = CONFIG): Promise<Beside> {
  const on = playground({ config });
  const daemon = await daemonOn(on);
  return {
    on,
    daemon,
    client: new DaemonClient(join(on.path, "state")),
    [Symbol.asyncDispose]: async () => {
      daemon.child.kill("SIGKILL");
      await daemon.ended();
      on[Symbol.dispose]();
    },
  };
}

/** What two runs of a command have in common: ids, times, durations, sizes of random bytes and the folder are each its own. */
function common(text: string, { path }: Playground): string {
  return text
    .replaceAll(path, "FOLDER")
    .replace(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?Z?)?/g, "TIME")
    .replace(/"(durationMs|time|endMs|timeMs)":\d+/g, '"$1":N')
    .replace(/\b[0-9a-f]{64}\b|\b[0-9a-f]{32}\b|\b[0-9a-f]{8}\b|\b[0-9a-f]{12}\b/g, "ID")
    .replace(/\d+(?:\.\d+)? (?:ms|s)\b/g, "DURATION")
    .replace(/(?:\d+(?:\.\d+)?) k?B\b/g, "SIZE")
    .replace(/"(\w*[bB]ytes\w*)":\d+/g, '"$1":N')
    .replace(/^.*"event":"progress".*\n/gm, "");
}

test("every operation prints the same and ends the same with a daemon and without one", async () => {
  using alone = playground({ config: CONFIG });
  await using other = await beside();
  // What the daemon does by itself when it starts.
  await alone.run("apply");
  await other.daemon.says("run ended: failed");
  const asked: string[] = [];
  const both = async (...args: string[]): Promise<Ran> => {
    const [here, there] = await Promise.all([alone.run(...args), other.on.run(...args)]);
    expect({ args, code: there.code, out: common(there.out, other.on), err: common(there.err, other.on) }).toEqual({
      args,
      code: here.code,
      out: common(here.out, alone),
      err: common(here.err, alone),
    });
    asked.push(`${args.join(" ")}: ${here.code}`);
    return here;
  };
  const write = (file: string, text: string): void => [alone, other.on].forEach((on) => on.write(file, text));
  const hash = (on: Playground, file: string): string =>
    createHash("sha256")
      .update(readFileSync(join(on.path, file)))
      .digest("hex");

  await both("backup", "docs");
  await both("backup", "docs", "--json", "--tag", "x", "--description", "y", "--verify");
  await both("backup", "docs", "--baseline", "ffff");
  await both("backup", "nothing");
  await both("backup", "bad");
  await both("apply");
  await both("apply", "--json");
  write("ok", "");
  await both("apply");
  await both("prune");
  await both("prune", "--keep-last", "1");
  await both("prune", "docs", "--keep-last", "1", "--yes", "--json");
  await both("restore", "latest", "--job", "docs", "--to", "out", "--verify");
  expect(hash(alone, `out${alone.path}/data/a.txt`)).toBe(hash(other.on, `out${other.on.path}/data/a.txt`));
  await both("restore", "latest", "--job", "docs", "--to", "out", "--json");
  await both("restore", "latest", "--to", "out");
  await both("restore", "latest", "--job", "docs", "--to", "data/a.txt");
  write("data/a.txt", "changed");
  await both("restore", "latest", "--job", "docs", "--in-place");
  await both("restore", "latest", "--job", "docs", "--in-place", "--yes");
  for (const on of [alone, other.on]) {
    expect(readFileSync(join(on.path, "data/a.txt"), "utf8")).toBe("first\n");
    const { runs } = (await on.json("runs")) as { runs: { id: string; kind: string }[] };
    const run = runs.findLast(({ kind }) => kind === "restore")?.id ?? "";
    const back = await on.run("restore", "--rollback", run, "--yes");
    expect([back.code, common(back.out, on)]).toEqual([0, expect.stringContaining("1 replaced")]);
    expect(readFileSync(join(on.path, "data/a.txt"), "utf8")).toBe("changed");
  }
  expect(asked.filter((line) => line.endsWith(": 0"))).toHaveLength(8);
  // All of it was done in the daemon, and nothing was done twice.
  const { runs: here } = (await alone.json("runs")) as { runs: { kind: string; status: string }[] };
  const { runs: there } = (await other.on.json("runs")) as { runs: { kind: string; status: string }[] };
  const count = (runs: typeof here): string[] => runs.map(({ kind, status }) => `${kind} ${status}`);
  expect(count(there)).toEqual(count(here));
  other.daemon.child.kill("SIGTERM");
  const { err } = await other.daemon.ended();
  expect(err.match(/INFO {2}restore of .* started/g)).toHaveLength(5);
  expect(existsSync(join(other.on.path, "state/control.sock"))).toBe(false);
});

describe("what is asked of the daemon", () => {
  test("run, follow, pause, resume, cancel, reload", async () => {
    await using at = await beside();
    const { on, daemon, client } = at;
    await daemon.says("run ended: failed");
    expect((lstatSync(join(on.path, "state/control.sock")).mode & 0o777).toString(8)).toBe("600");
    // A second daemon is refused, and takes nothing away.
    expect(await on.run("daemon")).toMatchObject({ code: 11, err: expect.stringMatching(/Another daemon/) });
    expect(await client.ask("GET", "/daemon")).toMatchObject({ pid: expect.any(Number), stopping: false });
    // Followed to its end, with the exit code of the backup.
    expect(await on.run("run", "docs", "--wait")).toMatchObject({
      code: 0,
      out: expect.stringMatching(/docs: snapshot [0-9a-f]{8} on disk/),
    });
    expect(await on.run("run", "bad", "--wait")).toMatchObject({ code: 1, err: expect.stringMatching(/it exited with 1/) });
    expect(await on.run("run", "nothing")).toMatchObject({ code: 2, err: expect.stringMatching(/no job nothing/) });
    const json = await on.run("run", "docs", "--wait", "--json");
    const last = JSON.parse(json.out.trim().split("\n").at(-1) ?? "") as Record<string, unknown>;
    expect(last).toMatchObject({ type: "summary", command: "run", job: "docs", status: "success" });
    // Ctrl-C while following leaves it; a second one of the same is refused; cancel ends it.
    const following = on.start("run", "slow", "--wait");
    await following.says("backup of slow started");
    expect(await on.run("backup", "slow")).toMatchObject({ code: 11, err: expect.stringMatching(/is running/) });
    expect(await on.run("run", "slow")).toMatchObject({ code: 11 });
    following.child.kill("SIGINT");
    expect(await following.ended()).toMatchObject({ code: 130, err: expect.stringMatching(/goes on in the daemon/) });
    expect(await on.json("status")).toMatchObject({ running: [{ kind: "backup", subject: "slow" }] });
    expect(await on.json("cancel", "slow")).toEqual({ cancelled: ["backup of slow"] });
    await daemon.says("run ended: cancelled");
    expect(await on.run("cancel", "slow")).toMatchObject({ code: 2, err: expect.stringMatching(/Nothing runs or waits/) });
    // Fifty at once: one is taken.
    const answers = await Promise.all(
      Array.from({ length: 50 }, () =>
        client.ask("POST", "/jobs/slow/run").then(
          () => "taken",
          (error: { code: string }) => error.code,
        ),
      ),
    );
    expect([answers.filter((one) => one === "taken").length, answers.filter((one) => one === "state_busy").length]).toEqual([
      1, 49,
    ]);
    // By its id.
    await daemon.says("backup of slow started");
    const { running } = (await on.json("status")) as { running: { run: string }[] };
    expect(await on.json("cancel", running[0]?.run.slice(0, 8) ?? "")).toEqual({ cancelled: ["backup of slow"] });
    // Pauses.
    expect(await on.json("pause", "docs")).toEqual({ job: "docs", paused: true, changed: true, daemon: true });
    expect(await on.json("pause", "docs")).toMatchObject({ changed: false });
    expect(await on.run("pause", "nothing")).toMatchObject({ code: 2 });
    // The configuration.
    expect(await on.json("reload")).toMatchObject({ result: "unchanged" });
    on.write("holdfast.yaml", CONFIG.replace("targets: [disk] }", "targets: [dsik] }"));
    expect(await on.run("reload")).toMatchObject({
      code: 2,
      err: expect.stringMatching(/holdfast.yaml:\d+:\d+[\s\S]*dsik[\s\S]*stays in force/),
    });
    expect(await on.run("status")).toMatchObject({ code: 0, out: expect.stringMatching(/NOT VALID since/) });
    on.write("holdfast.yaml", CONFIG.replace("every: 1d", "every: 2d"));
    expect(await on.run("reload")).toMatchObject({ code: 0 });
    daemon.child.kill("SIGTERM");
    expect(await daemon.ended()).toMatchObject({ code: 0 });
    // Over the restart, without a daemon and with the next one.
    expect(await on.json("status")).toMatchObject({ daemon: null, jobs: [{ name: "docs", paused: true }, {}, {}] });
    expect(await on.json("resume", "docs")).toEqual({ job: "docs", paused: false, changed: true, daemon: false });
    expect(await on.json("pause", "bad")).toMatchObject({ daemon: false });
    for (const args of [["run", "docs"], ["reload"], ["cancel", "docs"]])
      expect(await on.run(...args)).toMatchObject({ code: 1, err: expect.stringMatching(/No daemon works on the state folder/) });
    const next = await daemonOn(on);
    await next.says("job bad is paused");
    expect(await on.json("status")).toMatchObject({ jobs: [{ paused: false }, { name: "bad", paused: true }, {}] });
    next.child.kill("SIGTERM");
    await next.ended();
  });

  test("Ctrl-C cancels what the command started, in the daemon", async () => {
    await using at = await beside();
    const backup = at.on.start("backup", "slow");
    await backup.says("backup of slow started");
    backup.child.kill("SIGINT");
    expect(await backup.ended()).toMatchObject({
      code: 130,
      err: expect.stringMatching(/stopping cleanly[\s\S]*was cancelled after/),
    });
    expect(await at.on.json("runs")).toMatchObject({
      runs: expect.arrayContaining([expect.objectContaining({ subject: "slow", status: "cancelled" })]),
    });
    // So does the death of the command.
    const killed = at.on.start("backup", "slow");
    await killed.says("backup of slow started");
    killed.child.kill("SIGKILL");
    await killed.ended();
    await at.daemon.says("Who asked for it has gone");
    expect(await at.on.json("status")).toMatchObject({ running: [] });
  });

  test("a daemon that is killed: the command says so, the next daemon takes over, and what was asked for is done", async () => {
    await using at = await beside(CONFIG.replace("timezone: UTC", "timezone: UTC, maxConcurrentJobs: 1"));
    const { on, daemon } = at;
    await daemon.says("run ended: failed");
    const backup = on.start("backup", "slow", "--json");
    await backup.says("started");
    expect(await on.run("run", "docs")).toMatchObject({ code: 0 });
    const waiting = on.start("run", "bad", "--wait");
    await waiting.says("waiting for its turn; what runs: backup of slow");
    daemon.child.kill("SIGKILL");
    await daemon.ended();
    const ended = await backup.ended();
    const error = JSON.parse(ended.out.trim().split("\n").at(-1) ?? "") as { code: string; data: { run: string } };
    expect([ended.code, error]).toMatchObject([
      1,
      { type: "error", code: "daemon_unreachable", data: { run: expect.stringMatching(/^[0-9a-f]{32}$/) } },
    ]);
    expect(await waiting.ended()).toMatchObject({ code: 1, err: expect.stringMatching(/The daemon ended before this was done/) });
    // Its socket is stale: nobody is asked, and what is done is done here.
    expect(existsSync(join(on.path, "state/control.sock"))).toBe(true);
    expect(await on.json("status")).toMatchObject({ daemon: null, jobs: [{ requestedTime: expect.any(String) }, {}, {}] });
    expect(await on.run("backup", "docs")).toMatchObject({ code: 0 });
    // One that was asked for is withdrawn, the other is done by the next daemon.
    expect(await on.json("cancel", "bad")).toEqual({ cancelled: ["backup of bad"] });
    const next = await daemonOn(on);
    await next.says("run ended: success");
    const { runs } = (await on.json("runs")) as { runs: { id: string; subject: string; status: string; reason: string }[] };
    expect(runs.find(({ id }) => id === error.data.run)).toMatchObject({ subject: "slow", status: "interrupted" });
    expect(runs.filter(({ subject, reason }) => subject === "docs" && reason === "asked for")).toHaveLength(2);
    expect(runs.filter(({ subject }) => subject === "bad")).toHaveLength(1);
    next.child.kill("SIGTERM");
    await next.ended();
  });

  test("nothing is done beside a daemon that serves something else, except a restore", async () => {
    await using at = await beside();
    const { on, daemon } = at;
    await daemon.says("run ended: failed");
    expect(await on.run("backup", "docs")).toMatchObject({ code: 0 });
    on.write("other.yaml", CONFIG);
    const other = ["-c", "other.yaml"];
    const refused = await on.run(...other, "backup", "docs");
    expect(refused).toMatchObject({ code: 2, out: "" });
    expect(refused.err).toMatch(
      /error: The daemon \(process \d+\) of the state folder .* serves .*holdfast.yaml, not .*other.yaml\nhint: .*Nothing was done/,
    );
    for (const args of [["apply"], ["prune"]]) expect(await on.run(...other, ...args)).toMatchObject({ code: 2 });
    expect(await on.run(...other, "snapshots")).toMatchObject({ code: 0 });
    const restored = await on.run(...other, "restore", "latest", "--to", "out");
    expect([restored.code, restored.err]).toMatchObject([
      0,
      expect.stringMatching(/warning: .* serves .*; it is done without the daemon/),
    ]);
    // An edit that the daemon has not seen is taken over first; one that it refuses is told as what it is.
    writeFileSync(
      join(on.path, "holdfast.yaml"),
      CONFIG.replace("  docs: { sources", "  more: { sources: [docs], targets: [disk] }\n  docs: { sources"),
    );
    expect(await on.run("backup", "more")).toMatchObject({ code: 0, out: expect.stringMatching(/docs: snapshot/) });
    await daemon.says("jobs.more added");
    on.write("holdfast.yaml", "version: [");
    expect(await on.run("backup", "docs")).toMatchObject({ code: 2, err: expect.stringMatching(/holdfast.yaml:1:/) });
  });
});

test("a status without jobs, without a state, and of a job that failed", async () => {
  using none = playground({
    config: "version: 1\nhost: tester\ndaemon: { stateDir: ./state, cacheDir: ./cache, timezone: UTC }\n",
  });
  expect(await none.run("status")).toMatchObject({
    code: 0,
    err: "",
    out: `Daemon  none runs: nothing happens by schedule (\`holdfast daemon\` starts one)\nConfig  ${none.path}/holdfast.yaml\n\nNo jobs are declared.\n`,
  });
  using on = playground({ config: CONFIG });
  expect((await on.run("status")).out).toMatch(/docs +never ran +never +no schedule/);
  expect((await on.run("apply")).code).toBe(1);
  expect((await on.run("plan")).code).toBe(0);
  const { out } = await on.run("status");
  expect(out).toMatch(/^bad +failed .* +never +/m);
  expect(out).toMatch(/^bad: The command test failed: it exited with 1 \(run [0-9a-f]{8}\)$/m);
  expect(out).toMatch(/^disk +ok +0$/m);
});
