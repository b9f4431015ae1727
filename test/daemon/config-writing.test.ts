/** The configuration changed over the API of a running daemon: the file, the reload, the audit log. */
import { execFileSync } from "node:child_process";
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import { expect, test } from "vitest";
import { createApi } from "../../src/api/server.ts";
import { systemRandom } from "../../src/codec/system-random.ts";
import type { DaemonControl } from "../../src/daemon/daemon-control.ts";
import { runDaemon } from "../../src/daemon/daemon.ts";
import type { DaemonReading } from "../../src/daemon/reloader.ts";
import { readConfigFile } from "../../src/engine/config-file.ts";
import { ConfigFiles } from "../../src/engine/config-write.ts";
import { openState, type State } from "../../src/state/state.ts";
import { createSystemClock } from "../../src/state/system-clock.ts";
import type { Log } from "../../src/telemetry/log.ts";
import { temporaryTree } from "../support/tree-literal.ts";

const FILE = `# What is protected here.
version: 1
host: tester
daemon: { stateDir: ./state, cacheDir: ./cache, timezone: UTC, shutdownGrace: 1s }
encryption: { main: { keyFile: ./key, generate: true } }
sources:
  docs: { type: files, paths: [./data] }
targets:
  disk: { type: local, path: ./repository, encryption: main }
schedules:
  # While nobody works.
  nightly: "0 2 * * *" # at two
retention:
  few: { keepLast: 9 } # enough
jobs:
  docs: { sources: [docs], targets: [disk], retention: few }
`;

interface Running extends AsyncDisposable {
  readonly folder: string;
  readonly app: FastifyInstance;
  readonly control: DaemonControl;
  readonly state: State;
  readonly lines: readonly string[];
  text(): string;
}

/** A daemon in this process whose configuration allows what is given, and its API. */
async function running(writes: { readonly allowConfigWrites: boolean; readonly commitConfigWrites: boolean }): Promise<Running> {
  const tree = temporaryTree({ data: { a: "a" }, "holdfast.yaml": FILE });
  const path = join(tree.path, "holdfast.yaml");
  const surroundings = {
    env: { PATH: process.env["PATH"] },
    cwd: tree.path,
    hostName: "tester",
    home: tree.path,
    isRoot: false,
    timezone: "UTC",
  };
  const clock = createSystemClock();
  const lines: string[] = [];
  const at =
    (level: string): Log["info"] =>
    (line, fields = {}) =>
      void lines.push(`${level} ${line} ${JSON.stringify(fields)}`);
  const read = async (): Promise<DaemonReading> => {
    const { config, ...reading } = readConfigFile(path, surroundings, false);
    const engine = {
      env: {},
      credentialsDirectory: undefined,
      clock,
      random: systemRandom,
      toolVersion: "0.0.0",
      configText: "",
      gitCommit: undefined,
    };
    return {
      ...reading,
      valid: config && { config: Object.assign({}, config, { control: { ...config.control, ...writes } }), surroundings: engine },
    };
  };
  const state = openState(join(tree.path, "state"));
  const stop = new AbortController();
  const served = Promise.withResolvers<DaemonControl>();
  const { valid, watched } = await read();
  if (valid === undefined) throw new Error("the configuration of this test is not valid");
  const ended = runDaemon({
    ...valid,
    watched,
    state,
    read,
    log: { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") },
    configFiles: new ConfigFiles(path, surroundings),
    signal: stop.signal,
    serve: async (control) => {
      served.resolve(control);
      return { [Symbol.asyncDispose]: async () => undefined };
    },
  });
  ended.catch(served.reject);
  const control = await served.promise;
  const app = createApi(control);
  return {
    folder: tree.path,
    app,
    control,
    state,
    lines,
    text: () => readFileSync(path, "utf8"),
    [Symbol.asyncDispose]: async () => {
      await app.close();
      stop.abort();
      await ended;
      expect(state.audit.verify()).toMatchObject({ intact: true });
      state.close();
      tree[Symbol.dispose]();
    },
  };
}

const ALLOWED = { allowConfigWrites: true, commitConfigWrites: false };

const put = async (
  { app }: Running,
  what: string,
  value: unknown,
  match?: string,
): Promise<{ status: number; body: Record<string, unknown>; etag: string }> => {
  const answer = await app.inject({
    method: value === undefined ? "DELETE" : "PUT",
    url: `/api/v1/config/${what}`,
    headers: {
      ...(match !== undefined && { "if-match": match }),
      ...(value !== undefined && { "content-type": "application/json" }),
    },
    ...(value !== undefined && { payload: JSON.stringify(value) }),
  });
  return { status: answer.statusCode, body: answer.json(), etag: String(answer.headers["etag"]) };
};
const etagOf = async ({ app }: Running): Promise<string> => String((await app.inject("/api/v1/config/source")).headers["etag"]);

test("a schedule is written into the file with its comments kept, taken over, recorded and told; then deleted again", async () => {
  await using on = await running(ALLOWED);
  const first = await put(on, "schedules/nightly", "0 3 * * *", await etagOf(on));
  expect(first).toMatchObject({
    status: 200,
    body: {
      changed: true,
      created: false,
      commit: null,
      planned: true,
      pending: [],
      reload: { result: "reloaded", changes: ["schedules.nightly changed"] },
    },
  });
  expect(on.text()).toBe(FILE.replace("0 2 * * *", "0 3 * * *"));
  expect(on.control.info().digest).toBe(first.body["digest"]);
  // The answer's tag is good for the next change; the same change again changes nothing.
  const again = await put(on, "schedules/nightly", "0 3 * * *", first.etag);
  expect(again).toMatchObject({ status: 200, body: { changed: false, reload: { result: "unchanged" } }, etag: first.etag });
  const added = await put(on, "schedules/weekly", { weekly: "sunday", at: "03:00" }, first.etag);
  expect(added).toMatchObject({ status: 201, body: { created: true } });
  expect(await put(on, "schedules/weekly", undefined, added.etag)).toMatchObject({ status: 200, body: { changed: true } });
  expect(on.text()).toBe(FILE.replace("0 2 * * *", "0 3 * * *"));
  const records = on.state.audit.records({ actor: "owner" }).toReversed();
  expect(records).toMatchObject([
    { action: "config.write", subject: "schedules.nightly", from: "socket", outcome: "accepted" },
    { action: "config.write", subject: "schedules.nightly" },
    { action: "config.write", subject: "schedules.weekly" },
    { action: "config.delete", subject: "schedules.weekly" },
  ]);
  expect(JSON.parse(records[0]?.detail ?? "")).toMatchObject({ digest: first.body["digest"], reload: "reloaded" });
  expect(on.state.audit.records({ actor: "daemon", action: "config.reload" })).toHaveLength(3);
  const { sequence, hash } = records[0] as { sequence: number; hash: string };
  expect(on.lines).toContain(
    `info audit: config.write of schedules.nightly by owner from socket: accepted {"audit":"${sequence}:${hash}"}`,
  );
});

test("where it is not allowed, the answer is what to paste, and nothing changes", async () => {
  await using on = await running({ allowConfigWrites: false, commitConfigWrites: false });
  const refused = await put(on, "schedules/nightly", "0 3 * * *", await etagOf(on));
  expect(refused).toMatchObject({
    status: 409,
    body: {
      code: "config_write_refused",
      hint: expect.stringContaining("allowConfigWrites"),
      data: { file: join(on.folder, "holdfast.yaml"), yaml: 'schedules:\n  nightly: "0 3 * * *"\n' },
    },
  });
  const job = await put(on, "jobs/more", { sources: ["docs"], targets: ["disk"], priority: 5 });
  expect(job.body["data"]).toMatchObject({ yaml: "jobs:\n  more:\n    sources: [docs]\n    targets: [disk]\n    priority: 5\n" });
  expect(await put(on, "jobs/more", { sources: ["nothing"] })).toMatchObject({ status: 422 });
  expect(on.text()).toBe(FILE);
  expect(on.state.audit.records({ actor: "owner" })).toMatchObject([
    { outcome: "refused", code: "config_invalid" },
    { outcome: "refused", code: "config_write_refused" },
    { outcome: "refused", code: "config_write_refused" },
  ]);
});

test("a change must say what it was made for, and two at once do not both win", async () => {
  await using on = await running(ALLOWED);
  const match = await etagOf(on);
  expect(await put(on, "schedules/nightly", "0 3 * * *")).toMatchObject({ status: 428, body: { code: "config_match_missing" } });
  const both = await Promise.all([
    put(on, "schedules/nightly", "0 3 * * *", match),
    put(on, "schedules/nightly", "0 4 * * *", match),
  ]);
  expect(both.map(({ status }) => status)).toEqual([200, 412]);
  expect(on.text()).toContain("0 3 * * *");
  appendFileSync(join(on.folder, "holdfast.yaml"), "# by hand\n");
  expect(await put(on, "schedules/nightly", "0 5 * * *", both[0].etag)).toMatchObject({
    status: 412,
    body: { code: "config_changed" },
  });
  expect(on.text()).toContain("0 3 * * *");
  const bad = await put(on, "jobs/docs", { sources: ["docs"], targets: ["disc"] }, await etagOf(on));
  expect(bad).toMatchObject({ status: 422, body: { code: "config_invalid" } });
  expect(bad.body["data"]).toMatchObject({ problems: [{ path: "jobs.docs.targets[0]", suggestion: 'did you mean "disk"?' }] });
});

test("a change that would delete more is written, and answered as held", async () => {
  await using on = await running(ALLOWED);
  for (const content of ["b", "c", "d"]) {
    writeFileSync(join(on.folder, "data/a"), content);
    const done = await on.app.inject({ method: "POST", url: "/api/v1/operations/backup", payload: { job: "docs" } });
    expect(done.payload).toContain('"status":"success"');
  }
  await on.app.inject({ method: "POST", url: "/api/v1/operations/apply", payload: { approve: [], allowRecreate: false } });
  const held = await put(on, "retention/few", { keepLast: 1 }, await etagOf(on));
  expect(held).toMatchObject({ status: 200, body: { reload: { result: "reloaded" }, planned: true } });
  expect(on.text()).toContain("few: { keepLast: 1 } # enough");
  expect(held.body["pending"]).toMatchObject([{ text: expect.stringContaining("it removes 2 of 3") }]);
  expect(on.state.audit.records({ actor: "daemon", action: "retention.delete" })).toEqual([]);
  const [pending] = on.state.pendingApprovals();
  await on.app.inject({
    method: "POST",
    url: "/api/v1/operations/apply",
    payload: { approve: [pending?.plan], allowRecreate: false },
  });
  expect(on.state.audit.records({ action: "retention.delete" })).toMatchObject([{ actor: "daemon", subject: "docs on disk" }]);
  expect(on.state.audit.records({ action: "plan.apply" })[0]).toMatchObject({ actor: "owner", subject: pending?.plan });
});

test("what is written is committed where that is wanted; a commit that fails is told", async () => {
  await using on = await running({ allowConfigWrites: true, commitConfigWrites: true });
  const failed = await put(on, "schedules/nightly", "0 3 * * *", await etagOf(on));
  expect(failed).toMatchObject({
    status: 200,
    body: { changed: true, commit: { committed: false, reason: expect.stringMatching(/git/) } },
  });
  expect(on.lines.some((line) => line.startsWith("warn") && line.includes("not committed"))).toBe(true);
  const git = (...args: string[]): string =>
    execFileSync("git", ["-C", on.folder, "-c", "user.name=t", "-c", "user.email=t@t", ...args], { encoding: "utf8" }).trim();
  git("init", "--quiet");
  git("add", "holdfast.yaml");
  git("commit", "--quiet", "-m", "begin");
  const done = await put(on, "schedules/nightly", "0 4 * * *", failed.etag);
  expect(done.body["commit"]).toEqual({ committed: true, commit: git("rev-parse", "HEAD"), reason: null });
  expect(git("log", "-1", "--format=%an %s")).toBe("owner change schedules.nightly");
  expect(git("diff", "HEAD~", "--stat")).toContain("1 insertion(+), 1 deletion(-)");
});
