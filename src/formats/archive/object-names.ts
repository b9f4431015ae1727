/**
 * What an archive target holds:
 *
 *   holdfast-archive.json            id and version; written once
 *   archives/<uid>/000000.tar …      parts of one plain tar: `cat *.tar | tar x` needs no Holdfast
 *   archives/<uid>/000000.entries …  parts of the entry index
 *   archives/<uid>/manifest.json     written last: without it there is no such archive
 *   notes/<id>.json                  what was done to the target: verifications, applied policies, prunes
 */
import { isHexId, type SnapshotId } from "../../base/ids.ts";

export const CONFIG_NAME = "holdfast-archive.json";
/** Where a repository keeps the same: a target that has it is not for archives. */
export const REPOSITORY_CONFIG_NAME = "holdfast.json";
export const ARCHIVES = "archives/";
export const NOTES = "notes/";

/** The two streams of an archive, by the ending of their parts. */
export type StreamKind = "tar" | "entries";

/** Six digits: 30 TiB of parts at 32 MiB, and a listing by name is in order. */
export const MAX_PARTS = 1_000_000;

export function partName(uid: SnapshotId, kind: StreamKind, number: number): string {
  return `${folderOf(uid)}${String(number).padStart(6, "0")}.${kind}`;
}

export function manifestName(uid: SnapshotId): string {
  return `${folderOf(uid)}manifest.json`;
}

export function folderOf(uid: SnapshotId): string {
  return `${ARCHIVES}${uid}/`;
}

/** The archive that an object belongs to, or undefined for what is not ours. */
export function archiveOf(name: string): { readonly uid: SnapshotId; readonly file: string } | undefined {
  const [folder, uid = "", file, ...rest] = name.split("/");
  if (`${folder}/` !== ARCHIVES || !isHexId(uid, 16) || file === undefined || rest.length > 0) return undefined;
  if (file !== "manifest.json" && !/^\d{6}\.(?:tar|entries)$/.test(file)) return undefined;
  return { uid: uid as SnapshotId, file };
}
