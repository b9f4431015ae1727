import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  openSync,
  writeSync,
  closeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { asRepositoryId, asRunId } from "../../src/base/ids.ts";
import { isProvablyDead, processIdentity } from "../../src/state/process-identity.ts";
import { openState } from "../../src/state/state.ts";
import type { State } from "../../src/state/state.ts";

let folder: string;
let directory: string;
const opened: State[] = [];
const open = (...more: Parameters<typeof openState> extends [string, ...infer Rest] ? Rest : never): State => {
  const state = openState(directory, ...more);
  opened.push(state);
  return state;
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-state-"));
  directory = join(folder, "state");
});
afterEach(() => {
  for (const state of opened.splice(0)) state.close();
  rmSync(folder, { recursive: true });
});

const id = (n: number): ReturnType<typeof asRunId> => asRunId(String(n).padStart(32, "0"));
const start = (state: State, n: number, startedMs = n, subject = "documents"): void =>
  state.startRun({ id: id(n), kind: "backup", subject, startedMs });

describe("runs", () => {
  it("are found by everything one asks for, newest first, after a restart", () => {
    const state = open();
    start(state, 1, 1000);
    start(state, 2, 2000, "databases");
    state.endRun(id(1), { status: "success", endedMs: 1500, statistics: { newBytes: 7 } });
    state.endRun(id(2), {
      status: "failed",
      endedMs: 2500,
      error: { code: "target_full", message: "disk is full", transient: false },
    });
    state.skipRun({ id: id(3), kind: "backup", subject: "documents", reason: "still going", timeMs: 3000 });
    state.close();
    const again = open();
    expect(again.runs().map((run) => run.id)).toEqual([id(3), id(2), id(1)]);
    expect(again.runs({ job: "documents", status: "success" })).toMatchObject([
      { id: id(1), statistics: { newBytes: 7 }, endedMs: 1500 },
    ]);
    expect(again.runs({ since: 2000, until: 3000 })).toMatchObject([{ status: "failed", error: { code: "target_full" } }]);
    expect(again.runs({ limit: 1 })).toMatchObject([
      { status: "skipped", reason: "still going", startedMs: 3000, endedMs: 3000 },
    ]);
    expect(again.runs({ kind: "verify" })).toEqual([]);
    expect(again.run("0000")).toBeUndefined();
    expect(again.run(id(2))?.subject).toBe("databases");
  });

  it("keep their first end", () => {
    const state = open();
    start(state, 1);
    state.endRun(id(1), { status: "cancelled", endedMs: 5 });
    state.endRun(id(1), { status: "success", endedMs: 6 });
    expect(state.run(id(1))).toMatchObject({ status: "cancelled", endedMs: 5 });
  });

  it("come in pages, also when many began at once and one was forgotten meanwhile", () => {
    const state = open();
    for (let n = 1; n <= 9; n++) start(state, n, n < 4 ? 1 : n < 8 ? 2 : 3);
    const all = state.runs();
    const after = (n: number): string[] => state.runs({ after: all[n]! }).map((run) => run.id);
    for (const [n] of all.entries()) expect(after(n)).toEqual(all.slice(n + 1).map((run) => run.id));
    expect(state.runs({ after: all[2]!, limit: 2, kind: "backup" })).toEqual(all.slice(3, 5));
    state.endRun(all[3]!.id, { status: "success", endedMs: 5 });
    state.forgetRuns(6);
    expect(after(3).every((run) => all.slice(4).some(({ id: one }) => one === run))).toBe(true);
  });

  it("are forgotten with their logs, unfinished ones never", () => {
    const state = open();
    start(state, 1);
    start(state, 2);
    state.log(id(1), "info", "one", 1);
    state.log(id(2), "info", "two", 1);
    state.endRun(id(1), { status: "success", endedMs: 10 });
    expect(state.forgetRuns(11)).toBe(1);
    expect(state.logs(undefined)).toMatchObject([{ text: "two" }]);
    expect(state.runs()).toHaveLength(1);
  });

  it("of a process that was killed become interrupted; those of a living one stay", async () => {
    const script = `
      import { openState } from ${JSON.stringify(new URL("../../src/state/state.ts", import.meta.url).href)};
      const state = openState(${JSON.stringify(directory)});
      state.startRun({ id: ${JSON.stringify(id(1))}, kind: "backup", subject: "documents", startedMs: 1 });
      process.stdout.write("started");
      setInterval(() => state, 1000);`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout, "data");
    start(open(), 2);
    expect(open().runs({ status: "interrupted" })).toEqual([]);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(open({ now: () => 99 }).runs()).toMatchObject([
      { id: id(2), status: undefined },
      { id: id(1), status: "interrupted", endedMs: 99 },
    ]);
  });

  it("of another boot become interrupted, of another container only for the sole owner", () => {
    start(open(), 1);
    start(open(), 2);
    const raw = new DatabaseSync(join(directory, "state.db"));
    raw.prepare("UPDATE runs SET boot_id = 'another boot' WHERE id = ?").run(id(1));
    raw.prepare("UPDATE runs SET pid_namespace = 'pid:[1]' WHERE id = ?").run(id(2));
    raw.close();
    expect(
      open()
        .runs({ status: "interrupted" })
        .map((run) => run.id),
    ).toEqual([id(1)]);
    expect(open({ soleOwner: true }).runs({ status: "interrupted" })).toHaveLength(2);
  });
});

describe("logs", () => {
  it("come oldest first, by time and pattern, and the newest when there are too many", () => {
    const state = open();
    start(state, 1);
    for (let n = 0; n < 10; n++) state.log(id(1), n % 2 ? "warn" : "info", `line ${n}`, n);
    expect(state.logs(id(1)).map((line) => line.timeMs)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(state.logs(id(1), { since: 3, until: 5 }).map((line) => line.text)).toEqual(["line 3", "line 4"]);
    expect(state.logs(id(1), { grep: /[89]$/g, limit: 2 }).map((line) => line.text)).toEqual(["line 8", "line 9"]);
    expect(state.logs(undefined, { limit: 1 })).toEqual([{ run: id(1), timeMs: 9, level: "warn", text: "line 9" }]);
    expect(state.logs(id(2))).toEqual([]);
    expect(state.logs(id(1), { levels: ["warn"], limit: 1 }).map((line) => line.text)).toEqual(["line 9"]);
    expect(state.logs(id(1), { levels: ["error"] })).toEqual([]);
  });
});

describe("pins, configurations, approvals and pauses", () => {
  it("are kept, replaced and removed", () => {
    const state = open();
    const pin = {
      target: "disk",
      location: "local:/backups",
      repository: asRepositoryId("ab".repeat(16)),
      keyring: "f00d",
      generation: 1,
    };
    state.setPin(pin, 1);
    state.setPin({ ...pin, generation: 2 }, 2);
    expect(state.pin("disk", "local:/backups")).toEqual({ ...pin, generation: 2 });
    expect(state.pin("disk", "local:/elsewhere")).toBeUndefined();
    state.removePin("disk", "local:/backups");
    expect(state.pin("disk", "local:/backups")).toBeUndefined();

    expect(state.acceptedConfig()).toBeUndefined();
    const targets = [{ name: "disk", location: "local:/backups", encryption: "main", acceptedMs: 1 }];
    for (let n = 0; n < 30; n++) state.acceptConfig({ digest: `d${n}`, timeMs: n, text: `text ${n}`, targets });
    state.acceptConfig({ digest: "d29", timeMs: 99, text: "the same", targets });
    expect(state.acceptedConfig()).toEqual({ digest: "d29", timeMs: 29, text: "text 29", targets });

    state.setPendingApproval({ plan: "abc", sinceMs: 1, text: "first" });
    state.setPendingApproval({ plan: "abc", sinceMs: 5, text: "seen again" });
    expect(state.pendingApprovals()).toEqual([{ plan: "abc", sinceMs: 1, text: "seen again" }]);
    state.setPendingApproval({ plan: "def", sinceMs: 6, text: "another" });
    expect(state.pendingApprovals().map(({ plan }) => plan)).toEqual(["def"]);
    state.setPendingApproval(undefined);
    expect(state.pendingApprovals()).toEqual([]);

    state.setPaused("documents", true, 1);
    expect(open().pausedJobs()).toEqual(new Set(["documents"]));
    state.setPaused("documents", false, 2);
    expect(state.pausedJobs().size).toBe(0);
  });
});

describe("the database", () => {
  it("is private, and durable at each write", () => {
    open();
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(statSync(join(directory, "state.db")).mode & 0o777).toBe(0o600);
  });

  it.each<[string, (path: string) => void]>([
    ["is no database", (path) => writeFileSync(path, "this is a text, and long enough to be read as a header of something else")],
    ["lost its end", (path) => truncateSync(path, 6000)],
    [
      "has a page of noise",
      (path) => {
        const file = openSync(path, "r+");
        writeSync(file, Buffer.alloc(8192, 0xa5), 0, 8192, 4096);
        closeSync(file);
      },
    ],
  ])("that %s is moved aside, loudly, and begun anew", (_, damage) => {
    const state = open();
    start(state, 1);
    state.close();
    damage(join(directory, "state.db"));
    const warnings: string[] = [];
    const again = open({ onWarning: (message) => warnings.push(message), now: () => 0 });
    expect(again.runs()).toEqual([]);
    start(again, 2);
    expect(warnings).toEqual([expect.stringContaining("state.db.damaged-1970-01-01T000000.000Z")]);
    expect(existsSync(join(directory, "state.db.damaged-1970-01-01T000000.000Z"))).toBe(true);
  });

  it("says so when a text in a record is damaged, which no check of the database sees", () => {
    const state = open();
    state.startRun({ id: asRunId("0a".repeat(16)), kind: "backup", subject: "docs", targets: ["disk"], startedMs: 1 });
    state.acceptConfig({ digest: "d", timeMs: 1, text: "version: 1", targets: [] });
    state.close();
    for (const text of ['["dis', "null", "7", ""]) {
      using database = new DatabaseSync(join(directory, "state.db"));
      database.prepare("UPDATE runs SET targets = ?").run(text);
      database.prepare("UPDATE configs SET targets = ?").run(text);
      const damaged = open();
      for (const read of [() => damaged.runs(), () => damaged.acceptedConfig()])
        expect(read).toThrow(expect.objectContaining({ code: "state_unusable", message: expect.stringContaining("targets") }));
      damaged.close();
    }
  });

  it("may be deleted at any time", () => {
    const state = open();
    start(state, 1);
    state.close();
    for (const name of readdirSync(directory)) rmSync(join(directory, name));
    expect(open().runs()).toEqual([]);
  });

  it("of a newer version is refused and left alone", () => {
    open().close();
    const raw = new DatabaseSync(join(directory, "state.db"));
    raw.exec("INSERT INTO schema (version) VALUES (99)");
    raw.close();
    expect(() => open()).toThrow(
      expect.objectContaining({ code: "state_unusable", message: expect.stringContaining("version 99") }),
    );
    expect(readdirSync(directory)).toEqual(["state.db"]);
  });

  it("in a place that is no folder is unusable", () => {
    writeFileSync(directory, "");
    expect(() => open()).toThrow(expect.objectContaining({ code: "state_unusable", hint: expect.stringContaining("stateDir") }));
  });
});

describe("process identity", () => {
  it("proves death only of what is certainly dead", async () => {
    const here = processIdentity();
    expect(isProvablyDead(here)).toBe(false);
    expect(isProvablyDead({ ...here, processStart: "1" })).toBe(true);
    const child = spawn("true");
    const { pid } = child;
    await once(child, "exit");
    const dead = { ...here, pid: pid as number, processStart: "1" };
    expect(isProvablyDead(dead)).toBe(true);
    // The same pid in another container, on another machine, before a reboot, or unknown: no proof.
    expect(isProvablyDead({ ...dead, pidNamespace: "pid:[1]" })).toBe(false);
    expect(isProvablyDead({ ...dead, bootId: "another" })).toBe(false);
    expect(isProvablyDead({ ...dead, bootId: "" })).toBe(false);
    expect(isProvablyDead({ ...dead, processStart: "" })).toBe(false);
    expect(isProvablyDead({ ...dead, pid: 0 })).toBe(false);
  });

  it("takes a zombie as dead: nobody in a container may ever wait for it", async () => {
    // The shell becomes a program that waits for nobody.
    const parent = spawn("sh", ["-c", "sh -c 'cat /proc/$$/stat' & exec sleep 600"], { stdio: ["ignore", "pipe", "ignore"] });
    try {
      const [line] = (await once(parent.stdout, "data")) as [Buffer];
      const pid = Number(line.toString().split(" ")[0]);
      const processStart = line.toString().split(" ")[21] as string;
      while (!readFileSync(`/proc/${pid}/stat`, "latin1").includes(") Z ")) await setImmediate();
      expect(isProvablyDead({ ...processIdentity(), pid, processStart })).toBe(true);
    } finally {
      parent.kill();
    }
  });
});
