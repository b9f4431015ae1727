/** The routes of the control API: what they answer, and what they refuse. */
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import { describe, expect, test } from "vitest";
import { createApi, serveControl } from "../../src/api/server.ts";
import { HoldfastError } from "../../src/base/errors.ts";
import { asRunId } from "../../src/base/ids.ts";
import type { RunEvent } from "../../src/base/events.ts";
import type { LogQuery, RunQuery } from "../../src/state/state.ts";
import { DaemonClient, operationsIn } from "../../src/cli/daemon-client.ts";
import { temporaryTree } from "../support/tree-literal.ts";
import { fakeControl, RUN, type FakeControl } from "./fake-control.ts";

interface Served extends AsyncDisposable {
  readonly control: FakeControl;
  readonly state: string;
  readonly client: DaemonClient;
}

async function served(): Promise<Served> {
  const folder = temporaryTree({});
  const control = fakeControl();
  const server = await serveControl(control, folder.path);
  return {
    control,
    state: folder.path,
    client: new DaemonClient(folder.path),
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

const ask = async (
  app: FastifyInstance,
  method: "GET" | "POST" | "PUT" | "DELETE" | "PATCH",
  url: string,
  body?: unknown,
  type = "application/json",
): Promise<{ status: number; type: string; body: Record<string, unknown> }> => {
  const answer = await app.inject({
    method,
    url,
    ...(body !== undefined && {
      payload: typeof body === "string" ? body : JSON.stringify(body),
      headers: { "content-type": type },
    }),
  });
  return { status: answer.statusCode, type: String(answer.headers["content-type"]), body: JSON.parse(answer.payload) };
};

describe("what is asked", () => {
  test("reaches the daemon, and is answered", async () => {
    const control = fakeControl();
    await using app = createApi(control);
    expect((await ask(app, "GET", "/api/v1/status")).body).toMatchObject({ host: "tester", daemon: { version: "1.2.3" } });
    expect((await ask(app, "GET", "/api/v1/daemon")).body).toMatchObject({ pid: 1 });
    expect((await ask(app, "GET", "/api/v1/jobs")).body).toMatchObject({ jobs: [{ job: "docs" }] });
    expect((await ask(app, "GET", "/api/v1/jobs/docs")).body).toMatchObject({ job: "docs" });
    expect((await ask(app, "GET", `/api/v1/runs?limit=5&job=docs&since=2026-11-20T00:00:00Z`)).body).toMatchObject({
      runs: [{ id: RUN, status: "success", startTime: "1970-01-01T00:00:00.000Z", durationMs: 1000 }],
    });
    expect((await ask(app, "GET", `/api/v1/runs/0123`)).body).toMatchObject({ id: RUN });
    expect((await ask(app, "GET", `/api/v1/runs/0123/log?limit=10`)).body).toMatchObject({ logs: [{ text: "hello" }] });
    expect(await ask(app, "POST", "/api/v1/jobs/docs/run")).toMatchObject({
      status: 202,
      body: { job: "docs", requested: true },
    });
    expect((await ask(app, "POST", "/api/v1/jobs/docs/run", { mode: "full" })).status).toBe(202);
    expect((await ask(app, "POST", "/api/v1/jobs/docs/pause")).body).toEqual({ job: "docs", paused: true, changed: true });
    expect((await ask(app, "POST", "/api/v1/jobs/docs/resume")).body).toMatchObject({ paused: false });
    expect((await ask(app, "POST", "/api/v1/runs/docs/cancel")).body).toEqual({ cancelled: ["docs"] });
    expect((await ask(app, "POST", "/api/v1/config/reload")).body).toMatchObject({ result: "unchanged" });
    expect(control.asked).toEqual([
      `runs {"limit":6,"since":${Date.UTC(2026, 10, 20)},"job":"docs"}`,
      "run docs undefined",
      "run docs full",
      "pause docs",
      "resume docs",
      "cancel docs",
    ]);
  });

  test.each<[string, Parameters<typeof ask> extends [unknown, ...infer Rest] ? Rest : never, number, RegExp]>([
    ["no such path", ["GET", "/api/v1/nothing"], 404, /nothing at \/api\/v1\/nothing/],
    ["above the prefix", ["GET", "/"], 404, /nothing at \//],
    ["a path that climbs", ["GET", "/api/v1/jobs/..%2f..%2fetc"], 404, /no job/],
    ["another method", ["DELETE", "/api/v1/jobs"], 405, /takes GET, not DELETE/],
    ["another method of an action", ["GET", "/api/v1/config/reload"], 405, /takes POST, not GET/],
    ["no such job", ["POST", "/api/v1/jobs/other/run"], 404, /no job other/],
    ["no such run", ["GET", "/api/v1/runs/ffff"], 404, /no run ffff/],
    ["an id that is none", ["GET", "/api/v1/runs/xyz"], 400, /params/],
    ["a limit that is none", ["GET", "/api/v1/runs?limit=-1"], 400, /limit/],
    ["a limit that is huge", ["GET", "/api/v1/runs?limit=1e99"], 400, /limit/],
    ["an unknown filter", ["GET", "/api/v1/runs?colour=red"], 400, /unknown member "colour"/],
    ["a time that is none", ["GET", "/api/v1/runs?since=yesterday"], 400, /since is not a time/],
    ["no JSON", ["POST", "/api/v1/operations/backup", "{", "application/json"], 400, /not valid/],
    ["nothing", ["POST", "/api/v1/operations/backup"], 400, /body/],
    ["another type", ["POST", "/api/v1/operations/backup", "job=docs", "application/x-www-form-urlencoded"], 415, /Unsupported/],
    ["plain text", ["POST", "/api/v1/operations/backup", "docs", "text/plain"], 415, /Unsupported/],
    ["a list", ["POST", "/api/v1/operations/backup", []], 400, /must be object/],
    ["an unknown member", ["POST", "/api/v1/operations/backup", { job: "docs", force: true }], 400, /unknown member "force"/],
    ["a member of another type", ["POST", "/api/v1/operations/backup", { job: "docs", verify: "yes" }], 400, /body.verify/],
    ["a prototype", ["POST", "/api/v1/operations/backup", '{"job":"docs","__proto__":{"verify":true}}'], 400, /not valid/],
    ["a constructor", ["POST", "/api/v1/operations/backup", '{"job":"docs","constructor":{"prototype":{}}}'], 400, /not valid/],
    ["an unknown mode", ["POST", "/api/v1/jobs/docs/run", { mode: "quick" }], 400, /body.mode/],
    ["a relative folder", ["POST", "/api/v1/operations/restore", { ...RESTORE(), to: { folder: "here" } }], 400, /body.to/],
    ["half a restore", ["POST", "/api/v1/operations/restore", { selector: { id: "latest" } }], 400, /required/],
    ["too large", ["POST", "/api/v1/operations/backup", { job: "docs", description: "x".repeat(300_000) }], 413, /too large/],
    ["no such operation", ["POST", "/api/v1/operations/abcd/cancel"], 404, /no operation abcd/],
  ])("a request with %s is refused with a problem", async (_name, [method, url, body, type], status, detail) => {
    const control = fakeControl();
    await using app = createApi(control);
    const answer = await ask(app, method, url, body, type);
    expect(answer).toMatchObject({ status, type: "application/problem+json; charset=utf-8" });
    expect(answer.body).toMatchObject({ status, type: expect.stringMatching(/^urn:holdfast:error:/), code: expect.any(String) });
    expect(answer.body["detail"]).toMatch(detail);
    expect(control.asked).toEqual([]);
  });

  test("runs come in pages, as JSON and as CSV, in which no cell is a formula", async () => {
    const control = fakeControl();
    const ids = ["1", "2", "3", "4", "5"].map((digit) => asRunId(digit.repeat(32)));
    const asked: RunQuery[] = [];
    control.runs = (query) => {
      asked.push(query);
      const from = query.after === undefined ? 0 : ids.indexOf(query.after.id) + 1;
      return ids.slice(from, from + (query.limit ?? 100)).map((id) => ({
        ...control.run(RUN),
        id,
        startedMs: 7,
        reason: id.startsWith("2") ? "=cmd|' /C calc'!A0, x" : undefined,
      }));
    };
    await using app = createApi(control);
    const page = async (query: string): Promise<{ ids: string[]; next: string | null }> => {
      const { runs, next } = (await ask(app, "GET", `/api/v1/runs?limit=2${query}`)).body as {
        runs: { id: string }[];
        next: string | null;
      };
      return { ids: runs.map(({ id }) => id.slice(0, 1)), next };
    };
    const first = await page("");
    const second = await page(`&cursor=${first.next}`);
    const third = await page(`&cursor=${second.next}`);
    expect([first.ids, second.ids, third.ids, third.next]).toEqual([["1", "2"], ["3", "4"], ["5"], null]);
    expect(asked[1]).toEqual({ limit: 3, after: { startedMs: 7, id: ids[1] } });
    for (const how of [
      { url: "/api/v1/runs?limit=2&format=csv" },
      { url: "/api/v1/runs?limit=2", headers: { accept: "text/csv" } },
    ]) {
      const csv = await app.inject({ method: "GET", ...how });
      expect(csv.headers["content-type"]).toBe("text/csv; charset=utf-8; header=present");
      const lines = csv.payload.split("\r\n");
      expect(lines[0]).toBe("id,kind,subject,status,startTime,endTime,durationMs,reason,targets,error");
      expect(lines[2]).toContain(`,"'=cmd|' /C calc'!A0, x",`);
      expect(lines).toHaveLength(4);
      const next = /^<(.*)>; rel="next"$/.exec(String(csv.headers["link"]))?.[1];
      expect((await app.inject(next!)).payload.split("\r\n")[1]).toContain(ids[2]);
    }
    expect((await ask(app, "GET", "/api/v1/runs?cursor=1-2")).status).toBe(400);
  });

  test("a log is filtered by level and plain text, which is no pattern", async () => {
    const control = fakeControl();
    const asked: LogQuery[] = [];
    control.logs = (_, query) => (asked.push(query), []);
    await using app = createApi(control);
    await app.inject(`/api/v1/runs/${RUN}/log?level=warn&grep=${encodeURIComponent("(a+)+$ [x]/.*")}`);
    expect(asked[0]!.levels).toEqual(["warn", "error"]);
    expect(["so (A+)+$ [X]/.* it is", "aaaaaaaa", "x"].map((text) => asked[0]!.grep!.test(text))).toEqual([true, false, false]);
    await app.inject(`/api/v1/runs/${RUN}/log`);
    expect(asked[1]).toEqual({});
    expect((await ask(app, "GET", `/api/v1/runs/${RUN}/log?grep=${"x".repeat(201)}`)).status).toBe(400);
    expect((await ask(app, "GET", `/api/v1/runs/${RUN}/log?level=loud`)).status).toBe(400);
  });

  test("a failure of the daemon keeps its code, message, hint and data", async () => {
    const control = fakeControl();
    control.reload = async () => {
      throw new HoldfastError("state_busy", "It is busy", { hint: "Wait.", data: { pid: 7 } });
    };
    await using app = createApi(control);
    expect(await ask(app, "POST", "/api/v1/config/reload")).toMatchObject({
      status: 409,
      body: {
        type: "urn:holdfast:error:state_busy",
        title: "state busy",
        status: 409,
        detail: "It is busy",
        code: "state_busy",
        hint: "Wait.",
        data: { pid: 7 },
      },
    });
    control.reload = () => Promise.reject(new TypeError("oops"));
    expect(await ask(app, "POST", "/api/v1/config/reload")).toMatchObject({ status: 500, body: { code: "internal" } });
  });

  test("a request must have come in whole within a bounded time", async () => {
    await using app = createApi(fakeControl());
    expect([app.server.requestTimeout, app.server.headersTimeout, app.server.maxConnections]).toEqual([30_000, 10_000, 256]);
  });
});

const hooks = (signal: AbortSignal, told: string[]): Parameters<DaemonClient["attach"]>[3] => ({
  signal,
  onNotice: (text) => told.push(`notice ${text}`),
  onPart: (part) => told.push(`part ${part.part}`),
});

describe("what is attached to", () => {
  test("tells events, warnings and parts in their order, and its result with errors as errors", async () => {
    await using on = await served();
    on.control.work = async ({ onEvent, onWarning, onNotice, onPart }) => {
      onNotice("wait");
      onEvent({ type: "started", run: RUN, kind: "backup", subject: "docs", time: 0 });
      for (let i = 0; i < 1000; i++) onEvent({ type: "progress", run: RUN, progress: progress(i) });
      onWarning("careful");
      onPart({ part: "unavailable", target: "disk", error: new HoldfastError("target_full", "full", { hint: "free" }) });
      onEvent({ type: "message", run: RUN, level: "info", text: "a message" });
      onEvent({ type: "ended", run: RUN, status: "failed", time: 1 });
      return {
        run: RUN,
        status: "failed",
        durationMs: 1,
        error: new HoldfastError("source_changed", "moved", { data: { a: 1 } }),
      };
    };
    const told: string[] = [];
    const listener = (event: RunEvent): number =>
      told.push(event.type === "progress" ? `progress ${event.progress.filesDone}` : event.type);
    const operations = operationsIn(on.client, { listener, onWarning: (text) => told.push(`warning ${text}`) });
    const outcome = await operations.backup({ job: "docs" }, hooks(new AbortController().signal, told));
    expect(outcome.error).toBeInstanceOf(HoldfastError);
    expect(outcome.error).toMatchObject({ code: "source_changed", message: "moved", data: { a: 1 } });
    // Of a thousand steps within one moment the last is told, before what follows it.
    expect(told).toEqual(["notice wait", "started", "warning careful", "part unavailable", "progress 999", "message", "ended"]);
    expect(on.control.asked).toEqual(['backup {"job":"docs"}']);
  });

  test("what it throws is thrown here", async () => {
    await using on = await served();
    on.control.work = () => Promise.reject(new HoldfastError("restore_refused", "no", { hint: "why" }));
    const operations = operationsIn(on.client, { listener: () => undefined, onWarning: () => undefined });
    await expect(
      operations.rollback({ run: "ab", verify: false, confirmedLive: true }, hooks(new AbortController().signal, [])),
    ).rejects.toMatchObject({ code: "restore_refused", message: "no", hint: "why" });
    await expect(
      on.client.attach("/jobs/other/run", { wait: true }, quiet, hooks(new AbortController().signal, [])),
    ).rejects.toMatchObject({ code: "name_unknown" });
  });

  test("is cancelled by who started it, and tells its end", async () => {
    await using on = await served();
    on.control.work = async ({ signal, onEvent }) => {
      onEvent({ type: "started", run: RUN, kind: "backup", subject: "docs", time: 0 });
      await once(signal, "abort");
      return { run: RUN, status: "cancelled", durationMs: 1, error: signal.reason as HoldfastError };
    };
    const stop = new AbortController();
    const operations = operationsIn(on.client, { listener: () => stop.abort(), onWarning: () => undefined });
    expect(await operations.backup({ job: "docs" }, hooks(stop.signal, []))).toMatchObject({
      status: "cancelled",
      error: { code: "cancelled" },
    });
  });

  test("one that is cancelled before it is answered is cancelled all the same", async () => {
    await using on = await served();
    on.control.work = async ({ signal }) => {
      if (!signal.aborted) await once(signal, "abort");
      return { run: RUN, status: "cancelled", durationMs: 1 };
    };
    const operations = operationsIn(on.client, quiet);
    expect(await operations.backup({ job: "docs" }, hooks(AbortSignal.abort(), []))).toMatchObject({ status: "cancelled" });
  });

  test("who goes away gives it up, and nothing stays behind", async () => {
    await using on = await served();
    const given = Promise.withResolvers<unknown>();
    on.control.work = async ({ signal }) => {
      if (!signal.aborted) await once(signal, "abort");
      given.resolve((signal.reason as HoldfastError).message);
    };
    const socket = connect(join(on.state, "control.sock"));
    const body = JSON.stringify({ job: "docs" });
    socket.write(
      `POST /api/v1/operations/backup HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    await once(socket, "data");
    socket.destroy();
    expect(await given.promise).toMatch(/has gone/);
  });

  test("a reader that does not read loses messages, is told how many, and holds nothing up", async () => {
    await using on = await served();
    const done = Promise.withResolvers<void>();
    on.control.work = async ({ onEvent }) => {
      const text = "x".repeat(64 * 1024);
      for (let i = 0; i < 400; i++) onEvent({ type: "message", run: RUN, level: "warn", text });
      done.resolve();
      return { fine: true };
    };
    const socket = connect(join(on.state, "control.sock"));
    socket.pause();
    const body = JSON.stringify({ job: "docs" });
    socket.write(
      `POST /api/v1/operations/backup HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    await done.promise;
    let text = "";
    for await (const chunk of socket) text += (chunk as Buffer).toString();
    const dropped = /"type":"dropped","messages":(\d+)/.exec(text)?.[1];
    expect(Number(dropped)).toBeGreaterThan(300);
    expect(text).toContain('"result":{"fine":true}');
    expect(text.length).toBeLessThan(8 * 2 ** 20);
  });

  test("a daemon that ends in the middle is an error that names the run", async () => {
    const on = await served();
    on.control.work = async ({ onEvent, signal }) => {
      onEvent({ type: "started", run: RUN, kind: "backup", subject: "docs", time: 0 });
      await once(signal, "abort");
    };
    const operations = operationsIn(on.client, {
      listener: () => void on[Symbol.asyncDispose](),
      onWarning: () => undefined,
    });
    await expect(operations.backup({ job: "docs" }, hooks(new AbortController().signal, []))).rejects.toMatchObject({
      code: "daemon_unreachable",
      message: "The daemon ended in the middle of run 01234567",
      data: { run: RUN },
    });
  });

  test("what has ended is told to the end, also when the daemon ends with it", async () => {
    const on = await served();
    const text = "x".repeat(6 * 2 ** 20);
    const ended = Promise.withResolvers<void>();
    on.control.work = async () => {
      setImmediate(() => ended.resolve(on[Symbol.asyncDispose]()));
      return { run: RUN, status: "success", durationMs: 1, text };
    };
    const outcome = await operationsIn(on.client, quiet).backup({ job: "docs" }, hooks(new AbortController().signal, []));
    expect((outcome as unknown as { text: string }).text).toBe(text);
    await ended.promise;
  });

  test("following a run may be left, which changes nothing", async () => {
    await using on = await served();
    const given = Promise.withResolvers<void>();
    on.control.work = async ({ signal, onEvent }) => {
      onEvent({ type: "started", run: RUN, kind: "backup", subject: "docs", time: 0 });
      await once(signal, "abort");
      given.resolve();
    };
    const stop = new AbortController();
    const told = { listener: () => stop.abort(), onWarning: () => undefined };
    await expect(
      on.client.attach("/jobs/docs/run", { wait: true }, told, hooks(stop.signal, []), { leaves: true }),
    ).rejects.toMatchObject({ name: "AbortError" });
    await given.promise;
    expect(on.control.asked).toEqual([]);
  });

  test("fifty requests at once are all answered", async () => {
    await using on = await served();
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        on.client.ask<{ job?: string }>("POST", `/jobs/docs/${i % 2 === 0 ? "pause" : "resume"}`),
      ),
    );
    expect(answers).toHaveLength(50);
    expect(on.control.asked).toHaveLength(50);
  });
});

const quiet = { listener: () => undefined, onWarning: () => undefined };

function progress(filesDone: number): Extract<RunEvent, { type: "progress" }>["progress"] {
  return {
    phase: "reading",
    filesDone,
    filesTotal: undefined,
    bytesDone: 0,
    bytesTotal: undefined,
    storedBytes: 0,
    current: undefined,
  };
}

function RESTORE(): Record<string, unknown> {
  return {
    selector: { id: "latest" },
    path: "/",
    to: "in-place",
    include: [],
    exclude: [],
    overwrite: "if-changed",
    delete: false,
    verifyFirst: false,
    verify: false,
    safetySnapshot: true,
    confirmedLive: false,
  };
}
