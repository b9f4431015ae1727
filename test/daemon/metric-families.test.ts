import { expect, test } from "vitest";
import { metricFamilies, type MetricFacts } from "../../src/daemon/metric-families.ts";
import type { MetricFamily } from "../../src/telemetry/metrics.ts";
import { Metrics } from "../../src/telemetry/metrics.ts";
import { job, schedule } from "../plan/literals.ts";
import { facts, NOW, report } from "./monitor-facts.ts";

/** The series of a family, as `label=value … number`. */
const series = (of: MetricFacts, name: string): string[] => {
  const family = metricFamilies(of).find((one) => one.name === `holdfast_${name}`) as MetricFamily;
  return family.samples.map(({ labels, value }) => [...Object.entries(labels).map((pair) => pair.join("=")), value].join(" "));
};

test("every family has a name, a help and labels that all its series have", () => {
  const statistics = {
    sources: [{ source: "s", snapshots: [{ target: "disk", files: 1, sourceBytes: 2, newBytes: 3, storedBytes: 4 }] }],
  };
  const lastBackup = (): ReturnType<MetricFacts["lastBackup"]> => ({ startedMs: 0, endedMs: 1, statistics });
  const all = metricFamilies({
    ...facts(),
    lastBackup,
    lastPrune: () => ({ startedMs: 0, status: "success" }),
    outbox: { pending: 1, pendingSinceMs: NOW, dead: 0, lastDeadMs: undefined },
  });
  expect(new Set(all.map(({ name }) => name)).size).toBe(all.length);
  for (const { name, help, type, labels, samples } of all) {
    expect(name).toMatch(/^holdfast_[a-z_]+$/);
    expect({ name, isTotal: name.endsWith("_total") }).toEqual({ name, isTotal: type === "counter" });
    expect(help).toMatch(/^[A-Z].*\.$/);
    expect({ name, samples: samples.length > 0 }).toEqual({ name, samples: true });
    for (const sample of samples) expect({ name, labels: Object.keys(sample.labels) }).toEqual({ name, labels: [...labels] });
    // A label for each snapshot, run or file would grow without end.
    for (const label of labels)
      expect(["job", "target", "objective", "kind", "status", "state", "version", "node_version", "digest", "commit"]).toContain(
        label,
      );
  }
});

test("counters begin at 0 for every way in which runs of a declared job can end, and are those of all its names", () => {
  const none = series(facts(), "runs_total");
  expect(none).toHaveLength(16);
  expect(none.every((line) => line.startsWith("job=docs kind=") && line.endsWith(" 0"))).toBe(true);
  const by = facts({}, [job("docs", { formerly: ["papers"] })]);
  const count = (subject: string, runs: number): MetricFacts["counts"][number] => ({
    kind: "backup",
    subject,
    status: "failed",
    runs,
  });
  const counted = { ...by, counts: [count("docs", 2), count("papers", 3), count("gone", 5), count("disk", 7)] };
  expect(series(counted, "runs_total").filter((line) => !line.endsWith(" 0"))).toEqual(["job=docs kind=backup status=failed 5"]);
  expect(series(counted, "target_runs_total")).toContain("target=disk kind=prune status=failed 0");
});

test("the last backup's figures are those of all its sources, for each target it went to", () => {
  const snapshot = (target: string, files: number, storedBytes: number): Record<string, unknown> => ({
    target,
    files,
    sourceBytes: files * 10,
    newBytes: files * 2,
    storedBytes,
  });
  const statistics = {
    sources: [
      { source: "a", snapshots: [snapshot("disk", 1, 100), snapshot("gone", 1, 200)] },
      { source: "b", snapshots: [snapshot("disk", 2, 50)] },
    ],
  };
  const of = { ...facts(), lastBackup: () => ({ startedMs: 0, endedMs: 1, statistics }) };
  expect(series(of, "job_last_backup_files")).toEqual(["job=docs 3"]);
  expect(series(of, "job_last_backup_source_bytes")).toEqual(["job=docs 30"]);
  expect(series(of, "job_last_backup_new_bytes")).toEqual(["job=docs target=disk 6"]);
  expect(series(of, "job_last_backup_stored_bytes")).toEqual(["job=docs target=disk 150"]);
  for (const strange of [undefined, null, 7, { sources: 3 }, { sources: [{}] }, { sources: [{ snapshots: [{ files: "x" }] }] }])
    expect(() =>
      series({ ...of, lastBackup: () => ({ startedMs: 0, endedMs: 1, statistics: strange }) }, "job_last_backup_files"),
    ).not.toThrow();
});

test("the expected interval is the longest between two slots: a weekend, not a night", () => {
  const by = (rule: string | number): string[] =>
    series(
      facts({}, [job("docs", { schedules: [{ schedule: schedule(rule), mode: undefined }] })]),
      "job_expected_interval_seconds",
    );
  expect(by("0 2 * * *")).toEqual(["job=docs 86400"]);
  expect(by("0 2 * * 1-5")).toEqual([`job=docs ${3 * 86_400}`]);
  expect(by(900_000)).toEqual(["job=docs 900"]);
  expect(series(facts({}, [job("docs", { schedules: [] })]), "job_expected_interval_seconds")).toEqual([]);
  expect(series(facts({}, [job("docs", { enabled: false })]), "job_expected_interval_seconds")).toEqual([]);
});

test("what is not known has no series, and what failed has a 0", () => {
  const unknown = facts({
    jobs: [report("docs", { last: undefined, lastSuccessMs: undefined, nextMs: undefined, objectives: undefined })],
    targets: [{ target: "disk", status: "unknown", error: undefined, snapshots: undefined }],
    observedMs: undefined,
  });
  const silent = metricFamilies({ ...unknown, conditions: {} }).filter(({ samples }) => samples.length === 0);
  expect(silent.map(({ name }) => name.replace("holdfast_", ""))).toEqual(
    "outbox_oldest_pending_timestamp_seconds targets_observed_timestamp_seconds job_last_success_timestamp_seconds job_last_run_timestamp_seconds job_last_run_success job_last_run_duration_seconds job_next_run_timestamp_seconds job_last_backup_files job_last_backup_source_bytes job_last_backup_new_bytes job_last_backup_stored_bytes job_last_verify_timestamp_seconds job_last_verify_success objective_met target_up target_used_bytes target_capacity_bytes target_snapshots target_last_prune_timestamp_seconds target_last_prune_success".split(
      " ",
    ),
  );
  const last = { run: "1", status: "partial", startedMs: NOW - 2000, endedMs: NOW, error: undefined } as const;
  const failed = facts({
    jobs: [
      report("docs", { last, overdueSinceMs: NOW, paused: true, objectives: [{ objective: "rpo", met: false, reason: "" }] }),
    ],
    targets: [{ target: "disk", status: "changed", error: undefined, snapshots: undefined }],
  });
  expect(series(failed, "job_last_run_success")).toEqual(["job=docs 0"]);
  expect(series(failed, "job_last_run_duration_seconds")).toEqual(["job=docs 2"]);
  expect(series(failed, "job_overdue")).toEqual(["job=docs 1"]);
  expect(series(failed, "job_paused")).toEqual(["job=docs 1"]);
  expect(series(failed, "objective_met")).toEqual(["job=docs objective=rpo 0"]);
  expect(series(failed, "target_up")).toEqual(["target=disk 0"]);
});

test("a backup that has just ended does not take the series of objectives away", () => {
  const stale = facts({ jobs: [report("docs", { objectives: undefined })] });
  expect(series(stale, "objective_met")).toEqual(["job=docs objective=rpo 1"]);
  expect(series({ ...stale, conditions: { "objective docs rpo": { holds: false, sinceMs: 0 } } }, "objective_met")).toEqual([
    "job=docs objective=rpo 0",
  ]);
});

test("a job that is gone is gone from the next page, and a series without a value is not a 0", async () => {
  const metrics = new Metrics();
  const page = async (of: MetricFacts): Promise<string> => (await metrics.page(metricFamilies(of))).text;
  const both = facts({ jobs: [report("docs"), report("mail")] }, [job("docs"), job("mail")]);
  expect(await page(both)).toContain('holdfast_job_last_run_success{job="mail"} 1');
  const one = await page(facts());
  expect(one).not.toContain("mail");
  expect(one).toContain('holdfast_job_last_run_success{job="docs"} 1');
  expect(one).toContain("# TYPE holdfast_runs_total counter");
  expect(one).toContain("# TYPE holdfast_outbox_oldest_pending_timestamp_seconds gauge");
  expect(one).not.toMatch(/^holdfast_outbox_oldest_pending_timestamp_seconds /m);
  expect(one).toMatch(/^process_resident_memory_bytes \d+/m);
});
