import { createHmac } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { HoldfastError } from "../../src/base/errors.ts";
import { Secret } from "../../src/base/secret.ts";
import type { WebhookConfig } from "../../src/config/config.ts";
import type { SendContext } from "../../src/notify/sending.ts";
import { sendWebhook } from "../../src/notify/webhook.ts";
import { eventsOfEnd, eventsOfStart } from "../../src/engine/run-events.ts";
import { asRunId } from "../../src/base/ids.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { httpReceiver, type HttpReceiver } from "../support/http-receiver.ts";
import { temporaryTree } from "../support/tree-literal.ts";
import { configOf, context, event, webhook } from "./setting.ts";

let receiver: HttpReceiver;
beforeEach(async () => (receiver = await httpReceiver()));
afterEach(async () => await receiver[Symbol.asyncDispose]());

const config = configOf([webhook("http://unused.example/")]);
const hook = (changes: Partial<WebhookConfig> = {}, path = "/hook"): WebhookConfig =>
  webhook(`${receiver.origin}${path}`, changes);

async function send(of: WebhookConfig, stored = event(config), changes: Partial<SendContext> = {}): Promise<void> {
  await sendWebhook(of, { event: stored.id, payload: stored.payload }, context(changes));
}

async function failure(of: WebhookConfig, changes: Partial<SendContext> = {}): Promise<HoldfastError> {
  try {
    await send(of, undefined, changes);
  } catch (error) {
    return error as HoldfastError;
  }
  throw new Error("it was sent");
}

const RUN = { id: asRunId("00112233445566778899aabbccddeeff"), kind: "backup", subject: "docs", startedMs: 1000 } as const;
const error = { code: "target_full", message: "Target disk is full", hint: "Free some <space>", transient: false } as const;

describe("a plain webhook", () => {
  test("gets the stored bytes, with an id, a time, and a signature that Standard Webhooks can verify", async () => {
    const stored = event(config);
    const secret = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
    await send(hook({ signingSecret: { plain: new Secret(secret) } }), stored, { clock: new FakeClock("2026-05-01T00:00:00Z") });
    const [one] = receiver.received;
    expect(one).toMatchObject({
      method: "POST",
      path: "/hook",
      body: stored.payload,
      headers: {
        "content-type": "application/json",
        "user-agent": "holdfast/1.2.3",
        "webhook-id": stored.id,
        "webhook-timestamp": String(Date.parse("2026-05-01T00:00:00Z") / 1000),
      },
    });
    const { "webhook-timestamp": time } = one!.headers;
    const expected = createHmac("sha256", Buffer.alloc(32, 7))
      .update(`${stored.id}.${String(time)}.${stored.payload}`)
      .digest("base64");
    expect(one!.headers["webhook-signature"]).toBe(`v1,${expected}`);
    expect(JSON.parse(one!.body)).toMatchObject({ id: stored.id, type: "backup_failed", data: { host: "web1", jobs: ["docs"] } });
  });

  test("signs as the example of the specification", async () => {
    const stored = { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", payload: '{"test": 2432232314}' };
    const signed = hook({ signingSecret: { plain: new Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") } });
    await sendWebhook(signed, { event: stored.id, payload: stored.payload }, context({ clock: new FakeClock(1614265330_000) }));
    expect(receiver.received[0]!.headers["webhook-signature"]).toBe("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
  });

  test("is not signed by what is no signing secret, and the secret is not told", async () => {
    for (const secret of ["canary", "whsec_", "whsec_Y2FuYXJ5", "whsec_canary canary canary canary canary"]) {
      const thrown = await failure(hook({ signingSecret: { plain: new Secret(secret) } }));
      expect(thrown.code).toBe("secret_unavailable");
      expect(JSON.stringify(thrown.toWire())).not.toMatch(/canary|Y2FuYXJ5/);
    }
    expect(receiver.received).toEqual([]);
  });

  test("gets headers that are text, and headers whose secret is read when something is sent", async () => {
    using folder = temporaryTree({});
    const file = join(folder.path, "token");
    const of = hook({
      method: "PUT",
      headers: [
        { name: "X-Team", prefix: "", value: { plain: new Secret("storage") } },
        { name: "Authorization", prefix: "Bearer ", value: { file } },
        { name: "X-Env", prefix: "", value: { env: "TOKEN" } },
      ],
    });
    const secrets = { env: { TOKEN: "from-env" }, credentialsDirectory: undefined };
    expect(await failure(of, { secrets })).toMatchObject({ code: "secret_unavailable" });
    expect(receiver.received).toEqual([]);
    for (const token of ["first", "second"]) {
      writeFileSync(file, `${token}\n`, { mode: 0o600 });
      await send(of, undefined, { secrets });
    }
    expect(
      receiver.received.map(({ method, headers }) => [method, headers["x-team"], headers.authorization, headers["x-env"]]),
    ).toEqual([
      ["PUT", "storage", "Bearer first", "from-env"],
      ["PUT", "storage", "Bearer second", "from-env"],
    ]);
    writeFileSync(file, "canary\r\nX-Evil: yes\n");
    const thrown = await failure(of, { secrets });
    expect(thrown.code).toBe("receiver_refused");
    expect(JSON.stringify(thrown.toWire())).not.toContain("canary");
    expect(receiver.received).toHaveLength(2);
  });

  test("with GET there is no body", async () => {
    await send(hook({ method: "GET" }));
    expect(receiver.received).toMatchObject([{ method: "GET", body: "" }]);
  });
});

describe("services", () => {
  const failed = eventsOfEnd(config, { ...RUN, reason: "schedule: nightly" }, { status: "failed", endedMs: 61_000, error })[0]!;

  test("slack gets text in which nothing is a mention or a link", async () => {
    await send(hook({ kind: "slack" }), event(config, "backup_failed", { summary: "<!channel> & <https://evil.example|click>" }));
    const { text } = JSON.parse(receiver.received[0]!.body) as { text: string };
    expect(text).toContain("&lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;");
    await send(hook({ kind: "slack" }), failed);
    expect(JSON.parse(receiver.received[1]!.body)).toEqual({
      text: [
        "*Backup of docs failed on web1: Target disk is full*",
        "time: 1970-01-01 00:01 UTC",
        "host: web1",
        "job: docs",
        "targets: disk",
        "why: schedule: nightly",
        "error: target_full",
        "what to do: Free some &lt;space&gt;",
        `run: ${RUN.id}`,
        `event: backup_failed ${failed.id}`,
      ].join("\n"),
    });
  });

  test("discord gets an embed, and may call nobody", async () => {
    await send(hook({ kind: "discord" }), event(config, "backup_failed", { summary: `@everyone ${"x".repeat(1000)}` }));
    const body = JSON.parse(receiver.received[0]!.body) as { embeds: { title: string }[]; allowed_mentions: unknown };
    expect(body.allowed_mentions).toEqual({ parse: [] });
    expect(body.embeds[0]!.title.length).toBeLessThanOrEqual(256);
  });

  test("ntfy gets text, and headers that nothing can be put into", async () => {
    await send(hook({ kind: "ntfy" }), failed);
    await send(hook({ kind: "ntfy" }), event(config, "backup_completed", { jobs: ["fotos\r\nX-Evil: ä"] }));
    expect(receiver.received[0]).toMatchObject({
      headers: { title: "backup failed: docs (web1)", priority: "4", tags: "rotating_light" },
    });
    expect(receiver.received[0]!.body.split("\n")[0]).toBe("Backup of docs failed on web1: Target disk is full");
    const { title, priority, "x-evil": evil } = receiver.received[1]!.headers;
    expect(Buffer.from(/^=\?UTF-8\?B\?(.*)\?=$/.exec(String(title))![1]!, "base64").toString()).toBe(
      String.raw`backup completed: fotos\x0d\x0aX-Evil: ä (web1)`,
    );
    expect([priority, evil]).toEqual(["2", undefined]);
  });

  test("healthchecks is pinged at start and end of a run, which belong together by its id", async () => {
    const ends = (["success", "partial", "failed", "interrupted"] as const).flatMap((status) =>
      eventsOfEnd(config, RUN, { status, endedMs: 2000, ...(status === "failed" && { error }) }),
    );
    const verified = eventsOfEnd(config, { ...RUN, kind: "verify" }, { status: "success", endedMs: 2000 });
    for (const path of ["/ping/uuid", "/ping/uuid/"])
      for (const one of [...eventsOfStart(config, RUN), ...ends, ...verified, event(config, "config_reloaded")])
        await send(hook({ kind: "healthchecks" }, path), one);
    const rid = "rid=00112233-4455-6677-8899-aabbccddeeff";
    const paths = receiver.received.map(({ path }) => path);
    expect(paths.slice(0, 7)).toEqual([
      `/ping/uuid/start?${rid}`,
      `/ping/uuid?${rid}`,
      `/ping/uuid/fail?${rid}`,
      `/ping/uuid/fail?${rid}`,
      `/ping/uuid/fail?${rid}`,
      `/ping/uuid/log?${rid}`,
      "/ping/uuid/log",
    ]);
    expect(paths[7]).toBe(paths[0]);
    expect(receiver.received[3]!.body).toContain("Target disk is full");
  });
});

describe("a receiver that does not take it", () => {
  test.each([200, 201, 202, 204, 299])("%i is a success", async (status) => {
    receiver.answer = () => ({ status });
    await send(hook());
  });

  test.each([300, 304, 400, 401, 403, 404, 410, 413, 418, 429, 500, 502, 503])("%i is a failure that says so", async (status) => {
    receiver.answer = () => ({ status, body: "canary-answer" });
    const thrown = await failure(hook({}, "/path-canary?token=canary"));
    expect(thrown).toMatchObject({ code: "receiver_failed", transient: status !== 410 });
    expect(thrown.message).toBe(`webhooks.hook (${receiver.origin}) answered with ${status}`);
    expect(thrown.hint).toMatch(/./);
    expect(JSON.stringify(thrown.toWire())).not.toContain("canary");
  });

  test("Retry-After is read as seconds or as a date, and is bounded", async () => {
    const clock = new FakeClock("2026-01-01T00:00:00Z");
    for (const [header, expected] of [
      ["120", 120_000],
      ["Thu, 01 Jan 2026 00:10:00 GMT", 600_000],
      ["Thu, 01 Jan 2015 00:00:00 GMT", 0],
      ["999999999", 6 * 3_600_000],
      ["soon", undefined],
    ] as const) {
      receiver.answer = () => ({ status: 429, headers: { "retry-after": header } });
      expect((await failure(hook(), { clock })).data).toEqual({
        gone: false,
        ...(expected !== undefined && { retryAfterMs: expected }),
      });
    }
  });

  test.each(["close", "break"] as const)("one that %ss is a failure", async (answer) => {
    receiver.answer = () => answer;
    expect(await failure(hook({}, "/canary"))).toMatchObject({ code: "receiver_failed" });
  });

  test("one that never answers is a failure after the timeout, and one that is asked for by nobody any more ends at once", async () => {
    receiver.answer = () => "hang";
    const clock = new FakeClock();
    const hanging = failure(hook({ timeoutMs: 5000 }), { clock: clock });
    await receiver.arrived(1);
    await clock.advance(5000);
    expect((await hanging).message).toContain("did not answer within 5 s");
    const stop = new AbortController();
    const stopped = send(hook(), undefined, { signal: stop.signal });
    await receiver.arrived(2);
    stop.abort(new Error("stopping"));
    await expect(stopped).rejects.toThrow("stopping");
  });

  test("an answer without end is not read to its end", async () => {
    receiver.answer = () => ({ status: 200, body: "x".repeat(10_000_000) });
    await send(hook());
  });

  test("nobody at the port, and a name that does not exist, are failures that name scheme and host alone", async () => {
    const nobody = await failure(webhook("http://127.0.0.1:1/canary?canary"));
    expect(nobody.message).toBe("webhooks.hook (http://127.0.0.1:1) cannot be reached (ECONNREFUSED)");
    const lookup = async (): Promise<never> => {
      throw Object.assign(new Error("getaddrinfo ENOTFOUND"), { code: "ENOTFOUND" });
    };
    const unknown = await failure(webhook("https://nowhere.test/canary"), { lookup });
    expect(unknown.message).toBe(
      "webhooks.hook (https://nowhere.test) cannot be reached: its name cannot be resolved (ENOTFOUND)",
    );
  });
});
