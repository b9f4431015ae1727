import { formatDuration, parseDuration } from "../base/duration.ts";
import { checkHooks } from "./check-places.ts";
import { checkName, checkRetention, checkSchedule } from "./check-policies.ts";
import { longestGapMs, ruleOf } from "./cron.ts";
import type { ScheduleRule } from "./config.ts";
import type { Draft } from "./draft.ts";
import { pointerOf } from "./evaluate.ts";
import { isCronText } from "./format.ts";
import { entriesOf } from "./loose.ts";
import type { Loose, LooseFile } from "./loose.ts";
import type { Job, JobScheduleItem, JobTarget, Schedule } from "./schema-types.ts";
import { listOf } from "./suggest.ts";

type LooseJob = Loose<Job>;
type LooseScheduleItem = string | Loose<JobScheduleItem>;
type LooseTargets = NonNullable<LooseJob["targets"]>;

interface TargetUse {
  readonly name: string;
  readonly pointer: string;
  readonly settings: Loose<JobTarget> | undefined;
}

/** The targets of a job as they are written, list or map. */
function targetUses(targets: LooseTargets | undefined, pointer: string): TargetUse[] {
  if (targets === undefined) return [];
  if (!Array.isArray(targets))
    return Object.entries(targets).map(([name, settings]) => ({
      name,
      pointer: pointerOf(pointer, name),
      settings: settings as Loose<JobTarget> | undefined,
    }));
  return targets.flatMap((name, index) =>
    name === undefined ? [] : [{ name, pointer: pointerOf(pointer, index), settings: undefined }],
  );
}

function scheduleItems(
  schedule: LooseJob["schedule"] | undefined,
  pointer: string,
): { item: LooseScheduleItem; pointer: string }[] {
  if (schedule === undefined) return [];
  if (!Array.isArray(schedule)) return [{ item: schedule, pointer }];
  return schedule.flatMap((item, index) => (item === undefined ? [] : [{ item, pointer: pointerOf(pointer, index) }]));
}

export function checkJobs(draft: Draft, file: LooseFile, timezone: string): void {
  const { defaults } = file;
  const usedSources = new Set<string>();
  const usedTargets = new Set<string>();
  const checkTargetUses = (targets: LooseTargets | undefined, pointer: string): void => {
    const seen = new Set<string>();
    for (const use of targetUses(targets, pointer)) {
      usedTargets.add(use.name);
      if (seen.has(use.name)) draft.error("wrong_value", use.pointer, `the target ${use.name} stands in the list twice`);
      else checkName(draft, "targets", use.pointer, use.name, Array.isArray(targets) ? undefined : draft.spot(use.pointer).key);
      seen.add(use.name);
      if (use.settings?.retention !== undefined)
        checkRetention(draft, pointerOf(use.pointer, "retention"), use.settings.retention);
    }
  };
  checkTargetUses(defaults?.targets, "/defaults/targets");
  for (const { item, pointer } of scheduleItems(defaults?.schedule, "/defaults/schedule")) checkSchedule(draft, pointer, item);
  if (defaults?.retention !== undefined) checkRetention(draft, "/defaults/retention", defaults.retention);

  const formerNames = new Map<string, string>();
  for (const [name, job] of entriesOf(file.jobs)) {
    const pointer = pointerOf("/jobs", name);
    const sources = new Set<string>();
    for (const [index, source] of (job.sources ?? []).entries()) {
      if (source === undefined) continue;
      const at = pointerOf(pointerOf(pointer, "sources"), index);
      if (sources.has(source)) draft.error("wrong_value", at, `the source ${source} stands in the list twice`);
      else checkName(draft, "sources", at, source);
      sources.add(source);
      usedSources.add(source);
    }
    checkTargetUses(job.targets, pointerOf(pointer, "targets"));
    if (isMissing(draft, pointer, "targets"))
      draft.error("missing_key", pointerOf(pointer, "targets"), `jobs.${name} needs \`targets\`, as there are no default ones`, {
        at: draft.spot(pointer).key,
        path: `jobs.${name}.targets`,
        expected: "names of targets",
      });
    for (const { item, pointer: at } of scheduleItems(job.schedule, pointerOf(pointer, "schedule")))
      checkSchedule(draft, at, item);
    if (isMissing(draft, pointer, "schedule") && job.enabled !== false)
      draft.warning("no_schedule", pointer, `the job ${name} has no schedule: it runs only when asked to`, {
        at: draft.spot(pointer).key,
        suggestion: "give it a `schedule`, or `enabled: false`",
      });
    if (job.retention !== undefined) checkRetention(draft, pointerOf(pointer, "retention"), job.retention);
    if (job.verify?.schedule !== undefined)
      checkSchedule(draft, pointerOf(pointerOf(pointer, "verify"), "schedule"), job.verify.schedule);
    checkHooks(draft, pointer, job.hooks);
    checkFormerly(draft, name, job, formerNames);
    checkModes(draft, file, pointer, job);
    checkObjectives(draft, file, pointer, job, timezone);
  }
  if (!draft.problems.hasErrors) reportUnused(draft, file, usedSources, usedTargets);
}

/** Neither the job nor `defaults` gives the key, nor a slip of it. */
function isMissing(draft: Draft, pointer: string, key: string): boolean {
  if (!draft.isAbsent(pointer, key)) return false;
  return draft.places.has("/defaults") ? draft.isAbsent("/defaults", key) : draft.isAbsent("", "defaults");
}

function checkFormerly(draft: Draft, name: string, job: LooseJob, formerNames: Map<string, string>): void {
  for (const [index, former] of (job.formerly ?? []).entries()) {
    if (former === undefined) continue;
    const at = pointerOf(pointerOf(pointerOf("/jobs", name), "formerly"), index);
    const other = formerNames.get(former);
    if (former === name) draft.error("wrong_value", at, `the job is still called ${name}`);
    else if (draft.declared("jobs")?.has(former))
      draft.error("duplicate_name", at, `there is a job ${former}: its history is its own`, {
        suggestion: `it is at ${draft.whereIs(pointerOf("/jobs", former))}`,
      });
    else if (other !== undefined) draft.error("duplicate_name", at, `the history of ${former} goes to the job ${other} already`);
    formerNames.set(former, other ?? name);
  }
}

/** The targets a job ends up with, those of `defaults` included; undefined when they are not all known. */
function effectiveTargets(draft: Draft, file: LooseFile, pointer: string, job: LooseJob): TargetUse[] | undefined {
  const isOwn = !draft.isAbsent(pointer, "targets");
  const targets = isOwn ? job.targets : file.defaults?.targets;
  const uses = targetUses(targets, isOwn ? pointerOf(pointer, "targets") : "/defaults/targets");
  if (uses.length === 0 || (Array.isArray(targets) && targets.length !== uses.length)) return undefined;
  return uses;
}

function effectiveSchedules(
  draft: Draft,
  file: LooseFile,
  pointer: string,
  job: LooseJob,
): { item: LooseScheduleItem; pointer: string }[] {
  if (!draft.isAbsent(pointer, "schedule")) return scheduleItems(job.schedule, pointerOf(pointer, "schedule"));
  return scheduleItems(file.defaults?.schedule, "/defaults/schedule");
}

function checkModes(draft: Draft, file: LooseFile, pointer: string, job: LooseJob): void {
  const archive = effectiveTargets(draft, file, pointer, job)?.find(({ name }) => file.targets?.[name]?.archive !== undefined);
  if (archive === undefined) return;
  const check = (mode: string | undefined, at: string): void => {
    if (mode === undefined || mode === "full" || draft.isBad(at)) return;
    draft.error("mode_unsupported", at, `the target ${archive.name} keeps archives, which cannot be ${mode}`, {
      expected: "`full`",
      suggestion: "use a target without `archive`, or a job of its own for the archives",
    });
  };
  check(job.mode, pointerOf(pointer, "mode"));
  for (const { item, pointer: at } of effectiveSchedules(draft, file, pointer, job))
    if (typeof item !== "string") check(item.mode, pointerOf(at, "mode"));
}

function checkObjectives(draft: Draft, file: LooseFile, pointer: string, job: LooseJob, timezone: string): void {
  const { objectives } = job;
  if (objectives === undefined) return;
  const at = (key: string): string => pointerOf(pointerOf(pointer, "objectives"), key);
  const uses = effectiveTargets(draft, file, pointer, job);
  const { copies, offsite } = objectives;
  if (uses !== undefined && copies !== undefined && copies > uses.length)
    draft.error(
      "objective_unreachable",
      at("copies"),
      `${copies} copies cannot be kept on ${uses.length} target${uses.length === 1 ? "" : "s"}`,
      {
        expected: `at most ${uses.length}`,
        suggestion: `add a target to the job (it has ${listOf(uses.map(({ name }) => name))})`,
      },
    );
  const known = uses?.every(
    ({ name }) => file.targets?.[name] !== undefined && draft.isSound(pointerOf(pointerOf("/targets", name), "offsite")),
  );
  const away = uses?.filter(({ name }) => file.targets?.[name]?.offsite === true) ?? [];
  if (known === true && offsite !== undefined && offsite > away.length)
    draft.error(
      "objective_unreachable",
      at("offsite"),
      away.length === 0 ? "no target of the job is offsite" : `only ${listOf(away.map(({ name }) => name))} is offsite`,
      {
        expected: `at most ${away.length}`,
        suggestion: "say `offsite: true` at a target that is",
      },
    );
  checkRpo(draft, file, pointer, job, timezone);
  const verifiedMs = objectives.verifiedWithin === undefined ? undefined : parseDuration(objectives.verifiedWithin);
  if (verifiedMs === undefined || job.verify?.afterBackup === true || !draft.isSound(pointerOf(pointer, "verify"))) return;
  if (!draft.isAbsent(pointer, "verify") && job.verify?.schedule !== undefined) {
    const gap = gapOf(draft, file, [{ item: job.verify.schedule, pointer: "" }], timezone);
    if (gap !== undefined && gap > verifiedMs)
      draft.warning(
        "objective_tight",
        at("verifiedWithin"),
        `verifiedWithin is shorter than the ${formatDuration(gap)} between two verifications`,
      );
  } else if (draft.isAbsent(pointer, "verify") || job.verify !== undefined)
    draft.warning("objective_unreachable", at("verifiedWithin"), "nothing verifies this job by itself", {
      suggestion: "give it `verify: { afterBackup: true }`, or a `schedule` there",
    });
}

function checkRpo(draft: Draft, file: LooseFile, pointer: string, job: LooseJob, timezone: string): void {
  const rpo = job.objectives?.rpo;
  const rpoMs = rpo === undefined ? undefined : parseDuration(rpo);
  const items = effectiveSchedules(draft, file, pointer, job);
  if (rpoMs === undefined || items.some(({ pointer: at }) => !draft.isSound(at))) return;
  const gap = gapOf(draft, file, items, timezone);
  if (gap !== undefined && gap > rpoMs)
    draft.warning(
      "objective_tight",
      pointerOf(pointerOf(pointer, "objectives"), "rpo"),
      `an rpo of ${rpo} is shorter than the ${formatDuration(gap)} that may pass between two runs`,
      {
        suggestion: "run the job more often, or allow more",
      },
    );
}

/** The longest time between two runs, or undefined when one of the schedules is not right. */
function gapOf(
  draft: Draft,
  file: LooseFile,
  items: readonly { item: LooseScheduleItem; pointer: string }[],
  timezone: string,
): number | undefined {
  const rules: { rule: ScheduleRule; jitterMs: number }[] = [];
  for (const { item } of items) {
    const name = typeof item === "string" && !isCronText(item) ? item : typeof item === "string" ? undefined : item.name;
    if (name !== undefined && !draft.isSound(pointerOf("/schedules", name))) return undefined;
    const written = name === undefined ? item : file.schedules?.[name];
    if (written === undefined) return undefined;
    const schedule = typeof written === "string" ? { cron: written } : (written as Partial<Schedule>);
    const rule = ruleOf(schedule);
    if (rule === undefined) return undefined;
    rules.push({ rule: rule.rule, jitterMs: parseDuration(schedule.jitter ?? "0s") ?? 0 });
  }
  return longestGapMs(rules, timezone);
}

function reportUnused(draft: Draft, file: LooseFile, sources: ReadonlySet<string>, targets: ReadonlySet<string>): void {
  for (const [name] of entriesOf(file.sources)) {
    const pointer = pointerOf("/sources", name);
    if (!sources.has(name))
      draft.warning("unused", pointer, `no job backs up the source ${name}`, { at: draft.spot(pointer).key });
  }
  for (const [name] of entriesOf(file.targets)) {
    const pointer = pointerOf("/targets", name);
    if (!targets.has(name))
      draft.warning("unused", pointer, `no job writes to the target ${name}`, { at: draft.spot(pointer).key });
  }
}
