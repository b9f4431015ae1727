/**
 * Which snapshots a retention keeps, and which it lets go. Decided for each host, job and source by itself.
 *
 * Keep rules unite; max rules then trim the oldest. Never removed, whatever the rules say: the newest snapshot and the
 * newest success of a group, held snapshots, those with a tag of `keepTags`, and `pre-restore` copies of the last 7 days.
 * - No rules, `keepTags` alone, or a rule that makes no sense keep everything. A count of 0 is a rule not given.
 * - A bucket (hour, day, ISO week, month, year) is filled by its newest success, by its newest partial only without one.
 * - `pre-restore` copies and snapshots dated more than an hour after their object time fill no bucket: they may hold what
 *   the restore was to undo, or come from a wrong clock. The latter are kept until someone deletes them.
 * - Age counts from the snapshot's time or its object time, whichever is later, so object time only delays deletion.
 *   `keepWithin` ends at the newest snapshot, `maxAge` now; after 400 days without a snapshot that too ends at the newest,
 *   because a clock that leapt looks the same.
 */
import type { ObservedSnapshot, RetentionRules } from "./observed.ts";
import { isoWeek, toWall, wallParts } from "./zone.ts";
import type { WallTime } from "./zone.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** A snapshot dated later than its object by more than this was dated by a wrong clock. */
export const SUSPICIOUS_DATE_MS = HOUR_MS;
/** How long a safety copy from before a restore is kept. */
export const PRE_RESTORE_KEPT_MS = 7 * DAY_MS;
/** Longer silence than any usual schedule: age rules then stop at the newest snapshot. */
export const CLOCK_LEAP_MS = 400 * DAY_MS;

export const PRE_RESTORE_TAG = "pre-restore";

export interface RetentionContext {
  readonly nowMs: number;
  readonly timezone: string;
  /** Target time minus local time; undefined where the target has no clock of its own. */
  readonly targetSkewMs: number | undefined;
  readonly guards: { readonly clockMs: number };
  /** An append-only target needs `keepWithin`, so that floods of new snapshots push nothing out. */
  readonly appendOnly?: boolean;
  /** Earlier job names → the name they continue under. */
  readonly formerly?: ReadonlyMap<string, string>;
  /** A reason to freeze everything: a guard that fired, a clock the caller does not trust. */
  readonly frozen?: string;
}

export interface RetentionSelection<S extends ObservedSnapshot = ObservedSnapshot> {
  /** Newest first. */
  readonly keep: readonly { readonly snapshot: S; readonly reasons: readonly string[] }[];
  /** Oldest first. */
  readonly remove: readonly { readonly snapshot: S; readonly reason: string }[];
  /** Why nothing is removed although rules are given. */
  readonly refused?: string;
}

/** Buckets by calendar: the rule's name and the label of the bucket that a wall time falls into. */
const CALENDAR = [
  ["keepHourly", (wall) => `${dayOf(wall)} ${String(wall.hour).padStart(2, "0")}h`],
  ["keepDaily", (wall) => dayOf(wall)],
  ["keepWeekly", (wall) => isoWeek(wall)],
  ["keepMonthly", (wall) => dayOf(wall).slice(0, -3)],
  ["keepYearly", (wall) => String(wall.year)],
] as const satisfies readonly (readonly [keyof RetentionRules, (wall: WallTime) => string])[];

const COUNTS = ["keepLast", ...CALENDAR.map(([rule]) => rule)] as const;

/**
 * Decides what to keep of `snapshots` (any order, any groups, all under one policy). Pure: the same input gives the same
 * answer, and what remains after removing gives it again. Every snapshot is in exactly one of `keep` and `remove`.
 * `refused` comes with an empty `remove`. Reasons are for people.
 */
export function selectForRetention<S extends ObservedSnapshot>(
  snapshots: readonly S[],
  policy: RetentionRules | undefined,
  context: RetentionContext,
): RetentionSelection<S> {
  const all = snapshots.toSorted(newestFirst);
  const keepAll = (reason: string): RetentionSelection<S>["keep"] => all.map((snapshot) => ({ snapshot, reasons: [reason] }));
  if (policy === undefined || !hasRules(policy)) return { keep: keepAll("no retention rule"), remove: [] };
  const refused = refusal(all, policy, context);
  if (refused !== undefined) return { keep: keepAll("retention is stopped"), remove: [], refused };

  const keep: { snapshot: S; reasons: readonly string[] }[] = [];
  const remove: { snapshot: S; reason: string }[] = [];
  for (const group of Map.groupBy(all, (snapshot) => groupOf(snapshot, context.formerly)).values()) {
    const decided = selectInGroup(group, policy, context);
    keep.push(...decided.keep);
    remove.push(...decided.remove);
  }
  keep.sort((a, b) => newestFirst(a.snapshot, b.snapshot));
  remove.sort((a, b) => newestFirst(b.snapshot, a.snapshot));
  return { keep, remove };
}

/** True when a hold is in force; a hold that cannot be read is. */
export function isHeld(snapshot: ObservedSnapshot, nowMs: number): boolean {
  return typeof snapshot.hold === "number" ? !(snapshot.hold <= nowMs) : snapshot.hold;
}

/** True when a snapshot claims a time that its object's time contradicts. */
export function isSuspicious(snapshot: ObservedSnapshot): boolean {
  return snapshot.objectTimeMs !== undefined && snapshot.timeMs > snapshot.objectTimeMs + SUSPICIOUS_DATE_MS;
}

/** True when a policy can remove anything: a count, `keepWithin` or a max rule is given. */
export function hasRules(policy: RetentionRules): boolean {
  return hasKeepRules(policy) || policy.maxAgeMs !== undefined || policy.maxCount !== undefined;
}

function hasKeepRules(policy: RetentionRules): boolean {
  return policy.keepWithinMs !== undefined || COUNTS.some((rule) => policy[rule] !== undefined && policy[rule] !== 0);
}

function refusal(newest: readonly ObservedSnapshot[], policy: RetentionRules, context: RetentionContext): string | undefined {
  if (context.frozen !== undefined) return context.frozen;
  for (const rule of COUNTS) {
    const count = policy[rule];
    if (count !== undefined && !(Number.isSafeInteger(count) && count >= 0))
      return `${rule} must be a whole number, not ${count}`;
  }
  if (policy.maxCount !== undefined && !(Number.isSafeInteger(policy.maxCount) && policy.maxCount > 0))
    return `maxCount must be at least 1, not ${policy.maxCount}`;
  if (policy.maxAgeMs !== undefined && !(policy.maxAgeMs > 0))
    return `maxAge must be longer than nothing, not ${policy.maxAgeMs} ms`;
  if (policy.keepWithinMs !== undefined && !(policy.keepWithinMs > 0))
    return `keepWithin must be longer than nothing, not ${policy.keepWithinMs} ms`;
  if (context.appendOnly && policy.keepWithinMs === undefined)
    return "an append-only target requires keepWithin, so that a flood of snapshots cannot push the good ones out";
  if (!Number.isFinite(context.nowMs)) return "the local time is not known";
  const skew = context.targetSkewMs;
  if (skew !== undefined && !(Math.abs(skew) < context.guards.clockMs))
    return `the local clock and the target's clock differ by ${Math.round(Math.abs(skew) / 1000)} s`;
  const ahead = newest.find((snapshot) => !isSuspicious(snapshot) && !(snapshot.timeMs <= context.nowMs));
  if (ahead) return `snapshot ${ahead.id} is dated later than the local time: one clock is, or was, wrong`;
  return undefined;
}

function selectInGroup<S extends ObservedSnapshot>(
  group: readonly S[],
  policy: RetentionRules,
  context: RetentionContext,
): Pick<RetentionSelection<S>, "keep" | "remove"> {
  const { nowMs } = context;
  const reasons = new Map<S, string[]>();
  const because = (snapshot: S | undefined, reason: string): void => {
    if (snapshot) reasons.set(snapshot, [...(reasons.get(snapshot) ?? []), reason]);
  };

  const counted: S[] = [];
  for (const snapshot of group) {
    if (isHeld(snapshot, nowMs)) because(snapshot, snapshot.hold === true ? "held" : "held for now");
    const tag = policy.keepTags.find((wanted) => snapshot.tags.includes(wanted));
    if (tag !== undefined) because(snapshot, `tag ${tag}`);
    if (isSuspicious(snapshot)) because(snapshot, "dated later than its object: from a wrong clock");
    else if (!snapshot.tags.includes(PRE_RESTORE_TAG)) counted.push(snapshot);
    else if (nowMs - ageStart(snapshot) < PRE_RESTORE_KEPT_MS) because(snapshot, "safety copy from before a restore");
  }
  because(counted[0] ?? group[0], "newest");
  because(counted.find(isSuccess) ?? group.find(isSuccess), "newest success");
  const protectedOnes = new Set(reasons.keys());

  if (hasKeepRules(policy)) applyKeepRules(counted, policy, context, because);
  else for (const snapshot of counted) if (!reasons.has(snapshot)) because(snapshot, "within maxAge and maxCount");

  const trimmed = trim(
    counted.filter((snapshot) => reasons.has(snapshot)),
    protectedOnes,
    policy,
    nowMs,
  );
  const keep: { snapshot: S; reasons: readonly string[] }[] = [];
  const remove: { snapshot: S; reason: string }[] = [];
  for (const snapshot of group) {
    const why = trimmed.get(snapshot);
    const kept = reasons.get(snapshot);
    if (why !== undefined) remove.push({ snapshot, reason: why });
    else if (kept) keep.push({ snapshot, reasons: kept });
    else remove.push({ snapshot, reason: "no keep rule wants it" });
  }
  return { keep, remove };
}

function applyKeepRules<S extends ObservedSnapshot>(
  counted: readonly S[],
  policy: RetentionRules,
  context: RetentionContext,
  because: (snapshot: S, reason: string) => void,
): void {
  for (const snapshot of counted.slice(0, policy.keepLast ?? 0)) because(snapshot, "last");
  if (policy.keepWithinMs !== undefined) {
    const end = Math.min(context.nowMs, counted[0]?.timeMs ?? context.nowMs);
    for (const snapshot of counted) if (end - ageStart(snapshot) <= policy.keepWithinMs) because(snapshot, "within");
  }
  const walls = new Map(counted.map((snapshot) => [snapshot, wallParts(toWall(snapshot.timeMs, context.timezone))]));
  for (const [rule, labelOf] of CALENDAR) {
    const count = policy[rule] ?? 0;
    if (count === 0) continue;
    const buckets = Map.groupBy(counted, (snapshot) => labelOf(walls.get(snapshot) as WallTime));
    for (const [label, inside] of [...buckets].slice(0, count)) {
      because(inside.find(isSuccess) ?? inside[0], `${rule.slice(4).toLowerCase()} ${label}`);
    }
  }
}

/** What the max rules let go of `kept` (newest first). Protected snapshots neither go nor count, but the two newest count. */
function trim<S extends ObservedSnapshot>(
  kept: readonly S[],
  protectedOnes: ReadonlySet<S>,
  policy: RetentionRules,
  nowMs: number,
): Map<S, string> {
  const trimmed = new Map<S, string>();
  const newest = kept[0];
  if (newest === undefined) return trimmed;
  if (policy.maxAgeMs !== undefined) {
    const end = nowMs - newest.timeMs > CLOCK_LEAP_MS ? newest.timeMs : nowMs;
    for (const snapshot of kept)
      if (!protectedOnes.has(snapshot) && end - ageStart(snapshot) > policy.maxAgeMs) trimmed.set(snapshot, "older than maxAge");
  }
  if (policy.maxCount !== undefined) {
    const newestSuccess = kept.find(isSuccess);
    let room = policy.maxCount - new Set([newest, newestSuccess ?? newest]).size;
    for (const snapshot of kept) {
      if (protectedOnes.has(snapshot) || trimmed.has(snapshot)) continue;
      if (room > 0) room--;
      else trimmed.set(snapshot, "more than maxCount");
    }
  }
  return trimmed;
}

const isSuccess = (snapshot: ObservedSnapshot): boolean => snapshot.status === "success";

const ageStart = (snapshot: ObservedSnapshot): number => Math.max(snapshot.timeMs, snapshot.objectTimeMs ?? -Infinity);

function newestFirst(a: ObservedSnapshot, b: ObservedSnapshot): number {
  return b.timeMs - a.timeMs || (a.id < b.id ? 1 : a.id > b.id ? -1 : 0);
}

function groupOf(snapshot: ObservedSnapshot, formerly: ReadonlyMap<string, string> | undefined): string {
  return JSON.stringify([snapshot.host, formerly?.get(snapshot.job) ?? snapshot.job, snapshot.source]);
}

function dayOf(wall: WallTime): string {
  return `${wall.year}-${String(wall.month).padStart(2, "0")}-${String(wall.day).padStart(2, "0")}`;
}
