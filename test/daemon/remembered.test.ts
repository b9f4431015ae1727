import { expect, test } from "vitest";
import { Remembered } from "../../src/daemon/remembered.ts";
import { openState } from "../../src/state/state.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { temporaryTree } from "../support/tree-literal.ts";

test("an answer is given again for its time, unless anybody changed the state meanwhile", async () => {
  using folder = temporaryTree({});
  using state = openState(folder.path);
  using other = openState(folder.path);
  const clock = new FakeClock(0);
  const remembered = new Remembered({ clock, state, forMs: 1000, max: 2 });
  let made = 0;
  const ask = (key = "a"): number => remembered.get(key, () => ++made);
  expect([ask(), ask(), ask("b"), ask()]).toEqual([1, 1, 2, 1]);
  state.setPaused("docs", true, 0);
  expect([ask(), ask()]).toEqual([3, 3]);
  other.setPaused("docs", false, 0);
  expect([ask(), ask()]).toEqual([4, 4]);
  await clock.advance(999);
  expect(ask()).toBe(4);
  await clock.advance(1);
  expect(ask()).toBe(5);
  // The oldest goes when there are too many.
  expect([ask("b"), ask("c"), ask("b"), ask("a")]).toEqual([6, 7, 6, 8]);
});

test("those who ask meanwhile share one promise, and nobody is given a failure again", async () => {
  using folder = temporaryTree({});
  using state = openState(folder.path);
  const remembered = new Remembered({ clock: new FakeClock(0), state, forMs: 1000 });
  let made = 0;
  const failing = (): Promise<number> =>
    remembered.get("a", async () => {
      made++;
      throw new Error("no");
    });
  const both = await Promise.allSettled([failing(), failing()]);
  expect([made, ...both.map(({ status }) => status)]).toEqual([1, "rejected", "rejected"]);
  expect(await remembered.get("a", async () => 7)).toBe(7);
});
