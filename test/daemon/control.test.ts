/** A daemon that is asked for something while it works: its control, without a socket. */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import type { RunEvent } from "../../src/base/events.ts";
import { systemRandom } from "../../src/codec/system-random.ts";
import type { AttachedHooks, DaemonControl } from "../../src/daemon/daemon-control.ts";
import { runDaemon } from "../../src/daemon/daemon.ts";
import type { DaemonReading } from "../../src/daemon/reloader.ts";
import { readConfigFile } from "../../src/engine/config-file.ts";
import { openState, type State } from "../../src/state/state.ts";
import { createSystemClock } from "../../src/state/system-clock.ts";
import type { Log } from "../../src/telemetry/log.ts";
import { temporaryTree } from "../support/tree-literal.ts";

interface Running extends AsyncDisposable {
  readonly path: string;
  readonly state: State;
  readonly control: DaemonControl;
  readonly lines: string[];
  /** Resolves when a line that has `text` was logged after the first `from` lines. */
  says(text: string, from?: number): Promise<void>;
  /** Lets the slow source end. */
  go(): void;
  stop(): Promise<void>;
}

const WAITS = (folder: string): string =>
  `{ type: command, command: [sh, -c, "while ! [ -e ${folder}/go ]; do sleep 0.05; done; echo done"], filename: x }`;

/** A daemon at work in this process. `slow` runs until `go`. */
async function running(
  jobs: Readonly<Record<string, string>>,
  {
    before = () => undefined,
    extra = "",
    refuse,
  }: {
    readonly before?: (state: State) => void;
    readonly extra?: string;
    /** Why it cannot be served. */
    readonly refuse?: HoldfastError;
  } = {},
): Promise<Running> {
  const folder = temporaryTree({ data: { a: "a" } });
  const path = join(folder.path, "holdfast.yaml");
  writeFileSync(
    path,
    `version: 1
host: tester
daemon: { stateDir: ./state, cacheDir: ./cache, timezone: UTC, shutdownGrace: 1s${extra} }
encryption: { main: { keyFile: ./key, generate: true } }
sources:
  docs: { type: files, paths: [./data] }
  slow: ${WAITS(folder.path)}
targets:
  disk: { type: local, path: ./repository, encryption: main }
retention: { few: { keepLast: 1 } }
jobs:
${Object.entries(jobs)
  .map(([name, rest]) => `  ${name}: { targets: [disk], ${rest} }`)
  .join("\n")}
`,
  );
  const clock = createSystemClock();
  const lines: string[] = [];
  const watchers = new Set<() => void>();
  const at =
    (level: string): Log["info"] =>
    (line, fields = {}) => {
      lines.push(`${level} ${line} ${JSON.stringify(fields)}`);
      for (const look of watchers) look();
    };
  const log: Log = { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
  const read = async (): Promise<DaemonReading> => {
    const { config, ...reading } = readConfigFile(
      path,
      { env: {}, cwd: folder.path, hostName: "tester", home: folder.path, isRoot: false, timezone: "UTC" },
      false,
    );
    const surroundings = {
      env: {},
      credentialsDirectory: undefined,
      clock,
      random: systemRandom,
      toolVersion: "0.0.0",
      configText: "",
      gitCommit: undefined,
    };
    return { ...reading, valid: config && { config, surroundings } };
  };
  const state = openState(join(folder.path, "state"));
  before(state);
  const stop = new AbortController();
  const served = Promise.withResolvers<DaemonControl>();
  const { valid, watched, problems } = await read();
  if (valid === undefined) throw new Error(JSON.stringify(problems));
  const ended = runDaemon({
    ...valid,
    watched,
    state,
    log,
    read,
    signal: stop.signal,
    serve: async (control) => {
      served.resolve(control);
      if (refuse !== undefined) throw refuse;
      return { [Symbol.asyncDispose]: async () => undefined };
    },
  });
  ended.catch(served.reject);
  const control = await served.promise;
  const end = async (): Promise<void> => {
    stop.abort();
    await ended;
  };
  return {
    path: folder.path,
    state,
    control,
    lines,
    says: (wanted, from = 0) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!lines.slice(from).some((line) => line.includes(wanted))) return;
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        void ended.then(() => reject(new Error(`it ended without ${wanted}:\n${lines.join("\n")}`)), reject);
        look();
      }),
    go: () => writeFileSync(join(folder.path, "go"), ""),
    stop: end,
    [Symbol.asyncDispose]: async () => {
      await end();
      state[Symbol.dispose]();
      folder[Symbol.dispose]();
    },
  };
}

interface Hooks extends AttachedHooks {
  readonly told: string[];
  readonly abort: AbortController;
}

function hooks(onEvent: (event: RunEvent) => void = () => undefined): Hooks {
  const abort = new AbortController();
  const told: string[] = [];
  return {
    told,
    abort,
    signal: abort.signal,
    onNotice: (text) => told.push(`notice ${text}`),
    onWarning: (text) => told.push(`warning ${text}`),
    onPart: (part) => told.push(`part ${part.part}`),
    onEvent: (event) => {
      if (event.type !== "progress") told.push(event.type);
      onEvent(event);
    },
  };
}

const SLOW = { slow: "sources: [slow]" };
const DOCS = { docs: "sources: [docs]" };

test("a run that is asked for is done, followed, and remembered only until it begins", async () => {
  await using daemon = await running({ ...DOCS, ...SLOW });
  const own = hooks();
  const outcome = await daemon.control.followRun("docs", "full", own);
  expect(outcome).toMatchObject({ status: "success", result: { outcomes: [{ source: "docs" }] } });
  // On a busy machine the daemon may still be looking at its targets.
  expect(own.told.filter((line) => !line.startsWith("notice waiting until"))).toEqual(["started", "snapshot", "ended"]);
  expect(daemon.state.runs({ job: "docs" })).toMatchObject([{ status: "success", reason: "asked for" }]);
  expect(daemon.state.runRequests()).toEqual([]);
  const started = Promise.withResolvers<void>();
  const slow = daemon.control.followRun(
    "slow",
    undefined,
    hooks(({ type }) => type === "started" && started.resolve()),
  );
  expect(daemon.state.runRequests()).toMatchObject([{ job: "slow", mode: undefined }]);
  expect(() => daemon.control.requestRun("slow", undefined)).toThrow(/already asked for/);
  await started.promise;
  expect(daemon.state.runRequests()).toEqual([]);
  expect(() => daemon.control.requestRun("slow", undefined)).toThrow(/already running/);
  expect(() => daemon.control.requestRun("other", undefined)).toThrow(/no job other/);
  daemon.go();
  expect(await slow).toMatchObject({ status: "success" });
});

test("a run that was asked for before the daemon died is done at the next start; one of a job that is gone is not", async () => {
  await using daemon = await running(DOCS, {
    before: (state) => {
      state.addRunRequest({ job: "docs", mode: "full", askedMs: 1 });
      state.addRunRequest({ job: "gone", mode: undefined, askedMs: 2 });
    },
  });
  await daemon.says("run ended: success");
  await daemon.says("the run of gone that was asked for is not begun");
  expect(daemon.state.runs({ kind: "backup" })).toMatchObject([{ subject: "docs", reason: "asked for", status: "success" }]);
  expect(daemon.state.runRequests()).toEqual([]);
});

test("a run that waits when the daemon stops is kept for the next start", async () => {
  await using daemon = await running({ ...SLOW, ...DOCS }, { extra: ", maxConcurrentJobs: 1" });
  daemon.control.requestRun("slow", undefined);
  await daemon.says("backup of slow started");
  const followed = daemon.control.followRun("docs", "full", hooks());
  const judged = expect(followed).rejects.toMatchObject({ code: "state_busy", hint: expect.stringMatching(/started again/) });
  expect(daemon.control.status()).toMatchObject({
    running: [{ kind: "backup", subject: "slow" }],
    waiting: [{ kind: "backup", subject: "docs" }],
    jobs: [{ job: "slow" }, { job: "docs", askedMs: expect.any(Number) }],
  });
  await daemon.stop();
  await judged;
  expect(daemon.state.runRequests()).toMatchObject([{ job: "docs", mode: "full" }]);
  expect(daemon.state.runs({ job: "slow" })).toMatchObject([{ status: "cancelled" }]);
  expect(() => daemon.control.requestRun("slow", undefined)).toThrow(/stopping/);
});

test("a paused job is not started until it is resumed, and then at once", async () => {
  const hourly = { docs: "sources: [docs], schedule: { every: 1h }" };
  await using daemon = await running(hourly, { before: (state) => state.setPaused("docs", true, 1) });
  await daemon.says("job docs is paused");
  expect(daemon.control.status().jobs).toMatchObject([{ job: "docs", paused: true, nextMs: undefined }]);
  expect(daemon.control.pause("docs")).toBe(false);
  expect(daemon.state.runs()).toEqual([]);
  expect(daemon.control.resume("docs")).toBe(true);
  await daemon.says("run ended: success");
  expect(daemon.control.resume("docs")).toBe(false);
  expect(daemon.control.pause("docs")).toBe(true);
  expect([...daemon.state.pausedJobs()]).toEqual(["docs"]);
  expect(() => daemon.control.pause("other")).toThrow(/no job other/);
  expect(() => daemon.control.resume("other")).toThrow(/no job other/);
});

test("what is cancelled stays cancelled, whether it ran or waited", async () => {
  const jobs = {
    slow: "sources: [slow], schedule: { every: 1d }, priority: 5",
    docs: "sources: [docs], schedule: { every: 1d }",
  };
  await using daemon = await running(jobs, { extra: ", maxConcurrentJobs: 1" });
  await daemon.says("backup of slow started");
  expect(daemon.control.cancel("docs")).toEqual({ cancelled: ["backup of docs"] });
  const [run] = daemon.state.runs({ job: "slow" });
  expect(daemon.control.cancel(run?.id.slice(0, 10) ?? "")).toEqual({ cancelled: ["backup of slow"] });
  await daemon.says("run ended: cancelled");
  expect(daemon.state.runs({ kind: "backup" })).toMatchObject([
    { subject: "docs", status: "cancelled", reason: "it was cancelled" },
    { subject: "slow", status: "cancelled", error: { code: "cancelled" } },
  ]);
  expect(() => daemon.control.cancel("docs")).toThrow(/Nothing runs or waits/);
  expect(() => daemon.control.cancel(run?.id ?? "")).toThrow(/not running any more: it ended cancelled/);
  // A look at what is due: both wait for their next slot.
  const from = daemon.lines.length;
  daemon.control.pause("docs");
  daemon.control.resume("docs");
  await daemon.says("job docs ended cancelled", from);
  await daemon.says("job slow ended cancelled", from);
  expect(daemon.state.runs({ kind: "backup" })).toHaveLength(2);
});

test("a run of another process is not cancelled from here", async () => {
  await using daemon = await running(DOCS);
  const id = "ab".repeat(16) as never;
  daemon.state.startRun({ id, kind: "restore", subject: "x", startedMs: 1 });
  expect(() => daemon.control.cancel("abab")).toThrow(/belongs to another process/);
});

test("a backup takes its turn: refused beside the same, told when it waits, and dropped when it is given up", async () => {
  await using daemon = await running({ ...SLOW, ...DOCS }, { extra: ", maxConcurrentJobs: 1" });
  const started = Promise.withResolvers<void>();
  const slow = hooks(({ type }) => type === "started" && started.resolve());
  const first = daemon.control.operate(slow, (operations, own) => operations.backup({ job: "slow" }, own));
  await started.promise;
  await expect(
    daemon.control.operate(hooks(), (operations, own) => operations.backup({ job: "slow" }, own)),
  ).rejects.toMatchObject({ code: "state_busy" });
  await expect(
    daemon.control.operate(hooks(), (operations, own) => operations.backup({ job: "other" }, own)),
  ).rejects.toMatchObject({ code: "name_unknown" });
  const told = Promise.withResolvers<string>();
  const waiting: AttachedHooks = { ...hooks(), onNotice: told.resolve };
  const given = new AbortController();
  const second = daemon.control.operate({ ...waiting, signal: given.signal }, (operations, own) =>
    operations.backup({ job: "docs" }, own),
  );
  expect(await told.promise).toBe("waiting for its turn; what runs: backup of slow");
  given.abort();
  await expect(second).rejects.toMatchObject({ name: "AbortError" });
  expect(daemon.control.status().waiting).toEqual([]);
  daemon.go();
  expect(await first).toMatchObject({ status: "success" });
  // Who gave up leaves what a schedule wanted: the record is no cancellation.
  expect(daemon.state.runs({ job: "docs" })).toMatchObject([{ status: "skipped" }]);
});

test("an apply waits for what is going on, and does only what is still due", async () => {
  const jobs = {
    slow: "sources: [slow], schedule: { every: 1d }, priority: 5",
    docs: "sources: [docs], schedule: { every: 1d }, retention: few",
  };
  await using daemon = await running(jobs, { extra: ", maxConcurrentJobs: 1" });
  await daemon.says("backup of slow started");
  daemon.control.cancel("docs");
  daemon.control.requestRun("docs", undefined);
  const waits = Promise.withResolvers<string>();
  const applied = daemon.control.operate({ ...hooks(), onNotice: waits.resolve }, (operations, own) =>
    operations.apply({ approve: [], allowRecreate: false }, own),
  );
  expect(await waits.promise).toBe("waiting for the backup of docs that is going on already");
  daemon.go();
  const { outcomes } = await applied;
  expect(outcomes.map(({ summary }) => summary)).toContain("backup of docs: done by the run that was going on");
  expect(daemon.state.runs({ job: "docs", status: "success" })).toMatchObject([{ reason: "asked for" }]);
  expect(daemon.state.runs({ job: "slow" })).toHaveLength(1);
});

test("a stop lets operations end within the grace time, aborts the rest, and takes no new ones", async () => {
  await using daemon = await running(SLOW);
  const started = Promise.withResolvers<void>();
  const own = hooks(({ type }) => type === "started" && started.resolve());
  const slow = daemon.control.operate(own, (operations, hooked) => operations.backup({ job: "slow" }, hooked));
  await started.promise;
  const stopped = daemon.stop();
  await daemon.says("stopping");
  await expect(
    daemon.control.operate(hooks(), (operations, hooked) => operations.backup({ job: "slow" }, hooked)),
  ).rejects.toMatchObject({ code: "state_busy" });
  expect(await slow).toMatchObject({ status: "cancelled" });
  await stopped;
});

test("a prune waits for the prune that is going on, and both tell their parts", async () => {
  await using daemon = await running({ docs: "sources: [docs], retention: few" });
  for (let i = 0; i < 3; i++) await daemon.control.followRun("docs", "full", hooks());
  const prune = (own: Hooks): Promise<void> =>
    daemon.control.operate(own, (operations, hooked) => operations.prune({ dryRun: false, immediate: false }, hooked));
  const [first, second] = [hooks(), hooks()];
  await Promise.all([prune(first), prune(second)]);
  for (const { told } of [first, second]) expect(told.filter((line) => line.startsWith("part"))).toEqual(["part pruned"]);
  expect(daemon.state.runs({ kind: "prune" })).toHaveLength(2);
});

test("only what was shown is pruned", async () => {
  await using daemon = await running(DOCS);
  const ids: string[] = [];
  for (let i = 0; i < 3; i++) {
    const { result } = await daemon.control.followRun("docs", "full", hooks());
    ids.push(result?.outcomes[0]?.snapshots[0]?.snapshot.id ?? "");
  }
  const removed: string[] = [];
  const own = hooks();
  await daemon.control.operate(
    {
      ...own,
      onPart: (part) =>
        part.part === "pruned" &&
        removed.push(...part.removals.flatMap(({ remove }) => remove.map(({ snapshot }) => snapshot.id))),
    },
    (operations, hooked) => operations.prune({ keepLast: 1, only: [ids[1] ?? ""], dryRun: false, immediate: false }, hooked),
  );
  expect(removed).toEqual([ids[1]]);
});

test("more operations than it takes are refused, and cost nothing", async () => {
  await using daemon = await running(DOCS);
  const wait = new AbortController();
  const all = Array.from({ length: 20 }, () =>
    daemon.control
      .operate(hooks(), () => once(wait.signal, "abort"))
      .then(
        () => "done",
        (error: { code: string }) => error.code,
      ),
  );
  await Promise.resolve();
  wait.abort();
  const ended = await Promise.all(all);
  expect(ended.filter((one) => one === "done")).toHaveLength(16);
  expect(ended.filter((one) => one === "state_busy")).toHaveLength(4);
});

test("one that nobody can talk to says so, and works on", async () => {
  const refuse = new HoldfastError("state_unusable", "The control socket cannot be made", { hint: "Elsewhere." });
  await using daemon = await running({ docs: "sources: [docs], schedule: { every: 1d }" }, { refuse });
  await daemon.says("nobody can talk to this daemon: The control socket cannot be made");
  await daemon.says("run ended: success");
});

test("what came of the last reading of the configuration is known", async () => {
  await using daemon = await running(DOCS);
  expect(await daemon.control.reload()).toMatchObject({ result: "unchanged" });
  const path = join(daemon.path, "holdfast.yaml");
  writeFileSync(path, "version: [");
  const refused = await daemon.control.reload();
  expect(refused.result).toBe("invalid");
  expect(refused.problems.length).toBeGreaterThan(0);
  expect(daemon.control.info().reload).toMatchObject({ result: "invalid" });
  expect(daemon.control.status().jobs).toMatchObject([{ job: "docs" }]);
});
