import { statSync, watch, type FSWatcher } from "node:fs";
import { dirname } from "node:path";
import type { Clock } from "../base/clock.ts";

/** The files must have been quiet for so long: an editor writes, renames and touches in turn. */
const QUIET_MS = 300;
/** How long a look is put off when something happens in their folders: a busy one costs ten looks a second at most. */
const GATHER_MS = 100;
/** How often they are looked at although the system said nothing: network mounts tell nobody. */
const POLL_MS = 5000;

export interface ConfigWatchOptions {
  readonly clock: Clock;
  /** Files and folders, absolute. Files may be missing, or be links. */
  readonly paths: readonly string[];
  /** Called when something about them is another than at the last call, or at the beginning, and they have come to rest. */
  readonly onChange: () => void;
}

/**
 * Notices that files may have changed: written in place, renamed over, behind a link that was swapped (as Kubernetes swaps
 * `..data`), appeared in a watched folder. Looks at what `stat` says and reads nothing; disposing ends it.
 */
export class ConfigWatch implements Disposable {
  readonly #options: ConfigWatchOptions;
  readonly #over = new AbortController();
  #watchers: FSWatcher[] = [];
  #poked = new AbortController();
  /** The state of each path that was reported last. */
  #known = new Map<string, string>();

  constructor(options: ConfigWatchOptions) {
    this.#options = options;
    this.replace(options.paths);
    void this.#live();
  }

  /**
   * Watches these instead; what is known of paths that stay is kept. True when there are new ones, of which only the state
   * as it is now is known: what was read of them before this call may be older.
   */
  replace(paths: readonly string[]): boolean {
    const added = paths.filter((path) => !this.#known.has(path));
    this.#known = new Map(paths.map((path) => [path, this.#known.get(path) ?? signatureOf(path)]));
    if (added.length > 0) this.#watchFolders();
    return added.length > 0;
  }

  #watchFolders(): void {
    for (const watcher of this.#watchers.splice(0)) watcher.close();
    for (const folder of new Set([...this.#known.keys()].flatMap((path) => [path, dirname(path)]))) {
      try {
        if (!statSync(folder).isDirectory()) continue;
        const watcher = watch(folder, { persistent: false }, () => this.#poked.abort());
        // A folder that goes away, or a system without watches: looking from time to time is enough.
        watcher.on("error", () => watcher.close());
        this.#watchers.push(watcher);
      } catch {
        // The same.
      }
    }
  }

  #look(): Map<string, string> {
    return new Map([...this.#known.keys()].map((path) => [path, signatureOf(path)]));
  }

  async #live(): Promise<void> {
    const { clock, onChange } = this.#options;
    const { signal } = this.#over;
    while (!signal.aborted) {
      this.#poked = new AbortController();
      let seen = this.#look();
      while (!same(seen, this.#known) && !signal.aborted) {
        await clock.sleep(QUIET_MS, signal).catch(() => undefined);
        const now = this.#look();
        if (same(now, seen)) {
          this.#known = now;
          if (!signal.aborted) onChange();
        }
        seen = now;
      }
      await clock
        .sleep(POLL_MS, AbortSignal.any([signal, this.#poked.signal]))
        .catch(() => clock.sleep(GATHER_MS, signal))
        .catch(() => undefined);
    }
  }

  [Symbol.dispose](): void {
    this.#over.abort();
    for (const watcher of this.#watchers.splice(0)) watcher.close();
  }
}

function same(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  return a.size === b.size && [...a].every(([path, signature]) => b.get(path) === signature);
}

/** What tells one state of a path from another, links followed. */
function signatureOf(path: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
  } catch {
    return "missing";
  }
}
