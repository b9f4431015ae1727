/** What tells a btrfs subvolume, and a snapshot of this program, from any other folder. */
import { constants } from "node:fs";
import type { PosixStat } from "../../posix/stat.ts";

/** Inode number of the root of every subvolume (BTRFS_FIRST_FREE_OBJECTID). */
export const SUBVOLUME_ROOT = 256;
/** Inode number of the empty directory that stands in a snapshot where another subvolume was (BTRFS_EMPTY_SUBVOL_DIR_OBJECTID). */
export const EMPTY_SUBVOLUME = 2n;
/** Names of the snapshots that this program makes, latin1; they stand in the root of the subvolume. */
export const SNAPSHOT_NAME = /^\.holdfast-[0-9a-z]+-\d+$/;

/**
 * Whether an entry of a folder is a snapshot made here, of this run, of another one or left behind by a kill; or the empty folder that
 * stands for one in a snapshot made after it. None of them is part of any source.
 */
export function isFrozenCopy(latin1: string, stat: Pick<PosixStat, "mode" | "inode">): boolean {
  return (
    latin1.startsWith(".holdfast-") &&
    SNAPSHOT_NAME.test(latin1) &&
    (stat.mode & constants.S_IFMT) === constants.S_IFDIR &&
    (stat.inode === BigInt(SUBVOLUME_ROOT) || stat.inode === EMPTY_SUBVOLUME)
  );
}
