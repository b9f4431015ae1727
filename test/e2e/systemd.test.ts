/** Under systemd, as far as it can be had without one: its notify socket, what the unit takes away, what systemd says of the units. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { notifyReceiver } from "../support/notify-receiver.ts";
import { temporaryTree } from "../support/tree-literal.ts";
import { CONFIG, playground } from "./cli-runner.ts";

const PROGRAM = resolve("bin/holdfast");
const has = (program: string, ...args: string[]): boolean => spawnSync(program, args).status === 0;

test("the daemon tells its service manager when it is ready, reads its file anew, is alive, and stops", async () => {
  using place = playground({ config: CONFIG.replace("targets: [disk] }", "targets: [disk], schedule: { every: 1h } }") });
  const socket = join(place.path, "notify");
  using receiver = notifyReceiver(socket);
  const daemon = spawn(PROGRAM, ["daemon"], {
    cwd: place.path,
    env: { PATH: process.env["PATH"], HOME: place.path, NOTIFY_SOCKET: socket, WATCHDOG_USEC: "400000" },
    stdio: "ignore",
  });
  const ended = once(daemon, "exit");
  try {
    await receiver.receives("READY=1");
    await receiver.receives("STATUS=Idle; next: docs at 20");
    const from = receiver.messages.length;
    daemon.kill("SIGHUP");
    await receiver.receives("RELOADING=1\nMONOTONIC_USEC=", from);
    await receiver.receives("READY=1", from + 1);
    await receiver.receives("WATCHDOG=1", from);
  } finally {
    daemon.kill("SIGTERM");
  }
  expect(await ended).toEqual([0, null]);
  expect(receiver.messages.at(-1)).toContain("STOPPING=1");
});

const ROOT = process.getuid?.() === 0;

test.runIf(ROOT && has("setpriv", "--version"))("with nothing but the right to read everything, a backup is whole", async () => {
  using place = playground();
  const secret = join(place.path, "data/secret");
  writeFileSync(secret, "theirs");
  chownSync(secret, 12_345, 12_345);
  chmodSync(secret, 0);
  mkdirSync(join(place.path, "data/closed"));
  writeFileSync(join(place.path, "data/closed/file"), "theirs too");
  for (const path of ["data/closed/file", "data/closed"]) {
    chownSync(join(place.path, path), 12_345, 12_345);
    chmodSync(join(place.path, path), 0);
  }
  expect(await place.run("apply")).toMatchObject({ code: 0 });
  const bounded = ["--bounding-set", "-all,+dac_read_search", "--inh-caps", "-all", "--no-new-privs"];
  const backup = spawnSync("setpriv", [...bounded, PROGRAM, "backup", "docs"], { cwd: place.path, encoding: "utf8" });
  expect(backup).toMatchObject({ status: 0 });
  expect((await place.run("dump", `latest:${secret}`)).out).toBe("theirs");
});

test.runIf(has("systemd-analyze", "--version"))("systemd finds nothing wrong with the units, and little to attack", () => {
  using folder = temporaryTree({ plain: {}, restore: { "holdfast.service.d": {} } });
  const exposure = (path: string, unit: string): number => {
    const { stdout } = spawnSync("systemd-analyze", ["security", "--offline=true", unit], {
      encoding: "utf8",
      env: { ...process.env, SYSTEMD_UNIT_PATH: `${path}:` },
    });
    return Number(/exposure level for \S+ ([\d.]+)/.exec(stdout)?.[1]);
  };
  for (const kind of ["plain", "restore"]) {
    const path = join(folder.path, kind);
    for (const unit of ["holdfast.service", "holdfast-apply.service"])
      writeFileSync(join(path, unit), readFileSync(`systemd/${unit}`, "utf8").replace("/opt/holdfast/bin/holdfast", PROGRAM));
    copyFileSync("systemd/holdfast-apply.timer", join(path, "holdfast-apply.timer"));
    if (kind === "restore")
      copyFileSync("systemd/holdfast.service.d/restore.conf", join(path, "holdfast.service.d/restore.conf"));
    for (const unit of ["holdfast.service", "holdfast-apply.service", "holdfast-apply.timer"])
      execFileSync("systemd-analyze", ["verify", join(path, unit)], { env: { ...process.env, SYSTEMD_UNIT_PATH: `${path}:` } });
  }
  expect(exposure(join(folder.path, "plain"), "holdfast.service")).toBeLessThanOrEqual(2.5);
  expect(exposure(join(folder.path, "plain"), "holdfast-apply.service")).toBeLessThanOrEqual(2.5);
  expect(exposure(join(folder.path, "restore"), "holdfast.service")).toBeLessThanOrEqual(3.2);
});
