/** Writes edits of the configuration into its files: prepared and judged as a whole first, then written whole or not at all. */
import { execFile } from "node:child_process";
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  accessSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { errnoOf, HoldfastError } from "../base/errors.ts";
import { editConfig, pasteText, type ConfigEdit, type EditedFile } from "../config/edit.ts";
import type { ConfigText } from "../config/include.ts";
import { loadConfig } from "../config/load.ts";
import { maskedText } from "../config/source-file.ts";
import type { Problem } from "../config/problem.ts";
import { loadInput, readConfigFile, type ConfigReading, type ConfigSurroundings } from "./config-file.ts";

/** Git waits for locks and disks, not for people: what takes longer hangs. */
const GIT_MS = 20_000;

/** The files as they are now. */
export interface ConfigSource {
  /** Of all files together: what a change names as the one that it was made for. */
  readonly digest: string;
  /** Before interpolation, the main file first. What may be a secret written in a file is replaced by as many `*`. */
  readonly files: readonly ConfigText[];
  readonly problems: readonly Problem[];
}

/** An edit that would leave the configuration valid. */
export interface PreparedEdit {
  readonly edit: ConfigEdit;
  /** Of the files that it was made from. */
  readonly digest: string;
  /** Of the files once it is written. */
  readonly nextDigest: string;
  readonly file: EditedFile;
  /** About the result. */
  readonly warnings: readonly Problem[];
  /** The item for people to paste. */
  readonly yaml: string;
}

export interface ConfigCommit {
  readonly committed: boolean;
  /** The new commit; why there is none otherwise. */
  readonly commit: string | undefined;
  readonly reason: string | undefined;
}

/** What a test may look at, or fail at. */
export type WriteBoundary = "written" | "checked" | "renamed";

export class ConfigFiles {
  readonly #path: string;
  readonly #surroundings: ConfigSurroundings;
  readonly #at: (boundary: WriteBoundary) => void;

  /** `path`: the main file, absolute. */
  constructor(path: string, surroundings: ConfigSurroundings, at: (boundary: WriteBoundary) => void = () => undefined) {
    this.#path = path;
    this.#surroundings = surroundings;
    this.#at = at;
  }

  /** Throws `config_not_found` and `config_unreadable`. */
  source(): ConfigSource {
    const { digest, texts, problems } = this.#read();
    return { digest, files: texts.map(({ path, text }) => ({ path, text: maskedText(path, text) })), problems };
  }

  /**
   * Makes an edit from the files as they are now and judges the result as `holdfast validate` does; writes nothing. `match`: the
   * digest that they must have. Throws `config_changed` when they have another, `config_invalid` with the problems of the
   * result, and what `editConfig` throws.
   */
  prepare(edit: ConfigEdit, match?: string): PreparedEdit {
    const reading = this.#read();
    if (match !== undefined && match !== reading.digest) throw changed();
    const file = editConfig(reading.texts, edit);
    const textOf = ({ path, text }: ConfigText): ConfigText => ({ path, text: path === file.path ? file.after : text });
    const main = reading.texts[0]?.text ?? "";
    const result = loadConfig({
      ...loadInput(this.#path, file.path === this.#path ? file.after : main, this.#surroundings),
      readInclude: (pattern, fromDir) =>
        (reading.includes.find((one) => one.pattern === pattern && one.fromDir === fromDir)?.files ?? []).map(textOf),
    });
    const errors = result.problems.filter(({ severity }) => severity === "error");
    if (result.config === undefined)
      throw new HoldfastError(
        "config_invalid",
        `The configuration would not be valid: ${errors[0]?.message ?? "it has errors"}`,
        {
          hint: "Each problem says where it is. Nothing was changed.",
          data: { problems: errors },
        },
      );
    return {
      edit,
      digest: reading.digest,
      nextDigest: result.digest,
      file,
      warnings: result.problems,
      yaml: pasteText(edit),
    };
  }

  /**
   * Writes a prepared edit: a new file beside the old one, with its mode and owner, on disk before it takes the name. Throws
   * `config_changed` when the files are not those it was prepared from, and `config_write_refused` where they cannot be
   * replaced; nothing is changed then.
   */
  write({ digest, file }: PreparedEdit): void {
    const target = replaceable(file.path);
    const { bytes, mode, uid, gid } = contentOf(target);
    if (!bytes.equals(Buffer.from(file.before)))
      throw bytes.equals(Buffer.from(bytes.toString("utf8")))
        ? changed()
        : refused(`${file.path} is not UTF-8 text`, "Edit it by hand.");
    if (file.after === file.before) return;
    const temporary = join(dirname(target), `.${basename(target)}.holdfast-new`);
    try {
      // What a process that was killed has left.
      rmSync(temporary, { force: true });
      const descriptor = openSync(
        temporary,
        constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
        0o600,
      );
      try {
        const made = fstatSync(descriptor);
        if (made.uid !== uid || made.gid !== gid) fchownSync(descriptor, uid, gid);
        fchmodSync(descriptor, mode);
        writeFileSync(descriptor, file.after);
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
      this.#at("written");
      // All files, and as late as can be: what somebody wrote meanwhile must not be lost.
      if (this.#read().digest !== digest || replaceable(file.path) !== target) throw changed();
      this.#at("checked");
      renameSync(temporary, target);
    } catch (error) {
      try {
        rmSync(temporary, { force: true });
      } catch {
        // What is in the way there is told below.
      }
      if (error instanceof HoldfastError) throw error;
      throw refused(
        `${file.path} cannot be replaced (${errnoOf(error) ?? "unknown error"})`,
        "Its folder must be writable for the daemon, which must own the file or be root; a file that is mounted on its own cannot be replaced.",
        error,
      );
    }
    this.#at("renamed");
    syncFolder(dirname(target));
  }

  /** Commits just this file. Never rejects: what was written stands. No hook of the repository runs. */
  async commit({ edit, file }: PreparedEdit, author: string): Promise<ConfigCommit> {
    const name = author.replaceAll(/[^\w.@]+/g, "-").slice(0, 64) || "holdfast";
    const { PATH = "/usr/local/bin:/usr/bin:/bin", HOME = this.#surroundings.home } = this.#surroundings.env;
    const env = {
      PATH,
      HOME,
      LC_ALL: "C",
      GIT_TERMINAL_PROMPT: "0",
      GIT_AUTHOR_NAME: name,
      GIT_AUTHOR_EMAIL: `${name}@holdfast.invalid`,
      GIT_COMMITTER_NAME: "holdfast",
      GIT_COMMITTER_EMAIL: "holdfast@holdfast.invalid",
    };
    const target = realpathSync(file.path);
    const settings = ["core.hooksPath=/dev/null", "core.fsmonitor=false", "commit.gpgSign=false", "gc.auto=0"];
    const git = async (...args: string[]): Promise<string> =>
      await new Promise((resolve, reject) => {
        const options = { env, timeout: GIT_MS, killSignal: "SIGKILL", maxBuffer: 2 ** 20 } as const;
        execFile(
          "git",
          ["-C", dirname(target), ...settings.flatMap((one) => ["-c", one]), ...args],
          options,
          (error, stdout, stderr) => {
            if (error === null) resolve(stdout.trim());
            else reject(new Error(stderr.trim().split("\n")[0] || error.message.split("\n")[0]));
          },
        );
      });
    try {
      const verb = edit.value === undefined ? "delete" : file.isNew ? "add" : "change";
      await git("commit", "--quiet", "--no-verify", "-m", `${verb} ${edit.section}.${edit.name}`, "--only", "--", target);
      return { committed: true, commit: await git("rev-parse", "HEAD"), reason: undefined };
    } catch (error) {
      const reason = error instanceof Error ? error.message.slice(0, 300) : String(error);
      return { committed: false, commit: undefined, reason };
    }
  }

  #read(): ConfigReading {
    return readConfigFile(this.#path, this.#surroundings, false);
  }
}

/** The file itself behind its links. Throws where replacing it would not last, or is not wanted. */
function replaceable(path: string): string {
  let target: string;
  try {
    target = realpathSync(path);
    // Kubernetes gives a volume by a link `..data` to a folder `..TIME`, and takes back what is changed there.
    if (
      linksOf(path)
        .concat(target)
        .some((one) => one.split("/").some((part) => /^\.\.[^/]/.test(part)))
    )
      throw refused(`${path} is made by Kubernetes`, "Change the ConfigMap or Secret that it comes from.");
    const { mode } = statSync(target);
    if ((mode & 0o222) === 0) throw refused(`${path} is read-only`, "Make it writable, or edit it where it is made.");
    accessSync(target, constants.W_OK);
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    throw refused(`${path} cannot be written (${errnoOf(error) ?? "unknown error"})`, "Make it writable for the daemon.", error);
  }
  return target;
}

function linksOf(path: string): string[] {
  const links: string[] = [];
  for (let at = path; links.length < 40;) {
    let link: string;
    try {
      link = readlinkSync(at);
    } catch {
      return links;
    }
    links.push(link);
    at = link.startsWith("/") ? link : join(dirname(at), link);
  }
  return links;
}

function contentOf(target: string): { bytes: Buffer; mode: number; uid: number; gid: number } {
  const descriptor = openSync(target, constants.O_RDONLY);
  try {
    const { mode, uid, gid } = fstatSync(descriptor);
    return { bytes: readFileSync(descriptor), mode: mode & 0o7777, uid, gid };
  } finally {
    closeSync(descriptor);
  }
}

function syncFolder(folder: string): void {
  const descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function changed(): HoldfastError {
  return new HoldfastError("config_changed", "The configuration was changed by somebody else meanwhile", {
    hint: "Read it again, and make the change anew. Nothing was changed.",
  });
}

function refused(why: string, hint: string, cause?: unknown): HoldfastError {
  return new HoldfastError("config_write_refused", `The configuration is not written: ${why}`, {
    hint: `${hint} Nothing was changed.`,
    ...(cause !== undefined && { cause }),
  });
}
