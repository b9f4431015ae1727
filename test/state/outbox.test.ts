import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, expect, test } from "vitest";
import { asRunId } from "../../src/base/ids.ts";
import { eventIdOf, type StoredEvent } from "../../src/plan/events.ts";
import type { ClaimedDelivery, ClaimOptions } from "../../src/state/outbox.ts";
import { openState, type State } from "../../src/state/state.ts";

const RUN = asRunId("1".repeat(32));
const NOW = Date.parse("2026-06-01T00:00:00Z");
const LEASE_MS = 300_000;
const DAY_MS = 86_400_000;

let directory: string;
let state: State;
let other: State;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "holdfast-outbox-"));
  state = openState(directory);
  other = openState(directory);
});
afterEach(() => {
  state.close();
  other.close();
  rmSync(directory, { recursive: true });
});

let count = 0;
const stored = (changes: Partial<StoredEvent> = {}, receivers = ["webhooks.a"]): StoredEvent => ({
  id: `evt_${String(++count).padStart(4, "0")}`,
  type: "backup_failed",
  timeMs: NOW,
  run: undefined,
  payload: `{"n":${count}}`,
  deliveries: receivers.map((receiver) => ({ receiver, dueMs: NOW })),
  ...changes,
});
const claim = (of: State, nowMs = NOW, changes: Partial<ClaimOptions> = {}, receiver = "webhooks.a"): ClaimedDelivery[] =>
  of.outbox.claim(receiver, { nowMs, leaseMs: LEASE_MS, lease: `lease ${++count}`, ...changes });
const start = (): void => state.startRun({ id: RUN, kind: "backup", subject: "docs", startedMs: NOW });

test("the end of a run and its event are stored together, or neither is", () => {
  start();
  const database = new DatabaseSync(join(directory, "state.db"));
  database.exec("CREATE TRIGGER full BEFORE INSERT ON deliveries BEGIN SELECT RAISE(ABORT, 'no room'); END");
  expect(() => state.endRun(RUN, { status: "success", endedMs: NOW }, [stored()])).toThrow(
    expect.objectContaining({ code: "state_unusable" }),
  );
  expect(other.run(RUN)).toMatchObject({ status: undefined, endedMs: undefined });
  expect(other.outbox.deliveries()).toEqual([]);
  database.exec("DROP TRIGGER full; CREATE TRIGGER stuck BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'stuck'); END");
  expect(() => state.endRun(RUN, { status: "success", endedMs: NOW }, [stored()])).toThrow(
    expect.objectContaining({ code: "state_unusable" }),
  );
  expect(other.outbox.deliveries()).toEqual([]);
  database.exec("DROP TRIGGER stuck");
  database.close();
  state.endRun(RUN, { status: "success", endedMs: NOW }, [stored()]);
  expect(other.run(RUN)?.status).toBe("success");
  expect(other.outbox.deliveries()).toMatchObject([
    { type: "backup_failed", receiver: "webhooks.a", state: "pending", attempts: 0 },
  ]);
});

test("nobody is told of an end that a run does not get any more, and of one event only once", () => {
  start();
  const event = stored({ id: eventIdOf(RUN, "backup_failed"), run: RUN });
  other.endRun(RUN, { status: "interrupted", endedMs: NOW }, [event]);
  state.endRun(RUN, { status: "success", endedMs: NOW }, [stored({ type: "backup_completed" })]);
  state.recordEvent(event);
  expect(state.outbox.deliveries().map(({ event: id, type }) => [id, type])).toEqual([[event.id, "backup_failed"]]);
});

test("an event that nobody asked for is kept for who follows, and delivered to who asks for it later", () => {
  let [told, followed] = [0, 0];
  using _listening = state.outbox.onStored(() => told++);
  using _following = state.outbox.onEvent(() => followed++);
  const unheard = stored({}, []);
  state.recordEvent(unheard);
  expect([told, followed]).toEqual([0, 1]);
  expect(state.outbox.deliveries()).toEqual([]);
  state.recordEvent(stored());
  expect([told, followed]).toEqual([1, 2]);
  expect(other.outbox.eventsAfter(0, 10).map(({ sequence, id }) => [sequence, id])).toEqual([
    [1, unheard.id],
    [2, expect.any(String)],
  ]);
  // The same happened still when somebody wanted to know of it.
  state.recordEvent({ ...unheard, deliveries: [{ receiver: "webhooks.a", dueMs: NOW }] });
  state.recordEvent({ ...unheard, deliveries: [{ receiver: "webhooks.b", dueMs: NOW }] });
  expect(state.outbox.deliveries({ event: unheard.id }).map(({ receiver }) => receiver)).toEqual(["webhooks.a"]);
  expect(state.outbox.eventsAfter(1, 10)).toHaveLength(1);
});

test("events are forgotten with their deliveries, or after a week, and it is known up to where", () => {
  const week = 7 * 86_400_000;
  state.recordEvent(stored({}, []));
  state.recordEvent(stored());
  state.recordEvent(stored({ timeMs: NOW + week }, []));
  expect(state.outbox.eventRange()).toEqual({ newest: 3, forgotten: 0 });
  state.outbox.forget(NOW + week);
  expect(state.outbox.eventsAfter(0, 10).map(({ sequence }) => sequence)).toEqual([1, 2, 3]);
  state.outbox.forget(NOW + week + 1);
  expect(state.outbox.eventsAfter(0, 10).map(({ sequence }) => sequence)).toEqual([2, 3]);
  expect(other.outbox.eventRange()).toEqual({ newest: 3, forgotten: 1 });
  const [first] = claim(state);
  state.outbox.delivered(first!, NOW);
  state.outbox.forget(NOW + 3 * week);
  expect(state.outbox.eventsAfter(0, 10)).toEqual([]);
  expect(state.outbox.eventRange()).toEqual({ newest: 3, forgotten: 3 });
});

test("of events that nobody gets there are never more than so many", () => {
  const database = new DatabaseSync(join(directory, "state.db"));
  const insert = database.prepare("INSERT INTO events (id, type, time_ms, payload) VALUES (?, 'backup_failed', ?, '{}')");
  database.exec("BEGIN");
  // One before it is counted again.
  for (let index = 0; index < 41 * 256 - 1; index++) insert.run(`evt_${index}`, NOW);
  database.exec("COMMIT");
  database.close();
  state.recordEvent(stored({}, []));
  expect(state.outbox.eventsAfter(0, 20_000)).toHaveLength(10_000);
  expect(state.outbox.eventRange()).toEqual({ newest: 41 * 256, forgotten: 41 * 256 - 10_000 });
});

test("two processes never have the same delivery, in the order of the events, and one waits for the one before it", () => {
  const events = [stored(), stored(), stored({}, ["webhooks.b"])];
  for (const event of events) state.recordEvent(event);
  const [first] = claim(state);
  expect(first).toMatchObject({ event: events[0]!.id, attempts: 1, payload: events[0]!.payload });
  expect(claim(other)).toEqual([]);
  expect(claim(other, NOW, {}, "webhooks.b")).toMatchObject([{ event: events[2]!.id }]);
  state.outbox.retry(first!, NOW + 5000, "later");
  expect(claim(other)).toEqual([]);
  expect(claim(other, NOW + 5000)).toMatchObject([{ event: events[0]!.id, attempts: 2 }]);
  expect(claim(state, NOW + 5000)).toEqual([]);
});

test("one that has failed four times lets later ones pass, but not while it is being sent", () => {
  const [poison, next] = [stored(), stored()];
  for (const event of [poison, next]) state.recordEvent(event);
  for (let n = 1; n <= 4; n++) {
    const [claimed] = claim(state, NOW + n);
    expect(claimed).toMatchObject({ event: poison.id, attempts: n });
    expect(claim(other, NOW + n)).toEqual([]);
    state.outbox.retry(claimed!, NOW + (n < 4 ? n + 1 : 1_000_000), "refused");
  }
  expect(claim(other, NOW + 10)).toMatchObject([{ event: next.id }]);
});

test("a lease ends with its time, and then its owner's result is not taken any more", () => {
  state.recordEvent(stored());
  const [late] = claim(state);
  expect(claim(other, NOW + LEASE_MS - 1)).toEqual([]);
  const [taken] = claim(other, NOW + LEASE_MS);
  expect(taken).toMatchObject({ event: late!.event, attempts: 2 });
  state.outbox.retry(late!, NOW + 10 * DAY_MS, "late");
  state.outbox.dead(late!, NOW, "late");
  state.outbox.release(late!);
  expect(other.outbox.deliveries()).toMatchObject([{ state: "pending", attempts: 2, error: undefined }]);
  other.outbox.delivered(taken!, NOW);
  expect(state.outbox.deliveries()).toMatchObject([{ state: "delivered", endedMs: NOW }]);
});

test("a lease of a process that is provably dead ends at once, that of a living one does not", () => {
  state.recordEvent(stored());
  claim(state);
  other.outbox.releaseDead();
  expect(claim(other)).toEqual([]);
  const database = new DatabaseSync(join(directory, "state.db"));
  database.exec(`UPDATE deliveries SET lease_owner = replace(lease_owner, '"processStart":"', '"processStart":"1')`);
  database.close();
  other.outbox.releaseDead();
  expect(claim(other)).toHaveLength(1);
});

test("a clock that was set back does not keep anything for years", () => {
  state.recordEvent(stored());
  const [ahead] = claim(state, NOW + 3650 * DAY_MS);
  expect(claim(other)).toHaveLength(1);
  state.outbox.retry(ahead!, 0, "lost its lease");
  state.recordEvent(stored({ deliveries: [{ receiver: "webhooks.c", dueMs: NOW + 3650 * DAY_MS }] }));
  expect(claim(other, NOW, {}, "webhooks.c")).toHaveLength(1);
});

test("a digest takes everything that is due, and nothing that is not", () => {
  for (const dueMs of [NOW, NOW + 1, NOW + 2, NOW + 3])
    state.recordEvent(stored({ deliveries: [{ receiver: "email.digest", dueMs }] }));
  expect(claim(state, NOW + 2, { limit: 100 }, "email.digest")).toHaveLength(3);
  expect(state.outbox.pending(NOW + 2)).toEqual([{ receiver: "email.digest", nextMs: NOW + 3 }]);
});

test("what has ended can be sent again, from the beginning and under its id", () => {
  const [dead, done] = [stored(), stored()];
  for (const event of [dead, done]) state.recordEvent(event);
  state.outbox.dead(claim(state)[0]!, NOW, "refused");
  state.outbox.delivered(claim(state)[0]!, NOW);
  expect(state.outbox.deliveries({ state: "dead" })).toMatchObject([{ event: dead.id, error: "refused", dueMs: undefined }]);
  expect(state.outbox.resend("dead", NOW + 1)).toBe(1);
  expect(state.outbox.resend({ event: done.id }, NOW + 1)).toBe(1);
  expect(state.outbox.resend({ event: "evt_unknown" }, NOW + 1)).toBe(0);
  expect(state.outbox.deliveries({ event: dead.id })).toMatchObject([
    { state: "pending", attempts: 0, error: undefined, dueMs: NOW + 1 },
  ]);
  expect(claim(state, NOW + 1)).toMatchObject([{ event: dead.id, attempts: 1, sinceMs: NOW + 1 }]);
});

test("old rows are forgotten, and never what is pending", () => {
  const events = ["delivered", "dead", "pending"].map(() => stored());
  for (const event of events) state.recordEvent(event);
  state.outbox.delivered(claim(state)[0]!, NOW);
  state.outbox.dead(claim(state)[0]!, NOW, "refused");
  const left = (nowMs: number): string[] => {
    state.outbox.forget(nowMs);
    return state.outbox.deliveries().map(({ state: one }) => one);
  };
  expect(left(NOW + 7 * DAY_MS)).toEqual(["pending", "dead", "delivered"]);
  expect(left(NOW + 7 * DAY_MS + 1)).toEqual(["pending", "dead"]);
  expect(left(NOW + 90 * DAY_MS + 1)).toEqual(["pending"]);
  const database = new DatabaseSync(join(directory, "state.db"));
  expect(database.prepare("SELECT count(*) AS n FROM events").get()).toEqual({ n: 1 });
  database.exec(`
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10050)
    INSERT INTO events (id, type, time_ms, payload) SELECT 'many ' || i, 'backup_failed', 0, '' FROM n;
    INSERT INTO deliveries (event, receiver, state, attempts, since_ms, due_ms, ended_ms)
      SELECT sequence, 'webhooks.a', 'dead', 1, 0, 0, ${NOW + 90 * DAY_MS} FROM events WHERE id LIKE 'many %'`);
  state.outbox.forget(NOW + 90 * DAY_MS);
  expect(database.prepare("SELECT state, count(*) AS n FROM deliveries GROUP BY state ORDER BY state").all()).toEqual([
    { state: "dead", n: 10_000 },
    { state: "pending", n: 1 },
  ]);
  expect(database.prepare("SELECT count(*) AS n FROM events").get()).toEqual({ n: 10_001 });
  database.close();
});

test("what nobody delivers any more is given up after a time", () => {
  state.recordEvent(stored());
  state.outbox.expire("webhooks.a", NOW, NOW + 1, "no such receiver");
  expect(state.outbox.deliveries()).toMatchObject([{ state: "pending" }]);
  state.outbox.expire("webhooks.a", NOW + 1, NOW + 2, "no such receiver");
  expect(state.outbox.deliveries()).toMatchObject([{ state: "dead", error: "no such receiver", endedMs: NOW + 2 }]);
});
