/**
 * Entries as golden manifests have them: one readable JSON object each. Manifests are made from what was backed up, and
 * compared with what a reader gives and with what a restore leaves on disk.
 */
import { createHash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  type BigIntStats,
} from "node:fs";
import { HoldfastError } from "../../src/base/errors.ts";
import { pathText } from "../../src/base/path-text.ts";
import type { SnapshotEntry, SnapshotInfo, Store } from "../../src/formats/format.ts";
import { readXattrs } from "../../src/posix/xattr.ts";
import type { EntryMeta, EntryType } from "../../src/sources/source.ts";

/** Numbers of 64 bits are text. What an entry does not have is absent. */
export interface Described {
  /** As the program prints it: bytes that are not UTF-8 and control characters as `\xNN`, a backslash as `\\`. */
  readonly path: string;
  readonly type: EntryType;
  /** Octal. */
  readonly mode: string;
  /** `uid:gid user:group`. */
  readonly owner: string;
  readonly mtimeNs: string;
  readonly ctimeNs: string;
  readonly inode: string;
  readonly links: number;
  readonly device: string;
  readonly size?: number;
  /** Of the whole content, holes as zeros. */
  readonly sha256?: string;
  /** Offset and length of the data of a sparse file. */
  readonly extents?: readonly (readonly [number, number])[];
  readonly target?: string;
  readonly rdev?: string;
  /** Values in hex. */
  readonly xattrs?: Readonly<Record<string, string>>;
  readonly changedWhileRead?: boolean;
  readonly unreadable?: boolean;
}

/** Every path below a folder as two hashes, where naming them all would make the manifest unreadable. */
export interface Summary {
  readonly folder: string;
  readonly entries: number;
  /** Of the entries' JSON, joined by newlines. */
  readonly sha256: string;
  /** The same of what a restore shows of them. */
  readonly visibleSha256: string;
}

export function metaText(
  meta: EntryMeta,
): Pick<Described, "mode" | "owner" | "mtimeNs" | "ctimeNs" | "inode" | "links" | "device" | "xattrs"> {
  const xattrs = Object.fromEntries(meta.xattrs.map(({ name, value }) => [pathText(name), Buffer.from(value).toString("hex")]));
  return {
    mode: meta.mode.toString(8).padStart(4, "0"),
    owner: `${meta.uid}:${meta.gid} ${meta.user}:${meta.group}`,
    mtimeNs: `${meta.mtimeNs}`,
    ctimeNs: `${meta.ctimeNs}`,
    inode: `${meta.inode}`,
    links: meta.links,
    device: `${meta.device}`,
    ...(meta.xattrs.length > 0 && { xattrs }),
  };
}

/** Everything a snapshot holds but its root, depth first in the order of names, read through the store. A file that cannot be read has the error's code as its hash. */
export async function describeSnapshot(store: Store, snapshot: SnapshotInfo): Promise<Described[]> {
  const found: Described[] = [];
  const walk = async (directory: SnapshotEntry): Promise<void> => {
    for await (const batch of store.list(directory))
      for (const child of batch) {
        found.push(await describeEntry(store, child));
        if (child.entry.type === "directory") await walk(child);
      }
  };
  const root = await store.lookup(snapshot, Buffer.from("/"));
  if (root === undefined) throw new Error("a snapshot has a root");
  await walk(root);
  return found;
}

async function describeEntry(store: Store, stored: SnapshotEntry): Promise<Described> {
  const { path, entry, extents, changedWhileRead } = stored;
  const isFile = entry.type === "file";
  return {
    path: pathText(path),
    type: entry.type,
    // A tree does not keep the device of a folder, an archive does.
    ...metaText(entry.type === "directory" ? { ...entry.meta, device: 0n } : entry.meta),
    ...(isFile && { size: entry.size, sha256: await contentHash(store, stored) }),
    ...(extents !== undefined && { extents: extents.map(({ offset, length }) => [offset, length] as const) }),
    ...(entry.linkTarget !== undefined && { target: pathText(entry.linkTarget) }),
    ...(entry.rdev !== undefined && { rdev: `${entry.rdev}` }),
    ...(changedWhileRead && { changedWhileRead }),
    ...(entry.unreadable === true && { unreadable: true }),
  };
}

async function contentHash(store: Store, file: SnapshotEntry): Promise<string> {
  const hash = createHash("sha256");
  try {
    for await (const part of store.read(file)) hash.update(part);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return error.code;
  }
  return hash.digest("hex");
}

// ------------------------------------------------------------------------------------------------------------ on disk

/** What a machine can show of a restored entry. */
export interface Abilities {
  readonly owners: boolean;
  readonly xattrs: boolean;
  readonly devices: boolean;
  readonly sockets: boolean;
}

/** What a restore shows of an entry, as text to compare; undefined for what cannot be restored here. */
export function visible(entry: Described, firstName: string | undefined, able: Abilities): string | undefined {
  const { path, type, mode, owner, mtimeNs, size, sha256, target, rdev, xattrs } = entry;
  if ((type === "chardev" || type === "blockdev") && !able.devices) return undefined;
  if (type === "socket" && !able.sockets) return undefined;
  return JSON.stringify({
    path,
    type,
    // A symlink's permission bits mean nothing and cannot be set; set-user-id is not given to a file of another owner.
    mode: type === "symlink" ? undefined : able.owners ? mode : (Number.parseInt(mode, 8) & 0o1777).toString(8),
    owner: able.owners ? owner.split(" ")[0] : undefined,
    mtimeNs,
    size,
    sha256,
    target,
    rdev,
    xattrs: able.xattrs ? xattrs : undefined,
    linkOf: firstName === path ? undefined : firstName,
  });
}

/** The first path of each group of hard links, by the path of every other. */
export function firstNames(entries: readonly Described[]): Map<string, string> {
  const first = new Map<string, string>();
  const names = new Map<string, string>();
  for (const { path, type, links, device, inode } of entries) {
    if (type === "directory" || links < 2) continue;
    const known = first.get(`${device}/${inode}`);
    if (known === undefined) first.set(`${device}/${inode}`, path);
    else names.set(path, known);
  }
  return names;
}

export function visibleLines(entries: readonly Described[], able: Abilities): string[] {
  const names = firstNames(entries);
  return entries.flatMap((entry) => visible(entry, names.get(entry.path), able) ?? []);
}

/** An absolute path as a snapshot of it has it: the folders on the way, itself, and everything below. */
export function describeSource(path: string): Described[] {
  const names = path.split("/").slice(1);
  const places = names.map((_, i) => Buffer.from(`/${names.slice(0, i + 1).join("/")}`));
  return [...places.map((place) => describePlace(place, place)), ...describeFolder(path, path)];
}

/** Everything below a folder on disk, in the order of a snapshot, looked at with Node's own calls; `as` stands for the folder's path. */
export function describeFolder(folder: string, as = ""): Described[] {
  const found: Described[] = [];
  const visit = (fd: number, path: Buffer): void => {
    const names = readdirSync(`/proc/self/fd/${fd}`, { encoding: "buffer" }).toSorted((a, b) => Buffer.compare(a, b));
    for (const name of names) {
      const place = Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), name]);
      const below = Buffer.concat([path, Buffer.from("/"), name]);
      const one = describePlace(place, below);
      found.push(one);
      if (one.type !== "directory") continue;
      const inner = openSync(place, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
      visit(inner, below);
      closeSync(inner);
    }
  };
  const top = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  visit(top, Buffer.from(as));
  closeSync(top);
  return found;
}

function describePlace(place: Buffer, path: Buffer): Described {
  const stat = lstatSync(place, { bigint: true });
  const type = typeOf(stat);
  const content = type === "file" ? readAll(place, Number(stat.mode & 0o7777n)) : undefined;
  const meta: EntryMeta = {
    mode: Number(stat.mode & 0o7777n),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    user: stat.uid === 0n ? "root" : "",
    group: stat.gid === 0n ? "root" : "",
    mtimeNs: stat.mtimeNs,
    ctimeNs: stat.ctimeNs,
    inode: stat.ino,
    links: Number(stat.nlink),
    device: type === "directory" ? 0n : stat.dev,
    xattrs: readXattrs(place),
  };
  return {
    path: pathText(path),
    type,
    ...metaText(meta),
    ...(content !== undefined && { size: content.length, sha256: createHash("sha256").update(content).digest("hex") }),
    ...(type === "symlink" && { target: pathText(readlinkSync(place, { encoding: "buffer" })) }),
    ...((type === "chardev" || type === "blockdev") && { rdev: `${stat.rdev}` }),
  };
}

/** A restored file belongs to who runs this, and its mode may still refuse to be read. */
function readAll(place: Buffer, mode: number): Buffer {
  if ((mode & 0o400) === 0 && process.getuid?.() !== 0) chmodSync(place, mode | 0o400);
  return readFileSync(place);
}

function typeOf(stat: BigIntStats): EntryType {
  if (stat.isFile()) return "file";
  if (stat.isDirectory()) return "directory";
  if (stat.isSymbolicLink()) return "symlink";
  if (stat.isFIFO()) return "fifo";
  if (stat.isSocket()) return "socket";
  return stat.isBlockDevice() ? "blockdev" : "chardev";
}

// ---------------------------------------------------------------------------------------------------------- summaries

/** All that can be seen on disk. */
export const EVERYTHING: Abilities = { owners: true, xattrs: true, devices: true, sockets: true };

export function summarise(entries: readonly Described[], folder: string): Summary {
  const below = entries.filter(({ path }) => path.startsWith(`${folder}/`));
  const hash = (lines: readonly string[]): string => createHash("sha256").update(lines.join("\n")).digest("hex");
  return {
    folder,
    entries: below.length,
    sha256: hash(below.map((entry) => JSON.stringify(entry))),
    visibleSha256: hash(visibleLines(below, { ...EVERYTHING, owners: false, xattrs: false })),
  };
}

/** The entries with those below `summaries` taken out, and these summed up. */
export function summed(
  entries: readonly Described[],
  folders: readonly string[],
): { entries: Described[]; summaries: Summary[] } {
  return {
    entries: entries.filter(({ path }) => !folders.some((folder) => path.startsWith(`${folder}/`))),
    summaries: folders.map((folder) => summarise(entries, folder)),
  };
}
