import fc from "fast-check";
import { expect, test } from "vitest";
import type { EventFilter } from "../../src/config/config.ts";
import { makeEvent, receiversOf, type EventDescription } from "../../src/plan/events.ts";
import { configOf, email, webhook } from "../notify/setting.ts";

const NOW = Date.parse("2026-03-28T12:00:00Z");
const failed: EventDescription = {
  type: "backup_failed",
  timeMs: NOW,
  summary: "it failed",
  jobs: ["docs"],
  targets: ["disk", "nas"],
};
const gets = (filter: Partial<EventFilter>, event: Partial<EventDescription> = {}): boolean =>
  receiversOf(configOf([webhook("http://a.example/", filter)]), { ...failed, ...event }).length === 1;

test("a receiver gets the events it asked for, about the jobs and targets it asked for", () => {
  expect(gets({})).toBe(true);
  expect(gets({ events: ["backup_failed"] })).toBe(true);
  expect(gets({ events: ["backup_completed"] })).toBe(false);
  expect(gets({ jobs: ["docs", "other"] })).toBe(true);
  expect(gets({ jobs: ["other"] })).toBe(false);
  expect(gets({ jobs: ["docs"], targets: ["nas"] })).toBe(true);
  expect(gets({ jobs: ["docs"], targets: ["tape"] })).toBe(false);
  // What is about no job is not about one of these.
  expect(gets({ jobs: ["docs"] }, { type: "config_rejected", jobs: [] })).toBe(false);
  expect(gets({}, { type: "config_rejected", jobs: [], targets: [] })).toBe(true);
});

test("mail at once and the digest are two receivers, and the digest is due at its time of day, also over a clock change", () => {
  const due = (
    event: Partial<EventDescription>,
    digestMinute: number | undefined,
    events = ["backup_failed"] as const,
  ): string[] => {
    const one = configOf([], { email: email(25, { events, digestMinute }) });
    const config = { ...one, daemon: { ...one.daemon, timezone: "Europe/Berlin" } };
    return receiversOf(config, { ...failed, ...event }).map(
      ({ receiver, dueMs }) => `${receiver} ${new Date(dueMs).toISOString()}`,
    );
  };
  expect(due({}, undefined)).toEqual(["email 2026-03-28T12:00:00.000Z"]);
  expect(due({}, 420)).toEqual(["email 2026-03-28T12:00:00.000Z", "email.digest 2026-03-29T05:00:00.000Z"]);
  expect(due({ type: "backup_completed" }, 13 * 60 + 1)).toEqual(["email.digest 2026-03-28T12:01:00.000Z"]);
  expect(due({ type: "backup_completed" }, 13 * 60)).toEqual(["email.digest 2026-03-29T11:00:00.000Z"]);
  // 02:30 does not exist on this night.
  expect(due({ type: "backup_completed" }, 150)).toEqual(["email.digest 2026-03-29T01:00:00.000Z"]);
  expect(due({ type: "backup_started" }, 420)).toEqual([]);
});

test("a payload stays below 20 kB, says what was cut from it, and is JSON", () => {
  const config = configOf([]);
  const many = makeEvent(config, "evt_1", {
    ...failed,
    summary: "x".repeat(50_000),
    details: { statistics: { sources: Array.from({ length: 5000 }, (_, n) => ({ source: `s${n}`, snapshots: ["a", "b"] })) } },
  });
  expect(Buffer.byteLength(many.payload)).toBeLessThan(20_000);
  const { id, type, timestamp, data } = JSON.parse(many.payload) as {
    id: string;
    type: string;
    timestamp: string;
    data: Record<string, unknown>;
  };
  expect({ id, type, timestamp }).toEqual({ id: "evt_1", type: "backup_failed", timestamp: "2026-03-28T12:00:00.000Z" });
  expect(data).toMatchObject({
    host: "web1",
    jobs: ["docs"],
    targets: ["disk", "nas"],
    truncated: { "statistics.sources": 5000 },
  });
  expect((data["statistics"] as { sources: unknown[] }).sources.length).toBeGreaterThan(100);
  const small = JSON.parse(makeEvent(config, "evt_2", failed).payload) as { data: object };
  expect(small.data).toEqual({ summary: "it failed", host: "web1", jobs: ["docs"], targets: ["disk", "nas"] });
});

test("whatever the details are, the payload is JSON below 20 kB", () => {
  const config = configOf([]);
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 })),
      fc.string({ maxLength: 30_000 }),
      fc.nat(400),
      (details, summary, n) => {
        const fat = { ...details, list: Array.from({ length: n }, () => summary.slice(0, 300)), deep: { summary } };
        const { payload } = makeEvent(config, "evt_1", { ...failed, summary, details: fat });
        expect(Buffer.byteLength(payload)).toBeLessThan(20_000);
        expect(JSON.parse(payload)).toMatchObject({ id: "evt_1" });
      },
    ),
    { numRuns: 200 },
  );
});
