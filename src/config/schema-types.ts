// Generated from schemas/holdfast.schema.json by `npm run generate`; do not edit.

/**
 * Where a secret is. A secret written here in plain text is a warning, and an error with `--strict`.
 */
export type Secret = PlainSecret | SecretReference;
/**
 * The secret itself; better: a reference.
 */
export type PlainSecret = string;
/**
 * How a password becomes a key. Default: argon2id with 64 MiB, 3 passes and 4 lanes.
 */
export type KeyDerivation = Argon2Id | Scrypt | Pbkdf2;
/**
 * Something to protect; `type` says what.
 */
export type Source = FilesSource | CommandSource;
/**
 * `frame` compresses small files together, which saves most; `file` compresses each by itself, so that sizes tell nothing of one file's likeness to another.
 */
export type GroupingChoice = "frame" | "file";
/**
 * A place that keeps backups; `type` says what.
 */
export type Target = LocalTarget | SftpTarget;
/**
 * Compression in repositories. Default: zstd, level 3.
 */
export type Compression = ZstdCompression | GzipCompression | NoCompression;
/**
 * When something is due: a cron string, or a map.
 */
export type NamedSchedule = Cron | Schedule;
/**
 * Five cron fields, six with seconds first (`L` is the last day of the month), or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
 */
export type Cron = string;
/**
 * Name of a schedule, a cron string, a schedule written here, or a list of these, each with its own `mode`.
 */
export type JobScheduleList = string | JobScheduleItem | (string | JobScheduleItem)[];
/**
 * What change detection compares with: `full` nothing, `incremental` the newest snapshot, `differential` the newest full one. A snapshot in a repository is whole in each mode.
 */
export type Mode = "full" | "incremental" | "differential";
/**
 * Name of a retention, or one written here.
 */
export type RetentionChoice = string | Retention;
/**
 * Names of targets, as a list, or as a map with settings for each. The source is read once and written to all.
 */
export type JobTargets = string[] | JobTargetMap;
/**
 * Settings of one target in one job.
 */
export type JobTarget = {
  retention?: RetentionChoice;
  /**
   * With `false` a failure here makes the run partial instead of failed.
   */
  required?: boolean;
} | null;
/**
 * Name of a schedule, a cron string (it has spaces or begins with `@`), or a schedule written here.
 */
export type ScheduleChoice = string | Schedule;
/**
 * The URL itself.
 */
export type PlainUrl = string;
/**
 * Names of events, or patterns with `*` that fit some.
 *
 * @minItems 1
 *
 * Items: Name of an event, or a pattern with `*`.
 */
export type EventPatterns = string[];
/**
 * Value of a header: text, or a reference to a secret.
 */
export type HeaderValue = PlainHeader | HeaderReference;
/**
 * The value itself.
 */
export type PlainHeader = string;

/**
 * One YAML file (and what it includes) declares what is protected, where copies live, how they are encrypted and how long they are kept.
 */
export interface HoldfastFile {
  /**
   * Version of this configuration language. Every file carries it, included ones too.
   */
  version: 1;
  /**
   * Name of this machine in its snapshots. Set it in containers, where the host name changes with every start. Default: the machine's host name.
   */
  host?: string;
  /**
   * More files, as paths or globs relative to this file. Their maps are merged by name; the same name twice is an error.
   */
  include?: string[];
  daemon?: Daemon;
  control?: Control;
  /**
   * Named ways to encrypt a repository; targets refer to them by name.
   */
  encryption?: {
    [k: string]: Encryption;
  };
  /**
   * Named things to protect; jobs refer to them by name.
   */
  sources?: {
    [k: string]: Source;
  };
  /**
   * Named places that keep backups; jobs refer to them by name.
   */
  targets?: {
    [k: string]: Target;
  };
  compression?: Compression;
  /**
   * Named schedules; jobs, verification and maintenance refer to them by name.
   */
  schedules?: {
    [k: string]: NamedSchedule;
  };
  /**
   * Named retention policies; jobs and their targets refer to them by name. Without one nothing is ever deleted.
   */
  retention?: {
    [k: string]: Retention;
  };
  defaults?: Defaults;
  /**
   * Named jobs, the units that run: sources, targets, schedule, mode and retention.
   */
  jobs?: {
    [k: string]: Job;
  };
  maintenance?: Maintenance;
  guards?: Guards;
  /**
   * Named receivers of events over HTTP. One whose name is an event's (`backup_failed`) gets that event; others say which in `events`. Each message is kept until it was delivered or has been tried for three days.
   */
  webhooks?: {
    [k: string]: Webhook;
  };
  email?: Email;
  probes?: Probes;
  /**
   * Id of one held plan (`holdfast plan` prints it). The change it names may be carried out; an approval never covers another plan.
   */
  approve?: string;
}
/**
 * The process itself.
 */
export interface Daemon {
  /**
   * Folder of the run history. Losing it loses no backup. Default: `$STATE_DIRECTORY`, or else `/var/lib/holdfast` for root and `holdfast` in the XDG state folder for others.
   */
  stateDir?: string;
  /**
   * Folder of copies of small objects, which can be fetched again from the targets. One that cannot be written is not used. Default: `$CACHE_DIRECTORY`, or else `/var/cache/holdfast` for root and `holdfast` in the XDG cache folder for others.
   */
  cacheDir?: string;
  /**
   * Time zone of every time of day in this configuration, as an IANA name. Default: the machine's own.
   */
  timezone?: string;
  /**
   * How many jobs run at once.
   */
  maxConcurrentJobs?: number;
  /**
   * How long a stopping daemon lets running work finish before it is aborted.
   */
  shutdownGrace?: string;
  log?: Log;
}
/**
 * The daemon's log.
 */
export interface Log {
  /**
   * The least important lines that are written.
   */
  level?: "debug" | "info" | "warn" | "error";
  /**
   * `json` is one JSON object a line; `text` is for people.
   */
  format?: "json" | "text";
}
/**
 * The control API for programs and other machines (docs/api.md). The control socket in the state folder is there without it. A change takes effect at once.
 */
export interface Control {
  /**
   * Where the API listens: `HOST:PORT`, or `unix:PATH`. It needs `tokens`, and other than a loopback address it needs `tls`. Default: nowhere.
   */
  listen?: string;
  tls?: Tls;
  /**
   * Who may use the API, each by a bearer token of its own. The control socket needs none.
   */
  tokens?: ApiToken[];
  /**
   * Folders that the API may restore into; elsewhere it never writes. Default: none.
   *
   * Items: Absolute, or relative to the file that names it.
   */
  restoreRoots?: string[];
  /**
   * Let the API edit this file: jobs, schedules and retention, with comments and order kept. Without it, it answers with the text to write.
   */
  allowConfigWrites?: boolean;
  /**
   * Commit each such edit with git, where the file is in a repository.
   */
  commitConfigWrites?: boolean;
  /**
   * More names under which the API may be asked, such as that of a proxy. `localhost`, the host of `listen` and addresses are always allowed; any other name is refused, so that no web page can reach the API through a name of its own.
   */
  allowedHosts?: string[];
  /**
   * Other origins whose web pages may use the API, as `https://HOST[:PORT]`. Its own is always allowed.
   */
  allowedOrigins?: string[];
}
/**
 * Certificate and key, as PEM. They are read anew with every reload.
 */
export interface Tls {
  /**
   * File with the certificate, and those between it and the root.
   */
  cert: string;
  /**
   * File with its private key.
   */
  key: string;
}
/**
 * One token of the API.
 */
export interface ApiToken {
  /**
   * Who has it, for logs and the audit; unique.
   */
  name: string;
  /**
   * `viewer` reads status, history, logs and names; `operator` also runs, pauses, cancels, verifies, prunes and restores; `admin` also deletes, manages keys, approves and changes the configuration.
   */
  role: "viewer" | "operator" | "admin";
  token: Secret;
}
/**
 * A reference to a secret: exactly one of `file`, `env`, `command` and `credential`.
 */
export interface SecretReference {
  /**
   * File whose content, without one final newline, is the secret.
   */
  file?: string;
  /**
   * Environment variable that holds the secret.
   */
  env?: string;
  /**
   * Program and arguments that print the secret. No shell is involved.
   *
   * @minItems 1
   */
  command?: string[];
  /**
   * Name of a systemd credential (`LoadCredential=`): a file in `$CREDENTIALS_DIRECTORY`.
   */
  credential?: string;
}
/**
 * How a repository is encrypted: by a `password`, or by a `keyFile`. The name `none` is reserved.
 */
export interface Encryption {
  password?: Secret;
  /**
   * Passwords used before. A repository that one of them still opens gets the new one, so changing a password is an edit.
   */
  previous?: Secret[];
  keyDerivation?: KeyDerivation;
  /**
   * File with a key: 64 hexadecimal digits.
   */
  keyFile?: string;
  /**
   * Make the key file (mode 0600) when it is missing. Refused when the target already holds a repository.
   */
  generate?: boolean;
}
/**
 * Argon2id: costs memory and time. The best choice where it can run.
 */
export interface Argon2Id {
  /**
   * Chooses this function.
   */
  function: "argon2id";
  /**
   * Memory, from `8MiB` to `1GiB`.
   */
  memory?: string;
  /**
   * Passes over the memory.
   */
  passes?: number;
  /**
   * Lanes.
   */
  parallelism?: number;
}
/**
 * scrypt: costs memory and time; the memory, 128 × cost × blockSize bytes, is at most 1 GiB.
 */
export interface Scrypt {
  /**
   * Chooses this function.
   */
  function: "scrypt";
  /**
   * N, a power of two.
   */
  cost?: number;
  /**
   * r.
   */
  blockSize?: number;
  /**
   * p.
   */
  parallelism?: number;
}
/**
 * PBKDF2 with HMAC-SHA-512, for places that allow nothing else.
 */
export interface Pbkdf2 {
  /**
   * Chooses this function.
   */
  function: "pbkdf2";
  /**
   * Iterations.
   */
  iterations?: number;
  /**
   * Length of the random salt in bytes.
   */
  saltLength?: number;
}
/**
 * Files and folders, with owners, permissions, times, links, extended attributes and holes.
 */
export interface FilesSource {
  /**
   * Chooses this type.
   */
  type: "files";
  /**
   * Files and folders to protect.
   *
   * @minItems 1
   *
   * Items: Absolute, or relative to the file that names it.
   */
  paths: string[];
  /**
   * What to leave out: gitignore rules, relative to each path. A later rule wins; `!` takes back in.
   */
  exclude?: string[];
  /**
   * Folders that hold a file of one of these names are left out.
   */
  excludeIfPresent?: string[];
  /**
   * Files larger than this are left out. Default: no limit.
   */
  excludeLargerThan?: string;
  /**
   * Stay on the file system that each path lies on.
   */
  oneFileSystem?: boolean;
  /**
   * Read the files from read-only snapshots of their btrfs subvolumes, which are made before and removed always. Nested subvolumes and what is mounted below the paths come along, unless `oneFileSystem` is set. Needs the program `btrfs` and the right to make and remove snapshots.
   */
  snapshot?: "btrfs";
  /**
   * With fewer entries than this below the paths the run fails, so that an empty mount does not become a good backup. 0 allows an empty folder.
   */
  minimumEntries?: number;
  grouping?: GroupingChoice;
  hooks?: Hooks;
}
/**
 * Programs that run around each backup of a job, or around the reading of a source: see [running programs around a backup](#running-programs-around-a-backup). Each list runs in its order, one after the other.
 */
export interface Hooks {
  /**
   * Before anything is read. When one fails, those after it do not run, and the job, or the source, fails without being read; with `onError: warn` it goes on.
   */
  before?: Hook[];
  /**
   * Always, when a `before` hook or the reading has begun: also after a failure, a cancellation, a timeout, and at the next start when the process was killed. Of a source: as soon as it has been read. Of a job: last of all. Each runs, also when another fails.
   */
  after?: Hook[];
  /**
   * When it was backed up, as a whole or in part; `HOLDFAST_STATUS` says which.
   */
  onSuccess?: Hook[];
  /**
   * When it failed. Not when somebody cancelled it.
   */
  onFailure?: Hook[];
}
/**
 * One program.
 */
export interface Hook {
  /**
   * Program and arguments. No shell is involved; for a pipe write `[sh, -c, "…"]`. Other users of the machine can see arguments, so put no secret there.
   *
   * @minItems 1
   */
  run: string[];
  /**
   * The program and what it started are ended, and the hook counts as failed, after this long.
   */
  timeout?: string;
  /**
   * What a failure does: `fail` makes the backup fail (what is committed stays), `warn` goes into the log. Default: `fail` for `before`, `warn` for the others.
   */
  onError?: "fail" | "warn";
}
/**
 * What a program prints, as one file. Nothing is committed when the program fails.
 */
export interface CommandSource {
  /**
   * Chooses this type.
   */
  type: "command";
  /**
   * Program and arguments. No shell is involved; for a pipe write `[sh, -c, "…"]`. It inherits the environment of Holdfast, without the variables that hold a secret of this configuration.
   *
   * @minItems 1
   */
  command: string[];
  /**
   * Name of the file in the snapshot; no `/`.
   */
  filename: string;
  /**
   * The program is stopped, and the run fails, after this long. Default: no limit.
   */
  timeout?: string;
  grouping?: GroupingChoice;
  hooks?: Hooks;
}
/**
 * A folder: a disk, or a mounted network share.
 */
export interface LocalTarget {
  /**
   * Chooses this type.
   */
  type: "local";
  /**
   * The folder. It is made when missing.
   */
  path: string;
  /**
   * A path that must be a mount point, so that a share that is not mounted is not filled in its place.
   */
  requireMount?: string;
  /**
   * Name of an `encryption`. `none` is for archives only, which take nothing else yet.
   */
  encryption: string;
  archive?: Archive;
  /**
   * No backup begins on this target while it holds this much or more; one that begins below may go beyond it. Default: no limit.
   */
  maxSize?: string;
  /**
   * Warn from this share of `maxSize`, or else of the medium.
   */
  capacityWarning?: string;
  /**
   * This host never deletes anything here.
   */
  appendOnly?: boolean;
  /**
   * Counts as offsite for objectives.
   */
  offsite?: boolean;
}
/**
 * Keep plain archives, one full one a backup, instead of a repository.
 */
export interface Archive {
  /**
   * Kind of archive.
   */
  container: "tar";
  compression?: ArchiveCompression;
}
/**
 * Compression of the archive.
 */
export interface ArchiveCompression {
  /**
   * `none`: the archive is not compressed.
   */
  type: "none";
}
/**
 * A folder on a server, over SSH's file transfer (docs/targets/sftp.md).
 */
export interface SftpTarget {
  /**
   * Chooses this type.
   */
  type: "sftp";
  /**
   * Name or address of the server.
   */
  host: string;
  /**
   * Port of its SSH service.
   */
  port?: number;
  /**
   * The account on the server.
   */
  user: string;
  /**
   * The folder on the server; one without a leading slash begins where the account's sessions begin. It is made when missing.
   */
  path: string;
  /**
   * A private key that lets the account in, in OpenSSH, PEM or PuTTY format.
   */
  identityFile?: string;
  passphrase?: Secret;
  /**
   * Socket of an SSH agent that holds the key.
   */
  agent?: string;
  password?: Secret;
  /**
   * The server's public key, or several, as `ssh-keyscan HOST` prints them without the name. Nothing is sent to a server with another key.
   */
  hostKey?: string | string[];
  /**
   * A `known_hosts` file that has the server's key, in place of `hostKey`.
   */
  knownHosts?: string;
  /**
   * Name of an `encryption`. `none` is for archives only, which take nothing else yet.
   */
  encryption: string;
  archive?: Archive;
  /**
   * No backup begins on this target while it holds this much or more; one that begins below may go beyond it. Default: no limit.
   */
  maxSize?: string;
  /**
   * Warn from this share of `maxSize`, or else of the medium.
   */
  capacityWarning?: string;
  /**
   * This host never deletes anything here.
   */
  appendOnly?: boolean;
  /**
   * Counts as offsite for objectives.
   */
  offsite?: boolean;
}
/**
 * zstd: fast and small.
 */
export interface ZstdCompression {
  /**
   * Chooses zstd.
   */
  type: "zstd";
  /**
   * Higher is smaller and slower.
   */
  level?: number;
}
/**
 * gzip: every tool reads it.
 */
export interface GzipCompression {
  /**
   * Chooses gzip.
   */
  type: "gzip";
  /**
   * Higher is smaller and slower.
   */
  level?: number;
}
/**
 * Nothing is compressed.
 */
export interface NoCompression {
  /**
   * Chooses no compression.
   */
  type: "none";
}
/**
 * A schedule: exactly one of `cron`, `every`, `daily`, `weekly` and `monthly`, and how to keep it.
 */
export interface Schedule {
  /**
   * Five cron fields, six with seconds first, or `@hourly` and the like.
   */
  cron?: string;
  /**
   * At whole multiples of this since 1970-01-01 00:00 UTC, whenever the daemon was started: `6h` is 00:00, 06:00, 12:00 and 18:00 UTC. At least `1s`.
   */
  every?: string;
  /**
   * Every day, at the time of `at`.
   */
  daily?: true;
  /**
   * A day of the week, or several, at the time of `at`.
   */
  weekly?:
    | ("monday" | "tuesday" | "wednesday" | "thursday" | "friday" | "saturday" | "sunday")
    | ("monday" | "tuesday" | "wednesday" | "thursday" | "friday" | "saturday" | "sunday")[];
  /**
   * A day of the month from 1 to 28, or `last`, at the time of `at`.
   */
  monthly?: number | "last";
  /**
   * Time of day in `daemon.timezone`; with `daily`, `weekly` and `monthly`.
   */
  at?: string;
  /**
   * Delay each run by a random time up to this, so that many hosts do not start at once.
   */
  jitter?: string;
  /**
   * A run missed while the machine was off or the daemon stopped is made up for, once.
   */
  catchUp?: boolean;
  /**
   * Also run when the daemon starts.
   */
  onStart?: boolean;
}
/**
 * Which snapshots to keep, for each host, job and source. `keep*` rules unite: a snapshot that any of them wants is kept, the others are deleted. `max*` rules then trim the oldest, never the newest success; without a `keep*` rule they are the only limits.
 */
export interface Retention {
  /**
   * Keep the newest ones.
   */
  keepLast?: number;
  /**
   * Keep the newest of each of the last hours that have one.
   */
  keepHourly?: number;
  /**
   * Keep the newest of each of the last days that have one.
   */
  keepDaily?: number;
  /**
   * Keep the newest of each of the last weeks that have one.
   */
  keepWeekly?: number;
  /**
   * Keep the newest of each of the last months that have one.
   */
  keepMonthly?: number;
  /**
   * Keep the newest of each of the last years that have one.
   */
  keepYearly?: number;
  /**
   * Keep all that are younger than this.
   */
  keepWithin?: string;
  /**
   * Keep those with any of these tags, as well as what the other rules keep.
   */
  keepTags?: string[];
  /**
   * Delete what is older than this.
   */
  maxAge?: string;
  /**
   * Delete the oldest above this number.
   */
  maxCount?: number;
}
/**
 * What jobs take when they do not say it themselves.
 */
export interface Defaults {
  schedule?: JobScheduleList;
  retention?: RetentionChoice;
  targets?: JobTargets;
  compression?: Compression;
}
/**
 * A schedule by `name`, or written here, and the `mode` of its runs.
 */
export interface JobScheduleItem {
  /**
   * Name of a schedule.
   */
  name?: string;
  mode?: Mode;
  /**
   * Five cron fields, six with seconds first, or `@hourly` and the like.
   */
  cron?: string;
  /**
   * At whole multiples of this since 1970-01-01 00:00 UTC, whenever the daemon was started: `6h` is 00:00, 06:00, 12:00 and 18:00 UTC. At least `1s`.
   */
  every?: string;
  /**
   * Every day, at the time of `at`.
   */
  daily?: true;
  /**
   * A day of the week, or several, at the time of `at`.
   */
  weekly?:
    | ("monday" | "tuesday" | "wednesday" | "thursday" | "friday" | "saturday" | "sunday")
    | ("monday" | "tuesday" | "wednesday" | "thursday" | "friday" | "saturday" | "sunday")[];
  /**
   * A day of the month from 1 to 28, or `last`, at the time of `at`.
   */
  monthly?: number | "last";
  /**
   * Time of day in `daemon.timezone`; with `daily`, `weekly` and `monthly`.
   */
  at?: string;
  /**
   * Delay each run by a random time up to this, so that many hosts do not start at once.
   */
  jitter?: string;
  /**
   * A run missed while the machine was off or the daemon stopped is made up for, once.
   */
  catchUp?: boolean;
  /**
   * Also run when the daemon starts.
   */
  onStart?: boolean;
}
export interface JobTargetMap {
  [k: string]: JobTarget;
}
/**
 * The unit that runs. A name that did not exist before begins a new history, unless `formerly` says where it comes from.
 */
export interface Job {
  /**
   * For people.
   */
  description?: string;
  /**
   * A disabled job is checked but never runs by itself.
   */
  enabled?: boolean;
  /**
   * Earlier names of this job, so that a rename keeps its history.
   *
   * Items: Lower-case letters, digits, `_` and `-`; begins with a letter or digit; at most 63 characters.
   */
  formerly?: string[];
  /**
   * Names of sources; each becomes a snapshot of its own.
   *
   * @minItems 1
   *
   * Items: Lower-case letters, digits, `_` and `-`; begins with a letter or digit; at most 63 characters.
   */
  sources: string[];
  targets?: JobTargets;
  schedule?: JobScheduleList;
  /**
   * Times in which the daemon starts no backup of this job by itself: days and a time range. A range that ends before it begins crosses midnight.
   */
  notDuring?: string[];
  when?: When;
  /**
   * When several jobs are due, the higher runs first.
   */
  priority?: number;
  retry?: Retry;
  /**
   * A run is aborted, and fails, after this long. Default: no limit.
   */
  timeout?: string;
  /**
   * A run fails when its source is larger than this. Default: no limit.
   */
  maxSnapshotSize?: string;
  mode?: Mode;
  limits?: JobLimits;
  compression?: Compression;
  retention?: RetentionChoice;
  verify?: JobVerify;
  objectives?: Objectives;
  hooks?: Hooks;
}
/**
 * What the machine must be like for the daemon to start a backup of this job by itself; until then it waits. A backup that was asked for does not.
 */
export interface When {
  /**
   * `<2`: the load average of the last minute must be below 2.
   */
  load?: string;
  /**
   * `mains`: not on battery.
   */
  power?: "mains";
  /**
   * `unmetered`: not on a network that NetworkManager knows to cost by volume.
   */
  network?: "unmetered";
}
/**
 * What happens when a run fails for a reason that may pass.
 */
export interface Retry {
  /**
   * Tries in total; 1 is no retry.
   */
  attempts?: number;
  /**
   * Wait before a retry: a duration, or a range in which it doubles each time.
   */
  backoff?: string;
}
/**
 * What the backups of a job into repositories may take from the machine.
 */
export interface JobLimits {
  /**
   * Threads that read, cut, hash, compress and encrypt. Default: one a core, at most 8.
   */
  cpu?: number;
  /**
   * Bytes of content read from the source. Default: no limit.
   */
  io?: string;
  /**
   * How much the threads stand back when others want the processor, as of `nice`: 19 is the most. Linux only.
   */
  nice?: number;
}
/**
 * Proof that the snapshots of this job can be read.
 */
export interface JobVerify {
  /**
   * Check each new snapshot right after its backup.
   */
  afterBackup?: boolean;
  schedule?: ScheduleChoice;
  /**
   * Share of the stored data that a check reads: a percentage, or `true` for all and `false` for the structure only.
   */
  readData?: string | boolean;
}
/**
 * Promises of this job. A configuration that cannot keep them is reported when it is read; whether they are kept is not measured in this version.
 */
export interface Objectives {
  /**
   * The newest good snapshot is never older than this.
   */
  rpo?: string;
  /**
   * On how many targets the newest snapshot is.
   */
  copies?: number;
  /**
   * How many of these targets are `offsite`.
   */
  offsite?: number;
  /**
   * The last successful verification is never older than this.
   */
  verifiedWithin?: string;
}
/**
 * When and how retention is applied and space is freed.
 */
export interface Maintenance {
  schedule?: ScheduleChoice;
  /**
   * How long what is no longer needed stays on a target before it is deleted.
   */
  grace?: string;
  /**
   * Share of a repository that may stay unused, to save rewriting.
   */
  maxUnused?: string;
}
/**
 * What stops retention and prune until someone has looked. A backup that failed stops them too, until one succeeds.
 */
export interface Guards {
  /**
   * Nothing is deleted while the clocks of host and target differ by more than this.
   */
  clock?: string;
  /**
   * Nothing old is deleted once a source's snapshot is smaller than the one before by more than this, until one is large enough again or someone has tagged it `accepted`. Default: no limit.
   */
  shrink?: string;
  /**
   * Nothing old is deleted once more than this share of the bytes of a snapshot of files is new, as after their encryption by someone else, until someone has tagged it `accepted`. Default: no limit.
   */
  changed?: string;
}
/**
 * One receiver. `plain` gets the event as JSON, signed when there is a `signingSecret`; `slack`, `discord` and `ntfy` get text as these services want it; `healthchecks` is pinged at `url/start`, `url`, `url/fail` and `url/log`. Redirects are not followed.
 */
export interface Webhook {
  /**
   * What the receiver is.
   */
  kind?: "plain" | "slack" | "discord" | "ntfy" | "healthchecks";
  /**
   * Where to send, `https://…` or `http://…`. One that holds a token may be a reference, like any secret; what follows the host is never shown.
   */
  url: PlainUrl | SecretReference;
  events?: EventPatterns;
  /**
   * Only what is about one of these jobs. Default: everything.
   *
   * @minItems 1
   *
   * Items: Lower-case letters, digits, `_` and `-`; begins with a letter or digit; at most 63 characters.
   */
  jobs?: string[];
  /**
   * Only what is about one of these targets. Default: everything.
   *
   * @minItems 1
   *
   * Items: Lower-case letters, digits, `_` and `-`; begins with a letter or digit; at most 63 characters.
   */
  targets?: string[];
  /**
   * HTTP method; `GET` sends no body.
   */
  method?: "POST" | "PUT" | "GET";
  /**
   * More headers: text, or a reference to a secret with an optional `prefix`.
   */
  headers?: {
    [k: string]: HeaderValue;
  };
  signingSecret?: Secret;
  /**
   * How long one attempt may take, at most `60s`.
   */
  timeout?: string;
  /**
   * Also send to loopback, private and link-local addresses. Without it only public addresses are connected to, whatever the name resolves to.
   */
  allowPrivate?: boolean;
}
/**
 * A header whose value is a secret: exactly one of `file`, `env`, `command` and `credential`, after a `prefix`.
 */
export interface HeaderReference {
  /**
   * Text before the secret.
   */
  prefix?: string;
  /**
   * File whose content, without one final newline, is the secret.
   */
  file?: string;
  /**
   * Environment variable that holds the secret.
   */
  env?: string;
  /**
   * Program and arguments that print the secret. No shell is involved.
   *
   * @minItems 1
   */
  command?: string[];
  /**
   * Name of a systemd credential (`LoadCredential=`): a file in `$CREDENTIALS_DIRECTORY`.
   */
  credential?: string;
}
/**
 * Events by mail: those of `events` at once, and with `digest: daily` one mail a day that sums up everything.
 */
export interface Email {
  smtp: Smtp;
  /**
   * Addresses that get every mail.
   *
   * @minItems 1
   */
  to: string[];
  events?: EventPatterns;
  /**
   * Only what is about one of these jobs. Default: everything.
   *
   * @minItems 1
   *
   * Items: Lower-case letters, digits, `_` and `-`; begins with a letter or digit; at most 63 characters.
   */
  jobs?: string[];
  /**
   * Only what is about one of these targets. Default: everything.
   *
   * @minItems 1
   *
   * Items: Lower-case letters, digits, `_` and `-`; begins with a letter or digit; at most 63 characters.
   */
  targets?: string[];
  /**
   * `daily` sends one mail a day that sums up what happened since the last one; none when nothing did.
   */
  digest?: "none" | "daily";
  /**
   * When the digest is sent, in `daemon.timezone`.
   */
  digestAt?: string;
}
/**
 * The mail server that takes the mails.
 */
export interface Smtp {
  /**
   * Name or address of the server.
   */
  host: string;
  /**
   * Default: 587 with `starttls`, 465 with `tls`, 25 with `none`.
   */
  port?: number;
  /**
   * `starttls` asks for encryption after connecting and sends nothing without it; `tls` begins with it; `none` has none, and takes no password.
   */
  security?: "starttls" | "tls" | "none";
  /**
   * Address the mails come from.
   */
  from: string;
  /**
   * User to log in as. Default: no login.
   */
  user?: string;
  password?: Secret;
}
/**
 * A listener of the daemon for scrapers and container platforms: `/livez`, `/readyz`, `/healthz` and `/metrics`, over plain HTTP and without a token. It answers nothing else, and no secret, path or error message.
 */
export interface Probes {
  /**
   * Address and port, or `unix:` and the absolute path of a socket. `[::]` is every address of both families.
   */
  listen: string;
  /**
   * Whether `/metrics` is among them: it names jobs and targets.
   */
  metrics?: boolean;
}
