import type { HoldfastError } from "../../base/errors.ts";
import type { Progress } from "../../base/events.ts";
import { pathText } from "../../base/path-text.ts";
import type { SnapshotEntry } from "../../formats/format.ts";
import { shownPath } from "./destination.ts";
import { rawBytes } from "./directories.ts";
import { contentBytes } from "./plan.ts";
import {
  MAX_LISTED,
  type EntryAction,
  type RestoreLoss,
  type RestoreProblem,
  type RestoreReport,
  type RestoreRequest,
} from "./restore.ts";

const PROGRESS_MS = 200;

/** Gathers what a restore says of itself, and tells progress at most five times a second. */
export class ReportBuilder {
  readonly #request: RestoreRequest;
  readonly #onProgress: (progress: Progress) => void;
  readonly #problems: RestoreProblem[] = [];
  readonly #losses: RestoreLoss[] = [];
  readonly #counts = { created: 0, replaced: 0, metadata: 0, kept: 0, deleted: 0, directories: 0, files: 0, verifiedFiles: 0 };
  #problemCount = 0;
  #lossCount = 0;
  #isExact = true;
  #bytes = 0;
  #phase = "planning";
  #done = { files: 0, bytes: 0 };
  #current: string | undefined;
  #lastProgressMs = 0;

  constructor(request: RestoreRequest, onProgress: (progress: Progress) => void) {
    this.#request = request;
    this.#onProgress = onProgress;
  }

  get problemCount(): number {
    return this.#problemCount;
  }

  get firstProblem(): RestoreProblem | undefined {
    return this.#problems[0];
  }

  phase(name: string): void {
    this.#phase = name;
    this.#done = { files: 0, bytes: 0 };
    this.#tell(true);
  }

  count(what: "directories" | "deleted"): void {
    this.#counts[what]++;
  }

  problem(path: string, error: HoldfastError): void {
    this.#problemCount++;
    if (this.#problems.length >= MAX_LISTED) return;
    this.#problems.push({ path: shownPath(this.#request, path), code: error.code, message: error.message, hint: error.hint });
  }

  /** An entry inside a folder that could not be made; the folder was reported. */
  missing(): void {
    this.#problemCount++;
  }

  /** `onTheWay`: of a folder that only leads to what is restored. */
  loss(path: string, what: string, reason: string, onTheWay = false): void {
    this.#lossCount++;
    if (!onTheWay) this.#isExact = false;
    if (this.#losses.length < MAX_LISTED) this.#losses.push({ path: shownPath(this.#request, path), what, reason });
  }

  kept(entry: SnapshotEntry): void {
    this.#counts.kept++;
    this.#passed(entry);
    this.#done.bytes += contentBytes(entry);
  }

  restored({ act, entry, path }: EntryAction): void {
    if (act === "create") this.#counts.created++;
    else if (act === "replace") this.#counts.replaced++;
    else this.#counts.metadata++;
    if (act === "metadata") this.#done.bytes += contentBytes(entry);
    else if (entry.entry.type === "file") this.#counts.files++;
    this.#current = path;
    this.#passed(entry);
  }

  wrote(bytes: number): void {
    if (this.#phase === "restoring") this.#bytes += bytes;
    this.#done.bytes += bytes;
    this.#tell(false);
  }

  /** A file was read or compared. */
  checked(): void {
    if (this.#phase === "verifying") this.#counts.verifiedFiles++;
    this.#done.files++;
    this.#tell(false);
  }

  finish(): RestoreReport {
    return {
      status: this.#problemCount > 0 || !this.#isExact ? "partial" : "success",
      ...this.#counts,
      bytes: this.#bytes,
      problems: this.#problems,
      problemCount: this.#problemCount,
      losses: this.#losses,
      lossCount: this.#lossCount,
    };
  }

  #passed(entry: SnapshotEntry): void {
    if (entry.entry.type === "file") this.#done.files++;
    this.#tell(false);
  }

  #tell(force: boolean): void {
    const now = performance.now();
    if (!force && now - this.#lastProgressMs < PROGRESS_MS) return;
    this.#lastProgressMs = now;
    const { path, include, exclude, snapshot } = this.#request;
    // Known only for a snapshot as a whole; holes count in its bytes.
    const whole = include.length === 0 && exclude.length === 0 && path.every((byte) => byte === 0x2f);
    this.#onProgress({
      phase: this.#phase,
      filesDone: this.#done.files,
      filesTotal: whole ? snapshot.files : undefined,
      bytesDone: this.#done.bytes,
      bytesTotal: whole ? snapshot.sourceBytes : undefined,
      storedBytes: 0,
      current: this.#current === undefined ? undefined : pathText(rawBytes(this.#current)),
    });
  }
}
