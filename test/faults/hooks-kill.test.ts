import { type ChildProcess } from "node:child_process";
import { randomInt } from "node:crypto";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { SeededNumbers } from "../support/changing-tree.ts";
import { CONFIG, playground, type Playground, type Running } from "../e2e/cli-runner.ts";

// SIGKILL of the real program in the middle of its hooks, and the next start: whatever began to be held back is let go, once.

/**
 * Writes what it is to `trace`, and hangs while there is a file that says so: `hang-before-docs`. A process that hangs writes its id
 * to `hanging`.
 */
const HOOK = `#!/bin/sh
what="$HOLDFAST_HOOK-\${HOLDFAST_SOURCE:-job}"
echo "$what $HOLDFAST_STATUS $HOLDFAST_RUN" >>trace
if [ -e "hang-$what" ]; then echo $$ >hanging.new; mv hanging.new hanging; exec sleep 600; fi
if [ -e slow ]; then sleep 0.1; fi
echo "$what done $HOLDFAST_RUN" >>trace
`;
const READ = `#!/bin/sh
echo "reading" >>trace
if [ -e hang-reading ]; then echo $$ >hanging.new; mv hanging.new hanging; exec sleep 600; fi
echo data
`;
const seed = process.env["HOLDFAST_SEED"] ?? String(randomInt(1_000_000));
const HOOKS = "hooks: { before: [{ run: [./hook] }], after: [{ run: [./hook] }], onSuccess: [{ run: [./hook] }] }";
const WITH_HOOKS = CONFIG.replace(
  'docs: { type: files, paths: [./data], exclude: ["*.tmp"] }',
  `docs: { type: command, command: [./read], filename: x, ${HOOKS} }`,
).replace("docs: { sources: [docs], targets: [disk] }", `docs: { sources: [docs], targets: [disk], ${HOOKS} }`);

let at: Playground;
beforeAll(async () => {
  at = playground({ config: WITH_HOOKS });
  at.write("hook", HOOK, 0o755);
  at.write("read", READ, 0o755);
  expect(await at.run("apply", "-q")).toMatchObject({ code: 0 });
});
afterAll(() => at[Symbol.dispose]());
beforeEach(() => at.remove("trace"));

const file = (name: string): string => join(at.path, name);
const lines = (): string[] => (existsSync(file("trace")) ? readFileSync(file("trace"), "utf8").trimEnd().split("\n") : []);
/** What began. */
const trace = (): string[] => lines().filter((line) => !line.includes(" done "));
/** Without the ids of runs. */
const steps = (): string[] => trace().map((line) => line.replace(/ [0-9a-f]{32}$/, ""));

/** The first column of the first row. */
function stored(sql: string, ...values: string[]): unknown {
  using state = new DatabaseSync(file("state/state.db"), { readOnly: true });
  return Object.values(state.prepare(sql).get(...values) ?? {})[0];
}
const owed = (): unknown => stored("SELECT count(*) FROM owed_hooks");

/** Runs a backup until it hangs at `where`, and kills it. Returns the process that it leaves behind, and the run. */
async function killedAt(where: string): Promise<{ readonly left: number; readonly run: string }> {
  at.write(`hang-${where}`, "");
  const backup = at.start("backup", "docs");
  const left = await hanging(where !== "reading");
  await kill(backup);
  at.remove(`hang-${where}`);
  expect(isAlive(left)).toBe(true);
  return { left, run: trace()[0]?.split(" ").at(-1) as string };
}

/** The process that hangs, once the program has written down that it is there; a source's program never is. */
async function hanging(isHook: boolean): Promise<number> {
  return await vi.waitFor(
    () => {
      const pid = Number(readFileSync(file("hanging"), "utf8"));
      const sql = "SELECT count(*) FROM owed_hooks WHERE json_extract(running, '$.pid') = CAST(? AS INTEGER)";
      if (isHook) expect(stored(sql, String(pid))).not.toBe(0);
      rmSync(file("hanging"));
      return pid;
    },
    { timeout: 120_000, interval: 20 },
  );
}

async function kill(running: Running): Promise<void> {
  (running.child as ChildProcess).kill("SIGKILL");
  await running.ended();
}

function isAlive(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`).length > 0;
  } catch {
    return false;
  }
}

const WHOLE = [
  "before-job running",
  "before-docs running",
  "reading",
  "after-docs read",
  "onSuccess-docs success",
  "onSuccess-job success",
  "after-job success",
];

const CASES = [
  { where: "before-job", next: ["backup", "docs"], before: ["before-job running"], owed: ["after-job interrupted"] },
  {
    where: "before-docs",
    next: ["apply"],
    before: ["before-job running", "before-docs running"],
    owed: ["after-docs interrupted", "after-job interrupted"],
  },
  {
    where: "reading",
    next: ["daemon"],
    before: ["before-job running", "before-docs running", "reading"],
    owed: ["after-docs interrupted", "after-job interrupted"],
  },
  // One during which the process died may have done its work or not: it runs again.
  {
    where: "after-docs",
    next: ["backup", "docs"],
    before: ["before-job running", "before-docs running", "reading", "after-docs read"],
    owed: ["after-docs interrupted", "after-job interrupted"],
  },
  { where: "onSuccess-job", next: ["backup", "docs"], before: WHOLE.slice(0, 6), owed: ["after-job interrupted"] },
  { where: "after-job", next: ["apply"], before: WHOLE, owed: ["after-job interrupted"] },
] as const;

describe.skipIf(process.platform !== "linux")("hooks and SIGKILL", () => {
  test.each(CASES)("killed in $where: what is owed runs at the next $next, before anything else, and once", async (one) => {
    const { left, run } = await killedAt(one.where);
    // The source's `after` runs beside the commit.
    expect(steps()).toEqual(one.before);
    const daemon = one.next[0] === "daemon" ? at.start("daemon") : undefined;
    if (daemon === undefined) expect(await at.run(...one.next)).toMatchObject({ code: 0 });
    else {
      await vi.waitFor(() => expect(steps()).toContain(one.owed.at(-1)), { timeout: 120_000, interval: 20 });
      daemon.child.kill("SIGTERM");
      expect((await daemon.ended()).code).toBe(0);
    }
    const made = trace().slice(one.before.length, one.before.length + one.owed.length);
    expect(made).toEqual(one.owed.map((step) => `${step} ${run}`));
    expect(steps().filter((step) => step.endsWith("interrupted"))).toEqual(one.owed);
    if (one.next[0] === "backup") expect(steps().slice(one.before.length + one.owed.length)).toEqual(WHOLE);
    // A hook that was left running has been ended; the program of a source has not.
    if (one.where === "reading") process.kill(left, "SIGKILL");
    else expect(isAlive(left)).toBe(false);
    expect(stored("SELECT status FROM runs WHERE id = ?", run)).toBe("interrupted");
    for (const step of one.owed) {
      const text = `${step.startsWith("after-job") ? "jobs" : "sources"}.docs.hooks.after[0] is made up for%`;
      expect(stored("SELECT count(*) FROM run_logs WHERE run = ? AND text LIKE ?", run, text)).toBe(1);
    }
    expect(owed()).toBe(0);
  });

  test("killed again while it makes up for them: the next one does, and two at once do it once", async () => {
    const { run } = await killedAt("before-docs");
    at.write("hang-after-docs", "");
    const second = at.start("apply");
    const left = await hanging(true);
    await kill(second);
    at.remove("hang-after-docs");
    at.remove("trace");
    const both = await Promise.all([at.run("apply"), at.run("apply"), at.run("backup", "docs")]);
    expect(both.map(({ code }) => code)).toEqual([0, 0, 0]);
    expect(isAlive(left)).toBe(false);
    expect(trace().slice(0, 2)).toEqual([`after-docs interrupted ${run}`, `after-job interrupted ${run}`]);
    expect(steps().filter((step) => step.endsWith("interrupted"))).toHaveLength(2);
    expect(steps().slice(2)).toEqual(WHOLE);
  });

  // `HOLDFAST_HOOK_KILLS=100` is the long form.
  test(`killed at random moments, seed ${seed}: whatever began is followed by its \`after\`, to its end`, async () => {
    const numbers = new SeededNumbers(`hooks ${seed}`);
    at.write("slow", "");
    const kills = Number(process.env["HOLDFAST_HOOK_KILLS"] ?? 4);
    for (let i = 0; i < kills; i++) {
      const backup = at.start("backup", "docs");
      const began = lines().length;
      // Where in the whole of it, counted in lines, and then a little later.
      const after = 1 + numbers.below(12);
      await vi.waitFor(() => expect(lines().length - began).toBeGreaterThanOrEqual(after), { timeout: 120_000, interval: 1 });
      await sleep(numbers.below(100));
      await kill(backup);
    }
    expect(await at.run("backup", "docs")).toMatchObject({ code: 0 });
    const all = lines();
    const started = all.filter((line) => line.startsWith("before-") && line.includes(" running "));
    expect(started.length).toBeGreaterThan(kills);
    for (const line of started) {
      const [what = "", , run = ""] = line.split(" ");
      const owner = what.replace("before-", "");
      const ended = all.findLastIndex((one) => one === `after-${owner} done ${run}`);
      expect([line, ended > all.indexOf(line)]).toEqual([line, true]);
      // Nothing of that run comes later.
      const rest = owner === "job" ? all.slice(ended + 1).filter((one) => one.endsWith(run)) : [];
      expect([line, rest]).toEqual([line, []]);
    }
    expect(owed()).toBe(0);
  });
});
