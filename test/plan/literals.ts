import type { ObservedSnapshot, RetentionRules } from "../../src/plan/observed.ts";

/** A snapshot with ordinary values where none are given. */
export function snapshot(changes: Partial<ObservedSnapshot> = {}): ObservedSnapshot {
  return {
    id: "s",
    host: "web1",
    job: "documents",
    source: "files",
    sourceType: "files",
    timeMs: 0,
    mode: "incremental",
    status: "success",
    sourceBytes: 1000,
    storedBytes: 100,
    tags: [],
    hold: false,
    objectTimeMs: undefined,
    ...changes,
  };
}

/** A retention with only the given rules. */
export function rules(given: Partial<RetentionRules>): RetentionRules {
  return {
    keepLast: undefined,
    keepHourly: undefined,
    keepDaily: undefined,
    keepWeekly: undefined,
    keepMonthly: undefined,
    keepYearly: undefined,
    keepWithinMs: undefined,
    keepTags: [],
    maxAgeMs: undefined,
    maxCount: undefined,
    ...given,
  };
}
