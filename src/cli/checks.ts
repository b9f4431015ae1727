/** Tests of the world around a configuration: what `doctor` and `validate --online` look at. */
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { delimiter, dirname, isAbsolute, join } from "node:path";
import {
  asHoldfastError,
  createTarget,
  errnoOf,
  formatDuration,
  formatSize,
  freezePaths,
  HoldfastError,
  randomHex,
  receiversOfConfig,
  systemRandom,
  targetSpec,
  type Config,
  type EncryptionConfig,
  type Holdfast,
  type HookConfig,
  type FilesSourceConfig,
  type SourceConfig,
  type TargetConfig,
} from "../index.ts";
import type { Context, Opened } from "./context.ts";

export interface Check {
  readonly area: "source" | "hook" | "secret" | "target" | "folder" | "clock" | "tool" | "receiver";
  /** What was looked at. */
  readonly name: string;
  readonly status: "ok" | "warning" | "failed";
  readonly message: string;
  /** How to mend it; undefined when there is nothing to mend. */
  readonly hint: string | undefined;
}

const ok = (area: Check["area"], name: string, message: string): Check => ({
  area,
  name,
  status: "ok",
  message,
  hint: undefined,
});
const warning = (area: Check["area"], name: string, message: string, hint: string): Check => ({
  area,
  name,
  status: "warning",
  message,
  hint,
});
const failed = (area: Check["area"], name: string, thrown: unknown): Check => {
  const error = asHoldfastError(thrown);
  return { area, name, status: "failed", message: error.message, hint: error.hint };
};

/** Whether every source is there and may be read. */
export async function checkSources(context: Context, config: Config): Promise<Check[]> {
  const checks: Check[] = [];
  for (const source of config.sources.values()) checks.push(...(await checkSource(context, source)));
  return checks;
}

async function checkSource(context: Context, source: SourceConfig): Promise<Check[]> {
  if (source.type === "command") {
    const program = source.command[0] ?? "";
    const path = await findProgram(program, context);
    if (path !== undefined) return [ok("source", source.name, `${path} can be run`)];
    return [
      failed(
        "source",
        source.name,
        new HoldfastError("source_unavailable", `${program} is not a program that can be run`, {
          hint: "Install it, or give its absolute path in `command`.",
        }),
      ),
    ];
  }
  const readable = await Promise.all(
    source.paths.map(async (path): Promise<Check> => {
      try {
        const isFolder = (await stat(path)).isDirectory();
        await access(path, isFolder ? constants.R_OK | constants.X_OK : constants.R_OK);
        return ok("source", source.name, `${path} can be read`);
      } catch (error) {
        const code = errnoOf(error) ?? "unknown error";
        const hint =
          code === "ENOENT"
            ? "Correct the path in the configuration, or mount what belongs there."
            : "Run as a user that may read it, or give this one access.";
        return failed(
          "source",
          source.name,
          new HoldfastError("source_unavailable", `${path} cannot be read (${code})`, { hint }),
        );
      }
    }),
  );
  return source.snapshot === undefined ? readable : [...readable, await checkSnapshots(context, source)];
}

/** Makes the snapshots that a backup would make, and removes them. */
async function checkSnapshots(context: Context, source: FilesSourceConfig): Promise<Check> {
  let left: HoldfastError | undefined;
  try {
    const frozen = await freezePaths({
      ...source,
      keeper: {
        prefix: `.holdfast-${randomHex(systemRandom, 12)}-`,
        env: context.shell.env,
        owe: () => () => undefined,
        onLeft: (path, reason) => {
          left = new HoldfastError("source_unavailable", `The snapshot ${path} was made and cannot be removed: ${reason}`, {
            hint: `Remove it: \`btrfs subvolume delete ${path}\`. To remove snapshots one must be root, or the file system be mounted with user_subvol_rm_allowed.`,
          });
        },
      },
      signal: context.signal,
    });
    await frozen[Symbol.asyncDispose]();
  } catch (error) {
    return failed("source", source.name, asHoldfastError(error));
  }
  return left === undefined
    ? ok("source", source.name, "its btrfs subvolumes can be frozen")
    : failed("source", source.name, left);
}

/** Whether the program of every hook is there and may be run. */
export async function checkHooks(context: Context, config: Config): Promise<Check[]> {
  const checks: Check[] = [];
  for (const [section, owners] of [
    ["jobs", config.jobs],
    ["sources", config.sources],
  ] as const)
    for (const [name, { hooks }] of owners)
      for (const [kind, list] of Object.entries(hooks ?? {}))
        for (const [index, hook] of (list as readonly HookConfig[]).entries())
          checks.push(await checkHook(context, `${section}.${name}.hooks.${kind}[${index}]`, hook.run[0] ?? ""));
  return checks;
}

async function checkHook(context: Context, name: string, program: string): Promise<Check> {
  const path = await findProgram(program, context);
  if (path !== undefined) return ok("hook", name, `${path} can be run`);
  return failed(
    "hook",
    name,
    new HoldfastError("hook_failed", `${program} is not a program that can be run`, {
      hint: "Install it, make it executable, or correct the first item of `run`.",
    }),
  );
}

async function findProgram(program: string, context: Context): Promise<string | undefined> {
  const candidates = program.includes("/")
    ? [isAbsolute(program) ? program : join(context.shell.cwd, program)]
    : (context.shell.env["PATH"] ?? "")
        .split(delimiter)
        .filter((folder) => folder !== "")
        .map((folder) => join(folder, program));
  for (const path of candidates) {
    try {
      await access(path, constants.X_OK);
      if ((await stat(path)).isFile()) return path;
    } catch {
      // The next folder may have it.
    }
  }
  return undefined;
}

/** Whether every secret can be had. Key files that will be generated are no problem. */
export async function checkSecrets(holdfast: Holdfast): Promise<Check[]> {
  const checks: Check[] = [];
  for (const encryption of holdfast.config.encryption.values()) {
    const target = [...holdfast.config.targets.values()].find((one) => one.encryption?.name === encryption.name);
    if (target === undefined) continue;
    try {
      await holdfast.unlockings(target.name);
      checks.push(await keyFileMode(encryption));
    } catch (error) {
      const isNew =
        encryption.kind === "keyFile" &&
        encryption.generate &&
        (await isMissing(encryption.keyFile)) &&
        (await hasNoRepository(holdfast, encryption));
      checks.push(
        isNew
          ? ok("secret", encryption.name, `${encryption.keyFile} is made with the first repository`)
          : failed("secret", encryption.name, error),
      );
    }
  }
  return checks;
}

async function keyFileMode(encryption: EncryptionConfig): Promise<Check> {
  if (encryption.kind === "keyFile" && ((await stat(encryption.keyFile)).mode & 0o077) !== 0)
    return warning(
      "secret",
      encryption.name,
      `${encryption.keyFile} can be read by other users`,
      `chmod 600 ${encryption.keyFile}`,
    );
  return ok(
    "secret",
    encryption.name,
    encryption.kind === "keyFile" ? `${encryption.keyFile} can be read` : "the password can be read",
  );
}

async function isMissing(path: string): Promise<boolean> {
  try {
    await stat(path);
    return false;
  } catch (error) {
    return errnoOf(error) === "ENOENT";
  }
}

async function hasNoRepository(holdfast: Holdfast, encryption: EncryptionConfig): Promise<boolean> {
  const names = [...holdfast.config.targets.values()]
    .filter((one) => one.encryption?.name === encryption.name)
    .map(({ name }) => name);
  const { open, closed } = await holdfast.session.stores(names);
  return open.length === 0 && closed.every(({ error }) => error.code === "repository_missing");
}

/** Whether every target can be reached and its repository opened; changes nothing. */
export async function checkRepositories(holdfast: Holdfast): Promise<Check[]> {
  const { open, closed } = await holdfast.session.stores();
  const checks = new Map<string, Check>();
  for (const store of open) {
    const free = (await store.capacity()).freeBytes;
    checks.set(
      store.name,
      ok("target", store.name, `its ${store.format} can be opened${free === undefined ? "" : `, ${formatSize(free)} free`}`),
    );
  }
  for (const { target, error } of closed)
    checks.set(
      target.name,
      error.code === "repository_missing"
        ? warning("target", target.name, "it holds no repository yet", "`holdfast apply` creates it.")
        : failed("target", target.name, error),
    );
  return [...holdfast.config.targets.keys()].flatMap((name) => checks.get(name) ?? []);
}

/** Whether an object can be written, listed, read and deleted on every target. Targets that do not exist yet are left alone. */
export async function probeTargets(holdfast: Holdfast, signal: AbortSignal): Promise<Check[]> {
  const checks: Check[] = [];
  for (const target of holdfast.config.targets.values()) checks.push(await probeTarget(target, holdfast, signal));
  return checks;
}

async function probeTarget(config: TargetConfig, holdfast: Holdfast, signal: AbortSignal): Promise<Check> {
  const { name, path, type } = config;
  if (config.appendOnly) return ok("target", name, "append-only: not probed, a probe could not be removed");
  if (type === "local" && (await isMissing(path))) return await parentCheck(name, path);
  const probe = `doctor-${randomHex(systemRandom, 8)}`;
  const content = systemRandom.bytes(4096);
  const started = performance.now();
  try {
    await using target = await createTarget(await targetSpec(config, false, holdfast.session.surroundings));
    await target.put(probe, [content], { signal });
    try {
      if (Buffer.compare(await target.get(probe, { signal }), content) !== 0)
        throw new HoldfastError("target_lied", `Target ${name} gave back other bytes than were written`, {
          hint: "Check the disk, and its cables and memory. Do not trust it until it is mended.",
        });
    } finally {
      await target.delete(probe);
    }
    return ok("target", name, `wrote, read and deleted a probe in ${formatDuration(performance.now() - started)}`);
  } catch (error) {
    if (
      type !== "local" &&
      error instanceof HoldfastError &&
      error.code === "target_unreachable" &&
      error.data?.["path"] === path
    )
      return ok("target", name, `${path} does not exist yet on ${config.host}, which lets Holdfast in`);
    return failed("target", name, error);
  }
}

async function parentCheck(name: string, path: string): Promise<Check> {
  let folder = dirname(path);
  while (await isMissing(folder)) folder = dirname(folder);
  try {
    await access(folder, constants.W_OK | constants.X_OK);
    return ok("target", name, `${path} does not exist yet and can be made`);
  } catch (error) {
    return failed(
      "target",
      name,
      new HoldfastError("target_denied", `${path} does not exist, and ${folder} cannot be written (${errnoOf(error)})`, {
        hint: "Make the folder for this user, or name another path.",
      }),
    );
  }
}

/** Whether the state and cache folders can be written. */
export async function checkFolders(config: Config): Promise<Check[]> {
  return await Promise.all(
    Object.entries({ stateDir: config.daemon.stateDir, cacheDir: config.daemon.cacheDir }).map(async ([name, path]) => {
      let folder = path;
      while (await isMissing(folder)) folder = dirname(folder);
      try {
        await access(folder, constants.W_OK | constants.X_OK);
        return ok("folder", name, `${path} can be written`);
      } catch (error) {
        return failed(
          "folder",
          name,
          new HoldfastError("state_unusable", `${path} cannot be written (${errnoOf(error)})`, {
            hint: `Give this user write access, or set daemon.${name}.`,
          }),
        );
      }
    }),
  );
}

/** Earlier than this program was written: the clock was never set. */
const PLAUSIBLE_MS = Date.UTC(2026, 0, 1);

/** Whether the local clock agrees with the targets' clocks and with the snapshots that exist. */
export async function checkClock(context: Context, holdfast: Holdfast): Promise<Check[]> {
  const nowMs = context.clock.now();
  const hint = "Set the clock, and let NTP keep it.";
  if (nowMs < PLAUSIBLE_MS)
    return [
      failed(
        "clock",
        "local time",
        new HoldfastError("clock_unreliable", `It is ${new Date(nowMs).toISOString()} by the local clock`, { hint }),
      ),
    ];
  const { open } = await holdfast.session.stores();
  for (const store of open) {
    const newest = (await store.snapshots({ signal: context.signal })).at(-1);
    if (newest !== undefined && newest.timeMs > nowMs + holdfast.config.guards.clockMs)
      return [
        failed(
          "clock",
          "local time",
          new HoldfastError(
            "clock_unreliable",
            `Snapshot ${newest.id.slice(0, 8)} on target ${store.name} is dated ${formatDuration(newest.timeMs - nowMs)} ahead of the local clock`,
            { hint: `${hint} Retention waits until then.` },
          ),
        ),
      ];
    const { clockSkewMs } = await store.observations(context.signal);
    if (clockSkewMs !== undefined && Math.abs(clockSkewMs) > holdfast.config.guards.clockMs)
      return [
        failed(
          "clock",
          "local time",
          new HoldfastError(
            "clock_unreliable",
            `The clock of target ${store.name} differs by ${formatDuration(Math.abs(clockSkewMs))}`,
            { hint },
          ),
        ),
      ];
  }
  return [ok("clock", "local time", `${new Date(nowMs).toISOString()}, zone ${holdfast.config.daemon.timezone}`)];
}

/** What is not needed, but missed where it is not there. */
export async function checkTools(context: Context): Promise<Check[]> {
  const git = await findProgram("git", context);
  return [
    git === undefined
      ? warning(
          "tool",
          "git",
          "not found: snapshots cannot note the commit of the configuration",
          "Install git, if the configuration is kept in it.",
        )
      : ok("tool", "git", git),
  ];
}

/**
 * Whether every receiver can be told something, as far as that can be known without telling it anything: its secrets can be had,
 * its name leads to an address that may be sent to, a mail server accepts the login.
 */
export async function checkReceivers(context: Context, { holdfast, loaded, state }: Opened): Promise<Check[]> {
  await using notifier = context.notifier(loaded, state);
  const receivers = [...receiversOfConfig(holdfast.config)].filter((receiver) => receiver !== "email.digest");
  return await Promise.all(
    receivers.map(async (receiver): Promise<Check> => {
      try {
        return ok(
          "receiver",
          receiver,
          `${await notifier.check(receiver)} may be sent to; \`holdfast notifications --test\` sends`,
        );
      } catch (error) {
        return failed("receiver", receiver, error);
      }
    }),
  );
}
