/** What readers of events see: in order, whole over reconnects and restarts, and told when something is lost. */
import { expect, test } from "vitest";
import type { RunEvent } from "../../src/base/events.ts";
import { asRunId } from "../../src/base/ids.ts";
import { systemRandom } from "../../src/codec/system-random.ts";
import { Feed, type FeedItem, type FeedReader } from "../../src/daemon/feed.ts";
import { makeEvent } from "../../src/plan/events.ts";
import { openState, type State } from "../../src/state/state.ts";
import { config, job } from "../plan/literals.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { temporaryTree } from "../support/tree-literal.ts";

const CONFIG = config([job("docs"), job("mails")]);
const DAY_MS = 86_400_000;

interface Lab extends Disposable {
  readonly state: State;
  readonly clock: FakeClock;
  readonly feed: Feed;
  /** Another process on the same state: the command line, or a daemon after a restart. */
  other(): { readonly state: State; readonly feed: Feed };
}

function lab(): Lab {
  const folder = temporaryTree({});
  const clock = new FakeClock();
  const opened: Disposable[] = [folder];
  const other = (): { state: State; feed: Feed } => {
    const state = openState(folder.path);
    const feed = new Feed({ state, clock, random: systemRandom });
    opened.unshift(feed, state);
    return { state, feed };
  };
  return { ...other(), clock, other, [Symbol.dispose]: () => opened.forEach((one) => one[Symbol.dispose]()) };
}

let count = 0;
function happen(state: State, jobs: readonly string[] = ["docs"], timeMs = Date.parse("2026-01-01T00:00:00Z")): void {
  const id = `evt_${String(++count).padStart(32, "0")}`;
  state.recordEvent(makeEvent(CONFIG, id, { type: "backup_failed", timeMs, summary: `s${count}`, jobs, targets: [] }));
}

const run = asRunId("a".repeat(32));
const started = (subject = "docs", kind: "backup" | "prune" = "backup"): RunEvent => ({
  type: "started",
  run,
  kind,
  subject,
  time: 0,
});
const ended: RunEvent = { type: "ended", run, status: "cancelled", time: 1 };
const progress = (filesDone: number): RunEvent => ({
  type: "progress",
  run,
  progress: { phase: "reading", filesDone, filesTotal: 9, bytesDone: 0, bytesTotal: 1, storedBytes: 0, current: undefined },
});

function all(reader: FeedReader): FeedItem[] {
  const items: FeedItem[] = [];
  for (let item = reader.next(); item !== undefined; item = reader.next()) items.push(item);
  return items;
}
const names = (items: readonly FeedItem[]): string[] =>
  items.map(({ type, data }) =>
    type === "backup_failed" ? (JSON.parse(data) as { data: { summary: string } }).data.summary : type,
  );

test("a new reader sees what comes from now on, in its order, each with its jobs", () => {
  using on = lab();
  happen(on.state);
  let woken = 0;
  using reader = on.feed.follow(undefined, () => woken++);
  expect(all(reader)).toEqual([]);
  on.feed.run(started());
  happen(on.state, ["mails"]);
  on.feed.run(ended);
  on.feed.run(started("disk", "prune"));
  expect(woken).toBe(4);
  const items = all(reader);
  expect(items.map(({ type, jobs }) => [type, jobs])).toEqual([
    ["run_started", ["docs"]],
    ["backup_failed", ["mails"]],
    ["run_ended", ["docs"]],
    ["run_started", []],
  ]);
  expect(JSON.parse(items[2]!.data)).toMatchObject({ run, kind: "backup", subject: "docs", status: "cancelled", error: null });
  expect(new Set(items.map(({ id }) => id)).size).toBe(4);
});

test("who comes back with any id gets exactly what followed it", () => {
  using on = lab();
  using first = on.feed.follow(undefined, () => undefined);
  const start = first.position;
  on.feed.run(started());
  for (let index = 0; index < 5; index++) happen(on.state);
  on.feed.run(ended);
  const items = all(first);
  expect(items).toHaveLength(7);
  for (const [index, { id }] of [{ id: start }, ...items].entries()) {
    using again = on.feed.follow(id, () => undefined);
    expect(names(all(again))).toEqual(names(items.slice(index)));
    expect(again.lost()).toBeUndefined();
    expect(again.position).toBe(first.position);
  }
});

test("over a restart no event is lost, and none comes twice", () => {
  using on = lab();
  using reader = on.feed.follow(undefined, () => undefined);
  happen(on.state);
  on.feed.run(started());
  const [seen] = all(reader);
  for (let index = 0; index < 250; index++) happen(on.state);
  const { state, feed } = on.other();
  happen(state);
  using again = feed.follow(seen!.id, () => undefined);
  // A part is read, and the connection breaks again.
  const part = Array.from({ length: 130 }, () => again.next()!);
  happen(state);
  feed.run(started());
  using third = feed.follow(part.at(-1)!.id, () => undefined);
  const rest = all(third);
  expect(third.lost()).toBeUndefined();
  const both = names([...part, ...rest]).filter((name) => name !== "run_started");
  expect(both).toEqual(Array.from({ length: 252 }, (_, index) => `s${count - 251 + index}`));
  expect(names(all(again)).at(-1)).toBe("run_started");
});

test("events of other processes are seen too, soon", async () => {
  using on = lab();
  const { state } = on.other();
  let woken = 0;
  using reader = on.feed.follow(undefined, () => woken++);
  happen(state);
  expect(all(reader)).toEqual([]);
  await on.clock.advance(5000);
  expect([woken, names(all(reader))]).toEqual([1, [`s${count}`]]);
  reader[Symbol.dispose]();
  await on.clock.advance(5000);
  expect(on.clock.sleeping, "nobody reads, and nothing polls").toBe(0);
});

test("where runs are is told to each reader once, the newest only, and never after their end", () => {
  using on = lab();
  on.feed.run(started());
  for (let index = 0; index < 100; index++) on.feed.run(progress(index));
  using reader = on.feed.follow(undefined, () => undefined);
  expect(reader.progress()).toMatchObject([{ run, subject: "docs", jobs: ["docs"], progress: { filesDone: 99 } }]);
  expect(reader.progress()).toEqual([]);
  on.feed.run(progress(100));
  on.feed.run(ended);
  on.feed.run(progress(101));
  expect(reader.progress()).toEqual([]);
});

test.each([
  ["nonsense", "the id is not one of these events"],
  ["", "the id is not one of these events"],
  ["00000000.1.00000000.0", "the id belongs to another state"],
  ["99999999999999999999.1.00000000.0", "the id is not one of these events"],
])("an id that means nothing here (%j) is told, and reading goes on from now", (id, why) => {
  using on = lab();
  happen(on.state);
  using reader = on.feed.follow(id, () => undefined);
  expect(all(reader)).toEqual([]);
  expect(reader.lost()).toBe(why);
  expect(reader.lost()).toBeUndefined();
  happen(on.state);
  expect(all(reader)).toHaveLength(1);
});

test("an id of a state that was deleted, or of events that are forgotten, is told", () => {
  using on = lab();
  using reader = on.feed.follow(undefined, () => undefined);
  const start = reader.position;
  for (let index = 0; index < 3; index++) happen(on.state);
  const id = all(reader).at(-1)!.id;
  using elsewhere = lab();
  using there = elsewhere.feed.follow(id, () => undefined);
  expect(there.lost()).toBe("the id belongs to another state");
  on.state.outbox.forget(Date.parse("2026-01-01T00:00:00Z") + 8 * DAY_MS);
  const { feed, state } = on.other();
  happen(state);
  using old = feed.follow(start, () => undefined);
  expect([old.lost(), all(old).length]).toEqual(["events after this id are forgotten", 1]);
  using good = feed.follow(id, () => undefined);
  expect([good.lost(), all(good).length]).toEqual([undefined, 1]);
});

test("a reader that is far too slow is told that it lost something, and memory stays bounded", () => {
  using on = lab();
  using slow = on.feed.follow(undefined, () => undefined);
  for (let index = 0; index < 1500; index++) {
    on.feed.run(started());
    on.feed.run(ended);
  }
  expect(all(slow)).toHaveLength(2000);
  expect(slow.lost()).toBe("the reader was too slow");
});

test("an event that cannot be read, of another version or of a damaged state, fails nobody", () => {
  using on = lab();
  using reader = on.feed.follow(undefined, () => undefined);
  const event = { type: "backup_failed", timeMs: 0, run: undefined, deliveries: [] } as const;
  for (const [index, payload] of [
    "",
    "{",
    "null",
    "7",
    '{"data":null}',
    '{"data":{"jobs":"docs"}}',
    '{\n"data":{"jobs":["docs",7]}\n}',
  ].entries())
    on.state.recordEvent({ ...event, id: `evt_bad${index}`, payload });
  const items = all(reader);
  expect(items.map(({ jobs }) => jobs)).toEqual([[], [], [], [], [], [], ["docs"]]);
  expect(items.map(({ data }) => data).join("\n")).not.toContain("\n\n");
  expect(items.at(-1)!.data).toBe('{"data":{"jobs":["docs",7]}}');
});
