/**
 * The configuration as the program sees it: valid, complete, resolved, frozen. Names have become references, paths are
 * absolute, sizes are bytes, durations milliseconds, percentages fractions, defaults filled in. Made only by `loadConfig`.
 *
 * Maps keep the order of the file. They are real Maps that refuse to change, and print as objects in JSON.
 * Objects are shared: `job.targets[0].target === config.targets.get("disk")`.
 */
import type { EventType } from "../base/events.ts";
import type { SecretReference } from "./secret-reference.ts";

export interface Config {
  readonly version: 1;
  /** Path of the main file, as it was given to `loadConfig`. */
  readonly path: string;
  /** SHA-256, hex, over the texts of all files before interpolation. */
  readonly digest: string;
  /** The host that snapshots are taken on; default: the machine's host name. */
  readonly host: string;
  readonly daemon: DaemonConfig;
  readonly control: ControlConfig;
  readonly encryption: ReadonlyMap<string, EncryptionConfig>;
  readonly sources: ReadonlyMap<string, SourceConfig>;
  readonly targets: ReadonlyMap<string, TargetConfig>;
  /** Named schedules only; inline ones are found in the jobs. */
  readonly schedules: ReadonlyMap<string, ScheduleConfig>;
  /** Named retentions only. */
  readonly retention: ReadonlyMap<string, RetentionConfig>;
  readonly jobs: ReadonlyMap<string, JobConfig>;
  readonly maintenance: MaintenanceConfig;
  readonly guards: GuardsConfig;
  readonly webhooks: ReadonlyMap<string, WebhookConfig>;
  readonly email: EmailConfig | undefined;
  /** Undefined: nothing listens. */
  readonly probes: ProbesConfig | undefined;
  /** The plan id approved in the file (`approve:`), lower-case hex. */
  readonly approve: string | undefined;
}

export interface DaemonConfig {
  /** Absolute paths. */
  readonly stateDir: string;
  readonly cacheDir: string;
  /** IANA name; every time of day in the configuration is in it. */
  readonly timezone: string;
  readonly maxConcurrentJobs: number;
  /** How long a stopping daemon lets running work finish before it aborts it. */
  readonly shutdownGraceMs: number;
  readonly log: { readonly level: LogLevel; readonly format: "json" | "text" };
}

/** The control API beside the control socket. */
export interface ControlConfig {
  /** Undefined: only the control socket. */
  readonly listen: ListenConfig | undefined;
  /** Absolute paths of PEM files. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
  /** Names are unique; at least one where there is a `listen`. */
  readonly tokens: readonly ApiTokenConfig[];
  /** Absolute, normalised folders that the API may restore into. */
  readonly restoreRoots: readonly string[];
  /** The API may edit the configuration's file. */
  readonly allowConfigWrites: boolean;
  readonly commitConfigWrites: boolean;
  /** Lower case, beside `localhost`, addresses and the host of `listen`. */
  readonly allowedHosts: readonly string[];
  /** As browsers send them, beside the API's own. */
  readonly allowedOrigins: readonly string[];
}

/** `host` is without brackets; `path` absolute. */
export type ListenConfig =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

export type ApiRole = "viewer" | "operator" | "admin";

export interface ApiTokenConfig {
  readonly name: string;
  readonly role: ApiRole;
  /** 32 to 1024 characters, known only when it is read. */
  readonly token: SecretReference;
}

export type LogLevel = "debug" | "info" | "warn" | "error";

export type EncryptionConfig = PasswordEncryptionConfig | KeyFileEncryptionConfig;

export interface PasswordEncryptionConfig {
  readonly name: string;
  readonly kind: "password";
  readonly password: SecretReference;
  /** Passwords that may still open an existing repository; a slot for `password` is then added and theirs removed. */
  readonly previous: readonly SecretReference[];
  /** For slots made from now on. */
  readonly keyDerivation: KeyDerivationConfig;
}

export interface KeyFileEncryptionConfig {
  readonly name: string;
  readonly kind: "keyFile";
  /** Absolute path of the file: hex text of 32 bytes. */
  readonly keyFile: string;
  /** Make the file (mode 0600) when it is missing; never when the target already holds a repository. */
  readonly generate: boolean;
}

/** Within the bounds of `docs/format.md`. */
export type KeyDerivationConfig =
  | { readonly function: "argon2id"; readonly memoryBytes: number; readonly passes: number; readonly parallelism: number }
  /** N = 2^logN; memory is 128 · N · blockSize bytes. */
  | { readonly function: "scrypt"; readonly logN: number; readonly blockSize: number; readonly parallelism: number }
  | { readonly function: "pbkdf2"; readonly iterations: number; readonly saltLength: number };

export type HookErrorPolicy = "fail" | "warn";

export interface HookConfig {
  /** Program and arguments; no shell. A program with a slash in it is an absolute path. */
  readonly run: readonly string[];
  readonly timeoutMs: number;
  /** `fail`: a failure fails the backup; what is committed stays. */
  readonly onError: HookErrorPolicy;
}

/** Each list runs in its order. */
export interface HooksConfig {
  readonly before: readonly HookConfig[];
  readonly after: readonly HookConfig[];
  readonly onSuccess: readonly HookConfig[];
  readonly onFailure: readonly HookConfig[];
}

export type SourceConfig = FilesSourceConfig | CommandSourceConfig;

/** `frame` compresses small chunks together (smaller); `file` compresses each by itself. */
export type Grouping = "frame" | "file";

export interface FilesSourceConfig {
  readonly name: string;
  readonly type: "files";
  /** Absolute, normalised, at least one. */
  readonly paths: readonly string[];
  /** gitignore rules in order. */
  readonly exclude: readonly string[];
  /** Where each rule of `exclude` stands, same order; for `explain`. */
  readonly excludePlaces: readonly Place[];
  readonly excludeIfPresent: readonly string[];
  readonly excludeLargerThanBytes: number | undefined;
  readonly oneFileSystem: boolean;
  /** What the source is read from instead of the files themselves. Undefined: nothing. */
  readonly snapshot?: "btrfs" | undefined;
  readonly minimumEntries: number;
  readonly grouping: Grouping;
  /** Undefined: none. */
  readonly hooks?: HooksConfig | undefined;
}

export interface CommandSourceConfig {
  readonly name: string;
  readonly type: "command";
  /** Program and arguments; no shell. */
  readonly command: readonly string[];
  /** Name of the one file in the snapshot. */
  readonly filename: string;
  readonly timeoutMs: number | undefined;
  readonly grouping: Grouping;
  /** Undefined: none. */
  readonly hooks?: HooksConfig | undefined;
}

export type TargetConfig = LocalTargetConfig | SftpTargetConfig;

/** What every target has. */
interface AnyTargetConfig {
  readonly name: string;
  readonly format: TargetFormat;
  /** Undefined (`encryption: none`) for archives only. */
  readonly encryption: EncryptionConfig | undefined;
  /** No backup begins while the target holds this much or more. */
  readonly maxSizeBytes: number | undefined;
  /** Fraction (0–1] of `maxSize`, or else of the medium, from which a warning is given. */
  readonly capacityWarning: number;
  /** This host never deletes here. */
  readonly appendOnly: boolean;
  readonly offsite: boolean;
}

export interface LocalTargetConfig extends AnyTargetConfig {
  readonly type: "local";
  /** Absolute, normalised. */
  readonly path: string;
  /** Absolute path that must be a mount point before the target is used. */
  readonly requireMount: string | undefined;
}

export interface SftpTargetConfig extends AnyTargetConfig {
  readonly type: "sftp";
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** On the server, normalised, without a final slash. */
  readonly path: string;
  readonly password: SecretReference | undefined;
  /** Absolute path of a private key. */
  readonly identityFile: string | undefined;
  readonly passphrase: SecretReference | undefined;
  /** Absolute path of an agent's socket. */
  readonly agent: string | undefined;
  /** As OpenSSH writes public keys; empty where `knownHosts` says them. */
  readonly hostKeys: readonly string[];
  /** Absolute path. */
  readonly knownHosts: string | undefined;
}

export type TargetFormat =
  | { readonly kind: "repository" }
  /** Each backup is one full archive. */
  | { readonly kind: "archive"; readonly container: "tar"; readonly compression: { readonly type: "none" } };

/** `level` is 0 for `none`, 1–9 for gzip, 1–22 for zstd. */
export interface CompressionConfig {
  readonly type: "none" | "zstd" | "gzip";
  readonly level: number;
}

export interface ScheduleConfig {
  /** Undefined for an inline schedule. */
  readonly name: string | undefined;
  /** The rule for people: `every 1h`, `sunday at 03:00`, `cron 0 2 * * *`. */
  readonly text: string;
  readonly rule: ScheduleRule;
  /** Each run is delayed by a random time up to this. */
  readonly jitterMs: number;
  /** A run missed while nothing was running is made up for, once. */
  readonly catchUp: boolean;
  /** Also due when the daemon starts. */
  readonly onStart: boolean;
}

/** `daily`, `weekly` and `monthly` arrive as cron. Cron is 5 fields (`L` = last day) in `daemon.timezone`, and is known to fire. */
export type ScheduleRule =
  | { readonly kind: "cron"; readonly expression: string }
  | { readonly kind: "every"; readonly everyMs: number };

export interface RetentionConfig {
  /** Undefined for an inline retention. */
  readonly name: string | undefined;
  /** Keep rules unite; undefined: the rule is not given. Counts are at least 1. */
  readonly keepLast: number | undefined;
  readonly keepHourly: number | undefined;
  readonly keepDaily: number | undefined;
  readonly keepWeekly: number | undefined;
  readonly keepMonthly: number | undefined;
  readonly keepYearly: number | undefined;
  readonly keepWithinMs: number | undefined;
  /** Snapshots with any of these tags are kept. */
  readonly keepTags: readonly string[];
  /** The max rules then trim the oldest, never the newest success. With max rules only, everything else is kept. */
  readonly maxAgeMs: number | undefined;
  readonly maxCount: number | undefined;
}

export type JobMode = "full" | "incremental" | "differential";

/** What a backup into repositories may take; undefined is unbounded. */
export interface JobLimitsConfig {
  readonly cpuThreads: number | undefined;
  readonly readBytesPerSecond: number | undefined;
  /** 0 to 19. */
  readonly nice: number;
}

export interface JobConfig {
  readonly name: string;
  readonly description: string;
  readonly enabled: boolean;
  /** Earlier names, whose history this job goes on with. */
  readonly formerly: readonly string[];
  /** At least one. */
  readonly sources: readonly SourceConfig[];
  /** At least one, each target once. */
  readonly targets: readonly JobTargetConfig[];
  /** Empty: the job runs only when asked to. */
  readonly schedules: readonly JobScheduleConfig[];
  /** No run starts within these. */
  readonly notDuring: readonly TimeWindow[];
  readonly when: WhenConfig;
  /** Higher runs first. */
  readonly priority: number;
  readonly retry: RetryConfig;
  readonly timeoutMs: number | undefined;
  /** A snapshot whose source is larger fails. */
  readonly maxSnapshotSizeBytes: number | undefined;
  readonly limits: JobLimitsConfig;
  /** Unless a schedule or the command line says otherwise. Archive targets take `full` only. */
  readonly mode: JobMode;
  /** For repositories. */
  readonly compression: CompressionConfig;
  readonly verify: JobVerifyConfig;
  readonly objectives: ObjectivesConfig;
  /** Undefined: none. */
  readonly hooks?: HooksConfig | undefined;
}

export interface JobTargetConfig {
  readonly target: TargetConfig;
  /** The target's own, else the job's, else the default; undefined: nothing is ever deleted. */
  readonly retention: RetentionConfig | undefined;
  /** When false, a failure here makes the run partial instead of failed. */
  readonly required: boolean;
}

export interface JobScheduleConfig {
  readonly schedule: ScheduleConfig;
  /** Undefined: the job's mode. */
  readonly mode: JobMode | undefined;
}

export interface RetryConfig {
  /** Runs in total; 1 means no retry. */
  readonly attempts: number;
  /** The wait doubles from the first to the second. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
}

/** Minutes since midnight; `endMinute` ≤ `startMinute` crosses midnight and belongs to the day it starts on. */
export interface TimeWindow {
  /** As written, for people. */
  readonly text: string;
  /** 0 = Sunday … 6 = Saturday, ascending. */
  readonly days: readonly number[];
  readonly startMinute: number;
  /** Up to 1440. */
  readonly endMinute: number;
}

export interface JobVerifyConfig {
  /** Check the new snapshot on every target right after each backup. */
  readonly afterBackup: boolean;
  readonly schedule: ScheduleConfig | undefined;
  /** Fraction [0–1] of the stored data a verification reads; 0 checks the structure only. */
  readonly readData: number;
}

export interface ObjectivesConfig {
  readonly rpoMs: number | undefined;
  readonly copies: number | undefined;
  readonly offsite: number | undefined;
  readonly verifiedWithinMs: number | undefined;
}

/** When retention is applied and space is freed. */
export interface MaintenanceConfig {
  readonly schedule: ScheduleConfig;
  /** How long a condemned pack stays before it is deleted. */
  readonly graceMs: number;
  /** Fraction [0–1) of a repository that may stay unused. */
  readonly maxUnused: number;
}

export interface GuardsConfig {
  /** Retention stops when local and target time differ by more than this. */
  readonly clockMs: number;
  /** Retention and prune stop when a snapshot is smaller than the one before by more than this fraction. */
  readonly shrink: number | undefined;
  /** … or when more than this fraction of the bytes of a snapshot of files is new. */
  readonly changed: number | undefined;
}

/** What the machine must be like for a job to start by itself. */
export interface WhenConfig {
  /** The load average must be below this. */
  readonly loadBelow: number | undefined;
  readonly onMains: boolean;
  readonly unmetered: boolean;
}

/** What a receiver is told of. */
export interface EventFilter {
  /** Every event that fits one of its patterns, in the order of `EVENT_TYPES`. */
  readonly events: readonly EventType[];
  /** Undefined: whatever it is about. */
  readonly jobs: readonly string[] | undefined;
  readonly targets: readonly string[] | undefined;
}

export type WebhookKind = "plain" | "slack" | "discord" | "ntfy" | "healthchecks";

export interface WebhookConfig extends EventFilter {
  readonly name: string;
  readonly kind: WebhookKind;
  /** Its path may be a secret. */
  readonly url: SecretReference;
  readonly method: "POST" | "PUT" | "GET";
  readonly headers: readonly HeaderConfig[];
  readonly signingSecret: SecretReference | undefined;
  /** Of one attempt, at most 60 s. */
  readonly timeoutMs: number;
  readonly allowPrivate: boolean;
}

export interface HeaderConfig {
  readonly name: string;
  readonly prefix: string;
  readonly value: SecretReference;
}

export interface EmailConfig extends EventFilter {
  readonly smtp: SmtpConfig;
  readonly to: readonly string[];
  /** Minutes since midnight at which everything since the last digest is summed up; undefined: never. */
  readonly digestMinute: number | undefined;
}

export interface ProbesConfig {
  readonly listen: ProbeAddress;
  readonly metrics: boolean;
}

export type ProbeAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  /** An absolute path. */
  | { readonly kind: "unix"; readonly path: string };

export interface SmtpConfig {
  readonly host: string;
  readonly port: number;
  readonly security: "starttls" | "tls" | "none";
  readonly from: string;
  readonly login: { readonly user: string; readonly password: SecretReference } | undefined;
}

/** Where something stands. Lines and columns count from 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}
