/**
 * The slots of one thing that is scheduled, against a wall clock that may jump.
 *
 * Time moves forward: all slots passed since the last look become one, the newest, in the strongest mode. Time goes back
 * by up to two hours (a correction): slots already seen do not come again. Further back: the clock was wrong before, so the
 * timeline begins anew from now, but the last few slots that ran never run twice.
 */
import type { JobMode, ScheduleConfig } from "../config/config.ts";
import { nextRun, previousRun, strongerMode } from "./schedule.ts";

const CORRECTION_MS = 2 * 3_600_000;
const REMEMBERED_SLOTS = 4;

export interface TimelineSchedule {
  readonly schedule: ScheduleConfig;
  readonly mode: JobMode;
}

export interface PassedSlot {
  readonly slotMs: number;
  readonly mode: JobMode;
  readonly schedule: ScheduleConfig;
}

export class Timeline {
  #schedules: readonly TimelineSchedule[];
  #timezone: string;
  /** All slots up to here are done with. */
  #seenMs: number;
  #lookedMs: number;
  #nextMs: number | undefined;
  #ran: readonly number[] = [];

  constructor(schedules: readonly TimelineSchedule[], timezone: string, nowMs: number) {
    this.#schedules = schedules;
    this.#timezone = timezone;
    this.#seenMs = nowMs;
    this.#lookedMs = nowMs;
    this.#findNext();
  }

  /** The next slot that will count; undefined when none ever does. */
  get nextMs(): number | undefined {
    return this.#nextMs;
  }

  /** Replaces the schedules. What has passed stays passed: an edit runs nothing by itself. */
  update(schedules: readonly TimelineSchedule[], timezone: string, nowMs: number): void {
    if (this.#timezone === timezone && sameSchedules(this.#schedules, schedules)) return;
    this.#seenMs = Math.max(this.#seenMs, nowMs);
    this.#schedules = schedules;
    this.#timezone = timezone;
    this.#findNext();
  }

  /** A slot that was run from elsewhere, for instance by a plan. */
  remember(slotMs: number): void {
    this.#ran = [slotMs, ...this.#ran.filter((slot) => slot !== slotMs)].slice(0, REMEMBERED_SLOTS);
  }

  /** The one slot to run now of those passed since the last look, or undefined. */
  pass(nowMs: number): PassedSlot | undefined {
    const wentBack = nowMs < this.#lookedMs;
    this.#lookedMs = nowMs;
    if (wentBack && this.#seenMs - nowMs > CORRECTION_MS) {
      this.#seenMs = nowMs;
      this.#findNext();
    }
    if (this.#nextMs === undefined || nowMs < this.#nextMs) return undefined;
    let passed: PassedSlot | undefined;
    for (const { schedule, mode } of this.#schedules) {
      const slotMs = previousRun(schedule.rule, nowMs, this.#timezone);
      if (slotMs === undefined || slotMs <= this.#seenMs || this.#ran.includes(slotMs)) continue;
      if (!passed || slotMs > passed.slotMs) passed = { slotMs, mode: strongerMode(mode, passed?.mode), schedule };
      else passed = { ...passed, mode: strongerMode(passed.mode, mode) };
    }
    this.#seenMs = nowMs;
    this.#findNext();
    if (passed) this.remember(passed.slotMs);
    return passed;
  }

  #findNext(): void {
    const next = this.#schedules
      .map(({ schedule }) => nextRun(schedule.rule, this.#seenMs, this.#timezone))
      .filter((slot) => slot !== undefined);
    this.#nextMs = next.length === 0 ? undefined : Math.min(...next);
  }
}

function sameSchedules(a: readonly TimelineSchedule[], b: readonly TimelineSchedule[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
