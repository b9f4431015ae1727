/** A small btrfs of one's own, in a file. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface BtrfsVolume extends Disposable {
  /** Where it is mounted, without symlinks. */
  readonly path: string;
  /** Runs `btrfs`, in the mounted folder. */
  btrfs(...args: string[]): string;
}

const SIZE = 128 * 2 ** 20;
let why: string | undefined | null = null;

/** Why this machine cannot have one; undefined when it can. With `CI=true` it must. */
export function noBtrfs(): string | undefined {
  if (why === null) {
    try {
      btrfsVolume()[Symbol.dispose]();
      why = undefined;
    } catch (error) {
      if (process.env["CI"] === "true") throw error;
      why = String(error);
    }
  }
  return why;
}

export function btrfsVolume(): BtrfsVolume {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-btrfs-"));
  const image = join(folder, "image");
  const path = join(folder, "volume");
  const quietly = (program: string, ...args: string[]): string =>
    execFileSync(program, args, { encoding: "utf8", cwd: path, stdio: ["ignore", "pipe", "pipe"] });
  try {
    mkdirSync(path);
    writeFileSync(image, "");
    truncateSync(image, SIZE);
    quietly("mkfs.btrfs", "-q", image);
    quietly("mount", "-o", "loop", image, path);
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
  return {
    path,
    btrfs: (...args) => quietly("btrfs", ...args),
    [Symbol.dispose]() {
      // Lazily: what a killed test left running must not keep it here.
      execFileSync("umount", ["-l", path]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
