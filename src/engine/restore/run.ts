import { lstatSync } from "node:fs";
import { HoldfastError } from "../../base/errors.ts";
import { pathBytes, pathText } from "../../base/path-text.ts";
import type { SnapshotInfo, Store } from "../../formats/format.ts";
import { formatOf } from "../../formats/registry.ts";
import { PRE_RESTORE_TAG } from "../../plan/retention.ts";
import { performRun, type RunContext, type RunOutcome } from "../runs.ts";
import type { Session } from "../session.ts";
import { selectSnapshot, type SnapshotSelector } from "../snapshots.ts";
import { performRestore } from "./perform.ts";
import { summarisePlan, type PlanSummary } from "./plan.ts";
import type { OverwritePolicy, RestoreAction, RestoreReport, RestoreRequest } from "./restore.ts";

export interface RunRestoreOptions {
  readonly selector: SnapshotSelector;
  /** Path inside the snapshot as a person types it; `/` for all of it. */
  readonly path: string;
  /** A folder (absolute), or where it came from. */
  readonly to: { readonly folder: string } | "in-place";
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  readonly overwrite: OverwritePolicy;
  readonly delete: boolean;
  readonly verifyFirst: boolean;
  readonly verify: boolean;
  /** Take a snapshot of what is there before a restore over live data. */
  readonly safetySnapshot: boolean;
  /** The user agreed to a restore over live data. */
  readonly confirmedLive: boolean;
  /** Real paths of folders, one of which a destination must lie inside when it is open; see `confine`. */
  readonly within?: readonly Uint8Array[] | undefined;
  readonly signal: AbortSignal;
}

export interface RestoreResult {
  readonly snapshot: SnapshotInfo;
  readonly target: string;
  readonly report: RestoreReport;
  /** What was there before; `restore --rollback` returns to it. */
  readonly safetySnapshot: SnapshotInfo | undefined;
}

/** What a restore would do; changes nothing. `each` sees the steps as they are decided. */
export async function planRestoreRun(
  session: Session,
  options: RunRestoreOptions,
  each?: (actions: readonly RestoreAction[]) => void,
): Promise<{ readonly snapshot: SnapshotInfo; readonly target: string; readonly summary: PlanSummary }> {
  const { info, store } = await selectSnapshot(session, options.selector, options.signal);
  const summary = await summarisePlan(
    requestFor(session, store, info, { ...options, confirmedLive: true }),
    options.signal,
    each,
  );
  return { snapshot: info, target: store.name, summary };
}

/**
 * Restores as a recorded run. Over live data a snapshot of what is there is taken first, tagged `pre-restore`; without it
 * nothing is touched, unless the caller declined one. `partial` when anything could not be restored.
 */
export async function runRestore(session: Session, options: RunRestoreOptions): Promise<RunOutcome<RestoreResult>> {
  // Chosen before the run begins: a selector that fits nothing is a mistake of the caller, not a failed restore.
  const { info, store } = await selectSnapshot(session, options.selector, options.signal);
  const request = requestFor(session, store, info, options);
  const subject = `${info.id.slice(0, 8)} (${info.job} / ${info.source})`;
  return await performRun(
    session,
    { kind: "restore", subject, job: info.job, targets: [store.name] },
    options.signal,
    async (context) => {
      const live = options.to === "in-place" || (options.to !== undefined && options.to.folder === "/");
      const safety =
        live && options.safetySnapshot && options.confirmedLive
          ? await takeSafetySnapshot(session, store, info, request, context)
          : undefined;
      const report = await performRestore(request, {
        verifyFirst: options.verifyFirst,
        verify: options.verify,
        onProgress: context.onProgress,
        signal: context.signal,
      });
      for (const { path, message, hint } of report.problems)
        context.onMessage(
          "error",
          `${message.includes(path) ? "" : `${path}: `}${message}${hint === undefined ? "" : ` (${hint})`}`,
        );
      if (report.problemCount > report.problems.length)
        context.onMessage("error", `and ${report.problemCount - report.problems.length} more problems`);
      if (report.lossCount > 0) context.onMessage("warn", lossText(report));
      const scope = pathText(request.path);
      return {
        status: report.status,
        result: { snapshot: info, target: store.name, report, safetySnapshot: safety },
        statistics: {
          snapshot: info.id,
          target: store.name,
          path: scope,
          inPlace: live,
          safetySnapshot: safety?.id,
          created: report.created,
          replaced: report.replaced,
          deleted: report.deleted,
          files: report.files,
          bytes: report.bytes,
          problems: report.problemCount,
          losses: report.lossCount,
        },
      };
    },
  );
}

/**
 * Returns live data to what it was before a restore: everything in its scope becomes as the safety snapshot has it, and
 * what was not there before is removed. Takes a safety snapshot of its own first.
 */
export async function rollbackRestore(
  session: Session,
  runId: string,
  options: Pick<RunRestoreOptions, "confirmedLive" | "signal" | "verify">,
): Promise<RunOutcome<RestoreResult>> {
  const run = session.state.run(runId);
  if (run === undefined || run.kind !== "restore")
    throw new HoldfastError("name_unknown", `There is no restore ${runId}`, {
      hint: "`holdfast runs` lists them. If the state folder was deleted, restore the snapshot tagged pre-restore by its id, with --in-place --delete.",
    });
  const { safetySnapshot, path } = run.statistics ?? {};
  if (typeof safetySnapshot !== "string" || typeof path !== "string")
    throw new HoldfastError("restore_refused", `Restore ${runId} took no safety snapshot, so there is nothing to return to`, {
      hint: "It went to an empty place or another folder, or --no-safety-snapshot was given.",
    });
  return await runRestore(session, {
    selector: { id: safetySnapshot },
    path,
    to: "in-place",
    include: [],
    exclude: [],
    overwrite: "if-changed",
    delete: true,
    verifyFirst: true,
    verify: options.verify,
    safetySnapshot: true,
    confirmedLive: options.confirmedLive,
    signal: options.signal,
  });
}

function requestFor(session: Session, store: Store, snapshot: SnapshotInfo, options: RunRestoreOptions): RestoreRequest {
  const protect = [...session.config.targets.values()].map(({ path }) => path).concat(session.config.daemon.stateDir);
  return {
    store,
    snapshot,
    path: pathBytes(options.path === "" ? "/" : options.path),
    destination: options.to === "in-place" ? { kind: "live" } : { kind: "folder", path: Buffer.from(options.to.folder) },
    include: options.include,
    exclude: options.exclude,
    overwrite: options.overwrite,
    delete: options.delete,
    confirmedLive: options.confirmedLive,
    roots: rootsOf(session, snapshot),
    within: options.within,
    protect: protect.map((path) => Buffer.from(path)),
  };
}

/** How many properties were lost, by what they are; an example, and where all are. */
function lossText({ losses, lossCount }: RestoreReport): string {
  const counts = new Map<string, number>();
  for (const { what, reason } of losses) counts.set(`${what} (${reason})`, (counts.get(`${what} (${reason})`) ?? 0) + 1);
  const kinds = [...counts].sort(([, a], [, b]) => b - a).map(([kind, count]) => `${count} × ${kind}`);
  const rest = lossCount > losses.length ? `, and ${lossCount - losses.length} more` : "";
  return `${lossCount} properties could not be set: ${kinds.slice(0, 12).join(", ")}${rest}; the first of ${losses[0]?.path}. --json lists them`;
}

/** The paths a files snapshot was taken of: as it says itself, or as the configuration does. */
function rootsOf(session: Session, snapshot: SnapshotInfo): readonly Uint8Array[] | undefined {
  const noted: unknown = snapshot.facts["roots"];
  if (Array.isArray(noted) && noted.every((path) => typeof path === "string"))
    return noted.map((path: string) => pathBytes(path));
  const source = session.config.sources.get(snapshot.source);
  return source?.type === "files" ? source.paths.map((path) => Buffer.from(path)) : undefined;
}

/** A snapshot of everything live in the scope of a restore, in the series it is restored from. Undefined when nothing is there. */
async function takeSafetySnapshot(
  session: Session,
  store: Store,
  snapshot: SnapshotInfo,
  request: RestoreRequest,
  context: RunContext,
): Promise<SnapshotInfo | undefined> {
  const scope = pathText(request.path) === "/" ? request.roots : [request.path];
  if (scope === undefined)
    throw new HoldfastError(
      "restore_refused",
      `It is not known which folders snapshot ${snapshot.id.slice(0, 8)} was taken of, so no safety snapshot of them can be taken`,
      {
        hint: "Name a path (SNAPSHOT:/path), restore to another folder with --to, or give --no-safety-snapshot.",
      },
    );
  const paths = scope.map((path) => Buffer.from(path)).filter(exists);
  if (paths.length === 0) return undefined;
  context.onMessage("info", `taking a safety snapshot of ${paths.map((path) => pathText(path)).join(", ")} first`);
  const [result] = await (
    await formatOf(store.format)
  ).write([store], {
    run: context.run,
    host: session.config.host,
    job: snapshot.job,
    source: snapshot.source,
    sourceType: "files",
    profile: "files",
    mode: store.capabilities.incremental ? "incremental" : "full",
    baseline: store.capabilities.incremental ? snapshot : undefined,
    previous: undefined,
    stream: {
      kind: "files",
      // Everything, excluded files too: a restore may replace or remove them.
      options: {
        paths,
        exclude: [],
        excludeIfPresent: [],
        excludeLargerThanBytes: undefined,
        oneFileSystem: false,
        minimumEntries: 0,
      },
    },
    finishSource: async () => ({ roots: paths.map((path) => pathText(path)), restoring: snapshot.id }),
    compression: { type: "zstd", level: 3 },
    grouping: "frame",
    description: `before the restore of ${snapshot.id.slice(0, 8)}`,
    tags: [PRE_RESTORE_TAG],
    configDigest: session.config.digest,
    gitCommit: await session.surroundings.gitCommit,
    toolVersion: session.surroundings.toolVersion,
    dryRun: false,
    onProgress: context.onProgress,
    signal: context.signal,
  });
  if (result === undefined || "error" in result)
    throw new HoldfastError("restore_refused", `The safety snapshot failed: ${result?.error.message ?? "no answer"}`, {
      hint: "Nothing was restored. Mend the target, or give --no-safety-snapshot.",
      cause: result?.error,
    });
  if (result.snapshot.unreadableCount > 0)
    throw new HoldfastError(
      "restore_refused",
      `The safety snapshot is incomplete: ${result.snapshot.unreadableCount} entries could not be read, the first ${result.snapshot.unreadable[0]?.path}`,
      {
        hint: "Nothing was restored. Run as a user that may read them, or give --no-safety-snapshot.",
      },
    );
  return result.snapshot;
}

function exists(path: Buffer): boolean {
  try {
    lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
