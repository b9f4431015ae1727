import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Config } from "../../src/config/config.ts";
import { makeEvent } from "../../src/plan/events.ts";
import type { DeliveryRecord } from "../../src/state/outbox.ts";
import { settle } from "../support/fake-clock.ts";
import { httpReceiver, type HttpReceiver } from "../support/http-receiver.ts";
import { mailServer } from "../support/mail-server.ts";
import { configOf, email, event, post, webhook, type Post } from "./setting.ts";

const HOUR_MS = 3_600_000;
let receiver: HttpReceiver;
let config: Config;
beforeEach(async () => {
  receiver = await httpReceiver();
  config = configOf([webhook(receiver.origin)]);
});
afterEach(async () => await receiver[Symbol.asyncDispose]());

const ids = (of = receiver): unknown[] => of.received.map(({ headers }) => headers["webhook-id"]);
const rows = ({ state }: Post): DeliveryRecord[] => state.outbox.deliveries({ limit: 1000 }).toReversed();
const store = ({ state, clock }: Post, of = config, type: Parameters<typeof event>[1] = "backup_failed"): string => {
  const one = event(of, type, { timeMs: clock.now() });
  state.recordEvent(one);
  return one.id;
};

/** Lets time pass until everything has been tried that is due then, however long real servers take. */
async function pass(one: Post, ms: number): Promise<void> {
  await one.clock.advance(ms);
  await one.notifier.flush(60_000);
}

test("what is stored is delivered at once, in order, and each once", async () => {
  await using one = post(config);
  one.notifier.start();
  const sent = [store(one), store(one), store(one)];
  await receiver.arrived(3);
  await one.notifier.flush(60_000);
  expect(ids()).toEqual(sent);
  expect(rows(one).map(({ state, attempts }) => `${state} ${attempts}`)).toEqual(["delivered 1", "delivered 1", "delivered 1"]);
  await pass(one, HOUR_MS);
  expect(receiver.received).toHaveLength(3);
});

test("a failure is tried again under the same id with the same bytes, later each time, until it works", async () => {
  await using one = post(config);
  receiver.answer = (n) => (n < 6 ? { status: 500 } : undefined);
  const id = store(one);
  const waits: number[] = [];
  await one.notifier.flush(60_000);
  for (let [row] = rows(one); row?.dueMs !== undefined; [row] = rows(one)) {
    const wait = row.dueMs - one.clock.now();
    waits.push(wait);
    await pass(one, wait - 1);
    expect(rows(one)[0]!.attempts).toBe(row.attempts);
    await pass(one, 1);
  }
  expect(ids()).toEqual(Array.from({ length: 7 }, () => id));
  expect(new Set(receiver.received.map(({ body }) => body)).size).toBe(1);
  expect(waits).toHaveLength(6);
  waits.forEach((wait, n) => {
    expect(wait).toBeGreaterThanOrEqual(5000 * 2 ** n * 0.75);
    expect(wait).toBeLessThanOrEqual(5000 * 2 ** n * 1.25);
  });
  expect(rows(one)).toMatchObject([{ state: "delivered", attempts: 7, error: undefined }]);
  expect(one.lines.filter((line) => line.startsWith("warn"))).toHaveLength(6);
});

test("what is never taken is dead after three days and some thirty attempts, can be seen, and can be sent again", async () => {
  await using one = post(config);
  receiver.answer = () => ({ status: 503 });
  const id = store(one);
  await one.notifier.flush(60_000);
  for (let [row] = rows(one); row?.dueMs !== undefined; [row] = rows(one)) await pass(one, row.dueMs - one.clock.now());
  const [dead] = rows(one);
  expect(dead).toMatchObject({ state: "dead", event: id });
  expect(dead!.error).toContain("answered with 503");
  expect(dead!.attempts).toBeGreaterThan(30);
  expect(dead!.attempts).toBeLessThanOrEqual(40);
  expect(dead!.endedMs! - dead!.timeMs).toBeGreaterThan(71 * HOUR_MS);
  expect(dead!.endedMs! - dead!.timeMs).toBeLessThan(80 * HOUR_MS);
  expect(one.lines.filter((line) => line.startsWith("error") && line.includes("given up"))).toHaveLength(1);
  receiver.answer = () => undefined;
  one.state.outbox.resend("dead", one.clock.now());
  await one.notifier.flush(60_000);
  expect(rows(one)).toMatchObject([{ state: "delivered", attempts: 1 }]);
  expect(new Set(ids())).toEqual(new Set([id]));
});

test("a clock that jumps years ahead kills nothing that was hardly tried", async () => {
  await using one = post(config);
  receiver.answer = (n) => (n < 3 ? { status: 500 } : undefined);
  store(one);
  for (let n = 0; n < 3; n++) {
    await one.notifier.flush(60_000);
    await one.clock.jump(10 * 365 * 24 * HOUR_MS);
  }
  await one.notifier.flush(60_000);
  expect(rows(one)).toMatchObject([{ state: "delivered", attempts: 4 }]);
});

test("Retry-After is kept, also beyond the own wait; 410 ends it at once", async () => {
  await using one = post(config);
  receiver.answer = (n) => [{ status: 429, headers: { "retry-after": "3600" } }, { status: 410 }][n];
  store(one);
  await one.notifier.flush(60_000);
  expect(rows(one)[0]!.dueMs).toBe(one.clock.now() + HOUR_MS);
  await pass(one, HOUR_MS - 1);
  expect(receiver.received).toHaveLength(1);
  await pass(one, 1);
  expect(rows(one)).toMatchObject([{ state: "dead", attempts: 2 }]);
});

test("later events wait for one that is tried again, in vain four times at most, and never for another receiver", async () => {
  await using other = await httpReceiver();
  config = configOf([webhook(receiver.origin), webhook(other.origin, { name: "other" })]);
  await using one = post(config);
  receiver.answer = (_n, { body }) => (body.includes("poison") ? { status: 400 } : undefined);
  const poison = makeEvent(config, "evt_poison", {
    type: "backup_failed",
    timeMs: one.clock.now(),
    summary: "poison",
    jobs: [],
    targets: [],
  });
  one.state.recordEvent(poison);
  const later = [store(one), store(one)];
  await one.notifier.flush(60_000);
  expect(ids(other)).toEqual(["evt_poison", ...later]);
  expect(ids()).toEqual(["evt_poison"]);
  for (let n = 0; n < 3; n++) await pass(one, 60_000);
  expect(ids()).toEqual([...Array.from({ length: 4 }, () => "evt_poison"), ...later]);
});

test("half of a hundred attempts fail in every way: each event arrives, in order, under one id", async () => {
  await using one = post(config);
  const ways = [{ status: 500 }, "close", { status: 302, headers: { location: "/" } }, "break", { status: 429 }] as const;
  let fails = 0;
  receiver.answer = (n) => (n % 2 === 0 ? ways[fails++ % ways.length] : undefined);
  const sent = Array.from({ length: 50 }, () => store(one));
  for (let n = 0; n < 60; n++) await pass(one, 10_000);
  expect([...new Set(ids())]).toEqual(sent);
  expect(receiver.received).toHaveLength(100);
  expect(fails).toBe(50);
  expect(rows(one).every(({ state }) => state === "delivered")).toBe(true);
});

test("two processes at once deliver each event once", async () => {
  await using one = post(config);
  const { notifier } = one.another();
  const sent = Array.from({ length: 40 }, () => store(one));
  one.notifier.start();
  notifier.start();
  await receiver.arrived(40);
  await Promise.all([one.notifier.flush(60_000), notifier.flush(60_000)]);
  expect(ids()).toEqual(sent);
});

test("what was under way when a process stopped is sent by the next one, and does not count as tried", async () => {
  await using one = post(config);
  receiver.answer = (n) => (n === 0 ? "hang" : undefined);
  const id = store(one);
  one.notifier.start();
  await receiver.arrived(1);
  await one.notifier[Symbol.asyncDispose]();
  expect(rows(one)).toMatchObject([{ state: "pending", attempts: 0 }]);
  const { notifier } = one.another();
  await notifier.flush(60_000);
  expect(ids()).toEqual([id, id]);
  expect(rows(one)).toMatchObject([{ state: "delivered", attempts: 1 }]);
});

test("a bounded delivery does not wait for a receiver that hangs", async () => {
  await using one = post(config);
  receiver.answer = () => "hang";
  store(one);
  const flushing = one.notifier.flush(2000);
  await receiver.arrived(1);
  await one.clock.advance(2000);
  expect(await flushing).toEqual({ done: false });
  const hurry = new AbortController();
  const hurried = one.notifier.flush(2000, hurry.signal);
  hurry.abort();
  expect(await hurried).toEqual({ done: false });
});

test("a configuration that is replaced counts at once: another URL, a receiver that is gone, one that is back", async () => {
  await using moved = await httpReceiver();
  await using one = post(config);
  receiver.answer = () => ({ status: 404 });
  const id = store(one);
  await one.notifier.flush(60_000);
  one.use(configOf([]));
  await pass(one, HOUR_MS);
  expect(receiver.received).toHaveLength(1);
  expect(rows(one)).toMatchObject([{ state: "pending", attempts: 1 }]);
  one.use(configOf([webhook(moved.origin)]));
  await pass(one, 1);
  expect(ids(moved)).toEqual([id]);
  store(one);
  one.use(configOf([]));
  await pass(one, 73 * HOUR_MS);
  expect(rows(one)[1]).toMatchObject({ state: "dead", error: "There is no receiver webhooks.hook in the configuration" });
});

test("an event without a run is stored for those who asked for it, and a state that cannot be written is only logged", async () => {
  await using one = post(configOf([webhook(receiver.origin, { events: ["objective_missed"] })]));
  one.notifier.record({ type: "objective_missed", summary: "docs has no copy since 2d", jobs: ["docs"], targets: [] });
  one.notifier.record({ type: "objective_met", summary: "docs is well", jobs: ["docs"], targets: [] });
  await one.notifier.flush(60_000);
  expect(receiver.received.map(({ body }) => JSON.parse(body) as unknown)).toMatchObject([
    { type: "objective_missed", data: { summary: "docs has no copy since 2d" } },
  ]);
  one.state.close();
  one.notifier.record({ type: "objective_missed", summary: "again", jobs: [], targets: [] });
  expect(one.lines.at(-1)).toMatch(/^warn the event objective_missed could not be stored/);
});

test("neither log nor outbox holds more of a URL than scheme and host, whatever fails", async () => {
  await using one = post(configOf([webhook(`${receiver.origin}/canary-path?token=canary`)]));
  const ways = [
    { status: 500, body: "canary" },
    "close",
    { status: 302, headers: { location: "http://canary/" } },
    { status: 410 },
  ] as const;
  receiver.answer = (n) => ways[n];
  store(one);
  for (let n = 0; n < 4; n++) await pass(one, 60_000);
  expect(receiver.received).toHaveLength(4);
  expect(one.lines.join("\n")).not.toContain("canary");
  expect(one.lines.join("\n")).toContain(receiver.origin);
  expect(JSON.stringify(rows(one))).not.toContain("canary");
});

describe("mail", () => {
  test("events go out at once, and the digest at its time, one mail for all", async () => {
    await using server = await mailServer();
    config = configOf([], { email: email(server.port, { events: ["backup_failed"], digestMinute: 7 * 60 }) });
    await using one = post(config);
    one.notifier.start();
    for (let n = 0; n < 5; n++) store(one, config, "backup_completed");
    store(one, config, "backup_failed");
    await one.notifier.flush(60_000);
    expect(server.mails).toMatchObject([{ text: expect.stringContaining("backup failed: docs") as unknown }]);
    server.refuse = ({ n }) => (n === 1 ? 451 : undefined);
    await pass(one, 7 * HOUR_MS);
    expect(server.mails).toHaveLength(1);
    expect(one.lines.filter((line) => line.startsWith("warn"))).toEqual([
      expect.stringContaining("email.digest: 6 events could not be delivered"),
    ]);
    server.refuse = () => undefined;
    await pass(one, 60_000);
    expect(server.mails).toHaveLength(2);
    expect(server.mails[1]!.text).toContain("6 events");
    expect(rows(one).map(({ state }) => state)).toEqual(Array.from({ length: 7 }, () => "delivered"));
    await pass(one, 24 * HOUR_MS);
    expect(server.mails).toHaveLength(2);
  });
});

test("a test message is sent once and at once, says that it is one, and its failure is told", async () => {
  await using one = post(config);
  await one.notifier.test("webhooks.hook");
  expect(JSON.parse(receiver.received[0]!.body)).toMatchObject({ type: "test", data: { host: "web1" } });
  receiver.answer = () => ({ status: 403 });
  await expect(one.notifier.test("webhooks.hook")).rejects.toMatchObject({ code: "receiver_failed" });
  await expect(one.notifier.test("webhooks.other")).rejects.toMatchObject({ code: "name_unknown" });
  expect(await one.notifier.check("webhooks.hook")).toBe(receiver.origin);
  await settle();
  expect(receiver.received).toHaveLength(2);
  expect(rows(one)).toEqual([]);
});
