import { HoldfastError } from "../../base/errors.ts";
import { ContentPipeline, type PipelineEvents, type PipelineFile } from "./content-pipeline.ts";
import { destinationPath, makeDestination, shownPath } from "./destination.ts";
import { Directories, splitPath } from "./directories.ts";
import { ComparingFile } from "./file-compare.ts";
import { entryError } from "./file-writer.ts";
import { isWrite, planRestore } from "./plan.ts";
import type { ReportBuilder } from "./report.ts";
import type { EntryAction, RestoreAction, RestoreRequest } from "./restore.ts";
import type { ThreadMode } from "./messages.ts";

const ROUND_FILES = 4096;

interface CheckedFile extends PipelineFile {
  readonly path: string;
}

/**
 * Reads and decodes everything that the restore will write, before anything is touched. Rejects with `restore_refused`
 * when a file or folder of it is damaged.
 */
export async function checkReadable(request: RestoreRequest, report: ReportBuilder, signal: AbortSignal): Promise<void> {
  report.phase("checking");
  const before = report.problemCount;
  let damaged = 0;
  await throughThreads(request, "check", signal, {
    actions: planRestore(request, signal),
    choose: isWrite,
    report,
    each: (action) => {
      if (action.act !== "damaged") return;
      damaged++;
      report.problem(action.path, action.error);
    },
  });
  const count = report.problemCount - before;
  if (count === 0) return;
  throw new HoldfastError(
    "restore_refused",
    `${count} entries of snapshot ${request.snapshot.id.slice(0, 8)} cannot be read; nothing was restored`,
    {
      hint: "Restore without --verify-first to get the rest, or choose another target or snapshot.",
      data: { count, folders: damaged, problems: report.finish().problems },
    },
  );
}

/**
 * Reads the restored files back and compares them with the snapshot's content. Under `never` and `if-newer` only those
 * count that carry the snapshot's times, for the others were meant to stay. Differences become problems.
 */
export async function compareRestored(request: RestoreRequest, report: ReportBuilder, signal: AbortSignal): Promise<void> {
  report.phase("verifying");
  const lenient = request.overwrite === "never" || request.overwrite === "if-newer";
  // Looked at anew and without changing anything: what should have been restored and still differs stands out.
  const again: RestoreRequest = { ...request, overwrite: lenient ? request.overwrite : "if-changed", delete: false };
  await throughThreads(again, "compare", signal, {
    actions: planRestore(again, signal),
    choose: (action): action is EntryAction =>
      "entry" in action && action.act !== "enter" && action.entry.entry.type === "file" && (action.equal || !lenient),
    report,
    each: () => undefined,
  });
}

interface Check {
  readonly actions: AsyncIterable<readonly RestoreAction[]>;
  readonly choose: (action: RestoreAction) => action is EntryAction;
  readonly report: ReportBuilder;
  readonly each: (action: RestoreAction) => void;
}

async function throughThreads(request: RestoreRequest, mode: ThreadMode, signal: AbortSignal, check: Check): Promise<void> {
  const { report } = check;
  const slow: CheckedFile[] = [];
  const events: PipelineEvents<CheckedFile> = {
    finished: () => report.checked(),
    damaged: (file) => slow.push(file),
    problem: (file, error) => report.problem(file.path, error),
    loss: () => undefined,
    bytes: (count) => report.wrote(count),
  };
  await using pipeline = new ContentPipeline<CheckedFile>(
    { store: request.store, mode, destination: destinationPath(request), top: undefined, token: "", uid: 0, umask: 0, signal },
    events,
  );
  let round: CheckedFile[] = [];
  for await (const actions of check.actions) {
    for (const action of actions) {
      check.each(action);
      if (!check.choose(action)) continue;
      const { parent, name } = splitPath(action.path);
      round.push({ entry: action.entry, folder: parent, name, mustCreate: false, path: action.path });
    }
    if (round.length < ROUND_FILES) continue;
    await pipeline.submit(round);
    round = [];
  }
  await pipeline.submit(round);
  await pipeline.drain();
  for (const file of slow) await checkSlowly(request, mode, file, report, signal);
}

/** Another copy of the content may be good. */
async function checkSlowly(
  request: RestoreRequest,
  mode: ThreadMode,
  file: CheckedFile,
  report: ReportBuilder,
  signal: AbortSignal,
): Promise<void> {
  const shown = shownPath(request, file.path);
  let comparing: ComparingFile | undefined;
  try {
    if (mode === "compare") {
      using directories = new Directories(makeDestination(destinationPath(request), 0o700).fd);
      comparing = new ComparingFile(directories, file.folder, file.name, file.entry.entry.size, undefined);
    }
    let position = 0;
    for await (const bytes of request.store.read(file.entry, { signal })) {
      comparing?.compare(position, bytes);
      position += bytes.length;
      report.wrote(bytes.length);
    }
    report.checked();
  } catch (error) {
    if (signal.aborted || (error instanceof HoldfastError && error.transient)) throw error;
    report.problem(file.path, entryError(error, shown, "differs from the snapshot"));
  } finally {
    comparing?.close();
  }
}
