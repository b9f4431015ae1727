/**
 * A running daemon as those see it who may ask it for something: what the control socket serves. Nothing here knows how it
 * is asked.
 */
import type { RunListener } from "../base/events.ts";
import type { JobMode } from "../config/config.ts";
import type { BackupResult } from "../engine/backup/backup.ts";
import type { DaemonOperations, OperationHooks } from "../engine/operations.ts";
import type { Page, SnapshotQuery } from "../engine/browse/pages.ts";
import type { Queries } from "../engine/queries.ts";
import type { ConfinedPlace } from "../engine/restore/confine.ts";
import type { RunRestoreOptions } from "../engine/restore/run.ts";
import type { RunOutcome } from "../engine/runs.ts";
import type { StatusReport } from "../engine/status.ts";
import type { Due } from "../scheduler/due.ts";
import type { LogQuery, LogRecord, RunQuery, RunRecord } from "../state/state.ts";
import type { ApiAccess, ApiStatus } from "./access.ts";
import type { EventFeed } from "./feed.ts";
import type { DaemonMonitor } from "./monitor.ts";
import type { AuditLog } from "./audit-log.ts";
import type { ConfigWriting } from "./config-writing.ts";
import type { ReloadOutcome } from "./reloader.ts";
import type { Reports } from "./reports.ts";
import type { Tasks } from "./tasks.ts";

export interface DaemonInfo {
  readonly pid: number;
  readonly version: string;
  readonly startedMs: number;
  readonly stopping: boolean;
  /** The configuration in force: its file, absolute, and its digest. */
  readonly config: string;
  readonly digest: string;
  /** The last reading of the configuration that changed something, failed, or was asked for. */
  readonly reload: ReloadOutcome | undefined;
  /** The API beside the control socket; undefined when none is declared. */
  readonly api: ApiStatus | undefined;
}

export interface DaemonStatus extends StatusReport {
  readonly daemon: DaemonInfo;
  readonly waiting: readonly Pick<Due, "kind" | "subject" | "why">[];
}

/** What became of a request to cancel. */
export interface Cancelled {
  /** What was cancelled, for people: `backup of docs`. */
  readonly cancelled: readonly string[];
}

export interface AttachedHooks extends OperationHooks {
  readonly onEvent: RunListener;
  readonly onWarning: (text: string) => void;
}

/** Everything may throw a HoldfastError: `name_unknown`, `state_busy`, and what the state says. */
export interface DaemonControl {
  readonly access: ApiAccess;
  readonly feed: EventFeed;
  readonly monitor: DaemonMonitor;
  info(): DaemonInfo;
  status(): DaemonStatus;
  runs(query: RunQuery): RunRecord[];
  /** By id or a unique prefix of it. */
  run(id: string): RunRecord;
  logs(id: string, query: LogQuery): LogRecord[];
  /** Asks for a run of a job, ahead of all scheduled ones; remembered until it begins, also over a restart. */
  requestRun(job: string, mode: JobMode | undefined): void;
  /** The same, and follows it to its end. Giving up (the signal) leaves the run as it is. */
  followRun(job: string, mode: JobMode | undefined, hooks: AttachedHooks): Promise<RunOutcome<BackupResult>>;
  /** Nothing is started for a paused job by itself until it is resumed, also over a restart. False when nothing changed. */
  pause(job: string): boolean;
  resume(job: string): boolean;
  /** Ends a run, or all that runs and waits for a job; neither comes back before the next slot. */
  cancel(runOrJob: string): Cancelled;
  reload(): Promise<ReloadOutcome>;
  /** Who changed what. */
  readonly audit: AuditLog;
  /** The files of the configuration, read and changed. */
  readonly configWriting: ConfigWriting;
  /** Has an operation done in the daemon, at its turn. The signal cancels it. */
  operate<T>(hooks: AttachedHooks, act: (operations: DaemonOperations, hooks: OperationHooks) => Promise<T>): Promise<T>;
  /** What the targets hold now or, while nothing was done here, held a moment ago. */
  listSnapshots(query: SnapshotQuery, page: Page, signal: AbortSignal): ReturnType<Queries["snapshots"]>;
  /** Asks something of the targets. What `act` works with is closed when it has ended. */
  query<T>(signal: AbortSignal, act: (queries: Queries, signal: AbortSignal) => Promise<T>): Promise<T>;
  /** Where a restore of `path` may go that was asked for over the API. Throws `restore_refused`. */
  confineRestore(to: RunRestoreOptions["to"], path: string): ConfinedPlace;
  /** Says in the daemon's log what nobody else can be told any more. */
  complain(text: string): void;
  /** Work that nobody stays for. */
  readonly tasks: Tasks;
  /** What the configuration and the state say; no target is asked. */
  readonly reports: Pick<Reports, keyof Reports>;
}
