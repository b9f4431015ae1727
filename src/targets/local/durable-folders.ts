import fs from "node:fs";
import path from "node:path";
import { errnoOf } from "../../base/errors.ts";
import type { FaultHook } from "./fault-points.ts";
import { attempt, syncFolder } from "./local-files.ts";

/**
 * Folders whose own entries are known to survive a power loss. The first use of a folder by this process syncs its
 * parent even when the folder was there already: whoever made it may have died before doing so.
 */
export class DurableFolders {
  readonly #root: string;
  readonly #hook: FaultHook;
  readonly #known = new Set<string>();

  constructor(root: string, hook: FaultHook) {
    this.#root = root;
    this.#hook = hook;
  }

  /** Makes the folder (0700) and what lies between it and the root; when it returns, all of it is durable. */
  ensure(folder: string): void {
    if (folder === this.#root || this.#known.has(folder)) return;
    this.ensure(path.dirname(folder));
    this.#make(folder);
    this.#syncParent(folder);
    this.#known.add(folder);
  }

  /** Makes the root with every missing ancestor, durably. */
  ensureRoot(): void {
    const missing: string[] = [];
    for (let folder = this.#root; !fs.existsSync(folder); folder = path.dirname(folder)) missing.push(folder);
    for (const folder of missing.toReversed()) {
      this.#make(folder);
      this.#syncParent(folder);
    }
  }

  /** Makes a folder whose loss would not matter. */
  ensureVolatile(folder: string): void {
    this.#make(folder);
  }

  /** Someone removed folders: nothing is known any more. */
  forget(): void {
    this.#known.clear();
  }

  #make(folder: string): void {
    attempt(`create the folder ${folder}`, () => {
      try {
        this.#hook("before folder create");
        fs.mkdirSync(folder, { mode: 0o700 });
        this.#hook("after folder create");
      } catch (error) {
        if (errnoOf(error) !== "EEXIST") throw error;
      }
    });
  }

  #syncParent(folder: string): void {
    try {
      syncFolder(path.dirname(folder), () => this.#hook("before parent fsync"));
    } catch (error) {
      // A later fsync may claim success for what this one lost, so an empty folder is taken back and made anew.
      try {
        fs.rmdirSync(folder);
      } catch {
        // It holds objects: then its entry was durable before.
      }
      throw error;
    }
    this.#hook("after parent fsync");
  }
}
