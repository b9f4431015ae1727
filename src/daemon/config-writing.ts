/** Changes of the configuration that somebody asks the daemon for: checked, written into the file, committed, taken over. */
import type { Clock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import type { Config } from "../config/config.ts";
import type { ConfigEdit } from "../config/edit.ts";
import type { Problem } from "../config/problem.ts";
import type { ConfigCommit, ConfigFiles, ConfigSource } from "../engine/config-write.ts";
import type { PendingApproval, State } from "../state/state.ts";
import type { Log } from "../telemetry/log.ts";
import type { ReloadOutcome } from "./reloader.ts";

/** How long an answer waits for the daemon to have planned with the new configuration. */
const PLANNED_MS = 5000;

export interface ConfigWriteRequest {
  readonly edit: ConfigEdit;
  /** The digest of the files that the change was made for. */
  readonly match: string | undefined;
  /** The author of a commit. */
  readonly author: string;
}

export interface ConfigWriteResult {
  /** The file that has the item, or had it. */
  readonly file: string;
  readonly changed: boolean;
  readonly created: boolean;
  readonly previousDigest: string;
  readonly digest: string;
  readonly warnings: readonly Problem[];
  /** Undefined where no commit is wanted or nothing changed. */
  readonly commit: ConfigCommit | undefined;
  readonly reload: ReloadOutcome;
  /** Whether the daemon has compared the new configuration with what there is; `pending` is older otherwise. */
  readonly planned: boolean;
  /** What waits for an approval. */
  readonly pending: readonly PendingApproval[];
}

/** What may be asked of it. */
export interface ConfigWriting {
  /** Throws `config_not_found` and `config_unreadable`. */
  source(): ConfigSource;
  /**
   * Rejects with `config_invalid`, `config_match_missing`, `config_changed` and `config_write_refused`; nothing is changed
   * then. Where writing is not allowed, the last one's `data` has the YAML to paste.
   */
  write(request: ConfigWriteRequest): Promise<ConfigWriteResult>;
}

export interface ConfigWriterOptions {
  readonly clock: Clock;
  readonly state: State;
  readonly log: Log;
  /** Undefined in a daemon that was made from no file. */
  readonly files: ConfigFiles | undefined;
  /** The configuration in force: what it allows counts. */
  readonly current: () => Config;
  readonly reload: () => Promise<ReloadOutcome>;
  /** Resolves when the daemon has planned next. */
  readonly planned: () => Promise<void>;
}

export class ConfigWriter implements ConfigWriting {
  readonly #options: ConfigWriterOptions;
  #lone: Promise<unknown> = Promise.resolve();

  constructor(options: ConfigWriterOptions) {
    this.#options = options;
  }

  source(): ConfigSource {
    return this.#files().source();
  }

  async write(request: ConfigWriteRequest): Promise<ConfigWriteResult> {
    // One after the other: the second must see what the first has written.
    const mine = this.#lone.then(() => this.#write(request));
    this.#lone = mine.catch(() => undefined);
    return await mine;
  }

  async #write({ edit, match, author }: ConfigWriteRequest): Promise<ConfigWriteResult> {
    const { current, reload, planned, state, log, clock } = this.#options;
    const files = this.#files();
    const { allowConfigWrites: allow, commitConfigWrites: commits } = current().control;
    const prepared = files.prepare(edit, allow ? match : undefined);
    const { file, digest, nextDigest, warnings, yaml } = prepared;
    if (!allow)
      throw new HoldfastError("config_write_refused", "The configuration is not written over the API here", {
        hint: `Put the YAML into ${file.path}, or set \`control.allowConfigWrites: true\`. Nothing was changed.`,
        data: { file: file.path, yaml },
      });
    if (match === undefined)
      throw new HoldfastError("config_match_missing", "The change does not say which configuration it was made for", {
        hint: "Read /api/v1/config/source and send its ETag as If-Match. Nothing was changed.",
      });
    files.write(prepared);
    const changed = file.before !== file.after;
    const what = `${edit.section}.${edit.name}`;
    if (changed) log.info(`${what} was ${edit.value === undefined ? "deleted from" : "written to"} ${file.path}`, { by: author });
    const commit = commits && changed ? await files.commit(prepared, author) : undefined;
    if (commit?.committed === false) log.warn(`${file.path} is written, but not committed: ${commit.reason}`);
    const next = planned();
    const outcome = await reload();
    const over = new AbortController();
    const isPlanned =
      outcome.result !== "reloaded" ||
      (await Promise.race([
        next.then(() => true),
        clock.sleep(PLANNED_MS, over.signal).then(
          () => false,
          () => false,
        ),
      ]));
    over.abort();
    return {
      file: file.path,
      changed,
      created: file.isNew,
      previousDigest: digest,
      digest: nextDigest,
      warnings,
      commit,
      reload: outcome,
      planned: isPlanned,
      pending: state.pendingApprovals(),
    };
  }

  #files(): ConfigFiles {
    const { files } = this.#options;
    if (files !== undefined) return files;
    throw new HoldfastError("config_write_refused", "This daemon was not started from a configuration file");
  }
}
