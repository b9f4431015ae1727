/** Changes of the configuration over the API: what is asked of the daemon, and what is answered. */
import { expect, test } from "vitest";
import { createApi } from "../../src/api/server.ts";
import { HoldfastError, type ErrorCode } from "../../src/base/errors.ts";
import type { ConfigWriteRequest, ConfigWriteResult } from "../../src/daemon/config-writing.ts";
import { fakeControl } from "./fake-control.ts";

const DIGEST = "d".repeat(64);
const RESULT: ConfigWriteResult = {
  file: "/c.yaml",
  changed: true,
  created: false,
  previousDigest: DIGEST,
  digest: "e".repeat(64),
  warnings: [],
  commit: { committed: true, commit: "abc", reason: undefined },
  reload: { timeMs: 0, result: "reloaded", changes: ["schedules.nightly changed"], problems: [], error: undefined },
  planned: true,
  pending: [],
};

test("the files are shown with their digest as ETag", async () => {
  await using app = createApi(fakeControl());
  const answer = await app.inject("/api/v1/config/source");
  expect(answer.headers["etag"]).toBe(`"${DIGEST}"`);
  expect(answer.json()).toEqual({ digest: DIGEST, files: [{ path: "/c.yaml", text: "version: 1\n" }], problems: [] });
});

test("a change reaches the daemon with who asks and what it was made for, and is answered and recorded", async () => {
  const control = fakeControl();
  const asked: ConfigWriteRequest[] = [];
  control.write = async (request) => {
    asked.push(request);
    return { ...RESULT, created: request.edit.name === "new" };
  };
  await using app = createApi(control);
  const headers = { "if-match": `"${DIGEST}"`, "content-type": "application/json" };
  const put = await app.inject({ method: "PUT", url: "/api/v1/config/schedules/nightly", headers, payload: '"0 3 * * *"' });
  expect([put.statusCode, put.headers["etag"]]).toEqual([200, `"${"e".repeat(64)}"`]);
  expect(put.json()).toMatchObject({
    section: "schedules",
    name: "nightly",
    file: "/c.yaml",
    commit: { committed: true, commit: "abc", reason: null },
    reload: { result: "reloaded", changes: ["schedules.nightly changed"] },
  });
  const created = await app.inject({ method: "PUT", url: "/api/v1/config/jobs/new", headers, payload: { sources: ["a"] } });
  expect(created.statusCode).toBe(201);
  const gone = await app.inject({
    method: "DELETE",
    url: "/api/v1/config/retention/few",
    headers: { "if-match": `W/"${DIGEST}"` },
  });
  expect(gone.statusCode).toBe(200);
  expect(asked).toEqual([
    { edit: { section: "schedules", name: "nightly", value: "0 3 * * *" }, match: DIGEST, author: "owner" },
    { edit: { section: "jobs", name: "new", value: { sources: ["a"] } }, match: DIGEST, author: "owner" },
    { edit: { section: "retention", name: "few", value: undefined }, match: DIGEST, author: "owner" },
  ]);
  expect(control.audited).toMatchObject([
    {
      action: "config.write",
      subject: "schedules.nightly",
      outcome: "accepted",
      detail: {
        file: "/c.yaml",
        changed: true,
        previousDigest: DIGEST,
        digest: "e".repeat(64),
        commit: "abc",
        reload: "reloaded",
      },
    },
    { action: "config.write", subject: "jobs.new" },
    { action: "config.delete", subject: "retention.few" },
  ]);
});

test.each<[ErrorCode, number]>([
  ["config_invalid", 422],
  ["config_changed", 412],
  ["config_match_missing", 428],
  ["config_write_refused", 409],
  ["name_unknown", 404],
])("%s is answered with %i and what the error says", async (code, status) => {
  const control = fakeControl();
  control.write = async () => {
    throw new HoldfastError(code, "no", { data: { yaml: "jobs:\n" } });
  };
  await using app = createApi(control);
  const answer = await app.inject({ method: "PUT", url: "/api/v1/config/jobs/docs", payload: {} });
  expect([answer.statusCode, answer.json()]).toMatchObject([status, { code, data: { yaml: "jobs:\n" } }]);
  expect(control.audited).toMatchObject([{ outcome: "refused", code }]);
});

test.each([
  ["PUT", "/config/jobs/__proto__", "{}", 400],
  ["PUT", "/config/jobs/constructor%2fx", "{}", 400],
  ["PUT", "/config/jobs/..%2f..%2fetc", "{}", 400],
  ["PUT", "/config/jobs/Docs", "{}", 400],
  ["PUT", "/config/jobs/docs", '{"__proto__":{"x":1}}', 400],
  ["PUT", "/config/jobs/docs", "[]", 400],
  ["PUT", "/config/jobs/docs", '"text"', 400],
  ["PUT", "/config/schedules/docs", "5", 400],
  ["PUT", "/config/jobs/docs?force=1", "{}", 400],
  ["PUT", "/config/jobs/docs", "{", 400],
  ["PUT", "/config/jobs/docs", JSON.stringify({ description: "x".repeat(300_000) }), 413],
  ["PUT", "/config/targets/disk", "{}", 404],
  ["POST", "/config/jobs/docs", "{}", 405],
] as const)("%s %s with %.40s is refused with %i, and the daemon is not asked", async (method, url, payload, status) => {
  const control = fakeControl();
  let asked = 0;
  control.write = async () => {
    asked++;
    return RESULT;
  };
  await using app = createApi(control);
  const headers = { "if-match": `"${DIGEST}"`, "content-type": "application/json" };
  expect((await app.inject({ method, url: `/api/v1${url}`, headers, payload })).statusCode).toBe(status);
  expect(asked).toBe(0);
});

test.each(["*", DIGEST, '"abc"', `"${DIGEST}", "${"e".repeat(64)}"`])(
  "If-Match: %s names not one configuration",
  async (match) => {
    await using app = createApi(fakeControl());
    const headers = { "if-match": match };
    expect((await app.inject({ method: "DELETE", url: "/api/v1/config/jobs/docs", headers })).statusCode).toBe(428);
  },
);
