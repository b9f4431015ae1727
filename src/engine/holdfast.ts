import { HoldfastError } from "../base/errors.ts";
import type { SnapshotInfo, Store, Annotation, PruneReport } from "../formats/format.ts";
import type { Plan } from "../plan/plan.ts";
import type { LogQuery, LogRecord, RunQuery, RunRecord, State } from "../state/state.ts";
import type { Config } from "../config/config.ts";
import { applyNow, planNow, runBackup, type ApplyResult, type PlanRequest, type RunBackupOptions } from "./apply.ts";
import type { BackupResult } from "./backup/backup.ts";
import { runPrune, type RunPruneOptions } from "./prune/prune.ts";
import type { RunOutcome } from "./runs.ts";
import { Session, type Surroundings } from "./session.ts";
import { listAllSnapshots, selectSnapshot, type SnapshotFilter, type SnapshotListing, type SnapshotSelector } from "./snapshots.ts";
import { runVerify, type RunVerifyOptions, type TargetReports } from "./verify/verify.ts";

/**
 * Holdfast as a library: one configuration with its state, and every operation on it. Operations that take long are runs:
 * recorded, cancellable by their signal, and told to the listener. Disposing closes the targets; the state is the caller's.
 */
export class Holdfast implements AsyncDisposable {
  readonly session: Session;

  constructor(config: Config, state: State, surroundings: Surroundings) {
    this.session = new Session(config, state, surroundings);
  }

  get config(): Config {
    return this.session.config;
  }

  plan(request: PlanRequest = {}): Promise<Plan> {
    return planNow(this.session, { impatient: true, ...request });
  }

  apply(request: PlanRequest & { readonly signal: AbortSignal }): Promise<ApplyResult> {
    return applyNow(this.session, request);
  }

  backup(job: string, options: RunBackupOptions): Promise<RunOutcome<BackupResult>> {
    return runBackup(this.session, job, options);
  }

  snapshots(filter: SnapshotFilter = {}, signal?: AbortSignal): Promise<SnapshotListing> {
    return listAllSnapshots(this.session, filter, signal);
  }

  /** One snapshot, and a store that holds it. */
  select(selector: SnapshotSelector, signal?: AbortSignal): Promise<{ info: SnapshotInfo; store: Store; targets: readonly string[] }> {
    return selectSnapshot(this.session, selector, signal);
  }

  verify(options: RunVerifyOptions): Promise<RunOutcome<TargetReports>> {
    return runVerify(this.session, options);
  }

  prune(target: string, options: RunPruneOptions): Promise<RunOutcome<PruneReport>> {
    return runPrune(this.session, target, options);
  }

  /** Removes a snapshot from every target that holds it. Rejects for one that is held. */
  async delete(selectors: readonly SnapshotSelector[], signal?: AbortSignal): Promise<readonly { readonly snapshot: SnapshotInfo; readonly targets: readonly string[] }[]> {
    const chosen = await Promise.all(selectors.map((selector) => this.select(selector, signal)));
    for (const { info } of chosen)
      if (info.hold !== false)
        throw new HoldfastError("restore_refused", `Snapshot ${info.id.slice(0, 8)} is held`, { hint: "Release it first: `holdfast tag ID --hold=no`. Nothing was deleted." });
    for (const { info, targets } of chosen)
      for (const name of targets) {
        const store = await this.session.store(name);
        const own = (await store.snapshots({ signal })).filter(({ id }) => id === info.id);
        await store.delete(own, { reason: "asked for", signal });
      }
    return chosen.map(({ info, targets }) => ({ snapshot: info, targets }));
  }

  /** Annotates a snapshot on every target that holds it. */
  async annotate(selector: SnapshotSelector, annotation: Annotation, signal?: AbortSignal): Promise<SnapshotInfo> {
    const { info, targets } = await this.select(selector, signal);
    for (const name of targets) {
      const store = await this.session.store(name);
      const own = (await store.snapshots({ signal })).find(({ id }) => id === info.id);
      if (own !== undefined) await store.annotate(own, annotation, signal);
    }
    return (await this.select({ id: info.id }, signal)).info;
  }

  runs(query: RunQuery = {}): RunRecord[] {
    return this.session.state.runs(query);
  }

  run(id: string): RunRecord | undefined {
    return this.session.state.run(id);
  }

  logs(run: string | undefined, query: LogQuery = {}): LogRecord[] {
    const record = run === undefined ? undefined : this.session.state.run(run);
    if (run !== undefined && record === undefined)
      throw new HoldfastError("name_unknown", `There is no run ${run}, or it is not unique`, { hint: "`holdfast runs` lists them." });
    return this.session.state.logs(record?.id, query);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.session[Symbol.asyncDispose]();
  }
}
