import { constants } from "node:fs";
import type { Entry, EntryType, Xattr } from "../../sources/source.ts";
import type { PosixStat } from "../../posix/stat.ts";
import type { OverwritePolicy } from "./restore.ts";

/** What exists where an entry is to be restored. */
export interface LiveEntry {
  readonly stat: PosixStat;
  /** Called only when it matters. */
  readonly linkTarget: () => Uint8Array;
  readonly xattrs: () => readonly Xattr[];
}

export interface Verdict {
  /** `conflict`: a folder is in the way. */
  readonly act: "create" | "replace" | "metadata" | "keep" | "conflict";
  /** What exists has the entry's content. */
  readonly equal: boolean;
}

const FORMATS: Readonly<Record<EntryType, number>> = {
  file: constants.S_IFREG,
  directory: constants.S_IFDIR,
  symlink: constants.S_IFLNK,
  chardev: constants.S_IFCHR,
  blockdev: constants.S_IFBLK,
  fifo: constants.S_IFIFO,
  socket: constants.S_IFSOCK,
};

/** The `S_IF…` of an entry's type. */
export function formatBits(type: EntryType): number {
  return FORMATS[type];
}

/** What becomes of an entry that is no folder. `always` replaces even what is equal; nothing else writes without need. */
export function decide(entry: Entry, live: LiveEntry | undefined, policy: OverwritePolicy): Verdict {
  if (live === undefined) return { act: "create", equal: false };
  const { stat } = live;
  const format = stat.mode & constants.S_IFMT;
  if (format === constants.S_IFDIR) return policy === "never" ? { act: "keep", equal: false } : { act: "conflict", equal: false };
  const equal = format === formatBits(entry.type) && sameContent(entry, live);
  switch (policy) {
    case "never":
      return { act: "keep", equal };
    case "always":
      return { act: "replace", equal };
    case "if-newer":
      return { act: entry.meta.mtimeNs > stat.mtimeNs ? "replace" : "keep", equal };
    case "if-changed":
      if (!equal) return { act: "replace", equal };
      return { act: sameMetadata(entry, live) ? "keep" : "metadata", equal };
  }
}

/** As far as it can be told without reading: size and mtime of a file, target or number of the rest. */
function sameContent(entry: Entry, live: LiveEntry): boolean {
  switch (entry.type) {
    case "file":
      return entry.size === live.stat.size && entry.meta.mtimeNs === live.stat.mtimeNs;
    case "symlink":
      return Buffer.compare(entry.linkTarget ?? new Uint8Array(), live.linkTarget()) === 0;
    case "chardev":
    case "blockdev":
      return entry.rdev === live.stat.rdev;
    default:
      return true;
  }
}

function sameMetadata(entry: Entry, live: LiveEntry): boolean {
  const { meta } = entry;
  const { stat } = live;
  return (
    meta.uid === stat.uid &&
    meta.gid === stat.gid &&
    meta.mtimeNs === stat.mtimeNs &&
    (entry.type === "symlink" || meta.mode === (stat.mode & 0o7777)) &&
    xattrChanges(live.xattrs(), meta.xattrs).length === 0
  );
}

/** What makes `live` attributes those `wanted`: a value to set, or undefined to remove. */
export function xattrChanges(
  live: readonly Xattr[],
  wanted: readonly Xattr[],
): { readonly name: Uint8Array; readonly value: Uint8Array | undefined }[] {
  const key = (name: Uint8Array): string => Buffer.from(name).toString("latin1");
  const before = new Map(live.map(({ name, value }) => [key(name), value]));
  const changes: { name: Uint8Array; value: Uint8Array | undefined }[] = [];
  for (const { name, value } of wanted) {
    const current = before.get(key(name));
    if (current === undefined || Buffer.compare(current, value) !== 0) changes.push({ name, value });
    before.delete(key(name));
  }
  for (const name of before.keys()) if (isRestored(name)) changes.push({ name: Buffer.from(name, "latin1"), value: undefined });
  return changes;
}

/** Labels of security modules are the system's own: they are set where the snapshot has them, and never removed. */
function isRestored(name: string): boolean {
  return name.startsWith("user.") || name.startsWith("trusted.") || name.startsWith("system.posix_acl_");
}
