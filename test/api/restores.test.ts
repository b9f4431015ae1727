/** What the routes of restores and of work that nobody stays for do with what they are asked. */
import { expect, test } from "vitest";
import { createApi } from "../../src/api/server.ts";
import { HoldfastError } from "../../src/base/errors.ts";
import { fakeControl, RUN } from "./fake-control.ts";

const json = { "content-type": "application/json" };

test("a restore is followed while it goes on, and cancelled by its run", async () => {
  const control = fakeControl();
  const restore = { ...control.run(RUN), kind: "restore" as const, endedMs: undefined, status: undefined };
  control.run = () => restore;
  const goOn = Promise.withResolvers<void>();
  control.work = async ({ onEvent, signal }) => {
    onEvent({ type: "started", run: RUN, kind: "restore", subject: "docs", time: 0 });
    signal.addEventListener("abort", () => goOn.resolve());
    await goOn.promise;
    throw signal.reason;
  };
  await using app = createApi(control);
  const payload = { snapshot: "latest", to: { folder: "/restored/x" }, exclude: ["*.tmp"], delete: true };
  const started = await app.inject({ method: "POST", url: "/api/v1/restores", headers: json, payload });
  expect([started.statusCode, started.headers.location]).toEqual([202, `/api/v1/restores/${RUN}`]);
  expect(started.json()).toMatchObject({ state: "running", run: RUN, runs: [RUN], by: "owner", kind: "restore" });
  expect(JSON.parse((control.asked[0] as string).replace("restore ", ""))).toMatchObject({
    selector: { id: "latest" },
    path: "/",
    to: { folder: "/restored/x" },
    exclude: ["*.tmp"],
    overwrite: "if-changed",
    delete: true,
    safetySnapshot: true,
    confirmedLive: false,
  });
  const status = control.status.bind(control);
  const progress = { phase: "restoring", filesDone: 1, filesTotal: 2, bytesDone: 3, bytesTotal: 4, storedBytes: 0, current: "a" };
  control.status = () => ({ ...status(), running: [{ run: RUN, kind: "restore", subject: "docs", startedMs: 0, progress }] });
  expect((await app.inject(`/api/v1/restores/${RUN}`)).json()).toMatchObject({ status: "running", endTime: null, progress });
  expect((await app.inject({ method: "POST", url: `/api/v1/restores/${RUN}/cancel` })).json()).toEqual({ cancelled: [RUN] });
  // By the operation, too.
  const { operation } = started.json();
  expect((await app.inject({ method: "POST", url: `/api/v1/operations/${operation}/cancel` })).json()).toEqual({
    cancelled: true,
  });
  await goOn.promise;
  await new Promise(setImmediate);
  expect((await app.inject(`/api/v1/operations/${operation}`)).json()).toMatchObject({
    state: "ended",
    error: { code: "cancelled" },
  });
  expect((await app.inject({ method: "POST", url: `/api/v1/operations/${operation}/cancel` })).statusCode).toBe(404);
});

test("work that fails before any run is answered with what is wrong, and is not remembered", async () => {
  const control = fakeControl();
  control.work = async () => {
    throw new HoldfastError("snapshot_missing", "No snapshot begins with ffff");
  };
  await using app = createApi(control);
  const payload = { snapshot: "ffff", to: { folder: "/restored/x" } };
  const answer = await app.inject({ method: "POST", url: "/api/v1/restores", headers: json, payload });
  expect([answer.statusCode, answer.json()]).toMatchObject([404, { code: "snapshot_missing" }]);
  expect((await app.inject("/api/v1/operations")).json()).toEqual({ operations: [] });
});

test("there is only so much to do at a time, and ended work is forgotten in the end", async () => {
  const control = fakeControl();
  const free = Promise.withResolvers<void>();
  control.work = async ({ onEvent }) => {
    onEvent({ type: "started", run: RUN, kind: "prune", subject: "disk", time: 0 });
    await free.promise;
  };
  await using app = createApi(control);
  const prune = (): Promise<{ statusCode: number }> =>
    app.inject({ method: "POST", url: "/api/v1/prune", headers: json, payload: {} });
  const codes = (await Promise.all(Array.from({ length: 40 }, prune))).map(({ statusCode }) => statusCode);
  expect([codes.filter((code) => code === 202).length, codes.filter((code) => code === 409).length]).toEqual([32, 8]);
  free.resolve();
  await new Promise(setImmediate);
  for (let i = 0; i < 120; i++) await prune();
  expect((await app.inject("/api/v1/operations")).json().operations).toHaveLength(100);
});

test("work that waits for its turn is told as waiting", async () => {
  const control = fakeControl();
  const start = control.tasks.start.bind(control.tasks);
  control.tasks.start = (what, act, patience) => start(what, act, { ...patience, waitMs: 0 });
  const free = Promise.withResolvers<void>();
  control.work = async ({ onNotice }) => {
    onNotice("waiting for its turn");
    await free.promise;
    return { done: true };
  };
  await using app = createApi(control);
  const answer = await app.inject({
    method: "POST",
    url: "/api/v1/prune",
    headers: json,
    payload: { job: "docs", dryRun: true },
  });
  const { operation } = answer.json();
  expect([answer.statusCode, answer.headers.location]).toEqual([202, `/api/v1/operations/${operation}`]);
  expect(answer.json()).toMatchObject({ state: "waiting", run: null, notices: ["waiting for its turn"] });
  free.resolve();
  await new Promise(setImmediate);
  expect((await app.inject(`/api/v1/operations/${operation}`)).json()).toMatchObject({ state: "ended", result: { done: true } });
});
