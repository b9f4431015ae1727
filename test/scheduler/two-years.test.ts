/// <reference lib="esnext.temporal" />
/** Two years of a fake clock in every kind of zone, with sleeps and jumps, against slots that Temporal computes from the documentation. */
import { afterEach, expect, test } from "vitest";
import { loadConfig } from "../../src/config/load.ts";
import type { Config } from "../../src/config/config.ts";
import { Scheduler } from "../../src/scheduler/scheduler.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { ZONES as COMMON_ZONES } from "./zones.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const START = Temporal.PlainDate.from("2025-01-01");
const DAYS = 730;
/** The longest sleep may end beyond them. */
const MORE_DAYS = 12;
/** A slot older than this passed while nothing looked: without `catchUp` it is skipped. */
const LATE = 5 * MINUTE;

/** Two more: one that moves by two hours, and one whose rules move with the moon. */
const ALL_ZONES = [...COMMON_ZONES, "Antarctica/Troll", "Asia/Gaza"];

/** All with `npm run test:zones`. */
const ZONES = ALL_ZONES.filter((_, index) => process.env["HOLDFAST_ZONES"] === "all" || index % 6 === 1);

/** Each schedule as a user writes it, and the days and times of day of its slots. */
const SCHEDULES: readonly {
  readonly text: string;
  readonly times: readonly string[];
  readonly on: (day: Temporal.PlainDate) => boolean;
}[] = [
  { text: '{ daily: true, at: "02:30" }', times: ["02:30"], on: () => true },
  { text: '{ daily: true, at: "00:10", catchUp: true }', times: ["00:10"], on: () => true },
  { text: '{ weekly: sunday, at: "01:45", catchUp: true }', times: ["01:45"], on: (day) => day.dayOfWeek === 7 },
  { text: '{ weekly: [monday, thursday], at: "23:55" }', times: ["23:55"], on: (day) => [1, 4].includes(day.dayOfWeek) },
  { text: '{ monthly: last, at: "03:00", catchUp: true }', times: ["03:00"], on: (day) => day.day === day.daysInMonth },
  { text: '{ monthly: 28, at: "00:00" }', times: ["00:00"], on: (day) => day.day === 28 },
  { text: '"15 1,3 * * 6"', times: ["01:15", "03:15"], on: (day) => day.dayOfWeek === 6 },
  { text: '"30 5 2 29 2 *"', times: ["02:05:30"], on: (day) => day.month === 2 && day.day === 29 },
];

function configIn(zone: string): Config {
  const text = `version: 1
host: tester
daemon: { stateDir: ./state, timezone: ${zone} }
encryption: { main: { keyFile: ./key, generate: true } }
sources: { docs: { type: files, paths: [./data] } }
targets: { disk: { type: local, path: ./repository, encryption: main, appendOnly: true } }
jobs:
${SCHEDULES.map(({ text: schedule }, n) => `  job${n}: { sources: [docs], targets: [disk], schedule: ${schedule} }`).join("\n")}
`;
  const defaults = { stateDir: "/s", cacheDir: "/c", timezone: "UTC" };
  const { config, problems } = loadConfig({ path: "/x.yaml", text, readInclude: () => [], env: {}, hostName: "h", defaults });
  if (config === undefined) throw new Error(JSON.stringify(problems));
  return config;
}

/** In a gap once, at its end; in a fold the first time only. */
function instantOf(day: Temporal.PlainDate, time: string, zone: string): number {
  const wall = day.toPlainDateTime(time);
  const [first, second] = [wall.toZonedDateTime(zone, { disambiguation: "earlier" }), wall.toZonedDateTime(zone)];
  if (second.toPlainDateTime().equals(wall)) return first.epochMilliseconds;
  return (first.getTimeZoneTransition("next") as Temporal.ZonedDateTime).epochMilliseconds;
}

function slotsIn(zone: string): Map<string, number[]> {
  const slots = new Map<string, number[]>();
  for (const [n, { times, on }] of SCHEDULES.entries()) {
    const own = new Set<number>();
    for (let day = 0; day < DAYS + MORE_DAYS; day++) {
      const date = START.add({ days: day });
      if (on(date)) for (const time of times) own.add(instantOf(date, time, zone));
    }
    slots.set(
      `job${n}`,
      [...own].toSorted((a, b) => a - b),
    );
  }
  return slots;
}

/** Numbers from 0 to 1, the same for each seed. */
function sequence(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const begun: Scheduler[] = [];
afterEach(async () => {
  for (const scheduler of begun.splice(0)) await scheduler.stop(0);
});

interface Lived {
  readonly clock: FakeClock;
  readonly config: Config;
  /** `job slot` of each run, and whether its start was the slot's own time. */
  readonly ran: { readonly job: string; readonly slotMs: number; readonly at: number }[];
  readonly skipped: string[];
}

async function begin(zone: string): Promise<Lived> {
  const config = configIn(zone);
  const clock = new FakeClock(START.toZonedDateTime({ timeZone: zone }).epochMilliseconds - 1);
  const ran: Lived["ran"] = [];
  const skipped: string[] = [];
  const scheduler = new Scheduler({
    clock,
    random: { bytes: (length) => new Uint8Array(length) },
    execute: async (due) => {
      if (due.kind === "backup") ran.push({ job: due.subject, slotMs: due.slotMs as number, at: clock.now() });
      return "success";
    },
    onEvent: (event) => {
      if (event.type === "skipped" && event.kind === "backup") skipped.push(`${event.subject} ${event.slotMs}`);
    },
  });
  begun.push(scheduler);
  scheduler.reconcile(config, { actions: [] });
  await settle();
  return { clock, config, ran, skipped };
}

test.each(ZONES)("%s: awake, and with sleeps of up to nine days, each slot runs as documented", async (zone) => {
  const slots = slotsIn(zone);
  const { clock, config, ran, skipped } = await begin(zone);
  const random = sequence(zone.length * 7919 + zone.charCodeAt(0));
  const all = [...new Set([...slots.values()].flat())].toSorted((a, b) => a - b);
  const endMs = START.add({ days: DAYS }).toZonedDateTime({ timeZone: zone }).epochMilliseconds;
  const expectedRuns: string[] = [];
  const expectedSkips: string[] = [];
  for (let lookedMs = clock.now(); ;) {
    const nextMs = all.find((slot) => slot > lookedMs);
    if (nextMs === undefined || nextMs > endMs) break;
    // Mostly awake when a slot comes; sometimes asleep over it, shortly or for days.
    const chance = random();
    const wakeMs = chance < 0.9 ? nextMs : nextMs + Math.floor(chance < 0.93 ? random() * 2 * LATE : random() * 216 * HOUR);
    await clock.suspend(wakeMs - clock.now());
    for (const [job, own] of slots) {
      const newest = own.findLast((slot) => slot > lookedMs && slot <= wakeMs);
      if (newest === undefined) continue;
      const catchUp = config.jobs.get(job)?.schedules[0]?.schedule.catchUp === true;
      if (wakeMs - newest <= LATE || catchUp) expectedRuns.push(`${job} ${newest} at ${wakeMs}`);
      else expectedSkips.push(`${job} ${newest}`);
    }
    lookedMs = wakeMs;
  }
  expect(ran.map(({ job, slotMs, at }) => `${job} ${slotMs} at ${at}`).toSorted()).toEqual(expectedRuns.toSorted());
  expect(skipped.toSorted()).toEqual(expectedSkips.toSorted());
  expect(expectedRuns.length).toBeGreaterThan(900);
  expect(expectedSkips.length).toBeGreaterThan(10);
});

test.each(ZONES)("%s: with a date that is set to and fro, no slot runs twice, and none that is not one", async (zone) => {
  const slots = slotsIn(zone);
  const { clock, ran } = await begin(zone);
  const random = sequence(zone.length * 104_729 + zone.charCodeAt(0));
  for (let step = 0; step < 1500; step++) {
    await clock.suspend(Math.floor(random() * 12 * HOUR));
    // Corrections of minutes as a time service makes them, and of an hour as people do.
    if (random() < 0.3) await clock.jump(Math.floor((random() - 0.5) * 2 * HOUR));
  }
  const keys = ran.map(({ job, slotMs }) => `${job} ${slotMs}`);
  expect(new Set(keys).size).toBe(keys.length);
  for (const { job, slotMs, at } of ran) {
    if (at < (slots.get(job)?.at(-1) ?? 0)) expect(slots.get(job)).toContain(slotMs);
    expect(slotMs).toBeLessThanOrEqual(at);
  }
  expect(keys.length).toBeGreaterThan(400);
});
