import { parseDuration } from "../base/duration.ts";
import { neverFires } from "./cron.ts";
import type { Draft } from "./draft.ts";
import { pointerOf } from "./evaluate.ts";
import { isCronText } from "./format.ts";
import type { Loose } from "./loose.ts";
import type { JobScheduleItem, Retention } from "./schema-types.ts";
import type { Span } from "./source-file.ts";
import { didYouMean } from "./suggest.ts";

const KINDS = {
  encryption: "encryption",
  sources: "source",
  targets: "target",
  schedules: "schedule",
  retention: "retention",
  jobs: "job",
} as const;

/** Reports a name that its section does not declare; true when it leads somewhere. */
export function checkName(draft: Draft, section: keyof typeof KINDS, pointer: string, name: string, at?: Span): boolean {
  const declared = draft.declared(section);
  if (declared === undefined) return false;
  if (declared.has(name)) return true;
  if (draft.isBad(pointer)) return false;
  const expected =
    declared.size === 0 ? `a name declared in \`${section}:\`, which declares none` : `one of ${[...declared].join(", ")}`;
  draft.error("unknown_name", pointer, `there is no ${KINDS[section]} "${name}"`, {
    expected,
    suggestion: didYouMean(name, declared),
    at,
  });
  return false;
}

/** Checks a schedule as it is written anywhere: name, cron string or map. */
export function checkSchedule(draft: Draft, pointer: string, schedule: string | Loose<JobScheduleItem>): void {
  if (draft.isBad(pointer)) return;
  if (typeof schedule === "string") {
    if (isCronText(schedule)) checkCron(draft, pointer, schedule);
    else checkName(draft, "schedules", pointer, schedule);
    return;
  }
  if (schedule.cron !== undefined) checkCron(draft, pointerOf(pointer, "cron"), schedule.cron);
  if (schedule.name !== undefined) checkName(draft, "schedules", pointerOf(pointer, "name"), schedule.name);
  const everyMs = schedule.every === undefined ? undefined : parseDuration(schedule.every);
  if (everyMs !== undefined && everyMs < 1000)
    draft.error("wrong_value", pointerOf(pointer, "every"), `${schedule.every} is too short for a schedule`, {
      expected: "at least `1s`",
    });
  const onlyWithDays = schedule.cron !== undefined || schedule.every !== undefined || schedule.name !== undefined;
  const settings = schedule.name === undefined ? (["at"] as const) : (["at", "jitter", "catchUp", "onStart"] as const);
  for (const key of onlyWithDays ? settings : []) {
    const at = pointerOf(pointer, key);
    if (schedule[key] === undefined) continue;
    const message =
      schedule.name === undefined
        ? "`at` goes with `daily`, `weekly` and `monthly`"
        : `\`${key}\` belongs into the schedule "${schedule.name}" itself`;
    draft.error("conflicting_keys", at, message, { at: draft.spot(at).key });
  }
}

function checkCron(draft: Draft, pointer: string, expression: string): void {
  if (draft.isBad(pointer) || !neverFires(expression)) return;
  draft.error("cron_never_fires", pointer, `the cron expression "${expression.trim()}" never fires: no date fits it`, {
    expected: "a day and month that exist",
    suggestion: "for the last day of each month write L as the day",
  });
}

const KEEP_COUNTS = ["keepLast", "keepHourly", "keepDaily", "keepWeekly", "keepMonthly", "keepYearly"] as const;

/** Checks a retention as it is written anywhere: name or map. */
export function checkRetention(draft: Draft, pointer: string, retention: string | Loose<Retention>): void {
  if (draft.isBad(pointer)) return;
  if (typeof retention === "string") {
    checkName(draft, "retention", pointer, retention);
    return;
  }
  if (!draft.isSound(pointer)) return;
  const nothing = (key: string | undefined, message: string, suggestion: string): void => {
    const at = key === undefined ? pointer : pointerOf(pointer, key);
    const spot = draft.spot(at);
    draft.error("keeps_nothing", at, message, {
      at: key === undefined ? spot.key : undefined,
      expected: "at least one rule that keeps something",
      suggestion,
    });
  };
  const age = retention.maxAge === undefined ? undefined : parseDuration(retention.maxAge);
  const within = retention.keepWithin === undefined ? undefined : parseDuration(retention.keepWithin);
  if (retention.maxCount === 0) nothing("maxCount", "`maxCount: 0` keeps nothing", "take it out to have no limit");
  else if (age === 0) nothing("maxAge", "`maxAge` of no time keeps nothing", "take it out to have no limit");
  else {
    const given = [...KEEP_COUNTS, "keepWithin", "keepTags"].filter((key) => key in retention);
    const keeps = KEEP_COUNTS.some((key) => (retention[key] ?? 0) > 0) || (within ?? 0) > 0;
    if (keeps) return;
    if (given.includes("keepTags"))
      nothing("keepTags", "this retention keeps nothing but tagged snapshots", "add a rule such as `keepLast: 3`");
    else if (given.length > 0)
      nothing(given[0], "this retention keeps nothing", "a rule of 0 keeps none; take the retention out to keep all");
    else if (age === undefined && retention.maxCount === undefined)
      nothing(undefined, "this retention has no rule", "take it out to keep all, or add a rule such as `keepLast: 3`");
  }
}
