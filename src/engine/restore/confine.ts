/** Where somebody who is not the owner of the machine may restore to: into certain folders, and nowhere else. */
import { lstatSync, readlinkSync, realpathSync } from "node:fs";
import { errnoOf, HoldfastError } from "../../base/errors.ts";
import { components, pathText } from "../../base/path-text.ts";
import { snapshotPath } from "../browse/snapshot-path.ts";
import type { RunRestoreOptions } from "./run.ts";

const SLASH = Buffer.from("/");

/** Where a restore goes that stays inside. */
export type ConfinedPlace = Pick<RunRestoreOptions, "to" | "within">;

/**
 * The place that `to` names, with every symlink of what exists resolved, when it lies inside one of `roots`. In place only a
 * path that lies inside: what a snapshot says of its own sources is no permission. Throws `restore_refused` otherwise, and
 * `usage` for what is no path. Whoever restores must look again when the folder is open: `within` says inside what.
 */
export function confine(roots: readonly string[], to: RunRestoreOptions["to"], path: string): ConfinedPlace {
  if (roots.length === 0)
    throw new HoldfastError("restore_refused", "No folder is declared that may be restored into", {
      hint: "Set control.restoreRoots in the configuration, or restore with `holdfast restore` on the machine itself.",
    });
  const real = roots.flatMap((root) => realPath(Buffer.from(root)) ?? []);
  const allowed = `Folders that may be restored into: ${roots.join(", ")} (control.restoreRoots).`;
  if (to === "in-place") {
    const place = snapshotPath(path);
    // Such a restore follows no symlinks: the path itself must be inside.
    if (real.some((root) => isInside(place, root))) return { to, within: real };
    throw new HoldfastError("restore_refused", `${pathText(place)} is in no folder that may be restored into`, {
      hint: `Name a path inside one of them, or restore into a folder. ${allowed}`,
    });
  }
  const place = resolved(folderOf(to.folder));
  if (place !== undefined && real.some((root) => isInside(place, root))) {
    const folder = place.toString();
    // The folder travels as text from here on.
    if (Buffer.from(folder).equals(place)) return { to: { folder }, within: real };
  }
  throw new HoldfastError("restore_refused", `${to.folder} is in no folder that may be restored into`, { hint: allowed });
}

/** Refuses an open folder that lies elsewhere, whatever was put into its way since it was resolved. Throws `restore_refused`. */
export function assertWithin(fd: number, within: readonly Uint8Array[] | undefined): void {
  if (within === undefined) return;
  const place = readlinkSync(`/proc/self/fd/${fd}`, { encoding: "buffer" });
  if (within.some((root) => isInside(place, root))) return;
  throw new HoldfastError("restore_refused", `The folder to restore into has come to lie at ${pathText(place)}`, {
    hint: "A part of its path was replaced by a symbolic link. Nothing was restored.",
  });
}

function folderOf(text: string): Buffer {
  const folder = Buffer.from(text);
  const names = components(folder).map((name) => Buffer.from(name).toString("latin1"));
  if (folder[0] !== SLASH[0] || folder.includes(0))
    throw new HoldfastError("usage", "The folder to restore into is not an absolute path", {
      hint: "Write it as /srv/restored.",
    });
  if (names.includes(".."))
    throw new HoldfastError("usage", "The folder to restore into goes up with ..", { hint: "Write its path without .." });
  return folder;
}

/** What exists of a path with its symlinks resolved, and the rest as it is; undefined where a link leads nowhere. */
function resolved(folder: Buffer): Buffer | undefined {
  const names = components(folder).filter((name) => !SLASH.equals(name) && !Buffer.from(".").equals(name));
  let place: Buffer = SLASH;
  for (const [i, name] of names.entries()) {
    const next = place.length === 1 ? Buffer.concat([place, name]) : Buffer.concat([place, SLASH, name]);
    if (!isThere(next)) return Buffer.concat([next, ...names.slice(i + 1).flatMap((rest) => [SLASH, rest])]);
    const real = realPath(next);
    if (real === undefined) return undefined;
    place = real;
  }
  return place;
}

function isThere(path: Buffer): boolean {
  try {
    lstatSync(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw new HoldfastError("restore_refused", `${pathText(path)} cannot be looked at (${errnoOf(error) ?? String(error)})`, {
      hint: "Every part of the path must be a folder that the daemon may enter.",
      cause: error,
    });
  }
}

function realPath(path: Buffer): Buffer | undefined {
  try {
    return realpathSync(path, { encoding: "buffer" });
  } catch {
    return undefined;
  }
}

/** The root itself is inside. */
function isInside(path: Uint8Array, root: Uint8Array): boolean {
  const at = root.length === 1 ? 0 : root.length;
  return Buffer.compare(path.subarray(0, root.length), root) === 0 && (path.length === root.length || path[at] === SLASH[0]);
}
