import { Cron } from "croner";
import type { ScheduleConfig, ScheduleRule } from "./config.ts";
import type { Schedule } from "./schema-types.ts";
import { parseDuration } from "../base/duration.ts";
import { listOf } from "./suggest.ts";

const NICKNAMES = ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"];
const WEEKDAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const DAY_MS = 86_400_000;
/** Checks begin here, so that they do not depend on today; two leap days lie within the next eight years. */
const REFERENCE_MS = Date.UTC(2026, 0, 1);

const cronOf = (expression: string, timezone: string): Cron =>
  new Cron(expression, { paused: true, mode: "5-or-6-parts", timezone });

/** Why the text is no cron expression, or undefined when it is one. */
export function explainCron(text: string): string | undefined {
  const trimmed = text.trim();
  if (trimmed.startsWith("@")) return NICKNAMES.includes(trimmed) ? undefined : `it is none of ${listOf(NICKNAMES, "or")}`;
  const fields = trimmed.split(/\s+/).length;
  if (fields < 5 || fields > 6) return `it has ${fields} field${fields === 1 ? "" : "s"} instead of 5, or 6 with seconds first`;
  try {
    cronOf(trimmed, "UTC");
    return undefined;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return reason.replace(/^CronPattern: /, "").replace(/^./, (first) => first.toLowerCase());
  }
}

/** True when a valid expression names no date that exists, such as 30 February. */
export function neverFires(expression: string): boolean {
  return cronOf(expression.trim(), "UTC").nextRun(new Date(REFERENCE_MS)) === null;
}

/** The rule of a valid written schedule, and its text for people. */
export function ruleOf(schedule: Partial<Schedule>): { rule: ScheduleRule; text: string } | undefined {
  const at = schedule.at ?? "00:00";
  const [hour, minute] = at.split(":").map(Number);
  const cron = (rest: string, text: string): { rule: ScheduleRule; text: string } => ({
    rule: { kind: "cron", expression: `${minute} ${hour} ${rest}` },
    text,
  });
  if (schedule.cron !== undefined)
    return { rule: { kind: "cron", expression: schedule.cron.trim() }, text: `cron ${schedule.cron.trim()}` };
  if (schedule.every !== undefined) {
    const everyMs = parseDuration(schedule.every);
    return everyMs === undefined ? undefined : { rule: { kind: "every", everyMs }, text: `every ${schedule.every}` };
  }
  if (schedule.daily !== undefined) return cron("* * *", `every day at ${at}`);
  if (schedule.weekly !== undefined) {
    const days = [schedule.weekly].flat();
    const numbers = days.map((day) => WEEKDAYS.indexOf(day)).toSorted((a, b) => a - b);
    return cron(`* * ${numbers.join(",")}`, `every ${listOf(days)} at ${at}`);
  }
  if (schedule.monthly === undefined) return undefined;
  if (schedule.monthly === "last") return cron("L * *", `on the last day of each month at ${at}`);
  return cron(`${schedule.monthly} * *`, `on day ${schedule.monthly} of each month at ${at}`);
}

/**
 * The longest time between two runs of these schedules together, jitter included, over about a year; undefined when
 * there is none. An estimate for advice, not for running.
 */
export function longestGapMs(
  schedules: readonly Pick<ScheduleConfig, "rule" | "jitterMs">[],
  timezone: string,
): number | undefined {
  let shortest: number | undefined;
  let horizon = REFERENCE_MS + 400 * DAY_MS;
  const runs: number[] = [];
  for (const { rule, jitterMs } of schedules) {
    if (rule.kind === "every") {
      shortest = Math.min(shortest ?? Infinity, rule.everyMs + jitterMs);
      continue;
    }
    const found = cronOf(rule.expression, timezone)
      .nextRuns(200, new Date(REFERENCE_MS))
      .map((run) => run.getTime());
    if (found.length === 200) horizon = Math.min(horizon, found.at(-1)!);
    runs.push(...found);
  }
  const times = runs.filter((time) => time <= horizon).toSorted((a, b) => a - b);
  const gaps = times.slice(1).map((time, index) => time - times[index]!);
  const jitter = Math.max(0, ...schedules.map(({ jitterMs }) => jitterMs));
  const longest = gaps.length === 0 ? undefined : Math.max(...gaps) + jitter;
  if (shortest === undefined) return longest;
  return longest === undefined ? shortest : Math.min(shortest, longest);
}
