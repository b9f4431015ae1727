import { HoldfastError } from "../base/errors.ts";
import type {
  SnapshotInfo,
  Store,
  Annotation,
  KdfChoice,
  KeySlots,
  PruneReport,
  RepairReport,
  Unlocking,
} from "../formats/format.ts";
import type { Plan } from "../plan/plan.ts";
import type { LogQuery, LogRecord, RunQuery, RunRecord, State } from "../state/state.ts";
import type { Config } from "../config/config.ts";
import { annotateSnapshot, deleteSnapshots } from "./change-snapshots.ts";
import { applyNow, planNow, runBackup, type ApplyResult, type PlanRequest, type RunBackupOptions } from "./apply.ts";
import { audited } from "./audit.ts";
import type { BackupResult } from "./backup/backup.ts";
import { runPrune, type RunPruneOptions } from "./prune/prune.ts";
import { kdfChoice, unlockings } from "./encryption.ts";
import type { RestoreAction } from "./restore/restore.ts";
import { planRestoreRun, rollbackRestore, runRestore, type RestoreResult, type RunRestoreOptions } from "./restore/run.ts";
import { performRun, type RunOutcome } from "./runs.ts";
import { Session, type Surroundings } from "./session.ts";
import { measureTargets } from "./sizes.ts";
import {
  listAllSnapshots,
  selectSnapshot,
  type SnapshotFilter,
  type SnapshotListing,
  type SnapshotSelector,
} from "./snapshots.ts";
import { runVerify, type RunVerifyOptions, type TargetReports } from "./verify/verify.ts";

/** Sizes of one target. */
export interface TargetStats {
  readonly target: string;
  readonly error: HoldfastError | undefined;
  readonly snapshots: number;
  readonly objects: number;
  /** Bytes of all objects. */
  readonly storedBytes: number;
  readonly freeBytes: number | undefined;
  /** Logical bytes of the newest snapshot of each series. */
  readonly sourceBytes: number;
  /** Logical bytes of all snapshots together: what copies without deduplication would take. */
  readonly totalSourceBytes: number;
}

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
  select(
    selector: SnapshotSelector,
    signal?: AbortSignal,
  ): Promise<{ info: SnapshotInfo; store: Store; targets: readonly string[] }> {
    return selectSnapshot(this.session, selector, signal);
  }

  verify(options: RunVerifyOptions): Promise<RunOutcome<TargetReports>> {
    return runVerify(this.session, options);
  }

  prune(target: string, options: RunPruneOptions): Promise<RunOutcome<PruneReport>> {
    const act = (): ReturnType<typeof runPrune> => runPrune(this.session, target, options);
    if (options.dryRun) return act();
    return audited(this.session, { action: "prune.run", subject: target, detail: { reason: options.reason } }, act, true);
  }

  /** Removes a snapshot from every target that holds it. Rejects for one that is held. */
  async delete(
    selectors: readonly SnapshotSelector[],
    signal?: AbortSignal,
  ): Promise<readonly { readonly snapshot: SnapshotInfo; readonly targets: readonly string[] }[]> {
    return await deleteSnapshots(this.session, selectors, signal);
  }

  /** Annotates a snapshot on every target that holds it. */
  async annotate(selector: SnapshotSelector, annotation: Annotation, signal?: AbortSignal): Promise<SnapshotInfo> {
    return (await annotateSnapshot(this.session, selector, annotation, signal)).info;
  }

  restore(options: RunRestoreOptions): Promise<RunOutcome<RestoreResult>> {
    return runRestore(this.session, options);
  }

  /** What a restore would do; changes nothing. */
  planRestore(options: RunRestoreOptions, each?: (actions: readonly RestoreAction[]) => void): ReturnType<typeof planRestoreRun> {
    return planRestoreRun(this.session, options, each);
  }

  /** Returns live data to what it was before restore `run`. */
  rollback(
    run: string,
    options: Pick<RunRestoreOptions, "confirmedLive" | "signal" | "verify">,
  ): Promise<RunOutcome<RestoreResult>> {
    return rollbackRestore(this.session, run, options);
  }

  /** Mends one target: rebuilds its index when needed, marks what is unreadable so that the next backup stores it again. */
  repair(
    target: string,
    options: { readonly index: boolean; readonly readData: boolean; readonly signal: AbortSignal },
  ): Promise<RunOutcome<RepairReport>> {
    const { index, readData } = options;
    return audited(
      this.session,
      { action: "target.repair", subject: target, detail: { index, readData } },
      () =>
        performRun(this.session, { kind: "repair", subject: target, targets: [target] }, options.signal, async (context) => {
          const store = await this.session.store(target);
          const result = await store.repair({ ...options, onProgress: context.onProgress });
          for (const action of result.actions) context.onMessage("info", `${target}: ${action}`);
          return { status: "success", result, statistics: { ...result } };
        }),
      true,
    );
  }

  /** The key slots of a target. Rejects with `unsupported` for one without encryption. */
  async keySlots(target: string): Promise<KeySlots> {
    const { keySlots } = await this.session.store(target);
    if (keySlots === undefined) throw new HoldfastError("unsupported", `Target ${target} is not encrypted and has no keys`);
    const change = <T>(action: string, detail: Readonly<Record<string, unknown>>, act: () => Promise<T>): Promise<T> =>
      audited(this.session, { action, subject: target, detail }, act);
    return {
      ...keySlots,
      add: (unlocking, kdf, label, signal) =>
        change("key.add", { kind: unlocking.kind, label }, () => keySlots.add(unlocking, kdf, label, signal)),
      remove: (id, proof, signal) => change("key.remove", { slot: id }, () => keySlots.remove(id, proof, signal)),
      recoveryKit: (options) => change("key.recovery-kit", {}, () => keySlots.recoveryKit(options)),
      newEpoch: (signal) =>
        change("key.rotate", {}, async () => {
          const epoch = await keySlots.newEpoch(signal);
          // Opened anew: what is written from now on uses the new key, and a target rolled back behind it is noticed.
          await this.session.close(target);
          await this.session.store(target);
          return epoch;
        }),
    };
  }

  /** The ways into a target that the configuration declares now, the current one first. */
  unlockings(target: string): Promise<Unlocking[]> {
    return unlockings(this.session.target(target).encryption, this.session.surroundings);
  }

  /** How a new password slot of a target derives its key, as the configuration says. */
  kdf(target: string): KdfChoice | undefined {
    const { encryption } = this.session.target(target);
    return encryption === undefined ? undefined : kdfChoice(encryption);
  }

  /** What each target holds: objects, bytes, snapshots, free space. */
  stats(signal?: AbortSignal): Promise<TargetStats[]> {
    return measureTargets(this.session, signal);
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
      throw new HoldfastError("name_unknown", `There is no run ${run}, or it is not unique`, {
        hint: "`holdfast runs` lists them.",
      });
    return this.session.state.logs(record?.id, query);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.session[Symbol.asyncDispose]();
  }
}
