import { fastify, type FastifyInstance } from "fastify";
import { expect, test } from "vitest";
import type { Caller } from "../../src/api/caller.ts";
import { Idempotency } from "../../src/api/idempotency.ts";
import { problemOf } from "../../src/api/problem.ts";
import { HoldfastError } from "../../src/base/errors.ts";
import { bearer, networkLab, type Lab } from "./network-lab.ts";

const HOUR_MS = 3_600_000;

async function act(
  { app }: Pick<Lab, "app">,
  key: string,
  body?: object,
  url = "/api/v1/jobs/docs/run",
  role: "operator" | "admin" = "operator",
): Promise<{ status: number; replayed: boolean; body: Record<string, unknown> }> {
  const answer = await app.inject({
    method: "POST",
    url,
    headers: { host: "localhost", ...bearer(role), "idempotency-key": key },
    ...(body !== undefined && { payload: body }),
  });
  return {
    status: answer.statusCode,
    replayed: answer.headers["idempotency-replayed"] === "true",
    body: answer.headers["content-type"]?.toString().includes("ndjson") === true ? {} : answer.json(),
  };
}

test("a repetition gets the same answer, and nothing is done again", async () => {
  await using lab = await networkLab();
  const first = await act(lab, "k1", { mode: "full" });
  expect(first).toEqual({ status: 202, replayed: false, body: { job: "docs", requested: true } });
  expect(await act(lab, "k1", { mode: "full" })).toEqual({ ...first, replayed: true });
  expect(lab.control.asked).toEqual(["run docs full"]);
  // Another key is another act; so is the same of somebody else.
  await act(lab, "k2", { mode: "full" });
  await act(lab, "k1", { mode: "full" }, undefined, "admin");
  expect(lab.control.asked).toHaveLength(3);
});

test("the same key for something else is refused: another body, another route", async () => {
  await using lab = await networkLab();
  await act(lab, "k", { mode: "full" });
  expect(await act(lab, "k", { mode: "incremental" })).toMatchObject({ status: 422, body: { code: "key_mismatch" } });
  expect(await act(lab, "k", undefined, "/api/v1/jobs/docs/pause")).toMatchObject({ status: 422 });
  expect(lab.control.asked).toEqual(["run docs full"]);
});

test("what was refused may be tried again under its key; what failed may not", async () => {
  await using lab = await networkLab();
  expect((await act(lab, "k", undefined, "/api/v1/jobs/other/run")).status).toBe(404);
  expect((await act(lab, "k", { mode: "quick" })).status).toBe(400);
  expect((await act(lab, "k")).status).toBe(202);
  let calls = 0;
  lab.control.reload = () => {
    calls++;
    return Promise.reject(new HoldfastError("internal", "half done"));
  };
  const reload = (): ReturnType<typeof act> => act(lab, "r", undefined, "/api/v1/config/reload", "admin");
  expect(await reload()).toMatchObject({ status: 500, replayed: false });
  expect(await reload()).toMatchObject({ status: 500, replayed: true, body: { detail: "half done" } });
  expect(calls).toBe(1);
});

test("one that is still being done is a conflict, also when who asked has gone", async () => {
  await using lab = await networkLab();
  const begun = Promise.withResolvers<void>();
  const end = Promise.withResolvers<void>();
  lab.control.reload = async () => {
    begun.resolve();
    await end.promise;
    return { timeMs: 0, result: "unchanged", changes: [], problems: [], error: undefined };
  };
  const reload = (): ReturnType<typeof act> => act(lab, "r", undefined, "/api/v1/config/reload", "admin");
  const first = reload();
  await begun.promise;
  expect(await reload()).toMatchObject({ status: 409, body: { code: "key_in_use" } });
  end.resolve();
  expect((await first).status).toBe(200);
  expect(await reload()).toMatchObject({ status: 200, replayed: true });
});

test("a stream is not kept: a repetition says that it was done, and does nothing", async () => {
  await using lab = await networkLab();
  const begun = Promise.withResolvers<void>();
  const end = Promise.withResolvers<void>();
  lab.control.work = async () => {
    begun.resolve();
    await end.promise;
    return { fine: true };
  };
  const backup = (): ReturnType<typeof act> => act(lab, "s", { job: "docs" }, "/api/v1/operations/backup");
  const first = backup();
  await begun.promise;
  expect(await backup()).toMatchObject({ status: 409, body: { detail: expect.stringContaining("still being done") } });
  end.resolve();
  expect((await first).status).toBe(200);
  expect(await backup()).toMatchObject({ status: 409, body: { detail: expect.stringContaining("was done") } });
  expect(lab.control.asked).toHaveLength(1);
});

test.each(["", " ", "a b", "x".repeat(201), "\u00e9"])("a key that is none is refused: %j", async (key) => {
  await using lab = await networkLab();
  expect((await act(lab, key)).status).toBe(400);
  expect(lab.control.asked).toEqual([]);
});

/** A server of one action that counts, with a clock of the test's. */
async function counting(): Promise<{
  app: FastifyInstance;
  clock: { now: number };
  post: (key: string, caller?: string) => Promise<string>;
}> {
  const clock = { now: 0 };
  const app = fastify();
  app.decorateRequest("caller");
  app.addHook("onRequest", async (request) => {
    request.caller = { name: String(request.headers["x-caller"]), role: "admin", from: "x" } satisfies Caller;
  });
  app.setErrorHandler((error, _request, reply) => {
    const problem = problemOf(error);
    void reply.code(problem.status).send(problem);
  });
  new Idempotency(() => clock.now).register(app);
  let count = 0;
  app.post("/", { config: { role: "admin" } }, async () => ({ count: ++count }));
  app.post("/large", { config: { role: "admin" } }, async () => "x".repeat(100_000 + ++count));
  await app.ready();
  const post = async (key: string, caller = "a"): Promise<string> =>
    (await app.inject({ method: "POST", url: "/", headers: { "idempotency-key": key, "x-caller": caller } })).payload;
  return { app, clock, post };
}

test("an answer is kept for a day", async () => {
  const { app, clock, post } = await counting();
  await using _app = app;
  expect(await post("k")).toBe('{"count":1}');
  clock.now = 24 * HOUR_MS;
  expect(await post("k")).toBe('{"count":1}');
  clock.now++;
  expect(await post("k")).toBe('{"count":2}');
});

test("of each caller the newest thousand are kept, whatever others do", async () => {
  const { app, post } = await counting();
  await using _app = app;
  await post("first", "a");
  await post("first", "b");
  for (let index = 0; index < 999; index++) await post(`k${index}`, "a");
  expect(await post("first", "a")).toBe('{"count":1}');
  await post("another", "a");
  expect(await post("first", "b")).toBe('{"count":2}');
  expect(await post("k900", "a")).toBe('{"count":903}');
  expect(await post("first", "a")).not.toBe('{"count":1}');
});

test("an answer that is too long to keep is not given again, and nothing is done again", async () => {
  const { app } = await counting();
  await using _app = app;
  const large = (): Promise<{ statusCode: number }> =>
    app.inject({ method: "POST", url: "/large", headers: { "idempotency-key": "k", "x-caller": "a" } });
  expect((await large()).statusCode).toBe(200);
  expect((await large()).statusCode).toBe(409);
});
