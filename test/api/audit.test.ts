/** The audit log over the API: what is recorded of requests, and what is answered of it. */
import { fastify, type FastifyInstance } from "fastify";
import { describe, expect, test } from "vitest";
import { RequestAudit } from "../../src/api/audit.ts";
import type { Caller } from "../../src/api/caller.ts";
import { createApi } from "../../src/api/server.ts";
import { HoldfastError } from "../../src/base/errors.ts";
import type { AuditEntry } from "../../src/state/audit.ts";
import { fakeControl, RUN } from "./fake-control.ts";

const OWNED = { actor: "owner", from: "socket" };
const RESTORE = {
  selector: { id: "latest", job: "docs" },
  path: "/etc",
  to: { folder: "/srv/out" },
  include: [],
  exclude: [],
  overwrite: "always",
  delete: true,
  verifyFirst: false,
  verify: false,
  safetySnapshot: true,
  confirmedLive: false,
};

describe("a request that changes something", () => {
  test.each<[string, string, unknown, readonly Partial<AuditEntry>[]]>([
    [
      "POST",
      "/jobs/docs/run",
      { mode: "full" },
      [{ action: "job.run", subject: "docs", outcome: "accepted", detail: { mode: "full" } }],
    ],
    ["POST", "/jobs/docs/run", undefined, [{ action: "job.run", subject: "docs", outcome: "accepted", detail: undefined }]],
    ["POST", "/jobs/docs/pause", undefined, [{ action: "job.pause", subject: "docs", outcome: "accepted", code: undefined }]],
    ["POST", "/jobs/docs/resume", undefined, [{ action: "job.resume", subject: "docs", outcome: "accepted" }]],
    [
      "POST",
      "/jobs/other/pause",
      undefined,
      [{ action: "job.pause", subject: "other", outcome: "refused", code: "name_unknown" }],
    ],
    ["POST", "/jobs/docs/run", { force: true }, [{ action: "job.run", subject: "docs", outcome: "refused", code: "usage" }]],
    ["POST", "/runs/docs/cancel", undefined, [{ action: "run.cancel", subject: "docs", outcome: "accepted" }]],
    ["POST", "/config/reload", undefined, [{ action: "config.reload", subject: "", outcome: "accepted" }]],
    [
      "POST",
      "/operations/abcd/cancel",
      undefined,
      [{ action: "operation.cancel", subject: "abcd", outcome: "refused", code: "name_unknown" }],
    ],
    [
      "POST",
      "/operations/restore",
      RESTORE,
      [
        {
          action: "restore.start",
          subject: "latest:/etc",
          outcome: "begun",
          detail: { to: "/srv/out", overwrite: "always", delete: true, safetySnapshot: true },
        },
        { action: "restore.start", outcome: "accepted" },
      ],
    ],
    [
      "POST",
      "/operations/apply",
      { approve: ["3f9a1c2be4d0"], allowRecreate: true },
      [
        {
          action: "plan.apply",
          subject: "3f9a1c2be4d0",
          outcome: "begun",
          detail: { approve: ["3f9a1c2be4d0"], allowRecreate: true },
        },
        { action: "plan.apply", outcome: "accepted" },
      ],
    ],
    [
      "POST",
      "/operations/prune",
      { dryRun: false, immediate: true, keepLast: 2 },
      [
        { action: "prune.run", subject: "", outcome: "begun", detail: { keepLast: 2, immediate: true } },
        { action: "prune.run", outcome: "accepted" },
      ],
    ],
    [
      "POST",
      "/operations/restore",
      { path: 5 },
      [{ action: "operations.restore", outcome: "refused", code: "usage", detail: undefined }],
    ],
    [
      "PUT",
      "/config/jobs/docs",
      { sources: [] },
      [{ action: "config.write", subject: "jobs.docs", outcome: "refused", code: "config_write_refused" }],
    ],
    ["DELETE", "/config/retention/few", undefined, [{ action: "config.delete", subject: "retention.few", outcome: "refused" }]],
  ])("%s %s with %j is recorded", async (method, url, payload, records) => {
    const control = fakeControl();
    await using app = createApi(control);
    await app.inject({
      method: method as "POST",
      url: `/api/v1${url}`,
      ...(payload !== undefined && { payload: payload as object }),
    });
    expect(control.audited).toMatchObject(records.map((record) => ({ ...OWNED, ...record })));
    expect(control.audited).toHaveLength(records.length);
  });

  test("is recorded before its answer goes out, and reading is not", async () => {
    const control = fakeControl();
    await using app = createApi(control);
    for (const url of ["/status", "/jobs", "/audit", "/audit/verify", "/nothing"]) await app.inject(`/api/v1${url}`);
    await app.inject({ method: "DELETE", url: "/api/v1/jobs" });
    expect(control.audited).toEqual([]);
  });

  test("that stays attached is recorded with the run and how it ended", async () => {
    const control = fakeControl();
    await using app = createApi(control);
    const payload = { job: "docs" };
    const error = new HoldfastError("target_full", "full");
    for (const result of [
      { run: RUN, status: "success", error: undefined },
      { run: RUN, status: "failed", error },
      { run: RUN, status: "cancelled", error: undefined },
    ]) {
      control.work = async () => result;
      await app.inject({ method: "POST", url: "/api/v1/operations/backup", payload });
    }
    control.work = async () => {
      throw new HoldfastError("state_busy", "busy");
    };
    await app.inject({ method: "POST", url: "/api/v1/operations/backup", payload });
    expect(control.audited.filter(({ outcome }) => outcome !== "begun")).toMatchObject([
      { action: "job.run", subject: "docs", outcome: "accepted", code: undefined, detail: { run: RUN, status: "success" } },
      { outcome: "failed", code: "target_full", detail: { run: RUN, status: "failed" } },
      { outcome: "failed", code: "cancelled" },
      { outcome: "failed", code: "state_busy" },
    ]);
    expect(control.audited.filter(({ outcome }) => outcome === "begun")).toHaveLength(4);
    control.audited.length = 0;
    control.work = async () => ({ outcomes: [{ status: "done" }, { status: "failed", error }] });
    await app.inject({ method: "POST", url: "/api/v1/operations/apply", payload: { approve: [], allowRecreate: false } });
    expect(control.audited[1]).toMatchObject({ action: "plan.apply", outcome: "failed", code: "target_full" });
    expect(control.audited[1]?.detail).toMatchObject({ actions: 2, failed: 1 });
  });
});

/** A server whose callers are named by a header, and that has routes of other groups. */
async function guarded(nowMs: () => number = () => 0): Promise<{ app: FastifyInstance; audited: AuditEntry[] }> {
  const { audit, audited } = fakeControl();
  const app = fastify();
  app.decorateRequest("caller");
  new RequestAudit(audit, "/api/v1", nowMs).register(app);
  app.addHook("onRequest", async (request, reply) => {
    const name = request.headers["x-caller"];
    if (typeof name !== "string") return await reply.code(401).send({});
    request.caller = { name, role: "viewer", from: "192.0.2.1" } satisfies Caller;
    if (request.url.includes("secret")) return await reply.code(403).send({});
    return undefined;
  });
  app.put("/api/v1/keys/:target/:slot", async () => ({}));
  app.post("/api/v1/keys", async () => ({}));
  app.post("/api/v1/broken", async () => {
    throw new Error("fault");
  });
  app.post("/api/v1/replayed", async (_request, reply) => await reply.header("idempotency-replayed", "true").send({}));
  app.get("/api/v1/secret", async () => ({}));
  return { app, audited };
}

test("a route that nobody named is recorded by its path, without its body", async () => {
  const { app, audited } = await guarded();
  const headers = { "x-caller": "ops" };
  await app.inject({ method: "PUT", url: "/api/v1/keys/disk/ff", headers, payload: { password: "hunter2" } });
  await app.inject({ method: "POST", url: "/api/v1/keys", headers, payload: { password: "hunter2" } });
  await app.inject({ method: "POST", url: "/api/v1/broken", headers });
  await app.inject({ method: "POST", url: "/api/v1/replayed", headers });
  await app.close();
  expect(audited).toEqual([
    {
      actor: "ops",
      from: "192.0.2.1",
      action: "keys.put",
      subject: "disk ff",
      outcome: "accepted",
      code: undefined,
      detail: undefined,
    },
    { actor: "ops", from: "192.0.2.1", action: "keys", subject: "", outcome: "accepted", code: undefined, detail: undefined },
    { actor: "ops", from: "192.0.2.1", action: "broken", subject: "", outcome: "failed", code: "internal", detail: undefined },
  ]);
});

test("who is refused is recorded, reading included, but cannot fill the log", async () => {
  let nowMs = 0;
  const { app, audited } = await guarded(() => nowMs);
  for (let n = 0; n < 100; n++) await app.inject("/api/v1/secret?token=hunter2");
  await app.inject({ url: "/api/v1/secret", headers: { "x-caller": "grafana" } });
  expect(audited).toHaveLength(21);
  expect(audited[0]).toMatchObject({
    actor: "unknown",
    from: "127.0.0.1",
    action: "read",
    subject: "/api/v1/secret",
    code: "401",
  });
  expect(audited[20]).toMatchObject({ actor: "grafana", from: "192.0.2.1", outcome: "refused", code: "403" });
  nowMs = 60_000;
  for (let n = 0; n < 100; n++) await app.inject({ method: "POST", url: "/api/v1/keys" });
  expect(audited).toHaveLength(23);
  expect(audited[21]).toMatchObject({ actor: "unknown", action: "keys", detail: { notRecorded: 80 } });
  expect(audited[22]?.detail).toBeUndefined();
  await app.close();
  expect(audited[23]).toMatchObject({ actor: "unknown", action: "refusals", detail: { notRecorded: 98 } });
  expect(JSON.stringify(audited)).not.toContain("hunter2");
});

test("the names of callers that are refused do not fill the memory, nor their number the log", async () => {
  const { app, audited } = await guarded();
  for (let n = 0; n < 300; n++)
    for (let again = 0; again < 2; again++) await app.inject({ url: "/api/v1/secret", headers: { "x-caller": `caller-${n}` } });
  await app.close();
  expect(audited).toHaveLength(600);
});

describe("the log", () => {
  test("is listed by pages and filters, and verified against a head", async () => {
    const control = fakeControl();
    await using app = createApi(control);
    const head = `7:${"a".repeat(64)}`;
    expect(
      (await app.inject("/api/v1/audit?limit=5&before=9&since=2026-11-20T00:00:00Z&actor=ops&action=job.run")).json(),
    ).toEqual({
      head: `0:${"0".repeat(64)}`,
      records: [],
    });
    expect(control.asked).toEqual([
      `audit {"actor":"ops","action":"job.run","limit":5,"before":9,"since":${Date.UTC(2026, 10, 20)}}`,
    ]);
    expect((await app.inject(`/api/v1/audit/verify?head=${head}`)).json()).toMatchObject({ intact: true, head });
  });

  test.each([
    ["/audit?limit=0", "limit"],
    ["/audit?limit=99999", "limit"],
    ["/audit?colour=red", "colour"],
    ["/audit?since=yesterday", "since"],
    ["/audit/verify?head=7", "head"],
  ])("%s is refused", async (url, what) => {
    await using app = createApi(fakeControl());
    const answer = await app.inject(`/api/v1${url}`);
    expect(answer.statusCode).toBe(400);
    expect(answer.json()).toMatchObject({ code: "usage", detail: expect.stringContaining(what) });
  });
});
