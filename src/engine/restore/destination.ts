import { closeSync, constants, mkdirSync, realpathSync } from "node:fs";
import { errnoOf, HoldfastError } from "../../base/errors.ts";
import { pathText } from "../../base/path-text.ts";
import { AT_FDCWD, O_PATH, openAt } from "../../posix/at.ts";
import { posixSupport } from "../../posix/libc.ts";
import { rawBytes } from "./directories.ts";
import type { RestoreRequest } from "./restore.ts";

const OPEN_TOP = O_PATH | constants.O_DIRECTORY;
const ROOT = Buffer.from("/");
const DOT = Buffer.from(".");

/** The absolute path of the folder that relative paths of a restore begin at. */
export function destinationPath(request: Pick<RestoreRequest, "destination">): Buffer {
  return request.destination.kind === "live" ? ROOT : Buffer.from(request.destination.path);
}

/** A live path for people. */
export function shownPath(request: Pick<RestoreRequest, "destination">, path: string): string {
  const top = destinationPath(request);
  if (path === "") return pathText(top);
  return pathText(Buffer.concat([top.at(-1) === 0x2f ? top : Buffer.concat([top, ROOT]), rawBytes(path)]));
}

/** True when the restore goes over the live file system. */
export function isLive(request: Pick<RestoreRequest, "destination">): boolean {
  if (request.destination.kind === "live") return true;
  try {
    return realpathSync(Buffer.from(request.destination.path)).toString() === "/";
  } catch {
    return false;
  }
}

/** Refuses what must not even be planned. Throws `confirmation_required`, `restore_refused` or `unsupported`. */
export function checkRequest(request: RestoreRequest): void {
  const support = posixSupport();
  if (!support.available)
    throw new HoldfastError("unsupported", `Files cannot be restored here: ${support.reason}`, {
      hint: "Restore on Linux x64 or arm64, or take single files out with `holdfast dump`.",
    });
  const live = isLive(request);
  if (live && !request.confirmedLive)
    throw new HoldfastError("confirmation_required", "A restore over the live file system needs a confirmation", {
      hint: "Add --yes, or restore into another folder with --to.",
    });
  if (!request.delete) return;
  if (live && request.roots === undefined)
    throw new HoldfastError(
      "restore_refused",
      "The paths of the source are unknown, so nothing can be deleted beside what is restored",
      {
        hint: "Restore without --delete, or into another folder with --to.",
      },
    );
  if (request.snapshot.unreadableCount > request.snapshot.unreadable.length)
    throw new HoldfastError(
      "restore_refused",
      `Snapshot ${request.snapshot.id.slice(0, 8)} could not read ${request.snapshot.unreadableCount} entries and does not name all of them; --delete might remove them`,
      { hint: "Restore without --delete, or from a snapshot without unreadable entries." },
    );
}

/** Opens the destination; undefined when it does not exist. Its own path may lead through symlinks: the user wrote it. */
export function openDestination(path: Uint8Array): number | undefined {
  try {
    return openAt(AT_FDCWD, path, OPEN_TOP);
  } catch (error) {
    const code = errnoOf(error);
    if (code === "ENOENT") return undefined;
    if (code === "ENOTDIR")
      throw new HoldfastError("restore_conflict", `${pathText(path)} is not a folder`, {
        hint: "Name a folder with --to; it is created when it does not exist.",
        cause: error,
      });
    throw new HoldfastError("restore_failed", `The folder ${pathText(path)} cannot be opened (${code ?? String(error)})`, {
      hint: "Check its permissions.",
      cause: error,
    });
  }
}

/** Another descriptor of the open destination, wherever its path leads by now. */
export function openAgain(top: number): number {
  return openAt(top, DOT, OPEN_TOP);
}

/** Opens the destination and makes it when it does not exist; `made` says so. `mode` is what it is made with. */
export function makeDestination(path: Uint8Array, mode: number): { readonly fd: number; readonly made: boolean } {
  const existing = openDestination(path);
  if (existing !== undefined) return { fd: existing, made: false };
  try {
    mkdirSync(Buffer.from(path), { recursive: true, mode });
  } catch (error) {
    throw new HoldfastError(
      "restore_failed",
      `The folder ${pathText(path)} cannot be made (${errnoOf(error) ?? String(error)})`,
      {
        hint: "Check the permissions of the folder above it, and that its file system may be written.",
        cause: error,
      },
    );
  }
  const fd = openDestination(path);
  if (fd === undefined) throw new HoldfastError("restore_failed", `The folder ${pathText(path)} was removed while it was made`);
  return { fd, made: true };
}

/** Where in the destination the paths of `protect` lie; those elsewhere are left out. */
export function protectedPaths(request: RestoreRequest): string[] {
  const top = resolved(destinationPath(request));
  const prefix = top === "/" ? "/" : `${top}/`;
  return request.protect
    .map(resolved)
    .filter((path) => path.startsWith(prefix) && path !== prefix)
    .map((path) => path.slice(prefix.length));
}

function resolved(path: Uint8Array): string {
  try {
    return realpathSync(Buffer.from(path), { encoding: "buffer" }).toString("latin1");
  } catch {
    return Buffer.from(path).toString("latin1").replace(/\/+$/, "") || "/";
  }
}

export function closeQuietly(fd: number | undefined): void {
  if (fd !== undefined) closeSync(fd);
}
