/**
 * Holdfast as a library. Everything that the command line does goes through here: load a configuration, open the state,
 * make a `Holdfast`, and plan, apply, back up, look inside, restore, verify and prune with it; or run the daemon.
 */
export { throwIfAborted } from "./base/abort.ts";
export type { Clock } from "./base/clock.ts";
export { renderCsv } from "./base/csv.ts";
export { formatDuration, parseDuration } from "./base/duration.ts";
export { asHoldfastError, ERROR_CODES, errnoOf, HoldfastError } from "./base/errors.ts";
export type { ErrorCode, ErrorDetails, ErrorWire } from "./base/errors.ts";
export { EVENT_TYPES, fitsEvent } from "./base/events.ts";
export type { EventType } from "./base/events.ts";
export type { Progress, RunEvent, RunKind, RunListener, RunStatus } from "./base/events.ts";
export { asSnapshotId } from "./base/ids.ts";
export type { RepositoryId, RunId, SnapshotId } from "./base/ids.ts";
export { pathBytes, pathText } from "./base/path-text.ts";
export { randomHex } from "./base/random.ts";
export type { Randomness } from "./base/random.ts";
export { Secret } from "./base/secret.ts";
export { formatSize, parseSize } from "./base/size.ts";
export { systemRandom } from "./codec/system-random.ts";
export type {
  ApiTokenConfig,
  Config,
  ControlConfig,
  EncryptionConfig,
  HookConfig,
  JobConfig,
  JobMode,
  ListenConfig,
  Place,
  ProbesConfig,
  RetentionConfig,
  FilesSourceConfig,
  SourceConfig,
  TargetConfig,
} from "./config/config.ts";
export { diffConfigs, renderConfigDiff } from "./config/diff.ts";
export type { ConfigChange } from "./config/diff.ts";
export { loadConfig } from "./config/load.ts";
export type { LoadInput, LoadResult } from "./config/load.ts";
export { escapeControl, renderProblems } from "./config/problem.ts";
export type { Problem } from "./config/problem.ts";
export { API_TOKEN } from "./config/check-control.ts";
export { configSchema } from "./config/schema.ts";
export { starterConfig } from "./config/starter.ts";
export { formatWall, fromWall, toWall, wallParts } from "./plan/zone.ts";
export { locationOf } from "./plan/changes.ts";
export { hasChanges, heldActions } from "./plan/plan.ts";
export type { Action, Plan, PlanNote } from "./plan/plan.ts";
export { selectForRetention } from "./plan/retention.ts";
export { renderPlan } from "./plan/render-plan.ts";
export { openState } from "./state/state.ts";
export type { DeliveryRecord, DeliveryState } from "./state/outbox.ts";
export type { LogLevel, LogQuery, LogRecord, RunQuery, RunRecord, State } from "./state/state.ts";
export { createSystemClock } from "./state/system-clock.ts";
export type {
  Annotation,
  KeySlot,
  KeySlots,
  PruneReport,
  RepairReport,
  SnapshotEntry,
  SnapshotInfo,
  Store,
  Unlocking,
  VerifyReport,
} from "./formats/format.ts";
export { freezePaths } from "./sources/files/btrfs.ts";
export type { EntryType } from "./sources/source.ts";
export { compileExclude, nameText } from "./sources/files/exclude.ts";
export { targetSpec } from "./engine/target-spec.ts";
export { createTarget } from "./targets/registry.ts";
export { auditedOperations, endOf, OPERATION_DEEDS } from "./engine/audit.ts";
export type { Actor, Deed } from "./engine/audit.ts";
export { EDITED_SECTIONS } from "./config/edit.ts";
export type { ConfigEdit, EditedSection } from "./config/edit.ts";
export { ConfigFiles } from "./engine/config-write.ts";
export type { ConfigCommit, ConfigSource } from "./engine/config-write.ts";
export { formatAuditHead, parseAuditHead, requireIntact } from "./state/audit.ts";
export type { AuditEntry, AuditHead, AuditOutcome, AuditQuery, AuditRecord, AuditVerdict } from "./state/audit.ts";
export { performAction } from "./engine/apply.ts";
export type { ActionOutcome, ApplyResult } from "./engine/apply.ts";
export type { BackupResult } from "./engine/backup/backup.ts";
export { diffSnapshots } from "./engine/browse/diff.ts";
export type { Change, ChangeKind } from "./engine/browse/diff.ts";
export { dumpEntry } from "./engine/browse/dump.ts";
export { entryAt } from "./engine/browse/entries.ts";
export { findEntries } from "./engine/browse/find.ts";
export { listEntries } from "./engine/browse/list.ts";
export { configCandidates, findConfigFile, gitCommitOf, readConfigFile } from "./engine/config-file.ts";
export { likelyStateDirs, readLastGood, saveLastGood } from "./engine/last-good.ts";
export type { ConfigReading, ConfigSurroundings } from "./engine/config-file.ts";
export { generateKeyFile } from "./engine/encryption.ts";
export { DEFAULT_KDF } from "./engine/keys.ts";
export type { SnapshotQuery } from "./engine/browse/pages.ts";
export type { Download } from "./engine/browse/download.ts";
export type { Queries } from "./engine/queries.ts";
export { verifyScopes } from "./engine/verify/scopes.ts";
export { snapshotPath } from "./engine/browse/snapshot-path.ts";
export { actionJson, deliveryJson, entryJson, errorJson, ratioOf, snapshotJson, statsJson } from "./engine/documents.ts";
export { Holdfast } from "./engine/holdfast.ts";
export type { TargetStats } from "./engine/holdfast.ts";
export type { OverwritePolicy, RestoreAction, RestoreReport } from "./engine/restore/restore.ts";
export type { RestoreResult, RunRestoreOptions } from "./engine/restore/run.ts";
export { operationsAt, ownWorkplace, unavailableTargets } from "./engine/operations.ts";
export type {
  Applied,
  ApplyRequest,
  BackupRequest,
  DaemonOperations,
  OperationHooks,
  Operations,
  RestoreOperation,
  RollbackRequest,
  UnavailableTarget,
  VerifyRequest,
} from "./engine/operations.ts";
export { previewPrune } from "./engine/prune/prune-jobs.ts";
export type { PrunePart, PrunePreview, PruneRequest, Removal } from "./engine/prune/prune-jobs.ts";
export type { RunOutcome } from "./engine/runs.ts";
export type { Surroundings } from "./engine/session.ts";
export type { SnapshotFilter, SnapshotListing, SnapshotRow, SnapshotSelector } from "./engine/snapshots.ts";
export { reportStatus } from "./engine/status.ts";
export type { JobReport, RunningReport, StatusReport, TargetReport } from "./engine/status.ts";
export { Notifier, receiversOfConfig } from "./notify/notifier.ts";
export type { NotifierLog, NotifierOptions } from "./notify/notifier.ts";
export { createLog } from "./telemetry/log.ts";
export type { Log } from "./telemetry/log.ts";
export { runDaemon } from "./daemon/daemon.ts";
export type { DaemonConfig } from "./daemon/reloader.ts";
export type { DaemonOptions } from "./daemon/daemon.ts";
export type { ApiAccess, ApiStatus } from "./daemon/access.ts";
export { liveDaemon } from "./daemon/claim.ts";
export type { AttachedHooks, Cancelled, DaemonControl, DaemonInfo, DaemonStatus } from "./daemon/daemon-control.ts";
export { Feed } from "./daemon/feed.ts";
export type { EventFeed, FeedItem, FeedReader } from "./daemon/feed.ts";
export type { HealthComponent, HealthReport, HealthStatus } from "./daemon/health.ts";
export type { DaemonMonitor } from "./daemon/monitor.ts";
export type { MetricsPage } from "./telemetry/metrics.ts";
export type { AuditLog } from "./daemon/audit-log.ts";
export type { ConfigWriteRequest, ConfigWriteResult, ConfigWriting } from "./daemon/config-writing.ts";
export type { ReloadOutcome } from "./daemon/reloader.ts";
export type { TaskPatience, TaskReport } from "./daemon/tasks.ts";
