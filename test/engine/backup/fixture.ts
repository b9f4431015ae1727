/** A session over targets in memory. */
import { Secret } from "../../../src/base/secret.ts";
import type { Config, EncryptionConfig, JobConfig, SourceConfig, TargetConfig } from "../../../src/config/config.ts";
import { systemRandom } from "../../../src/codec/system-random.ts";
import { Session, type Surroundings } from "../../../src/engine/session.ts";
import type { State } from "../../../src/state/state.ts";
import { accessByPort } from "../../../src/targets/access.ts";
import type { Target } from "../../../src/targets/target.ts";
import { FakeClock } from "../../support/fake-clock.ts";

export const password = (text: string, previous: readonly string[] = []): EncryptionConfig =>
  ({
    kind: "password",
    name: "key",
    password: { plain: new Secret(text) },
    previous: previous.map((one) => ({ plain: new Secret(one) })),
    keyDerivation: { function: "pbkdf2", iterations: 1000 },
  }) as unknown as EncryptionConfig;

export interface Setup {
  readonly targets: Readonly<Record<string, Target>>;
  readonly encryption?: EncryptionConfig;
  readonly sources?: readonly SourceConfig[];
  readonly required?: Readonly<Record<string, boolean>>;
  readonly appendOnly?: boolean;
  readonly cacheDir?: string;
  readonly job?: Partial<JobConfig>;
  /** Hooks run in its folder. */
  readonly configPath?: string;
  readonly surroundings?: Partial<Surroundings>;
  readonly config?: Partial<Config>;
}

export function filesSource(name: string, path: string): SourceConfig {
  return {
    type: "files",
    name,
    paths: [path],
    exclude: [],
    excludeIfPresent: [],
    excludeLargerThanBytes: undefined,
    oneFileSystem: false,
    minimumEntries: 0,
    grouping: "frame",
  } as unknown as SourceConfig;
}

export function sessionOf(state: State, setup: Setup): Session {
  const targets = new Map<string, TargetConfig>();
  for (const name of Object.keys(setup.targets))
    targets.set(name, {
      type: "local",
      name,
      path: `/nowhere/${name}`,
      format: { kind: "repository" },
      encryption: setup.encryption ?? password("secret"),
      appendOnly: setup.appendOnly ?? false,
      requireMount: undefined,
    } as unknown as TargetConfig);
  const job = {
    name: "job",
    formerly: [],
    sources: setup.sources ?? [],
    targets: [...targets.values()].map((target) => ({
      target,
      required: setup.required?.[target.name] ?? true,
      retention: undefined,
    })),
    mode: "incremental",
    compression: { type: "zstd", level: 1 },
    maxSnapshotSizeBytes: undefined,
    limits: { cpuThreads: undefined, readBytesPerSecond: undefined, nice: 0 },
    timeoutMs: undefined,
    verify: { afterBackup: false, readData: 0 },
    ...setup.job,
  } as unknown as JobConfig;
  const config = {
    host: "host",
    path: setup.configPath ?? "/nowhere/config.yaml",
    // A cache that cannot be written is not used.
    daemon: { cacheDir: setup.cacheDir ?? "/dev/null" },
    digest: "00",
    targets,
    jobs: new Map([[job.name, job]]),
    sources: new Map(),
    webhooks: new Map(),
    ...setup.config,
  } as unknown as Config;
  return new Session(config, state, {
    env: {},
    credentialsDirectory: undefined,
    clock: new FakeClock(Date.now()),
    random: systemRandom,
    toolVersion: "0.0.0",
    configText: "",
    gitCommit: undefined,
    listener: () => undefined,
    accessFor: (target) => accessByPort(setup.targets[target.name] as Target),
    packBytes: 100_000,
    ...setup.surroundings,
  });
}
