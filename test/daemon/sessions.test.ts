import { expect, test } from "vitest";
import { Sessions } from "../../src/daemon/sessions.ts";
import type { Session } from "../../src/engine/session.ts";

/** Says its name when it is closed. */
function session(name: string, closed: string[]): Session {
  const one: Pick<Session, typeof Symbol.asyncDispose> = { [Symbol.asyncDispose]: async () => void closed.push(name) };
  return one as Session;
}

test("a session that was replaced is closed at once when nothing uses it", async () => {
  const closed: string[] = [];
  await using sessions = new Sessions(session("a", closed));
  await sessions.use(async () => undefined);
  sessions.replace(session("b", closed));
  expect(closed).toEqual(["a"]);
});

test("a session in use stays open until the last of its users has ended, and new users get the new one", async () => {
  const closed: string[] = [];
  const first = session("a", closed);
  const second = session("b", closed);
  await using sessions = new Sessions(first);
  const ends = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const users = ends.map(({ promise }) =>
    sessions.use(async (mine) => {
      expect(mine).toBe(first);
      await promise;
      expect(closed).toEqual([]);
    }),
  );
  sessions.replace(second);
  await sessions.use(async (mine) => expect(mine).toBe(second));
  ends[0]?.resolve();
  await users[0];
  expect(closed).toEqual([]);
  ends[1]?.resolve();
  await users[1];
  expect(closed).toEqual(["a"]);
});

test("at the end all are closed, also one that is still in use", async () => {
  const closed: string[] = [];
  const sessions = new Sessions(session("a", closed));
  const { promise, resolve } = Promise.withResolvers<void>();
  const user = sessions.use(() => promise);
  sessions.replace(session("b", closed));
  await sessions[Symbol.asyncDispose]();
  expect(closed.sort()).toEqual(["a", "b"]);
  resolve();
  await user;
});
