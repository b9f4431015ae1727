/** Events over real connections: what a reader gets, comes back to, and cannot do to others. */
import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { expect, test } from "vitest";
import type { RunEvent } from "../../src/base/events.ts";
import { asRunId } from "../../src/base/ids.ts";
import { systemRandom } from "../../src/codec/system-random.ts";
import { Feed } from "../../src/daemon/feed.ts";
import { makeEvent, type EventDescription } from "../../src/plan/events.ts";
import { openState, type State } from "../../src/state/state.ts";
import { createSystemClock } from "../../src/state/system-clock.ts";
import { config, job } from "../plan/literals.ts";
import { temporaryTree } from "../support/tree-literal.ts";
import { TOKENS } from "./fake-control.ts";
import { networkLab, type Lab } from "./network-lab.ts";

interface Message {
  readonly id?: string;
  readonly event: string;
  readonly data: Record<string, unknown>;
}

interface Stage extends AsyncDisposable {
  readonly lab: Lab;
  readonly state: State;
  readonly feed: Feed;
  readonly port: number;
  happen(type?: EventDescription["type"], jobs?: readonly string[]): void;
}

const CONFIG = config([job("docs"), job("mails")]);

async function stage(): Promise<Stage> {
  const folder = temporaryTree({});
  const state = openState(folder.path);
  const feed = new Feed({ state, clock: createSystemClock(), random: systemRandom });
  // The lab builds its server around the feed that is there by then.
  const lab = await networkLab({ feed });
  await lab.app.listen({ port: 0, host: "127.0.0.1" });
  let count = 0;
  return {
    lab,
    state,
    feed,
    port: (lab.app.server.address() as AddressInfo).port,
    happen: (type = "backup_failed", jobs = ["docs"]) =>
      state.recordEvent(
        makeEvent(CONFIG, `evt_${String(++count).padStart(32, "0")}`, {
          type,
          timeMs: Date.now(),
          summary: `s${count}`,
          jobs,
          targets: [],
        }),
      ),
    [Symbol.asyncDispose]: async () => {
      await lab[Symbol.asyncDispose]();
      feed[Symbol.dispose]();
      state.close();
      folder[Symbol.dispose]();
    },
  };
}

interface Reading extends Disposable {
  readonly answer: IncomingMessage;
  /** The next message. Rejects when the stream ends before. */
  next(): Promise<Message>;
  readonly ended: Promise<void>;
}

async function read(on: Stage, query = "", headers: Readonly<Record<string, string>> = {}): Promise<Reading> {
  const request = get({
    host: "127.0.0.1",
    port: on.port,
    path: `/api/v1/events${query}`,
    headers: { authorization: `Bearer ${TOKENS.viewer}`, ...headers },
  });
  const [answer] = (await once(request, "response")) as [IncomingMessage];
  const ended = new Promise<void>((resolve) => answer.once("close", resolve));
  answer.on("error", () => undefined);
  request.on("error", () => undefined);
  answer.setEncoding("utf8");
  const iterator = answer[Symbol.asyncIterator]() as AsyncIterator<string>;
  const whole: string[] = [];
  let rest = "";
  const next = async (): Promise<Message> => {
    for (;;) {
      const message = whole.shift();
      if (message === undefined) {
        const { value, done } = await iterator.next();
        if (done === true) throw new Error("the stream has ended");
        whole.push(...`${rest}${value}`.split("\n\n"));
        rest = whole.pop() ?? "";
        continue;
      }
      const fields = new Map(
        message
          .split("\n")
          .filter((line) => !line.startsWith(":"))
          .map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]),
      );
      const [id, event, data] = [fields.get("id"), fields.get("event"), fields.get("data")];
      if (event !== undefined)
        return { ...(id !== undefined && { id }), event, data: JSON.parse(data ?? "") as Record<string, unknown> };
    }
  };
  return { answer, next, ended, [Symbol.dispose]: () => request.destroy() };
}

const run = asRunId("b".repeat(32));
const started = (subject = "docs"): RunEvent => ({ type: "started", run, kind: "backup", subject, time: 0 });
const ended: RunEvent = { type: "ended", run, status: "success", time: 1 };

test("a run is followed from its beginning to its end, with where it is, through a connection that breaks", async () => {
  await using on = await stage();
  using first = await read(on);
  expect(first.answer.headers).toMatchObject({
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  on.feed.run(started());
  on.happen("backup_started");
  on.feed.run({
    type: "progress",
    run,
    progress: { phase: "reading", filesDone: 7, filesTotal: 9, bytesDone: 0, bytesTotal: 1, storedBytes: 0, current: "a" },
  });
  expect(await first.next()).toMatchObject({ event: "run_started", data: { run, subject: "docs" } });
  const seen = await first.next();
  expect(seen).toMatchObject({
    event: "backup_started",
    data: { type: "backup_started", data: { summary: "s1", jobs: ["docs"] } },
  });
  expect(await first.next()).toMatchObject({ event: "run_progress", data: { run, progress: { filesDone: 7 } } });
  first[Symbol.dispose]();
  await first.ended;
  on.happen("backup_completed");
  on.feed.run(ended);
  using again = await read(on, "", { "last-event-id": seen.id! });
  expect(await again.next()).toMatchObject({ event: "backup_completed" });
  expect(await again.next()).toMatchObject({ event: "run_ended", data: { run, status: "success" } });
});

test("only what was asked for is told: by job, by type, by pattern", async () => {
  await using on = await stage();
  using mails = await read(on, "?job=mails");
  using failed = await read(on, "?types=*_failed,run_ended");
  on.feed.run(started());
  on.happen("backup_started", ["docs"]);
  on.happen("backup_failed", ["docs"]);
  on.feed.run(ended);
  on.happen("backup_completed", ["mails"]);
  on.happen("prune_failed", []);
  expect((await mails.next()).event).toBe("backup_completed");
  expect([await failed.next(), await failed.next(), await failed.next()].map(({ event }) => event)).toEqual([
    "backup_failed",
    "run_ended",
    "prune_failed",
  ]);
});

test.each([
  ["?types=nothing_like_it", /no type of event that fits "nothing_like_it"/],
  ["?types=", /no type of event/],
  ["?types=a*b*c", /querystring/],
  ["?job=", /querystring/],
])("a filter that fits nothing is refused: %s", async (query, detail) => {
  await using on = await stage();
  using reading = await read(on, query);
  let text = "";
  for await (const chunk of reading.answer) text += String(chunk);
  expect([reading.answer.statusCode, JSON.parse(text)]).toEqual([
    400,
    expect.objectContaining({ detail: expect.stringMatching(detail) }),
  ]);
  expect(on.lab.api.streams.count).toBe(0);
});

test("an id that is too old, or none, is answered by a reset", async () => {
  await using on = await stage();
  using reading = await read(on, "", { "last-event-id": "whatever" });
  const reset = await reading.next();
  expect(reset).toMatchObject({ event: "reset", data: { reason: "the id is not one of these events" } });
  on.happen();
  expect((await reading.next()).event).toBe("backup_failed");
  using again = await read(on, "", { "last-event-id": reset.id! });
  expect((await again.next()).data["data"]).toMatchObject({ summary: "s1" });
});

test("a reader that does not read holds nothing up and takes no memory, and gets it all when it reads again", async () => {
  await using on = await stage();
  const sockets: Socket[] = [];
  on.lab.app.server.on("connection", (socket: Socket) => sockets.push(socket));
  const slow = connect(on.port, "127.0.0.1");
  slow.pause();
  slow.write(`GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${TOKENS.viewer}\r\n\r\n`);
  while (on.lab.api.streams.count === 0) await new Promise(setImmediate);
  using quick = await read(on, "?types=run_started");
  const long = "x".repeat(15_000);
  let most = 0;
  for (let index = 0; index < 1000; index++) {
    on.feed.run({
      type: "started",
      run: asRunId(index.toString(16).padStart(32, "0")),
      kind: "backup",
      subject: `n${index} ${long}`,
      time: 0,
    });
    if (index % 50 !== 0) continue;
    await new Promise(setImmediate);
    for (const socket of sockets) most = Math.max(most, socket.writableLength);
  }
  for (let index = 0; index < 1000; index++) expect((await quick.next()).data["subject"]).toMatch(new RegExp(`^n${index} `));
  expect(most, "what waits for a reader in memory").toBeLessThan(2 ** 20);
  const chunks: string[] = [];
  let tail = "";
  for await (const chunk of slow) {
    chunks.push(String(chunk));
    tail = tail.slice(-20) + String(chunk);
    if (tail.includes('"n999 ')) break;
  }
  const text = chunks.join("");
  const numbers = [...text.matchAll(/"subject":"n(\d+) /g)].map(([, n]) => Number(n));
  expect(numbers).toEqual(Array.from({ length: 1000 }, (_, index) => index));
});

test("streams end when their token is taken away, when there are too many, and when the server stops", async () => {
  const on = await stage();
  const readings = await Promise.all(Array.from({ length: 16 }, () => read(on)));
  using refused = await read(on);
  expect(refused.answer.statusCode).toBe(429);
  on.lab.control.secrets.set("viewer", "n".repeat(32));
  await on.lab.tokens.read(on.lab.control.settings.tokens, on.lab.control.access);
  on.lab.api.streams.keep((caller) => on.lab.tokens.isValid(caller));
  await Promise.all(readings.map(({ ended: end, answer }) => (answer.resume(), end)));
  expect(on.lab.api.streams.count).toBe(0);
  using last = await read(on, "", { authorization: `Bearer ${"n".repeat(32)}` });
  last.answer.resume();
  await on[Symbol.asyncDispose]();
  await last.ended;
});
