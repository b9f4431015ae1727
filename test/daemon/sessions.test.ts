import { expect, test } from "vitest";
import { Sessions } from "../../src/daemon/sessions.ts";
import type { Session } from "../../src/engine/session.ts";
import { FakeClock } from "../support/fake-clock.ts";

const HOUR = 3_600_000;

/** Sessions named by their order, and the names of those that were closed. */
function counted(): { readonly clock: FakeClock; readonly sessions: Sessions; readonly closed: number[] } {
  const clock = new FakeClock();
  const closed: number[] = [];
  let made = 0;
  const sessions = new Sessions(clock, () => {
    const number = ++made;
    const one: Pick<Session, typeof Symbol.asyncDispose> = { [Symbol.asyncDispose]: async () => void closed.push(number) };
    return Object.assign(one, { number }) as unknown as Session;
  });
  return { clock, sessions, closed };
}

/** Uses a session until it is told to end; returns its number. */
function user(sessions: Sessions): { readonly number: Promise<number>; readonly end: () => Promise<void> } {
  const number = Promise.withResolvers<number>();
  const over = Promise.withResolvers<void>();
  const done = sessions.use(async (session) => {
    number.resolve((session as unknown as { readonly number: number }).number);
    await over.promise;
  });
  return { number: number.promise, end: () => (over.resolve(), done) };
}

test("those at work at the same time share a session, and the last closes it", async () => {
  const { sessions, closed } = counted();
  const [a, b] = [user(sessions), user(sessions)];
  expect([await a.number, await b.number]).toEqual([1, 1]);
  await a.end();
  const c = user(sessions);
  expect(await c.number).toBe(1);
  await b.end();
  expect(closed).toEqual([]);
  await c.end();
  expect(closed).toEqual([1]);
  const d = user(sessions);
  expect(await d.number).toBe(2);
  await d.end();
  expect(closed).toEqual([1, 2]);
});

test("a session that was forgotten stays open for its users, and new ones get another", async () => {
  const { sessions, closed } = counted();
  const a = user(sessions);
  sessions.forget();
  const b = user(sessions);
  expect([await a.number, await b.number]).toEqual([1, 2]);
  await a.end();
  expect(closed).toEqual([1]);
  await b.end();
  expect(closed).toEqual([1, 2]);
});

test("one that is used for long gets no new users", async () => {
  const { clock, sessions, closed } = counted();
  const a = user(sessions);
  await clock.advance(HOUR + 1);
  const b = user(sessions);
  expect([await a.number, await b.number]).toEqual([1, 2]);
  await Promise.all([a.end(), b.end()]);
  expect(closed.toSorted((a, b) => a - b)).toEqual([1, 2]);
});

test("a use that fails closes its session, too", async () => {
  const { sessions, closed } = counted();
  await expect(sessions.use(() => Promise.reject(new Error("failed")))).rejects.toThrow("failed");
  expect(closed).toEqual([1]);
});

test("at the end all are closed, also one that is still in use, each once", async () => {
  const { sessions, closed } = counted();
  const a = user(sessions);
  sessions.forget();
  const b = user(sessions);
  await sessions[Symbol.asyncDispose]();
  expect(closed.toSorted((a, b) => a - b)).toEqual([1, 2]);
  await Promise.all([a.end(), b.end()]);
  expect(closed).toHaveLength(2);
});
