/** Verifications, prunes, sizes, targets, keys, schedules, analytics, the outbox and the configuration, over the API of a daemon at work. */
import { createHash } from "node:crypto";
import { appendFileSync, readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { join } from "node:path";
import { expect, test } from "vitest";
import { servedDaemon, type Answer, type Body, type ServedDaemon } from "../support/served-daemon.ts";

const CANARY = "canary-7f3a91c2";

const CONFIG = `encryption:
  main: { keyFile: ./key, generate: true }
  old: { password: ${CANARY}-plain }
sources:
  docs: { type: files, paths: [./data] }
  made: { type: command, command: [sh, -c, "echo ${CANARY}-argument"], filename: x }
targets:
  disk: { type: local, path: ./repository, encryption: main, maxSize: 1GB }
  away: { type: local, path: ./away, encryption: main }
retention: { few: { keepLast: 1 } }
webhooks:
  chat: { url: "http://127.0.0.1:9/${CANARY}-hook", allowPrivate: true, events: ["*"] }
jobs:
  docs: { sources: [docs], targets: [disk], retention: few, schedule: { daily: true, at: "02:30" } }
  made: { sources: [made], targets: [disk], hooks: { after: [{ run: [test, "${CANARY}-hook-argument"] }] } }
  spare: { sources: [docs], targets: [away], enabled: false, schedule: { every: 1h } }
`;

async function settled(on: ServedDaemon): Promise<void> {
  await on.until(
    "/status",
    (body) => body["running"].length === 0 && body["waiting"].length === 0 && body["jobs"][0].askedMs === undefined,
  );
}

async function backUp(on: ServedDaemon, job: string): Promise<void> {
  const ended = async (): Promise<number> =>
    (await on.ask("GET", `/runs?kind=backup&job=${job}`)).body["runs"].filter((run: Body) => run["endTime"] !== null).length;
  const before = await ended();
  expect(await on.ask("POST", `/jobs/${job}/run`)).toMatchObject({ status: 202 });
  while ((await ended()) === before) await new Promise((resolve) => setTimeout(resolve, 20));
  await settled(on);
}

/** The task of an answer when it has ended. */
async function finished(on: ServedDaemon, answer: Answer): Promise<Body> {
  expect([answer.status, answer.body["operation"]]).toEqual([expect.toBeOneOf([200, 202]), expect.any(String)]);
  return await on.until(`/operations/${answer.body["operation"]}`, ({ state }) => state === "ended");
}

test("everything is kept up, seen and told over the API, and no secret is in any answer or log", async () => {
  await using on = await servedDaemon(CONFIG);
  const { path } = on;
  const said: string[] = [];
  const ask = async (method: string, to: string, body?: unknown): Promise<Answer> => {
    const answer = await on.ask(method, to, body);
    said.push(`${method} ${to}: ${JSON.stringify(answer.headers)} ${answer.bytes.toString()}`);
    return answer;
  };
  const get = async (to: string): Promise<Body> => {
    const answer = await ask("GET", to);
    expect([to, answer.status]).toEqual([to, 200]);
    return answer.body;
  };
  // The first run that is overdue is the daemon's own.
  await on.until("/snapshots?job=docs", (body) => body["snapshots"]?.length > 0);
  await settled(on);
  appendFileSync(join(path, "data/a.txt"), "more");
  await backUp(on, "docs");
  await backUp(on, "made");

  // Verify.
  const verified = await finished(on, await ask("POST", "/verify", { target: "disk", readData: 0.5 }));
  expect(verified).toMatchObject({ kind: "verify", state: "ended", runs: [expect.any(String)], error: null });
  expect(verified["result"]).toMatchObject([{ status: "success", result: [{ target: "disk", report: { ok: true } }] }]);
  expect(await ask("POST", "/verify", { target: "other" })).toMatchObject({ status: 404 });
  expect(await ask("POST", "/verify", { snapshots: ["latest"] })).toMatchObject({ status: 400 });

  // Prune: what it would do, what needs a confirmation, and what it does.
  const dry = await ask("POST", "/prune", { job: "docs", keepLast: 1, dryRun: true });
  expect([dry.status, dry.body]).toMatchObject([
    202,
    {
      state: "ended",
      parts: [{ part: "pruned", target: "disk", outcome: { status: "success" }, removals: [{ job: "docs", remove: [{}] }] }],
    },
  ]);
  const ids = async (): Promise<string[]> => (await get("/snapshots?job=docs"))["snapshots"].map(({ id }: Body) => id);
  expect(await ids()).toHaveLength(2);
  expect(await ask("POST", "/prune", { keepLast: 1 })).toMatchObject({ status: 409, body: { code: "confirmation_required" } });
  expect(await ask("POST", "/prune", { job: "other" })).toMatchObject({ status: 404 });
  const [newest] = await ids();
  const pruned = await finished(on, await ask("POST", "/prune", { job: "docs", keepLast: 1, confirm: true }));
  expect(pruned).toMatchObject({ kind: "prune", runs: [expect.any(String)], parts: [{ part: "pruned" }], error: null });
  expect(await ids()).toEqual([newest]);

  // Targets: as they were seen, and looked at now.
  expect((await get("/targets"))["targets"]).toMatchObject([
    { target: "disk", status: "ok", format: "repository", jobs: ["docs", "made"], sizes: null, maxSizeBytes: 1e9 },
    { target: "away" },
  ]);
  const refreshed = (await ask("POST", "/targets/refresh")).body;
  expect(refreshed["targets"]).toMatchObject([
    {
      target: "disk",
      snapshots: 2,
      sizes: { snapshots: 2, storedBytes: expect.any(Number), usedShare: expect.any(Number), ratio: expect.anything() },
    },
    { target: "away", sizes: { snapshots: 0 } },
  ]);
  expect((await get("/targets"))["targets"]).toEqual(
    refreshed["targets"].map((one: Body) => expect.objectContaining({ sizes: one["sizes"] })),
  );
  expect((await get("/stats"))["targets"]).toMatchObject([
    { target: "disk", snapshots: 2, objects: expect.any(Number) },
    { target: "away", snapshots: 0, ratio: null },
  ]);

  // Keys.
  const [slot] = (await get("/targets/disk/keys"))["slots"];
  expect(slot).toMatchObject({ target: "disk", function: "keyfile", inUse: true });
  const added = await ask("POST", "/targets/disk/keys", { password: `${CANARY}-password`, label: "spare" });
  expect([added.status, added.body]).toMatchObject([201, { target: "disk", slot: expect.stringMatching(/^[0-9a-f]{32}$/) }]);
  const keyFile = createHash("sha256").update(`${CANARY}-file`).digest("hex");
  const second = (await ask("POST", "/targets/disk/keys", { keyFile })).body["slot"] as string;
  expect(
    (await get("/targets/disk/keys"))["slots"].map(({ label, function: kind }: Body) => `${kind} ${label}`).toSorted(),
  ).toEqual(["argon2id spare", "keyfile ", "keyfile created on tester"]);
  for (const [body, status] of [
    [{}, 400],
    [{ password: `${CANARY}-a`, keyFile: `${CANARY}-b` }, 400],
    [{ keyFile: `${CANARY}-not-hex` }, 400],
    [{ password: [`${CANARY}-list`] }, 400],
    [{ password: `${CANARY}-x`.repeat(10_000) }, 400],
    [{ password: "" }, 400],
    [{ password: `${CANARY}-c`, colour: `${CANARY}-d` }, 400],
  ] as const)
    expect([body, (await ask("POST", "/targets/disk/keys", body)).status]).toEqual([body, status]);
  expect(await ask("POST", "/targets/other/keys", { password: `${CANARY}-f` })).toMatchObject({ status: 404 });
  // A body that is no JSON is not told back.
  said.push(await rawly(on.socket, "/api/v1/targets/disk/keys", `{"password":"${CANARY}-broken`));
  const remove = `/targets/disk/keys/${second}`;
  expect(await ask("DELETE", remove)).toMatchObject({
    status: 409,
    body: { code: "confirmation_required", data: { slot: second } },
  });
  expect(await ask("DELETE", `${remove}?confirm=${added.body["slot"]}`)).toMatchObject({ status: 409 });
  expect((await ask("DELETE", `${remove}?confirm=${second}`)).body).toEqual({ target: "disk", removed: second });
  expect(await ask("DELETE", `${remove}?confirm=${second}`)).toMatchObject({ status: 404 });
  expect((await get("/targets/disk/keys"))["slots"]).toHaveLength(2);

  // Schedules.
  const schedules = await get("/schedules?count=3");
  expect(schedules["jobs"]).toMatchObject([
    { job: "docs", next: [{ mode: "incremental" }, {}, {}], schedules: [{ text: expect.any(String), mode: "incremental" }] },
    { job: "made", next: [], schedules: [] },
    { job: "spare", enabled: false, next: [] },
  ]);
  expect(schedules["jobs"][0].next.every(({ time }: Body) => /T02:30:00.000Z$/.test(time))).toBe(true);
  expect((await get("/schedules?job=made"))["jobs"]).toHaveLength(1);
  expect(await ask("GET", "/schedules?job=other")).toMatchObject({ status: 404 });
  expect(await ask("GET", "/schedules?count=21")).toMatchObject({ status: 400 });

  // Analytics.
  const analytics = await get("/analytics?bucket=month");
  expect(analytics).toMatchObject({ bucket: "month", runs: 3, cut: null, all: { runs: 3, success: 3, successRate: 1 } });
  expect(analytics["jobs"]).toMatchObject([
    {
      job: "docs",
      runs: 2,
      sourceBytes: 10,
      durationMs: { median: expect.any(Number) },
      growthBytesPerDay: null,
      series: expect.anything(),
    },
    { job: "made", runs: 1 },
  ]);
  expect(await ask("GET", "/analytics?since=2001-01-01T00:00:00Z")).toMatchObject({ status: 400 });

  // The outbox: nobody listens there.
  const waiting = await get("/outbox?state=pending");
  expect(waiting["notifications"].length).toBeGreaterThan(0);
  const { event } = waiting["notifications"][0];
  expect((await ask("DELETE", `/outbox/${event}`)).body).toEqual({ discarded: 1 });
  expect((await get("/outbox?state=dead"))["notifications"]).toMatchObject([{ event, error: "discarded by owner" }]);
  expect((await ask("POST", `/outbox/${event.slice(0, 20)}/resend`)).body).toEqual({ queued: 1 });
  expect((await ask("POST", "/outbox/resend")).body).toEqual({ queued: 0 });
  expect(await ask("DELETE", "/outbox/evt_ffff")).toMatchObject({ status: 404 });

  // The configuration, and what waits for an approval.
  const config = await get("/config");
  expect(config).toMatchObject({
    host: "tester",
    targets: { disk: { path: join(path, "repository"), encryption: "main" } },
    sources: { made: { command: ["sh", "***"] } },
    jobs: { docs: { sources: ["docs"], targets: [{ target: "disk" }] } },
  });
  expect(await get("/config/plan")).toMatchObject({ held: 0, next: { docs: expect.anything() } });
  expect(await get("/config/pending")).toEqual({ pending: [] });
  expect(await ask("POST", "/config/approve", { plan: "0123456789ab" })).toMatchObject({ status: 404 });
  expect(await ask("POST", "/config/approve", { plan: "../../etc" })).toMatchObject({ status: 400 });

  await get("/operations");
  const everything = [...said, ...on.lines].join("\n");
  expect(everything).not.toContain(CANARY);
  expect(everything).not.toContain(keyFile);
  expect(everything).not.toContain(readFileSync(join(path, "key"), "utf8").trim());
});

test("a plan that is held is seen, approved and applied", async () => {
  await using on = await servedDaemon(CONFIG);
  await on.until("/snapshots?job=docs", (body) => body["snapshots"]?.length > 0);
  await settled(on);
  for (let i = 0; i < 3; i++) {
    appendFileSync(join(on.path, "data/a.txt"), "more");
    await backUp(on, "docs");
  }
  // Rules that delete for the first time wait for somebody.
  const seen = (await on.ask("GET", "/config/plan")).body;
  expect(seen).toMatchObject({ id: expect.stringMatching(/^[0-9a-f]{12}$/), held: 1 });
  expect((await on.ask("POST", "/operations/apply", { approve: [], allowRecreate: false })).status).toBe(200);
  const { pending } = (await on.ask("GET", "/config/pending")).body;
  expect(pending).toMatchObject([{ plan: seen["id"], why: [expect.any(String)] }]);
  const task = await finished(on, await on.ask("POST", "/config/approve", { plan: seen["id"] }));
  expect(task).toMatchObject({ kind: "apply", subject: `plan ${seen["id"]}`, error: null, result: { planId: seen["id"] } });
  expect((await on.ask("GET", "/snapshots?job=docs")).body["snapshots"]).toHaveLength(1);
  expect((await on.ask("GET", "/config/pending")).body).toEqual({ pending: [] });
  expect(await on.ask("POST", "/config/approve", { plan: seen["id"] })).toMatchObject({ status: 404 });
});

function rawly(socketPath: string, path: string, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, path, method: "POST", headers: { "content-type": "application/json" } });
    request.on("error", reject).on("response", (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => (text += part));
      response.on("end", () => resolve(`${response.statusCode} ${text}`));
    });
    request.end(body);
  });
}
