/** Entries of snapshots as lines and as JSON. Pure. */
import { formatWall, pathText, type SnapshotEntry } from "../index.ts";
import { safe } from "./format.ts";

export { entryJson } from "../index.ts";

const LETTERS: Readonly<Record<SnapshotEntry["entry"]["type"], string>> = {
  file: "-",
  directory: "d",
  symlink: "l",
  chardev: "c",
  blockdev: "b",
  fifo: "p",
  socket: "s",
};

/** `drwxr-xr-x`, as `ls -l` writes it. */
export function modeText(type: SnapshotEntry["entry"]["type"], mode: number): string {
  const triple = (shift: number, special: number, letter: string): string => {
    const bits = (mode >> shift) & 7;
    const runs = (bits & 1) !== 0;
    const last = (mode & special) === 0 ? (runs ? "x" : "-") : runs ? letter : letter.toUpperCase();
    return `${(bits & 4) !== 0 ? "r" : "-"}${(bits & 2) !== 0 ? "w" : "-"}${last}`;
  };
  return `${LETTERS[type]}${triple(6, 0o4000, "s")}${triple(3, 0o2000, "s")}${triple(0, 0o1000, "t")}`;
}

/** One line like `ls -l`: mode, owner, group, size, time, name, and where a link points. */
export function entryRow({ entry }: SnapshotEntry, name: string, timezone: string): string {
  const { meta, type } = entry;
  const owner = safe(meta.user === "" ? String(meta.uid) : meta.user);
  const group = safe(meta.group === "" ? String(meta.gid) : meta.group);
  const time = formatWall(Number(meta.mtimeNs / 1_000_000n), timezone);
  const link = entry.linkTarget === undefined ? "" : ` -> ${pathText(entry.linkTarget)}`;
  const mark = type === "directory" && name !== "/" ? "/" : "";
  const unreadable = entry.unreadable === true ? "  (could not be listed)" : "";
  return `${modeText(type, meta.mode)} ${owner.padEnd(8)} ${group.padEnd(8)} ${String(entry.size).padStart(12)} ${time} ${name}${mark}${link}${unreadable}`;
}
