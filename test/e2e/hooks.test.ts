/** Hooks as people meet them: on the command line and in the daemon. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CONFIG, playground, type Playground } from "./cli-runner.ts";

const withHooks = (hooks: string, more = ""): string =>
  CONFIG.replace(
    "docs: { sources: [docs], targets: [disk] }",
    `docs: { sources: [docs], targets: [disk], hooks: { ${hooks} }${more} }`,
  );
const SAY = 'echo "$HOLDFAST_HOOK $HOLDFAST_STATUS" >>trace';
const trace = ({ path }: Playground): string =>
  existsSync(join(path, "trace")) ? readFileSync(join(path, "trace"), "utf8").trimEnd().replaceAll("\n", ", ") : "";

test("doctor and validate --online find programs that are missing or cannot be run", async () => {
  using place = playground({
    config: withHooks(
      "before: [{ run: [./there] }, { run: [./not-executable] }], after: [{ run: [sh, -c, ls] }, { run: [no-such-program] }]",
    ),
  });
  place.write("there", "#!/bin/sh\n", 0o755);
  place.write("not-executable", "#!/bin/sh\n", 0o644);
  for (const command of [["doctor"], ["validate", "--online"]]) {
    const { code, out } = await place.run(...command);
    expect(code).toBe(1);
    expect(out).toContain(`hook jobs.docs.hooks.before[0]: ${place.path}/there can be run`);
    expect(out).toContain(
      `FAILED   hook jobs.docs.hooks.before[1]: ${place.path}/not-executable is not a program that can be run`,
    );
    expect(out).toMatch(/ok {7}hook jobs\.docs\.hooks\.after\[0\]: \/.*sh can be run/);
    expect(out).toContain("FAILED   hook jobs.docs.hooks.after[1]: no-such-program is not a program that can be run");
  }
});

test("a `before` hook that fails ends the backup with its reason, and the log has all it said", async () => {
  using place = playground({
    config: withHooks(
      `before: [{ run: [sh, -c, "echo on it; echo disk is busy >&2; exit 32"] }], after: [{ run: [sh, -c, '${SAY}'] }]`,
    ),
  });
  // Without a schedule it backs nothing up.
  expect(await place.run("apply", "-q")).toMatchObject({ code: 0 });
  const { code, err, out } = await place.run("backup", "docs");
  expect(code).toBe(1);
  expect(out).toBe("");
  expect(err).toContain("error: The hook jobs.docs.hooks.before[0] (sh) failed: it exited with 32: disk is busy\n");
  expect(trace(place)).toBe("after failed");
  const { logs } = (await place.json("logs")) as { logs: { level: string; text: string }[] };
  expect(logs).toContainEqual(expect.objectContaining({ level: "info", text: "jobs.docs.hooks.before[0]: on it" }));
  expect(logs).toContainEqual(expect.objectContaining({ level: "warn", text: "jobs.docs.hooks.before[0]: disk is busy" }));
  expect((await place.json("runs"))["runs"]).toMatchObject([{ error: { code: "hook_failed" } }]);
});

test("Ctrl-C ends a hook that hangs, runs what is owed, and ends with 130", async () => {
  using place = playground({
    config: withHooks(`before: [{ run: [sh, -c, "echo it hangs; exec sleep 600"] }], after: [{ run: [sh, -c, '${SAY}'] }]`),
  });
  expect(await place.run("backup", "docs", "--dry-run")).toMatchObject({ code: 10 });
  expect(trace(place)).toBe("");
  const backup = place.start("backup", "docs", "-v");
  await backup.says("it hangs");
  backup.child.kill("SIGINT");
  expect((await backup.ended()).code).toBe(130);
  expect(trace(place)).toBe("after cancelled");
});

test("a daemon that is stopped at once runs what its backups owe", async () => {
  using place = playground({
    config: withHooks(
      `before: [{ run: [sh, -c, "echo it hangs; exec sleep 600"] }], after: [{ run: [sh, -c, '${SAY}'] }]`,
      ", schedule: { every: 1h }",
    ),
  });
  const daemon = place.start("daemon");
  await daemon.says("it hangs");
  daemon.child.kill("SIGTERM");
  await daemon.says("stopping");
  // Another signal, because the same one within 200 ms counts once.
  daemon.child.kill("SIGINT");
  expect((await daemon.ended()).code).toBe(0);
  expect(trace(place)).toBe("after cancelled");
  expect((await place.json("runs"))["runs"]).toMatchObject([{ status: "cancelled" }]);
});

test("an owed hook that hangs holds up only its own job, and no stop; what was ended with the daemon is owed still", async () => {
  using place = playground({
    config: withHooks(
      `before: [{ run: [sh, -c, "[ -e kill ] && kill -9 $PPID || true"] }], after: [{ run: [sh, -c, 'if [ "$HOLDFAST_STATUS" = interrupted ]; then ${SAY}; exec sleep 600; fi'] }]`,
      ", schedule: { every: 1h } }\n  other: { sources: [docs], targets: [disk], schedule: { every: 1h }",
    ),
  });
  place.write("kill", "");
  await place.run("backup", "docs");
  place.remove("kill");
  for (const times of [1, 2]) {
    const daemon = place.start("daemon");
    await daemon.says("is made up for");
    if (times === 1) await daemon.says("snapshot");
    daemon.child.kill("SIGTERM");
    await daemon.says("stopping");
    daemon.child.kill("SIGINT");
    expect((await daemon.ended()).code).toBe(0);
    expect(trace(place)).toBe(Array(times).fill("after interrupted").join(", "));
  }
  const { snapshots } = (await place.json("snapshots")) as { snapshots: { job: string }[] };
  expect(snapshots.map(({ job }) => job)).toEqual(["other"]);
});
