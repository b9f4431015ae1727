import { asHoldfastError, HoldfastError, type ErrorWire } from "../../base/errors.ts";
import type { Progress, RunStatus } from "../../base/events.ts";
import type { RunId } from "../../base/ids.ts";
import { formatSize } from "../../base/size.ts";
import type { JobConfig, JobMode, JobTargetConfig, SourceConfig } from "../../config/config.ts";
import type { SnapshotInfo, Store, WriteRequest, WriteResult } from "../../formats/format.ts";
import { formatOf } from "../../formats/registry.ts";
import type { OpenSource } from "../../sources/source.ts";
import { childEnvironment } from "../child-environment.ts";
import { usageOf } from "../capacity.ts";
import { RunHooks, type HookEnd } from "../hooks/run-hooks.ts";
import { endOfThrown } from "../runs.ts";
import { createSource } from "../sources.ts";
import type { ClosedStore, Session } from "../session.ts";
import { chooseBaseline } from "./baseline.ts";
import { snapshotKeeper } from "./snapshot-keeper.ts";
import { snapshotStream } from "./snapshot-stream.ts";

export interface BackupOptions {
  /** Default: the job's. */
  readonly mode?: JobMode | undefined;
  /** Id of the snapshot that change detection uses, instead of the mode's choice. */
  readonly baseline?: SnapshotInfo | undefined;
  readonly description?: string;
  readonly tags?: readonly string[];
  readonly dryRun?: boolean;
  /** Only these of the job's sources and targets. */
  readonly sources?: readonly string[] | undefined;
  readonly targets?: readonly string[] | undefined;
  readonly run: RunId;
  readonly onProgress: (progress: Progress) => void;
  readonly onMessage: (level: "info" | "warn" | "error", text: string) => void;
  readonly signal: AbortSignal;
}

/** One source of a run: what each target got. */
export interface SourceOutcome {
  readonly source: string;
  readonly snapshots: readonly { readonly target: string; readonly snapshot: SnapshotInfo }[];
  readonly errors: readonly { readonly target: string | undefined; readonly error: ErrorWire }[];
}

interface WritableOutcome extends SourceOutcome {
  readonly snapshots: { target: string; snapshot: SnapshotInfo }[];
  readonly errors: { target: string | undefined; error: ErrorWire }[];
}

export interface BackupResult {
  readonly status: Extract<RunStatus, "success" | "partial" | "failed">;
  readonly outcomes: readonly SourceOutcome[];
  readonly error: HoldfastError | undefined;
}

/**
 * Backs up a job's sources one after the other, each read once for all targets. A target or a source that fails does not
 * stop the others. `failed` when a required target misses any source; `partial` when something could not be read, or a
 * target that is not required failed. Rejects only when cancelled.
 */
export async function backupJob(session: Session, job: JobConfig, options: BackupOptions): Promise<BackupResult> {
  const targets = job.targets.filter(({ target }) => options.targets?.includes(target.name) ?? true);
  const sources = job.sources.filter(({ name }) => options.sources?.includes(name) ?? true);
  if (targets.length === 0 || sources.length === 0) {
    const [what, asked, known] =
      targets.length === 0
        ? ["target", options.targets, job.targets.map(({ target }) => target.name)]
        : ["source", options.sources, job.sources.map(({ name }) => name)];
    const error = new HoldfastError("name_unknown", `Job ${job.name} has no ${what} ${asked?.join(", ") ?? ""}`.trimEnd(), {
      hint: `It has: ${known.join(", ") || "none"}. Nothing was backed up.`,
    });
    return { status: "failed", outcomes: [], error };
  }
  using _threads = (await formatOf(formatKind(targets))).warmUp?.(job.limits, expectsBaseline(session, job, options));
  const opened = await session.stores(targets.map(({ target }) => target.name));
  const { open, full } = await checkCapacity(session, opened.open, options);
  const closed = [...opened.closed, ...full];
  if (options.dryRun !== true)
    for (const { level, text } of await session.settleKeys(
      open.map(({ name }) => name),
      options.signal,
    ))
      options.onMessage(level, text);
  const outcomes: SourceOutcome[] = [];
  for (const source of sources) {
    options.signal.throwIfAborted();
    const hooks = new RunHooks(
      session,
      { job: job.name, source: source.name },
      options.dryRun === true ? undefined : source.hooks,
      options,
    );
    outcomes.push(await backupSource(session, job, source, open, closed, hooks, options));
  }
  const result = summarise(targets, outcomes);
  // A cancellation during the last commit is in the outcome of its target; the run was cancelled all the same.
  if (result.status !== "success") options.signal.throwIfAborted();
  return result;
}

/** Whether the sources were probably backed up before, by what this machine remembers. */
function expectsBaseline(session: Session, job: JobConfig, options: BackupOptions): boolean {
  if ((options.mode ?? job.mode) === "full" && options.baseline === undefined) return false;
  return session.state.runs({ kind: "backup", job: job.name, status: "success", limit: 1 }).length > 0;
}

/** The format that reads the sources: where there is a repository, archives are written from it. */
function formatKind(targets: readonly JobTargetConfig[]): Store["format"] {
  return targets.some(({ target }) => target.format.kind === "repository") ? "repository" : "archive";
}

/** Leaves out targets that hold more than their `maxSize`, and warns of those that are nearly full. */
async function checkCapacity(
  session: Session,
  stores: readonly Store[],
  options: BackupOptions,
): Promise<{ open: Store[]; full: ClosedStore[] }> {
  const open: Store[] = [];
  const full: ClosedStore[] = [];
  for (const store of stores) {
    const target = session.target(store.name);
    const { maxSizeBytes, capacityWarning } = target;
    const { storedBytes, freeBytes, share } = await usageOf(target, store, options.signal);
    if (maxSizeBytes !== undefined && storedBytes !== undefined && storedBytes >= maxSizeBytes) {
      const error = new HoldfastError(
        "target_full",
        `Target ${target.name} holds ${formatSize(storedBytes)}, and its maxSize is ${formatSize(maxSizeBytes)}`,
        {
          hint: "Nothing was written to it. Prune it, shorten its retention, or raise targets.*.maxSize.",
        },
      );
      full.push({ target, error });
      continue;
    }
    if (share >= capacityWarning)
      options.onMessage(
        "warn",
        `target ${target.name} is ${Math.floor(share * 100)} % full${freeBytes === undefined ? "" : `, ${formatSize(freeBytes)} are free`}`,
      );
    open.push(store);
  }
  return { open, full };
}

async function backupSource(
  session: Session,
  job: JobConfig,
  config: SourceConfig,
  open: readonly Store[],
  closed: readonly { readonly target: { readonly name: string }; readonly error: HoldfastError }[],
  hooks: RunHooks,
  options: BackupOptions,
): Promise<SourceOutcome> {
  const errors: { target: string | undefined; error: ErrorWire }[] = closed.map(({ target, error }) => ({
    target: target.name,
    error: error.toWire(),
  }));
  const outcome: WritableOutcome = { source: config.name, snapshots: [], errors };
  const { snapshots } = outcome;
  const fail = (error: unknown): void => {
    if (error !== undefined) errors.push({ target: undefined, error: asHoldfastError(error).toWire() });
  };
  let isAborted = false;
  if (open.length > 0)
    try {
      await hooks.before(options.signal);
      await writeSource(session, job, config, open, outcome, options, () => {
        // The commit does not wait for it; a failure is told below.
        hooks.after({ status: "read" }).catch(() => undefined);
      });
    } catch (error) {
      isAborted = options.signal.aborted;
      if (!isAborted) fail(error);
    }
  const end = endOfSource(job, outcome, options.signal, isAborted);
  await hooks.after(end).then(fail, fail);
  fail(await hooks.ended(end, options.signal));
  if (isAborted) options.signal.throwIfAborted();
  for (const { target, error } of errors)
    options.onMessage(
      "error",
      `${config.name}${target === undefined ? "" : ` → ${target}`}: ${error.message}${error.hint === undefined ? "" : ` (${error.hint})`}`,
    );
  for (const { snapshot } of snapshots.slice(0, 1)) {
    for (const entry of snapshot.unreadable)
      options.onMessage("warn", `${config.name}: ${entry.path} could not be read: ${entry.message}`);
    if (snapshot.unreadableCount > snapshot.unreadable.length)
      options.onMessage(
        "warn",
        `${config.name}: and ${snapshot.unreadableCount - snapshot.unreadable.length} more entries could not be read`,
      );
    if (snapshot.changedWhileRead > 0)
      options.onMessage(
        "warn",
        `${config.name}: ${snapshot.changedWhileRead} files changed while they were read, twice; their copies may not be consistent`,
      );
  }
  return outcome;
}

/** Writes a source to every store. `onRead` is told when nothing of the source itself is read any more, before that is committed. */
async function writeSource(
  session: Session,
  job: JobConfig,
  config: SourceConfig,
  open: readonly Store[],
  { snapshots, errors }: WritableOutcome,
  options: BackupOptions,
  onRead: () => void,
): Promise<void> {
  const take = (results: readonly WriteResult[]): void => {
    for (const result of results)
      if ("snapshot" in result) snapshots.push({ target: result.store, snapshot: result.snapshot });
      else errors.push({ target: result.store, error: result.error.toWire() });
  };
  const repositories = open.filter((store) => store.capabilities.incremental);
  const archives = open.filter((store) => !store.capabilities.incremental);
  // Archives read the source once more where no repository got it.
  const onLast = (isLast: boolean): (() => void) | undefined => (isLast ? onRead : undefined);
  if (repositories.length > 0) take(await writeLive(session, job, config, repositories, options, onLast(archives.length === 0)));
  const written = snapshots[0];
  const reader = written === undefined ? undefined : repositories.find((store) => store.name === written.target);
  if (reader !== undefined) onRead();
  for (const archive of archives) {
    // The source is read once: where a repository got it, the archive is written from that snapshot.
    if (written !== undefined && reader !== undefined)
      take(await writeFromSnapshot(session, job, config, archive, reader, written.snapshot, options));
    else take(await writeLive(session, job, config, [archive], options, onLast(archive === archives.at(-1))));
  }
}

async function writeLive(
  session: Session,
  job: JobConfig,
  config: SourceConfig,
  stores: readonly Store[],
  options: BackupOptions,
  onRead: (() => void) | undefined,
): Promise<WriteResult[]> {
  const source = createSource(config, {
    env: childEnvironment(session.config, session.surroundings.env),
    // A dry run changes nothing, and reads what is there.
    keeper: options.dryRun === true ? undefined : snapshotKeeper(session, job, config, options),
  });
  await using opened = await source.open({ signal: options.signal });
  if (opened.isFrozen === true) onRead?.();
  const request = await requestFor(session, job, config, stores, opened, options, onRead);
  const first = stores[0] as Store;
  return await (await formatOf(first.format)).write(stores, { ...request, profile: source.profile });
}

async function requestFor(
  session: Session,
  job: JobConfig,
  config: SourceConfig,
  stores: readonly Store[],
  opened: OpenSource,
  options: BackupOptions,
  onRead?: () => void,
): Promise<WriteRequest> {
  const choice = await chooseBaseline(session.config.host, job, config, stores, options);
  let bytes = 0;
  return {
    run: options.run,
    host: session.config.host,
    job: job.name,
    source: config.name,
    sourceType: config.type,
    profile: "files",
    mode: choice.mode,
    baseline: choice.baseline,
    previous: choice.previous,
    stream: opened.stream,
    finishSource: async () => {
      await opened.finish();
      if (job.maxSnapshotSizeBytes !== undefined && bytes > job.maxSnapshotSizeBytes)
        throw new HoldfastError(
          "source_changed",
          `Source ${config.name} has ${bytes} bytes, more than maxSnapshotSize allows (${job.maxSnapshotSizeBytes})`,
          {
            hint: "Exclude what should not be there, or raise jobs.*.maxSnapshotSize. Nothing was committed.",
          },
        );
      onRead?.();
      return config.type === "files" ? { ...opened.facts(), roots: config.paths } : opened.facts();
    },
    compression: job.compression,
    grouping: config.grouping,
    limits: job.limits,
    description: options.description ?? "",
    tags: options.tags ?? [],
    configDigest: session.config.digest,
    gitCommit: await session.surroundings.gitCommit,
    toolVersion: session.surroundings.toolVersion,
    dryRun: options.dryRun ?? false,
    onProgress: (progress) => {
      bytes = Math.max(bytes, progress.bytesTotal ?? progress.bytesDone);
      options.onProgress(progress);
    },
    signal: options.signal,
  };
}

async function writeFromSnapshot(
  session: Session,
  job: JobConfig,
  config: SourceConfig,
  archive: Store,
  reader: Store,
  snapshot: SnapshotInfo,
  options: BackupOptions,
): Promise<WriteResult[]> {
  const stream = snapshotStream(reader, snapshot, options.signal);
  const opened: OpenSource = {
    stream,
    facts: () => snapshot.facts,
    finish: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  };
  const request = await requestFor(session, job, config, [archive], opened, options);
  return await (await formatOf(archive.format)).write([archive], { ...request, id: snapshot.id, inherited: snapshot });
}

/** What the hooks of a source are told of its end. One that was stored as a whole before it was aborted was not stopped. */
function endOfSource(
  job: JobConfig,
  outcome: SourceOutcome,
  signal: AbortSignal,
  isAborted: boolean,
): HookEnd & { readonly status: RunStatus } {
  const { status, error } = summarise(job.targets, [outcome]);
  return isAborted || (signal.aborted && status !== "success") ? endOfThrown(undefined, signal) : { status, error };
}

function summarise(targets: readonly JobTargetConfig[], outcomes: readonly SourceOutcome[]): BackupResult {
  const required = new Set(targets.filter((one) => one.required).map(({ target }) => target.name));
  let status: BackupResult["status"] = "success";
  let error: HoldfastError | undefined;
  for (const outcome of outcomes) {
    for (const failure of outcome.errors) {
      const fatal = failure.target === undefined || required.has(failure.target) || outcome.snapshots.length === 0;
      if (fatal) {
        status = "failed";
        error ??= HoldfastError.fromWire(failure.error);
      } else if (status === "success") status = "partial";
    }
    if (outcome.snapshots.length === 0 && outcome.errors.length === 0) {
      status = "failed";
      error ??= new HoldfastError("internal", `Nothing was written of source ${outcome.source}, and nobody said why`);
    }
    if (status === "success" && outcome.snapshots.some(({ snapshot }) => snapshot.status === "partial")) status = "partial";
  }
  return { status, outcomes, error };
}
