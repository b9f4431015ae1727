import { parseDuration } from "../base/duration.ts";
import { EVENT_TYPES, fitsEvent } from "../base/events.ts";
import { Secret } from "../base/secret.ts";
import { parseSize } from "../base/size.ts";
import { webhookPatterns } from "./check-notices.ts";
import { absolutePath, remotePath } from "./check-places.ts";
import type * as C from "./config.ts";
import { ruleOf } from "./cron.ts";
import type { Draft } from "./draft.ts";
import { pointerOf } from "./evaluate.ts";
import { isCronText, parseBackoff, parseListen, parseRate, parsePercent } from "./format.ts";
import { frozenMap } from "./frozen.ts";
import type { LoadInput } from "./load.ts";
import { parseProbeAddress } from "./probe-address.ts";
import type * as S from "./schema-types.ts";
import type { SecretReference } from "./secret-reference.ts";
import { placeOf } from "./source-file.ts";
import { parseWindow } from "./window.ts";

/** What is mailed at once when nothing else is said. */
const MAILED_EVENTS = [
  "*_failed",
  "backup_partial",
  "backup_overdue",
  "config_rejected",
  "objective_missed",
  "target_unreachable",
];

/** A value that validation has promised. */
function sure<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("A validated value is missing");
  return value;
}

const duration = (text: string): number => sure(parseDuration(text));
const maybeDuration = (text: string | undefined): number | undefined => (text === undefined ? undefined : duration(text));
const maybeSize = (text: string | undefined): number | undefined => (text === undefined ? undefined : sure(parseSize(text)));
const percent = (text: string): number => sure(parsePercent(text));

/** Makes the Config of a file without errors. */
export function resolveConfig(file: S.HoldfastFile, draft: Draft, input: LoadInput, digest: string): C.Config {
  return new Resolution(file, draft, input).config(digest);
}

class Resolution {
  readonly #file: S.HoldfastFile;
  readonly #draft: Draft;
  readonly #input: LoadInput;
  readonly #encryption = new Map<string, C.EncryptionConfig>();
  readonly #sources = new Map<string, C.SourceConfig>();
  readonly #targets = new Map<string, C.TargetConfig>();
  readonly #schedules = new Map<string, C.ScheduleConfig>();
  readonly #retention = new Map<string, C.RetentionConfig>();

  constructor(file: S.HoldfastFile, draft: Draft, input: LoadInput) {
    this.#file = file;
    this.#draft = draft;
    this.#input = input;
    for (const [name, value] of Object.entries(file.encryption ?? {}))
      this.#encryption.set(name, this.#encryptionOf(name, value));
    for (const [name, value] of Object.entries(file.sources ?? {})) this.#sources.set(name, this.#source(name, value));
    for (const [name, value] of Object.entries(file.targets ?? {})) this.#targets.set(name, this.#target(name, value));
    for (const [name, value] of Object.entries(file.schedules ?? {})) this.#schedules.set(name, written(name, value));
    for (const [name, value] of Object.entries(file.retention ?? {})) this.#retention.set(name, retentionOf(name, value));
  }

  config(digest: string): C.Config {
    const { guards, maintenance } = this.#file;
    return {
      version: 1,
      path: this.#input.path,
      digest,
      host: this.#file.host ?? this.#input.hostName,
      daemon: this.#daemon(),
      control: this.#control(),
      encryption: frozenMap(this.#encryption),
      sources: frozenMap(this.#sources),
      targets: frozenMap(this.#targets),
      schedules: frozenMap(this.#schedules),
      retention: frozenMap(this.#retention),
      jobs: frozenMap(Object.entries(this.#file.jobs ?? {}).map(([name, job]) => [name, this.#job(name, job)] as const)),
      maintenance: {
        schedule: this.#schedule(maintenance?.schedule ?? { weekly: "sunday", at: "04:00" }),
        graceMs: duration(maintenance?.grace ?? "72h"),
        maxUnused: percent(maintenance?.maxUnused ?? "5%"),
      },
      guards: {
        clockMs: duration(guards?.clock ?? "5m"),
        shrink: guards?.shrink === undefined ? undefined : percent(guards.shrink),
        changed: guards?.changed === undefined ? undefined : percent(guards.changed),
      },
      webhooks: frozenMap(
        Object.entries(this.#file.webhooks ?? {}).map(([name, value]) => [name, this.#webhook(name, value)] as const),
      ),
      email: this.#file.email && this.#email(this.#file.email),
      probes: this.#file.probes && {
        listen: sure(parseProbeAddress(this.#file.probes.listen)),
        metrics: this.#file.probes.metrics ?? true,
      },
      approve: this.#file.approve,
    };
  }

  #path(pointer: string, text: string): string {
    return absolutePath(this.#draft, pointer, text);
  }

  #daemon(): C.DaemonConfig {
    const { daemon = {} } = this.#file;
    const { defaults } = this.#input;
    return {
      stateDir: daemon.stateDir === undefined ? defaults.stateDir : this.#path("/daemon/stateDir", daemon.stateDir),
      cacheDir: daemon.cacheDir === undefined ? defaults.cacheDir : this.#path("/daemon/cacheDir", daemon.cacheDir),
      timezone: daemon.timezone ?? defaults.timezone,
      maxConcurrentJobs: daemon.maxConcurrentJobs ?? 2,
      shutdownGraceMs: duration(daemon.shutdownGrace ?? "30s"),
      log: { level: daemon.log?.level ?? "info", format: daemon.log?.format ?? "json" },
    };
  }

  #control(): C.ControlConfig {
    const { control = {} } = this.#file;
    const { tls } = control;
    const listen = control.listen === undefined ? undefined : sure(parseListen(control.listen));
    return {
      listen: listen?.kind === "unix" ? { kind: "unix", path: this.#path("/control/listen", listen.path) } : listen,
      tls: tls && { cert: this.#path("/control/tls/cert", tls.cert), key: this.#path("/control/tls/key", tls.key) },
      tokens: (control.tokens ?? []).map(({ name, role, token }, index) => ({
        name,
        role,
        token: this.#secret(pointerOf(pointerOf("/control/tokens", index), "token"), token),
      })),
      restoreRoots: (control.restoreRoots ?? []).map((root, index) =>
        this.#path(pointerOf("/control/restoreRoots", index), root),
      ),
      allowConfigWrites: control.allowConfigWrites ?? false,
      commitConfigWrites: control.commitConfigWrites ?? false,
      allowedHosts: (control.allowedHosts ?? []).map((name) => name.toLowerCase()),
      allowedOrigins: [...(control.allowedOrigins ?? [])],
    };
  }

  #secret(pointer: string, secret: string | S.SecretReference): SecretReference {
    if (typeof secret === "string") return { plain: new Secret(secret) };
    if (secret.file !== undefined) return { file: this.#path(pointerOf(pointer, "file"), secret.file) };
    if (secret.env !== undefined) return { env: secret.env };
    if (secret.command !== undefined) return { command: [...secret.command] };
    return { credential: sure(secret.credential) };
  }

  #webhook(name: string, value: S.Webhook): C.WebhookConfig {
    const pointer = pointerOf("/webhooks", name);
    const kind = value.kind ?? "plain";
    const { signingSecret } = value;
    return {
      name,
      kind,
      ...filterOf(webhookPatterns(name, kind, value.events), value),
      url: this.#secret(pointerOf(pointer, "url"), value.url),
      method: value.method ?? "POST",
      headers: Object.entries(value.headers ?? {}).map(([header, given]) => ({
        name: header,
        prefix: typeof given === "string" ? "" : (given.prefix ?? ""),
        value: this.#secret(pointerOf(pointerOf(pointer, "headers"), header), given),
      })),
      signingSecret: signingSecret === undefined ? undefined : this.#secret(pointerOf(pointer, "signingSecret"), signingSecret),
      timeoutMs: duration(value.timeout ?? "10s"),
      allowPrivate: value.allowPrivate ?? false,
    };
  }

  #email(value: S.Email): C.EmailConfig {
    const { smtp, digest, digestAt = "07:00" } = value;
    const security = smtp.security ?? "starttls";
    const [hours = 0, minutes = 0] = digestAt.split(":").map(Number);
    return {
      ...filterOf(value.events ?? (digest === "daily" ? [] : MAILED_EVENTS), value),
      smtp: {
        host: smtp.host,
        port: smtp.port ?? { starttls: 587, tls: 465, none: 25 }[security],
        security,
        from: smtp.from,
        login:
          smtp.user === undefined
            ? undefined
            : { user: smtp.user, password: this.#secret("/email/smtp/password", sure(smtp.password)) },
      },
      to: [...value.to],
      digestMinute: digest === "daily" ? hours * 60 + minutes : undefined,
    };
  }

  #encryptionOf(name: string, value: S.Encryption): C.EncryptionConfig {
    const pointer = pointerOf("/encryption", name);
    if (value.keyFile !== undefined) {
      const keyFile = this.#path(pointerOf(pointer, "keyFile"), value.keyFile);
      return { name, kind: "keyFile", keyFile, generate: value.generate ?? false };
    }
    return {
      name,
      kind: "password",
      password: this.#secret(pointerOf(pointer, "password"), sure(value.password)),
      previous: (value.previous ?? []).map((secret, index) =>
        this.#secret(pointerOf(pointerOf(pointer, "previous"), index), secret),
      ),
      keyDerivation: derivationOf(value.keyDerivation ?? { function: "argon2id" }),
    };
  }

  #hooks(pointer: string, hooks: S.Hooks | undefined): C.HooksConfig | undefined {
    if (hooks === undefined) return undefined;
    const listOf = (kind: keyof C.HooksConfig): C.HookConfig[] =>
      (hooks[kind] ?? []).map(({ run, timeout, onError }, index) => {
        const [program = "", ...args] = run;
        const at = pointerOf(pointerOf(pointerOf(pointerOf(pointerOf(pointer, "hooks"), kind), index), "run"), 0);
        return {
          run: [program.includes("/") ? this.#path(at, program) : program, ...args],
          timeoutMs: duration(timeout ?? "5m"),
          onError: onError ?? (kind === "before" ? "fail" : "warn"),
        };
      });
    const all = {
      before: listOf("before"),
      after: listOf("after"),
      onSuccess: listOf("onSuccess"),
      onFailure: listOf("onFailure"),
    };
    return Object.values(all).every((list) => list.length === 0) ? undefined : all;
  }

  #source(name: string, value: S.Source): C.SourceConfig {
    const pointer = pointerOf("/sources", name);
    const grouping = value.grouping ?? "frame";
    const hooks = this.#hooks(pointer, value.hooks);
    if (value.type === "command")
      return {
        name,
        type: "command",
        command: [...value.command],
        filename: value.filename,
        timeoutMs: maybeDuration(value.timeout),
        grouping,
        hooks,
      };
    const excludeAt = pointerOf(pointer, "exclude");
    const exclude = [...(value.exclude ?? [])];
    const paths = value.paths.map((path, index) => this.#path(pointerOf(pointerOf(pointer, "paths"), index), path));
    return {
      name,
      type: "files",
      paths: [...new Set(paths)],
      exclude,
      excludePlaces: exclude.map((_, index) => placeOf(this.#draft.spot(pointerOf(excludeAt, index)).value)),
      excludeIfPresent: [...(value.excludeIfPresent ?? [])],
      excludeLargerThanBytes: maybeSize(value.excludeLargerThan),
      oneFileSystem: value.oneFileSystem ?? false,
      snapshot: value.snapshot,
      minimumEntries: value.minimumEntries ?? 1,
      grouping,
      hooks,
    };
  }

  #target(name: string, value: S.Target): C.TargetConfig {
    const pointer = pointerOf("/targets", name);
    const pathAt = (key: string, path: string | undefined): string | undefined =>
      path === undefined ? undefined : this.#path(pointerOf(pointer, key), path);
    const any = {
      format:
        value.archive === undefined
          ? { kind: "repository" as const }
          : { kind: "archive" as const, container: "tar" as const, compression: { type: "none" as const } },
      encryption: value.encryption === "none" ? undefined : sure(this.#encryption.get(value.encryption)),
      maxSizeBytes: maybeSize(value.maxSize),
      capacityWarning: percent(value.capacityWarning ?? "90%"),
      appendOnly: value.appendOnly ?? false,
      offsite: value.offsite ?? false,
    };
    if (value.type === "local")
      return {
        name,
        type: "local",
        path: sure(pathAt("path", value.path)),
        requireMount: pathAt("requireMount", value.requireMount),
        ...any,
      };
    const secretAt = (key: string, secret: string | S.SecretReference | undefined): SecretReference | undefined =>
      secret === undefined ? undefined : this.#secret(pointerOf(pointer, key), secret);
    return {
      name,
      type: "sftp",
      host: value.host,
      port: value.port ?? 22,
      user: value.user,
      path: remotePath(value.path),
      password: secretAt("password", value.password),
      identityFile: pathAt("identityFile", value.identityFile),
      passphrase: secretAt("passphrase", value.passphrase),
      agent: pathAt("agent", value.agent),
      hostKeys: [value.hostKey ?? []].flat(),
      knownHosts: pathAt("knownHosts", value.knownHosts),
      ...any,
    };
  }

  #schedule(schedule: S.ScheduleChoice): C.ScheduleConfig {
    return typeof schedule === "string" && !isCronText(schedule)
      ? sure(this.#schedules.get(schedule))
      : written(undefined, schedule);
  }

  #jobSchedules(schedule: S.JobScheduleList | undefined): C.JobScheduleConfig[] {
    if (schedule === undefined) return [];
    return [schedule].flat().map((item) => {
      if (typeof item === "string") return { schedule: this.#schedule(item), mode: undefined };
      const { name, mode, ...inline } = item;
      return { schedule: this.#schedule(name ?? inline), mode };
    });
  }

  #retentionOf(retention: S.RetentionChoice | undefined): C.RetentionConfig | undefined {
    if (retention === undefined) return undefined;
    return typeof retention === "string" ? sure(this.#retention.get(retention)) : retentionOf(undefined, retention);
  }

  #jobTargets(job: S.Job): C.JobTargetConfig[] {
    const targets = sure(job.targets ?? this.#file.defaults?.targets);
    const retention = this.#retentionOf(job.retention ?? this.#file.defaults?.retention);
    if (Array.isArray(targets))
      return targets.map((name) => ({ target: sure(this.#targets.get(name)), retention, required: true }));
    return Object.entries(targets).map(([name, settings]) => ({
      target: sure(this.#targets.get(name)),
      retention: settings?.retention === undefined ? retention : this.#retentionOf(settings.retention),
      required: settings?.required ?? true,
    }));
  }

  #job(name: string, job: S.Job): C.JobConfig {
    const { defaults } = this.#file;
    const targets = this.#jobTargets(job);
    const backoff = sure(parseBackoff(job.retry?.backoff ?? "1m..30m"));
    const readData = job.verify?.readData ?? false;
    return {
      name,
      description: job.description ?? "",
      enabled: job.enabled ?? true,
      formerly: [...(job.formerly ?? [])],
      sources: job.sources.map((source) => sure(this.#sources.get(source))),
      targets,
      schedules: this.#jobSchedules(job.schedule ?? defaults?.schedule),
      when: {
        loadBelow: job.when?.load === undefined ? undefined : Number(job.when.load.slice(1)),
        onMains: job.when?.power === "mains",
        unmetered: job.when?.network === "unmetered",
      },
      notDuring: (job.notDuring ?? []).map((text) => sure(parseWindow(text))),
      priority: job.priority ?? 0,
      retry: { attempts: job.retry?.attempts ?? 1, backoffMinMs: backoff.minMs, backoffMaxMs: backoff.maxMs },
      timeoutMs: maybeDuration(job.timeout),
      maxSnapshotSizeBytes: maybeSize(job.maxSnapshotSize),
      limits: {
        cpuThreads: job.limits?.cpu,
        readBytesPerSecond: job.limits?.io === undefined ? undefined : sure(parseRate(job.limits.io)),
        nice: job.limits?.nice ?? 0,
      },
      mode: job.mode ?? (targets.every(({ target }) => target.format.kind === "archive") ? "full" : "incremental"),
      compression: compressionOf(job.compression ?? defaults?.compression ?? this.#file.compression ?? { type: "zstd" }),
      verify: {
        afterBackup: job.verify?.afterBackup ?? false,
        schedule: job.verify?.schedule === undefined ? undefined : this.#schedule(job.verify.schedule),
        readData: typeof readData === "string" ? percent(readData) : Number(readData),
      },
      objectives: {
        rpoMs: maybeDuration(job.objectives?.rpo),
        copies: job.objectives?.copies,
        offsite: job.objectives?.offsite,
        verifiedWithinMs: maybeDuration(job.objectives?.verifiedWithin),
      },
      hooks: this.#hooks(pointerOf("/jobs", name), job.hooks),
    };
  }
}

function filterOf(
  patterns: readonly string[],
  filter: { readonly jobs?: readonly string[]; readonly targets?: readonly string[] },
): C.EventFilter {
  return {
    events: EVENT_TYPES.filter((type) => patterns.some((pattern) => fitsEvent(pattern, type))),
    jobs: filter.jobs && [...filter.jobs],
    targets: filter.targets && [...filter.targets],
  };
}

function derivationOf(value: S.KeyDerivation): C.KeyDerivationConfig {
  switch (value.function) {
    case "argon2id":
      return {
        function: "argon2id",
        memoryBytes: sure(parseSize(value.memory ?? "64MiB")),
        passes: value.passes ?? 3,
        parallelism: value.parallelism ?? 4,
      };
    case "scrypt":
      return {
        function: "scrypt",
        logN: Math.log2(value.cost ?? 65536),
        blockSize: value.blockSize ?? 8,
        parallelism: value.parallelism ?? 1,
      };
    case "pbkdf2":
      return { function: "pbkdf2", iterations: value.iterations ?? 600000, saltLength: value.saltLength ?? 32 };
  }
}

function compressionOf(value: S.Compression): C.CompressionConfig {
  if (value.type === "none") return { type: "none", level: 0 };
  return { type: value.type, level: value.level ?? (value.type === "zstd" ? 3 : 6) };
}

function written(name: string | undefined, value: string | S.Schedule): C.ScheduleConfig {
  const schedule: S.Schedule = typeof value === "string" ? { cron: value } : value;
  const { rule, text } = sure(ruleOf(schedule));
  return {
    name,
    text,
    rule,
    jitterMs: duration(schedule.jitter ?? "0s"),
    catchUp: schedule.catchUp ?? false,
    onStart: schedule.onStart ?? false,
  };
}

function retentionOf(name: string | undefined, value: S.Retention): C.RetentionConfig {
  const count = (number: number | undefined): number | undefined => (number === 0 ? undefined : number);
  const keepWithinMs = maybeDuration(value.keepWithin);
  return {
    name,
    keepLast: count(value.keepLast),
    keepHourly: count(value.keepHourly),
    keepDaily: count(value.keepDaily),
    keepWeekly: count(value.keepWeekly),
    keepMonthly: count(value.keepMonthly),
    keepYearly: count(value.keepYearly),
    keepWithinMs: keepWithinMs === 0 ? undefined : keepWithinMs,
    keepTags: [...(value.keepTags ?? [])],
    maxAgeMs: maybeDuration(value.maxAge),
    maxCount: value.maxCount,
  };
}
