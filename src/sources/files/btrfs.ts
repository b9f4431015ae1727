/**
 * Read-only btrfs snapshots of what a files source names. Each subvolume is frozen at one instant, one after the other; those that
 * are nested or mounted below a path have snapshots of their own, because a snapshot of btrfs ends where another subvolume begins.
 */
import { readFileSync } from "node:fs";
import { lstat, realpath, statfs } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { errnoOf, HoldfastError } from "../../base/errors.ts";
import { ProcessGroup } from "../../posix/process-group.ts";
import type { View } from "../source.ts";
import { compileExclude, nameText } from "./exclude.ts";
import { SNAPSHOT_NAME, SUBVOLUME_ROOT } from "./subvolume.ts";

/** Of `linux/magic.h`. */
const BTRFS_MAGIC = 0x9123683e;
/** Creating and deleting only begin something, and are quick but on a file system that is very busy. */
const TIMEOUT_MS = 5 * 60_000;
const KILL_GRACE_MS = 5000;

/** How what is made here is made sure to be removed again. */
export interface SnapshotKeeper {
  /** Begins the names of the snapshots; nobody else uses it. */
  readonly prefix: string;
  /** The whole environment of `btrfs`. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Writes down, before the snapshot is made, that it must be removed; returns what strikes it out. */
  owe(path: string, removal: readonly string[]): () => void;
  /** Told what could not be removed now. */
  onLeft(path: string, reason: string): void;
}

export interface FrozenPaths extends AsyncDisposable {
  readonly views: readonly View[];
  /** Subvolumes that have a snapshot, in the order of their instants. */
  readonly subvolumes: readonly string[];
  /** Something below the paths is not on btrfs, and is read as it is. */
  readonly hasLiveParts: boolean;
}

export interface FreezeOptions {
  /** Absolute. Those that do not exist, or are symlinks, are left to the walk. */
  readonly paths: readonly string[];
  /** Gitignore rules: what they exclude is not frozen. */
  readonly exclude: readonly string[];
  /** Nothing that is nested or mounted below a path is part of the source. */
  readonly oneFileSystem: boolean;
  readonly keeper: SnapshotKeeper;
  readonly signal: AbortSignal;
}

/** What removes a snapshot. */
export function removalOf(snapshot: string): readonly string[] {
  return ["btrfs", "subvolume", "delete", snapshot];
}

/**
 * Makes the snapshots. Rejects with `source_unavailable` when a path is not on btrfs, when `btrfs` is missing, or when it refuses;
 * what was made until then is removed. Disposing removes all of them.
 */
export async function freezePaths(options: FreezeOptions): Promise<FrozenPaths> {
  const freezer = new Freezer(options);
  try {
    for (const path of options.paths) await freezer.add(path);
    return freezer;
  } catch (error) {
    await freezer[Symbol.asyncDispose]();
    throw error;
  }
}

interface Subvolume {
  /** Where its content is read: a snapshot, or itself when it is read-only anyway. */
  readonly at: string;
  /** Path below the file system's top level, as `btrfs` gives it; empty for the top level itself. */
  readonly name: string;
}

class Freezer implements FrozenPaths {
  readonly views: View[] = [];
  hasLiveParts = false;
  readonly #options: FreezeOptions;
  readonly #subvolumes = new Map<string, Subvolume>();
  readonly #owed = new Map<string, () => void>();
  readonly #mounts = mountPoints();

  constructor(options: FreezeOptions) {
    this.#options = options;
  }

  get subvolumes(): readonly string[] {
    return [...this.#subvolumes.keys()];
  }

  async add(path: string): Promise<void> {
    this.#options.signal.throwIfAborted();
    const stat = await lstat(path).catch(() => undefined);
    if (stat === undefined || stat.isSymbolicLink()) return;
    const real = await realpath(path);
    const root = await rootOf(real);
    if (root === undefined)
      throw new HoldfastError("source_unavailable", `${path} cannot be frozen: it does not lie in a btrfs subvolume`, {
        hint: "`snapshot: btrfs` needs every path of the source in a subvolume that can be reached by that path. Take it away, or make a source of its own for this path.",
      });
    const { at } = await this.#freeze(root);
    this.#view(path, join(at, below(root, real)));
    const inside: Inside = { path, real, rules: compileExclude(this.#options.exclude) };
    await this.#nested(root, inside);
    for (const mount of this.#mounts.filter((one) => isBelow(real, one))) await this.#mounted(mount, inside);
  }

  /** Subvolumes that lie in another one, as directories. */
  async #nested(root: string, inside: Inside): Promise<void> {
    for (const child of await this.#children(root)) {
      if (!isBelow(inside.real, child) || isExcluded(inside, child)) continue;
      // Another file system may hide it.
      if ((await rootOf(child).catch(() => undefined)) !== child) continue;
      if (this.#options.oneFileSystem) this.#viewInside(inside, child, child);
      else {
        this.#viewInside(inside, child, (await this.#freeze(child)).at);
        await this.#nested(child, inside);
      }
    }
  }

  async #mounted(mount: string, inside: Inside): Promise<void> {
    if (isExcluded(inside, mount)) return;
    const root = this.#options.oneFileSystem ? undefined : await rootOf(mount);
    if (root !== mount) {
      this.hasLiveParts ||= !this.#options.oneFileSystem;
      this.#viewInside(inside, mount, mount);
      return;
    }
    this.#viewInside(inside, mount, (await this.#freeze(mount)).at);
    await this.#nested(mount, inside);
  }

  #viewInside({ path, real }: Inside, child: string, at: string): void {
    this.#view(join(path, below(real, child)), at);
  }

  #view(path: string, at: string): void {
    const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text));
    this.views.push({ path: bytes(path), at: bytes(at) });
  }

  async #freeze(root: string): Promise<Subvolume> {
    const known = this.#subvolumes.get(root);
    if (known !== undefined) return known;
    const { keeper } = this.#options;
    const [first = "", ...rest] = (await this.#btrfs(["subvolume", "show", root])).split("\n");
    const name = first.trim() === "/" ? "" : first.trim();
    const isReadOnly = rest.some((line) => /^\s*Flags:.*\breadonly\b/.test(line));
    const at = isReadOnly ? root : join(root, `${keeper.prefix}${this.#subvolumes.size}`);
    if (!isReadOnly) {
      this.#owed.set(at, keeper.owe(at, removalOf(at)));
      await this.#btrfs(["subvolume", "snapshot", "-r", root, at]);
    }
    const subvolume = { at, name };
    this.#subvolumes.set(root, subvolume);
    return subvolume;
  }

  /** Where the subvolumes are that lie directly in this one. None where this user may not list them: the walk finds what is missing. */
  async #children(root: string): Promise<string[]> {
    let listed: string;
    const { name } = await this.#freeze(root);
    try {
      listed = await this.#btrfs(["subvolume", "list", "-o", root]);
    } catch (error) {
      this.#options.signal.throwIfAborted();
      if (error instanceof HoldfastError) return [];
      throw error;
    }
    const prefix = name === "" ? "" : `${name}/`;
    return listed.split("\n").flatMap((line) => {
      const path = /^ID \d+ gen \d+ top level \d+ path (.+)$/.exec(line)?.[1];
      // A name that is not UTF-8 cannot be given to a program from here.
      if (path === undefined || !path.startsWith(prefix) || path.includes("\ufffd")) return [];
      const child = join(root, path.slice(prefix.length));
      return SNAPSHOT_NAME.test(basename(child)) ? [] : [child];
    });
  }

  async #btrfs(args: readonly string[]): Promise<string> {
    const { keeper, signal } = this.#options;
    return await runBtrfs(["btrfs", ...args], keeper.env, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const [snapshot, strike] of this.#owed) {
      this.#owed.delete(snapshot);
      try {
        // It may never have been made.
        if ((await lstat(snapshot).catch(() => undefined)) !== undefined)
          await runBtrfs(removalOf(snapshot), this.#options.keeper.env, undefined);
        strike();
      } catch (error) {
        this.#options.keeper.onLeft(snapshot, error instanceof Error ? error.message : String(error));
      }
    }
  }
}

interface Inside {
  /** As configured, and without symlinks. */
  readonly path: string;
  readonly real: string;
  readonly rules: ReturnType<typeof compileExclude>;
}

function isExcluded({ real, rules }: Inside, child: string): boolean {
  if (rules === undefined) return false;
  const parts = below(real, child).split("/");
  return parts.some((_, i) => {
    const text = nameText(Buffer.from(parts.slice(0, i + 1).join("/")).toString("latin1"));
    return rules.match(text, true) >= 0;
  });
}

/** The root of the subvolume that a path lies in, by that path; undefined where there is none. */
async function rootOf(path: string): Promise<string | undefined> {
  const { dev } = await lstat(path);
  for (let at = path; ; at = dirname(at)) {
    const stat = await lstat(at);
    if (stat.dev !== dev) return undefined;
    if (stat.isDirectory() && stat.ino === SUBVOLUME_ROOT && (await statfs(at)).type === BTRFS_MAGIC) return at;
    if (at === "/") return undefined;
  }
}

/** Every place where something is mounted, in the order of mounting. */
function mountPoints(): string[] {
  let text: string;
  try {
    text = readFileSync("/proc/self/mountinfo", "utf8");
  } catch {
    return [];
  }
  // proc(5): the fifth field; space, tab, newline and backslash are octal.
  const points = text
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((point) => point !== "");
  return [
    ...new Set(points.map((point) => point.replace(/\\(\d{3})/g, (_, code) => String.fromCharCode(Number.parseInt(code, 8))))),
  ];
}

function isBelow(parent: string, path: string): boolean {
  return path !== parent && path.startsWith(parent === "/" ? "/" : `${parent}/`);
}

/** The rest of a path below its parent, without a slash before it. */
function below(parent: string, path: string): string {
  return path === parent ? "" : path.slice(parent === "/" ? 1 : parent.length + 1);
}

/** Standard output of a command that exited with 0. */
async function runBtrfs(
  command: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal | undefined,
): Promise<string> {
  signal?.throwIfAborted();
  let group: ProcessGroup;
  try {
    group = await ProcessGroup.start({ command, env });
  } catch (error) {
    throw new HoldfastError("source_unavailable", `btrfs cannot be started (${errnoOf(error) ?? "unknown error"})`, {
      hint: "`snapshot: btrfs` needs the program of that name: install the package btrfs-progs.",
      cause: error,
    });
  }
  const over = AbortSignal.any([AbortSignal.timeout(TIMEOUT_MS), ...(signal === undefined ? [] : [signal])]);
  const stop = (): void => void group.stop(KILL_GRACE_MS);
  over.addEventListener("abort", stop, { once: true });
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of group.stdout as AsyncIterable<Buffer>) chunks.push(chunk);
  } catch {
    // How it ended is told below.
  }
  const { code, signal: killed } = await group.closed;
  over.removeEventListener("abort", stop);
  signal?.throwIfAborted();
  if (code === 0) return Buffer.concat(chunks).toString("utf8");
  const said = group.stderrTail().split("\n").slice(-3).join("; ");
  throw new HoldfastError(
    "source_unavailable",
    `\`${command.slice(0, 3).join(" ")}\` failed: ${said === "" ? `it ended with ${killed ?? code}` : said}`,
    {
      hint: `Run \`${command.join(" ")}\` by hand, as this user. Making and removing snapshots needs root, or a subvolume of one's own and the mount option user_subvol_rm_allowed.`,
    },
  );
}
